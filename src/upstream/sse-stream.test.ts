// HTTP+SSE as a duplex of lines: how it opens, what may go wrong with each line alone, and what ends it.

import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { until } from '../../test/fakes/processes.ts'
import { createSseFake, type SseFake } from '../../test/fakes/sse-server.ts'
import type { ErrorCode } from '../core/errors.ts'
import { GatewayError } from '../core/errors.ts'
import { LIMITS, type Limits } from '../core/limits.ts'
import { createFastLink } from '../http/fast-link.ts'
import { createGuard } from '../http/guard.ts'
import type { Stream } from '../ports/children.ts'
import { OtherTransport } from './ask.ts'
import { openSse } from './sse-stream.ts'

interface Heard {
  readonly lines: string[]
  readonly refused: [id: string, code: ErrorCode, message: string][]
  drains: number
  end: string | null
}

async function open(
  t: TestContext,
  { url }: Pick<SseFake, 'url'>,
  limits: Partial<Limits> = {},
): Promise<Heard & { readonly stream: Stream }> {
  const link = createFastLink(new URL(url), {
    ...{ connectionsMax: 64, connectMs: 2_000, headerBytes: 32 * 1024, ca: null, caPinned: false },
    guard: createGuard({ allowPrivate: true, networks: [] }),
  })
  t.after(() => link.close(0))
  const heard: Heard = { lines: [], refused: [], drains: 0, end: null }
  const stream = await openSse(
    { name: 'up', link, url, headers: ['x-key', 'secret'], limits: { ...LIMITS, ...limits } },
    {
      onLine: (line) => heard.lines.push(line.toString()),
      onRefused: (...refused) => heard.refused.push(refused),
      onDrain: () => {
        heard.drains += 1
      },
      onEnd: (why) => {
        assert.equal(heard.end, null, 'ended twice')
        heard.end = why
      },
    },
  )
  t.after(() => stream.close())
  return Object.assign(heard, { stream })
}

async function failure(promise: Promise<unknown>): Promise<Error> {
  return promise.then(
    () => assert.fail('it did not fail'),
    (error: Error) => error,
  )
}

const request = (id: string, params: unknown = {}): Buffer =>
  Buffer.from(`{"jsonrpc":"2.0","id":"${id}","method":"echo","params":${JSON.stringify(params)}}`)
const notice = (method: string): Buffer => Buffer.from(`{"jsonrpc":"2.0","method":"${method}"}`)

test('lines go by POST to the endpoint, with our headers, and come as messages', async (t) => {
  const fake = await createSseFake(t)
  const heard = await open(t, fake)
  heard.stream.send(request('1.1', { a: 1 }), 1)
  await until('the answer', () => heard.lines.length === 1)
  assert.deepEqual(JSON.parse(heard.lines[0]!), { jsonrpc: '2.0', id: '1.1', result: { echo: { a: 1 } } })
  const [{ path, headers }] = fake.got as [SseFake['got'][0]]
  assert.equal(path, '/messages?session=1')
  assert.deepEqual([headers['x-key'], headers['content-type']], ['secret', 'application/json'])
  assert.equal(heard.stream.queuedBytes, 0)
  assert.deepEqual([heard.refused, heard.end], [[], null])
})

for (const [endpoint, path] of [
  ['/m', '/m'],
  ['m?x=1', '/m?x=1'],
  ['?session=2', '/sse?session=2'],
] as const)
  test(`the endpoint ${endpoint} is resolved against the stream's URL`, async (t) => {
    const fake = await createSseFake(t)
    fake.endpoint = endpoint
    const heard = await open(t, fake)
    heard.stream.send(request('1.1'), 1)
    await until('the line', () => fake.requests === 2)
    if (!path.startsWith('/sse')) assert.equal(fake.got[0]!.path, path)
  })

test('an endpoint at the same origin may be named in full', async (t) => {
  const fake = await createSseFake(t)
  fake.endpoint = `${fake.origin}/full`
  const heard = await open(t, fake)
  heard.stream.send(request('1.1'), 1)
  await until('the line', () => fake.got[0]?.path === '/full')
})

