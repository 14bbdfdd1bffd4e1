// The nouns of the registry as they are stored and passed between the planes. Plain data, no behaviour.

import type { Right } from './policy.ts'

/** Wire family: legacy is every revision up to 2025-11-25 (handshake and sessions), modern is 2026-07-28 and later. */
export type Era = 'legacy' | 'modern'

export const LEGACY_REVISIONS = ['2025-11-25', '2025-06-18', '2025-03-26', '2024-11-05'] as const
export const MODERN_REVISIONS = ['2026-07-28'] as const
export type Revision = (typeof LEGACY_REVISIONS)[number] | (typeof MODERN_REVISIONS)[number]

/**
 * A secret in configuration: written there as `{env: NAME}` or `{file: PATH}`, resolved when the link is opened. `prefix`,
 * such as "Bearer ", comes before what is read.
 */
export type Secret =
  | string
  | { readonly env: string; readonly prefix?: string }
  | { readonly file: string; readonly prefix?: string }

export type ValidateMode = 'off' | 'arguments' | 'results' | 'both'
export type Isolation = 'auto' | 'shared' | 'caller' | 'session'
export type Naming = 'prefix' | 'keep'
export type Origin = 'api' | 'file' | 'demo'

/** What a user changes about one tool of an upstream. Keys are the upstream's own tool names. */
export interface ToolOverride {
  readonly name?: string
  readonly title?: string
  readonly description?: string
  readonly hide?: boolean
  /** Arguments that the gateway sets itself and that callers neither see nor send. */
  readonly fixed?: Readonly<Record<string, unknown>>
  readonly validate?: ValidateMode
  readonly callMs?: number
}

/** `secretsMark`: which secrets the references of a file's row stood for when it was applied (config/secret-marks.ts). */
export interface HttpTransport {
  /** `http`: streamable HTTP, or HTTP+SSE (2024-11-05) where the server is found to speak that; `sse`: that alone. */
  readonly kind: 'http' | 'sse'
  /** One or more URLs of the same server: least in flight, with outlier ejection. */
  readonly urls: readonly string[]
  readonly headers?: Readonly<Record<string, Secret>>
  /** PEM of an extra or pinned CA. With `caPinned` only it is trusted. */
  readonly ca?: string
  readonly caPinned?: boolean
  readonly secretsMark?: string
}

export interface StdioTransport {
  readonly kind: 'stdio'
  readonly command: string
  readonly args?: readonly string[]
  /** The child's whole environment besides PATH, HOME, LANG, TZ, TMPDIR. */
  readonly env?: Readonly<Record<string, Secret>>
  readonly cwd?: string
  readonly memoryBytes?: number
  readonly cpuSeconds?: number
  readonly openFiles?: number
  readonly processes?: number
  readonly childrenMax?: number
  readonly idleMs?: number
  readonly secretsMark?: string
}

/** What a person configures about an upstream. */
export interface UpstreamSpec {
  readonly title?: string
  readonly transport: HttpTransport | StdioTransport
  readonly enabled?: boolean
  readonly isolation?: Isolation
  readonly validate?: ValidateMode
  readonly refreshMs?: number
  readonly callMs?: number
  readonly callMsMax?: number
  readonly connectMs?: number
  readonly tools?: Readonly<Record<string, ToolOverride>>
  /** True where an operator registered it: it may then have private addresses. */
  readonly privileged?: boolean
}

export interface Skipped {
  readonly kind: DefinitionKind
  readonly name: string
  readonly reason: string
}

/** What discovery learned of an upstream; stored, so that last-known definitions survive a restart. */
export interface Discovery {
  readonly era: Era
  readonly revision: Revision
  /** The server was found to speak HTTP+SSE. */
  readonly sse?: true
  readonly probedMs: number
  readonly discoveredMs: number
  readonly serverInfo: { readonly name: string; readonly version: string; readonly title?: string }
  readonly capabilities: Readonly<Record<string, unknown>>
  readonly instructions?: string
  /** Of another gateway: its own id and those of the gateways behind it. */
  readonly reaches?: readonly string[]
  /** True when the server minted an Mcp-Session-Id, or is a stdio child: it may keep state per link. */
  readonly stateful: boolean
  readonly ttlMs: number | null
  readonly skipped: readonly Skipped[]
}

export interface UpstreamRow {
  readonly id: string
  readonly slug: string
  readonly spec: UpstreamSpec
  readonly origin: Origin
  /** `file:line` where `origin` is `file`. */
  readonly originRef: string | null
  readonly discovery: Discovery | null
  readonly rowVersion: number
  readonly createdMs: number
  readonly updatedMs: number
}

export type DefinitionKind = 'tool' | 'prompt' | 'resource' | 'template'

/** One thing that an upstream offers, as it sent it. `name` is the URI or URI template for resources and templates. */
export interface Definition {
  readonly kind: DefinitionKind
  readonly name: string
  /** The entity's own JSON text, as one object; never trusted as an envelope. */
  readonly json: string
  /** When this upstream first offered it: the earlier owner of a name keeps it. Set by the store. */
  readonly seenMs?: number
}

/** Which things of an upstream a virtual server shows; absent lists mean all, entries may hold `*`. */
export interface Member {
  readonly upstream: string
  readonly tools?: readonly string[]
  readonly prompts?: readonly string[]
  readonly resources?: readonly string[]
  readonly overrides?: Readonly<Record<string, ToolOverride>>
}

export interface Icon {
  readonly src: string
  readonly mimeType?: string
  readonly sizes?: readonly string[]
}

export interface VirtualServerSpec {
  readonly title?: string
  readonly description?: string
  readonly instructions?: string
  readonly icons?: readonly Icon[]
  readonly naming?: Naming
  readonly members: readonly Member[]
}

export interface VirtualServerRow {
  readonly id: string
  readonly slug: string
  readonly spec: VirtualServerSpec
  readonly origin: Origin
  readonly originRef: string | null
  readonly rowVersion: number
  readonly createdMs: number
  readonly updatedMs: number
}

export interface TokenRow {
  readonly id: string
  readonly name: string
  /** SHA-256 of the whole token text, 64 hex digits. */
  readonly hash: string
  readonly rights: readonly Right[]
  readonly origin: Origin
  readonly originRef: string | null
  readonly createdMs: number
  readonly expiresMs: number | null
  readonly lastUsedMs: number | null
  readonly rowVersion: number
}

/** State of an upstream as the primary sees it now; never stored, never part of `definitionVersion`. */
export interface UpstreamState {
  readonly state: 'connecting' | 'ready' | 'down' | 'disabled'
  readonly sinceMs: number
  readonly code: string | null
  readonly message: string | null
  readonly attempts: number
  readonly nextRetryMs: number | null
}

/** An upstream as the data plane sees it. */
export interface UpstreamView {
  readonly id: string
  readonly slug: string
  readonly spec: UpstreamSpec
  /** Null until the first discovery has ended. */
  readonly discovery: Discovery | null
  /** `auto` already decided: caller where the server keeps state, else shared. */
  readonly isolation: Exclude<Isolation, 'auto'>
  readonly callMs: number
  readonly callMsMax: number
  readonly connectMs: number
}
