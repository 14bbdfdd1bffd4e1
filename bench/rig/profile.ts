// Where the gateway's CPU goes: one more gateway is started with V8's sampling profiler, warmed, loaded and stopped, and
// its samples are summed by function. Samples of the start are in it too; the load is long enough for them not to show.

import { globSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gateway, type Upstream } from './candidates.ts'
import { type Job, measure, type Settings, warm } from './measure.ts'
import type { Load } from './processes.ts'
import { fixed, type Table } from './report.ts'

interface CpuProfile {
  readonly nodes: readonly {
    readonly id: number
    readonly callFrame: { readonly functionName: string; readonly url: string; readonly lineNumber: number }
  }[]
  readonly samples: readonly number[]
  readonly timeDeltas: readonly number[]
}

export interface SelfTime {
  readonly where: string
  readonly us: number
}

/** Self time per function, most first; `(idle)` and `(program)` among them. */
export function selfTimes(profile: CpuProfile): SelfTime[] {
  const names = new Map(profile.nodes.map((node) => [node.id, place(node.callFrame)]))
  const sums = new Map<string, number>()
  for (const [n, id] of profile.samples.entries()) {
    const where = names.get(id) ?? '?'
    sums.set(where, (sums.get(where) ?? 0) + (profile.timeDeltas[n] ?? 0))
  }
  return [...sums].map(([where, us]) => ({ where, us })).sort((a, b) => b.us - a.us)
}

function place(frame: CpuProfile['nodes'][number]['callFrame']): string {
  const file = frame.url.replace(/^.*\/(dist|node_modules)\//, '$1/')
  const name = frame.functionName === '' ? '(anonymous)' : frame.functionName
  return file === '' ? name : `${name} ${file}:${frame.lineNumber + 1}`
}

const TOP = 30

export async function profiled(load: Load, upstream: Upstream, job: Job, settings: Settings): Promise<Table> {
  const folder = mkdtempSync(join(tmpdir(), 'mcp-gateway-profile-'))
  try {
    const one = await gateway(upstream, { profileTo: folder })
    let sent = 0
    try {
      await warm(load, one, job, settings)
      const [figures] = await measure(load, upstream, [one], job, { ...settings, rounds: 3 })
      sent = figures!.requests.reduce((sum, count) => sum + count, 0)
    } finally {
      await one.stop()
    }
    const files = globSync('*.cpuprofile', { cwd: folder })
    const times = files.flatMap((file) => selfTimes(JSON.parse(readFileSync(join(folder, file), 'utf8')) as CpuProfile))
    const busy = times.filter((time) => time.where !== '(idle)').reduce((sum, time) => sum + time.us, 0)
    const rows = times
      .filter((time) => time.where !== '(idle)')
      .slice(0, TOP)
      .map((time) => [time.where, fixed((time.us / busy) * 100, 1)])
    return {
      title: `${job.form}: the gateway's own time by function, ${sent} calls measured`,
      columns: ['function', '% of busy time'],
      rows,
    }
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}
