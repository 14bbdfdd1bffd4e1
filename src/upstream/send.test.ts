// A worker's way out against real servers: which link a call takes, when a request goes out a second time and when not,
// and what the primary hears.

import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { createFakeBus } from '../../test/fakes/bus.ts'
import { CALLER, makeCall, resultText } from '../../test/fakes/call.ts'
import { createFakeChannel, type FakeChannel } from '../../test/fakes/channel.ts'
import { createFakeClock } from '../../test/fakes/clock.ts'
import { until } from '../../test/fakes/processes.ts'
import { createRawUpstream, http, json, type RawUpstream, type Respond, result } from '../../test/fakes/raw-upstream.ts'
import { upstreamRow } from '../../test/fakes/registry.ts'
import { ASKS } from '../core/asks.ts'
import type { Call, Session } from '../core/call.ts'
import { GatewayError } from '../core/errors.ts'
import { LIMITS, type Limits } from '../core/limits.ts'
import type { Discovery, UpstreamSpec, UpstreamView } from '../core/model.ts'
import { createFastLink as createLink } from '../http/fast-link.ts'
import type { LinkKey, LinkTicket } from '../ports/control.ts'
import { SILENT } from '../ports/log.ts'
import { createUpstreams, ownerOf } from './send.ts'
import type { Outgoing, Upstreams } from './upstream.ts'

const TICKET: LinkTicket = {
  ...{
    era: 'legacy',
    revision: '2025-11-25',
    generation: 1,
    sessionId: null,
    url: null,
    childId: null,
    logging: false,
  },
}

interface Setup {
  readonly upstreams: Upstreams
  readonly opened: string[]
  readonly stale: string[]
  readonly reports: [boolean, string | null][]
  readonly clock: ReturnType<typeof createFakeClock>
}

function setUp(
  t: TestContext,
  tickets: (key: LinkKey, count: number) => Partial<LinkTicket> | Promise<Partial<LinkTicket>> = () => ({}),
  connect: (childId: string) => FakeChannel = () => createFakeChannel(),
  limits: Partial<Limits> = {},
): Setup {
  const opened: string[] = []
  const stale: string[] = []
  const reports: [boolean, string | null][] = []
  const answers: [number, string][] = []
  const bus = createFakeBus()
  const clock = createFakeClock()
  const upstreams = createUpstreams({
    ...{ createLink, clock, networks: [], ca: null, version: '9', worker: 1, log: SILENT, random: () => 0.5 },
    limits: { ...LIMITS, ...limits },
    resolveSecret: (secret) => secret as string,
    children: { connect: async (childId) => connect(childId) },
    control: {
      openLink: async (key) => {
        opened.push(key.owner)
        return { ...TICKET, generation: opened.length, ...(await tickets(key, opened.length)) }
      },
      staleLink: (key, generation, why) => stale.push(`${key.owner} ${generation} ${why}`),
      reportUpstream: (_id, ok, code) => reports.push([ok, code]),
      takeQuestion: async () => true,
      linksUsed: () => {},
      answerQuestion: (id, reply) => answers.push([id, resultText(reply)]),
    },
    bus,
  })
  t.after(() => upstreams.close())
  return { upstreams, opened, stale, reports, clock }
}

async function serve(t: TestContext, respond: Respond, port = 0): Promise<RawUpstream> {
  const upstream = await createRawUpstream(respond, port)
  t.after(() => upstream.close())
  return upstream
}

function makeView(
  urls: readonly string[],
  discovery: Partial<Discovery> = {},
  spec: Partial<UpstreamSpec> = {},
): UpstreamView {
  const row = upstreamRow('up', { transport: { kind: 'http', urls }, privileged: true, ...spec }, discovery)
  const { id, slug } = row
  const isolation = row.discovery!.stateful ? 'caller' : 'shared'
  return {
    id,
    slug,
    spec: row.spec,
    discovery: row.discovery,
    isolation,
    callMs: 1_000,
    callMsMax: 5_000,
    connectMs: 1_000,
  }
}

