// The one place where errors get their form and their HTTP status. On MCP and JSON-RPC paths a refusal is a JSON-RPC error,
// elsewhere problem+json. Errors that the handling of a call brings are ordinary answers (200): older clients do not read
// the body of anything else, and a 404 would tell them that their session is gone.

import { GatewayError } from '../core/errors.ts'
import type { Era } from '../core/model.ts'
import type { Exchange } from '../http/exchange.ts'
import { PROBLEM_TYPE, problemText } from '../http/problem.ts'
import { encodeError, scanObject } from '../mcp/jsonrpc.ts'
import type { Log } from '../telemetry/log.ts'

export const JSON_HEADERS: readonly string[] = ['Content-Type', 'application/json']
/** Of an answer that is one event and then ends. */
export const SSE_HEADERS: readonly string[] = [
  'Content-Type',
  'text/event-stream',
  'Cache-Control',
  'no-cache, no-transform',
]
export const NO_HEADERS: readonly string[] = []

/** In answers of either era by status too: whoever sent the call, or a proxy before us, should come again later. */
const COME_AGAIN: ReadonlySet<string> = new Set([
  'OVERLOADED',
  'SHUTTING_DOWN',
  'UPSTREAM_NOT_READY',
  'STORE_UNAVAILABLE',
  'RATE_LIMITED',
])
/** The 2026-07-28 transport gives these a status of their own, wherever they come from. */
const BY_STATUS: ReadonlySet<string> = new Set([
  'METHOD_NOT_FOUND',
  'HEADER_MISMATCH',
  'MISSING_CAPABILITY',
  'UNSUPPORTED_VERSION',
])
const MISSING_CAPABILITY = -32021

/** HTTP status of an error that came up while a call was handled. */
export function answerStatus(error: GatewayError, era: Era): number {
  if (COME_AGAIN.has(error.code)) return error.entry.status
  return era === 'modern' && BY_STATUS.has(error.code) ? error.entry.status : 200
}

/** HTTP status of an upstream's own error object. Of what it may say, only a missing capability is said by status too. */
export function upstreamErrorStatus(error: Buffer, era: Era): number {
  if (era === 'legacy') return 200
  const code = scanObject(error).find((member) => member.key === 'code')
  const isMissing = code !== undefined && Number(error.toString('latin1', code.start, code.end)) === MISSING_CAPABILITY
  return isMissing ? 400 : 200
}

/** What is thrown, as an error of the catalogue. What is not one is a fault of ours: logged, and nothing of it is told. */
export function toGatewayError(thrown: unknown, requestId: string, log: Log): GatewayError {
  if (thrown instanceof GatewayError) return thrown
  const stack = thrown instanceof Error ? thrown.stack : String(thrown)
  log.error('edge.fault', { requestId, error: thrown, stack })
  return new GatewayError('INTERNAL')
}

export function encodeRefusal(id: Buffer | null, error: GatewayError, requestId: string): Buffer {
  const { entry, code, options } = error
  const data = {
    code,
    hint: entry.hint,
    retryable: entry.retryable,
    requestId,
    ...(options.faults === undefined ? null : { errors: options.faults }),
    ...options.data,
  }
  return encodeError(id, { code: entry.rpc, message: error.message, data })
}

/** The headers that an error brings, besides Content-Type. */
export function errorHeaders({ options }: GatewayError): string[] {
  const headers = Object.entries(options.headers ?? {}).flat()
  if (options.retryAfterSeconds !== undefined) headers.push('Retry-After', String(options.retryAfterSeconds))
  return headers
}

/** A refusal on an MCP or JSON-RPC path, before the call was handled. */
export function replyRefusal(exchange: Exchange, id: Buffer | null, error: GatewayError, requestId: string): void {
  const headers = [...JSON_HEADERS, ...errorHeaders(error)]
  exchange.reply(error.entry.status, headers, encodeRefusal(id, error, requestId))
}

/** A refusal on any other path. */
export function replyProblem(exchange: Exchange, error: GatewayError, requestId: string): void {
  const headers = ['Content-Type', PROBLEM_TYPE, 'Cache-Control', 'no-store', ...errorHeaders(error)]
  exchange.reply(error.entry.status, headers, problemText(error, requestId))
}
