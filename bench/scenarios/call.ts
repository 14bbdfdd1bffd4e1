// tools/call through every candidate, in both forms and at two loads: what one call costs, and whether each answer is
// the right one. The gateway's targets are ratios to the bare proxy, which is itself held against the Rust floor.

import { memory } from '../rig/account.ts'
import { bareProxy, type Candidate, direct, gateway, rustFloor, startUpstream } from '../rig/candidates.ts'
import { buildFault } from '../rig/gateway.ts'
import { cpu, type Figures, type Job, measure, type Settings, warm } from '../rig/measure.ts'
import { Load } from '../rig/processes.ts'
import { profiled } from '../rig/profile.ts'
import { fixed, median, type Report, range, type Table, type Verdict, whole } from '../rig/report.ts'
import { type Form, MIX, TOKENS, TOOLS } from '../rig/talk.ts'

const FLOOR_RATIO_MAX = 3.3
const BARE_RATIO_MAX = 1.4
const CALLS_PER_SECOND = 1_600
const ADDED_MS_MAX = 0.5
const FORMS: readonly Form[] = ['sessions', 'stateless']
const CONNECTIONS = 64

export async function call(settings: Settings): Promise<Report> {
  const load = new Load()
  const tables: Table[] = []
  const verdicts: Verdict[] = []
  const figures: Record<string, Figures[]> = {}
  let fault: string | null = null
  const gatewayFault = buildFault()
  if (gatewayFault !== null) settings.print(`the gateway is left out: ${gatewayFault}`)
  try {
    for (const form of FORMS) {
      const cell = await measureForm(load, form, gatewayFault === null, settings)
      figures[`${form} c=${CONNECTIONS}`] = cell.many
      figures[`${form} c=1`] = cell.one
      tables.push(tableOf(form, cell))
      if (cell.profile !== null) tables.push(cell.profile)
      verdicts.push(...judge(form, cell))
      fault ??= voidOf(form, cell)
    }
  } finally {
    await load.stop()
  }
  return {
    scenario: 'call: tools/call',
    configuration: [
      `${TOOLS} tools, ${TOKENS} tokens in turn (a session keeps its own), one request in flight per connection`,
      `answers of ${MIX}; the request carries the same text, and every answer's id and whole text are compared`,
      `${settings.rounds} rounds of ${settings.seconds} s per candidate, interleaved after warm-up; medians [least–most]`,
      `CPU is user and system time of the candidate's whole process tree, taken while the load is on`,
      'the gateway: published bin, one worker, default settings, authentication on; the upstream is of the same family',
    ],
    tables,
    verdicts: settings.short ? [] : verdicts,
    void: settings.short ? null : fault,
    figures,
  }
}

interface Cell {
  readonly many: Figures[]
  readonly one: Figures[]
  readonly idleMb: ReadonlyMap<string, number>
  readonly profile: Table | null
}

async function measureForm(load: Load, form: Form, withGateway: boolean, settings: Settings): Promise<Cell> {
  const upstream = await startUpstream({ form })
  const candidates: Candidate[] = [direct(upstream)]
  try {
    const floor = await rustFloor(upstream, settings)
    if (floor !== null) candidates.push(floor)
    candidates.push(await bareProxy(upstream))
    if (withGateway) candidates.push(await gateway(upstream))
    await new Promise((resolve) => setTimeout(resolve, settings.short ? 0 : 1_000))
    const idleMb = new Map(candidates.map((one) => [one.name, memory(one.pid).rssMb]))
    const job: Job = { work: 'call', form, connections: CONNECTIONS, mixed: true, events: 0, tools: TOOLS }
    settings.print(`${form}: warming up`)
    for (const candidate of candidates) await warm(load, candidate, job, settings)
    settings.print(`${form}: ${CONNECTIONS} connections`)
    const many = await measure(load, upstream, candidates, job, settings)
    settings.print(`${form}: 1 connection`)
    const one = await measure(load, upstream, candidates, { ...job, connections: 1 }, settings)
    const profile = settings.profile && withGateway ? await profiled(load, upstream, job, settings) : null
    return { many, one, idleMb, profile }
  } finally {
    for (const candidate of candidates.reverse()) await candidate.stop()
    await upstream.stop()
  }
}

