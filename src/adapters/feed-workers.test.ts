import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setImmediate as turn } from 'node:timers/promises'
import { serialize } from 'node:v8'
import fc from 'fast-check'
import { createMessagePair } from '../../test/fakes/messages.ts'
import { until } from '../../test/fakes/processes.ts'
import { LIMITS, type Limits } from '../core/limits.ts'
import type { Definition, UpstreamRow, VirtualServerRow } from '../core/model.ts'
import type { Feed, RegistryPart, RegistryRows } from '../ports/feed.ts'
import { SILENT } from '../ports/log.ts'
import { createFeedSender, createWorkerFeed } from './feed-workers.ts'

interface SettableFeed extends Feed {
  set(rows: RegistryRows): void
}

function settableFeed(): SettableFeed {
  let rows: RegistryRows | null = null
  const listeners = new Set<(rows: RegistryRows) => void>()
  return {
    current: () => rows,
    onChange(listener) {
      listeners.add(listener)
      return () => listeners.delete(listener)
    },
    set(next) {
      rows = next
      for (const listener of listeners) listener(next)
    },
  }
}

function upstreamRow(id: string, rowVersion = 1): UpstreamRow {
  return {
    ...{ id, slug: id, spec: { transport: { kind: 'http', urls: ['http://x'] } }, origin: 'api', originRef: null },
    ...{ discovery: null, rowVersion, createdMs: 1, updatedMs: 1 },
  }
}

const part = (id: string, definitions: readonly Definition[] = [], rowVersion = 1): RegistryPart => ({
  upstream: upstreamRow(id, rowVersion),
  definitions,
})

function tools(count: number, chars = 10): Definition[] {
  return Array.from({ length: count }, (_, index) => ({
    kind: 'tool',
    name: `tool ${index}`,
    json: JSON.stringify({ name: `tool ${index}`, text: '\u00e4'.repeat(chars) }),
    ...(index % 2 === 0 ? {} : { seenMs: 1_800_000_000_000 + index }),
  }))
}

function server(id: string): VirtualServerRow {
  return {
    ...{ id, slug: id, spec: { members: [] }, origin: 'api', originRef: null },
    ...{ rowVersion: 1, createdMs: 1, updatedMs: 1 },
  }
}

let version = 0
function rowsOf(parts: RegistryPart[], virtualServers: readonly VirtualServerRow[] = []): RegistryRows {
  version += 1
  return { version, parts: new Map(parts.map((one) => [one.upstream.id, one])), virtualServers }
}

function setUp(given: Partial<Limits> = {}) {
  const feed = settableFeed()
  const sender = createFeedSender({ feed, limits: { ...LIMITS, ...given }, log: SILENT })
  const addWorker = () => {
    const pair = createMessagePair()
    sender.attach(pair.primary)
    const worker = createWorkerFeed({ messages: pair.worker })
    const heard: RegistryRows[] = []
    worker.onChange((rows) => heard.push(rows))
    return { pair, worker, heard }
  }
  return { feed, sender, addWorker }
}

async function has(worker: Feed, rows: RegistryRows): Promise<void> {
  for (let turns = 0; worker.current()?.version !== rows.version; turns += 1) {
    assert.ok(turns < 100_000, 'the rows never came')
    await turn()
  }
}

test('a worker gets everything, whether it or the rows come first', async () => {
  const { feed, addWorker } = setUp()
  const early = addWorker()
  await turn()
  assert.equal(early.worker.current(), null)
  const rows = rowsOf([part('a', tools(3)), part('b')], [server('s')])
  feed.set(rows)
  const late = addWorker()
  for (const { worker, heard } of [early, late]) {
    await has(worker, rows)
    assert.deepEqual(worker.current(), rows)
    assert.deepEqual(heard, [rows])
    assert.deepEqual([...worker.current()!.parts.keys()], ['a', 'b'])
  }
})

test('only what changed is sent, and what did not change stays the same object', async () => {
  const { feed, addWorker } = setUp()
  const { pair, worker } = addWorker()
  const [a, b, c] = [part('a', tools(100)), part('b', tools(100)), part('c')]
  const servers = [server('s')]
  feed.set(rowsOf([a, b, c], servers))
  await until('the first', () => worker.current() !== null)
  const first = worker.current()!
  pair.primary.sent.length = 0
  // a: another row with the same definitions; b stays; c goes; d comes.
  const next = rowsOf([{ upstream: upstreamRow('a', 2), definitions: a.definitions }, b, part('d', tools(1))], servers)
  feed.set(next)
  await has(worker, next)
  const second = worker.current()!
  assert.deepEqual(second.parts, next.parts)
  assert.equal(second.parts.get('a')!.definitions, first.parts.get('a')!.definitions)
  assert.equal(second.parts.get('b'), first.parts.get('b'))
  assert.equal(second.virtualServers, first.virtualServers)
  assert.ok(serialize(pair.primary.sent).length < 2_000, 'the definitions of a were sent again')
  assert.deepEqual([...first.parts.keys()], ['a', 'b', 'c'], 'rows in use were changed')
})

