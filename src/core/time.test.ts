import assert from 'node:assert/strict'
import { test } from 'node:test'
import { jitter, parseDuration, parseSize, rfc3339 } from './time.ts'

const DURATIONS: [string | number, number | null][] = [
  ['500ms', 500],
  ['30s', 30_000],
  ['5m', 300_000],
  ['1h', 3_600_000],
  ['7d', 604_800_000],
  ['1.5s', 1_500],
  ['0.4ms', 0],
  ['250', 250],
  [' 30 s ', 30_000],
  ['0', 0],
  [30, 30],
  [0, 0],
  ['', null],
  ['s', null],
  ['-1s', null],
  ['+1s', null],
  ['1e3', null],
  ['30S', null],
  ['30 seconds', null],
  ['1s 2s', null],
  ['.5s', null],
  ['0x10', null],
  [-1, null],
  [Number.NaN, null],
  [Number.POSITIVE_INFINITY, null],
]
for (const [text, ms] of DURATIONS) {
  test(`the duration ${JSON.stringify(text)} is ${ms}`, () => assert.equal(parseDuration(text), ms))
}

const SIZES: [string | number, number | null][] = [
  ['1', 1],
  ['1B', 1],
  ['8MiB', 8 * 1024 ** 2],
  ['2GiB', 2 * 1024 ** 3],
  ['64KiB', 65_536],
  ['64KB', 64_000],
  ['1.5MB', 1_500_000],
  ['1GB', 1_000_000_000],
  [' 1 KiB ', 1024],
  [0, 0],
  [7, 7],
  ['', null],
  ['8mib', null],
  ['8M', null],
  ['-1', null],
  ['1e6', null],
  [1.5, null],
  [-1, null],
  [Number.NaN, null],
]
for (const [text, bytes] of SIZES) {
  test(`the size ${JSON.stringify(text)} is ${bytes}`, () => assert.equal(parseSize(text), bytes))
}

test('jitter spreads evenly around the delay and no further', () => {
  assert.deepEqual(
    [0, 0.25, 0.5, 1].map((random) => jitter(1_000, 0.25, random)),
    [750, 875, 1_000, 1_250],
  )
  assert.equal(jitter(1_000, 0, 0.9), 1_000)
})

test('times on the wire are UTC with milliseconds', () => {
  assert.equal(rfc3339(0), '1970-01-01T00:00:00.000Z')
  assert.equal(rfc3339(1_800_000_000_007), '2027-01-15T08:00:00.007Z')
})
