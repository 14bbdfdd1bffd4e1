// From a name to a target, in the snapshot of the call. What may not be seen does not exist.

import type { Call } from '../core/call.ts'
import { GatewayError } from '../core/errors.ts'
import { LIMITS } from '../core/limits.ts'
import type { UpstreamView } from '../core/model.ts'
import { matchesParts } from '../core/names.ts'
import { verdict } from '../core/policy.ts'
import type { PromptTarget, ResourceTarget, Scope, Snapshot, TemplateTarget, ToolTarget } from '../registry/snapshot.ts'

export function scopeOf(snapshot: Snapshot, call: Call): Scope {
  const scope = snapshot.scopes.get(call.scope)
  if (scope === undefined || verdict(call.caller) === 'hidden')
    throw new GatewayError('NOT_FOUND', 'There is no such server here')
  return scope
}

/** A member of `params` that must be a string. */
export function textParam(call: Call, key: string): string {
  const value = call.params.value(key)
  if (typeof value !== 'string') throw new GatewayError('INVALID_PARAMS', `params.${key} must be a string`)
  return value
}

export function toolOf(scope: Scope, name: string): ToolTarget | null {
  return scope.toolByName.get(name) ?? null
}

export function promptOf(scope: Scope, name: string): PromptTarget | null {
  return scope.promptByName.get(name) ?? null
}

/** A link that the upstream handed out without listing it: only its one possible owner can be meant. */
export interface UnlistedResource {
  readonly kind: 'unlisted'
  readonly upstream: UpstreamView
  readonly uri: string
}

/** Listed URI, then templates, then the only upstream of the scope that has resources at all. */
export function resourceOf(scope: Scope, uri: string): ResourceTarget | TemplateTarget | UnlistedResource | null {
  // Megabytes would be compared with thousands of templates, and become a header.
  if (uri.length > LIMITS.uriChars) return null
  const listed = scope.resourceByUri.get(uri)
  if (listed !== undefined) return listed
  for (const template of scope.templates) if (matchesParts(uri, template.parts)) return template
  const capable = scope.upstreams.filter(({ discovery }) => discovery?.capabilities.resources !== undefined)
  return capable.length === 1 ? { kind: 'unlisted', upstream: capable[0]!, uri } : null
}

export function notFound(kind: string, name: string): GatewayError {
  return new GatewayError('NOT_FOUND', `Unknown ${kind}: ${name.slice(0, 200)}`)
}
