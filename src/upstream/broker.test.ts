// The primary's side of links: how the era of a server is found out, sessions once per owner, children and their restarts.

import assert from 'node:assert/strict'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { createFakeBus } from '../../test/fakes/bus.ts'
import { createFakeClock } from '../../test/fakes/clock.ts'
import { until } from '../../test/fakes/processes.ts'
import { createRawUpstream, http, json, type RawUpstream, type Respond, result } from '../../test/fakes/raw-upstream.ts'
import { upstreamRow } from '../../test/fakes/registry.ts'
import { createScripted, refusal, type Scripted } from '../../test/fakes/scripted-mcp.ts'
import { ASKS } from '../core/asks.ts'
import type { Reply } from '../core/call.ts'
import { GatewayError } from '../core/errors.ts'
import { LIMITS, type Limits } from '../core/limits.ts'
import type { Discovery, UpstreamRow, UpstreamSpec } from '../core/model.ts'
import { createFastLink as createLink } from '../http/fast-link.ts'
import type { Children, ChildSpec } from '../ports/children.ts'
import { SILENT } from '../ports/log.ts'
import { type Broker, createBroker } from './broker.ts'
import { createChildren } from './children.ts'

const CHILD = join(import.meta.dirname, '../../test/fakes/mcp-child.ts')
const QUICK = { probeMs: 2_000, handshakeMs: 3_000, childTermMs: 100, childStopMs: 400 }

interface Setup {
  readonly broker: Broker
  readonly clock: ReturnType<typeof createFakeClock>
  readonly rows: Map<string, UpstreamRow>
  readonly doubts: string[]
  readonly news: string[]
  readonly children: Children
}

function setUp(t: TestContext, row: UpstreamRow, limits: Partial<Limits> = {}, others?: Children): Setup {
  const clock = createFakeClock()
  const bounds = { ...LIMITS, ...QUICK, ...limits }
  const baseEnv = { PATH: process.env.PATH ?? '' }
  const children = others ?? createChildren({ limits: bounds, clock, log: SILENT, baseEnv })
  const rows = new Map([[row.id, row]])
  const bus = createFakeBus()
  const broker = createBroker({
    bus,
    gatewayId: 'us',
    ...{
      createLink,
      clock,
      children,
      networks: [],
      ca: null,
      version: '9',
      log: SILENT,
      random: () => 0.5,
      limits: bounds,
    },
    resolveSecret: (secret) => secret as string,
    upstream: async (id) => rows.get(id) ?? null,
  })
  const doubts: string[] = []
  const news: string[] = []
  broker.onDoubt = (id) => doubts.push(id)
  broker.onNews = (_id, kind) => news.push(kind)
  t.after(async () => {
    await broker.close()
    await children.close()
  })
  return { broker, clock, rows, doubts, news, children }
}

async function serve(t: TestContext, respond: Respond): Promise<RawUpstream> {
  const upstream = await createRawUpstream(respond)
  t.after(() => upstream.close())
  return upstream
}

function httpRow(
  urls: readonly string[],
  discovery: Partial<Discovery> | null = null,
  spec: Partial<UpstreamSpec> = {},
): UpstreamRow {
  return upstreamRow(
    'up',
    { transport: { kind: 'http', urls }, privileged: true, connectMs: 1_000, ...spec },
    discovery,
  )
}

function childRow(character: string, discovery: Partial<Discovery> | null = null): UpstreamRow {
  const limits = { memoryBytes: 0, processes: 0, openFiles: 0 }
  const transport = { kind: 'stdio', command: process.execPath, args: [CHILD, character], ...limits } as const
  return upstreamRow('up', { transport }, discovery)
}

async function failure(promise: Promise<unknown>): Promise<GatewayError> {
  const error = await promise.then(
    () => assert.fail('it did not fail'),
    (fault: unknown) => fault,
  )
  assert.ok(error instanceof GatewayError, String(error))
  return error
}

const methods = (upstream: RawUpstream): string[] =>
  upstream.requests.map(({ method, message }) => (message.method ?? method).replace('notifications/', 'n/'))
const shared = { upstreamId: 'id-up', owner: '', asks: 0 }
const textOf = (reply: Reply): string => ('error' in reply ? reply.error : (reply.result as Buffer)).toString()

// --- which era ------------------------------------------------------------------------------------------------------------

