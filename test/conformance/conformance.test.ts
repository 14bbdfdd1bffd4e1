// The conformance comparison as tests of `npm test`: one run, then what it must show.

import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { before, test } from 'node:test'
import { CELLS, type Comparison, compare } from './compare.ts'
import { documentText } from './report.ts'

let comparison: Comparison

before(
  async () => {
    comparison = await compare()
  },
  { timeout: 300_000 },
)

test('every scored scenario passes against the fixture itself', () => {
  for (const cell of CELLS) {
    const scored = comparison.rows.filter(
      (row) => row.revision === cell.revision && row.upstream === cell.upstream && row.scored,
    )
    assert.ok(scored.length >= 30, `${cell.revision}, ${cell.upstream}: only ${scored.length} scenarios ran`)
    assert.deepEqual(
      scored.filter((row) => row.counts.direct[1] > 0).map((row) => row.scenario),
      [],
    )
  }
})

test('no scored scenario is lost through the gateway, and no exception is stale', () => {
  assert.deepEqual(comparison.faults, [])
})

test('authentication changes no result', () => {
  const differing = comparison.rows.filter((row) => (row.counts.open[1] === 0) !== (row.counts.token[1] === 0))
  assert.deepEqual(
    differing.map((row) => `${row.revision}, ${row.upstream}: ${row.scenario}`),
    [],
  )
})

test('docs/conformance.md tells this result', () => {
  const written = readFileSync(join(import.meta.dirname, '..', '..', 'docs', 'conformance.md'), 'utf8')
  assert.equal(written, documentText(comparison), 'run: npm run conformance -- --write')
})
