// Calls that become tasks, in every pair of forms; the upstream is a function that keeps one task.

import assert from 'node:assert/strict'
import { mock, test } from 'node:test'
import { CALLER, makeCall, makeGateway, resultText } from '../../test/fakes/call.ts'
import { registryRows, tool, upstreamRow } from '../../test/fakes/registry.ts'
import { ASKS } from '../core/asks.ts'
import type { Call, Question, Reply } from '../core/call.ts'
import { Cancel } from '../core/cancel.ts'
import type { Outgoing } from '../upstream/upstream.ts'
import { createDispatch } from './dispatch.ts'

const TASKS = { tools: {}, tasks: { list: {}, cancel: {}, requests: { tools: { call: {} } } } }
const EXTENSION = { tools: {}, extensions: { 'io.modelcontextprotocol/tasks': {} } }
const MODERN = { era: 'modern', revision: '2026-07-28' } as const
const DECLARES = { capabilities: Buffer.from(JSON.stringify({ extensions: EXTENSION.extensions })) }
const client = (over: object): Call['client'] => ({ name: 'c', version: '1', asks: 0, capabilities: null, ...over })

const ROWS = registryRows([
  {
    upstream: upstreamRow('old', { isolation: 'caller' }, { capabilities: TASKS, stateful: true }),
    definitions: [
      tool('must', { execution: { taskSupport: 'required' } }),
      tool('may', { execution: { taskSupport: 'optional' } }),
      tool('not', { execution: { taskSupport: 'forbidden' } }),
    ],
  },
  {
    upstream: upstreamRow('new', {}, { ...MODERN, capabilities: EXTENSION }),
    definitions: [tool('work')],
  },
])

interface Asked {
  readonly method: string
  readonly params: Record<string, unknown>
  readonly call: Call
  readonly name: string | null
}

type Answers = Record<string, (asked: Asked) => object>

const missing = { code: -32021, message: 'm', data: { requiredCapabilities: { extensions: EXTENSION.extensions } } }

async function setUp(answers: Answers) {
  const seen: Asked[] = []
  const answer = (out: Outgoing, call: Call): Reply => {
    const params = JSON.parse(out.params.toString()) as Record<string, unknown>
    const asked = { method: out.method, params, call, name: out.name }
    seen.push(asked)
    const said = (answers[out.method] ?? assert.fail(out.method))(asked) as { refusal?: object }
    return said.refusal === undefined
      ? { result: Buffer.from(JSON.stringify(said)) }
      : { error: Buffer.from(JSON.stringify(said.refusal)) }
  }
  const dispatch = createDispatch(await makeGateway(ROWS, answer))
  const ask = async (method: string, params: object, over: Partial<Call> = {}) =>
    JSON.parse(resultText(await dispatch(makeCall(method, params, over)))) as Record<string, unknown>
  return { ask, seen, methods: () => seen.map(({ method }) => method) }
}

const STATE = { status: 'working', createdAt: 'c', lastUpdatedAt: 'l' }

test('2025-11-25 on both sides: the task passes with an id of ours, and is followed by it', async () => {
  const { ask, seen } = await setUp({
    'tools/call': () => ({ task: { taskId: 't-1', ttl: 5, ...STATE } }),
    'tasks/get': () => ({ taskId: 't-1', ttl: 5, ...STATE }),
    'tasks/result': () => ({ content: [], _meta: { 'io.modelcontextprotocol/related-task': { taskId: 't-1' }, a: 1 } }),
    'tasks/cancel': () => ({ taskId: 't-1', ...STATE, status: 'cancelled' }),
  })
  const created = await ask('tools/call', { name: 'old-may', task: { ttl: 60_000 } })
  const { taskId, ttl } = created.task as { taskId: string; ttl: number }
  assert.notEqual(taskId, 't-1')
  assert.equal(ttl, 5)
  assert.deepEqual(seen[0]?.params, { name: 'may', task: { ttl: 60_000 } })
  assert.equal((await ask('tasks/get', { taskId })).ttl, 5)
  assert.deepEqual(seen.at(-1)?.params, { taskId: 't-1' })
  assert.equal((await ask('tasks/cancel', { taskId })).status, 'cancelled')
  const { _meta } = await ask('tasks/result', { taskId })
  const { 'io.modelcontextprotocol/related-task': related, a } = _meta as Record<string, { taskId?: string }>
  assert.equal(a, 1)
  // Ids of one task differ in their text, not in what they name.
  assert.equal((await ask('tasks/get', { taskId: related!.taskId })).status, 'working')
})

