// Batches: requests that run side by side and whose answers leave as one array. In it one answer that is no JSON would take
// the others with it, so here every answer is proven whole, large ones too.

import { GatewayError } from '../core/errors.ts'
import { type Message, scanObject } from '../mcp/jsonrpc.ts'
import type { EdgeParts } from './parts.ts'
import type { PostedCall } from './posted-call.ts'
import { encodeRefusal, toGatewayError } from './reply.ts'
import { newRequestId } from './request-id.ts'

const OPEN = Buffer.from('[')
const COMMA = Buffer.from(',')
const CLOSE = Buffer.from(']')

function isWhole(parts: readonly Buffer[]): boolean {
  try {
    scanObject(Buffer.concat(parts as Buffer[]))
    return true
  } catch {
    return false
  }
}

/** `begin` makes a call of a request; what it throws is the answer to that request alone. */
export async function answerAll(
  edge: EdgeParts,
  requests: readonly Message[],
  begin: (message: Message) => PostedCall,
): Promise<Buffer[]> {
  const answer = async (message: Message): Promise<readonly Buffer[]> => {
    let call: PostedCall
    try {
      call = begin(message)
    } catch (thrown) {
      const requestId = newRequestId()
      return [encodeRefusal(message.id, toGatewayError(thrown, requestId, edge.log), requestId)]
    }
    const { parts } = await edge.calls.handle(call)
    if (isWhole(parts)) return parts
    const broken = new GatewayError('UPSTREAM_INVALID', "The upstream's result is not JSON")
    return [encodeRefusal(message.id, broken, call.requestId)]
  }
  // The batch came through the gate as one; its further calls count too.
  const further = requests.length - 1
  edge.gate.widen(further)
  try {
    const answers = await Promise.all(requests.map(answer))
    return [OPEN, ...answers.flatMap((parts, at) => (at === 0 ? parts : [COMMA, ...parts])), CLOSE]
  } finally {
    edge.gate.leave(further)
  }
}
