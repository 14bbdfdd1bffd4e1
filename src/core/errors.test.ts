import assert from 'node:assert/strict'
import { test } from 'node:test'
import { CATALOGUE, type ErrorEntry, GatewayError, InvariantError, invariant } from './errors.ts'

/** Numbers that JSON-RPC or the specification of MCP has given a meaning. */
const STANDARD = new Set([-32700, -32600, -32601, -32602, -32603, -32001, -32020, -32021, -32022])
const ENTRIES: [string, ErrorEntry][] = Object.entries(CATALOGUE)

test('every error says what it is and what to do, in words for a user', () => {
  for (const [code, { title, hint }] of ENTRIES) {
    assert.match(code, /^[A-Z]+(?:_[A-Z]+)*$/)
    assert.match(title, /^[A-Z].*[^.]$/, code)
    assert.match(hint, /^[A-Z].*[.]$/, code)
  }
})

test('our own numbers are in our range and mean one thing each', () => {
  const own = ENTRIES.map(([, { rpc }]) => rpc).filter((rpc) => !STANDARD.has(rpc))
  for (const rpc of own) assert.ok(rpc <= -31000 && rpc >= -31099, String(rpc))
  assert.equal(new Set(own).size, own.length)
})

test('what is worth another try is never the fault of the request', () => {
  for (const [code, { status, retryable }] of ENTRIES) {
    assert.ok(status >= 400 && status <= 599, code)
    if (retryable) assert.ok(status >= 500 || status === 429 || status === 408, code)
  }
})

test('an error of the catalogue is its entry, its message and its options', () => {
  const cause = new Error('inside')
  const error = new GatewayError('TIMEOUT', 'demo: too slow', { retryAfterSeconds: 3, cause })
  assert.deepEqual(
    [error.code, error.message, error.entry, error.options.retryAfterSeconds, error.cause],
    ['TIMEOUT', 'demo: too slow', CATALOGUE.TIMEOUT, 3, cause],
  )
  assert.equal(new GatewayError('TIMEOUT').message, CATALOGUE.TIMEOUT.title)
  assert.equal('cause' in new GatewayError('TIMEOUT'), false)
})

test('it collects no stack, and takes that from no other error', () => {
  const limit = Error.stackTraceLimit
  assert.equal(new GatewayError('TIMEOUT').stack?.includes('\n    at '), false)
  assert.equal(Error.stackTraceLimit, limit)
  assert.equal(new Error('other').stack?.includes('\n    at '), true)
})

test('a broken promise of ours is no error of the catalogue', () => {
  invariant(1, 'holds')
  assert.throws(
    () => invariant(0, 'a is b'),
    (error) => error instanceof InvariantError && !(error instanceof GatewayError) && error.message.includes('a is b'),
  )
})
