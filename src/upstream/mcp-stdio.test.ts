// Many requests on one channel of a child: ids, progress, deadlines, and what a child may say without being asked.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { makeCall } from '../../test/fakes/call.ts'
import { createFakeChannel, type FakeChannel } from '../../test/fakes/channel.ts'
import type { Call, Reply } from '../core/call.ts'
import type { GatewayError } from '../core/errors.ts'
import { LIMITS } from '../core/limits.ts'
import { type Ask, createWire, NotProcessed } from './ask.ts'
import { StdioPeer, type StdioPeerOptions } from './mcp-stdio.ts'

const LEGACY = createWire('legacy', '2025-11-25', '9')
const MODERN = createWire('modern', '2026-07-28', '9')

function setUp(over: Partial<StdioPeerOptions> = {}, channel = createFakeChannel()) {
  const ends: string[] = []
  const peer = new StdioPeer({
    ...{ name: 'up', wire: LEGACY, channel, limits: LIMITS, isShared: false, onClose: (why) => ends.push(why) },
    ...over,
  })
  return { peer, channel, ends }
}

function makeAsk(call: Call | null, over: Partial<Ask> = {}): Ask {
  const params = Buffer.from('{"name":"echo"}')
  return {
    method: 'tools/call',
    params,
    name: 'echo',
    paramHeaders: [],
    callMs: 2_000,
    callMsMax: 9_000,
    call,
    ...over,
  }
}

const result = (id: string, value = '{}'): string => `{"jsonrpc":"2.0","id":${id},"result":${value}}`
const textOf = (reply: Reply): string => ('error' in reply ? reply.error : (reply.result as Buffer)).toString()
const methods = (channel: FakeChannel): unknown[] =>
  channel.sent.map((line) => (JSON.parse(line) as { method: string }).method)

async function code(promise: Promise<unknown>): Promise<string> {
  const error = await promise.then(
    () => assert.fail('it did not fail'),
    (fault: unknown) => fault,
  )
  return error instanceof NotProcessed ? `${error.why} ${error.error.code}` : (error as GatewayError).code
}

test('answers find their requests in any order, and only by exact ids', async () => {
  const { peer, channel } = setUp()
  const asking = [peer.ask(makeAsk(null)), peer.ask(makeAsk(null)), peer.ask(makeAsk(null))]
  assert.equal(channel.sent[0], '{"jsonrpc":"2.0","id":"3.1","method":"tools/call","params":{"name":"echo"}}')
  for (const line of [
    'hello',
    '',
    '[]',
    result('3.1'),
    result('"4.1"'),
    result('"3.9"'),
    result('"3.1","id":"3.2"'),
    result('"3.1"', '[]'),
  ]) {
    channel.say(line)
  }
  assert.deepEqual([peer.inFlight, peer.dropped], [3, 8])
  channel.say(result('"3.3"', '{"n":3}'))
  channel.say('{"jsonrpc":"2.0","id":"3.1","error":{"code":-1,"message":"no"}}')
  channel.say(result('"3.2"', '{"n":2}'))
  channel.say(result('"3.2"', '{"n":"again"}'))
  assert.deepEqual((await Promise.all(asking)).map(textOf), ['{"code":-1,"message":"no"}', '{"n":2}', '{"n":3}'])
  assert.deepEqual([peer.inFlight, peer.dropped], [0, 9])
})

test('a line is one line, whatever the client sent', async () => {
  const { peer, channel } = setUp({ wire: MODERN })
  const call = makeCall('tools/call', '{"_meta":{"a/b":[\n1\r\n]}}', {
    progressToken: Buffer.from('7'),
    notify: () => {},
  })
  void peer.ask(makeAsk(call, { params: Buffer.from('{\n"name":\r"x"}') })).catch(() => {})
  assert.doesNotMatch(channel.sent[0]!, /[\r\n]/)
  const { params } = JSON.parse(channel.sent[0]!) as { params: { name: string; _meta: Record<string, unknown> } }
  assert.deepEqual([params.name, params._meta.progressToken, params._meta['a/b']], ['x', '3.1', [1]])
  assert.equal(params._meta['io.modelcontextprotocol/protocolVersion'], '2026-07-28')
  peer.close()
})

test('a child that floods a call with notifications loses that call, and others on it go on', async () => {
  const limits = { ...LIMITS, upstreamLinesBurst: 20, upstreamLinesPerSecond: 1 }
  const { peer, channel } = setUp({ limits })
  const heard: string[] = []
  const call = makeCall('tools/call', {}, { progressToken: Buffer.from('1'), notify: (method) => heard.push(method) })
  const [flooded, other] = [code(peer.ask(makeAsk(call))), peer.ask(makeAsk(null))]
  for (let progress = 1; progress <= 500; progress += 1) {
    const params = `{"progressToken":"3.1","progress":${progress}}`
    channel.say(`{"jsonrpc":"2.0","method":"notifications/progress","params":${params}}`)
  }
  assert.equal(await flooded, 'UPSTREAM_INVALID')
  assert.ok(heard.length > 20 && heard.length < 400, `${heard.length} notifications`)
  assert.equal(methods(channel).at(-1), 'notifications/cancelled')
  channel.say(result('"3.2"'))
  assert.equal(textOf(await other), '{}')
})

