// JSON-RPC 2.0: bytes in, messages out, and back. Nothing outside mcp/ knows these envelopes.
// The gateway writes every envelope itself: bytes of others are used only as the value of `params`, `result` or `error`,
// and only where their extent is proven (docs/decisions/0002-hostile-bytes.md).

import { isUtf8 } from 'node:buffer'
import type { Member, Params, Reply } from '../core/call.ts'
import { GatewayError } from '../core/errors.ts'
import { LIMITS } from '../core/limits.ts'
import { closingBracket, find, JsonFault, scanItems, scanMembers, skipSpace, stringAt } from './json.ts'
import { EMPTY_PARAMS, readParams } from './params.ts'

export { EMPTY_PARAMS, readParams } from './params.ts'

export interface Message {
  readonly kind: 'request' | 'notification' | 'response'
  /** '' for a response. */
  readonly method: string
  /** Raw JSON text, a string or an integer; null for a notification. */
  readonly id: Buffer | null
  readonly params: Params
  readonly bytes: Buffer
}

/** Nesting allowed in what upstreams send: it is passed on, not walked. */
const UPSTREAM_DEPTH = 512
const ID_BYTES_MAX = 512
const INTEGER = /^-?(?:0|[1-9]\d{0,20})$/
const VERSION = Buffer.from('"2.0"')

function isVersion(bytes: Buffer, member: Member | null): boolean {
  return (
    member !== null && member.end - member.start === 5 && bytes.compare(VERSION, 0, 5, member.start, member.end) === 0
  )
}

function isId(bytes: Buffer, member: Member): boolean {
  if (member.end - member.start > ID_BYTES_MAX) return false
  const first = bytes[member.start]
  return first === 0x22 || INTEGER.test(bytes.toString('latin1', member.start, member.end))
}

/** Whether raw JSON text could be the id of a request: only then is it worth looking for. */
export function isRequestId(raw: Buffer): boolean {
  return isId(raw, { key: '', start: 0, end: raw.length })
}

/** Strict members of one whole object. Errors: JsonFault. */
export function scanObject(bytes: Buffer, start = 0, end = bytes.length): Member[] {
  return scanMembers(bytes, start, end, UPSTREAM_DEPTH)
}

function toMessage(bytes: Buffer, start: number, end: number): Message {
  const members = scanMembers(bytes, start, end, LIMITS.jsonDepth)
  if (!isVersion(bytes, find(members, 'jsonrpc')))
    throw new GatewayError('INVALID_REQUEST', 'The member "jsonrpc" must be "2.0"')
  const idMember = find(members, 'id')
  if (idMember !== null && !isId(bytes, idMember)) {
    throw new GatewayError('INVALID_REQUEST', 'The member "id" must be a string or an integer of at most 512 bytes')
  }
  const id = idMember === null ? null : bytes.subarray(idMember.start, idMember.end)
  const methodMember = find(members, 'method')
  if (methodMember === null) {
    if (id !== null && (find(members, 'result') !== null) !== (find(members, 'error') !== null)) {
      return { kind: 'response', method: '', id, params: EMPTY_PARAMS, bytes: bytes.subarray(start, end) }
    }
    throw new GatewayError('INVALID_REQUEST', 'The member "method" is missing')
  }
  if (find(members, 'result') !== null || find(members, 'error') !== null) {
    throw new GatewayError('INVALID_REQUEST', 'A message with "method" must have neither "result" nor "error"')
  }
  const method = stringAt(bytes, methodMember)
  if (method === null || method === '')
    throw new GatewayError('INVALID_REQUEST', 'The member "method" must be a string')
  const paramsMember = find(members, 'params')
  if (paramsMember !== null && bytes[paramsMember.start] !== 0x7b) {
    throw new GatewayError('INVALID_REQUEST', 'The member "params" must be an object')
  }
  const params = paramsMember === null ? EMPTY_PARAMS : readParams(bytes.subarray(paramsMember.start, paramsMember.end))
  return { kind: id === null ? 'notification' : 'request', method, id, params, bytes: bytes.subarray(start, end) }
}

function refuse(error: unknown): never {
  if (!(error instanceof JsonFault)) throw error
  if (error.deep) throw new GatewayError('TOO_DEEP', `The JSON is nested deeper than ${LIMITS.jsonDepth} levels`)
  if (error.message.startsWith('duplicate')) throw new GatewayError('INVALID_REQUEST', error.message)
  throw new GatewayError('PARSE_ERROR', error.message)
}

/**
 * One message, or the messages of a batch, of a client's body.
 * Errors: PARSE_ERROR, INVALID_REQUEST (also for an empty or too long batch, and for a key that stands twice), TOO_DEEP.
 */
