import assert from 'node:assert/strict'
import { test } from 'node:test'
import { createFakeClock } from '../../test/fakes/clock.ts'
import { GatewayError } from '../core/errors.ts'
import { LIMITS } from '../core/limits.ts'
import { Restarts } from './restarts.ts'

const LIMIT = { ...LIMITS, retryMsBase: 1_000, childRestartMsMax: 6_000 }

function setUp() {
  const clock = createFakeClock()
  const restarts = new Restarts({ clock, random: () => 0.5, limits: LIMIT })
  /** Seconds that are told, or 0 where it may start. */
  const waits = (key: string): number => {
    try {
      restarts.check(key, 'demo', 'process')
      return 0
    } catch (error) {
      assert.ok(error instanceof GatewayError && error.code === 'UPSTREAM_UNAVAILABLE')
      assert.match(error.message, /^demo: /)
      return error.options.retryAfterSeconds!
    }
  }
  return { clock, restarts, waits }
}

test('each failure doubles the pause, up to the longest', () => {
  const { clock, restarts, waits } = setUp()
  assert.equal(waits('a'), 0)
  const pauses = Array.from({ length: 5 }, () => {
    restarts.failed('a')
    const pause = waits('a')
    clock.forward(pause * 1_000)
    assert.equal(waits('a'), 0)
    return pause
  })
  assert.deepEqual(pauses, [1, 2, 4, 6, 6])
})

test('a failure long after the last one is the first of a series', () => {
  const { clock, restarts, waits } = setUp()
  for (let count = 0; count < 3; count += 1) restarts.failed('a')
  clock.forward(2 * LIMIT.childRestartMsMax + 1)
  restarts.failed('a')
  assert.equal(waits('a'), 1)
})

test('each key has its own pause, and those of an upstream are forgotten together', () => {
  const { restarts, waits } = setUp()
  for (const key of ['one\na', 'one\nb', 'two\na']) restarts.failed(key)
  restarts.failed('two\na')
  restarts.forget('one\n')
  assert.deepEqual(['one\na', 'one\nb', 'two\na'].map(waits), [0, 0, 2])
})

test('of very many keys the oldest is forgotten', () => {
  const { restarts, waits } = setUp()
  for (let count = 0; count <= 10_000; count += 1) restarts.failed(`key-${count}`)
  assert.deepEqual([waits('key-0'), waits('key-1'), waits('key-10000')], [0, 1, 1])
})
