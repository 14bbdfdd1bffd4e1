// A hundred thousand steps of the simulation, from a seed that is printed; millions by `npm run sim`.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { simulate } from './simulate.ts'

const SEED = Number(process.env.SIM_SEED ?? Math.floor(Date.now() / 1000) % 1_000_000)

test(`nothing is lost, asked twice or answered by the wrong one: seed ${SEED}, 4 × 25,000 steps`, async () => {
  let answered = 0
  for (let run = 0; run < 4; run += 1) {
    const { faults, counts } = await simulate(SEED + run, 25_000)
    assert.deepEqual(faults, [], `again: npm run sim -- --runs 1 --seed ${SEED + run} --steps 25000`)
    answered += counts.get('answered') ?? 0
  }
  // Otherwise it was quiet and has shown nothing.
  assert.ok(answered > 50, `only ${answered} questions were answered`)
})

test('a seed does the same again', async () => {
  const [one, other] = [await simulate(7, 5_000), await simulate(7, 5_000)]
  assert.deepEqual([...one.counts].sort(), [...other.counts].sort())
})
