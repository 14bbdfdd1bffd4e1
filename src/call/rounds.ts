// Calls of older clients to servers of 2026-07-28 that need to know something first: each `input_required` becomes real
// questions on the client's stream, all of one round at once, and the same request goes out again with the answers.

import { randomBytes } from 'node:crypto'
import { asksIn, mayAsk } from '../core/asks.ts'
import type { Call, QuestionMethod, Reply } from '../core/call.ts'
import { Cancel } from '../core/cancel.ts'
import { GatewayError } from '../core/errors.ts'
import { LIMITS } from '../core/limits.ts'
import type { Revision } from '../core/model.ts'
import { uuid7 } from '../core/uuid.ts'
import { inputRequired } from '../mcp/bridge.ts'
import { isRecord } from '../mcp/classify.ts'
import { withMember } from '../mcp/tasks.ts'
import type { Outgoing } from '../upstream/upstream.ts'
import type { Send } from './tasks.ts'

/** The reply of the last round, in the upstream's era. Errors: as Upstreams.send, and UNSUPPORTED_BY_UPSTREAM. */
export async function inRounds(call: Call, out: Outgoing, send: Send): Promise<Reply> {
  let reply = await send(out, call)
  for (let round = 1; ; round += 1) {
    const required = 'error' in reply ? null : inputRequired(reply.result)
    if (required === null) return reply
    if (round > LIMITS.questionRounds)
      throw new GatewayError('UNSUPPORTED_BY_UPSTREAM', `The upstream asked more than ${LIMITS.questionRounds} times`)
    const { inputRequests, requestState } = required
    let params = out.params
    if (requestState !== null) params = withMember(params, 'requestState', requestState)
    if (inputRequests !== null) {
      const responses = await askAll(call, inputRequests)
      params = withMember(params, 'inputResponses', `{${responses.join(',')}}`)
    }
    reply = await send({ ...out, params }, call)
  }
}

/** Members of `inputResponses`. Any that fails ends the call, and takes the others back. */
async function askAll(call: Call, requests: Readonly<Record<string, unknown>>): Promise<string[]> {
  const cancel = new Cancel()
  const entries = Object.entries(requests)
  if (entries.length > LIMITS.questionsPerCall)
    throw new GatewayError('UNSUPPORTED_BY_UPSTREAM', `The upstream asks ${entries.length} questions at once`)
  try {
    return await Promise.all(
      entries.map(async ([key, request]) => `${JSON.stringify(key)}:${await answer(call, request, cancel)}`),
    )
  } catch (error) {
    cancel.cancel('client')
    throw error
  }
}

async function answer(call: Call, request: unknown, cancel: Cancel): Promise<string> {
  const { method, params = {} } = isRecord(request) ? request : {}
  const asks = asksIn(call.revision, call.client.asks)
  if (typeof method !== 'string' || !isRecord(params) || call.ask === null || !mayAsk(asks, method, params))
    throw new GatewayError(
      'UNSUPPORTED_BY_UPSTREAM',
      `The upstream asks ${named(method)}, which this client has not declared`,
    )
  const question = {
    method: method as QuestionMethod,
    params: Buffer.from(JSON.stringify(paramsFor(call.revision, params))),
  }
  const reply = await call.ask(question, cancel)
  if ('error' in reply)
    throw new GatewayError('QUESTION_REFUSED', `The client answered ${method} with an error: ${messageOf(reply.error)}`)
  const result = Array.isArray(reply.result) ? Buffer.concat(reply.result) : (reply.result as Buffer)
  return result.toString('utf8')
}

/** Of what an upstream sent, something that may stand in a message of ours. */
const named = (method: unknown): string => (typeof method === 'string' ? method.slice(0, 60) : 'something unknown')

function messageOf(error: Buffer): string {
  const parsed: unknown = JSON.parse(error.toString('utf8'))
  return isRecord(parsed) ? String(parsed.message).slice(0, 200) : ''
}

/** Before 2025-11-25 an elicitation has no mode; from then on one by URL has an id. */
function paramsFor(revision: Revision, params: Record<string, unknown>): Record<string, unknown> {
  const { _meta, mode, ...rest } = params
  if (mode === 'url') return { mode, elicitationId: uuid7(Date.now(), randomBytes(10)), ...rest }
  return mode === undefined || revision === '2025-06-18' ? rest : { mode, ...rest }
}
