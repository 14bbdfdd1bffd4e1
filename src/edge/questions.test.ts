// Questions to clients of older revisions: who may be asked what, whose answer counts, and that every question ends.

import assert from 'node:assert/strict'
import { mock, test } from 'node:test'
import { setImmediate as turn } from 'node:timers/promises'
import { CALLER } from '../../test/fakes/call.ts'
import { createFakeClock } from '../../test/fakes/clock.ts'
import { createMessagePair } from '../../test/fakes/messages.ts'
import { createLocalHop } from '../adapters/hop-local.ts'
import { createHopRelay, createWorkerHop } from '../adapters/hop-workers.ts'
import { ASKS } from '../core/asks.ts'
import type { Question, Reply, Session } from '../core/call.ts'
import { Cancel } from '../core/cancel.ts'
import { LIMITS, type Limits } from '../core/limits.ts'
import { createSealer } from '../mcp/seal.ts'
import type { Hop } from '../ports/hop.ts'
import { SILENT } from '../ports/log.ts'
import { type Asker, Questions } from './questions.ts'

const sealer = createSealer([{ id: 1, key: Buffer.alloc(32, 7) }])
const ADA = { ...CALLER, id: 'a'.repeat(32) }
const BOB = { ...CALLER, id: 'b'.repeat(32) }

function sessionOf(key: string, asks: number, callerId = ADA.id): Session {
  const client = { name: 'c', version: '1', asks, capabilities: null }
  return { id: key, key: key.repeat(32), callerId, scope: '', revision: '2025-11-25', client, expiresMs: 1e15 }
}
const SESSION = sessionOf('1', ASKS.sampling | ASKS.elicitationForm | ASKS.roots)

function setUp(limits: Partial<Limits> = {}, hop: Hop = createLocalHop({ worker: 0, boot: 1 })) {
  const clock = createFakeClock()
  const questions = new Questions({ sealer, hop, clock, log: SILENT, limits: { ...LIMITS, ...limits } })
  const written: Record<string, unknown>[] = []
  const waits: boolean[] = []
  const asker: Asker = {
    session: SESSION,
    write: (message) => written.push(JSON.parse(message.toString()) as Record<string, unknown>),
    settled: () => {},
    onWaiting: (isWaiting) => waits.push(isWaiting),
    open: 0,
  }
  const ask = (method: string, params: object = {}, cancel = new Cancel(), over = new Cancel()): Promise<Reply> => {
    const question = { method, params: Buffer.from(JSON.stringify(params)) } as Question
    // As `askerOf` does: what is thrown is a rejection.
    return (async () => questions.ask(asker, question, cancel, over))()
  }
  const answer = (id: unknown, body: object, session = SESSION, caller = ADA): void => {
    const message = Buffer.from(JSON.stringify({ jsonrpc: '2.0', id, ...body }))
    questions.answered(session, caller, Buffer.from(JSON.stringify(id)), message)
  }
  return { clock, questions, written, waits, ask, answer }
}

test('a question is a request of ours, and the answer comes back as it is', async () => {
  const { ask, written, answer, waits, questions } = setUp()
  const asked = ask('elicitation/create', { message: 'm' })
  const [request] = written
  assert.deepEqual([request?.method, request?.params], ['elicitation/create', { message: 'm' }])
  assert.match(String(request?.id), /^q\.[\w-]+$/)
  answer(request?.id, { result: { action: 'accept', content: { n: 1 } } })
  assert.equal(((await asked) as { result: Buffer }).result.toString(), '{"action":"accept","content":{"n":1}}')
  assert.deepEqual([waits, questions.size], [[true, false], 0])
  // The second one is nobody's.
  answer(request?.id, { result: {} })
  await turn()
  assert.equal(questions.dropped, 1)
})

test("an error of the client's is an answer too, and what is no response is one", async () => {
  const { ask, written, answer } = setUp()
  const asked = [ask('roots/list'), ask('roots/list')]
  answer(written[0]?.id, { error: { code: -1, message: 'rejected' } })
  answer(written[1]?.id, { result: [] })
  const [refused, faulty] = (await Promise.all(asked)) as { error: Buffer }[]
  assert.equal(refused?.error.toString(), '{"code":-1,"message":"rejected"}')
  assert.match(String(faulty?.error), /-32600/)
})