const GREETING = (version: unknown, instructions = 'i'): string =>
  JSON.stringify({
    protocolVersion: version,
    capabilities: { logging: {} },
    serverInfo: { name: 'n', version: 'v', title: 't\u0007' },
    instructions,
  })
const DISCOVER = (versions: unknown): string =>
  JSON.stringify({ supportedVersions: versions, capabilities: {}, ttlMs: 5 })

/** Answers the two greetings as given; whatever follows is accepted. */
const greets =
  (onDiscover: Respond, onInitialize: Respond = () => http(500, {})): Respond =>
  (request, ...rest) => {
    if (request.message.method === 'server/discover') return onDiscover(request, ...rest)
    if (request.message.method === 'initialize') return onInitialize(request, ...rest)
    return http(202, {})
  }
const older: Respond = ({ id }) => json(result(id, GREETING('2025-06-18')))

test('HTTP: what the answers to the two greetings decide', async (t) => {
  const table: [string, Respond, string, string[]][] = [
    [
      'modern',
      greets(({ id }) => json(result(id, DISCOVER(['2027-01-01', '2026-07-28'])))),
      'modern 2026-07-28',
      ['server/discover'],
    ],
    [
      'an error in HTTP 200',
      greets(({ id }) => refusal(id, -32601, 'no', 200), older),
      'legacy 2025-06-18',
      ['server/discover', 'initialize', 'n/initialized'],
    ],
    [
      '400 of an SDK server',
      greets(() => refusal('null', -32000), older),
      'legacy 2025-06-18',
      ['server/discover', 'initialize', 'n/initialized'],
    ],
    [
      '404 with a page',
      greets(() => http(404, {}, '<html>'), older),
      'legacy 2025-06-18',
      ['server/discover', 'initialize', 'n/initialized'],
    ],
    [
      '405',
      greets(() => http(405, {}), older),
      'legacy 2025-06-18',
      ['server/discover', 'initialize', 'n/initialized'],
    ],
    [
      'other versions, older ones among them',
      greets(({ id }) => refusal(id, -32022, 'no', 400, { supported: ['2025-11-25'] }), older),
      'legacy 2025-06-18',
      ['server/discover', 'initialize', 'n/initialized'],
    ],
    [
      'other versions in the result',
      greets(({ id }) => json(result(id, DISCOVER(['2025-11-25']))), older),
      'legacy 2025-06-18',
      ['server/discover', 'initialize', 'n/initialized'],
    ],
    [
      'a result that is none',
      greets(({ id }) => json(result(id)), older),
      'legacy 2025-06-18',
      ['server/discover', 'initialize', 'n/initialized'],
    ],
    [
      'a version error without versions',
      greets(({ id }) => refusal(id, -32022), older),
      'legacy 2025-06-18',
      ['server/discover', 'initialize', 'n/initialized'],
    ],
    [
      'newer versions only',
      greets(({ id }) => refusal(id, -32022, 'no', 400, { supported: ['2027-01-01'] }), older),
      'UPSTREAM_INVALID',
      ['server/discover'],
    ],
    [
      'newer versions in the result',
      greets(({ id }) => json(result(id, DISCOVER(['2027-01-01']))), older),
      'UPSTREAM_INVALID',
      ['server/discover'],
    ],
    ['401', greets(() => http(401, {}), older), 'UPSTREAM_REFUSED', ['server/discover']],
    ['403', greets(() => refusal('null', -32022, 'x', 403), older), 'UPSTREAM_REFUSED', ['server/discover']],
    ['500', greets(() => http(500, {}), older), 'UPSTREAM_UNAVAILABLE', ['server/discover']],
    [
      '503 with a JSON error page',
      greets(() => refusal('null', -32601, 'x', 503), older),
      'UPSTREAM_UNAVAILABLE',
      ['server/discover'],
    ],
    [
      'an end without an answer',
      greets((_request, socket) => void socket.end(), older),
      'UPSTREAM_UNAVAILABLE',
      ['server/discover'],
    ],
    ['silence', greets(() => undefined, older), 'TIMEOUT', ['server/discover']],
    [
      'a redirect',
      greets(() => http(307, { location: 'http://127.0.0.1:1/' }), older),
      'UPSTREAM_INVALID',
      ['server/discover'],
    ],
    [
      'neither',
      greets(
        () => http(404, {}),
        () => http(404, {}),
      ),
      'UPSTREAM_INVALID',
      ['server/discover', 'initialize', 'GET'],
    ],
    [
      'an old draft',
      greets(
        () => http(404, {}),
        ({ id }) => json(result(id, GREETING('2024-10-07'))),
      ),
      'legacy 2024-11-05',
      ['server/discover', 'initialize', 'n/initialized'],
    ],
    [
      'a version nobody knows',
      greets(
        () => http(404, {}),
        ({ id }) => json(result(id, GREETING('1.0'))),
      ),
      'UPSTREAM_INVALID',
      ['server/discover', 'initialize'],
    ],
    [
      'a version that is no text',
      greets(
        () => http(404, {}),
        ({ id }) => json(result(id, GREETING(5))),
      ),
      'UPSTREAM_INVALID',
      ['server/discover', 'initialize'],
    ],
    [
      'a greeting over its bound',
      greets(
        () => http(404, {}),
        ({ id }) => json(result(id, GREETING('2025-11-25', 'x'.repeat(LIMITS.greetingBytes)))),
      ),
      'UPSTREAM_INVALID',
      ['server/discover', 'initialize'],
    ],
    [
      'an older one that names its versions',
      greets(
        () => http(404, {}),
        (request) => {
          const { protocolVersion } = request.message.params as { protocolVersion: string }
          if (protocolVersion !== '2025-03-26')
            return refusal(request.id, -32602, 'no', 200, { supported: ['2025-03-26'] })
          return json(result(request.id, GREETING(protocolVersion)))
        },
      ),
      'legacy 2025-03-26',
      ['server/discover', 'initialize', 'initialize', 'n/initialized'],
    ],
  ]
  for (const [name, respond, expected, sent] of table) {
    const upstream = await serve(t, respond)
    const { broker } = setUp(t, httpRow([upstream.url]), { probeMs: name === 'silence' ? 500 : 10_000 })
    const outcome = await broker.openLink(shared).then(
      ({ era, revision }) => `${era} ${revision}`,
      (error: GatewayError) => error.code,
    )
    assert.deepEqual([outcome, methods(upstream)], [expected, sent], name)
  }
})

