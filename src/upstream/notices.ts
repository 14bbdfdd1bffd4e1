// Small messages of ours that several lanes to upstreams send, and what a cancelled call is told.

import type { CancelReason } from '../core/cancel.ts'
import { GatewayError } from '../core/errors.ts'
import { encodeError } from '../mcp/jsonrpc.ts'

/** `id` is raw JSON text: the request that nobody waits for any more. */
export function cancelNotice(id: string, why: string): Buffer {
  return Buffer.from(
    `{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":${id},"reason":${JSON.stringify(why)}}}`,
  )
}

/** Our answer to what an upstream asks: a ping is answered, everything else refused, so that it does not wait for ever. */
export function answerTo(method: string, id: string): Buffer {
  if (method === 'ping') return Buffer.from(`{"jsonrpc":"2.0","id":${id},"result":{}}`)
  return encodeError(Buffer.from(id), { code: -32601, message: 'Method not found' })
}

export function cancelError(reason: CancelReason, callMs: number): GatewayError {
  if (reason === 'deadline') return new GatewayError('TIMEOUT', `No answer within ${callMs} ms`)
  if (reason === 'shutdown') return new GatewayError('SHUTTING_DOWN')
  return new GatewayError('CANCELLED')
}
