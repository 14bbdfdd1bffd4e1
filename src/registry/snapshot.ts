// The immutable view of the registry that one call uses from start to end. Built by registry/build.ts from rows, swapped
// whole by registry/holder.ts. Absent on purpose: health (that is state, not definition) and anything about callers.

import type { Icon, Naming, UpstreamView, ValidateMode } from '../core/model.ts'

/** An `x-mcp-header` annotation of a tool's inputSchema: the argument's path and its header, without `Mcp-Param-`. */
export interface ParamHeader {
  readonly path: readonly string[]
  readonly header: string
  readonly type: 'string' | 'integer' | 'boolean'
}

export interface ToolTarget {
  readonly kind: 'tool'
  readonly upstream: UpstreamView
  /** The upstream's own name. */
  readonly name: string
  readonly exposed: string
  readonly validate: ValidateMode
  readonly callMs: number
  /** JSON text of the schemas as the upstream sent them, for compilation on first use; null when absent. */
  readonly inputSchema: string | null
  readonly outputSchema: string | null
  readonly fixed: Readonly<Record<string, unknown>> | null
  readonly paramHeaders: readonly ParamHeader[]
  /** Same text, same schemas: the key of the validator cache. */
  readonly schemaKey: string
  /** JSON text `{"name":"…"` with the upstream's own name: how `params` of a call begins. */
  readonly head: Buffer
  /** The entity as JSON text per wire shape: a slice of its upstream's one Buffer. */
  readonly legacy: Buffer
  readonly modern: Buffer
  /** True where an older client got its non-object outputSchema wrapped in an object. */
  readonly wrapped: boolean
  /** Whether a call may, or must, become a task (2025-11-25), or may at its server's wish (the extension of 2026-07-28). */
  readonly tasks: 'none' | 'optional' | 'required' | 'extension'
}

export interface PromptTarget {
  readonly kind: 'prompt'
  readonly upstream: UpstreamView
  readonly name: string
  readonly exposed: string
  readonly head: Buffer
  readonly legacy: Buffer
  readonly modern: Buffer
}

export interface ResourceTarget {
  readonly kind: 'resource'
  readonly upstream: UpstreamView
  readonly uri: string
  readonly legacy: Buffer
  readonly modern: Buffer
}

export interface TemplateTarget {
  readonly kind: 'template'
  readonly upstream: UpstreamView
  readonly template: string
  /** Literal parts of the template, between which anything may stand. */
  readonly parts: readonly string[]
  readonly legacy: Buffer
  readonly modern: Buffer
}

export type ListedTarget = ToolTarget | PromptTarget | ResourceTarget | TemplateTarget

/** A name that lost against an earlier owner, shown by `inspect`. */
export interface Shadowed {
  readonly kind: ListedTarget['kind']
  readonly name: string
  readonly upstream: string
  readonly owner: string
}

/** One endpoint: a virtual server, or (id '') everything. Lists are sorted by exposed name or URI. */
export interface Scope {
  readonly id: string
  readonly slug: string
  readonly title: string | null
  readonly description: string | null
  readonly instructions: string | null
  readonly icons: readonly Icon[] | null
  readonly naming: Naming
  readonly upstreams: readonly UpstreamView[]
  readonly tools: readonly ToolTarget[]
  readonly prompts: readonly PromptTarget[]
  readonly resources: readonly ResourceTarget[]
  readonly templates: readonly TemplateTarget[]
  readonly toolByName: ReadonlyMap<string, ToolTarget>
  readonly promptByName: ReadonlyMap<string, PromptTarget>
  readonly resourceByUri: ReadonlyMap<string, ResourceTarget>
  readonly shadowed: readonly Shadowed[]
}

export interface Snapshot {
  /** Rises when anything that a client can list or call changed: key of caches, ETags and cursors. */
  readonly definitionVersion: number
  readonly upstreams: ReadonlyMap<string, UpstreamView>
  /** By id and by slug; '' is everything. */
  readonly scopes: ReadonlyMap<string, Scope>
}
