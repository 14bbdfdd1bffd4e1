// The properties: our readers against JSON.parse, against the official SDK's schemas and against its classifier.

import assert from 'node:assert/strict'
import { isUtf8 } from 'node:buffer'
import { JSONRPCNotificationSchema, JSONRPCRequestSchema } from '@modelcontextprotocol/core'
import { classifyInboundRequest } from '@modelcontextprotocol/server'
import { GatewayError } from '../../src/core/errors.ts'
import { classify } from '../../src/mcp/classify.ts'
import { closingBracket } from '../../src/mcp/json.ts'
import { type Message, readBody, readIncoming } from '../../src/mcp/jsonrpc.ts'
import { SseReader, sseEvent } from '../../src/mcp/sse.ts'
import type { Random } from './random.ts'

/** What the reader must refuse although JSON.parse takes it. */
const STRICTER = /duplicate key|nested deeper|id" must be/

function attempt<T>(run: () => T): { value: T } | { error: GatewayError } {
  try {
    return { value: run() }
  } catch (error) {
    // Anything else than a catalogued refusal is a defect.
    assert.ok(error instanceof GatewayError, String(error instanceof Error ? error.stack : error))
    return { error }
  }
}

function parse(bytes: Buffer): { value: unknown } | null {
  if (!isUtf8(bytes)) return null
  try {
    return { value: JSON.parse(bytes.toString('utf8')) }
  } catch {
    return null
  }
}

export function checkRequest(bytes: Buffer, headers: Readonly<Record<string, string>>): void {
  const told = attempt(() => readBody(bytes))
  const parsed = parse(bytes)
  if ('error' in told) {
    if (told.error.code === 'PARSE_ERROR') assert.equal(parsed, null, 'JSON.parse takes it')
    else if (parsed !== null && !STRICTER.test(told.error.message) && !Array.isArray(parsed.value)) {
      const sdk =
        JSONRPCRequestSchema.safeParse(parsed.value).success ||
        JSONRPCNotificationSchema.safeParse(parsed.value).success
      assert.ok(!sdk || hasNoMethod(parsed.value), `the SDK takes what we refuse: ${told.error.message}`)
    }
    return
  }
  assert.ok(parsed !== null, 'JSON.parse refuses what we take')
  for (const [message, plain] of pairs(told.value, parsed.value)) {
    if (message.kind === 'request')
      assert.ok(JSONRPCRequestSchema.safeParse(withInteger(plain)).success, 'the SDK refuses a request that we take')
    assert.equal(message.method, plain.method ?? '')
    if (message.id !== null) assert.deepEqual(JSON.parse(message.id.toString()), plain.id)
    if (message.kind === 'response') continue
    assert.deepEqual(JSON.parse(message.params.bytes.toString()), plain.params ?? {})
    for (const { key } of message.params.members)
      assert.deepEqual(message.params.value(key), (plain.params as Record<string, unknown>)[key])
    if (!Array.isArray(told.value)) checkEra(message, withInteger(plain), headers)
  }
}

const hasNoMethod = (value: unknown): boolean => (value as { method?: unknown }).method === ''

/** Members that JSON-RPC does not know: we leave them alone, the SDK refuses them. */
function withoutUnknown(plain: Record<string, unknown>): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(plain).filter(([key]) => ['jsonrpc', 'id', 'method', 'params'].includes(key)),
  )
}

/** What is decided elsewhere: integers beyond 2^53 are ids for us (they go back as they came); the classifier checks the token. */
function withInteger(plain: Record<string, unknown>): unknown {
  const text = JSON.stringify(withoutUnknown(plain), (key, item: unknown) =>
    key === 'progressToken' ? undefined : item,
  )
  const copy = JSON.parse(text) as Record<string, unknown>
  return typeof copy.id === 'number' && !Number.isSafeInteger(copy.id) ? { ...copy, id: 1 } : copy
}

function pairs(told: Message | Message[], parsed: unknown): [Message, Record<string, unknown>][] {
  if (!Array.isArray(told)) return [[told, parsed as Record<string, unknown>]]
  return told.map((message, at) => [message, (parsed as Record<string, unknown>[])[at]!])
}

function checkEra(message: Message, body: unknown, headers: Readonly<Record<string, string>>): void {
  if (message.kind === 'response') return
  const ours = attempt(() => classify(headers, message))
  const theirs = classifyInboundRequest({
    httpMethod: 'POST',
    protocolVersionHeader: headers['mcp-protocol-version'],
    mcpMethodHeader: headers['mcp-method'],
    mcpNameHeader: headers['mcp-name'],
    body,
  })
  // Their standard-header rung comes later, and legacy revisions are checked by their transport: both are stricter here.
  if (theirs.kind === 'reject')
    assert.ok('error' in ours, `they refuse (${theirs.cell}: ${theirs.message}) what we take`)
  else if ('value' in ours) assert.equal(ours.value.era, theirs.kind)
}

export function checkAnswer(bytes: Buffer): void {
  const told = attempt(() => readIncoming(bytes))
  if ('error' in told) {
    assert.equal(told.error.code, 'UPSTREAM_INVALID')
    return
  }
  const parsed = parse(bytes)
  const incoming = told.value
  if (incoming.kind !== 'reply') return
  const slice = 'result' in incoming.reply ? (incoming.reply.result as Buffer) : incoming.reply.error
  const text = `{"jsonrpc":"2.0","id":1,"result":${slice.toString('utf8')}}`
  if (parsed === null) {
    // The quick way for large answers proves the outline and not the grammar inside: nothing reaches beyond its brackets.
    assert.ok(bytes.length > 8 * 1024, 'JSON.parse refuses what we take')
    assert.equal(closingBracket(slice, 0, slice.length), slice.length)
    return
  }
  const plain = parsed.value as Record<string, unknown>
  assert.deepEqual(JSON.parse(incoming.id), plain.id)
  assert.deepEqual(JSON.parse(text).result, plain.result ?? plain.error)
}

export function checkEvents(random: Random, texts: readonly Buffer[]): void {
  const bytes = Buffer.concat(texts.flatMap((text) => sseEvent([text])))
  const seen: string[] = []
  const reader = new SseReader(10_000_000, ({ data }) => seen.push(data.toString('latin1')))
  for (let at = 0; at < bytes.length; ) {
    const size = 1 + random.int(random.chance(0.5) ? 8 : 4_000)
    reader.push(bytes.subarray(at, at + size))
    at += size
  }
  reader.end()
  assert.deepEqual(
    seen,
    texts.map((text) => text.toString('latin1').replaceAll('\r', '\n')),
  )
}
