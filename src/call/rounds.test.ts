// Older clients that are asked what a newer server needs.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { makeCall, makeGateway, resultText } from '../../test/fakes/call.ts'
import { registryRows, tool, upstreamRow } from '../../test/fakes/registry.ts'
import { ASKS } from '../core/asks.ts'
import type { AskClient, Call, Question, Reply } from '../core/call.ts'
import { LIMITS } from '../core/limits.ts'
import { createDispatch } from './dispatch.ts'

const NEW = { era: 'modern', revision: '2026-07-28' } as const
const ROWS = registryRows([{ upstream: upstreamRow('u', {}, NEW), definitions: [tool('t')] }])
const ALL = ASKS.elicitationForm | ASKS.elicitationUrl | ASKS.sampling | ASKS.roots
const client = (asks: number): Call['client'] => ({ name: 'c', version: '1', asks, capabilities: null })

type Params = Record<string, unknown>
const need = (inputRequests: object | undefined, requestState?: string): object => ({
  ...{ resultType: 'input_required', inputRequests, requestState },
})
const form = (message: string): object => ({ method: 'elicitation/create', params: { mode: 'form', message } })

async function setUp(answers: (params: Params, round: number) => object, ask: AskClient | null, asks = ALL) {
  const seen: Params[] = []
  const gateway = await makeGateway(ROWS, (out) => {
    const params = JSON.parse(out.params.toString()) as Params
    seen.push(params)
    return { result: Buffer.from(JSON.stringify(answers(params, seen.length))) }
  })
  const dispatch = createDispatch(gateway)
  const run = async (over: Partial<Call> = {}): Promise<Params> =>
    JSON.parse(
      resultText(
        await dispatch(
          makeCall('tools/call', { name: 'u-t', arguments: { a: 1 } }, { client: client(asks), ask, ...over }),
        ),
      ),
    ) as Params
  return { run, seen }
}

const accept: AskClient = async ({ params }) => {
  const { message } = JSON.parse(params.toString()) as { message: string }
  return { result: Buffer.from(JSON.stringify({ action: 'accept', content: { said: message } })) }
}

test('round after round, with the state as it came and the answers under their keys', async () => {
  const { run, seen } = await setUp(
    (_params, round) =>
      round === 1
        ? need({ a: form('A'), b: form('B') }, 'ste "1"')
        : round === 2
          ? need(undefined, 'only a state')
          : { resultType: 'complete', content: [1] },
    accept,
  )
  assert.deepEqual(await run(), { resultType: 'complete', content: [1] })
  const first = { name: 't', arguments: { a: 1 } }
  const said = (text: string): object => ({ action: 'accept', content: { said: text } })
  assert.deepEqual(seen, [
    first,
    { ...first, requestState: 'ste "1"', inputResponses: { a: said('A'), b: said('B') } },
    { ...first, requestState: 'only a state' },
  ])
})

test('what is asked is said as the revision of the client has it', async () => {
  const asked: unknown[] = []
  const ask: AskClient = async (question) => {
    asked.push(JSON.parse(question.params.toString()))
    return { result: Buffer.from('{"action":"accept"}') }
  }
  const url = { method: 'elicitation/create', params: { mode: 'url', url: 'https://a', message: 'm' } }
  const of = (request: object) => (_params: Params, round: number) =>
    round === 1 ? need({ k: request }) : { resultType: 'complete', content: [] }
  await (await setUp(of(form('m')), ask)).run({ revision: '2025-06-18' })
  await (await setUp(of(form('m')), ask)).run()
  await (await setUp(of(url), ask)).run()
  const [older, newer, byUrl] = asked as [object, object, { elicitationId: string }]
  assert.deepEqual([older, newer], [{ message: 'm' }, { mode: 'form', message: 'm' }])
  assert.match(byUrl.elicitationId, /^[0-9a-f-]{36}$/)
  await assert.rejects((await setUp(of(url), ask)).run({ revision: '2025-06-18' }), { code: 'UNSUPPORTED_BY_UPSTREAM' })
})

test('nothing is asked of a client that has not declared it, or that cannot be asked', async () => {
  const never: AskClient = () => assert.fail('it was asked')
  const once = () => need({ k: form('m') })
  await assert.rejects((await setUp(once, never, ASKS.roots)).run(), { code: 'UNSUPPORTED_BY_UPSTREAM' })
  await assert.rejects((await setUp(once, null)).run(), { code: 'UNSUPPORTED_BY_UPSTREAM' })
  const strange = await setUp(() => need({ k: { method: 'tools/call' } }), never)
  await assert.rejects(strange.run(), { code: 'UNSUPPORTED_BY_UPSTREAM' })
})

test('rounds, and questions of one round, are bounded', async () => {
  const { run, seen } = await setUp(() => need({ k: form('m') }), accept)
  await assert.rejects(run(), { code: 'UNSUPPORTED_BY_UPSTREAM' })
  assert.equal(seen.length, LIMITS.questionRounds + 1)
  const many = Object.fromEntries(Array.from({ length: LIMITS.questionsPerCall + 1 }, (_, n) => [`k${n}`, form('m')]))
  await assert.rejects((await setUp(() => need(many), accept)).run(), { code: 'UNSUPPORTED_BY_UPSTREAM' })
})

test("a client's error ends the call, and takes the other questions back", async () => {
  const withdrawn: string[] = []
  const ask: AskClient = (question: Question, cancel): Promise<Reply> => {
    const { message } = JSON.parse(question.params.toString()) as { message: string }
    if (message === 'A') return Promise.resolve({ error: Buffer.from('{"code":-1,"message":"rejected"}') })
    return new Promise((_resolve, reject) => {
      cancel.onCancel(() => {
        withdrawn.push(message)
        reject(new Error('withdrawn'))
      })
    })
  }
  const { run, seen } = await setUp(() => need({ a: form('A'), b: form('B') }), ask)
  await assert.rejects(run(), { code: 'QUESTION_REFUSED', message: /rejected/ })
  assert.deepEqual([withdrawn, seen.length], [['B'], 1])
})

test('what says neither a question nor a state, or says it wrongly, breaks the protocol', async () => {
  for (const wrong of [need(undefined), need([1]), { ...need({}), requestState: 7 }])
    await assert.rejects((await setUp(() => wrong, accept)).run(), { code: 'UPSTREAM_INVALID' })
})
