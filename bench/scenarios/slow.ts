// 1,000 calls in flight on an upstream that takes its time, in one worker: nothing of the gateway's own may hold a call
// back. With 200 ms the closed loop asks for 5,000 calls/s, which can be more than one core gives; the upstream's own
// count of calls in flight shows that all are passed on at once, and the row with 1 s takes the CPU out of the question.

import { bareProxy, type Candidate, direct, gateway, startUpstream } from '../rig/candidates.ts'
import { buildFault } from '../rig/gateway.ts'
import { type Figures, type Job, measure, type Settings, warm } from '../rig/measure.ts'
import { Load } from '../rig/processes.ts'
import { fixed, median, type Report, type Table, type Verdict, whole } from '../rig/report.ts'
import { TOOLS } from '../rig/talk.ts'

const IN_FLIGHT = 1_000
const DELAYS_MS = [200, 1_000]
/** Calls that wait in sockets and event loops of four busy processes at the moment of counting, not in a queue of ours. */
const IN_FLIGHT_MIN = 990

export async function slow(settings: Settings): Promise<Report> {
  const fault = buildFault()
  if (fault !== null) settings.print(`the gateway is left out: ${fault}`)
  const load = new Load()
  const tables: Table[] = []
  const verdicts: Verdict[] = []
  const figures: Record<string, Figures[]> = {}
  const connections = settings.short ? 100 : IN_FLIGHT
  try {
    for (const delayMs of DELAYS_MS) {
      const upstream = await startUpstream({ form: 'stateless', delayMs })
      const candidates: Candidate[] = [direct(upstream)]
      try {
        candidates.push(await bareProxy(upstream))
        if (fault === null) candidates.push(await gateway(upstream))
        const job: Job = { work: 'call', form: 'stateless', connections, mixed: false, events: 0, tools: TOOLS }
        const longer = { ...settings, seconds: Math.max(settings.seconds, (delayMs * 1.5) / 1000) }
        for (const candidate of candidates) await warm(load, candidate, job, longer)
        const rows = await measure(load, upstream, candidates, job, longer)
        figures[`${delayMs} ms`] = rows
        tables.push({
          title: `${connections} calls in flight on a ${delayMs} ms upstream`,
          columns: [
            'candidate',
            'calls/s',
            'p50 ms',
            'p99 ms',
            'most ms',
            'errors',
            'CPU µs/call',
            'most in flight upstream',
            'RSS MB',
          ],
          rows: rows.map((one) => [
            one.name,
            whole(median(one.perSecond)),
            fixed(median(one.p50Ms), 1),
            fixed(median(one.p99Ms), 1),
            fixed(Math.max(...one.maxMs), 1),
            String(one.errors),
            one.name === 'direct' ? '–' : fixed(median(one.cpuUs), 0),
            String(one.inFlightMax),
            one.name === 'direct' ? '–' : whole(Math.max(...one.rssMb)),
          ]),
        })
        const mine = rows.find((one) => one.name === 'gateway')
        if (mine !== undefined)
          verdicts.push({
            target: `${connections} calls in flight on a ${delayMs} ms upstream, no queueing of our own, all answered`,
            measured: `${mine.inFlightMax} in flight upstream, p50 ${fixed(median(mine.p50Ms), 1)} ms, ${mine.errors} errors`,
            met: mine.inFlightMax >= IN_FLIGHT_MIN && mine.errors === 0,
          })
      } finally {
        for (const candidate of candidates.reverse()) await candidate.stop()
        await upstream.stop()
      }
    }
  } finally {
    await load.stop()
  }
  return {
    scenario: 'slow: 1,000 calls in flight',
    configuration: [
      'one worker, default settings, 2026-07-28, bodies of 300 B, one connection per call in flight',
      `${settings.rounds} rounds per candidate, interleaved after warm-up; medians`,
    ],
    tables,
    verdicts: settings.short ? [] : verdicts,
    void: null,
    figures,
  }
}