test('the greetings themselves, and what is kept of the answers', async (t) => {
  const upstream = await serve(
    t,
    greets(
      () => http(404, {}),
      ({ id }) => json(result(id, GREETING('2025-11-25')), 200, { 'mcp-session-id': 'abc' }),
    ),
  )
  const { broker } = setUp(t, httpRow([upstream.url]))
  const ticket = await broker.openLink(shared)
  assert.deepEqual(ticket, {
    ...{
      era: 'legacy',
      revision: '2025-11-25',
      generation: 1,
      sessionId: 'abc',
      url: upstream.url,
      childId: null,
      logging: true,
    },
  })
  const [discover, initialize, initialized] = upstream.requests
  assert.equal(discover!.headers['mcp-method'], 'server/discover')
  assert.deepEqual(initialize!.message.params, {
    protocolVersion: '2025-11-25',
    capabilities: {},
    clientInfo: { name: 'mcp-gateway', version: '9' },
  })
  assert.deepEqual(
    [initialize!.headers['mcp-protocol-version'], initialize!.headers['mcp-session-id']],
    [undefined, undefined],
  )
  assert.deepEqual(
    [initialized!.headers['mcp-protocol-version'], initialized!.headers['mcp-session-id']],
    ['2025-11-25', 'abc'],
  )
  assert.equal(initialized!.body, '{"jsonrpc":"2.0","method":"notifications/initialized"}')
  const { greeting, stateful } = await broker.shared('id-up', false)
  assert.deepEqual(
    [greeting.serverInfo, greeting.instructions, stateful],
    [{ name: 'n', version: 'v', title: 't' }, 'i', true],
  )
  assert.deepEqual(broker.links(), [
    {
      upstreamId: 'id-up',
      owner: '',
      asks: 0,
      era: 'legacy',
      revision: '2025-11-25',
      url: upstream.url,
      childId: null,
      openedMs: 1_800_000_000_000,
    },
  ])
})

