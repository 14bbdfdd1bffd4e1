// HTTP+SSE, the transport of revision 2024-11-05 (basic/transports): GET /sse opens a stream whose first event names the
// endpoint, each message is posted there and answered on the stream. What the messages mean is edge/wire.ts.
// The endpoint is a sealed handle of the stream, its caller and its virtual server: a post may come to any worker and
// goes once to the one that holds the stream. Each post brings its own token, as everything does.
// Absent on purpose: resumption (the transport has none: whoever connects anew begins anew).

import { asBuffer } from '../core/bytes.ts'
import { GatewayError } from '../core/errors.ts'
import type { Caller } from '../core/policy.ts'
import type { EventStream, Exchange } from '../http/exchange.ts'
import { openHandle, sealHandle } from '../mcp/handle.ts'
import type { Sealer } from '../mcp/seal.ts'
import { SSE_COMMENT, sseEvent } from '../mcp/sse.ts'
import type { Hop } from '../ports/hop.ts'
import { overloaded } from './gate.ts'
import { acceptedOf, hopsOf, needJsonBody } from './headers.ts'
import type { EdgeParts } from './parts.ts'
import { NO_HEADERS } from './reply.ts'
import { Wire } from './wire.ts'

export interface LegacySse {
  /** Answers GET /sse. Errors: NOT_ACCEPTABLE, OVERLOADED. */
  open(exchange: Exchange, scope: string, caller: Caller): void
  /** Answers a post to an endpoint. Errors: SESSION_NOT_FOUND, OWNER_LOST, OVERLOADED, those of a body and of its message. */
  post(exchange: Exchange, scope: string, caller: Caller): Promise<void>
}

interface Open {
  readonly wire: Wire
  readonly callerId: string
  readonly stream: EventStream
}

/** A post on its way to the worker that holds the stream. */
interface Posting {
  readonly n: number
  readonly caller: Caller
  readonly hops: number
  readonly body: Uint8Array
}

const PARAMETER = 'sessionId'
const ACCEPTED = Buffer.from('Accepted')
const TEXT: readonly string[] = ['Content-Type', 'text/plain']

export function createLegacySse(edge: EdgeParts, deps: { readonly sealer: Sealer; readonly hop: Hop }): LegacySse {
  const { sealer, hop } = deps
  const { limits, clock } = edge
  const connections = new Map<number, Open>()
  let last = 0

  hop.serve('endpoint', async (given) => {
    const { n, caller, hops, body } = given as Posting
    const found = connections.get(n)
    if (found === undefined || found.callerId !== caller.id) throw gone()
    // Who does not read what comes must not ask for more.
    if (found.stream.bufferedBytes > limits.streamBufferBytes)
      throw overloaded('The stream of this endpoint is not read')
    const refused = await found.wire.receive(asBuffer(body), caller, hops)
    if (refused !== null) throw refused
  })

  return {
    open(exchange, scope, caller) {
      if (!acceptedOf(exchange.headers).stream)
        throw new GatewayError('NOT_ACCEPTABLE', 'This GET is answered by an event stream: accept text/event-stream')
      last += 1
      const n = last
      const expiresMs = clock.now() + limits.sessionAgeMs
      const wire = new Wire(edge, exchange, exchange.headers.authorization, scope, {
        send: (parts) => stream.write(Buffer.concat(sseEvent(parts))),
        keepAlive: () => stream.write(SSE_COMMENT),
        end: () => {
          stream.end()
          over()
        },
        destroy: () => stream.destroy(),
        get bufferedBytes() {
          return stream.bufferedBytes
        },
      })
      const over = (): void => {
        connections.delete(n)
        wire.gone()
      }
      wire.open(caller, expiresMs)
      const stream = exchange.stream(200, NO_HEADERS)
      connections.set(n, { wire, callerId: caller.id, stream })
      stream.onDrain = () => wire.drained()
      const about = { ...hop.here, n, callerId: caller.id, expiresMs, rest: Buffer.from(scope) }
      const handle = sealHandle(sealer, 'endpoint', about)
      const path = scope === '' ? '/messages' : `/servers/${scope}/messages`
      stream.write(`event: endpoint\ndata: ${path}?${PARAMETER}=${handle}\n\n`)
      exchange.onAbort(over)
    },

    async post(exchange, scope, caller) {
      needJsonBody(exchange.headers)
      const hops = hopsOf(exchange.headers, limits)
      const handle = openHandle(sealer, 'endpoint', handleIn(exchange.query), caller.id, clock.now())
      if (handle === null || handle.rest.toString() !== scope) throw gone()
      const body = await exchange.body(limits.bodyBytes)
      await hop.ask(handle, 'endpoint', { n: handle.n, caller, hops, body } satisfies Posting)
      exchange.reply(202, TEXT, ACCEPTED)
    },
  }
}

function gone(): GatewayError {
  return new GatewayError('SESSION_NOT_FOUND', 'There is no such endpoint: its stream has ended, or it is not yours')
}

function handleIn(query: string): string {
  const start = `${PARAMETER}=`
  return (
    query
      .split('&')
      .find((part) => part.startsWith(start))
      ?.slice(start.length) ?? ''
  )
}
