// Mcp-Param-* headers (2026-07-28, x-mcp-header): checked against the arguments on the way in, made anew on the way out.

import type { Call } from '../core/call.ts'
import { GatewayError } from '../core/errors.ts'
import { decodeHeaderValue, encodeHeaderValue, isRecord } from '../mcp/classify.ts'
import type { ParamHeader, ToolTarget } from '../registry/snapshot.ts'

const NONE: readonly string[] = []

function valueAt(args: unknown, path: readonly string[]): unknown {
  let value = args
  for (const key of path) value = isRecord(value) && Object.hasOwn(value, key) ? value[key] : undefined
  return value
}

function textOf(value: unknown): string | null {
  if (typeof value === 'string') return value
  if (typeof value === 'boolean' || (typeof value === 'number' && Number.isSafeInteger(value))) return String(value)
  return null
}

/** Integers compare as numbers (`42.0` is 42), everything else as text. */
function agrees(header: string, value: unknown, type: ParamHeader['type']): boolean {
  if (type !== 'integer' || typeof value !== 'number') return decodeHeaderValue(header) === textOf(value)
  const text = decodeHeaderValue(header).trim()
  return /^[+-]?\d+(?:\.0+)?$/.test(text) && Number(text) === value
}

/** A modern client must mirror annotated arguments, and nothing else, in its headers. Errors: HEADER_MISMATCH. */
export function checkParamHeaders(call: Call, target: ToolTarget): void {
  if (call.era !== 'modern' || call.paramHeaders === null) return
  const args = call.params.value('arguments')
  for (const annotation of target.paramHeaders) {
    if (target.fixed !== null && Object.hasOwn(target.fixed, annotation.path[0]!)) continue
    const name = `mcp-param-${annotation.header}`
    const header = call.paramHeaders[name]
    const value = valueAt(args, annotation.path)
    const isAbsent = value === undefined || value === null
    if (header === undefined && isAbsent) continue
    if (header === undefined) throw new GatewayError('HEADER_MISMATCH', `The header ${name} is missing`)
    if (isAbsent || !agrees(header, value, annotation.type)) {
      throw new GatewayError(
        'HEADER_MISMATCH',
        `The header ${name} differs from the argument ${annotation.path.join('.')}`,
      )
    }
  }
}

/** Headers for a modern upstream: those of the tool's annotations from the arguments, unknown ones of the client as they came. */
export function paramHeadersFor(call: Call, target: ToolTarget): readonly string[] {
  if (target.upstream.discovery?.era !== 'modern') return NONE
  const headers: string[] = []
  const own = new Set<string>()
  if (target.paramHeaders.length > 0) {
    const args = { ...(call.params.value('arguments') as object | undefined), ...target.fixed }
    for (const annotation of target.paramHeaders) {
      const name = `mcp-param-${annotation.header}`
      own.add(name)
      const text = textOf(valueAt(args, annotation.path))
      if (text !== null) headers.push(name, encodeHeaderValue(text))
    }
  }
  if (call.era !== 'modern' || call.paramHeaders === null) return headers
  for (const name in call.paramHeaders) {
    if (name.startsWith('mcp-param-') && !own.has(name)) headers.push(name, call.paramHeaders[name]!)
  }
  return headers
}