test('a known era is greeted at once; doubt and a change of the server make it be found out anew', async (t) => {
  const scripted = createScripted({ sessions: true })
  const upstream = await serve(t, scripted.respond)
  const { broker, doubts } = setUp(t, httpRow([upstream.url], { era: 'legacy', probedMs: 77 }))
  await broker.openLink({ upstreamId: 'id-up', owner: 'a', asks: 0 })
  assert.deepEqual(methods(upstream), ['initialize', 'n/initialized'])
  assert.equal((await broker.shared('id-up', false)).probedMs, 77)
  broker.staleLink({ upstreamId: 'id-up', owner: '', asks: 0 }, 0, 'era')
  assert.deepEqual(doubts, ['id-up'])
  upstream.requests.length = 0
  await broker.openLink({ upstreamId: 'id-up', owner: 'b', asks: 0 })
  assert.deepEqual(methods(upstream), ['server/discover', 'initialize', 'n/initialized'])
  // The server is now a modern one: the known era is contradicted, and the other one tried.
  scripted.eras = ['modern']
  upstream.requests.length = 0
  const ticket = await broker.openLink({ upstreamId: 'id-up', owner: 'c', asks: 0 })
  assert.deepEqual([ticket.era, ticket.sessionId, ticket.url], ['modern', null, null])
  assert.deepEqual(methods(upstream), ['initialize', 'server/discover'])
})

test('a probe closes the shared session and finds the era out anew', async (t) => {
  const scripted = createScripted({ sessions: true, eras: ['legacy'] })
  const upstream = await serve(t, scripted.respond)
  const { broker, clock } = setUp(t, httpRow([upstream.url]))
  const before = await broker.shared('id-up', false)
  scripted.eras = ['legacy', 'modern']
  clock.forward(5)
  const after = await broker.shared('id-up', true)
  assert.deepEqual([before.greeting.era, after.greeting.era, after.probedMs - before.probedMs], ['legacy', 'modern', 5])
  await until('the old session is closed', () => scripted.known.size === 0)
})

// --- sessions ---------------------------------------------------------------------------------------------------------------

async function sessions(
  t: TestContext,
  limits: Partial<Limits> = {},
): Promise<Setup & { scripted: Scripted; upstream: RawUpstream }> {
  const scripted = createScripted({ sessions: true, answers: { 'tools/list': '{"tools":[]}' } })
  const upstream = await serve(t, scripted.respond)
  return { ...setUp(t, httpRow([upstream.url]), limits), scripted, upstream }
}

test('one session per owner, however many ask at once', async (t) => {
  const { broker, scripted } = await sessions(t)
  const open = (owner: string) => broker.openLink({ upstreamId: 'id-up', owner, asks: 0 })
  const tickets = await Promise.all([open('a'), open('a'), open('b'), open('a')])
  assert.equal(scripted.known.size, 2)
  assert.equal(new Set(tickets.map(({ sessionId }) => sessionId)).size, 2)
  assert.deepEqual(await open('a'), tickets[0])
})

test('a stale ticket is replaced, an older one changes nothing', async (t) => {
  const { broker, scripted, upstream } = await sessions(t)
  const key = { upstreamId: 'id-up', owner: 'a', asks: 0 }
  const first = await broker.openLink(key)
  scripted.known.clear()
  broker.staleLink(key, first.generation, 'session')
  const second = await broker.openLink(key)
  assert.notEqual(second.sessionId, first.sessionId)
  broker.staleLink(key, first.generation, 'session')
  assert.deepEqual(await broker.openLink(key), second)
  assert.equal(methods(upstream).includes('DELETE'), false, 'the server has forgotten it already')
})

test('sessions end with their owner, with their upstream, and when there are too many', async (t) => {
  const { broker, scripted, rows } = await sessions(t, { upstreamSessionsMax: 3 })
  const open = (owner: string) => broker.openLink({ upstreamId: 'id-up', owner, asks: 0 })
  for (const owner of ['', 'a', 'b', 'c']) await open(owner)
  await until('the oldest but the shared one is closed', () => scripted.known.size === 3)
  assert.deepEqual(
    broker.links().map(({ owner }) => owner),
    ['', 'b', 'c'],
  )
  broker.closeOwner('b')
  broker.closeOwner('nobody')
  await until('the session of b is closed', () => scripted.known.size === 2)
  broker.closeUpstream('id-up')
  await until('all are closed', () => scripted.known.size === 0)
  rows.clear()
  assert.equal((await failure(open('a'))).code, 'NOT_FOUND')
})

