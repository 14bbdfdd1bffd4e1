// Envelopes: what clients may send, what upstreams may answer, and that nothing of an upstream becomes an envelope of ours.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { GatewayError } from '../core/errors.ts'
import {
  encodeError,
  encodeNotification,
  encodeRequest,
  encodeResult,
  type Message,
  readBody,
  readIncoming,
  readReply,
} from './jsonrpc.ts'

const body = (text: string | Buffer): Message | Message[] =>
  readBody(typeof text === 'string' ? Buffer.from(text) : text)
const codeOf = (run: () => unknown): string => {
  try {
    run()
  } catch (error) {
    if (error instanceof GatewayError) return error.code
    throw error
  }
  return 'accepted'
}

test('a request, a notification, a response', () => {
  const request = body(
    '{"jsonrpc":"2.0","id":"a\\"b","method":"tools/call","params":{"name":"x","arguments":{"n":12345678901234567890},"_meta":{"k":1}}}',
  ) as Message
  assert.equal(request.kind, 'request')
  assert.equal(request.method, 'tools/call')
  assert.equal(request.id?.toString(), '"a\\"b"')
  assert.equal(request.params.value('name'), 'x')
  assert.equal(request.params.raw('arguments')?.toString(), '{"n":12345678901234567890}')
  assert.equal(request.params.metaRaw('k')?.toString(), '1')
  assert.equal((body('{"jsonrpc":"2.0","method":"m"}') as Message).kind, 'notification')
  assert.equal((body('{"jsonrpc":"2.0","id":1,"result":{}}') as Message).kind, 'response')
  assert.equal((body('[{"jsonrpc":"2.0","method":"m"},{"jsonrpc":"2.0","id":1,"method":"n"}]') as Message[]).length, 2)
})

test('vendor keys of _meta are told from reserved ones', () => {
  const message = body(
    '{"jsonrpc":"2.0","id":1,"method":"m","params":{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","progressToken":1,"traceparent":"x","com.example/k":{"a":[1]}}}}',
  ) as Message
  assert.deepEqual(
    message.params.vendorMeta().map(([key, raw]) => [key, raw.toString()]),
    [['com.example/k', '{"a":[1]}']],
  )
})

test('what clients may not send', () => {
  const cases: [string | Buffer, string][] = [
    ['', 'PARSE_ERROR'],
    ['{', 'PARSE_ERROR'],
    ['{"jsonrpc":"2.0","id":1,"method":"m"} x', 'PARSE_ERROR'],
    [Buffer.from([0x7b, 0xff, 0x7d]), 'PARSE_ERROR'],
    ['1', 'INVALID_REQUEST'],
    ['"x"', 'INVALID_REQUEST'],
    ['nonsense', 'PARSE_ERROR'],
    ['[]', 'INVALID_REQUEST'],
    ['[1]', 'INVALID_REQUEST'],
    [`[${Array(60).fill('{"jsonrpc":"2.0","method":"m"}').join(',')}]`, 'INVALID_REQUEST'],
    ['{"id":1,"method":"m"}', 'INVALID_REQUEST'],
    ['{"jsonrpc":"1.0","id":1,"method":"m"}', 'INVALID_REQUEST'],
    ['{"jsonrpc":"2.0","id":null,"method":"m"}', 'INVALID_REQUEST'],
    ['{"jsonrpc":"2.0","id":1.5,"method":"m"}', 'INVALID_REQUEST'],
    ['{"jsonrpc":"2.0","id":{},"method":"m"}', 'INVALID_REQUEST'],
    [`{"jsonrpc":"2.0","id":"${'x'.repeat(600)}","method":"m"}`, 'INVALID_REQUEST'],
    ['{"jsonrpc":"2.0","id":1,"method":7}', 'INVALID_REQUEST'],
    ['{"jsonrpc":"2.0","id":1,"method":""}', 'INVALID_REQUEST'],
    ['{"jsonrpc":"2.0","id":1,"method":"m","params":[1]}', 'INVALID_REQUEST'],
    ['{"jsonrpc":"2.0","id":1}', 'INVALID_REQUEST'],
    ['{"jsonrpc":"2.0","id":1,"result":{},"error":{}}', 'INVALID_REQUEST'],
    ['{"jsonrpc":"2.0","id":1,"id":2,"method":"m"}', 'INVALID_REQUEST'],
    ['{"jsonrpc":"2.0","id":1,"method":"m","params":{"name":"a","name":"b"}}', 'INVALID_REQUEST'],
    ['{"jsonrpc":"2.0","id":1,"method":"m","params":{"_meta":{"a":1,"a":2}}}', 'INVALID_REQUEST'],
    [`{"jsonrpc":"2.0","id":1,"method":"m","params":{"a":${'['.repeat(90)}${']'.repeat(90)}}}`, 'TOO_DEEP'],
  ]
  for (const [text, code] of cases)
    assert.equal(
      codeOf(() => body(text)),
      code,
      String(text),
    )
})

