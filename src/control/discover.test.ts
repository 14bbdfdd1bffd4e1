// The upstreams of a registry followed over time, against servers that appear, change, fail and come back. Real store,
// feed, broker and HTTP; only the waits are short.

import assert from 'node:assert/strict'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { createFakeBus } from '../../test/fakes/bus.ts'
import { until } from '../../test/fakes/processes.ts'
import { createRawUpstream, http, type RawUpstream } from '../../test/fakes/raw-upstream.ts'
import { createScripted, type Scripted } from '../../test/fakes/scripted-mcp.ts'
import { createMemoryStore } from '../../test/fakes/store-memory.ts'
import { LIMITS, type Limits } from '../core/limits.ts'
import type { UpstreamRow, UpstreamSpec } from '../core/model.ts'
import { createFastLink as createLink } from '../http/fast-link.ts'
import type { BusEvents } from '../ports/bus.ts'
import { SILENT } from '../ports/log.ts'
import { createFollower } from '../registry/follow.ts'
import { createBroker } from '../upstream/broker.ts'
import { createChildren } from '../upstream/children.ts'
import { createDiscoverer } from './discover.ts'

const QUICK: Partial<Limits> = {
  ...{ retryMsBase: 20, retryMsMax: 80, refreshMs: 3_600_000, refreshMsMin: 30, newsQuietMs: 5, newsMsMin: 10 },
  ...{ probeMs: 10_000, handshakeMs: 10_000, breakerFailures: 1_000, childTermMs: 100, childStopMs: 300 },
}

async function setUp(t: TestContext, limits: Partial<Limits> = {}) {
  const bounds = { ...LIMITS, ...QUICK, ...limits }
  const shift = { ms: 0 }
  const clock = { now: () => Date.now() + shift.ms }
  const store = createMemoryStore({ clock })
  const feed = createFollower(store, (error) => assert.fail(String(error)))
  await feed.start()
  const children = createChildren({ limits: bounds, clock, log: SILENT, baseEnv: { PATH: process.env.PATH ?? '' } })
  const broker = createBroker({
    bus: createFakeBus(),
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
    upstream: (id) => store.upstream(id),
  })
  const bus = createFakeBus()
  const discoverer = createDiscoverer({ store, broker, bus, clock, random: () => 0.5, log: SILENT, limits: bounds })
  const states: string[] = []
  discoverer.onState = (row, { state }) => states.push(`${row.slug} ${state}`)
  const unfollow = discoverer.follow(feed)
  t.after(async () => {
    unfollow()
    feed.close()
    await discoverer.close()
    await broker.close()
    await children.close()
    await store.close()
  })
  const add = async (slug: string, urls: readonly string[], spec: Partial<UpstreamSpec> = {}): Promise<string> => {
    const transport = { kind: 'http', urls } as const
    const row = await store.insertUpstream({ slug, spec: { transport, privileged: true, ...spec }, origin: 'api' })
    await feed.sync()
    return row.id
  }
  const change = async (id: string, spec: Partial<UpstreamSpec>): Promise<UpstreamRow> => {
    const row = (await store.upstream(id))!
    const changed = await store.updateUpstream(id, { ...row.spec, ...spec }, row.slug, null)
    await feed.sync()
    return changed
  }
  const names = async (id: string): Promise<string[]> => (await store.definitions(id)).map(({ name }) => name)
  return { store, feed, broker, bus, discoverer, states, add, change, names, shift, children }
}

async function serve(t: TestContext, scripted: Scripted): Promise<RawUpstream> {
  const upstream = await createRawUpstream(scripted.respond)
  t.after(() => upstream.close())
  return upstream
}

const tools = (...names: string[]): string =>
  JSON.stringify({ tools: names.map((name) => ({ name, inputSchema: { type: 'object' } })) })
const lists = (upstream: RawUpstream): number =>
  upstream.requests.filter(({ message }) => message.method === 'tools/list').length