const HOSTILE: [what: string, endpoint: (fake: SseFake) => string, RegExp][] = [
  ['another host', () => 'http://169.254.169.254/latest', /another origin/],
  ['another port', ({ origin }) => `${origin.replace(/\d+$/, '1')}/m`, /another origin/],
  ['another scheme', ({ origin }) => `${origin.replace('http:', 'https:')}/m`, /another origin/],
  ['another host without a scheme', () => '//evil.test/m', /another origin/],
  ['a file', () => 'file:///etc/passwd', /another origin/],
  ['nothing that could be a URL', () => 'http://[', /no URL/],
  ['an endless one', () => `/${'x'.repeat(LIMITS.uriChars + 1)}`, /no URL/],
]
for (const [what, endpoint, message] of HOSTILE)
  test(`an endpoint is refused, and nothing sent to it: ${what}`, async (t) => {
    const fake = await createSseFake(t)
    fake.endpoint = endpoint(fake)
    const error = await failure(open(t, fake))
    assert.ok(error instanceof GatewayError)
    assert.equal(error.code, 'UPSTREAM_INVALID')
    assert.match(error.message, message)
    await until('the stream is given back', () => fake.streams.size === 0)
    assert.equal(fake.requests, 1)
  })

const OTHERS: [what: string, (fake: SseFake) => void][] = [
  ...[400, 404, 405].map((status): (typeof OTHERS)[0] => [
    `HTTP ${status}`,
    (fake) => {
      fake.onGet = (response) => void response.writeHead(status).end()
    },
  ]),
  [
    'no stream of events',
    (fake) => {
      fake.onGet = (response) => void response.writeHead(200, { 'Content-Type': 'text/html' }).end('<p>')
    },
  ],
  [
    'a stream that begins with a message',
    (fake) => {
      fake.onGet = (response) =>
        void response.writeHead(200, { 'Content-Type': 'text/event-stream' }).write('data: {}\n\n')
    },
  ],
  [
    'a stream that ends',
    (fake) => {
      fake.onGet = (response) => void response.writeHead(200, { 'Content-Type': 'text/event-stream' }).end()
    },
  ],
]
for (const [what, prepare] of OTHERS)
  test(`is no server of this kind: ${what}`, async (t) => {
    const fake = await createSseFake(t)
    prepare(fake)
    assert.ok((await failure(open(t, fake))) instanceof OtherTransport)
  })

for (const [status, code] of [
  [401, 'UPSTREAM_REFUSED'],
  [403, 'UPSTREAM_REFUSED'],
  [307, 'UPSTREAM_INVALID'],
  [429, 'UPSTREAM_BUSY'],
  [500, 'UPSTREAM_UNAVAILABLE'],
  [503, 'UPSTREAM_UNAVAILABLE'],
] as const)
  test(`HTTP ${status} on the stream says nothing of the transport`, async (t) => {
    const fake = await createSseFake(t)
    fake.onGet = (response) => void response.writeHead(status, { Location: 'http://evil.test/' }).end()
    const error = await failure(open(t, fake))
    assert.ok(error instanceof GatewayError)
    assert.equal(error.code, code)
  })

test('a stream that never names its endpoint is given up', async (t) => {
  const fake = await createSseFake(t)
  fake.endpoint = null
  const error = await failure(open(t, fake, { probeMs: 100 }))
  assert.ok(error instanceof GatewayError)
  assert.equal(error.code, 'TIMEOUT')
})

const REFUSALS: [status: number, code: ErrorCode][] = [
  [400, 'UPSTREAM_INVALID'],
  [401, 'UPSTREAM_REFUSED'],
  [413, 'TOO_LARGE'],
  [429, 'UPSTREAM_BUSY'],
  [500, 'UPSTREAM_UNAVAILABLE'],
  [302, 'UPSTREAM_INVALID'],
]
for (const [status, code] of REFUSALS)
  test(`a line that is refused with HTTP ${status} fails alone`, async (t) => {
    const fake = await createSseFake(t)
    fake.onPost = ({ id }) => (id === '1.1' ? status : 202)
    const heard = await open(t, fake)
    heard.stream.send(request('1.1'), 1)
    heard.stream.send(request('1.2'), 1)
    await until('both', () => heard.lines.length === 1 && heard.refused.length === 1)
    assert.deepEqual(heard.refused[0]!.slice(0, 2), ['"1.1"', code])
    assert.equal(heard.end, null)
  })

test('a line that nobody takes in time fails alone (ssePostMs)', async (t) => {
  const fake = await createSseFake(t)
  fake.onPost = ({ id }) => (id === '1.1' ? new Promise(() => {}) : 202)
  const heard = await open(t, fake, { ssePostMs: 100 })
  heard.stream.send(request('1.1'), 1)
  heard.stream.send(request('1.2'), 1)
  await until('both', () => heard.lines.length === 1 && heard.refused.length === 1)
  assert.deepEqual(heard.refused[0]!.slice(0, 2), ['"1.1"', 'TIMEOUT'])
})

