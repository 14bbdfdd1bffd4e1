// Measures candidates in turn, round by round, so that whatever else the machine does strikes all of them alike.

import { memory } from './account.ts'
import type { Candidate, Upstream } from './candidates.ts'
import type { LoadJob, LoadResult } from './load.ts'
import type { Load } from './processes.ts'
import { median } from './report.ts'

export interface Settings {
  readonly rounds: number
  readonly seconds: number
  /** Seconds-long figures for tests and for a first look: they prove that the rig works, and nothing else. */
  readonly short: boolean
  readonly profile: boolean
  readonly print: (line: string) => void
}

export type Job = Omit<LoadJob, 'port' | 'path' | 'tokens' | 'prefix' | 'seconds' | 'pids' | 'fixedId'>

export interface Figures {
  readonly name: Candidate['name']
  readonly connections: number
  /** One entry a round. */
  readonly perSecond: number[]
  readonly p50Ms: number[]
  readonly p99Ms: number[]
  readonly maxMs: number[]
  readonly firstByteMs: number[]
  readonly cpuUs: number[]
  readonly upstreamUs: number[]
  readonly loadUs: number[]
  readonly rssMb: number[]
  readonly requests: number[]
  errors: number
  readonly firstErrors: string[]
  /** Calls that the load generator sent and tools/call requests that the upstream counted, all rounds together. */
  sent: number
  counted: number
  /** The upstream's other requests: session openings and what the candidate does on its own account. */
  others: number
  /** Most calls that the upstream had in flight at once. */
  inFlightMax: number
}

// Code that V8 has not compiled yet costs two to three times more, and the last of it is compiled after some 60,000
// requests. Then the load goes on until three seconds are no cheaper than the three before.
const WARM_REQUESTS = 60_000
const WARM_SECONDS_MAX = 15
/** The upstream by itself: it has been warmed by all that stands in front of it, and its figures are no target. */
const WARM_SECONDS_DIRECT = 3
const STABLE = 0.05
const LOOK = 3

export async function warm(load: Load, candidate: Candidate, job: Job, settings: Settings): Promise<void> {
  let requests = 0
  const costs: number[] = []
  const secondsMax = candidate.name === 'direct' ? WARM_SECONDS_DIRECT : WARM_SECONDS_MAX
  for (let slice = 0; slice < secondsMax; slice++) {
    const result = await load.run(jobOf(candidate, job, settings.short ? 0.3 : 1, {}))
    if (settings.short) return
    requests += result.requests
    costs.push((result.cpuMs.candidate ?? 0) / result.requests)
    if (requests < WARM_REQUESTS || costs.length < 2 * LOOK) continue
    if (median(costs.slice(-LOOK)) >= median(costs.slice(-2 * LOOK, -LOOK)) * (1 - STABLE)) return
  }
}

export async function measure(
  load: Load,
  upstream: Upstream | null,
  candidates: readonly Candidate[],
  job: Job,
  settings: Settings,
): Promise<Figures[]> {
  const all = candidates.map((candidate) => empty(candidate.name, job.connections))
  for (let round = 0; round < settings.rounds; round++) {
    for (const [n, candidate] of candidates.entries()) {
      const figures = all[n]!
      await upstream?.reset()
      const pids: Record<string, number> = upstream === null ? {} : { upstream: upstream.pid }
      let rssMb = 0
      const look = setTimeout(() => {
        rssMb = memory(candidate.pid).rssMb
      }, settings.seconds * 900)
      const result = await load.run(jobOf(candidate, job, settings.seconds, pids))
      clearTimeout(look)
      add(figures, result, rssMb)
      const counts = await upstream?.counts()
      figures.counted += counts?.calls ?? 0
      figures.others += counts?.others ?? 0
      figures.inFlightMax = Math.max(figures.inFlightMax, counts?.inFlightMax ?? 0)
      settings.print(
        `  round ${round + 1} ${candidate.name}: ${Math.round(result.perSecond)}/s, ${figures.cpuUs.at(-1)!.toFixed(0)} µs`,
      )
    }
  }
  return all
}

function jobOf(candidate: Candidate, job: Job, seconds: number, pids: Record<string, number>): LoadJob {
  const { port, path, tokens, prefix, pid } = candidate
  return {
    ...job,
    fixedId: false,
    ...candidate.job,
    port,
    path,
    tokens,
    prefix,
    seconds,
    pids: { candidate: pid, ...pids },
  }
}

function empty(name: Candidate['name'], connections: number): Figures {
  return {
    name,
    connections,
    perSecond: [],
    p50Ms: [],
    p99Ms: [],
    maxMs: [],
    firstByteMs: [],
    cpuUs: [],
    upstreamUs: [],
    loadUs: [],
    rssMb: [],
    requests: [],
    errors: 0,
    firstErrors: [],
    sent: 0,
    counted: 0,
    others: 0,
    inFlightMax: 0,
  }
}

function add(figures: Figures, result: LoadResult, rssMb: number): void {
  const perRequest = (name: string): number => ((result.cpuMs[name] ?? Number.NaN) * 1000) / result.requests
  figures.perSecond.push(result.perSecond)
  figures.p50Ms.push(result.p50Ms)
  figures.p99Ms.push(result.p99Ms)
  figures.maxMs.push(result.maxMs)
  figures.firstByteMs.push(result.firstByteMs)
  figures.cpuUs.push(perRequest('candidate'))
  figures.upstreamUs.push(perRequest('upstream'))
  figures.loadUs.push(perRequest('load'))
  figures.rssMb.push(rssMb)
  figures.requests.push(result.requests)
  figures.errors += result.errors
  figures.firstErrors.push(...result.firstErrors.slice(0, 5 - figures.firstErrors.length))
  figures.sent += result.callsSent
}

export const cpu = (figures: Figures | undefined): number =>
  figures === undefined ? Number.NaN : median(figures.cpuUs)
