// Who watches what: each upstream is asked once per link and resource, and no longer than somebody cares.

import assert from 'node:assert/strict'
import { mock, test } from 'node:test'
import { setImmediate as turn } from 'node:timers/promises'
import { createFakeBus } from '../../test/fakes/bus.ts'
import { GatewayError } from '../core/errors.ts'
import { LIMITS, type Limits } from '../core/limits.ts'
import type { LinkKey } from '../ports/control.ts'
import { SILENT } from '../ports/log.ts'
import type { Broker } from './broker.ts'
import { Watches } from './watches.ts'

const key = (owner: string, upstreamId = 'old'): LinkKey => ({ upstreamId, owner, asks: 0 })

function setUp(limits: Partial<Limits> = {}, refuses: (uri: string) => boolean = () => false) {
  const said: string[] = []
  const bus = createFakeBus()
  const broker: Pick<Broker, 'subscribe' | 'hearOf' | 'onLost' | 'onUpdated'> = {
    onLost: null,
    onUpdated: null,
    subscribe: async ({ owner }, uri, on) => {
      said.push(`${on ? '+' : '-'}${owner}:${uri}`)
      if (on && refuses(uri)) throw new GatewayError('UPSTREAM_REFUSED')
    },
    hearOf: (upstreamId, uris) => {
      said.push(`open ${upstreamId} ${[...uris()].sort()}`)
      return { ready: Promise.resolve(), close: () => void said.push('close') }
    },
  }
  const watches = new Watches({
    ...{ broker, bus, random: () => 0.5, log: SILENT, limits: { ...LIMITS, ...limits } },
    isModern: async (id) => id === 'new',
  })
  const told = () => bus.published.map(({ event }) => event as { uri: string; holders: string[] })
  return { watches, broker, said, told }
}

test('the first one subscribes, the last one ends it, and only those who watch are told', async () => {
  const { watches, broker, said, told } = setUp()
  for (const holder of ['s1', 's2', 's1']) await watches.watch(holder, key(''), 'a://1', true)
  await watches.watch('s3', key('bob'), 'a://1', true)
  assert.deepEqual([said, watches.size], [['+:a://1', '+bob:a://1'], 3])
  broker.onUpdated!(key(''), 'a://1')
  broker.onUpdated!(key('eve'), 'a://1')
  broker.onUpdated!(key(''), 'a://2')
  assert.deepEqual(told(), [{ uri: 'a://1', holders: ['s1', 's2'] }])
  await watches.watch('s1', key(''), 'a://1', false)
  watches.unwatch('s3')
  await watches.watch('s2', key(''), 'a://1', false)
  await watches.watch('s2', key(''), 'a://1', false)
  assert.deepEqual([said.slice(2), watches.size], [['-bob:a://1', '-:a://1'], 0])
})

test('a thousand times on and off leaves nothing', async () => {
  const { watches, said } = setUp()
  for (let n = 0; n < 1_000; n += 1) {
    await watches.watch('s1', key(''), 'a://1', true)
    await watches.watch('s1', key(''), 'a://1', false)
  }
  assert.deepEqual([watches.size, said.length], [0, 2_000])
})

test('an upstream that refuses is watched by nobody', async () => {
  const { watches } = setUp({}, () => true)
  await assert.rejects(watches.watch('s1', key(''), 'a://1', true), { code: 'UPSTREAM_REFUSED' })
  assert.equal(watches.size, 0)
})

test('one holder, and all together, watch a bounded number', async () => {
  const { watches } = setUp({ watchesMax: 3, watchesPerHolder: 2 })
  const watch = (holder: string, uri: string) => watches.watch(holder, key(''), uri, true)
  await watch('a', '1')
  await watch('a', '2')
  await assert.rejects(watch('a', '3'), { code: 'TOO_MANY' })
  await watch('b', '1')
  await assert.rejects(watch('c', '1'), { code: 'TOO_MANY' })
})

test('what was subscribed on a link that is lost is subscribed anew, and its watchers are told', async () => {
  mock.timers.enable({ apis: ['setTimeout'] })
  try {
    let isDown = false
    const { watches, broker, said, told } = setUp({}, () => isDown)
    await watches.watch('s1', key(''), 'a://1', true)
    isDown = true
    broker.onLost!(key('other'))
    broker.onLost!(key(''))
    mock.timers.tick(LIMITS.retryMsBase)
    await turn()
    assert.deepEqual([said, told()], [['+:a://1', '+:a://1'], []])
    isDown = false
    mock.timers.tick(2 * LIMITS.retryMsBase)
    await turn()
    assert.deepEqual([said.length, told()], [3, [{ uri: 'a://1', holders: ['s1'] }]])
    watches.close()
  } finally {
    mock.timers.reset()
  }
})

test('a newer upstream has one stream, opened anew when what is watched changes', async () => {
  mock.timers.enable({ apis: ['setTimeout'] })
  try {
    const { watches, said } = setUp()
    for (const uri of ['b', 'a', 'b']) await watches.watch('s1', key('', 'new'), uri, true)
    await watches.watch('s2', key('', 'new'), 'a', true)
    mock.timers.tick(LIMITS.newsQuietMs)
    watches.unwatch('s1')
    mock.timers.tick(LIMITS.newsQuietMs)
    watches.unwatch('s2')
    mock.timers.tick(LIMITS.newsQuietMs)
    assert.deepEqual(said, ['open new a,b', 'close', 'open new a', 'close'])
  } finally {
    mock.timers.reset()
  }
})