test('a row that is switched off or reached otherwise', async (t) => {
  const { broker, scripted, rows, upstream } = await sessions(t)
  await broker.openLink(shared)
  const moved = await serve(t, createScripted({ sessions: true }).respond)
  const row = httpRow([moved.url])
  rows.set(row.id, row)
  const ticket = await broker.openLink({ upstreamId: 'id-up', owner: 'a', asks: 0 })
  assert.equal(ticket.url, moved.url)
  assert.equal(scripted.known.size, 1, 'calls under way may still use the old session')
  await broker.openLink({ upstreamId: 'id-up', owner: 'a', asks: 0 })
  rows.set(row.id, httpRow([upstream.url], null, { enabled: false }))
  assert.equal(
    (await failure(broker.openLink({ upstreamId: 'id-up', owner: 'b', asks: 0 }))).code,
    'UPSTREAM_UNAVAILABLE',
  )
})

test('what is replaced ends after its grace, or at once where too much is', async (t) => {
  const { broker, scripted, rows } = await sessions(t, { upstreamRetiredMax: 2 })
  const sessionsOf = async (): Promise<string | null> => {
    rows.set('id-up', { ...rows.get('id-up')!, rowVersion: rows.get('id-up')!.rowVersion + 1 })
    return (await broker.openLink(shared)).sessionId
  }
  const first = await sessionsOf()
  broker.closeUpstream('id-up', 60_000)
  assert.deepEqual(broker.links(), [])
  assert.notEqual(await sessionsOf(), first)
  assert.equal(scripted.known.size, 2)
  broker.closeUpstream('id-up', 60_000)
  await sessionsOf()
  broker.closeUpstream('id-up', 60_000)
  await until('the oldest has ended', () => scripted.known.size === 2)
  await sessionsOf()
  broker.closeUpstream('id-up', 20)
  await until('two more have ended', () => scripted.known.size === 1)
  await broker.close()
  assert.equal(scripted.known.size, 0, 'none is left behind')
})

test('several addresses: a session opens at one that answers, and stays there', async (t) => {
  const gone = await createRawUpstream(() => undefined)
  await gone.close()
  const broken = await serve(t, () => http(503, {}))
  const scripted = createScripted({ sessions: true, answers: { ping: '{}' } })
  const well = await serve(t, scripted.respond)
  const { broker } = setUp(t, httpRow([gone.url, broken.url, well.url]))
  for (let round = 0; round < 7; round += 1) {
    const ticket = await broker.openLink({ upstreamId: 'id-up', owner: `o-${round}`, asks: 0 })
    assert.equal(ticket.url, well.url)
  }
  const link = await broker.shared('id-up', false)
  assert.equal(textOf(await link.ask('ping', Buffer.from('{}'), 1_000)), '{}')
})

test('several addresses: sessions are spread, whatever streams are open', async (t) => {
  const scripted = [1, 2, 3].map(() => createScripted({ sessions: true, offersStream: true }))
  const urls = await Promise.all(scripted.map(async ({ respond }) => (await serve(t, respond)).url))
  const { broker } = setUp(t, httpRow(urls))
  const link = await broker.shared('id-up', false)
  link.listen(['tools'], { onOpen: () => {}, onNews: () => {}, onEnd: () => {} })
  for (let at = 0; at < 8; at += 1) await broker.openLink({ upstreamId: 'id-up', owner: `o-${at}`, asks: 0 })
  assert.deepEqual(
    scripted.map(({ known }) => known.size),
    [3, 3, 3],
  )
})

test('the shared link notices a lost session and opens another', async (t) => {
  const { broker, scripted } = await sessions(t)
  const link = await broker.shared('id-up', false)
  scripted.known.clear()
  assert.equal((await failure(link.ask('tools/list', Buffer.from('{}'), 1_000))).code, 'UPSTREAM_UNAVAILABLE')
  const again = await broker.shared('id-up', false)
  assert.equal(textOf(await again.ask('tools/list', Buffer.from('{}'), 1_000)), '{"tools":[]}')
})

// --- news -------------------------------------------------------------------------------------------------------------------

