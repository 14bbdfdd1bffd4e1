// tools/list of 1,000 tools in one page, through the gateway, against the same bytes as a constant answer of node:http.

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { memory } from '../rig/account.ts'
import { type Candidate, direct, gateway, startUpstream, staticAnswer } from '../rig/candidates.ts'
import { buildFault } from '../rig/gateway.ts'
import { cpu, type Figures, type Job, measure, type Settings, warm } from '../rig/measure.ts'
import { Load } from '../rig/processes.ts'
import { fixed, median, type Report, range, type Table, type Verdict, whole } from '../rig/report.ts'
import { FIRST_ID, type Form, headText, listText } from '../rig/talk.ts'

const TOOLS = 1_000
const RATIO_MAX = 1.3
const CONNECTIONS = 16
const FORMS: readonly Form[] = ['sessions', 'stateless']

export async function list(settings: Settings): Promise<Report> {
  const fault = buildFault()
  if (fault !== null) settings.print(`the gateway is left out: ${fault}`)
  const load = new Load()
  const folder = mkdtempSync(join(tmpdir(), 'mcp-gateway-bench-list-'))
  const tables: Table[] = []
  const verdicts: Verdict[] = []
  const figures: Record<string, Figures[]> = {}
  const upstream = await startUpstream({ form: 'stateless', tools: TOOLS })
  const candidates: Candidate[] = []
  try {
    const source = fault === null ? await gateway(upstream) : direct(upstream)
    candidates.push(source)
    const body = await oneList(source)
    const file = join(folder, 'list.json')
    writeFileSync(file, body)
    const constant = { ...(await staticAnswer(file)), prefix: source.prefix }
    candidates.push(constant)
    for (const form of FORMS) {
      if (fault !== null && form === 'sessions') continue
      const job: Job = { work: 'list', form, connections: CONNECTIONS, mixed: false, events: 0, tools: TOOLS }
      for (const candidate of candidates) await warm(load, candidate, job, settings)
      const rows = await measure(load, null, [constant, source], job, settings)
      figures[form] = rows
      const base = cpu(rows[0])
      tables.push({
        title: `${form}: tools/list of ${TOOLS} tools, ${Math.round(body.length / 1000)} KB, c=${CONNECTIONS}`,
        columns: ['candidate', 'lists/s', 'p50 ms', 'p99 ms', 'errors', 'CPU µs/list', '× static', 'RSS MB under load'],
        rows: rows.map((one) => [
          one.name,
          whole(median(one.perSecond)),
          fixed(median(one.p50Ms), 2),
          fixed(median(one.p99Ms), 2),
          String(one.errors),
          range(one.cpuUs, 0),
          fixed(cpu(one) / base, 2),
          whole(Math.max(...one.rssMb)),
        ]),
      })
      if (source.name !== 'gateway') continue
      verdicts.push({
        target: `${form}: tools/list of ${TOOLS} tools at most ${RATIO_MAX} × the CPU of a static answer`,
        measured: `${fixed(cpu(rows[1]) / base, 2)} ×, ${rows[1]!.errors} errors`,
        met: cpu(rows[1]) / base <= RATIO_MAX && rows[1]!.errors === 0,
      })
    }
    settings.print(`list: ${whole(memory(source.pid).rssMb)} MB at the end`)
  } finally {
    for (const candidate of candidates.reverse()) await candidate.stop()
    await upstream.stop()
    await load.stop()
    rmSync(folder, { recursive: true, force: true })
  }
  return {
    scenario: 'list: tools/list of 1,000 tools',
    configuration: [
      'the static answer is the same bytes from node:http with no routing, no token and no parsing; its id is a constant',
      'the first list is parsed and its names are checked, every later one must be the same bytes but for its id',
      `${settings.rounds} rounds of ${settings.seconds} s per candidate, interleaved after warm-up; medians [least–most]`,
    ],
    tables,
    verdicts: settings.short ? [] : verdicts,
    void: null,
    figures,
  }
}

async function oneList(source: Candidate): Promise<string> {
  const text = headText('stateless', '', source.path, source.tokens[0]!, null, 'tools/list', null)
  const lines = text.trim().split('\r\n').slice(2)
  const headers = lines.map((line) => line.split(': ') as [string, string])
  const url = `http://127.0.0.1:${source.port}${source.path}`
  const response = await fetch(url, { method: 'POST', headers, body: listText('stateless', FIRST_ID) })
  const body = await response.text()
  if (response.status !== 200) throw new Error(`tools/list: ${response.status} ${body.slice(0, 200)}`)
  return body
}
