// A call whose answer is an event stream: progress events, then the answer. Every event's progress token and order are
// checked, and the time to the first byte shows whether events are passed on as they come.

import { bareProxy, type Candidate, direct, gateway, startUpstream } from '../rig/candidates.ts'
import { buildFault } from '../rig/gateway.ts'
import { cpu, type Figures, type Job, measure, type Settings, warm } from '../rig/measure.ts'
import { Load } from '../rig/processes.ts'
import { fixed, median, type Report, range, type Table, whole } from '../rig/report.ts'
import { type Form, TOOLS } from '../rig/talk.ts'

const EVENTS = 20
const CONNECTIONS = 16
const FORMS: readonly Form[] = ['sessions', 'stateless']

export async function sse(settings: Settings): Promise<Report> {
  const fault = buildFault()
  if (fault !== null) settings.print(`the gateway is left out: ${fault}`)
  const load = new Load()
  const tables: Table[] = []
  const figures: Record<string, Figures[]> = {}
  try {
    for (const form of FORMS) {
      const upstream = await startUpstream({ form, events: EVENTS })
      const candidates: Candidate[] = [direct(upstream)]
      try {
        candidates.push(await bareProxy(upstream))
        if (fault === null) candidates.push(await gateway(upstream))
        const job: Job = { work: 'sse', form, connections: CONNECTIONS, mixed: false, events: EVENTS, tools: TOOLS }
        for (const candidate of candidates) await warm(load, candidate, job, settings)
        const rows = await measure(load, upstream, candidates, job, settings)
        figures[form] = rows
        const bare = rows.find((one) => one.name === 'bare proxy')
        tables.push({
          title: `${form}: ${EVENTS} progress events and an answer per call, c=${CONNECTIONS}`,
          columns: [
            'candidate',
            'calls/s',
            'events/s',
            'first byte p50 ms',
            'p50 ms',
            'p99 ms',
            'errors',
            'CPU µs/event',
            '× bare',
          ],
          rows: rows.map((one) => [
            one.name,
            whole(median(one.perSecond)),
            whole(median(one.perSecond) * (EVENTS + 1)),
            fixed(median(one.firstByteMs), 2),
            fixed(median(one.p50Ms), 2),
            fixed(median(one.p99Ms), 2),
            `${one.errors}${one.errors > 0 ? ` (${one.firstErrors[0]})` : ''}`,
            one.name === 'direct'
              ? '–'
              : range(
                  one.cpuUs.map((us) => us / (EVENTS + 1)),
                  1,
                ),
            one.name === 'direct' ? '–' : fixed(cpu(one) / cpu(bare), 2),
          ]),
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
    scenario: 'sse: event streams',
    configuration: [
      'the upstream writes each event as a chunk of its own, one per turn of its event loop',
      'the bare proxy parses and writes every data line; the gateway checks that each event belongs to the call; no floor',
      `${settings.rounds} rounds of ${settings.seconds} s per candidate, interleaved after warm-up; medians [least–most]`,
    ],
    tables,
    verdicts: [],
    void: null,
    figures,
  }
}
