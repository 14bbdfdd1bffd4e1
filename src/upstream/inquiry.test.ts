// What older upstreams ask, in a call and beside one: bounds, repetitions, withdrawals, and who may answer.

import assert from 'node:assert/strict'
import { mock, test } from 'node:test'
import { setImmediate as turn } from 'node:timers/promises'
import { createFakeBus } from '../../test/fakes/bus.ts'
import { makeCall } from '../../test/fakes/call.ts'
import { ASKS, NO_ASKS } from '../core/asks.ts'
import type { AskClient, Question, Reply } from '../core/call.ts'
import type { Cancel } from '../core/cancel.ts'
import { GatewayError } from '../core/errors.ts'
import { LIMITS, type Limits } from '../core/limits.ts'
import { readParams } from '../mcp/jsonrpc.ts'
import { Inquiry } from './inquiry.ts'
import { type AskingLink, LinkInquiries } from './link-inquiries.ts'

const params = (value: object) => readParams(Buffer.from(JSON.stringify(value)))

interface Asked {
  readonly question: Question
  readonly cancel: Cancel
  readonly answer: (reply: Reply) => void
  readonly fail: (error: unknown) => void
}

function setUp(limits: Partial<Limits> = {}, canAsk = true) {
  const asked: Asked[] = []
  const ask: AskClient = (question, cancel) =>
    new Promise((answer, fail) => asked.push({ question, cancel, answer, fail }))
  const sent: unknown[] = []
  const waits: boolean[] = []
  const call = makeCall('tools/call', {}, { ask: canAsk ? ask : null })
  const inquiry = new Inquiry(
    call,
    { ...LIMITS, ...limits },
    {
      send: (message) => sent.push(JSON.parse(message.toString())),
      onWaiting: (isWaiting) => waits.push(isWaiting),
    },
  )
  return { asked, sent, waits, inquiry }
}

test("a question goes to the call's client, without the protocol's own metadata, and the answer under the server's id", async () => {
  const { asked, sent, waits, inquiry } = setUp()
  const meta = { progressToken: 1, 'io.modelcontextprotocol/x': 1, 'example.com/y': 2 }
  inquiry.take('elicitation/create', '"s-1"', params({ message: 'm\nn', _meta: meta }))
  const [{ question, answer }] = asked as [Asked]
  assert.deepEqual(JSON.parse(question.params.toString()), { message: 'm\nn', _meta: { 'example.com/y': 2 } })
  answer({ result: Buffer.from('{"action":"accept"}') })
  await turn()
  assert.deepEqual(sent, [{ jsonrpc: '2.0', id: 's-1', result: { action: 'accept' } }])
  assert.deepEqual(waits, [true, false])
})

test('a ping is answered, and what nobody can be asked is refused', async () => {
  const { sent, inquiry } = setUp({}, false)
  inquiry.take('ping', '1', params({}))
  inquiry.take('sampling/createMessage', '2', params({}))
  inquiry.take('tools/list', '3', params({}))
  const [pong, ...refused] = sent as { result?: object; error?: { code: number } }[]
  assert.deepEqual(pong?.result, {})
  assert.deepEqual(
    refused.map(({ error }) => error?.code),
    [-32601, -32601],
  )
})

test('the same id while it is open is the same question', async () => {
  const { asked, inquiry } = setUp()
  inquiry.take('roots/list', '1', params({}))
  inquiry.take('roots/list', '1', params({}))
  assert.equal(asked.length, 1)
})

test('a question larger than questionBytes is refused, and more of them than upstreamAsksMax end the call', () => {
  const { asked, sent, inquiry } = setUp({ questionBytes: 50, upstreamAsksMax: 3 })
  assert.ok(inquiry.take('elicitation/create', '1', params({ message: 'x'.repeat(50) })))
  assert.deepEqual([asked.length, (sent[0] as { error: { code: number } }).error.code], [0, -32602])
  assert.ok(inquiry.take('roots/list', '2', params({})))
  assert.ok(inquiry.take('ping', '3', params({})))
  assert.ok(!inquiry.take('ping', '4', params({})))
})

test('who takes a question back gets no answer; the end of the call takes back all', async () => {
  const { asked, sent, waits, inquiry } = setUp()
  inquiry.take('roots/list', '1', params({}))
  inquiry.take('roots/list', '2', params({}))
  inquiry.withdraw('1')
  inquiry.withdraw('7')
  assert.deepEqual(
    asked.map(({ cancel }) => cancel.cancelled),
    [true, false],
  )
  asked[0]?.fail(new GatewayError('CANCELLED'))
  await turn()
  assert.deepEqual([sent, waits], [[], [true]])
  inquiry.end()
  assert.ok(asked[1]?.cancel.cancelled)
  asked[1]?.fail(new GatewayError('CANCELLED'))
  inquiry.take('roots/list', '3', params({}))
  await turn()
  assert.deepEqual([sent, asked.length], [[], 2])
})