function out(upstream: UpstreamView, over: Partial<Outgoing> = {}): Outgoing {
  return {
    upstream,
    method: 'tools/call',
    params: Buffer.from('{"name":"x"}'),
    name: 'x',
    paramHeaders: [],
    callMs: 1_000,
    ...over,
  }
}

async function code(promise: Promise<unknown>): Promise<string> {
  const error = await promise.then(
    () => assert.fail('it did not fail'),
    (fault: unknown) => fault,
  )
  assert.ok(error instanceof GatewayError, String(error))
  return error.code
}

const ok: Respond = ({ id }) => json(result(id))
const SESSION: Session = {
  ...{ id: 's', key: 'session-1', callerId: CALLER.id, scope: '', revision: '2025-11-25', expiresMs: 0 },
  client: makeCall('x').client,
}

test('a stateless upstream is asked once per call, on kept connections, without asking the primary', async (t) => {
  const upstream = await serve(t, ok)
  const { upstreams, opened, reports } = setUp(t)
  const view = makeView([upstream.url])
  for (let round = 0; round < 20; round += 1) await upstreams.send(out(view), makeCall('tools/call'))
  assert.deepEqual([upstream.requests.length, opened.length, reports.length], [20, 0, 0])
  assert.ok(upstream.connections <= 2)
  assert.equal(upstream.requests[0]!.headers['mcp-protocol-version'], '2025-11-25')
})

test('a request that has passed too many gateways goes no further', async (t) => {
  const upstream = await serve(t, ok)
  const { upstreams } = setUp(t)
  const view = makeView([upstream.url])
  await upstreams.send(out(view), makeCall('tools/call', {}, { hops: 4 }))
  assert.equal(await code(upstreams.send(out(view), makeCall('tools/call', {}, { hops: 5 }))), 'LOOP_DETECTED')
  assert.deepEqual(
    upstream.requests.map(({ headers }) => headers['x-mcp-gateway-hops']),
    ['5'],
  )
})

test('whose link it is', () => {
  const plain = makeCall('x').client
  const asking = { ...plain, asks: ASKS.elicitationForm }
  const { asks } = asking
  const ask = async () => assert.fail('nobody asks')
  const stateful = (isolation?: UpstreamSpec['isolation']): UpstreamView => {
    const view = makeView(['http://a/'], { stateful: true }, isolation === undefined ? {} : { isolation })
    return { ...view, isolation: isolation === undefined || isolation === 'auto' ? 'caller' : isolation }
  }
  const MODERN = { era: 'modern', revision: '2026-07-28' } as const
  const older = makeView(['http://a/'], { stateful: true, revision: '2025-03-26' })
  const table: [UpstreamView, Partial<Call>, string, number][] = [
    [stateful(), {}, CALLER.id, 0],
    [stateful(), { session: SESSION, client: plain }, CALLER.id, 0],
    [stateful(), { session: SESSION, client: asking }, 'session-1', asks],
    [stateful('auto'), { session: SESSION, client: asking }, 'session-1', asks],
    [stateful(), { client: asking }, CALLER.id, asks],
    [stateful(), { client: asking, ask }, CALLER.id, asks],
    [stateful('caller'), { session: SESSION, client: asking }, CALLER.id, asks],
    [stateful('session'), { session: SESSION, client: plain }, 'session-1', 0],
    [stateful('session'), { client: plain }, CALLER.id, 0],
    [stateful('shared'), { session: SESSION, client: asking }, '', 0],
    // A modern server may know the older way too.
    [makeView(['http://a/'], MODERN), { session: SESSION, client: asking, ask }, 'session-1', asks],
    [makeView(['http://a/'], MODERN), { session: SESSION, client: asking }, '', 0],
    [makeView(['http://a/'], MODERN), { client: asking, ask }, '', 0],
    // Its server knows no elicitation.
    [{ ...older, isolation: 'caller' }, { client: asking, ask }, CALLER.id, 0],
  ]
  for (const [at, [view, over, owner, bits]] of table.entries()) {
    assert.deepEqual(ownerOf(view, makeCall('x', {}, over)), { owner, asks: bits }, String(at))
  }
})