test("another caller's task does not exist, nor one of the other form", async () => {
  const { ask, seen } = await setUp({ 'tools/call': () => ({ task: { taskId: 't-1', ...STATE } }) })
  const { task } = await ask('tools/call', { name: 'old-may', task: {} })
  const { taskId } = task as { taskId: string }
  const caller = { ...CALLER, id: 'caller-2' }
  for (const method of ['tasks/get', 'tasks/result', 'tasks/cancel'])
    await assert.rejects(ask(method, { taskId }, { caller }), { code: 'INVALID_PARAMS' })
  await assert.rejects(ask('tasks/update', { taskId, inputResponses: {} }, MODERN), { code: 'INVALID_PARAMS' })
  for (const other of ['t-1', '', 7, null])
    await assert.rejects(ask('tasks/get', { taskId: other }), { code: 'INVALID_PARAMS' })
  assert.equal(seen.length, 1)
})

test('a tool without tasks is called as it came, and one of a newer server is no task for an older client', async () => {
  const { ask } = await setUp({ 'tools/call': () => ({ content: [] }) })
  assert.deepEqual(await ask('tools/call', { name: 'old-not', task: {} }), { content: [] })
  await assert.rejects(ask('tools/call', { name: 'new-work', task: {} }), { code: 'METHOD_NOT_FOUND' })
})

test('a tool that runs only as a task just takes its time for clients that know no tasks', async () => {
  const { ask, methods, seen } = await setUp({
    'tools/call': () => ({ task: { taskId: 't-1', ...STATE } }),
    'tasks/result': () => ({ content: [1], _meta: { 'io.modelcontextprotocol/related-task': { taskId: 't-1' } } }),
  })
  assert.deepEqual(await ask('tools/call', { name: 'old-must' }, { revision: '2025-06-18' }), {
    content: [1],
    _meta: {},
  })
  assert.deepEqual(methods(), ['tools/call', 'tasks/result'])
  assert.deepEqual(seen[0]?.params, { task: {}, name: 'must' })
  assert.equal((await ask('tools/call', { name: 'old-must' }, MODERN)).resultType, 'complete')
})

test('a client of 2025-11-25 that does not call it as a task hears what the server says', async () => {
  const { ask, methods } = await setUp({ 'tools/call': () => ({ refusal: { code: -32601, message: 'task it' } }) })
  assert.equal((await ask('tools/call', { name: 'old-must' })).code, -32601)
  assert.deepEqual(methods(), ['tools/call'])
})

test('whoever stops waiting stops the task', async () => {
  const cancel = new Cancel()
  const { ask, seen } = await setUp({
    'tools/call': () => ({ task: { taskId: 't-1', ...STATE } }),
    'tasks/result': () => {
      cancel.cancel('client')
      throw Object.assign(new Error('cancelled'), { code: 'CANCELLED' })
    },
    'tasks/cancel': () => ({}),
  })
  await assert.rejects(ask('tools/call', { name: 'old-must' }, { revision: '2025-06-18', cancel }))
  assert.equal(seen.at(-1)?.method, 'tasks/cancel')
  assert.equal(seen.at(-1)?.call.cancel.reason, null, 'a cancelled call could say nothing any more')
})

test('2026-07-28 on both sides: the task passes with an id of ours, which is the name in the header too', async () => {
  const { ask, seen } = await setUp({
    'tools/call': () => ({ resultType: 'task', taskId: 't-1', ttlMs: 5, ...STATE }),
    'tasks/get': () => ({ resultType: 'complete', taskId: 't-1', ttlMs: null, ...STATE }),
    'tasks/update': () => ({ resultType: 'complete' }),
    'tasks/cancel': () => ({ resultType: 'complete' }),
  })
  const knows = { ...MODERN, client: client(DECLARES) }
  const { taskId, resultType } = await ask('tools/call', { name: 'new-work' }, knows)
  assert.equal(resultType, 'task')
  assert.notEqual(taskId, 't-1')
  assert.equal((await ask('tasks/get', { taskId }, knows)).ttlMs, null)
  assert.deepEqual(await ask('tasks/update', { taskId, inputResponses: { k: { action: 'accept' } } }, knows), {
    resultType: 'complete',
  })
  await ask('tasks/cancel', { taskId }, knows)
  for (const { name, params } of seen.slice(1)) assert.deepEqual([name, params.taskId], ['t-1', 't-1'])
  assert.deepEqual(seen[2]?.params.inputResponses, { k: { action: 'accept' } })
})

async function followed(over: Partial<Call>, states: object[]) {
  mock.timers.enable({ apis: ['setTimeout'] })
  try {
    const rig = await setUp({
      'tools/call': ({ call }) =>
        String(call.client.capabilities).includes('/tasks')
          ? { resultType: 'task', taskId: 't-1', pollIntervalMs: 1, ...STATE }
          : { refusal: missing },
      'tasks/get': () => ({ resultType: 'complete', taskId: 't-1', pollIntervalMs: 1, ...(states.shift() ?? STATE) }),
      'tasks/update': () => ({ resultType: 'complete' }),
      'tasks/cancel': () => ({ resultType: 'complete' }),
    })
    let isOver = false
    const answered = rig.ask('tools/call', { name: 'new-work' }, over).finally(() => {
      isOver = true
    })
    answered.catch(() => {})
    for (let turn = 0; !isOver && turn < 1_000; turn += 1) {
      await new Promise((resolve) => setImmediate(resolve))
      mock.timers.tick(100)
    }
    return { ...rig, answered }
  } finally {
    mock.timers.reset()
  }
}

