// Ends of sessions: told at once, stored in batches, bounded, and known again after a restart.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { GatewayError } from '../core/errors.ts'
import type { Tombstone } from '../ports/store.ts'
import { createSessionEnds, type SessionEnds } from './session-ends.ts'

function rig(tombstonesMax = 100): {
  ends: SessionEnds
  stored: Tombstone[][]
  told: string[]
  closed: string[]
  clock: { ms: number }
  /** Thrown by the store while it is set. */
  fault: { error: GatewayError | null }
} {
  const stored: Tombstone[][] = []
  const told: string[] = []
  const closed: string[] = []
  const clock = { ms: 1_000_000 }
  const fault: { error: GatewayError | null } = { error: null }
  const ends = createSessionEnds({
    store: {
      tombstones: async () => stored.flat(),
      addTombstones: async (batch) => {
        if (fault.error !== null) throw fault.error
        stored.push([...batch])
      },
      deleteExpired: async () => 0,
    },
    bus: { publish: (_topic, event) => void told.push((event as { session: string }).session) },
    closeOwner: (session) => closed.push(session),
    clock: { now: () => clock.ms },
    limits: { tombstonesMax, tombstonesPerMinute: 3 },
    log: { enabled: () => false, debug: () => {}, info: () => {}, warn: () => {}, error: () => {} },
  })
  return { ends, stored, told, closed, clock, fault }
}

const codeOf = (promise: Promise<void>): Promise<string> =>
  promise.then(
    () => 'ended',
    (error: GatewayError) => error.code,
  )

test('several ends are told at once and stored as one batch', async () => {
  const { ends, stored, told, closed } = rig()
  await Promise.all([ends.end('a', 'x', 2e9), ends.end('b', 'y', 2e9), ends.end('a', 'x', 2e9)])
  assert.deepEqual(stored, [
    [
      { key: 'a', expiresMs: 2e9 },
      { key: 'b', expiresMs: 2e9 },
    ],
  ])
  assert.deepEqual(
    [told, closed],
    [
      ['a', 'b'],
      ['a', 'b'],
    ],
  )
  await ends.load()
  assert.equal([...ends.all()].length, 2)
  await ends.close()
})

test('so many a minute and caller, and so many in all', async () => {
  const { ends, clock } = rig(5)
  const results = await Promise.all(['a', 'b', 'c', 'd'].map((key) => codeOf(ends.end(key, 'x', 2e9))))
  assert.deepEqual(results, ['ended', 'ended', 'ended', 'RATE_LIMITED'])
  assert.equal(await codeOf(ends.end('e', 'y', 2e9)), 'ended')
  clock.ms += 60_000
  assert.equal(await codeOf(ends.end('f', 'x', 2e9)), 'ended')
  assert.equal(await codeOf(ends.end('g', 'x', 2e9)), 'TOO_MANY')
  await ends.close()
})

test('an end that could not be stored is stored with the next one, or when it is asked for again', async () => {
  const { ends, stored, told, fault } = rig()
  fault.error = new GatewayError('STORE_UNAVAILABLE')
  assert.equal(await codeOf(ends.end('a', 'x', 2e9)), 'STORE_UNAVAILABLE')
  assert.equal(await codeOf(ends.end('a', 'x', 2e9)), 'STORE_UNAVAILABLE', 'it is not stored yet')
  fault.error = null
  assert.equal(await codeOf(ends.end('b', 'y', 2e9)), 'ended')
  assert.deepEqual(
    stored
      .flat()
      .map(({ key }) => key)
      .sort(),
    ['a', 'b'],
  )
  assert.equal(await codeOf(ends.end('a', 'x', 2e9)), 'ended')
  assert.deepEqual([stored.length, told], [1, ['a', 'b']])

  fault.error = new GatewayError('STORE_UNAVAILABLE')
  assert.equal(await codeOf(ends.end('c', 'z', 2e9)), 'STORE_UNAVAILABLE')
  fault.error = null
  await ends.close()
  assert.deepEqual(stored.at(-1), [{ key: 'c', expiresMs: 2e9 }])
})

test('what has expired is neither loaded nor kept', async () => {
  const { ends, clock } = rig()
  await ends.end('a', 'x', clock.ms + 10)
  await ends.end('b', 'x', clock.ms + 20)
  await ends.close()
  clock.ms += 10
  const { ends: later, stored, clock: laterClock } = rig()
  laterClock.ms = clock.ms
  stored.push([
    { key: 'a', expiresMs: clock.ms },
    { key: 'b', expiresMs: clock.ms + 10 },
  ])
  await later.load()
  assert.deepEqual(
    [...later.all()].map(({ key }) => key),
    ['b'],
  )
  await later.close()
})