export function readBody(bytes: Buffer): Message | Message[] {
  if (!isUtf8(bytes)) throw new GatewayError('PARSE_ERROR', 'The body is not valid UTF-8')
  try {
    const first = skipSpace(bytes, 0, bytes.length)
    if (bytes[first] !== 0x5b) {
      if (first < bytes.length && bytes[first] !== 0x7b) {
        scanItems(Buffer.concat([Buffer.from('['), bytes, Buffer.from(']')]), 0, bytes.length + 2, LIMITS.jsonDepth)
        throw new GatewayError('INVALID_REQUEST', 'The body must be a JSON object')
      }
      return toMessage(bytes, 0, bytes.length)
    }
    const items = scanItems(bytes, 0, bytes.length, LIMITS.jsonDepth)
    if (items.length === 0) throw new GatewayError('INVALID_REQUEST', 'The batch is empty')
    if (items.length > LIMITS.batchItems) {
      throw new GatewayError('INVALID_REQUEST', `A batch may hold at most ${LIMITS.batchItems} messages`)
    }
    return items.map((item) => {
      if (bytes[item.start] !== 0x7b)
        throw new GatewayError('INVALID_REQUEST', 'Every item of a batch must be an object')
      return toMessage(bytes, item.start, item.end)
    })
  } catch (error) {
    return refuse(error)
  }
}

// --- what upstreams send -------------------------------------------------------------------------------------------

export type Incoming =
  | { readonly kind: 'reply'; readonly id: string; readonly reply: Reply }
  | {
      readonly kind: 'request' | 'notification'
      readonly method: string
      readonly id: string | null
      readonly params: Params
    }

function invalid(what: string): GatewayError {
  return new GatewayError('UPSTREAM_INVALID', `The upstream's answer breaks the protocol: ${what}`)
}

/** Bodies above this are not walked byte by byte when their head and the outline of the result already prove the extent. */
const WALK_BYTES_MAX = 8 * 1024
const HEAD = Buffer.from('{"jsonrpc":"2.0","id":')
const HEAD_RESULT = Buffer.from(',"result":{')
const RESULT_FIRST = Buffer.from('{"result":{')
const TAIL = Buffer.from('},"jsonrpc":"2.0","id":')

/**
 * The quick way for large bodies in the two orders that real servers write; null where the slow way must decide. What
 * stands around the result is known to the byte, and the result is one value by its brackets: no member can hide beside it.
 */
function quickReply(bytes: Buffer): { id: string; result: Buffer } | null {
  const end = bytes.length
  if (bytes[end - 1] !== 0x7d) return null
  if (bytes.compare(HEAD, 0, HEAD.length, 0, HEAD.length) === 0) {
    const idEnd = bytes.subarray(0, HEAD.length + ID_BYTES_MAX).indexOf(HEAD_RESULT, HEAD.length)
    if (idEnd < 0) return null
    const id = bytes.toString('latin1', HEAD.length, idEnd)
    const start = idEnd + HEAD_RESULT.length - 1
    if (!isPlainId(id) || closingBracket(bytes, start, end - 1) !== end - 1) return null
    return { id, result: bytes.subarray(start, end - 1) }
  }
  if (bytes.compare(RESULT_FIRST, 0, RESULT_FIRST.length, 0, RESULT_FIRST.length) === 0) {
    const tail = bytes.lastIndexOf(TAIL)
    if (tail < 0 || end - tail > TAIL.length + ID_BYTES_MAX) return null
    const id = bytes.toString('latin1', tail + TAIL.length, end - 1)
    const start = RESULT_FIRST.length - 1
    if (!isPlainId(id) || closingBracket(bytes, start, tail + 1) !== tail + 1) return null
    return { id, result: bytes.subarray(start, tail + 1) }
  }
  return null
}

/** Our own ids: a number, or a string without quotes and escapes inside. */
function isPlainId(id: string): boolean {
  return INTEGER.test(id) || /^"[\w.:-]{1,128}"$/.test(id)
}

function checkError(bytes: Buffer, member: Member): Buffer {
  const error = bytes.subarray(member.start, member.end)
  if (error[0] !== 0x7b) throw invalid('"error" is not an object')
  const members = scanMembers(error, 0, error.length, UPSTREAM_DEPTH)
  const code = find(members, 'code')
  const message = find(members, 'message')
  if (code === null || !INTEGER.test(error.toString('latin1', code.start, code.end)))
    throw invalid('"error.code" is not an integer')
  if (message === null || error[message.start] !== 0x22) throw invalid('"error.message" is not a string')
  return error
}

