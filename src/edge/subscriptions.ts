// subscriptions/listen of 2026-07-28: what a client asks to hear, as far as it can be heard. The stream itself is one of
// edge/listeners.ts.

import { GatewayError } from '../core/errors.ts'
import type { Exchange } from '../http/exchange.ts'
import { isRecord } from '../mcp/classify.ts'
import type { ListKind } from './listeners.ts'
import type { EdgeParts } from './parts.ts'
import type { PostedCall } from './posted-call.ts'

const KINDS: readonly ListKind[] = ['tools', 'prompts', 'resources']

/** Errors: INVALID_PARAMS, NOT_ACCEPTABLE, OVERLOADED. */
export async function subscribe(edge: EdgeParts, exchange: Exchange, call: PostedCall): Promise<void> {
  if (call.notify === null)
    throw new GatewayError('NOT_ACCEPTABLE', 'subscriptions/listen is answered by an event stream: accept it')
  const filter = call.params.value('notifications')
  if (!isRecord(filter)) throw new GatewayError('INVALID_PARAMS', 'params.notifications must be an object')
  const { resourceSubscriptions: given = [] } = filter
  if (!Array.isArray(given) || given.some((uri) => typeof uri !== 'string'))
    throw new GatewayError('INVALID_PARAMS', 'params.notifications.resourceSubscriptions must be an array of strings')
  const kinds = KINDS.filter((kind) => filter[`${kind}ListChanged`] === true)
  const holder = edge.newHolder()
  let isGone = false
  exchange.onAbort(() => {
    isGone = true
  })
  const asked = [...new Set(given as string[])].slice(0, edge.limits.watchesPerHolder)
  // What cannot be watched is just not among what is acknowledged.
  const watched = await Promise.all(
    asked.map((uri) =>
      edge.watch(call, holder, uri).then(
        () => [uri],
        () => [],
      ),
    ),
  )
  if (isGone) edge.unwatch(holder)
  else edge.listeners.subscribe(call, call.id, exchange, { holder, kinds, uris: watched.flat() })
}
