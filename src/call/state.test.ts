import assert from 'node:assert/strict'
import { test } from 'node:test'
import { CALLER, makeCall, makeGateway, resultText } from '../../test/fakes/call.ts'
import { prompt, registryRows, tool, upstreamRow } from '../../test/fakes/registry.ts'
import { ASKS } from '../core/asks.ts'
import { createDispatch } from './dispatch.ts'

const NEW = { era: 'modern', revision: '2026-07-28' } as const
const ROWS = registryRows([
  { upstream: upstreamRow('u', {}, NEW), definitions: [tool('t'), prompt('p')] },
  { upstream: upstreamRow('w', {}, NEW), definitions: [tool('t')] },
])

async function setUp(answer: string) {
  const states: unknown[] = []
  const gateway = await makeGateway(ROWS, (out) => {
    states.push((JSON.parse(out.params.toString()) as { requestState?: unknown }).requestState)
    return { result: Buffer.from(answer) }
  })
  const dispatch = createDispatch(gateway)
  const ask = async (requestState?: unknown, over: object = {}, method = 'tools/call', name = 'u-t') => {
    const params = { name, arguments: {}, ...(requestState === undefined ? {} : { requestState }) }
    return resultText(await dispatch(makeCall(method, params, { ...NEW, ...over })))
  }
  return { ask, states }
}

test("a server's state comes back to it as it was, from the same caller and for the same thing only", async () => {
  const state = 'blob "ü" \\ 1'
  const text = `{"requestState":${JSON.stringify(state)}, "resultType":"input_required","inputRequests":{"n":1e400}}`
  const { ask, states } = await setUp(text)
  const first = await ask()
  assert.match(first, /"n":1e400/, 'what is not the state stays the very bytes')
  const sealed = (JSON.parse(first.replace('1e400', '1')) as { requestState: string }).requestState
  assert.ok(!first.includes('blob'))
  await ask(sealed, { paramHeaders: null })
  assert.deepEqual(states, [undefined, state])
  const refused = { code: 'INVALID_PARAMS' }
  await assert.rejects(ask(sealed, { caller: { ...CALLER, id: 'caller-2' } }), refused)
  await assert.rejects(ask(sealed, {}, 'tools/call', 'w-t'), refused)
  await assert.rejects(ask(sealed, {}, 'prompts/get', 'u-p'), refused)
  for (const forged of [state, `${sealed}A`, '', 7, null]) await assert.rejects(ask(forged), refused)
  assert.equal(states.length, 2)
})

test('what only looks like a state is left alone', async () => {
  for (const text of [
    '{"resultType":"complete","content":[{"type":"text","text":"\\"requestState\\""}],"requestState":"x"}',
    '{"resultType":"complete","structuredContent":{"requestState":"x"}}',
  ])
    assert.equal(await (await setUp(text)).ask(), text)
})

// --- pages that an older server wants visited first --------------------------------------------------------------------------

const OLD = registryRows([{ upstream: upstreamRow('u'), definitions: [tool('t')] }])
const WANTED = {
  ...{ code: -32042, message: 'visit first' },
  data: { elicitations: [{ mode: 'url', elicitationId: 'e', url: 'https://a.example', message: 'm' }, { url: 7 }, 7] },
}

async function visiting(asks: number) {
  const seen: string[] = []
  const gateway = await makeGateway(OLD, (out) => {
    seen.push(out.params.toString())
    if (seen.length > 1) return { result: Buffer.from('{"content":[]}') }
    return { error: Buffer.from(JSON.stringify(WANTED)) }
  })
  const dispatch = createDispatch(gateway)
  const client = { name: 'c', version: '1', asks, capabilities: null }
  const ask = async (more: object = {}, over: object = {}) => {
    const params = { name: 'u-t', arguments: { a: 1 }, ...more }
    const call = makeCall('tools/call', params, { era: 'modern', revision: '2026-07-28', client, ...over })
    return JSON.parse(resultText(await dispatch(call))) as Record<string, unknown>
  }
  return { ask, seen }
}

test('a page to be visited first is a question to a newer client, whose retry is sent as the first one was', async () => {
  const { ask, seen } = await visiting(ASKS.elicitationUrl)
  const { resultType, inputRequests, requestState } = await ask()
  const params = { mode: 'url', message: 'm', url: 'https://a.example' }
  assert.deepEqual([resultType, inputRequests], ['input_required', { url1: { method: 'elicitation/create', params } }])
  const answers = { requestState, inputResponses: { url1: { action: 'accept' } } }
  const stranger = { caller: { ...CALLER, id: 'caller-2' } }
  await assert.rejects(ask(answers, stranger), { code: 'INVALID_PARAMS' })
  assert.equal((await ask(answers)).resultType, 'complete')
  assert.deepEqual(seen, [seen[0], seen[0]])
})

test('a client that visits no pages hears which capability it lacks', async () => {
  const { ask } = await visiting(ASKS.elicitationForm)
  assert.deepEqual(await ask(), {
    ...{ code: -32021, message: 'visit first' },
    data: { requiredCapabilities: { elicitation: { url: {} } } },
  })
})