/** One message of an upstream, whatever it is. Errors: UPSTREAM_INVALID. */
export function readIncoming(bytes: Buffer): Incoming {
  if (bytes.length > WALK_BYTES_MAX) {
    const quick = quickReply(bytes)
    if (quick !== null && isUtf8(bytes)) return { kind: 'reply', id: quick.id, reply: { result: quick.result } }
  }
  try {
    if (!isUtf8(bytes)) throw invalid('it is not UTF-8')
    const members = scanMembers(bytes, 0, bytes.length, UPSTREAM_DEPTH)
    if (!isVersion(bytes, find(members, 'jsonrpc'))) throw invalid('"jsonrpc" is not "2.0"')
    const idMember = find(members, 'id')
    const methodMember = find(members, 'method')
    const result = find(members, 'result')
    const error = find(members, 'error')
    if (methodMember === null) {
      if (idMember === null) throw invalid('"id" is missing')
      const id = bytes.toString('utf8', idMember.start, idMember.end)
      if ((result === null) === (error === null)) throw invalid('neither or both of "result" and "error"')
      if (error !== null) return { kind: 'reply', id, reply: { error: checkError(bytes, error) } }
      if (bytes[result!.start] !== 0x7b) throw invalid('"result" is not an object')
      return { kind: 'reply', id, reply: { result: bytes.subarray(result!.start, result!.end) } }
    }
    if (result !== null || error !== null) throw invalid('"method" beside "result" or "error"')
    const method = stringAt(bytes, methodMember)
    if (method === null) throw invalid('"method" is not a string')
    if (idMember !== null && !isId(bytes, idMember)) throw invalid('"id" is neither a string nor an integer')
    const paramsMember = find(members, 'params')
    if (paramsMember !== null && bytes[paramsMember.start] !== 0x7b) throw invalid('"params" is not an object')
    return {
      kind: idMember === null ? 'notification' : 'request',
      method,
      id: idMember === null ? null : bytes.toString('utf8', idMember.start, idMember.end),
      params: paramsMember === null ? EMPTY_PARAMS : readParams(bytes.subarray(paramsMember.start, paramsMember.end)),
    }
  } catch (fault) {
    if (fault instanceof JsonFault) throw invalid(fault.message)
    throw fault
  }
}

/** The reply in a body that must be the one answer to our request `id` (raw JSON text). Errors: UPSTREAM_INVALID. */
export function readReply(bytes: Buffer, id: string): Reply {
  const incoming = readIncoming(bytes)
  if (incoming.kind !== 'reply') throw invalid(`a ${incoming.kind} where the answer was due`)
  if (incoming.id !== id) throw invalid('the id is not the one of our request')
  return incoming.reply
}

// --- what we write -------------------------------------------------------------------------------------------------

const REPLY_HEAD = Buffer.from('{"jsonrpc":"2.0","id":')
const RESULT_KEY = Buffer.from(',"result":')
const ERROR_KEY = Buffer.from(',"error":')
const CLOSE = Buffer.from('}')

/** `id` is raw JSON text. */
export function encodeRequest(id: string, method: string, params: Buffer | null): Buffer {
  const head = `{"jsonrpc":"2.0","id":${id},"method":"${method}"`
  return params === null ? Buffer.from(`${head}}`) : Buffer.concat([Buffer.from(`${head},"params":`), params, CLOSE])
}

export function encodeNotification(method: string, params: Buffer | null): Buffer {
  const head = `{"jsonrpc":"2.0","method":${JSON.stringify(method)}`
  return params === null ? Buffer.from(`${head}}`) : Buffer.concat([Buffer.from(`${head},"params":`), params, CLOSE])
}

export function encodeResult(id: Buffer, result: Buffer | readonly Buffer[]): Buffer[] {
  return Array.isArray(result)
    ? [REPLY_HEAD, id, RESULT_KEY, ...(result as readonly Buffer[]), CLOSE]
    : [REPLY_HEAD, id, RESULT_KEY, result as Buffer, CLOSE]
}

/** `error` is JSON text of an error object, as an upstream sent it. */
export function encodeRawError(id: Buffer, error: Buffer): Buffer[] {
  return [REPLY_HEAD, id, ERROR_KEY, error, CLOSE]
}

export function encodeError(id: Buffer | null, error: { code: number; message: string; data?: unknown }): Buffer {
  return Buffer.from(
    `{"jsonrpc":"2.0","id":${id === null ? 'null' : id.toString('utf8')},"error":${JSON.stringify(error)}}`,
  )
}
