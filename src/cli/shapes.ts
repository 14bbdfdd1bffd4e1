// What the REST API answers, as far as commands read it. The API only grows (`/v1` is additive), so members that a
// command can do without are optional here and a gateway of another version is still understood.

export interface UpstreamShape {
  readonly id: string
  readonly slug: string
  readonly title?: string | null
  readonly transport: {
    readonly kind: 'http' | 'sse' | 'stdio'
    readonly urls?: readonly string[]
    readonly command?: string
    readonly args?: readonly string[]
  }
  readonly enabled?: boolean
  readonly isolation?: string
  readonly origin?: string
  readonly originRef?: string | null
  readonly state: {
    readonly state: string
    readonly since?: string
    readonly code?: string | null
    readonly message?: string | null
    readonly attempts?: number
    readonly nextRetryAt?: string | null
  }
  readonly discovery?: {
    readonly era: string
    readonly revision: string
    readonly probedAt?: string
    readonly discoveredAt?: string
    readonly serverInfo?: { readonly name: string; readonly version: string; readonly title?: string }
    readonly stateful?: boolean
    readonly counts?: {
      readonly tools: number
      readonly prompts: number
      readonly resources: number
      readonly templates: number
    }
    readonly skipped?: readonly { readonly kind: string; readonly name: string; readonly reason: string }[]
  } | null
  readonly shadowed?: readonly { readonly kind: string; readonly name: string; readonly owner: string }[]
  readonly children?: readonly ChildShape[]
  readonly stderr?: string | null
}

export interface ToolShape {
  readonly name: string
  readonly upstream: string
  readonly upstreamName?: string
  readonly title?: string | null
  readonly description?: string | null
  readonly inputSchema?: {
    readonly properties?: Readonly<Record<string, unknown>>
    readonly required?: readonly string[]
  }
}

export interface TokenShape {
  readonly id: string
  readonly name: string
  readonly rights: readonly string[]
  readonly token?: string
  readonly origin?: string
  readonly createdAt?: string
  readonly expiresAt?: string | null
  readonly lastUsedAt?: string | null
}

export interface ChildShape {
  readonly pid: number | null
  readonly owner: string
  readonly startedAt: string
  readonly lastUsedAt: string
  /** Lines of its output that were no message. */
  readonly dropped: number
  /** Limits that this system could not set, each with its reason. */
  readonly unset: readonly string[]
}