const COMPLETED = { ...STATE, status: 'completed', result: { content: [{ type: 'text', text: 'done' }] } }

for (const [whose, over] of [
  ['an older client', {}],
  ['a newer client without the extension', { ...MODERN, client: client({ capabilities: Buffer.from('{}') }) }],
] as const) {
  test(`a server that insists on a task is waited for, for ${whose}`, async () => {
    const { answered, methods, seen } = await followed(over, [STATE, STATE, COMPLETED])
    assert.deepEqual((await answered).content, [{ type: 'text', text: 'done' }])
    assert.deepEqual(methods(), ['tools/call', 'tools/call', 'tasks/get', 'tasks/get', 'tasks/get'])
    assert.equal(seen.at(-1)?.name, 't-1')
  })
}

test('a task that fails is an error, one that its server cancels a refusal', async () => {
  const failed = await followed({}, [{ ...STATE, status: 'failed', error: { code: -32000, message: 'broken' } }])
  assert.equal((await failed.answered).message, 'broken')
  const lying = await followed({}, [{ ...STATE, status: 'failed', error: 'no object' }])
  assert.equal((await lying.answered).code, -32603)
  const cancelled = await followed({}, [{ ...STATE, status: 'cancelled' }])
  await assert.rejects(cancelled.answered, { code: 'UPSTREAM_REFUSED' })
})

const NEEDS = (key: string): object => ({
  ...{ ...STATE, status: 'input_required' },
  inputRequests: { [key]: { method: 'elicitation/create', params: { mode: 'form', message: key } } },
})

test('what a task asks is put to an older client, each question once', async () => {
  const questions: Question[] = []
  const ask = async (question: Question): Promise<Reply> => {
    questions.push(question)
    return { result: Buffer.from('{"action":"accept","content":{}}') }
  }
  const asks = client({ asks: ASKS.elicitationForm })
  const states = [NEEDS('a'), NEEDS('a'), NEEDS('b'), COMPLETED]
  const { answered, seen } = await followed({ client: asks, ask }, states)
  await answered
  assert.deepEqual(
    questions.map(({ params }) => (JSON.parse(params.toString()) as { message: string }).message),
    ['a', 'b'],
  )
  const updates = seen.filter(({ method }) => method === 'tasks/update').map(({ params }) => params.inputResponses)
  assert.deepEqual(updates, [{ a: { action: 'accept', content: {} } }, { b: { action: 'accept', content: {} } }])
})

test('a task that asks what its client cannot be asked is cancelled', async () => {
  const { answered, methods } = await followed({}, [NEEDS('a')])
  await assert.rejects(answered, { code: 'UNSUPPORTED_BY_UPSTREAM' })
  assert.equal(methods().at(-1), 'tasks/cancel')
})

test('tasks are listed where a link has one owner, page by page, with ids of ours', async () => {
  const { ask } = await setUp({
    'tasks/list': ({ params }) =>
      params.cursor === undefined
        ? { tasks: [{ taskId: 't-1', ...STATE }], nextCursor: 'more' }
        : { tasks: [{ taskId: `t-${String(params.cursor)}`, ...STATE }] },
    'tasks/get': ({ params }) => ({ ...params, ...STATE }),
  })
  const first = await ask('tasks/list', {})
  const second = await ask('tasks/list', { cursor: first.nextCursor })
  const [{ taskId } = { taskId: '' }] = second.tasks as { taskId: string }[]
  assert.equal(second.nextCursor, undefined)
  assert.equal((await ask('tasks/get', { taskId })).status, 'working')
  await assert.rejects(ask('tasks/list', { cursor: 'more' }), { code: 'INVALID_PARAMS' })
  const caller = { ...CALLER, id: 'caller-2' }
  await assert.rejects(ask('tasks/list', { cursor: first.nextCursor }, { caller }), { code: 'INVALID_PARAMS' })
})

test('tasks and extensions are declared to the family that has them', async () => {
  const { ask } = await setUp({})
  const hello = { protocolVersion: '2025-11-25', capabilities: {}, clientInfo: { name: 'c', version: '1' } }
  const older = (await ask('initialize', hello)).capabilities as Record<string, unknown>
  assert.deepEqual(older.tasks, TASKS.tasks)
  assert.equal(older.extensions, undefined)
  const newer = (await ask('server/discover', {}, MODERN)).capabilities as Record<string, unknown>
  assert.deepEqual([newer.tasks, newer.extensions], [undefined, EXTENSION.extensions])
})
