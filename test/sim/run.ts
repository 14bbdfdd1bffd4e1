// npm run sim [-- --seed N --steps N --runs N]: the whole gateway on virtual time, against hostile luck. A run prints its
// seed, and the same seed does the same again.

import { parseArgs } from 'node:util'
import { simulate } from './simulate.ts'

const { values } = parseArgs({
  options: { seed: { type: 'string' }, steps: { type: 'string' }, runs: { type: 'string' } },
})
const runs = Number(values.runs ?? 20)
const steps = Number(values.steps ?? 250_000)
const first = values.seed === undefined ? Math.floor(Date.now() / 1000) % 1_000_000 : Number(values.seed)

let total = 0
for (let run = 0; run < runs; run += 1) {
  const seed = first + run
  const { faults, counts, steps: done } = await simulate(seed, steps)
  total += done
  const told = [...counts].sort().map(([what, count]) => `${count} ${what}`)
  process.stdout.write(`seed ${seed}: ${done} steps: ${told.join(', ')}\n`)
  for (const fault of faults) process.stdout.write(`  FAULT ${fault}\n`)
  if (faults.length > 0) {
    process.stdout.write(`again: npm run sim -- --runs 1 --seed ${seed} --steps ${steps}\n`)
    process.exit(1)
  }
}
process.stdout.write(`${total} steps, no fault\n`)
process.exit(0)