test('a stateful upstream: one ticket per owner, fetched once, pinned to its address', async (t) => {
  const [one, two] = [await serve(t, ok), await serve(t, ok)]
  const { upstreams, opened } = setUp(t, ({ owner }) => ({ sessionId: `s-${owner}`, url: two.url }))
  const view = makeView([one.url, two.url], { stateful: true })
  const as = (id: string): Call => makeCall('tools/call', {}, { caller: { ...CALLER, id } })
  await Promise.all([
    upstreams.send(out(view), as('a')),
    upstreams.send(out(view), as('a')),
    upstreams.send(out(view), as('b')),
  ])
  await upstreams.send(out(view), as('a'))
  assert.deepEqual(opened.toSorted(), ['a', 'b'])
  assert.equal(one.requests.length, 0)
  assert.deepEqual(two.requests.map(({ headers }) => headers['mcp-session-id']).toSorted(), [
    's-a',
    's-a',
    's-a',
    's-b',
  ])
})

test('of more links than the bound the longest unused one is let go', async (t) => {
  const upstream = await serve(t, ok)
  const tickets = (key: LinkKey) => ({ sessionId: `s-${key.owner}`, url: upstream.url })
  const { upstreams, opened } = setUp(t, tickets, undefined, { upstreamLinksMax: 2 })
  const view = makeView([upstream.url], { stateful: true })
  const asked = (...owners: string[]) =>
    owners.reduce(
      (before, id) =>
        before.then(() => upstreams.send(out(view), makeCall('tools/call', {}, { caller: { ...CALLER, id } }))),
      Promise.resolve<unknown>(null),
    )
  await asked('a', 'b', 'a', 'c', 'a', 'b')
  assert.deepEqual(opened, ['a', 'b', 'c', 'b'])
})

test('a session that the upstream has forgotten is opened anew, and the request sent once more, but only once', async (t) => {
  let forget = new Set(['s-1'])
  const upstream = await serve(t, ({ id, headers }) =>
    forget.has(headers['mcp-session-id']!) ? http(404, {}) : json(result(id)),
  )
  const { upstreams, opened, stale } = setUp(t, (_key, count) => ({ sessionId: `s-${count}`, url: upstream.url }))
  const view = makeView([upstream.url], { stateful: true })
  await upstreams.send(out(view), makeCall('tools/call'))
  assert.deepEqual([opened.length, stale, upstream.requests.length], [2, ['caller-1 1 session'], 2])
  forget = new Set(['s-2', 's-3', 's-4'])
  assert.equal(await code(upstreams.send(out(view), makeCall('tools/call'))), 'UPSTREAM_UNAVAILABLE')
  assert.deepEqual([opened.length, upstream.requests.length], [3, 4])
})

test('an upstream that speaks another era than expected is reported, and not asked again', async (t) => {
  const upstream = await serve(t, () => http(405, {}))
  const { upstreams, stale } = setUp(t)
  assert.equal(await code(upstreams.send(out(makeView([upstream.url])), makeCall('tools/call'))), 'UPSTREAM_INVALID')
  assert.deepEqual([stale, upstream.requests.length], [[' 0 era'], 1])
})

