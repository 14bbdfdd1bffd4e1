// Where the gateway's CPU goes: one more gateway is started with V8's sampling profiler, warmed, loaded and stopped, and
// its samples are summed by function. Samples of the start are in it too; the load is long enough for them not to show.

import { globSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gateway, type Upstream } from './candidates.ts'
import { cpu, type Figures, type Job, measure, type Settings, warm } from './measure.ts'
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

const AREAS: readonly (readonly [RegExp, string])[] = [
  [/ dist\/([a-z]+)\//, 'dist/$1'],
  [/ node_modules\/((?:@[^/]+\/)?[^/]+)\//, '$1'],
  [/wasm/, 'undici'],
  [
    / node:(?:_http|net|events|internal\/(?:streams?|stream_base_commons|timers|process|async_hooks|http))/,
    'node: http, net, streams, timers',
  ],
  [/ node:/, 'node: all else'],
  [/garbage/, 'garbage collection'],
]

/** Sums by part of the program, most first. What has no file is the engine's or the kernel's, such as writing to sockets. */
export function areas(times: readonly SelfTime[]): Map<string, number> {
  const sums = new Map<string, number>()
  for (const { where, us } of times) {
    let area = 'native: system calls, strings, buffers'
    for (const [pattern, name] of AREAS) {
      const match = pattern.exec(where)
      if (match === null) continue
      area = name.replace('$1', match[1] ?? '')
      break
    }
    sums.set(area, (sums.get(area) ?? 0) + us)
  }
  return new Map([...sums].sort((a, b) => b[1] - a[1]))
}

const TOP = 30

export async function profiled(load: Load, upstream: Upstream, job: Job, settings: Settings): Promise<Table> {
  const folder = mkdtempSync(join(tmpdir(), 'mcp-gateway-profile-'))
  try {
    const one = await gateway(upstream, { profileTo: folder })
    let figures: Figures
    try {
      await warm(load, one, job, settings)
      const [measured] = await measure(load, upstream, [one], job, { ...settings, rounds: 3 })
      figures = measured!
    } finally {
      await one.stop()
    }
    const files = globSync('*.cpuprofile', { cwd: folder })
    const times = files.flatMap((file) => selfTimes(JSON.parse(readFileSync(join(folder, file), 'utf8')) as CpuProfile))
    const working = times.filter((time) => time.where !== '(idle)')
    const busy = working.reduce((sum, time) => sum + time.us, 0)
    // Shares of the samples, as parts of what a call was measured to cost.
    const row = (where: string, us: number): string[] => {
      const part = us / busy
      return [where, fixed(part * cpu(figures), 1), fixed(part * 100, 1)]
    }
    return {
      title: `${job.form}: the gateway's own time by function (profiled: ${fixed(cpu(figures), 0)} µs per call in all)`,
      columns: ['function', 'µs per call', '%'],
      rows: [
        ...[...areas(working)].map(([area, us]) => row(`= ${area}`, us)),
        ...working.slice(0, TOP).map((time) => row(time.where, time.us)),
      ],
    }
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}
