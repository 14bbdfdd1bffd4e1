// Which era is it? The table of the specification's cases (2026-07-28, basic/versioning and streamable-http).

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { ASKS } from '../core/asks.ts'
import { GatewayError } from '../core/errors.ts'
import { classify, decodeHeaderValue, encodeHeaderValue, type Headers } from './classify.ts'
import { type Message, readBody } from './jsonrpc.ts'

const V = 'io.modelcontextprotocol/protocolVersion'
const C = 'io.modelcontextprotocol/clientCapabilities'
const meta = (version: string, more: object = { [C]: {} }): object => ({ _meta: { [V]: version, ...more } })
const message = (method: string, params?: object, id: number | null = 1): Message =>
  readBody(Buffer.from(JSON.stringify({ jsonrpc: '2.0', ...(id === null ? {} : { id }), method, params }))) as Message
const verdict = (headers: Headers, body: Message): string => {
  try {
    const { era, revision } = classify(headers, body)
    return `${era} ${revision}`
  } catch (error) {
    if (error instanceof GatewayError) return error.code
    throw error
  }
}
const MODERN = { 'mcp-protocol-version': '2026-07-28', 'mcp-method': 'tools/list' }

test('the body decides, the header only cross-checks', () => {
  const cases: [Headers, Message, string][] = [
    [{}, message('initialize', { protocolVersion: '2025-11-25' }), 'legacy 2025-03-26'],
    [{ 'mcp-protocol-version': '1999-01-01' }, message('initialize', {}), 'legacy 2025-11-25'],
    [{ 'mcp-protocol-version': '2099-01-01' }, message('initialize', {}), 'HEADER_MISMATCH'],
    [{ 'mcp-protocol-version': '2099-01-01' }, message('tools/list', {}), 'UNSUPPORTED_VERSION'],
    [{}, message('tools/list'), 'legacy 2025-03-26'],
    [{ 'mcp-protocol-version': '2025-06-18' }, message('tools/list'), 'legacy 2025-06-18'],
    [{ 'mcp-protocol-version': '1999-01-01' }, message('tools/list'), 'UNSUPPORTED_VERSION'],
    [MODERN, message('tools/list', meta('2026-07-28')), 'modern 2026-07-28'],
    [MODERN, message('tools/list'), 'INVALID_PARAMS'],
    [MODERN, message('tools/list', meta('2026-07-28', {})), 'INVALID_PARAMS'],
    [MODERN, message('tools/list', meta('2026-07-28', { [C]: 'all' })), 'INVALID_PARAMS'],
    [{ ...MODERN, 'mcp-protocol-version': '2025-11-25' }, message('tools/list', meta('2026-07-28')), 'HEADER_MISMATCH'],
    [{ 'mcp-method': 'tools/list' }, message('tools/list', meta('2026-07-28')), 'HEADER_MISMATCH'],
    [{ 'mcp-protocol-version': '2026-07-28' }, message('tools/list', meta('2026-07-28')), 'HEADER_MISMATCH'],
    [{ ...MODERN, 'mcp-method': 'tools/call' }, message('tools/list', meta('2026-07-28')), 'HEADER_MISMATCH'],
    [
      { ...MODERN, 'mcp-protocol-version': '2099-01-01' },
      message('tools/list', meta('2099-01-01')),
      'UNSUPPORTED_VERSION',
    ],
    [{}, message('tools/list', { _meta: { [V]: 7, [C]: {} } }), 'INVALID_PARAMS'],
    [{ ...MODERN, 'mcp-method': 'initialize' }, message('initialize', meta('2026-07-28')), 'modern 2026-07-28'],
    [
      { 'mcp-protocol-version': '2026-07-28', 'mcp-method': 'x' },
      message('notifications/y', {}, null),
      'HEADER_MISMATCH',
    ],
    [{ 'mcp-protocol-version': '2026-07-28' }, message('notifications/y', {}, null), 'modern 2026-07-28'],
  ]
  for (const [headers, body, wanted] of cases)
    assert.equal(verdict(headers, body), wanted, JSON.stringify([headers, body.bytes.toString()]))
})

test('Mcp-Name mirrors the name or the URI', () => {
  const call = (headers: Headers, name: unknown = 'é'): string =>
    verdict(
      { ...MODERN, 'mcp-method': 'tools/call', ...headers },
      message('tools/call', { name, ...meta('2026-07-28') }),
    )
  const encoded = encodeHeaderValue('é')
  assert.equal(call({ 'mcp-name': encoded }), 'modern 2026-07-28')
  assert.equal(call({ 'mcp-name': 'plain' }, 'plain'), 'modern 2026-07-28')
  assert.equal(call({}), 'HEADER_MISMATCH')
  assert.equal(call({ 'mcp-name': 'e' }), 'HEADER_MISMATCH')
  assert.equal(call({ 'mcp-name': '=?base64?!!?=' }), 'HEADER_MISMATCH')
  assert.equal(call({ 'mcp-name': '7' }, 7), 'modern 2026-07-28', 'a wrong type is a fault of the params')
  const read = verdict(
    { ...MODERN, 'mcp-method': 'resources/read', 'mcp-name': 'a://b' },
    message('resources/read', { uri: 'a://b', ...meta('2026-07-28') }),
  )
  assert.equal(read, 'modern 2026-07-28')
})

test('without headers (POST /rpc) the body alone counts', () => {
  assert.equal(classify({}, message('tools/list', meta('2026-07-28')), false).era, 'modern')
})

test('what a modern request says of its client', () => {
  const params = meta('2026-07-28', {
    [C]: { elicitation: {}, sampling: null, roots: { listChanged: true } },
    'io.modelcontextprotocol/clientInfo': { name: 'n'.repeat(100), version: '1' },
    'io.modelcontextprotocol/logLevel': 'warning',
    progressToken: 'p',
    traceparent: '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01',
    tracestate: 'a=b\nc',
  })
  const { client, logLevel, progressToken, trace } = classify(MODERN, message('tools/list', params))
  assert.equal(client?.asks, ASKS.elicitationForm | ASKS.roots | ASKS.rootsChanged)
  assert.equal(client?.name.length, 64)
  assert.equal(logLevel, 'warning')
  assert.equal(progressToken?.toString(), '"p"')
  assert.equal(trace?.traceparent.length, 55)
  assert.equal(trace?.tracestate, null, 'control characters never become a header')
  assert.equal(
    verdict(MODERN, message('tools/list', meta('2026-07-28', { [C]: {}, 'io.modelcontextprotocol/logLevel': 'loud' }))),
    'INVALID_PARAMS',
  )
  assert.equal(
    verdict(MODERN, message('tools/list', meta('2026-07-28', { [C]: {}, progressToken: {} }))),
    'INVALID_PARAMS',
  )
})

test('header values survive their encoding', () => {
  for (const value of ['plain', 'two words', ' edge ', 'é', '', 'a\nb', '=?base64?YQ==?=', '\u{1f600}']) {
    const encoded = encodeHeaderValue(value)
    assert.match(encoded, /^[\x20-\x7e]+$/)
    assert.equal(decodeHeaderValue(encoded), value)
  }
})

test('a base64 form has one spelling', () => {
  assert.equal(decodeHeaderValue('=?base64?w6k=?='), 'é')
  // The same bytes, with spare bits that say nothing; and without its padding.
  for (const other of ['=?base64?w6l=?=', '=?base64?w6k?=', '=?base64?w6k==?='])
    assert.throws(() => decodeHeaderValue(other), { code: 'HEADER_MISMATCH' }, other)
})