test('a stream of news, in both eras; a server without one says so', async (t) => {
  for (const era of ['legacy', 'modern'] as const) {
    const scripted = createScripted({ eras: [era], sessions: era === 'legacy', offersStream: true })
    const upstream = await serve(t, scripted.respond)
    const { broker } = setUp(t, httpRow([upstream.url]))
    const link = await broker.shared('id-up', false)
    const heard: string[] = []
    const listen = () =>
      link.listen(['tools'], {
        onOpen: () => heard.push('open'),
        onNews: (kind) => heard.push(kind),
        onEnd: (isOffered) => heard.push(`end ${isOffered}`),
      })
    const first = listen()
    await until('the stream', () => heard.length === 1)
    scripted.say('garbage')
    scripted.say('{"jsonrpc":"2.0","id":"q","method":"ping"}')
    scripted.say('{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}')
    await until('the news', () => heard.length === 2)
    first.close()
    await until('the stream is closed', () => scripted.streams.size === 0)
    assert.deepEqual(heard.splice(0), ['open', 'tools'])
    listen()
    await until('the stream', () => scripted.streams.size === 1)
    for (const socket of scripted.streams) socket.destroy()
    await until('its end', () => heard.length === 2)
    assert.deepEqual(heard.splice(0), ['open', 'end true'])
    scripted.offersStream = false
    listen()
    await until('the refusal', () => heard.length === 1)
    assert.deepEqual(heard, ['end false'])
  }
})

// --- children ---------------------------------------------------------------------------------------------------------------

const call = async (setup: Setup, name: string): Promise<unknown> => {
  const link = await setup.broker.shared('id-up', false)
  const reply = await link.ask('tools/call', Buffer.from(JSON.stringify({ name })), 3_000)
  const { content } = JSON.parse(textOf(reply)) as { content: { text: string }[] }
  return JSON.parse(content[0]!.text)
}

test('stdio: every character of server is greeted in the way that it bears', async (t) => {
  const table: [string, Partial<Discovery> | null, string, string[]][] = [
    ['legacy', null, 'legacy', ['server/discover', 'initialize', 'notifications/initialized', 'tools/call']],
    ['legacy', { era: 'legacy' }, 'legacy', ['initialize', 'notifications/initialized', 'tools/call']],
    ['touchy', null, 'legacy', ['initialize', 'notifications/initialized', 'tools/call']],
    [
      'silent',
      null,
      'legacy',
      ['server/discover', 'notifications/cancelled', 'initialize', 'notifications/initialized', 'tools/call'],
    ],
    ['modern', null, 'modern', ['server/discover', 'tools/call']],
    ['modern', { era: 'legacy' }, 'modern', ['initialize', 'server/discover', 'tools/call']],
  ]
  for (const [character, discovery, era, seen] of table) {
    const setup = setUp(t, childRow(character, discovery), { probeMs: character === 'silent' ? 600 : 3_000 })
    const link = await setup.broker.shared('id-up', false)
    assert.deepEqual([link.greeting.era, link.stateful], [era, true], character)
    assert.deepEqual(await call(setup, 'seen'), seen, character)
    assert.equal(setup.children.list().length, 1, character)
  }
})

test('stdio: one child per owner; it answers what the server asks and hears its news', async (t) => {
  const setup = setUp(t, childRow('asking'))
  const { broker, children, news } = setup
  const open = (owner: string) => broker.openLink({ upstreamId: 'id-up', owner, asks: 0 })
  const [a, again, b] = await Promise.all([open('a'), open('a'), open('b')])
  assert.equal(a.childId, again.childId)
  assert.notEqual(a.childId, b.childId)
  assert.equal(children.list().length, 2)
  let answers = 0
  while (answers < 2) answers = ((await call(setup, 'seen')) as string[]).filter((method) => method === 'answer').length
  assert.equal(answers, 2)
  await call(setup, 'change')
  assert.deepEqual(news, ['tools'])
  broker.closeOwner('a')
  await until('the child of a has ended', () => children.list().every(({ owner }) => owner !== 'a'))
  // A worker that lost its end of a living child gets the same child again.
  broker.staleLink({ upstreamId: 'id-up', owner: 'b', asks: 0 }, b.generation, 'closed')
  assert.equal((await open('b')).childId, b.childId)
})

test('stdio: a child that ends is started again, later each time', async (t) => {
  const setup = setUp(t, childRow('crash', { era: 'legacy' }))
  const { broker, clock, children } = setup
  const waits: number[] = []
  for (let round = 0; round < 3; round += 1) {
    assert.equal((await failure(call(setup, 'pid'))).code, 'UPSTREAM_UNAVAILABLE')
    await until('it has ended', () => children.list().length === 0)
    await until('the link is forgotten', () => broker.links().length === 0)
    const error = await failure(broker.openLink(shared))
    assert.equal(error.code, 'UPSTREAM_UNAVAILABLE')
    assert.match(error.message, /started again in/)
    waits.push(error.options.retryAfterSeconds ?? 0)
    assert.equal(children.list().length, 0, 'nothing was started')
    clock.forward(waits.at(-1)! * 1_000)
  }
  assert.deepEqual(waits, [1, 2, 4])
  clock.forward(200_000)
  assert.equal((await failure(call(setup, 'pid'))).code, 'UPSTREAM_UNAVAILABLE')
  await until('it has ended', () => broker.links().length === 0 && children.list().length === 0)
  assert.equal((await failure(broker.openLink(shared))).options.retryAfterSeconds, 1, 'long after, it is no series')
})

