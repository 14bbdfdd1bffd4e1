import assert from 'node:assert/strict'
import { test } from 'node:test'
import { createFakeClock } from '../../test/fakes/clock.ts'
import { RecentUpdates } from './recent-updates.ts'

test('what has changed since a time is known for a while, and up to a number', () => {
  const clock = createFakeClock(1_000)
  const recent = new RecentUpdates(clock, 100, 4)
  recent.note('a', 'x')
  clock.forward(50)
  recent.note('a', 'y')
  recent.note('b', 'x')
  assert.deepEqual([recent.since('a', 1_000), recent.since('a', 1_001), recent.since('c', 0)], [['x', 'y'], ['y'], []])
  // Told again: the later time counts, and it is still one.
  recent.note('a', 'x')
  assert.deepEqual([recent.since('a', 1_001), recent.size], [['x', 'y'], 3])
  recent.note('c', '1')
  recent.note('c', '2')
  // Whose last news is the oldest makes room.
  assert.deepEqual([recent.since('b', 0), recent.size], [[], 4])
  clock.forward(99)
  recent.tick()
  assert.equal(recent.size, 4)
  clock.forward(1)
  recent.tick()
  assert.equal(recent.size, 0)
  recent.note('a', 'z')
  recent.forget('a')
  assert.deepEqual([recent.since('a', 0), recent.size], [[], 0])
})
