// The body of a REST request: JSON in UTF-8, one object, every key once at every depth, so that nobody who reads it
// before or after us can read something else.

import { isUtf8 } from 'node:buffer'
import { GatewayError } from '../core/errors.ts'
import { LIMITS } from '../core/limits.ts'
import type { Exchange } from '../http/exchange.ts'
import { JsonFault, scanItems, scanMembers } from '../mcp/json.ts'

const MEDIA_TYPE = /^application\/(?:(merge-patch)\+)?json *(?:; *charset="?utf-8"? *)?$/i

/** Errors: UNSUPPORTED_MEDIA_TYPE, TOO_LARGE, TOO_DEEP, INVALID_INPUT. */
export async function readJsonBody(exchange: Exchange, isPatch: boolean): Promise<object> {
  const type = MEDIA_TYPE.exec(exchange.headers['content-type'] ?? '')
  if (type === null || (type[1] !== undefined && !isPatch)) {
    const also = isPatch ? ' or application/merge-patch+json' : ''
    throw new GatewayError('UNSUPPORTED_MEDIA_TYPE', `Send Content-Type: application/json${also}`)
  }
  const bytes = await exchange.body(LIMITS.restBodyBytes)
  if (!isUtf8(bytes)) throw new GatewayError('INVALID_INPUT', 'The body is not UTF-8')
  try {
    checkObject(bytes, 0, bytes.length, LIMITS.jsonDepth)
  } catch (error) {
    if (!(error instanceof JsonFault)) throw error
    if (error.deep) throw new GatewayError('TOO_DEEP', `The body nests more than ${LIMITS.jsonDepth} levels`)
    throw new GatewayError('INVALID_INPUT', `The body is not one JSON object: ${error.message}`)
  }
  return JSON.parse(bytes.toString('utf8')) as object
}

/** The reader proves the nesting of one object and its own keys; the objects inside are proven one by one. */
function checkObject(bytes: Buffer, start: number, end: number, depth: number): void {
  for (const member of scanMembers(bytes, start, end, depth)) checkValue(bytes, member.start, member.end, depth - 1)
}

function checkValue(bytes: Buffer, start: number, end: number, depth: number): void {
  if (bytes[start] === 0x7b) checkObject(bytes, start, end, depth)
  if (bytes[start] !== 0x5b) return
  for (const item of scanItems(bytes, start, end, depth)) checkValue(bytes, item.start, item.end, depth - 1)
}