function tableOf(form: Form, cell: Cell): Table {
  const rows = [...cell.many, ...cell.one].map((one) => {
    const peers = one.connections === 1 ? cell.one : cell.many
    const of = (name: string): string => fixed(cpu(one) / cpu(peers.find((peer) => peer.name === name)), 2)
    return [
      one.name,
      String(one.connections),
      whole(median(one.perSecond)),
      fixed(median(one.p50Ms), 2),
      fixed(median(one.p99Ms), 2),
      String(one.errors),
      one.name === 'direct' ? '–' : range(one.cpuUs, 0),
      one.name === 'direct' ? '–' : of('bare proxy'),
      one.name === 'direct' ? '–' : of('rust floor'),
      one.name === 'direct'
        ? '–'
        : `${whole(cell.idleMb.get(one.name) ?? Number.NaN)} → ${whole(Math.max(...one.rssMb))}`,
      fixed(one.counted / one.sent, 4),
      String(one.others),
      fixed(median(one.upstreamUs), 0),
      fixed(median(one.loadUs), 0),
    ]
  })
  return {
    title: `${form} (${form === 'sessions' ? '2025-11-25, one session per connection' : '2026-07-28'})`,
    columns: [
      'candidate',
      'c',
      'calls/s',
      'p50 ms',
      'p99 ms',
      'errors',
      'CPU µs/call',
      '× bare',
      '× floor',
      'RSS MB idle → load',
      'upstream calls/call',
      'other upstream requests',
      'upstream µs',
      'load µs',
    ],
    rows,
  }
}

const named = (figures: readonly Figures[], name: string): Figures | undefined =>
  figures.find((one) => one.name === name)

function judge(form: Form, cell: Cell): Verdict[] {
  const mine = named(cell.many, 'gateway')
  const alone = named(cell.one, 'gateway')
  if (mine === undefined || alone === undefined) return []
  const bare = cpu(named(cell.many, 'bare proxy'))
  const added = median(alone.p50Ms) - median(named(cell.one, 'direct')!.p50Ms)
  const floor = named(cell.many, 'rust floor')
  const toFloor = floor === undefined ? 'no floor' : `${fixed(cpu(mine) / cpu(floor), 2)} × the floor`
  const errors = mine.errors + alone.errors
  return [
    {
      target: `${form}: CPU per call at most ${BARE_RATIO_MAX} × the bare proxy's, c=${CONNECTIONS}`,
      measured: `${fixed(cpu(mine) / bare, 2)} × (${fixed(cpu(mine), 0)} µs to ${fixed(bare, 0)} µs; ${toFloor})`,
      met: cpu(mine) / bare <= BARE_RATIO_MAX,
    },
    {
      target: `${form}: at least ${CALLS_PER_SECOND} calls/s on one worker with zero errors, c=${CONNECTIONS}`,
      measured: `${whole(median(mine.perSecond))} calls/s, ${errors} errors${errors > 0 ? `: ${mine.firstErrors[0] ?? alone.firstErrors[0]}` : ''}`,
      met: median(mine.perSecond) >= CALLS_PER_SECOND && errors === 0,
    },
    {
      target: `${form}: p50 added at c=1 at most ${ADDED_MS_MAX} ms`,
      measured: `${fixed(added, 3)} ms`,
      met: added <= ADDED_MS_MAX,
    },
    {
      target: `${form}: exactly one upstream request per warm call`,
      measured: `${mine.counted + alone.counted} upstream calls for ${mine.sent + alone.sent} calls, ${mine.others + alone.others} other requests`,
      met: mine.counted === mine.sent && alone.counted === alone.sent && mine.others + alone.others === 0,
    },
  ]
}

function voidOf(form: Form, cell: Cell): string | null {
  for (const one of [...cell.many, ...cell.one])
    if (one.name !== 'gateway' && one.errors > 0)
      return `${form}: ${one.errors} errors with ${one.name}: ${one.firstErrors[0]}`
  const floor = named(cell.many, 'rust floor')
  const bare = named(cell.many, 'bare proxy')
  if (floor === undefined || bare === undefined) return null
  const ratio = cpu(bare) / cpu(floor)
  if (ratio <= FLOOR_RATIO_MAX) return null
  return `${form}: the bare proxy costs ${fixed(ratio, 2)} × the Rust floor, over ${FLOOR_RATIO_MAX}`
}