test('stdio: silence fails in bounded time, and is met with initialize the next time', async (t) => {
  const stunned = setUp(t, childRow('stunned'), { probeMs: 300, handshakeMs: 1_500 })
  assert.equal((await failure(stunned.broker.openLink(shared))).code, 'TIMEOUT')
  assert.equal(stunned.children.list().length, 0)
  stunned.clock.forward(2_000)
  assert.equal((await stunned.broker.openLink(shared)).era, 'legacy')
  const mute = setUp(t, childRow('mute'), { probeMs: 300, handshakeMs: 300 })
  for (const _ of [1, 2, 3]) {
    assert.equal((await failure(mute.broker.openLink(shared))).code, 'TIMEOUT')
    mute.clock.forward(10_000)
  }
  assert.equal(mute.children.list().length, 0)
})

test('stdio: what cannot be started or greeted says why, and leaves no process', async (t) => {
  const broken = setUp(t, childRow('broken'))
  const refused = await failure(broken.broker.openLink(shared))
  assert.equal(refused.code, 'UPSTREAM_INVALID')
  assert.match(refused.message, /^up: it is no MCP server/)
  await until('no process is left', () => broken.children.list().length === 0)

  const row = childRow('legacy')
  const missing = setUp(t, { ...row, spec: { ...row.spec, transport: { kind: 'stdio', command: '/no/such/command' } } })
  assert.equal((await failure(missing.broker.openLink(shared))).code, 'UPSTREAM_UNAVAILABLE')
  assert.match((await failure(missing.broker.openLink(shared))).message, /started again in 1 s/)
})

test('all links together that are being opened have a bound', async (t) => {
  const hanging = await serve(t, () => undefined)
  const { broker, rows } = setUp(t, httpRow([hanging.url]), { openingMax: 2, openingPerUpstream: 10 })
  const other = upstreamRow('other', { transport: { kind: 'http', urls: [hanging.url] }, privileged: true }, null)
  rows.set(other.id, other)
  const waiting = ['a', 'b'].map((owner) => failure(broker.openLink({ upstreamId: 'id-up', owner, asks: 0 })))
  assert.equal((await failure(broker.openLink({ upstreamId: other.id, owner: 'c', asks: 0 }))).code, 'UPSTREAM_BUSY')
  await hanging.close()
  assert.deepEqual(
    (await Promise.all(waiting)).map(({ code }) => code),
    ['UPSTREAM_UNAVAILABLE', 'UPSTREAM_UNAVAILABLE'],
  )
})

test('a child gets the bounds of its transport, or those of the gateway', async (t) => {
  const asked: unknown[] = []
  const full = {
    ...{ connect: () => assert.fail(), stop: async () => {}, onExit: null, list: () => [], stderr: () => '' },
    close: async () => {},
    retire: () => {},
    spawn: (_upstreamId: string, _owner: string, spec: ChildSpec, childrenMax: number, idleMs: number) => {
      assert.ok(spec.kind === 'process')
      const { memoryBytes, cpuSeconds, openFiles, processes } = spec
      asked.push({ memoryBytes, cpuSeconds, openFiles, processes, childrenMax, idleMs })
      return Promise.reject(new GatewayError('UPSTREAM_BUSY'))
    },
  } satisfies Children
  const own = { memoryBytes: 1, cpuSeconds: 2, openFiles: 3, processes: 4, childrenMax: 5, idleMs: 600_000 }
  const stdio = { kind: 'stdio', command: 'x' } as const
  const row = upstreamRow('up', { transport: stdio }, null)
  const { broker, rows } = setUp(t, row, { childCpuSeconds: 7 }, full)
  const open = async (transport: object, spec: Partial<UpstreamSpec> = {}): Promise<void> => {
    rows.set(row.id, { ...row, spec: { transport: { ...stdio, ...transport }, ...spec } })
    assert.equal((await failure(broker.openLink(shared))).code, 'UPSTREAM_BUSY')
  }
  await open({})
  await open(own)
  // A child that works on one long silent call is not idle; 0 means never.
  await open({ idleMs: 10 }, { callMs: 5_000, tools: { slow: { callMs: 9_000 } } })
  await open({ idleMs: 0 })
  const ours = {
    memoryBytes: LIMITS.childMemoryBytes,
    cpuSeconds: 7,
    openFiles: LIMITS.childOpenFiles,
    processes: LIMITS.childProcesses,
    childrenMax: LIMITS.childrenPerUpstream,
    idleMs: LIMITS.childIdleMs,
  }
  assert.deepEqual(asked, [ours, own, { ...ours, idleMs: 10_000 }, { ...ours, idleMs: 0 }])
})

