// HTTP+SSE upstreams as the primary opens them: when that transport is tried, what is kept of the verdict, one stream per
// owner, their bounds, and streams that break.

import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { createFakeBus } from '../../test/fakes/bus.ts'
import { createFakeClock } from '../../test/fakes/clock.ts'
import { until } from '../../test/fakes/processes.ts'
import { upstreamRow } from '../../test/fakes/registry.ts'
import { createSseFake, type SseFake, type SseMessage } from '../../test/fakes/sse-server.ts'
import { ASKS } from '../core/asks.ts'
import { GatewayError } from '../core/errors.ts'
import { LIMITS, type Limits } from '../core/limits.ts'
import type { Discovery, HttpTransport } from '../core/model.ts'
import { createFastLink as createLink } from '../http/fast-link.ts'
import { SILENT } from '../ports/log.ts'
import { createBroker } from './broker.ts'
import { createChildren } from './children.ts'

const GREETING = {
  ...{ protocolVersion: '2024-11-05', capabilities: { tools: { listChanged: true } } },
  serverInfo: { name: 'old', version: '1' },
}

function answer({ id, method, params }: SseMessage): unknown {
  const result = method === 'initialize' ? GREETING : method === 'tools/list' ? { tools: [] } : { echo: params ?? null }
  return { jsonrpc: '2.0', id, result }
}

async function setUp(
  t: TestContext,
  options: {
    readonly discovery?: Partial<Discovery> | null
    readonly kind?: HttpTransport['kind']
    readonly limits?: Partial<Limits>
    readonly urls?: (url: string) => string[]
  } = {},
) {
  const fake = await createSseFake(t)
  fake.answer = answer
  const clock = createFakeClock()
  const limits = { ...LIMITS, probeMs: 2_000, handshakeMs: 3_000, ...options.limits }
  const children = createChildren({ limits, clock, log: SILENT, baseEnv: {} })
  const urls = options.urls?.(fake.url) ?? [fake.url]
  const transport = { kind: options.kind ?? 'http', urls, headers: { 'X-Key': 'secret' } } as const
  const row = upstreamRow('up', { transport, privileged: true, connectMs: 1_000 }, options.discovery ?? null)
  const broker = createBroker({
    ...{ bus: createFakeBus(), gatewayId: 'us', createLink, clock, children, networks: [], ca: null, version: '9' },
    ...{ log: SILENT, random: () => 0.5, limits, resolveSecret: (secret) => secret as string },
    upstream: async () => row,
  })
  const news: string[] = []
  broker.onNews = (_, kind) => news.push(kind)
  t.after(async () => {
    await broker.close()
    await children.close()
  })
  const open = (owner = '', asks = 0) => broker.openLink({ upstreamId: row.id, owner, asks })
  return { fake, broker, children, clock, news, open, id: row.id }
}

async function failure(promise: Promise<unknown>): Promise<GatewayError> {
  const error = await promise.then(
    () => assert.fail('it did not fail'),
    (fault: unknown) => fault,
  )
  assert.ok(error instanceof GatewayError, String(error))
  return error
}

const methods = ({ got }: SseFake): (string | undefined)[] => got.map(({ message }) => message.method)

test('a URL that refuses both greetings is tried by GET, and the verdict is kept until it is probed again', async (t) => {
  const { fake, broker, id } = await setUp(t)
  const link = await broker.shared(id, true)
  // Two POSTs, the stream, and two POSTs to its endpoint.
  await until('the greeting', () => fake.requests === 5)
  assert.deepEqual(
    [link.isSse, link.stateful, link.greeting.era, link.greeting.revision],
    [true, true, 'legacy', '2024-11-05'],
  )
  assert.deepEqual(methods(fake), ['initialize', 'notifications/initialized'])
  assert.equal(fake.got[0]!.headers['x-key'], 'secret')
  await link.ask('tools/list', Buffer.from('{}'), 1_000)
  await broker.openLink({ upstreamId: id, owner: 'ann', asks: 0 })
  await until('the second link', () => methods(fake).length === 5)
  assert.equal(fake.requests, 9, 'nothing was probed for the second link')
  await broker.shared(id, true)
  await until('the greeting', () => methods(fake).length === 7)
  assert.equal(fake.requests, 14, 'everything was probed')
  await until('the stream before is given back', () => fake.streams.size === 2)
})

