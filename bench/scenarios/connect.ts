// What is paid before the first call: a new connection with initialize and one call, the start of the process until
// /ready, and the memory of a gateway that nobody uses.

import { memory } from '../rig/account.ts'
import {
  bareProxy,
  type Candidate,
  direct,
  gateway,
  rustFloor,
  startUpstream,
  type Upstream,
} from '../rig/candidates.ts'
import { buildFault, startGateway } from '../rig/gateway.ts'
import { cpu, type Figures, type Job, measure, type Settings, warm } from '../rig/measure.ts'
import { Load } from '../rig/processes.ts'
import { fixed, median, type Report, range, type Table, type Verdict, whole } from '../rig/report.ts'
import { SLUG, TOOLS } from '../rig/talk.ts'

const CONNECTIONS = 16
const STARTS = 7
const READY_MS_MAX = 600
const IDLE_TOOLS = 1_000
const IDLE_MB_MAX = 130
const WORKERS = 16
const WORKERS_MB_MAX = 1_800

export async function connect(settings: Settings): Promise<Report> {
  const fault = buildFault()
  if (fault !== null) settings.print(`the gateway is left out: ${fault}`)
  const [figures, connections] = await newConnections(fault === null, settings)
  const tables: Table[] = [connections]
  const verdicts: Verdict[] = []
  if (fault === null) {
    const starts = await startTimes(settings)
    const idle = await idleMemory(settings)
    tables.push(starts.table, idle.table)
    verdicts.push(starts.verdict, ...idle.verdicts)
  }
  return {
    scenario: 'connect: new sessions, start and idle memory',
    configuration: [
      'connect: every iteration opens a connection, sends initialize and notifications/initialized, makes one call and closes',
      'start: from the spawn of the published bin with an empty data directory and one upstream to the first 200 of /ready',
      'memory: sum over the process tree; resident counts shared pages once per process, proportional counts them once',
    ],
    tables,
    verdicts: settings.short ? [] : verdicts,
    void: null,
    figures,
  }
}

async function newConnections(withGateway: boolean, settings: Settings): Promise<[Figures[], Table]> {
  const load = new Load()
  const upstream = await startUpstream({ form: 'sessions' })
  const candidates: Candidate[] = [direct(upstream)]
  try {
    const floor = await rustFloor(upstream, settings)
    if (floor !== null) candidates.push(floor)
    candidates.push(await bareProxy(upstream))
    if (withGateway) candidates.push(await gateway(upstream))
    const job: Job = {
      work: 'connect',
      form: 'sessions',
      connections: CONNECTIONS,
      mixed: false,
      events: 0,
      tools: TOOLS,
    }
    for (const candidate of candidates) await warm(load, candidate, job, { ...settings, short: true })
    const rows = await measure(load, upstream, candidates, job, settings)
    const bare = rows.find((one) => one.name === 'bare proxy')
    const table = {
      title: `a new connection, initialize and one call, c=${CONNECTIONS}`,
      columns: ['candidate', 'sessions/s', 'p50 ms', 'p99 ms', 'errors', 'CPU µs/session', '× bare'],
      rows: rows.map((one) => [
        one.name,
        whole(median(one.perSecond)),
        fixed(median(one.p50Ms), 2),
        fixed(median(one.p99Ms), 2),
        `${one.errors}${one.errors > 0 ? ` (${one.firstErrors[0]})` : ''}`,
        one.name === 'direct' ? '–' : range(one.cpuUs, 0),
        one.name === 'direct' ? '–' : fixed(cpu(one) / cpu(bare), 2),
      ]),
    }
    return [rows, table]
  } finally {
    for (const candidate of candidates.reverse()) await candidate.stop()
    await upstream.stop()
    await load.stop()
  }
}

async function startTimes(settings: Settings): Promise<{ table: Table; verdict: Verdict }> {
  const upstream = await startUpstream({ form: 'sessions' })
  const times: number[] = []
  try {
    for (let n = 0; n < (settings.short ? 1 : STARTS); n++) {
      const one = await startGateway({ upstreams: { [SLUG]: urlOf(upstream) }, tokens: 0 })
      times.push(one.readyMs)
      await one.stop()
    }
  } finally {
    await upstream.stop()
  }
  return {
    table: {
      title: 'process start to /ready',
      columns: ['runs', 'median ms', 'least', 'most', 'first'],
      rows: [
        [
          String(times.length),
          fixed(median(times), 0),
          fixed(Math.min(...times), 0),
          fixed(Math.max(...times), 0),
          fixed(times[0]!, 0),
        ],
      ],
    },
    verdict: {
      target: `ready within ${READY_MS_MAX} ms of the process start`,
      measured: `${fixed(median(times), 0)} ms (most ${fixed(Math.max(...times), 0)} ms)`,
      met: median(times) <= READY_MS_MAX,
    },
  }
}

async function idleMemory(settings: Settings): Promise<{ table: Table; verdicts: Verdict[] }> {
  const upstream = await startUpstream({ form: 'sessions', tools: IDLE_TOOLS })
  const rows: string[][] = []
  const rss: number[] = []
  try {
    for (const workers of settings.short ? [1] : [1, WORKERS]) {
      const one = await startGateway({ upstreams: { [SLUG]: urlOf(upstream) }, tokens: 0, workers })
      await new Promise((resolve) => setTimeout(resolve, settings.short ? 200 : 5_000))
      const used = memory(one.pid)
      rss.push(used.rssMb)
      rows.push([String(workers), String(used.processes), fixed(used.rssMb, 0), fixed(used.pssMb, 0)])
      await one.stop()
    }
  } finally {
    await upstream.stop()
  }
  return {
    table: {
      title: `idle with ${IDLE_TOOLS} tools, 5 s after the start`,
      columns: ['workers', 'processes', 'resident MB', 'proportional MB'],
      rows,
    },
    verdicts: [
      {
        target: `idle with ${IDLE_TOOLS} tools at most ${IDLE_MB_MAX} MB resident, one worker`,
        measured: `${fixed(rss[0]!, 0)} MB`,
        met: rss[0]! <= IDLE_MB_MAX,
      },
      {
        target: `${WORKERS} workers at most ${WORKERS_MB_MAX} MB resident in all`,
        measured: `${fixed(rss[1] ?? Number.NaN, 0)} MB`,
        met: (rss[1] ?? Number.NaN) <= WORKERS_MB_MAX,
      },
    ],
  }
}

const urlOf = (upstream: Upstream): string => `http://127.0.0.1:${upstream.ready.port}/mcp`
