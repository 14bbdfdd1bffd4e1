// The feed of the primary behind a store in memory: what it reads, when it reads everything, and that it misses nothing.

import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { createFakeClock } from '../../test/fakes/clock.ts'
import { until } from '../../test/fakes/processes.ts'
import { DISCOVERY, tool } from '../../test/fakes/registry.ts'
import { createMemoryStore, type MemoryStore } from '../../test/fakes/store-memory.ts'
import { GatewayError } from '../core/errors.ts'
import type { UpstreamSpec } from '../core/model.ts'
import type { RegistryRows } from '../ports/feed.ts'
import { createFollower, type Follower } from './follow.ts'

const SPEC: UpstreamSpec = { transport: { kind: 'http', urls: ['http://127.0.0.1:1/'] } }

interface Setup {
  readonly store: MemoryStore
  readonly feed: Follower
  /** Names of the store's methods, in the order in which they were asked. */
  readonly asked: string[]
  readonly faults: unknown[]
  readonly seen: RegistryRows[]
}

function setUp(t: TestContext, changesKept?: number): Setup {
  const limits = changesKept === undefined ? {} : { changesKept }
  const store = createMemoryStore({ clock: createFakeClock(), limits })
  const asked: string[] = []
  const watched = new Proxy(store, {
    get: (target, name: keyof MemoryStore) => {
      asked.push(name)
      return target[name]
    },
  })
  const faults: unknown[] = []
  const feed = createFollower(watched, (error) => faults.push(error))
  const seen: RegistryRows[] = []
  feed.onChange((rows) => seen.push(rows))
  t.after(() => feed.close())
  return { store, feed, asked, faults, seen }
}

const insert = (store: MemoryStore, slug: string) => store.insertUpstream({ slug, spec: SPEC, origin: 'api' })
const slugs = (feed: Follower): string[] => [...feed.current()!.parts.values()].map(({ upstream }) => upstream.slug)

test('nothing is known before the start, then everything is', async (t) => {
  const { store, feed, seen } = setUp(t)
  const { id } = await insert(store, 'one')
  await store.saveDiscovery(id, DISCOVERY, [tool('a')])
  await store.insertVirtualServer({ slug: 'v', spec: { members: [] }, origin: 'api' })
  assert.equal(feed.current(), null)
  await feed.start()
  const rows = feed.current()!
  assert.deepEqual([slugs(feed), rows.parts.get(id)!.definitions.length, rows.virtualServers.length], [['one'], 1, 1])
  assert.deepEqual(seen, [rows])
})

test('only what has changed is read again, and the rest stays the same objects', async (t) => {
  const { store, feed, asked, seen } = setUp(t)
  const [one, two] = [await insert(store, 'one'), await insert(store, 'two')]
  for (const { id } of [one, two]) await store.saveDiscovery(id, DISCOVERY, [tool('a')])
  await feed.sync()
  const before = feed.current()!

  asked.length = 0
  await feed.sync()
  assert.deepEqual([asked, seen.length], [['changes'], 1], 'without a change nobody is told anything')

  // Another title: the definitions are what they were.
  await store.updateUpstream(one.id, { ...SPEC, title: 'One' }, 'one', null)
  asked.length = 0
  await feed.sync()
  const titled = feed.current()!
  assert.deepEqual(asked, ['changes', 'upstream'])
  assert.equal(titled.parts.get(one.id)!.upstream.spec.title, 'One')
  assert.equal(titled.parts.get(one.id)!.definitions, before.parts.get(one.id)!.definitions)
  assert.equal(titled.parts.get(two.id), before.parts.get(two.id))
  assert.equal(titled.virtualServers, before.virtualServers)
  assert.equal(before.parts.get(one.id)!.upstream.spec.title, undefined, 'whoever holds the old rows keeps them')

  await store.saveDiscovery(two.id, DISCOVERY, [tool('a'), tool('b')])
  await feed.sync()
  assert.equal(feed.current()!.parts.get(two.id)!.definitions.length, 2)

  await store.insertVirtualServer({ slug: 'v', spec: { members: [] }, origin: 'api' })
  asked.length = 0
  await feed.sync()
  assert.deepEqual(asked, ['changes', 'virtualServers'])
  assert.equal(feed.current()!.parts.get(one.id), titled.parts.get(one.id))

  await store.deleteUpstream(one.id, null)
  await feed.sync()
  assert.deepEqual(slugs(feed), ['two'])
})

test('where changes are missing everything is read again', async (t) => {
  const { store, feed, asked } = setUp(t, 2)
  const one = await insert(store, 'one')
  await feed.sync()
  for (const title of ['a', 'b', 'c']) await store.updateUpstream(one.id, { ...SPEC, title }, 'one', null)
  await insert(store, 'two')
  asked.length = 0
  await feed.sync()
  assert.ok(asked.includes('upstreams'))
  assert.deepEqual(slugs(feed).sort(), ['one', 'two'])
  assert.equal(feed.current()!.parts.get(one.id)!.upstream.spec.title, 'c')
})

test('whoever has written and asks sees it, whatever is being read at that moment', async (t) => {
  const { store, feed } = setUp(t)
  await feed.sync()
  for (let turns = 0; turns < 12; turns += 1) {
    const slug = `late-${turns}`
    await insert(store, `early-${turns}`)
    const running = feed.sync()
    // The write falls between any two steps of a read that is under way or has just ended.
    for (let turn = 0; turn < turns; turn += 1) await null
    await insert(store, slug)
    await feed.sync()
    assert.ok(slugs(feed).includes(slug), `after ${turns} turns`)
    await running
  }
})

test('many who ask at once are one or two reads', async (t) => {
  const { store, feed, asked } = setUp(t)
  await insert(store, 'one')
  await feed.sync()
  asked.length = 0
  await Promise.all(Array.from({ length: 20 }, () => feed.sync()))
  assert.ok(asked.length <= 2, String(asked))
})

test('a store that is away is a fault for who asks, and changes nothing that is known', async (t) => {
  const { store, feed, seen } = setUp(t)
  await insert(store, 'one')
  await feed.sync()
  store.fault = new GatewayError('STORE_UNAVAILABLE')
  await assert.rejects(feed.sync(), { code: 'STORE_UNAVAILABLE' })
  assert.deepEqual([slugs(feed), seen.length], [['one'], 1])
  store.fault = null
  await insert(store, 'two')
  await feed.sync()
  assert.deepEqual(slugs(feed), ['one', 'two'])
})

test('changes that nobody tells of are found by looking, also after the store was away', async (t) => {
  const { store, feed, faults } = setUp(t)
  await feed.start()
  store.fault = new GatewayError('STORE_UNAVAILABLE')
  await until('a look in vain', () => faults.length > 0)
  store.fault = null
  await insert(store, 'one')
  await until('the change', () => slugs(feed).length === 1)
  feed.close()
})

test('a listener that has left hears nothing', async (t) => {
  const { store, feed } = setUp(t)
  let heard = 0
  const leave = feed.onChange(() => {
    heard += 1
  })
  await feed.sync()
  leave()
  await insert(store, 'one')
  await feed.sync()
  assert.equal(heard, 1)
})