test('with several addresses a request that was not sent goes to another one; a sent one never goes twice', async (t) => {
  const gone = await createRawUpstream(ok)
  await gone.close()
  let good = 0
  const well = await serve(t, ({ id }) => {
    good += 1
    return json(result(id))
  })
  const { upstreams, reports } = setUp(t)
  const view = makeView([gone.url, well.url])
  for (let round = 0; round < 12; round += 1) await upstreams.send(out(view), makeCall('tools/call'))
  assert.deepEqual([good, reports.length], [12, 0])

  let seen = 0
  const dying = await serve(t, (_request, socket) => {
    seen += 1
    socket.destroy()
  })
  const both = { ...makeView([dying.url, well.url]), id: 'other' }
  const outcomes: unknown[] = []
  for (let round = 0; round < 20; round += 1) {
    outcomes.push(
      await upstreams.send(out(both), makeCall('tools/call')).then(
        () => 'ok',
        (error: GatewayError) => error.code,
      ),
    )
  }
  // Taking turns with the good one it fails five times in a row and is ejected; then every call goes to the good one.
  assert.deepEqual(outcomes, [...Array(5).fill(['UPSTREAM_UNAVAILABLE', 'ok']).flat(), ...Array(10).fill('ok')])
  assert.deepEqual([seen, good], [5, 27])
})

test('an ejected address is tried again after its interval, with one request', async (t) => {
  let isBroken = true
  const a = await serve(t, ({ id }) => (isBroken ? http(500, {}) : json(result(id))))
  const b = await serve(t, ok)
  const { upstreams, clock } = setUp(t)
  const view = makeView([a.url, b.url])
  const send = (): Promise<unknown> => upstreams.send(out(view), makeCall('tools/call')).catch(() => 'failed')
  for (let round = 0; round < 14; round += 1) await send()
  const before = a.requests.length
  assert.equal(before, 5)
  isBroken = false
  await send()
  await send()
  assert.equal(a.requests.length, before, 'still resting')
  clock.forward(2_000)
  await send()
  await send()
  assert.equal(a.requests.length, before + 1, 'back within the interval')
  for (let round = 0; round < 4; round += 1) await send()
  assert.equal(a.requests.length, before + 3)
})

test('a single address that keeps failing rests, and calls fail at once with the time of the next try', async (t) => {
  const upstream = await serve(t, () => http(503, {}))
  const { upstreams, reports, clock } = setUp(t)
  const view = makeView([upstream.url])
  for (let round = 0; round < 5; round += 1) await code(upstreams.send(out(view), makeCall('tools/call')))
  const error = await upstreams.send(out(view), makeCall('tools/call')).catch((fault: GatewayError) => fault)
  assert.ok(error instanceof GatewayError)
  assert.deepEqual(
    [error.code, error.options.retryAfterSeconds, upstream.requests.length],
    ['UPSTREAM_UNAVAILABLE', 1, 5],
  )
  assert.deepEqual(reports, [[false, 'UPSTREAM_UNAVAILABLE']])
  upstream.respond = ok
  clock.forward(2_000)
  await upstreams.send(out(view), makeCall('tools/call'))
  assert.deepEqual(reports.at(-1), [true, null])
})

test('errors that are answers do not count against the address', async (t) => {
  const upstream = await serve(t, ({ id }) =>
    json(`{"jsonrpc":"2.0","id":${id},"error":{"code":-32603,"message":"no"}}`, 500),
  )
  const { upstreams, reports } = setUp(t)
  const view = makeView([upstream.url])
  for (let round = 0; round < 12; round += 1) await upstreams.send(out(view), makeCall('tools/call'))
  assert.deepEqual([upstream.requests.length, reports.length], [12, 0])
})

