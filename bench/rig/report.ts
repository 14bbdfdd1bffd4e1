// What a scenario hands back and how it is shown: aligned tables, verdict lines, Markdown for RESULTS.md, JSON.

import { spawnSync } from 'node:child_process'
import { cpus, release, totalmem } from 'node:os'
import { ROOT } from './processes.ts'

export interface Table {
  readonly title: string
  readonly columns: readonly string[]
  readonly rows: readonly (readonly string[])[]
}

export interface Verdict {
  readonly target: string
  readonly measured: string
  readonly met: boolean
}

export interface Report {
  readonly scenario: string
  /** What was run with what, one line each. */
  readonly configuration: readonly string[]
  readonly tables: readonly Table[]
  readonly verdicts: readonly Verdict[]
  /** Why the figures must not be used, or null. */
  readonly void: string | null
  /** Every figure unrounded, for --json. */
  readonly figures: unknown
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b)
  const middle = sorted.length >> 1
  if (sorted.length === 0) return Number.NaN
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2
}

export function range(values: readonly number[], digits: number): string {
  return `${fixed(median(values), digits)} [${fixed(Math.min(...values), digits)}–${fixed(Math.max(...values), digits)}]`
}

export function fixed(value: number, digits: number): string {
  return Number.isFinite(value) ? value.toFixed(digits) : '–'
}

export const whole = (value: number): string =>
  Number.isFinite(value) ? Math.round(value).toLocaleString('en-US') : '–'

export function text(report: Report): string {
  const lines = [`\n=== ${report.scenario}`]
  for (const line of report.configuration) lines.push(`    ${line}`)
  for (const table of report.tables) lines.push('', table.title, ...aligned(table))
  if (report.verdicts.length > 0) {
    const rows = report.verdicts.map((verdict) => [verdict.met ? 'met' : 'MISSED', verdict.target, verdict.measured])
    lines.push('', ...aligned({ title: '', columns: ['verdict', 'target', 'measured'], rows }))
  }
  if (report.void !== null) lines.push('', `VOID: ${report.void}`)
  return lines.join('\n')
}

/** Columns of figures to the right, of words to the left. */
function aligned(table: Table): string[] {
  const all = [table.columns, ...table.rows]
  const widths = table.columns.map((_, n) => Math.max(...all.map((row) => (row[n] ?? '').length)))
  const right = table.columns.map((_, n) => n > 0 && table.rows.every((row) => /^[-+–\d]/.test(row[n] ?? '–')))
  return all.map((row) =>
    row
      .map((cell, n) => (right[n] ? cell.padStart(widths[n]!) : cell.padEnd(widths[n]!)))
      .join('  ')
      .trimEnd(),
  )
}

export function markdown(report: Report): string {
  const lines = [`## ${report.scenario}`, '', ...report.configuration.map((line) => `- ${line}`)]
  const table = (columns: readonly string[], rows: readonly (readonly string[])[]): void => {
    lines.push('', `| ${columns.join(' | ')} |`, `|${columns.map(() => '---').join('|')}|`)
    for (const row of rows) lines.push(`| ${row.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`)
  }
  for (const one of report.tables) {
    lines.push('', `**${one.title}**`)
    table(one.columns, one.rows)
  }
  if (report.verdicts.length > 0) {
    table(
      ['verdict', 'target', 'measured'],
      report.verdicts.map((verdict) => [verdict.met ? 'met' : '**missed**', verdict.target, verdict.measured]),
    )
  }
  if (report.void !== null) lines.push('', `**Void: ${report.void}**`)
  return lines.join('\n')
}

export interface Place {
  readonly machine: string
  readonly node: string
  readonly commit: string
  readonly date: string
}

export function place(): Place {
  const processors = cpus()
  const git = (args: string[]): string => spawnSync('git', args, { cwd: ROOT, encoding: 'utf8' }).stdout?.trim() ?? ''
  const changed = git(['status', '--porcelain', '--', 'src', 'bin', 'bench', 'package-lock.json']) !== ''
  return {
    machine: `${processors.length} cores of ${processors[0]?.model ?? 'an unknown processor'}, ${Math.round(totalmem() / 2 ** 30)} GiB, Linux ${release()}`,
    node: process.version,
    commit:
      (git(['rev-parse', '--short', 'HEAD']) || 'unknown') + (changed ? ' with changes that are not committed' : ''),
    date: new Date().toISOString().slice(0, 16).replace('T', ' '),
  }
}
