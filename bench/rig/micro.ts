// Two ways to do one thing, timed in this process in turn: CPU time per operation (garbage collection and helper threads
// included), several batches each, medians. Both are warmed first, and what they return is kept, so that none of it can
// be compiled away.

import { median } from './report.ts'

export interface Way {
  /** What it is, in the words of the table. */
  readonly name: string
  /** One operation. A promise is awaited. */
  readonly run: () => unknown
}

export interface Pair {
  readonly ours: string
  readonly plain: string
  readonly oursUs: number
  readonly plainUs: number
}

export interface Pace {
  readonly batchMs: number
  readonly batches: number
}

let kept: unknown
export const lastKept = (): unknown => kept

async function batch(way: Way, times: number): Promise<number> {
  const before = process.cpuUsage()
  for (let n = 0; n < times; n++) {
    const result = way.run()
    kept = result instanceof Promise ? await result : result
  }
  const used = process.cpuUsage(before)
  return (used.user + used.system) / times
}

/** Operations that fill one batch. */
async function calibrate(way: Way, pace: Pace): Promise<number> {
  let times = 1
  for (;;) {
    const started = performance.now()
    await batch(way, times)
    const tookMs = performance.now() - started
    if (tookMs >= pace.batchMs / 2) return Math.max(1, Math.round((times * pace.batchMs) / tookMs))
    times *= tookMs < 1 ? 10 : 2
  }
}

export async function compare(ours: Way, plain: Way, pace: Pace): Promise<Pair> {
  const oursTimes = await calibrate(ours, pace)
  const plainTimes = await calibrate(plain, pace)
  const oursUs: number[] = []
  const plainUs: number[] = []
  for (let n = 0; n < pace.batches; n++) {
    oursUs.push(await batch(ours, oursTimes))
    plainUs.push(await batch(plain, plainTimes))
  }
  return { ours: ours.name, plain: plain.name, oursUs: median(oursUs), plainUs: median(plainUs) }
}
