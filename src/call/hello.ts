// Who we are: answers to initialize (legacy) and server/discover (modern), made from the scope and never forwarded.

import type { Call, Reply } from '../core/call.ts'
import { GatewayError } from '../core/errors.ts'
import { type Era, LEGACY_REVISIONS } from '../core/model.ts'
import { isRecord, META, SUPPORTED } from '../mcp/classify.ts'
import { gatewayId } from '../mcp/seal.ts'
import type { Scope } from '../registry/snapshot.ts'
import type { Gateway } from './gateway.ts'
import { modernHints, serverInfo, settledScope } from './list.ts'
import { canSubscribe } from './subscribe.ts'
import { listsTasks } from './tasks.ts'

const INSTRUCTIONS_MAX = 8_000

/**
 * What the scope offers. Tools are always declared: they may come while the session lives. `listChanged` is kept on the
 * GET stream of the legacy family, and on the stream of subscriptions/listen.
 */
function capabilities(scope: Scope, era: Era): Record<string, unknown> {
  const some = (name: string): boolean =>
    scope.upstreams.some(({ discovery }) => discovery === null || discovery.capabilities[name] !== undefined)
  const list = { listChanged: true }
  const subscribe = scope.upstreams.some(canSubscribe) ? { subscribe: true } : {}
  return {
    tools: list,
    ...(some('prompts') ? { prompts: list } : {}),
    ...(some('resources') ? { resources: { ...list, ...subscribe } } : {}),
    ...(some('completions') ? { completions: {} } : {}),
    ...(some('logging') ? { logging: {} } : {}),
    ...taskCapability(scope, era),
    ...extensions(scope, era),
  }
}

/** Tasks of 2025-11-25, where an upstream has them. */
function taskCapability(scope: Scope, era: Era): Record<string, unknown> {
  if (era === 'modern' || !scope.tools.some(({ tasks }) => tasks === 'optional' || tasks === 'required')) return {}
  const list = scope.upstreams.some(listsTasks) ? { list: {} } : {}
  return { tasks: { ...list, cancel: {}, requests: { tools: { call: {} } } } }
}

/** What upstreams of the same family can do besides, as they say it: of two settings of one extension the first holds. */
function extensions(scope: Scope, era: Era): Record<string, unknown> {
  const found = scope.upstreams.flatMap(({ discovery }) => {
    const given = discovery?.era === era ? discovery.capabilities.extensions : undefined
    return isRecord(given) ? Object.entries(given) : []
  })
  return found.length === 0 ? {} : { extensions: Object.fromEntries(found.reverse()) }
}

/** The virtual server's own, or those of the only upstream; several upstreams are told apart by their slugs. */
function instructions(scope: Scope): string | null {
  if (scope.instructions !== null) return scope.instructions
  const given = scope.upstreams.flatMap(({ slug, discovery }) =>
    discovery?.instructions === undefined ? [] : [{ slug, text: discovery.instructions }],
  )
  if (given.length === 0) return null
  if (given.length === 1) return given[0]!.text.slice(0, INSTRUCTIONS_MAX)
  const each = Math.floor(INSTRUCTIONS_MAX / given.length)
  return given.map(({ slug, text }) => `## ${slug}\n${text.slice(0, each)}`).join('\n\n')
}

/** The revision that initialize agrees on: the one asked for where we know it, else our newest of its family. */
export function negotiate(requested: unknown): (typeof LEGACY_REVISIONS)[number] {
  if (typeof requested !== 'string') throw new GatewayError('INVALID_PARAMS', 'params.protocolVersion must be a string')
  return LEGACY_REVISIONS.find((revision) => revision === requested) ?? LEGACY_REVISIONS[0]
}

const REACHES_MAX = 64

/** For another gateway that asks: which gateways it finds here, so that it sees a loop before it follows one. */
function reaches(call: Call, gateway: Gateway): Record<string, unknown> {
  if (call.hops === 0) return {}
  const behind = [...gateway.registry.current().upstreams.values()].flatMap(({ discovery }) => discovery?.reaches ?? [])
  return { [META.reaches]: [...new Set([gatewayId(gateway.sealer), ...behind])].slice(0, REACHES_MAX) }
}

export async function initialize(call: Call, gateway: Gateway): Promise<Reply> {
  const protocolVersion = negotiate(call.params.value('protocolVersion'))
  if (!isRecord(call.params.value('capabilities')))
    throw new GatewayError('INVALID_PARAMS', 'params.capabilities must be an object')
  if (!isRecord(call.params.value('clientInfo')))
    throw new GatewayError('INVALID_PARAMS', 'params.clientInfo must be an object')
  gateway.authorize(call)
  const scope = await settledScope(call, gateway)
  const text = instructions(scope)
  const result = {
    protocolVersion,
    capabilities: capabilities(scope, 'legacy'),
    serverInfo: serverInfo(gateway, scope),
    ...(text === null ? {} : { instructions: text }),
    ...(call.hops === 0 ? {} : { _meta: reaches(call, gateway) }),
  }
  return { result: Buffer.from(JSON.stringify(result)) }
}

export async function discover(call: Call, gateway: Gateway): Promise<Reply> {
  gateway.authorize(call)
  const scope = await settledScope(call, gateway)
  const text = instructions(scope)
  const own = JSON.stringify({
    supportedVersions: SUPPORTED,
    capabilities: capabilities(scope, 'modern'),
    ...(text === null ? {} : { instructions: text }),
  })
  return { result: Buffer.from(`${own.slice(0, -1)},${modernHints(gateway, scope, reaches(call, gateway))}}`) }
}
