// Subscriptions to resources: from a URI to the upstream and the link that has to be asked. Who is told, and when the
// upstream is asked, is the primary's affair (upstream/watches.ts); the streams are the edge's (edge/listeners.ts).

import type { Call, Reply } from '../core/call.ts'
import { GatewayError } from '../core/errors.ts'
import type { UpstreamView } from '../core/model.ts'
import { isRecord } from '../mcp/classify.ts'
import { sessionHolder } from '../ports/control.ts'
import { ownerOf } from '../upstream/send.ts'
import type { Gateway } from './gateway.ts'
import { notFound, resourceOf, scopeOf, textParam } from './route.ts'

/** Whether the upstream tells of changes of its resources. */
export function canSubscribe({ discovery }: UpstreamView): boolean {
  const resources = discovery?.capabilities.resources
  return isRecord(resources) && resources.subscribe === true
}

/** Errors: NOT_FOUND, METHOD_NOT_FOUND (its upstream tells of no changes), and those of Control.watch. */
export async function watch(call: Call, gateway: Gateway, holder: string, uri: string, on: boolean): Promise<void> {
  gateway.authorize(call)
  const target = resourceOf(scopeOf(gateway.registry.current(), call), uri)
  if (target === null) throw notFound('resource', uri)
  const { upstream } = target
  if (!canSubscribe(upstream))
    throw new GatewayError('METHOD_NOT_FOUND', `${upstream.slug} tells of no changes of its resources`)
  const { owner, asks } = ownerOf(upstream, call)
  await gateway.watch(holder, { upstreamId: upstream.id, owner, asks }, uri, on)
}

const EMPTY: Reply = { result: Buffer.from('{}') }

/** Answers resources/subscribe and resources/unsubscribe of older clients. */
export async function subscribe(call: Call, gateway: Gateway): Promise<Reply> {
  const uri = textParam(call, 'uri')
  const { session } = call
  if (session === null) throw new GatewayError('METHOD_NOT_FOUND', 'Without a session there is nobody to tell')
  await watch(call, gateway, sessionHolder(session.key), uri, call.method === 'resources/subscribe')
  return EMPTY
}