test('an upstream is read as soon as it appears, and stored with what it said of itself', async (t) => {
  const scripted = createScripted({ sessions: true, answers: { 'tools/list': tools('a', 'b') } })
  const upstream = await serve(t, scripted)
  const { store, discoverer, add, names, bus, states } = await setUp(t)
  const id = await add('one', [upstream.url])
  assert.equal(discoverer.state(id).state, 'connecting')
  await discoverer.whenSettled([id], 5_000)
  assert.equal(discoverer.state(id).state, 'ready')
  assert.deepEqual(await names(id), ['a', 'b'])
  const { discovery } = (await store.upstream(id))!
  assert.deepEqual(
    [discovery?.era, discovery?.revision, discovery?.stateful, discovery?.serverInfo.name],
    ['legacy', '2025-11-25', true, 'scripted'],
  )
  assert.deepEqual(bus.published, [{ topic: 'definitions', event: { upstreamIds: [id], kinds: ['tools'] } }])
  assert.deepEqual(states, ['one connecting', 'one ready'])
})

test('one bad upstream does not keep the others, and comes back by itself', async (t) => {
  const good = createScripted({ answers: { 'tools/list': tools('good') } })
  const late = createScripted({ answers: { 'tools/list': tools('late') } })
  const [up, down] = [await serve(t, good), await serve(t, late)]
  down.respond = () => http(503, {})
  const { discoverer, add, names } = await setUp(t)
  const [a, b] = [await add('good', [up.url]), await add('bad', [down.url])]
  await discoverer.whenSettled([a, b], 5_000)
  assert.deepEqual([discoverer.state(a).state, discoverer.state(b).state], ['ready', 'down'])
  await until('several attempts', () => discoverer.state(b).attempts >= 3)
  const state = discoverer.state(b)
  assert.deepEqual([state.code, state.message], ['UPSTREAM_UNAVAILABLE', 'bad: it answered HTTP 503'])
  assert.ok(state.nextRetryMs! > state.sinceMs)
  down.respond = late.respond
  await until('it is back', () => discoverer.state(b).state === 'ready')
  assert.deepEqual([await names(b), discoverer.state(b).attempts, discoverer.state(b).code], [['late'], 0, null])
})

test('last known definitions stay while it is down', async (t) => {
  const scripted = createScripted({ answers: { 'tools/list': tools('a') } })
  const upstream = await serve(t, scripted)
  const { discoverer, add, names, bus } = await setUp(t)
  const id = await add('one', [upstream.url])
  await discoverer.whenSettled([id], 5_000)
  upstream.respond = (_request, socket) => socket.destroy()
  assert.equal((await discoverer.refresh(id)).state, 'down')
  assert.deepEqual([await names(id), bus.published.length], [['a'], 1])
})

test('lists that never end give their place back, and what was known stays', async (t) => {
  const scripted = createScripted({ answers: { 'tools/list': tools('a') } })
  const upstream = await serve(t, scripted)
  const { discoverer, add, names, shift, store } = await setUp(t)
  const id = await add('one', [upstream.url])
  await discoverer.whenSettled([id], 5_000)
  let page = 0
  scripted.answers['tools/list'] = () => {
    page += 1
    shift.ms += LIMITS.discoveryMs / 10
    return JSON.stringify({ tools: [{ name: `x${page}`, inputSchema: {} }], nextCursor: String(page) })
  }
  const { state, code } = await discoverer.refresh(id)
  assert.deepEqual([state, code, await names(id)], ['down', 'UPSTREAM_INVALID', ['a']])
  assert.ok(page <= 10, `${page} pages`)
  assert.equal((await store.upstream(id))?.discovery?.skipped.length, 0)
})

test('news make it read again at once, from a stream of either era, and the stream comes back when it breaks', async (t) => {
  for (const era of ['legacy', 'modern'] as const) {
    const scripted = createScripted({
      eras: [era],
      sessions: era === 'legacy',
      offersStream: true,
      capabilities: { tools: { listChanged: true } },
      answers: { 'tools/list': tools('a') },
    })
    const upstream = await serve(t, scripted)
    const { discoverer, add, names, bus } = await setUp(t)
    const id = await add('one', [upstream.url])
    await discoverer.whenSettled([id], 5_000)
    await until('the stream', () => scripted.streams.size === 1)
    scripted.answers['tools/list'] = tools('a', 'b')
    for (let round = 0; round < 20; round += 1)
      scripted.say('{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}')
    await until('the news', () => bus.published.length === 2)
    assert.deepEqual(await names(id), ['a', 'b'])
    assert.ok(lists(upstream) < 6, `20 news at once were read ${lists(upstream)} times`)
    for (const socket of scripted.streams) socket.destroy()
    scripted.answers['tools/list'] = tools('c')
    await until('what was missed is read when the stream is back', () => bus.published.length === 3)
    assert.equal(scripted.streams.size, 1)
    assert.deepEqual(await names(id), ['c'])
  }
})

