// POST /rpc: plain JSON-RPC for callers that speak no MCP transport. No session, no handshake, no MCP headers; a request
// with the modern `_meta` is one of 2026-07-28, anything else is taken as 2025-11-25. Batches are allowed, streams are not:
// nothing but answers is ever sent. Who goes away has cancelled, since there is no other way to say it.

import type { Caller } from '../core/policy.ts'
import type { Exchange } from '../http/exchange.ts'
import { classify } from '../mcp/classify.ts'
import { type Message, readBody } from '../mcp/jsonrpc.ts'
import { answerAll } from './batch.ts'
import { type Accepted, hopsOf, needJsonBody } from './headers.ts'
import type { EdgeParts } from './parts.ts'
import { PostedCall } from './posted-call.ts'
import { JSON_HEADERS, NO_HEADERS, replyRefusal, toGatewayError } from './reply.ts'
import { newRequestId } from './request-id.ts'

const JSON_ONLY: Accepted = { json: true, stream: false }
const REVISION = '2025-11-25'

/** Errors are answered here: with the request's id where one is known. */
export async function rpc(edge: EdgeParts, exchange: Exchange, scope: string, caller: Caller): Promise<void> {
  let id: Buffer | null = null
  try {
    needJsonBody(exchange.headers)
    const hops = hopsOf(exchange.headers, edge.limits)
    const read = readBody(await exchange.body(edge.limits.bodyBytes))
    const messages = Array.isArray(read) ? read : [read]
    const requests = messages.filter(({ kind }) => kind === 'request')
    if (requests.length === 0) return exchange.reply(202, NO_HEADERS, null)
    const calls: PostedCall[] = []
    exchange.onAbort(() => {
      for (const call of calls) call.cancel.cancel('disconnect')
    })
    const begin = (message: Message, accepted: Accepted | null): PostedCall => {
      const classified = classify(exchange.headers, message, false)
      const call = new PostedCall(exchange, {
        message,
        classified,
        scope,
        caller,
        session: null,
        client: classified.client,
        revision: classified.era === 'modern' ? classified.revision : REVISION,
        logLevel: null,
        hops,
        accepted,
        bufferBytesMax: 0,
        hasMirror: false,
      })
      calls.push(call)
      return call
    }
    if (Array.isArray(read)) {
      return exchange.reply(200, JSON_HEADERS, await answerAll(edge, requests, (message) => begin(message, null)))
    }
    id = read.id
    const call = begin(read, JSON_ONLY)
    const { status, headers, parts } = await edge.calls.handle(call)
    call.answer(status, headers, parts)
  } catch (thrown) {
    const requestId = newRequestId()
    replyRefusal(exchange, id, toGatewayError(thrown, requestId, edge.log), requestId)
  }
}