for (const status of [404, 410])
  test(`HTTP ${status} to a line says that the stream is forgotten`, async (t) => {
    const fake = await createSseFake(t)
    fake.onPost = () => status
    const heard = await open(t, fake)
    heard.stream.send(request('1.1'), 1)
    await until('the end', () => heard.end !== null)
    assert.deepEqual(heard.refused[0]!.slice(0, 2), ['"1.1"', 'UPSTREAM_UNAVAILABLE'])
    await until('the stream is given back', () => fake.streams.size === 0)
  })

test('nothing overtakes a notification of the broker; others overtake what hangs', async (t) => {
  const fake = await createSseFake(t)
  const taken = Promise.withResolvers<number>()
  fake.onPost = ({ method, id }) =>
    method === 'initialized' ? taken.promise : id === '0.1' ? new Promise(() => {}) : 202
  const heard = await open(t, fake)
  heard.stream.send(request('0.1'), 0)
  heard.stream.send(request('0.2'), 0)
  await until('the second', () => heard.lines.length === 1)
  heard.stream.send(notice('initialized'), 0)
  heard.stream.send(request('1.1'), 1)
  heard.stream.send(notice('cancelled'), 1)
  heard.stream.send(request('1.2'), 1)
  await until('the notification', () => fake.got.length === 3)
  taken.resolve(202)
  await until('the rest', () => heard.lines.length === 3)
  assert.deepEqual(
    fake.got.slice(2).map(({ message }) => message.method),
    ['initialized', 'echo', 'cancelled', 'echo'],
  )
})

test('a sender is asked to wait past a bound, and told when there is room again', async (t) => {
  const fake = await createSseFake(t)
  const taken = Promise.withResolvers<number>()
  fake.onPost = () => taken.promise
  const heard = await open(t, fake)
  assert.equal(heard.stream.send(request('1.1'), 1), true)
  assert.equal(heard.stream.send(request('1.2', 'x'.repeat(2 ** 20)), 1), false)
  assert.ok(heard.stream.queuedBytes > 2 ** 20)
  assert.equal(heard.drains, 0)
  taken.resolve(202)
  await until('room', () => heard.drains === 1)
})

const ENDS: [what: string, limits: Partial<Limits>, (fake: SseFake) => void, RegExp][] = [
  ['it closes the stream', {}, (fake) => [...fake.streams].map((stream) => stream.end()), /has ended/],
  ['the connection breaks', {}, (fake) => [...fake.streams].map((stream) => stream.destroy()), /./],
  ['an event that is too large', { upstreamEventBytes: 1_000 }, (fake) => fake.say('x'.repeat(2_000)), /larger than/],
  ['a line without end', { upstreamEventBytes: 1_000 }, (fake) => fake.raw('x'.repeat(2_000)), /larger than/],
  [
    'a flood of comments',
    { upstreamLinesBurst: 100, upstreamLinesPerSecond: 10 },
    (fake) => fake.raw(': x\n'.repeat(500)),
    /floods/,
  ],
]
for (const [what, limits, act, why] of ENDS)
  test(`the stream ends, and says why: ${what}`, async (t) => {
    const fake = await createSseFake(t)
    const heard = await open(t, fake, limits)
    act(fake)
    await until('the end', () => heard.end !== null)
    assert.match(heard.end!, why)
    assert.equal(heard.stream.send(request('1.1'), 1), false)
  })

test('many messages are no flood, and pings and unknown events are nothing', async (t) => {
  const fake = await createSseFake(t)
  const heard = await open(t, fake, { upstreamLinesBurst: 100, upstreamLinesPerSecond: 10 })
  fake.raw(': ping\n\nevent: other\ndata: x\n\nevent: endpoint\ndata: http://evil.test/\n\n')
  for (let n = 0; n < 500; n += 1) fake.raw(`id: ${n}\nevent: message\ndata: {"n":${n}}\n\n`)
  await until('all of them', () => heard.lines.length === 500)
  assert.equal(heard.end, null)
  heard.stream.send(request('1.1'), 1)
  await until('the answer', () => heard.lines.length === 501)
})

test('while it is held its server waits, and nothing is lost', async (t) => {
  const fake = await createSseFake(t)
  const heard = await open(t, fake)
  heard.stream.hold()
  heard.stream.hold()
  const [stream] = fake.streams
  const text = `data: ${'x'.repeat(64 * 1024)}\n\n`
  let count = 0
  while (stream!.writableLength < 2 ** 20 && count < 2_000) {
    stream!.write(text)
    count += 1
    await new Promise((resolve) => setImmediate(resolve))
  }
  assert.ok(count < 2_000, 'the server never had to wait')
  assert.ok(heard.lines.length < count)
  heard.stream.release()
  heard.stream.release()
  await until('all of them', () => heard.lines.length === count)
})
