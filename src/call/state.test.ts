import assert from 'node:assert/strict'
import { test } from 'node:test'
import { CALLER, makeCall, makeGateway, resultText } from '../../test/fakes/call.ts'
import { prompt, registryRows, tool, upstreamRow } from '../../test/fakes/registry.ts'
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