const big = 'x'.repeat(10_000)

test('the answer of an upstream, small and large, in both orders of members', () => {
  const cases: [string, string][] = [
    ['{"jsonrpc":"2.0","id":7,"result":{"a":1}}', '{"a":1}'],
    ['{"result":{"a":1},"jsonrpc":"2.0","id":7}', '{"a":1}'],
    [` {"id":7, "jsonrpc":"2.0",\n"result": {"a":1} }`, '{"a":1}'],
    [`{"jsonrpc":"2.0","id":7,"result":{"t":"${big}"}}`, `{"t":"${big}"}`],
    [`{"result":{"t":"${big}"},"jsonrpc":"2.0","id":7}`, `{"t":"${big}"}`],
    [`{"jsonrpc":"2.0","id":7,"result":{"id":3,"t":"${big}"}}`, `{"id":3,"t":"${big}"}`],
    [`{"result":{"t":"\\"id\\":7 ${big}","id":9},"jsonrpc":"2.0","id":7}`, `{"t":"\\"id\\":7 ${big}","id":9}`],
    [`{"jsonrpc":"2.0","result":{"t":"${big}"},"id":7}`, `{"t":"${big}"}`],
    [`{"jsonrpc":"2.0","id":7,"result":{"t":"${big}\\\\","u":"}"}}`, `{"t":"${big}\\\\","u":"}"}`],
    [`{"result":{"t":"},\\"jsonrpc","u":["${big}"]},"jsonrpc":"2.0","id":7}`, `{"t":"},\\"jsonrpc","u":["${big}"]}`],
  ]
  for (const [text, result] of cases)
    assert.deepEqual(readReply(Buffer.from(text), '7'), { result: Buffer.from(result) }, text.slice(0, 60))
  const failed = readReply(Buffer.from('{"jsonrpc":"2.0","id":7,"error":{"code":-1,"message":"m"}}'), '7')
  assert.deepEqual(failed, { error: Buffer.from('{"code":-1,"message":"m"}') })
})