test('without news it reads by the time to live, else from time to time', async (t) => {
  const modern = createScripted({ eras: ['modern'], answers: { 'tools/list': '{"tools":[],"ttlMs":40}' } })
  const legacy = createScripted({ answers: { 'tools/list': tools() } })
  const [one, two] = [await serve(t, modern), await serve(t, legacy)]
  const { add, discoverer } = await setUp(t)
  const id = await add('ttl', [one.url])
  const polled = await add('polled', [two.url], { refreshMs: 50 })
  await until('several readings', () => lists(one) >= 4 && lists(two) >= 4)
  assert.deepEqual([discoverer.state(id).state, discoverer.state(polled).state], ['ready', 'ready'])
})

test('a server that changes its era is found out by doubt, and by the day', async (t) => {
  const scripted = createScripted({ eras: ['legacy'], answers: { 'tools/list': tools('a') } })
  const upstream = await serve(t, scripted)
  const { add, discoverer, store, broker, shift } = await setUp(t)
  const id = await add('one', [upstream.url])
  await discoverer.whenSettled([id], 5_000)
  const era = async (): Promise<string | undefined> => (await store.upstream(id))!.discovery?.era
  assert.equal(await era(), 'legacy')
  scripted.eras = ['modern']
  broker.staleLink({ upstreamId: id, owner: '', asks: 0 }, 0, 'era')
  await until('the era', async () => (await era()) === 'modern')
  // It answers both again: a modern verdict is kept as long as it holds, an older one is looked at again after a day.
  scripted.eras = ['legacy']
  await discoverer.refresh(id)
  assert.equal(await era(), 'legacy')
  scripted.eras = ['legacy', 'modern']
  upstream.requests.length = 0
  shift.ms = LIMITS.probeAgainMs + 60_000
  discoverer.report(id, false, 'TIMEOUT', null)
  await until('the daily probe', async () => (await era()) === 'modern')
})

test('calls that fail, or work again, make it look', async (t) => {
  const scripted = createScripted({ answers: { 'tools/list': tools('a') } })
  const upstream = await serve(t, scripted)
  const { add, discoverer } = await setUp(t, { retryMsBase: 3_600_000, retryMsMax: 3_600_000 })
  const id = await add('one', [upstream.url])
  await discoverer.whenSettled([id], 5_000)
  const { respond } = upstream
  upstream.respond = () => http(500, {})
  discoverer.report(id, false, 'UPSTREAM_UNAVAILABLE', 'x')
  await until('it is down', () => discoverer.state(id).state === 'down')
  upstream.respond = respond
  discoverer.report(id, true, null, null)
  await until('it is ready', () => discoverer.state(id).state === 'ready')
  const before = upstream.requests.length
  discoverer.report(id, true, null, null)
  discoverer.report('unknown', false, 'TIMEOUT', null)
  assert.equal(upstream.requests.length, before)
})

test('it follows what the registry says: moved, switched off and on, removed', async (t) => {
  const old = createScripted({ sessions: true, answers: { 'tools/list': tools('old') } })
  const fresh = createScripted({ sessions: true, answers: { 'tools/list': tools('fresh') } })
  const [one, two] = [await serve(t, old), await serve(t, fresh)]
  const { add, change, discoverer, names, store, feed, states } = await setUp(t, { callMs: 50 })
  const id = await add('one', [one.url])
  await discoverer.whenSettled([id], 5_000)
  await change(id, { transport: { kind: 'http', urls: [two.url] } })
  assert.equal(discoverer.state(id).state, 'connecting')
  await until('the new tools', async () => (await names(id))[0] === 'fresh')
  await until('the old session is closed', () => old.known.size === 0)

  await discoverer.whenSettled([id], 5_000)
  await change(id, { enabled: false })
  assert.equal(discoverer.state(id).state, 'disabled')
  await until('the session is closed', () => fresh.known.size === 0)
  const before = two.requests.length
  discoverer.report(id, false, 'TIMEOUT', null)
  assert.equal((await discoverer.refresh(id)).state, 'disabled')
  assert.equal(two.requests.length, before)
  await change(id, { enabled: true })
  await discoverer.whenSettled([id], 5_000)
  assert.equal(discoverer.state(id).state, 'ready')
  // What does not touch the way to it does not disturb it.
  const requests = two.requests.length
  await change(id, { title: 'T' })
  assert.deepEqual([two.requests.length, discoverer.state(id).state], [requests, 'ready'])

  await store.deleteUpstream(id, null)
  await feed.sync()
  await until('the session is closed', () => fresh.known.size === 0)
  assert.equal(discoverer.states().size, 0)
  await assert.rejects(discoverer.refresh(id), { code: 'NOT_FOUND' })
  assert.equal(states.at(-1), 'one ready')
})

