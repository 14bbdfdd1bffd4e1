// `npm run fuzz [-- --seed N --cases N]`: grammar-based fuzz of parser, scanner, classifier and event streams, with the
// branch coverage that it reached in src/mcp. A failure prints its seed and case; the same seed repeats it.

import { Session } from 'node:inspector/promises'
import { parseArgs } from 'node:util'
import { answer, bend, request } from './grammar.ts'
import { createRandom, type Random } from './random.ts'

export interface FuzzResult {
  readonly cases: number
  readonly seed: number
  /** File of src/mcp -> branches entered and branches there are. */
  readonly branches: ReadonlyMap<string, { readonly hit: number; readonly all: number }>
}

const headers = (random: Random): Record<string, string> => ({
  ...(random.chance(0.7)
    ? { 'mcp-protocol-version': random.pick(['2026-07-28', '2026-07-28', '2025-11-25', '2025-06-18', '2099-01-01']) }
    : {}),
  ...(random.chance(0.6) ? { 'mcp-method': random.pick(['tools/call', 'tools/list', 'ping']) } : {}),
  ...(random.chance(0.5) ? { 'mcp-name': random.pick(['tool', '=?base64?dG9vbA==?=', '=?base64?x?=', 'other']) } : {}),
  ...(random.chance(0.2)
    ? { traceparent: '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01', tracestate: 'a=b' }
    : {}),
})

export async function fuzz(seed: number, cases: number): Promise<FuzzResult> {
  const session = new Session()
  session.connect()
  await session.post('Profiler.enable')
  await session.post('Profiler.startPreciseCoverage', { callCount: true, detailed: true })
  const { checkAnswer, checkEvents, checkRequest } = await import('./check.ts')
  for (let at = 0; at < cases; at += 1) {
    const random = createRandom(seed + at)
    const kind = at % 8
    try {
      if (kind < 4)
        checkRequest(
          bend(random, random.chance(0.05) ? `[${request(random)},${request(random)}]` : request(random)),
          headers(random),
        )
      else if (kind < 7) checkAnswer(bend(random, answer(random)))
      else checkEvents(random, [bend(random, answer(random)), bend(random, request(random))])
    } catch (error) {
      throw new Error(`fuzz: case ${seed + at} fails; repeat it with --seed ${seed + at - kind} --cases 8`, {
        cause: error,
      })
    }
  }
  const { result } = await session.post('Profiler.takePreciseCoverage')
  session.disconnect()
  const branches = new Map<string, { hit: number; all: number }>()
  for (const script of result) {
    const name = /\/src\/mcp\/([\w-]+)\.ts$/.exec(script.url)?.[1]
    if (name === undefined) continue
    const blocks = script.functions.flatMap(({ ranges }) => ranges)
    branches.set(`${name}.ts`, { hit: blocks.filter(({ count }) => count > 0).length, all: blocks.length })
  }
  return { cases, seed, branches }
}

if (import.meta.main) {
  const { values } = parseArgs({ options: { seed: { type: 'string' }, cases: { type: 'string', default: '200000' } } })
  const seed = values.seed === undefined ? Date.now() % 2 ** 31 : Number(values.seed)
  console.log(`fuzz: seed ${seed}, ${values.cases} cases`)
  const { branches } = await fuzz(seed, Number(values.cases))
  for (const [file, { hit, all }] of [...branches].sort())
    console.log(
      `  ${file.padEnd(14)} ${String(hit).padStart(4)} of ${String(all).padStart(4)} blocks (${((100 * hit) / all).toFixed(0)} %)`,
    )
}