test('what upstreams may not answer', () => {
  const texts = [
    '{"jsonrpc":"2.0","id":8,"result":{}}',
    '{"jsonrpc":"2.0","id":"7","result":{}}',
    '{"jsonrpc":"2.0","\\u0069d":8,"id":7,"result":{}}',
    '{"jsonrpc":"2.0","id":7,"id":8,"result":{}}',
    '{"jsonrpc":"2.0","id":7,"result":{},"result":{"x":1}}',
    '{"jsonrpc":"2.0","id":7,"result":{},"error":{"code":1,"message":""}}',
    '{"jsonrpc":"2.0","id":7}',
    '{"jsonrpc":"2.0","id":7,"result":[]}',
    '{"jsonrpc":"2.0","id":7,"result":"x"}',
    '{"jsonrpc":"2.0","id":7,"error":"x"}',
    '{"jsonrpc":"2.0","id":7,"error":{"code":"1","message":"x"}}',
    '{"jsonrpc":"2.0","id":7,"error":{"code":1}}',
    '{"id":7,"result":{}}',
    '{"jsonrpc":"2.0","id":7,"method":"m","result":{}}',
    '{"jsonrpc":"2.0","method":"m"}',
    '[{"jsonrpc":"2.0","id":7,"result":{}}]',
    '{"jsonrpc":"2.0","id":7,"result":{}',
    '{"jsonrpc":"2.0","id":7,"result":{}}}',
    `{"jsonrpc":"2.0","id":7,"result":{"t":"${big}"},"id":8}`,
    `{"jsonrpc":"2.0","id":7,"result":{"t":"${big}"},"\\u0069d":8}`,
    `{"jsonrpc":"2.0","id":7,"result":{"t":"${big}"}}{"jsonrpc":"2.0","id":7,"result":{}}`,
    `{"result":{"t":"${big}"},"id":8,"x":{},"jsonrpc":"2.0","id":7}`,
    `{"result":{"t":"${big}"},"method":"m","x":{},"jsonrpc":"2.0","id":7}`,
    `{"jsonrpc":"2.0","id":7,"result":{"t":"${big}"},"error":{"code":1,"message":"m"}}`,
    `{"jsonrpc":"2.0","id":7,"result":{"t":"${big}"}},{"x":{}}`,
    `{"jsonrpc":"2.0","id":7,"result":{"t":"${big}\\\\"}},{"x":"}}`,
    `{"result":{"t":"${big}"},"jsonrpc":"2.0","id":8},"jsonrpc":"2.0","id":7}`,
  ]
  for (const text of texts)
    assert.equal(
      codeOf(() => readReply(Buffer.from(text), '7')),
      'UPSTREAM_INVALID',
      text.slice(0, 80),
    )
  assert.equal(
    codeOf(() =>
      readReply(
        Buffer.concat([Buffer.from('{"jsonrpc":"2.0","id":7,"result":{"a":"'), Buffer.of(0xff), Buffer.from('"}}')]),
        '7',
      ),
    ),
    'UPSTREAM_INVALID',
  )
})

test('messages of an upstream in the middle of a call', () => {
  const progress = readIncoming(
    Buffer.from('{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":3,"progress":1}}'),
  )
  assert.ok(
    progress.kind === 'notification' &&
      progress.method === 'notifications/progress' &&
      progress.params.value('progress') === 1,
  )
  const asked = readIncoming(Buffer.from('{"jsonrpc":"2.0","id":"q","method":"roots/list"}'))
  assert.ok(asked.kind === 'request' && asked.id === '"q"')
})

test('what we write is one message', () => {
  const id = Buffer.from('"x"')
  assert.deepEqual(JSON.parse(Buffer.concat(encodeResult(id, [Buffer.from('{"a":'), Buffer.from('1}')])).toString()), {
    jsonrpc: '2.0',
    id: 'x',
    result: { a: 1 },
  })
  assert.deepEqual(JSON.parse(encodeRequest('7', 'm', Buffer.from('{}')).toString()), {
    jsonrpc: '2.0',
    id: 7,
    method: 'm',
    params: {},
  })
  assert.deepEqual(JSON.parse(encodeNotification('m"', null).toString()), { jsonrpc: '2.0', method: 'm"' })
  assert.deepEqual(JSON.parse(encodeError(null, { code: 1, message: 'x' }).toString()), {
    jsonrpc: '2.0',
    id: null,
    error: { code: 1, message: 'x' },
  })
})

test('bytes that are no UTF-8 are no message, of a client or an upstream, however long', () => {
  const bad = (head: string, tail: string, fill = ''): Buffer =>
    Buffer.concat([Buffer.from(head + fill), Buffer.from([0xff]), Buffer.from(tail)])
  assert.throws(() => readBody(bad('{"jsonrpc":"2.0","id":1,"method":"', '"}')), { code: 'PARSE_ERROR' })
  for (const fill of ['', 'x'.repeat(20_000)])
    assert.throws(() => readIncoming(bad('{"jsonrpc":"2.0","id":1,"result":{"a":"', '"}}', fill)), {
      code: 'UPSTREAM_INVALID',
    })
})

test('a message is a request or an answer, never both', () => {
  for (const member of ['"result":{}', '"error":{"code":1,"message":"m"}']) {
    const both = Buffer.from(`{"jsonrpc":"2.0","id":1,"method":"ping",${member}}`)
    assert.throws(() => readBody(both), { code: 'INVALID_REQUEST' }, member)
    assert.throws(() => readIncoming(both), { code: 'UPSTREAM_INVALID' }, member)
  }
})
