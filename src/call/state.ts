// The requestState of a 2026-07-28 upstream on its way through a 2026-07-28 client. To the upstream all callers look alike,
// so that it cannot tell whose state comes back: here it is sealed with its caller and its request.

import type { Call, Reply } from '../core/call.ts'
import { GatewayError } from '../core/errors.ts'
import { find, scanMembers, stringAt } from '../mcp/json.ts'
import type { Sealer } from '../mcp/seal.ts'
import { changeAt } from '../mcp/tasks.ts'
import type { Outgoing } from '../upstream/upstream.ts'
import { subjectOf } from './digest.ts'

const PURPOSE = 'request-state'
const KEY = Buffer.from('"requestState"')
const DEPTH = 512

const quote = (text: string): Buffer => Buffer.from(JSON.stringify(text))

/** The request with the upstream's own state in it again. Errors: INVALID_PARAMS. */
export function withTheirState(call: Call, sealer: Sealer, out: Outgoing): Outgoing {
  if (call.params.raw('requestState') === null) return out
  const given = call.params.value('requestState')
  const plain = typeof given === 'string' ? sealer.open(PURPOSE, given) : null
  const [callerId, subject, upstreamId, state] =
    plain === null ? [] : (JSON.parse(plain.toString('utf8')) as [string, string, string, string])
  const isOurs =
    callerId === call.caller.id && subject === subjectOf(call).toString('hex') && upstreamId === out.upstream.id
  if (!isOurs || state === undefined)
    throw new GatewayError('INVALID_PARAMS', 'params.requestState is not one of this caller and this request')
  return { ...out, params: changeAt(out.params, ['requestState'], () => quote(state)) }
}

const AGAIN = 'request-again'

const againText = (call: Call, upstreamId: string): Buffer =>
  Buffer.from(JSON.stringify([call.caller.id, subjectOf(call).toString('hex'), upstreamId]))

/** A state by which a request is just sent once more: its server keeps nothing of the first time. */
export function againState(call: Call, sealer: Sealer, upstreamId: string): string {
  return sealer.seal(AGAIN, againText(call, upstreamId))
}

/** The request as it goes out again, or null where its state is of another kind. */
export function sentAgain(call: Call, sealer: Sealer, out: Outgoing): Outgoing | null {
  const given = call.params.value('requestState')
  const plain = typeof given === 'string' ? sealer.open(AGAIN, given) : null
  if (plain === null || !plain.equals(againText(call, out.upstream.id))) return null
  const members = scanMembers(out.params, 0, out.params.length, DEPTH)
  const kept = members.filter(({ key }) => key !== 'requestState' && key !== 'inputResponses')
  const texts = kept.map(({ key, start, end }) => `${JSON.stringify(key)}:${out.params.toString('utf8', start, end)}`)
  return { ...out, params: Buffer.from(`{${texts.join(',')}}`) }
}

/** The reply with our seal in place of the upstream's state, where it has one. */
export function withOwnState(call: Call, sealer: Sealer, upstreamId: string, reply: Reply): Reply {
  if ('error' in reply) return reply
  const parts = Array.isArray(reply.result) ? (reply.result as Buffer[]) : [reply.result as Buffer]
  if (!parts.some((part) => part.includes(KEY))) return reply
  const result = Buffer.concat(parts)
  const members = scanMembers(result, 0, result.length, DEPTH)
  const type = find(members, 'resultType')
  const member = find(members, 'requestState')
  if (type === null || member === null || stringAt(result, type) !== 'input_required') return reply
  const state = stringAt(result, member)
  if (state === null) return reply
  const text = JSON.stringify([call.caller.id, subjectOf(call).toString('hex'), upstreamId, state])
  return { result: changeAt(result, ['requestState'], () => quote(sealer.seal(PURPOSE, Buffer.from(text)))) }
}
