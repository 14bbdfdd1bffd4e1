// 10,000 clients that only listen, on one worker: what they cost in memory and CPU, and how long it takes until all of them
// have been told that a list has changed. Sessions of 2025-11-25 (GET streams) and subscriptions of 2026-07-28, each in
// a gateway of its own. The change is a write by the REST API that switches the upstream off, and on again.

import { cpuMs, memory } from '../rig/account.ts'
import { startUpstream, type Upstream } from '../rig/candidates.ts'
import { buildFault, type StartedGateway, startGateway } from '../rig/gateway.ts'
import type { Settings } from '../rig/measure.ts'
import { StreamClients } from '../rig/processes.ts'
import { fixed, median, type Report, range, type Verdict, whole } from '../rig/report.ts'
import { type Form, SLUG } from '../rig/talk.ts'

const STREAMS = 10_000
const STREAMS_SHORT = 200
const MB_MAX = 300
const FAN_OUT_MS_MAX = 2_000
/** A second upstream, which is not of the file and can be written. */
const SWITCHED = 'switched'
const OPEN_MS_MAX = 240_000
const HEAR_MS_MAX = 30_000
/** Two keep-alive times: each stream gets its comments twice. */
const IDLE_MS = 30_000
const FORMS: readonly Form[] = ['sessions', 'stateless']
const NAMES: Readonly<Record<Form, string>> = { sessions: '2025-11-25, GET', stateless: '2026-07-28, listen' }

interface Row {
  readonly form: Form
  readonly streams: number
  readonly emptyMb: number
  readonly fullMb: number
  readonly openMs: number
  readonly idleCpu: number
  /** One entry a change. */
  readonly firstMs: number[]
  readonly lastMs: number[]
  readonly fanMs: number[]
  readonly cpuMs: number[]
  drops: number
  lost: number
  readonly firstErrors: readonly string[]
}

export async function streams(settings: Settings): Promise<Report> {
  const fault = buildFault()
  const rows: Row[] = []
  if (fault === null) for (const form of FORMS) rows.push(await measureForm(form, settings))
  const count = settings.short ? STREAMS_SHORT : STREAMS
  const verdicts: Verdict[] = rows.flatMap((row) => [
    {
      target: `${NAMES[row.form]}: ${whole(count)} idle streams on one worker in at most ${MB_MAX} MB resident`,
      measured: `${fixed(row.fullMb, 0)} MB with ${whole(row.streams)} streams`,
      met: row.fullMb <= MB_MAX && row.streams === count,
    },
    {
      target: `${NAMES[row.form]}: a list change reaches all within ${FAN_OUT_MS_MAX} ms, none is left out`,
      measured: `${range(row.lastMs, 0)} ms from the write to the last stream, ${row.drops} left out, ${row.lost} lost`,
      met: Math.max(...row.lastMs) <= FAN_OUT_MS_MAX && row.drops === 0 && row.lost === 0,
    },
  ])
  const failed = rows.flatMap((row) => row.firstErrors)[0] ?? null
  return {
    scenario: `streams: ${whole(count)} clients that only listen`,
    configuration: [
      'one worker in the process of its primary, default settings, one connection per stream, four tokens',
      'MB: resident memory of the whole process, before the first stream and with all of them after they have rested',
      'first, last: from the sending of the write (REST, upstream switched off or on) to the notification at the first and the last stream',
      'fan-out: from the first stream to the last one; CPU: of the gateway, from the write until half a second after the last stream',
      `${2 * settings.rounds} changes; medians and extremes. The listening process shares the machine's CPUs`,
    ],
    tables: [
      {
        title: `${whole(count)} idle streams`,
        columns: ['streams', 'standing', 'opened in s', 'MB before', 'MB with them', 'KB/stream', 'idle CPU %'],
        rows: rows.map((row) => [
          NAMES[row.form],
          whole(row.streams),
          fixed(row.openMs / 1000, 1),
          fixed(row.emptyMb, 0),
          fixed(row.fullMb, 0),
          fixed(((row.fullMb - row.emptyMb) * 1024) / row.streams, 1),
          fixed(row.idleCpu, 1),
        ]),
      },
      {
        title: 'a list change told to all of them',
        columns: ['streams', 'first ms', 'last ms', 'fan-out ms', 'CPU ms', 'left out', 'lost'],
        rows: rows.map((row) => [
          NAMES[row.form],
          range(row.firstMs, 0),
          range(row.lastMs, 0),
          range(row.fanMs, 0),
          fixed(median(row.cpuMs), 0),
          String(row.drops),
          String(row.lost),
        ]),
      },
    ],
    verdicts: settings.short ? [] : verdicts,
    void: fault ?? failed,
    figures: rows,
  }
}

async function measureForm(form: Form, settings: Settings): Promise<Row> {
  const count = settings.short ? STREAMS_SHORT : STREAMS
  const upstream = await startUpstream({ form: 'sessions' })
  const clients = new StreamClients()
  let gateway: StartedGateway | null = null
  try {
    gateway = await startGateway({ upstreams: { [SLUG]: urlOf(upstream) }, tokens: 4 })
    const { pid, port, tokens } = gateway
    await gateway.rest('POST', '/v1/upstreams?wait=10s', {
      slug: SWITCHED,
      transport: { kind: 'http', urls: [urlOf(upstream)] },
    })
    await rest(settings.short ? 200 : 5_000)
    const emptyMb = memory(pid).rssMb
    const opened = await clients.open({ op: 'open', form, port, tokens, count, msMax: OPEN_MS_MAX })
    settings.print(`  ${NAMES[form]}: ${opened.opened} streams in ${(opened.ms / 1000).toFixed(1)} s`)
    const idleMs = settings.short ? 500 : IDLE_MS
    const beforeMs = cpuMs(pid)
    await rest(idleMs)
    const idleCpu = ((cpuMs(pid) - beforeMs) / idleMs) * 100
    const row: Row = {
      ...{ form, streams: opened.opened, emptyMb, openMs: opened.ms, fullMb: memory(pid).rssMb, idleCpu },
      ...{ firstMs: [], lastMs: [], fanMs: [], cpuMs: [], drops: 0, lost: 0, firstErrors: opened.firstErrors },
    }
    for (let change = 0; change < 2 * settings.rounds; change++) {
      const cpuBeforeMs = cpuMs(pid)
      const writtenMs = performance.timeOrigin + performance.now()
      const [heard] = await Promise.all([
        clients.hear({ op: 'hear', msMax: HEAR_MS_MAX }),
        gateway.rest('PATCH', `/v1/upstreams/${SWITCHED}`, { enabled: change % 2 === 1 }),
      ])
      row.firstMs.push(heard.firstMs - writtenMs)
      row.lastMs.push(heard.lastMs - writtenMs)
      row.fanMs.push(heard.lastMs - heard.firstMs)
      row.cpuMs.push(cpuMs(pid) - cpuBeforeMs)
      row.drops += opened.opened - heard.told
      row.lost = heard.lost
      settings.print(`  ${NAMES[form]}: ${heard.told} told, the last after ${(heard.lastMs - writtenMs).toFixed(0)} ms`)
      await rest(settings.short ? 100 : 2_000)
    }
    return row
  } finally {
    await clients.stop()
    await gateway?.stop()
    await upstream.stop()
  }
}

const rest = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms))
const urlOf = (upstream: Upstream): string => `http://127.0.0.1:${upstream.ready.port}/mcp`
