// The requests that this worker works on now: from posted message to the parts of its answer, and how one is found again
// when its client cancels it.

import type { Call, Reply } from '../core/call.ts'
import type { CancelReason } from '../core/cancel.ts'
import { encodeRawError, encodeResult } from '../mcp/jsonrpc.ts'
import type { Log } from '../telemetry/log.ts'
import type { PostedCall } from './posted-call.ts'
import { answerStatus, encodeRefusal, errorHeaders, NO_HEADERS, toGatewayError, upstreamErrorStatus } from './reply.ts'

export interface Outcome {
  /** False for every kind of JSON-RPC error. */
  readonly ok: boolean
  readonly status: number
  readonly headers: readonly string[]
  readonly parts: readonly Buffer[]
}

/** Whether two raw JSON texts are the same request id. */
function isSameId(one: Buffer, other: Buffer): boolean {
  if (one.equals(other)) return true
  // One character may be written in several ways, but only with an escape.
  if (one[0] !== 0x22 || other[0] !== 0x22 || !(one.includes(0x5c) || other.includes(0x5c))) return false
  return JSON.parse(one.toString('utf8')) === JSON.parse(other.toString('utf8'))
}

export class Calls {
  readonly #dispatch: (call: Call) => Promise<Reply>
  readonly #log: Log
  readonly #inFlight = new Set<PostedCall>()

  constructor(dispatch: (call: Call) => Promise<Reply>, log: Log) {
    this.#dispatch = dispatch
    this.#log = log
  }

  /** Never rejects: an error is an outcome too. */
  async handle(call: PostedCall): Promise<Outcome> {
    this.#inFlight.add(call)
    try {
      const reply = await this.#dispatch(call)
      if ('result' in reply) {
        return { ok: true, status: 200, headers: NO_HEADERS, parts: encodeResult(call.id, reply.result) }
      }
      const status = upstreamErrorStatus(reply.error, call.era)
      return { ok: false, status, headers: NO_HEADERS, parts: encodeRawError(call.id, reply.error) }
    } catch (thrown) {
      const error = toGatewayError(thrown, call.requestId, this.#log)
      const status = answerStatus(error, call.era)
      const headers = status === 200 ? NO_HEADERS : errorHeaders(error)
      return { ok: false, status, headers, parts: [encodeRefusal(call.id, error, call.requestId)] }
    } finally {
      this.#inFlight.delete(call)
    }
  }

  /** Cancels the call of this session whose id is the raw JSON text `id`; false when it is not here. */
  cancel(session: string, id: Buffer): boolean {
    for (const call of this.#inFlight) {
      if (call.session?.key !== session || !isSameId(call.id, id)) continue
      // Initialize is not in any session yet, as the protocol demands: it cannot be cancelled.
      call.cancel.cancel('client')
      return true
    }
    return false
  }

  cancelAll(reason: CancelReason): void {
    for (const call of this.#inFlight) call.cancel.cancel(reason)
  }

  /** One tick of the keep-alive timer: whoever has heard nothing for `quietTicksMax` of them gets a comment. */
  tick(quietTicksMax: number): void {
    for (const call of this.#inFlight) {
      call.quietTicks += 1
      if (call.quietTicks >= quietTicksMax) call.keepAlive()
    }
  }
}
