// Where the answer of one call goes, on an exchange that a test plays.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { CALLER } from '../../test/fakes/call.ts'
import type { EventStream, Exchange } from '../http/exchange.ts'
import { classify } from '../mcp/classify.ts'
import { type Message, readBody } from '../mcp/jsonrpc.ts'
import { PostedCall } from './posted-call.ts'

function setUp(accepted: { json: boolean; stream: boolean }) {
  const said: string[] = []
  const stream: EventStream = {
    write: (chunk) => said.push(String(chunk)) > 0,
    onDrain: null,
    end: () => void said.push('end'),
    destroy: () => void said.push('destroy'),
    bufferedBytes: 0,
  }
  const exchange = {
    headers: {},
    reply: (status: number, _headers: readonly string[], body: readonly Buffer[]) =>
      said.push(`${status} ${Buffer.concat(body)}`),
    stream: () => stream,
  } as unknown as Exchange
  const message = readBody(Buffer.from('{"jsonrpc":"2.0","id":1,"method":"tools/call"}')) as Message
  const call = new PostedCall(exchange, {
    ...{ message, classified: classify({}, message), scope: '', caller: CALLER, session: null, client: null },
    ...{ revision: '2025-11-25', logLevel: null, hops: 0, accepted, bufferBytesMax: 100 },
  })
  return { call, said }
}

const ANSWER = [Buffer.from('{"id":1}')]

test('what comes after the answer is not said, as JSON or on a stream', () => {
  const plain = setUp({ json: true, stream: true })
  plain.call.answer(200, [], ANSWER)
  plain.call.notify!('notifications/progress', Buffer.from('{}'))
  plain.call.keepAlive()
  assert.deepEqual(plain.said, ['200 {"id":1}'])

  const streamed = setUp({ json: true, stream: true })
  streamed.call.notify!('notifications/progress', Buffer.from('{}'))
  streamed.call.answer(200, [], ANSWER)
  const before = streamed.said.length
  assert.equal(streamed.said.at(-1), 'end')
  streamed.call.notify!('notifications/progress', Buffer.from('{}'))
  streamed.call.keepAlive()
  assert.equal(streamed.said.length, before)
})