test('an upstream that hangs while links are opened leaves room for the others and for its own shared link', async (t) => {
  const hanging = await serve(t, () => undefined)
  const good = await serve(
    t,
    greets(
      () => http(404, {}),
      ({ id }) => json(result(id, GREETING('2025-11-25'))),
    ),
  )
  const limits = { openingMax: 4, openingPerUpstream: 2, probeMs: 1_000, handshakeMs: 1_000 }
  const { broker, rows } = setUp(t, httpRow([hanging.url]), limits)
  const other = upstreamRow('other', { transport: { kind: 'http', urls: [good.url] }, privileged: true }, null)
  rows.set(other.id, other)
  const of = (owner: string) => broker.openLink({ upstreamId: 'id-up', owner, asks: 0 })
  const waiting = Promise.allSettled([of('a'), of('b')])
  assert.equal((await failure(of('c'))).code, 'UPSTREAM_BUSY')
  const discovery = failure(broker.openLink(shared))
  assert.equal((await broker.openLink({ upstreamId: other.id, owner: 'c', asks: 0 })).era, 'legacy')
  assert.equal((await discovery).code, 'TIMEOUT')
  await waiting
})

test('a session that was being opened while its upstream changed is ended, not handed out', async (t) => {
  let go = (): void => {}
  const upstream = await serve(
    t,
    greets(
      () => http(404, {}),
      ({ id }, socket) => {
        go = () => void socket.write(json(result(id, GREETING('2025-11-25')), 200, { 'mcp-session-id': 's-1' }))
      },
    ),
  )
  const { broker, rows } = setUp(t, httpRow([upstream.url]), { handshakeMs: 30_000 })
  const opening = failure(broker.openLink(shared))
  await until('the greeting', () => methods(upstream).includes('initialize'))
  rows.clear()
  broker.closeUpstream(shared.upstreamId)
  go()
  assert.equal((await opening).code, 'NOT_FOUND')
  assert.deepEqual(broker.links(), [])
})

test('an upstream without privilege gets no link to a private address', async (t) => {
  const upstream = await serve(t, () => assert.fail('it was asked'))
  const { broker } = setUp(t, httpRow([upstream.url], null, { privileged: false }))
  assert.equal((await failure(broker.openLink(shared))).code, 'ADDRESS_REFUSED')
})

const asking = { upstreamId: 'id-up', owner: 'ada', asks: ASKS.elicitationForm }

test('a link on which questions may come is not used before the stream that brings them is open', async (t) => {
  let isOpen = false
  const scripted = createScripted({ sessions: true, offersStream: true })
  const upstream = await serve(t, (request, socket, ...rest) => {
    if (request.method !== 'GET') return scripted.respond(request, socket, ...rest)
    setTimeout(() => {
      isOpen = true
      socket.write(String(scripted.respond(request, socket, ...rest)))
    }, 50)
    return undefined
  })
  const { broker } = setUp(t, httpRow([upstream.url]))
  await broker.openLink(asking)
  assert.ok(isOpen)
  const hello = upstream.requests.find(({ message }) => message.method === 'initialize')
  assert.deepEqual((hello!.message.params as { capabilities: object }).capabilities, { elicitation: { form: {} } })
})

test('a server without such a stream, or one that never says so, costs a link little', async (t) => {
  for (const onGet of [() => http(405, {}), () => undefined]) {
    const scripted = createScripted({ sessions: true })
    const upstream = await serve(t, (request, ...rest) =>
      request.method === 'GET' ? onGet() : scripted.respond(request, ...rest),
    )
    const { broker } = setUp(t, httpRow([upstream.url]), { earMs: 30 })
    assert.equal((await broker.openLink(asking)).era, 'legacy')
  }
})