test('virtual servers change alone', async () => {
  const { feed, addWorker } = setUp()
  const { pair, worker } = addWorker()
  const a = part('a', tools(1000))
  feed.set(rowsOf([a], [server('s')]))
  await until('the first', () => worker.current() !== null)
  pair.primary.sent.length = 0
  for (const servers of [[server('s'), server('t')], []]) {
    const next = rowsOf([a], servers)
    feed.set(next)
    await has(worker, next)
    assert.deepEqual(worker.current(), next)
  }
  assert.ok(serialize(pair.primary.sent).length < 2_000)
})

test('no message is larger than a piece, and large rows arrive whole', async () => {
  const { feed, addWorker } = setUp()
  const { pair, worker } = addWorker()
  // A definition of 1 MiB, a row of 600 KiB, many small ones, characters outside Latin-1.
  const large: RegistryPart = {
    upstream: {
      ...upstreamRow('large'),
      spec: { title: '\u20ac'.repeat(300_000), transport: { kind: 'http', urls: [] } },
    },
    definitions: [...tools(1, 500_000), ...tools(5_000), { kind: 'resource', name: 'x'.repeat(400_000), json: '{}' }],
  }
  const rows = rowsOf([large, part('small', tools(2))])
  feed.set(rows)
  await has(worker, rows)
  assert.deepEqual(worker.current(), rows)
  for (const { body } of pair.primary.sent) {
    const bytes = serialize(body).length
    assert.ok(bytes <= LIMITS.pieceBytes + 200, `${bytes} bytes`)
  }
})

test('a slow worker holds few pieces, and changes meanwhile become one', async () => {
  const { feed, addWorker } = setUp({ feedPiecesUnread: 3 })
  const [slow, quick] = [addWorker(), addWorker()]
  await turn()
  await turn()
  slow.pair.hold()
  const parts = Array.from({ length: 20 }, (_, index) => part(`u${index}`, tools(2)))
  feed.set(rowsOf(parts))
  await until('the quick one', () => quick.worker.current() !== null)
  const changes = Array.from({ length: 30 }, (_, index) => rowsOf([...parts, part('last', tools(index), index)]))
  for (const change of changes) {
    feed.set(change)
    await has(quick.worker, change)
  }
  assert.equal(slow.pair.primary.backlog, 3)
  slow.pair.release()
  await has(slow.worker, changes.at(-1)!)
  assert.deepEqual(slow.worker.current(), changes.at(-1))
  assert.deepEqual(slow.heard.length, 2)
})

test('a worker that is gone is sent nothing more', async () => {
  const { feed, addWorker } = setUp()
  const { pair, worker } = addWorker()
  feed.set(rowsOf([part('a')]))
  await until('the first', () => worker.current() !== null)
  pair.close()
  const before = pair.primary.sent.length
  feed.set(rowsOf([part('b')]))
  await turn()
  await turn()
  assert.equal(pair.primary.sent.length, before)
})

test('whatever the rows and the size of a piece, the worker ends with the same rows', async () => {
  const ids = fc.shuffledSubarray(['a', 'b', 'c', 'd'])
  const text = fc.oneof(fc.string({ maxLength: 300 }), fc.string({ unit: 'binary', maxLength: 100 }))
  const kind = fc.constantFrom('tool', 'prompt', 'resource', 'template')
  const definitions = fc.array(fc.record({ kind, name: text, json: text }, { noNullPrototype: true }), { maxLength: 5 })
  const state = fc.record({ ids, definitions: fc.array(definitions, { minLength: 4, maxLength: 4 }), servers: ids })
  await fc.assert(
    fc.asyncProperty(
      fc.array(state, { minLength: 1, maxLength: 4 }),
      fc.integer({ min: 40, max: 400 }),
      async (states, size) => {
        const { feed, addWorker } = setUp({ pieceBytes: size })
        const { worker } = addWorker()
        for (const one of states) {
          const rows = rowsOf(
            one.ids.map((id, at) => part(id, one.definitions[at] as Definition[])),
            one.servers.map(server),
          )
          feed.set(rows)
          await has(worker, rows)
          assert.deepEqual(worker.current(), rows)
          assert.deepEqual([...worker.current()!.parts.keys()], one.ids)
        }
      },
    ),
    { numRuns: 100 },
  )
})
