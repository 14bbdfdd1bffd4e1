import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Pace } from './pace.ts'

test('so many at once, so many a second after that', () => {
  const pace = new Pace(10, 2, 1_000)
  const takes: [count: number, nowMs: number, is: boolean][] = [
    [4, 1_000, true],
    [6, 1_000, true],
    [2, 2_000, true],
    [1, 2_000, false],
    [1, 3_000, true],
    // Never more than the burst, however long it was quiet.
    [10, 100_000, true],
    [1, 100_000, false],
    [11, 200_000, false],
  ]
  for (const [count, nowMs, is] of takes) assert.equal(pace.take(count, nowMs), is, `${count} at ${nowMs}`)
})