test('what one caller can make a server answer costs nobody else the upstream, or a session that others share', async (t) => {
  const upstream = await serve(t, () => http(500, {}))
  const { upstreams, stale } = setUp(t, () => ({ sessionId: 'shared', url: upstream.url }))
  const plain = makeView([upstream.url])
  for (let round = 0; round < 12; round += 1) await code(upstreams.send(out(plain), makeCall('tools/call')))
  assert.equal(upstream.requests.length, 12)
  const shared = { ...makeView([upstream.url], { stateful: true }), isolation: 'shared' as const }
  const cases: [Respond, string][] = [
    [() => http(413, {}, 'too large'), 'TOO_LARGE'],
    [() => http(431, {}), 'TOO_LARGE'],
    [() => http(400, {}, 'no'), 'UPSTREAM_INVALID'],
    [() => json('{"jsonrpc":"2.0","id":null,"error":{"code":-32602,"message":"no"}}', 400), 'UPSTREAM_INVALID'],
  ]
  for (const [respond, wanted] of cases) {
    upstream.respond = respond
    assert.equal(await code(upstreams.send(out(shared), makeCall('tools/call'))), wanted)
  }
  assert.deepEqual(stale, [])
  // Without a session a request that is too large is no sign of another era either.
  upstream.respond = () => http(413, {})
  assert.equal(await code(upstreams.send(out(plain), makeCall('tools/call'))), 'TOO_LARGE')
  assert.deepEqual(stale, [])
})

test('connections per upstream have a bound', async (t) => {
  const upstream = await serve(t, () => undefined)
  const { upstreams } = setUp(t, undefined, undefined, { upstreamConnectionsMax: 3 })
  const view = makeView([upstream.url])
  const waiting = Array.from({ length: 3 }, () =>
    code(upstreams.send(out(view, { callMs: 100 }), makeCall('tools/call'))),
  )
  assert.equal(await code(upstreams.send(out(view), makeCall('tools/call'))), 'UPSTREAM_BUSY')
  assert.deepEqual(await Promise.all(waiting), ['TIMEOUT', 'TIMEOUT', 'TIMEOUT'])
})

test('stdio: one channel per owner, replaced when the child ends', async (t) => {
  const channels: FakeChannel[] = []
  const connect = (): FakeChannel => {
    const channel = createFakeChannel(channels.length + 1, (message, id) =>
      message.method === 'tools/call' ? result(id) : undefined,
    )
    channels.push(channel)
    return channel
  }
  const { upstreams, opened, stale } = setUp(t, () => ({ childId: 'child-1' }), connect)
  const view = makeView([], { stateful: true }, { transport: { kind: 'stdio', command: 'x' } })
  await Promise.all([
    upstreams.send(out(view), makeCall('tools/call')),
    upstreams.send(out(view), makeCall('tools/call')),
  ])
  assert.deepEqual([channels.length, opened], [1, ['caller-1']])
  channels[0]!.end('The process ended')
  await upstreams.send(out(view), makeCall('tools/call'))
  assert.deepEqual([channels.length, opened.length, stale.length], [2, 2, 0])
})

test('stdio: a child that ended before we reached it is asked for again, once', async (t) => {
  let attempts = 0
  const connect = (): FakeChannel => {
    attempts += 1
    if (attempts === 1) throw new GatewayError('UPSTREAM_UNAVAILABLE', 'No such process')
    return createFakeChannel(1, (_message, id) => result(id))
  }
  const { upstreams, opened, stale } = setUp(t, () => ({ childId: 'child-1' }), connect)
  const view = makeView([], { stateful: true }, { transport: { kind: 'stdio', command: 'x' } })
  await upstreams.send(out(view), makeCall('tools/call'))
  assert.deepEqual([opened.length, stale, attempts], [2, ['caller-1 1 closed'], 2])
})

test('a link that takes too long to open fails the call in its own time, or when it is cancelled', async (t) => {
  const upstream = await serve(t, ok)
  const opening = Promise.withResolvers<void>()
  const { upstreams } = setUp(t, () => opening.promise.then(() => ({ sessionId: 's', url: upstream.url })))
  const view = makeView([upstream.url], { stateful: true })
  assert.equal(await code(upstreams.send(out(view, { callMs: 30 }), makeCall('tools/call'))), 'TIMEOUT')
  const call = makeCall('tools/call')
  const cancelled = code(upstreams.send(out(view), call))
  call.cancel.cancel('client')
  assert.equal(await cancelled, 'CANCELLED')
  opening.resolve()
  await upstreams.send(out(view), makeCall('tools/call'))
  assert.equal(upstream.requests.length, 1)
})