test('what a server is told says nothing of our insides', async () => {
  for (const [error, code] of [
    [new GatewayError('MISSING_CAPABILITY', 'inside'), -32601],
    [new GatewayError('TIMEOUT', 'inside'), -32603],
    [new Error('inside'), -32603],
  ] as const) {
    const { asked, sent, inquiry } = setUp()
    inquiry.take('roots/list', '1', params({}))
    asked[0]?.fail(error)
    await turn()
    const [refused] = sent as { error: { code: number; message: string } }[]
    assert.equal(refused?.error.code, code)
    assert.doesNotMatch(refused!.error.message, /inside/)
  }
})

// --- beside a call ---------------------------------------------------------------------------------------------------------

function onLink(limits: Partial<Limits> = {}, asks: number = ASKS.roots) {
  const bus = createFakeBus()
  const inquiries = new LinkInquiries({ bus, limits: { ...LIMITS, ...limits } })
  const sent: { id: unknown; result?: object; error?: { code: number } }[] = []
  const link = (at: string): AskingLink => ({
    ...{ at, key: { upstreamId: 'u', owner: at, asks } },
    send: (message) => void sent.push(JSON.parse(message.toString())),
  })
  const asked = () =>
    bus.published.filter(({ topic }) => topic === 'linkAsked').map(({ event }) => event as { id: number })
  const unasked = () => bus.published.filter(({ topic }) => topic === 'linkUnasked').length
  return { inquiries, sent, link, asked, unasked }
}

test('the first worker that can put a question answers it, alone', () => {
  const { inquiries, sent, link, asked } = onLink()
  inquiries.take(link('a'), 'roots/list', '"x"', params({}))
  const [{ id }] = asked() as [{ id: number }]
  assert.deepEqual([inquiries.claim(id), inquiries.claim(id), inquiries.claim(99)], [true, false, false])
  inquiries.answer(id, { result: Buffer.from('{"roots":[]}') })
  inquiries.answer(id, { result: Buffer.from('{}') })
  assert.deepEqual(sent, [{ jsonrpc: '2.0', id: 'x', result: { roots: [] } }])
  assert.equal(inquiries.size, 0)
})

test('where no worker has such a client the server hears so after questionClaimMs', () => {
  mock.timers.enable({ apis: ['setTimeout'] })
  try {
    const { inquiries, sent, link, asked } = onLink({ questionClaimMs: 10 })
    inquiries.take(link('a'), 'roots/list', '1', params({}))
    inquiries.take(link('a'), 'roots/list', '2', params({}))
    inquiries.claim(asked()[1]!.id)
    mock.timers.tick(10)
    assert.deepEqual(
      sent.map(({ id, error }) => [id, error?.code]),
      [[1, -32603]],
    )
    // Nor is one waited for without end that a dead worker has taken.
    mock.timers.tick(LIMITS.questionMs + LIMITS.hopMs)
    assert.deepEqual([sent.length, inquiries.size], [2, 0])
  } finally {
    mock.timers.reset()
  }
})

test('a link without a client that can be asked, a repetition, and too many', () => {
  const silent = onLink({}, NO_ASKS)
  silent.inquiries.take(silent.link('a'), 'roots/list', '1', params({}))
  assert.deepEqual([silent.sent[0]?.error?.code, silent.asked().length], [-32601, 0])
  const { inquiries, sent, link, asked } = onLink({ questionsPerCall: 2, parkedMax: 3 })
  for (const id of ['1', '1', '2', '3']) inquiries.take(link('a'), 'roots/list', id, params({}))
  for (const id of ['1', '2']) inquiries.take(link('b'), 'roots/list', id, params({}))
  assert.equal(asked().length, 3)
  assert.deepEqual(
    sent.map(({ id, error }) => [id, error?.code]),
    [
      [3, -32603],
      [2, -32603],
    ],
  )
  for (const { id } of asked()) inquiries.answer(id, { result: Buffer.from('{}') })
})

test('a question ends with its link, or when its server takes it back', () => {
  const { inquiries, sent, link, unasked } = onLink()
  for (const id of ['1', '"2"']) inquiries.take(link('a'), 'roots/list', id, params({}))
  inquiries.take(link('b'), 'roots/list', '1', params({}))
  inquiries.withdraw('a', params({ requestId: '2' }))
  inquiries.withdraw('a', params({}))
  assert.deepEqual([inquiries.size, unasked()], [2, 1])
  inquiries.endLink('a')
  inquiries.endLink('b')
  assert.deepEqual([inquiries.size, unasked(), sent.length], [0, 3, 0])
})
