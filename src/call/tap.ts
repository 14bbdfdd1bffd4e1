// Tells somebody of each call as it ends: what `mcp-gateway dev` prints. Put around the dispatch only where it is wanted,
// so that it costs nothing where it is not. Absent on purpose: records that are kept, and methods that only list.

import type { Call, Reply } from '../core/call.ts'
import { GatewayError } from '../core/errors.ts'
import type { Dispatch } from './dispatch.ts'

export interface CallRecord {
  readonly ms: number
  readonly method: string
  /** Of the tool or prompt, or the URI. */
  readonly name: string
  /** JSON text of the arguments, its beginning; '' for none. */
  readonly arguments: string
  readonly outcome: 'ok' | 'failed' | 'refused' | 'asks'
  /** What the tool, the server or the gateway said, where it did not go well. */
  readonly message: string | null
}

export type Tap = (record: CallRecord) => void

const NAMED: Readonly<Record<string, string>> = { 'tools/call': 'name', 'prompts/get': 'name', 'resources/read': 'uri' }
const ARGUMENTS_BYTES = 400
/** Larger results are not read to see how they went. */
const RESULT_BYTES = 1024 * 1024

export function tapped(dispatch: Dispatch, tap: Tap): Dispatch {
  return async (call) => {
    const member = NAMED[call.method]
    if (member === undefined) return dispatch(call)
    const began = performance.now()
    const tell = (outcome: CallRecord['outcome'], message: string | null): void => {
      const given = call.params.raw('arguments')
      tap({
        ...{ ms: performance.now() - began, method: call.method, name: nameOf(call, member) },
        ...{ arguments: given?.toString('utf8', 0, ARGUMENTS_BYTES) ?? '', outcome, message },
      })
    }
    let reply: Reply
    try {
      reply = await dispatch(call)
    } catch (error) {
      const { code, message } = error instanceof GatewayError ? error : new GatewayError('INTERNAL')
      tell('refused', `${code} ${message}`)
      throw error
    }
    tell(...outcomeOf(reply))
    return reply
  }
}

function nameOf(call: Call, member: string): string {
  const name = call.params.value(member)
  return typeof name === 'string' ? name : ''
}

function outcomeOf(reply: Reply): [CallRecord['outcome'], string | null] {
  if ('error' in reply) return ['failed', textOf(parsed(reply.error), 'message')]
  const parts = Array.isArray(reply.result) ? reply.result : [reply.result]
  const bytes = parts.length === 1 ? (parts[0] as Buffer) : Buffer.concat(parts)
  if (bytes.length > RESULT_BYTES) return ['ok', null]
  const result = parsed(bytes)
  if (textOf(result, 'resultType') === 'input_required') return ['asks', null]
  const { isError, content } = (result ?? {}) as { isError?: unknown; content?: unknown }
  if (isError !== true) return ['ok', null]
  return ['failed', Array.isArray(content) ? textOf(content[0], 'text') : null]
}

function parsed(bytes: Buffer): unknown {
  try {
    return JSON.parse(bytes.toString('utf8'))
  } catch {
    return null
  }
}

function textOf(value: unknown, member: string): string | null {
  const found = typeof value === 'object' && value !== null ? (value as Record<string, unknown>)[member] : null
  return typeof found === 'string' ? found : null
}