test('the log level of a link is set once, to the lowest that is wanted', async (t) => {
  const upstream = await serve(t, ok)
  const ticket = { sessionId: 's', url: upstream.url, logging: true }
  const { upstreams } = setUp(t, () => ticket)
  const view = makeView([upstream.url], { stateful: true })
  const wanting = (logLevel: Call['logLevel'], notify: Call['notify'] = () => {}): Call =>
    makeCall('tools/call', {}, { logLevel, notify })
  for (const level of ['warning', 'warning', 'error', 'info', 'info', null] as const)
    await upstreams.send(out(view), wanting(level))
  await upstreams.send(out(view), wanting('debug', null))
  const levels = upstream.requests
    .filter(({ message }) => message.method === 'logging/setLevel')
    .map(({ message }) => message.params)
  assert.deepEqual(levels, [{ level: 'warning' }, { level: 'info' }])
  assert.equal(upstream.requests.length, 9)
})

test('a changed upstream gets new links, and calls on the old ones end first', async (t) => {
  let release = (): void => {}
  const old = await serve(t, ({ id }, socket) => {
    release = () => void socket.write(json(result(id)))
  })
  const fresh = await serve(t, ok)
  const { upstreams } = setUp(t)
  const before = makeView([old.url])
  const after = makeView([fresh.url])
  const slow = upstreams.send(out(before), makeCall('tools/call'))
  await until('the request', () => old.requests.length === 1)
  upstreams.upstreamsChanged(new Map([[after.id, after]]))
  await upstreams.send(out(after), makeCall('tools/call'))
  assert.deepEqual([fresh.requests.length, old.requests.length], [1, 1])
  release()
  await slow
  upstreams.upstreamsChanged(new Map())
  await upstreams.send(out(after), makeCall('tools/call'))
  assert.equal(fresh.requests.length, 2)
})

test('an address that is not allowed is refused by name', async (t) => {
  const upstream = await serve(t, ok)
  const { upstreams } = setUp(t)
  const view = makeView([upstream.url], {}, { privileged: false })
  assert.equal(await code(upstreams.send(out(view), makeCall('tools/call'))), 'ADDRESS_REFUSED')
  const byName = makeView([upstream.url.replace('127.0.0.1', 'localhost')], {}, { privileged: false })
  assert.equal(await code(upstreams.send(out(byName), makeCall('tools/call'))), 'ADDRESS_REFUSED')
  assert.equal(upstream.connections, 0)
})

test('a session whose server contradicts its era is not opened anew for the same request', async (t) => {
  const upstream = await serve(t, ({ id }) =>
    json(`{"jsonrpc":"2.0","id":${id},"error":{"code":-32022,"message":"m"}}`, 400),
  )
  const { upstreams, opened, stale } = setUp(t, () => ({ sessionId: 's', url: upstream.url }))
  const view = makeView([upstream.url], { stateful: true })
  assert.equal(await code(upstreams.send(out(view), makeCall('tools/call'))), 'UPSTREAM_INVALID')
  assert.deepEqual([opened.length, stale, upstream.requests.length], [1, ['caller-1 1 era'], 1])
})

test('an upstream that loses its privilege loses its links to private addresses', async (t) => {
  const upstream = await serve(t, ok)
  const { upstreams } = setUp(t)
  await upstreams.send(out(makeView([upstream.url])), makeCall('tools/call'))
  const view = makeView([upstream.url], {}, { privileged: false })
  assert.equal(await code(upstreams.send(out(view), makeCall('tools/call'))), 'ADDRESS_REFUSED')
  assert.equal(upstream.requests.length, 1)
})