test('what was found before is trusted after a restart, and given up where it no longer holds', async (t) => {
  const { fake, broker, id } = await setUp(t, { discovery: { era: 'legacy', sse: true, probedMs: 5 } })
  assert.equal((await broker.shared(id, false)).probedMs, 5)
  await until('the greeting', () => fake.requests === 3)
  broker.closeUpstream(id)
  fake.onGet = (response) => void response.writeHead(405).end()
  const error = await failure(broker.shared(id, false))
  assert.equal(error.code, 'UPSTREAM_INVALID')
  assert.match(error.message, /GET.*405.*server\/discover|GET.*405.*initialize/)
})

test('`sse` is that transport alone', async (t) => {
  const { fake, broker, id } = await setUp(t, { kind: 'sse' })
  await broker.shared(id, true)
  await until('the greeting', () => fake.requests === 3)
  fake.onGet = (response) => void response.writeHead(404).end()
  assert.equal((await failure(broker.shared(id, true))).code, 'UPSTREAM_INVALID')
  assert.equal(fake.requests, 4)
})

for (const [status, code] of [
  [401, 'UPSTREAM_REFUSED'],
  [503, 'UPSTREAM_UNAVAILABLE'],
] as const)
  test(`HTTP ${status} to the GET is no evidence`, async (t) => {
    const { fake, broker, id } = await setUp(t)
    fake.onGet = (response) => void response.writeHead(status).end()
    assert.equal((await failure(broker.shared(id, true))).code, code)
    fake.onGet = null
    assert.equal((await broker.shared(id, false)).isSse, true)
  })

test('of several addresses one that answers is taken', async (t) => {
  const { broker, id } = await setUp(t, { kind: 'sse', urls: (url) => ['http://127.0.0.1:1/sse', url] })
  assert.equal((await broker.shared(id, true)).isSse, true)
})

test('one stream per owner and kind of client, each greeted with what it can be asked', async (t) => {
  const { fake, broker, children, open } = await setUp(t, { kind: 'sse' })
  const tickets = await Promise.all([open('ann'), open('ann'), open('bob'), open('bob', ASKS.roots)])
  assert.equal(new Set(tickets.map(({ childId }) => childId)).size, 3)
  assert.equal(children.list().length, 3)
  assert.equal(fake.streams.size, 3)
  const declared = fake.got.flatMap(({ message: { params } }) => (params === undefined ? [] : [params.capabilities]))
  assert.deepEqual(declared.map((one) => JSON.stringify(one)).toSorted(), ['{"roots":{}}', '{}', '{}'])
  broker.closeOwner('bob')
  await until('the streams of bob are given back', () => fake.streams.size === 1)
})

test('streams are bounded per upstream and in all, apart from processes', async (t) => {
  const few = await setUp(t, { kind: 'sse', limits: { sseStreamsPerUpstream: 1, childrenMax: 0 } })
  await few.open('ann')
  const error = await failure(few.open('bob'))
  assert.equal(error.code, 'UPSTREAM_BUSY')
  assert.match(error.message, /upstream has 1 streams/)
  const none = await setUp(t, { kind: 'sse', limits: { sseStreamsMax: 0 } })
  assert.match((await failure(none.open('ann'))).message, /gateway has 0 streams/)
})

test('a stream ends when its owner has long not used it; the shared one stays for its news', async (t) => {
  const { fake, children, clock, news, open } = await setUp(t, { kind: 'sse', limits: { childPollMs: 20 } })
  await Promise.all([open(), open('ann')])
  assert.equal(children.list().length, 2)
  clock.forward(LIMITS.childIdleMs + LIMITS.callMs)
  await until('the idle one is given back', () => fake.streams.size === 1)
  assert.deepEqual(
    children.list().map(({ owner }) => owner),
    [''],
  )
  fake.say({ jsonrpc: '2.0', method: 'notifications/tools/list_changed' })
  await until('the news', () => news.length === 1)
})

test('a stream that breaks at once is opened again later each time, one that stood at once', async (t) => {
  const { fake, children, clock, open } = await setUp(t, { kind: 'sse' })
  const breaks = async (): Promise<void> => {
    for (const stream of fake.streams) stream.destroy()
    await until('it has ended', () => children.list().length === 0)
  }
  await open('ann')
  await breaks()
  const early = await failure(open('ann'))
  assert.equal(early.code, 'UPSTREAM_UNAVAILABLE')
  assert.match(early.message, /its stream has ended/)
  clock.forward(1_300)
  await open('ann')
  clock.forward(LIMITS.childStartMs)
  await breaks()
  await open('ann')
})

test('an endpoint elsewhere is refused for what it is', async (t) => {
  const { fake, open } = await setUp(t)
  fake.endpoint = 'http://169.254.169.254/latest'
  const error = await failure(open('ann'))
  assert.equal(error.code, 'UPSTREAM_INVALID')
  assert.match(error.message, /^up: .*another origin/)
})
