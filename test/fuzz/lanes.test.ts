// The short form of `node test/fuzz/lanes.ts`: one fixed seed and one of today, so that CI repeats itself and still looks
// further.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { fuzzLanes } from './lanes.ts'

for (const seed of [1, Math.floor(Date.now() / 86_400_000) * 1_000_000]) {
  test(`both lanes of the server understand the same: 700 connections from seed ${seed}`, async (context) => {
    const { requests, fast, refusals } = await fuzzLanes(seed, 700)
    context.diagnostic(`${requests} requests, ${fast} of them fast, ${refusals} refusals`)
    // Neither lane stood idle, and neither what is right nor what is broken was missing.
    assert.ok(fast > 300 && requests - fast > 100 && refusals > 300)
  })
}
