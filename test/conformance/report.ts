// The comparison as people read it: a table for the terminal, and docs/conformance.md, which holds no times and no
// dates so that it changes only with the result.

import type { Cell, Comparison, Row } from './compare.ts'
import { CELLS } from './compare.ts'

const SUITE = '`@modelcontextprotocol/conformance` 0.2.0-alpha.12'

interface Totals {
  readonly direct: number
  readonly through: number
  readonly expected: number
  readonly all: number
}

const inCell = (rows: readonly Row[], cell: Cell): Row[] =>
  rows.filter((row) => row.revision === cell.revision && row.upstream === cell.upstream)

function totals(rows: readonly Row[]): Totals {
  const scored = rows.filter((row) => row.scored)
  return {
    direct: scored.filter((row) => row.counts.direct[1] === 0).length,
    through: scored.filter((row) => row.failures.length === 0).length,
    expected: scored.filter((row) => row.verdict === 'expected').length,
    all: scored.length,
  }
}

export function tableText({ rows, faults }: Comparison): string {
  const lines: string[] = []
  for (const cell of CELLS) {
    const own = inCell(rows, cell)
    const { direct, through, expected, all } = totals(own)
    lines.push(
      `${cell.revision}, ${cell.upstream} upstream: ${direct}/${all} direct, ${through}/${all} through the gateway` +
        (expected > 0 ? `, ${expected} expected to fail` : ''),
    )
    for (const row of own) {
      const counts = (['direct', 'open', 'token'] as const)
        .map((way) => `${row.counts[way][0]}/${row.counts[way][0] + row.counts[way][1]}`.padStart(6))
        .join(' ')
      lines.push(`  ${row.scenario.padEnd(46)} ${counts}  ${row.verdict}`)
    }
  }
  lines.push('', faults.length === 0 ? 'Nothing is lost.' : faults.join('\n'))
  return lines.join('\n')
}

export function documentText({ rows }: Comparison): string {
  const lines = [
    '# Conformance',
    '',
    'Made by `npm run conformance -- --write`; a test keeps it fresh. The official suite,',
    `${SUITE}, runs against a server on the official SDK`,
    '(`test/conformance/fixture.ts`) twice: directly, and through the gateway, where that server stands behind a virtual',
    'server with `naming: keep`. Through the gateway it runs with `--open` and again with authentication on, behind a',
    'proxy that adds the token. A scenario counts as passed when none of its checks failed; checks that the suite skips',
    '(of features that a server does not declare, or of event streams where it answers JSON) count nowhere.',
    '"Upstream" is what the server speaks: sessions up to 2025-11-25 (legacy), 2026-07-28 (modern) or both (dual).',
    '',
    '| Requirement set | Upstream | Scored scenarios | Directly | Through the gateway | Listed below |',
    '| --- | --- | --- | --- | --- | --- |',
    ...CELLS.map((cell) => {
      const { direct, through, expected, all } = totals(inCell(rows, cell))
      return `| ${cell.revision} | ${cell.upstream} | ${all} | ${direct} | ${through} | ${expected} |`
    }),
    '',
    'Where suite and upstream speak different eras, "directly" is the same server with both.',
    '',
    '## Scenarios that cannot pass through the gateway, and the sentence that says so',
    '',
    ...exceptions(rows),
  ]
  for (const revision of [...new Set(CELLS.map((cell) => cell.revision))])
    lines.push('', ...scenarioTable(rows, revision))
  return `${lines.join('\n')}\n`
}

function exceptions(rows: readonly Row[]): string[] {
  const listed = rows.filter((row) => row.verdict === 'expected')
  if (listed.length === 0) return ['None.']
  return [
    '| Requirement set | Upstream | Scenario | Reason |',
    '| --- | --- | --- | --- |',
    ...listed.map((row) => `| ${row.revision} | ${row.upstream} | ${row.scenario} | ${row.reason} |`),
  ]
}

function scenarioTable(rows: readonly Row[], revision: string): string[] {
  const cells = CELLS.filter((cell) => cell.revision === revision)
  const names = [...new Set(rows.filter((row) => row.revision === revision).map((row) => row.scenario))]
  const head = cells.flatMap((cell) => [`${cell.upstream}: direct`, 'gateway', 'with token'])
  return [
    `## ${revision}, checks passed`,
    '',
    `| Scenario | Scored | ${head.join(' | ')} |`,
    `| --- | --- | ${head.map(() => '---').join(' | ')} |`,
    ...names.map((name) => {
      const own = cells.map((cell) => inCell(rows, cell).find((row) => row.scenario === name)!)
      const counts = own.flatMap((row) =>
        (['direct', 'open', 'token'] as const).map((way) => {
          const [passed, failed] = row.counts[way]
          return failed === 0 ? `${passed}` : `${passed} of ${passed + failed}`
        }),
      )
      return `| ${name} | ${own[0]!.scored ? 'yes' : 'no'} | ${counts.join(' | ')} |`
    }),
  ]
}