test('only what the client has declared is asked', async () => {
  const { ask, written } = setUp()
  const cases: [string, object][] = [
    ['elicitation/create', { mode: 'url', url: 'https://a' }],
    ['sampling/createMessage', { tools: [] }],
    ['tools/list', {}],
  ]
  for (const [method, params] of cases) await assert.rejects(ask(method, params), { code: 'MISSING_CAPABILITY' })
  assert.equal(written.length, 0)
})

test('nobody else answers: no other caller, no other session, no made-up or late id', async () => {
  const { ask, written, answer, questions, clock } = setUp()
  const asked = ask('roots/list')
  const id = written[0]?.id
  const result = { result: { roots: ['forged'] } }
  answer(id, result, SESSION, BOB)
  answer(id, result, sessionOf('2', ASKS.roots), ADA)
  for (const other of [1, 'q.', `${String(id)}A`, 'x', null]) answer(other, result)
  clock.forward(LIMITS.questionMs * 2)
  answer(id, result)
  await turn()
  assert.equal(questions.dropped, 8)
  clock.forward(-LIMITS.questionMs * 2)
  answer(id, { result: { roots: [] } })
  assert.equal(((await asked) as { result: Buffer }).result.toString(), '{"roots":[]}')
})

test('questions of one call, and of all calls, are bounded', async () => {
  const of = async (limits: Partial<Limits>): Promise<void> => {
    const { ask } = setUp(limits)
    for (let n = 0; n < 2; n += 1) ask('roots/list').catch(() => {})
    await assert.rejects(ask('roots/list'), { code: 'TOO_MANY' })
  }
  await of({ questionsPerCall: 2 })
  await of({ parkedMax: 2 })
})

test('a client that says nothing is given up after questionMs, and told so', async () => {
  mock.timers.enable({ apis: ['setTimeout'] })
  try {
    const { ask, written, questions } = setUp({ questionMs: 50 })
    const asked = ask('roots/list')
    asked.catch(() => {})
    mock.timers.tick(50)
    await assert.rejects(asked, { code: 'TIMEOUT' })
    assert.deepEqual(written[1], {
      ...{ jsonrpc: '2.0', method: 'notifications/cancelled' },
      params: { requestId: written[0]?.id },
    })
    assert.equal(questions.size, 0)
  } finally {
    mock.timers.reset()
  }
})

for (const [whose, at] of [
  ['the upstream takes it back', 0],
  ['the call is over', 1],
] as const) {
  test(`a question ends when ${whose}`, async () => {
    const { ask, written, questions, waits } = setUp()
    const ends = [new Cancel(), new Cancel()] as const
    const asked = ask('roots/list', {}, ...ends)
    asked.catch(() => {})
    ends[at].cancel('client')
    await assert.rejects(asked, { code: 'CANCELLED' })
    assert.deepEqual([written[1]?.method, questions.size, waits], ['notifications/cancelled', 0, [true, false]])
    await assert.rejects(ask('roots/list', {}, ...ends), { code: 'CANCELLED' })
  })
}

test('the answer may be posted to any worker', async () => {
  const relay = createHopRelay()
  const worker = (n: number) => {
    const pair = createMessagePair()
    relay.attach(pair.primary, n)
    const hop = createWorkerHop({ here: { worker: n, boot: n }, messages: pair.worker, limits: LIMITS, log: SILENT })
    return { ...setUp({}, hop), pair }
  }
  const [one, two] = [worker(1), worker(2)]
  const asked = one.ask('roots/list')
  two.answer(one.written[0]?.id, { result: { roots: [1] } })
  assert.equal(((await asked) as { result: Buffer }).result.toString(), '{"roots":[1]}')
  for (let n = 0; n < 5; n += 1) await turn()
  // And one for a worker that is gone is dropped.
  const lost = one.ask('roots/list')
  lost.catch(() => {})
  one.pair.close()
  two.answer(one.written[1]?.id, { result: { roots: [] } })
  for (let n = 0; n < 5; n += 1) await turn()
  assert.equal(two.questions.dropped, 1)
})