test('progress finds its call, log messages the newest call that wants them', async () => {
  const heard: string[] = []
  const hear = (name: string) => (method: string, params: Buffer) => heard.push(`${name} ${method.slice(14)} ${params}`)
  for (const isShared of [false, true]) {
    heard.length = 0
    const { peer, channel } = setUp({ isShared })
    const first = makeCall(
      'tools/call',
      {},
      { progressToken: Buffer.from('"a"'), notify: hear('first'), logLevel: 'info' },
    )
    const second = makeCall(
      'tools/call',
      {},
      { progressToken: Buffer.from('5'), notify: hear('second'), logLevel: 'error' },
    )
    const third = makeCall('tools/call', {}, { notify: hear('third') })
    const asking = [first, second, third].map((call) => peer.ask(makeAsk(call)))
    const say = (method: string, params: string): void =>
      channel.say(`{"jsonrpc":"2.0","method":"notifications/${method}","params":${params}}`)
    say('progress', '{"progressToken":"3.2","progress":1}')
    say('progress', '{"progressToken":"3.1","progress":2}')
    say('progress', '{"progressToken":"3.1","progress":2}')
    say('progress', '{"progressToken":"3.3","progress":1}')
    say('progress', '{"progressToken":"9.9","progress":1}')
    say('message', '{"level":"error","data":1}')
    say('message', '{"level":"info","data":1}')
    const logs = isShared ? [] : ['second message {"level":"error","data":1}']
    assert.deepEqual(heard, [
      'second progress {"progressToken":5,"progress":1}',
      'first progress {"progressToken":"a","progress":2}',
      ...logs,
    ])
    for (const id of [1, 2, 3]) channel.say(result(`"3.${id}"`))
    await Promise.all(asking)
  }
})

test('a deadline and a cancellation are told to the child, except for initialize', async () => {
  for (const wire of [LEGACY, MODERN]) {
    const { peer, channel } = setUp({ wire })
    assert.equal(await code(peer.ask(makeAsk(null, { callMs: 20 }))), 'TIMEOUT')
    assert.equal(await code(peer.ask(makeAsk(null, { callMs: 20, method: 'initialize' }))), 'TIMEOUT')
    const call = makeCall('tools/call')
    const asking = code(peer.ask(makeAsk(call)))
    call.cancel.cancel('client')
    assert.equal(await asking, 'CANCELLED')
    assert.deepEqual(methods(channel), [
      'tools/call',
      'notifications/cancelled',
      'initialize',
      'tools/call',
      'notifications/cancelled',
    ])
    assert.equal((JSON.parse(channel.sent[1]!) as { params: { requestId: string } }).params.requestId, '3.1')
    const late = makeCall('tools/call')
    late.cancel.cancel('shutdown')
    assert.equal(await code(peer.ask(makeAsk(late))), 'SHUTTING_DOWN')
    assert.equal(channel.sent.length, 5)
  }
})

test('progress moves the deadline, but not past the longest time', async () => {
  const channel = createFakeChannel()
  const { peer } = setUp({}, channel)
  const call = makeCall('tools/call', {}, { progressToken: Buffer.from('1'), notify: () => {} })
  let step = 0
  const timer = setInterval(() => {
    step += 1
    channel.say(
      `{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":"3.${step > 12 ? 2 : 1}","progress":${step}}}`,
    )
    if (step === 12) channel.say(result('"3.1"'))
  }, 20)
  assert.equal(textOf(await peer.ask(makeAsk(call, { callMs: 120 }))), '{}')
  assert.equal(await code(peer.ask(makeAsk(call, { callMs: 120, callMsMax: 150 }))), 'TIMEOUT')
  clearInterval(timer)
})

test('when the child ends, calls under way fail and later ones were never sent', async () => {
  const { peer, channel, ends } = setUp()
  const told: string[] = []
  peer.onceClosed((why) => told.push(why))
  const asking = code(peer.ask(makeAsk(null)))
  channel.end('The process ended with code 3')
  assert.equal(await asking, 'UPSTREAM_UNAVAILABLE')
  assert.equal(await code(peer.ask(makeAsk(null))), 'unsent UPSTREAM_UNAVAILABLE')
  peer.onceClosed((why) => told.push(why))
  assert.deepEqual([ends.length, told.length, peer.closed], [1, 2, true])
})

test('a retired peer ends after its last call, or when its time is over', async () => {
  const quiet = setUp()
  quiet.peer.retire(5_000)
  assert.equal(quiet.channel.closed, true)
  const busy = setUp()
  const asking = busy.peer.ask(makeAsk(null))
  busy.peer.retire(5_000)
  assert.equal(busy.channel.closed, false)
  busy.channel.say(result('"3.1"'))
  assert.equal(textOf(await asking), '{}')
  assert.equal(busy.channel.closed, true)
  const stuck = setUp()
  const never = code(stuck.peer.ask(makeAsk(null)))
  stuck.peer.retire(20)
  assert.equal(await never, 'UPSTREAM_UNAVAILABLE')
})

test('questions and news go to whoever listens, and calls have a bound', async () => {
  const questions: string[] = []
  const news: string[] = []
  const { peer, channel } = setUp({
    limits: { ...LIMITS, upstreamConnectionsMax: 1 },
    onRequest: (method, id) => questions.push(`${method} ${id}`),
    onNotification: (method) => news.push(method),
  })
  channel.say('{"jsonrpc":"2.0","id":"q","method":"roots/list"}')
  channel.say('{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}')
  assert.deepEqual([questions, news], [['roots/list "q"'], ['notifications/tools/list_changed']])
  const first = peer.ask(makeAsk(null))
  assert.equal(await code(peer.ask(makeAsk(null))), 'UPSTREAM_BUSY')
  channel.say(result('"3.1"'))
  await first
})
