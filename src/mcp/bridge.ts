// Results on their way from an upstream of one era to a client of the other. Same era: bytes, unread.
// Legacy to modern: `resultType` is put at the head. Modern to legacy: read only where a search finds what an older
// client could not understand.

import { GatewayError } from '../core/errors.ts'
import type { Era } from '../core/model.ts'
import { isRecord } from './classify.ts'
import { find, scanMembers } from './json.ts'

const DEPTH = 512
const COMPLETE = Buffer.from('{"resultType":"complete"')
/** What 2026-07-28 requires of a complete resources/read; we know nothing of an older server's content but that it is this caller's. */
const COMPLETE_CACHEABLE = Buffer.from('{"resultType":"complete","ttlMs":0,"cacheScope":"private"')
const RESERVED = [Buffer.from('"resultType"'), Buffer.from('\\u00')]
const COMMA = Buffer.from(',')
const CLOSE = Buffer.from('}')
const UNUSUAL = [Buffer.from('"input_required"'), Buffer.from('"task"'), Buffer.from('\\u00')]

/** Methods whose results carry caching hints in 2026-07-28. */
const CACHEABLE = new Set(['resources/read'])

/** A result of a legacy upstream for a modern client. */
export function toModern(method: string, result: Buffer): Buffer | Buffer[] {
  const head = CACHEABLE.has(method) ? COMPLETE_CACHEABLE : COMPLETE
  if (RESERVED.some((word) => result.includes(word))) return withoutReserved(head, result, CACHEABLE.has(method))
  const isEmpty = result.length === 2
  return isEmpty ? [head, CLOSE] : [head, COMMA, result.subarray(1)]
}

/** An older server has no business with these members: ours stand alone, so that a key never stands twice. */
function withoutReserved(head: Buffer, result: Buffer, cacheable: boolean): Buffer {
  const dropped = new Set(cacheable ? ['resultType', 'ttlMs', 'cacheScope'] : ['resultType'])
  const parts: Buffer[] = [head]
  for (const member of scanMembers(result, 0, result.length, DEPTH)) {
    if (dropped.has(member.key)) continue
    parts.push(Buffer.from(`,${JSON.stringify(member.key)}:`), result.subarray(member.start, member.end))
  }
  parts.push(CLOSE)
  return Buffer.concat(parts)
}

export interface InputRequired {
  readonly inputRequests: Readonly<Record<string, unknown>> | null
  /** Raw JSON text, to be given back as it is. */
  readonly requestState: string | null
}

/** What a modern upstream needs before it goes on; null for any other result. Errors: UPSTREAM_INVALID. */
export function inputRequired(parts: Buffer | readonly Buffer[]): InputRequired | null {
  const result = Array.isArray(parts) ? Buffer.concat(parts as Buffer[]) : (parts as Buffer)
  if (!UNUSUAL.some((word) => result.includes(word))) return null
  const members = scanMembers(result, 0, result.length, DEPTH)
  const raw = (key: string): string | null => {
    const member = find(members, key)
    return member === null ? null : result.toString('utf8', member.start, member.end)
  }
  const type = raw('resultType')
  if (type === null || JSON.parse(type) !== 'input_required') return null
  const requests: unknown = JSON.parse(raw('inputRequests') ?? 'null')
  const requestState = raw('requestState')
  const isValid = requests === null ? requestState !== null : isRecord(requests)
  if (!isValid || (requestState !== null && requestState[0] !== '"'))
    throw new GatewayError('UPSTREAM_INVALID', 'What the upstream needs is not said as the protocol wants it')
  return { inputRequests: requests as Readonly<Record<string, unknown>> | null, requestState }
}

/** A result of a modern upstream for a legacy client. Errors: UNSUPPORTED_BY_UPSTREAM where it is no complete result. */
export function toLegacy(result: Buffer): Buffer {
  if (!UNUSUAL.some((word) => result.includes(word))) return result
  const member = find(scanMembers(result, 0, result.length, DEPTH), 'resultType')
  if (member === null) return result
  const type: unknown = JSON.parse(result.toString('utf8', member.start, member.end))
  if (type === 'complete') return result
  const what = type === 'input_required' ? 'It asks the client something in the middle of the call' : 'Unknown result'
  throw new GatewayError('UNSUPPORTED_BY_UPSTREAM', `${what}: the upstream answered with ${JSON.stringify(type)}`)
}

/** `structuredContent` wrapped as the outputSchema that older clients were given says (registry/encode.ts). */
export function wrapStructured(result: Buffer): Buffer {
  const members = scanMembers(result, 0, result.length, DEPTH)
  const content = find(members, 'structuredContent')
  if (content === null) return result
  return Buffer.concat([
    result.subarray(0, content.start),
    Buffer.from('{"result":'),
    result.subarray(content.start, content.end),
    CLOSE,
    result.subarray(content.end),
  ])
}

const URL_REQUIRED = -32042
const URLS_MAX = 16

/**
 * What an older server wants visited before it serves a call (-32042, which 2026-07-28 has no more), as questions of that
 * revision; null for any other error. Their ids are dropped: there is nothing to complete by id any more.
 */
export function urlQuestions(error: Buffer): Record<string, unknown> | null {
  const parsed: unknown = JSON.parse(error.toString('utf8'))
  if (!isRecord(parsed) || parsed.code !== URL_REQUIRED || !isRecord(parsed.data)) return null
  const { elicitations } = parsed.data
  const asked = Array.isArray(elicitations) ? elicitations.filter(isRecord) : []
  const questions = asked
    .filter(({ url }) => typeof url === 'string')
    .slice(0, URLS_MAX)
    .map(({ url, message }, at) => {
      const text = typeof message === 'string' ? message : 'The server wants this page visited first'
      return [`url${at + 1}`, { method: 'elicitation/create', params: { mode: 'url', message: text, url } }]
    })
  return questions.length === 0 ? null : Object.fromEntries(questions)
}

/** An upstream's JSON-RPC error for the client's era: codes that this era may not carry are translated. */
export function translateError(error: Buffer, from: Era, to: Era): Buffer {
  if (from === to) return error
  const parsed: unknown = JSON.parse(error.toString('utf8'))
  if (!isRecord(parsed)) return error
  // -32002 (resource not found) must not be emitted by a 2026-07-28 server; older clients know no -3202x.
  if (to === 'modern' && parsed.code === -32002) return Buffer.from(JSON.stringify({ ...parsed, code: -32602 }))
  if (to === 'modern' && parsed.code === URL_REQUIRED) {
    const data = { requiredCapabilities: { elicitation: { url: {} } } }
    return Buffer.from(JSON.stringify({ code: -32021, message: parsed.message, data }))
  }
  return error
}
