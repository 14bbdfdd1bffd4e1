import assert from 'node:assert/strict'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { ROOT } from '../rig/processes.ts'
import { COMPONENTS, components, LAYERS } from './components.ts'

test('every layer of the model architecture has its rows, each measured or with a reason', () => {
  assert.deepEqual([...new Set(COMPONENTS.map(({ layer }) => layer))], LAYERS)
  for (const { name, measure, why } of COMPONENTS) assert.notEqual(measure === undefined, why === undefined, name)
})

test('files that a row names are there', () => {
  const named = COMPONENTS.flatMap(({ ours }) => ours.match(/src\/[\w/-]+(?:\.ts)?/g) ?? [])
  assert.ok(named.length > 10)
  assert.deepEqual(
    named.filter((file) => !existsSync(join(ROOT, file))),
    [],
  )
})

test('every measurement runs and both of its ways do something', async () => {
  const report = await components({ rounds: 1, seconds: 1, short: true, profile: false, print: () => {} })
  const figures = report.figures as Record<string, { oursUs: number; plainUs: number }[]>
  for (const { name, measure } of COMPONENTS) {
    if (measure === undefined) continue
    assert.ok(figures[name]!.length > 0, name)
    for (const pair of figures[name]!) assert.ok(pair.oursUs >= 0 && pair.plainUs > 0, name)
  }
})
