// One row per performance component of the model architecture: its claim, what stands for it here, and what that saves
// against the plain way to do the same, measured in this process on the real modules of src/.

import { ACCESS } from '../components/access.ts'
import type { Component } from '../components/component.ts'
import { HTTP } from '../components/http.ts'
import { HYGIENE } from '../components/hygiene.ts'
import { ELSEWHERE, LATER } from '../components/later.ts'
import { WIRE } from '../components/wire.ts'
import type { Settings } from '../rig/measure.ts'
import type { Pair } from '../rig/micro.ts'
import type { Report } from '../rig/report.ts'

/** The layers in the order of the model architecture. */
export const LAYERS = [
  ...['Orchestration', 'Edge', 'Gateway pods', 'Native components', 'Caches', 'Hygiene', 'Pooling', 'Database'],
  ...['Redis', 'Observability', 'Capacity', 'Start-up resilience', 'Memory', 'Quick commands'],
]

export const COMPONENTS: readonly Component[] = [...HTTP, ...WIRE, ...ACCESS, ...HYGIENE, ...ELSEWHERE, ...LATER].sort(
  (a, b) => LAYERS.indexOf(a.layer) - LAYERS.indexOf(b.layer),
)

export async function components(settings: Settings): Promise<Report> {
  const pace = settings.short ? { batchMs: 5, batches: 1 } : { batchMs: 100, batches: 7 }
  const rows: string[][] = []
  const figures: Record<string, readonly Pair[]> = {}
  for (const component of COMPONENTS) {
    const { layer, name, claim, ours } = component
    settings.print(`  ${name}`)
    const pairs = (await component.measure?.(pace)) ?? []
    figures[name] = pairs
    if (pairs.length === 0) rows.push([layer, name, claim, ours, '–', '–', component.why ?? ''])
    for (const [n, pair] of pairs.entries()) {
      const ratio = pair.plainUs / pair.oursUs
      const what = `${pair.ours}: ${us(pair.oursUs)}; ${pair.plain}: ${us(pair.plainUs)}`
      rows.push([
        ...(n === 0 ? [layer, name, claim, ours] : ['', '', '', '']),
        `${times(ratio)}×`,
        us(pair.oursUs),
        what,
      ])
    }
  }
  return {
    scenario: "components: the model architecture's performance components, one by one",
    configuration: [
      'saved: CPU of the plain way divided by CPU of ours, below 1 where ours costs more (and does more)',
      'in-process, modules of src/ as they are, both ways in turn, medians of batches, garbage collection included',
    ],
    tables: [
      {
        title: 'components',
        columns: [
          'layer',
          'component',
          "the model's claim",
          'ours',
          'saved',
          'ours µs',
          'what was compared, or why not',
        ],
        rows,
      },
    ],
    verdicts: [],
    void: null,
    figures,
  }
}

function us(value: number): string {
  return `${value >= 100 ? value.toFixed(0) : value >= 1 ? value.toFixed(1) : value.toPrecision(2)} µs`
}

function times(ratio: number): string {
  return ratio >= 100 ? ratio.toFixed(0) : ratio >= 10 ? ratio.toFixed(1) : ratio.toFixed(2)
}