test('what is odd is reported, and only what changed is news', async (t) => {
  const scripted = createScripted({
    capabilities: { tools: {}, prompts: {}, resources: {} },
    answers: {
      'tools/list': '{"tools":[{"name":"a","inputSchema":{}},{"name":"b"}]}',
      'prompts/list': '{"prompts":[{"name":"p"}]}',
      'resources/list': '{"resources":[{"uri":"x:1"}]}',
      'resources/templates/list': '{"resourceTemplates":[]}',
    },
  })
  const upstream = await serve(t, scripted)
  const { add, discoverer, bus, store } = await setUp(t)
  const id = await add('one', [upstream.url])
  await discoverer.whenSettled([id], 5_000)
  assert.deepEqual((await store.upstream(id))!.discovery?.skipped, [
    { kind: 'tool', name: 'b', reason: 'its inputSchema is missing or no object' },
  ])
  await discoverer.refresh(id)
  scripted.answers['resources/templates/list'] = '{"resourceTemplates":[{"uriTemplate":"x:{n}"}]}'
  await discoverer.refresh(id)
  scripted.answers['prompts/list'] = '{"prompts":[]}'
  await discoverer.refresh(id)
  assert.deepEqual(
    bus.published.map(({ event }) => (event as BusEvents['definitions']).kinds),
    [['tools', 'prompts', 'resources'], ['resources'], ['prompts']],
  )
})

test('only so many are read at a time', async (t) => {
  let reading = 0
  let most = 0
  const scripted = createScripted({ answers: { 'tools/list': tools('a') } })
  const upstream = await serve(t, scripted)
  upstream.respond = (request, socket, connection) => {
    reading += 1
    most = Math.max(most, reading)
    setTimeout(() => {
      reading -= 1
      socket.write(scripted.respond(request, socket, connection) as Buffer)
    }, 5)
  }
  const { add, discoverer } = await setUp(t, { discoveriesMax: 2 })
  const ids = []
  for (let at = 0; at < 8; at += 1) ids.push(await add(`u${at}`, [upstream.url]))
  await discoverer.whenSettled(ids, 10_000)
  assert.ok(ids.every((id) => discoverer.state(id).state === 'ready'))
  assert.ok(most <= 2, `${most} at a time`)
})

test('a program is asked again only while it is used', async (t) => {
  const { store, feed, discoverer, broker, children } = await setUp(t)
  const args = [join(import.meta.dirname, '../../test/fakes/mcp-child.ts'), 'legacy']
  const bounds = { memoryBytes: 0, processes: 0, openFiles: 0 }
  const transport = { kind: 'stdio', command: process.execPath, args, ...bounds } as const
  const { id } = await store.insertUpstream({ slug: 'one', spec: { transport, refreshMs: 60 }, origin: 'api' })
  await feed.sync()
  await discoverer.whenSettled([id], 10_000)
  assert.equal(discoverer.state(id).state, 'ready')
  const first = children.list(id)[0]!
  await children.stop(first.id)
  await until('the link is forgotten', () => broker.links(id).length === 0)
  await new Promise((resolve) => setTimeout(resolve, 200))
  assert.equal(children.list(id).length, 0)
  await broker.openLink({ upstreamId: id, owner: 'somebody', asks: 0 })
  await until('it is asked again', () => children.list(id).length === 2)
})

test('waiting for what never settles ends in time', async (t) => {
  const upstream = await createRawUpstream(() => undefined)
  t.after(() => upstream.close())
  const { add, discoverer } = await setUp(t)
  const id = await add('one', [upstream.url])
  await discoverer.whenSettled([id], 30)
  await discoverer.whenSettled([], 30)
  assert.equal(discoverer.state(id).state, 'connecting')
})
