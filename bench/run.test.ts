// A whole short run of the bench as its user starts it. It proves that the rig works; its figures mean nothing.

import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import type { Figures } from './rig/measure.ts'

const run = (args: readonly string[]) =>
  spawnSync(process.execPath, [join(import.meta.dirname, 'run.ts'), ...args], { encoding: 'utf8', timeout: 120_000 })

test('the bare proxy is one file under 150 lines', () => {
  const text = readFileSync(join(import.meta.dirname, 'rig', 'bare-proxy.ts'), 'utf8')
  assert.ok(text.split('\n').length < 150)
})

test('call --short --json: every candidate answers rightly with one upstream request per call', () => {
  const done = run(['call', '--short', '--seconds', '0.3', '--json'])
  assert.equal(done.status, 0, done.stderr)
  const { reports } = JSON.parse(done.stdout) as { reports: { figures: Record<string, Figures[]> }[] }
  const cells = Object.entries(reports[0]!.figures)
  assert.deepEqual(
    cells.map(([name]) => name),
    ['sessions c=64', 'sessions c=1', 'stateless c=64', 'stateless c=1'],
  )
  for (const [cell, figures] of cells) {
    const names = figures.map((one) => one.name)
    assert.ok(names.includes('direct') && names.includes('bare proxy'), `${cell}: ${names}`)
    for (const one of figures) {
      assert.deepEqual(one.firstErrors, [], `${cell} ${one.name}`)
      assert.ok(one.requests[0]! > 0, `${cell} ${one.name}`)
      assert.equal(one.counted, one.sent, `${cell} ${one.name}`)
    }
  }
})

test('streams --short --json: every stream of both families stands and hears of each change once', () => {
  const done = run(['streams', '--short', '--json'])
  assert.equal(done.status, 0, done.stderr)
  const { reports } = JSON.parse(done.stdout) as { reports: { figures: Record<string, unknown>[] }[] }
  assert.deepEqual(
    reports[0]!.figures.map(({ form, streams, drops, lost }) => [form, streams, drops, lost]),
    [
      ['sessions', 200, 0, 0],
      ['stateless', 200, 0, 0],
    ],
  )
})

test('a wrong command line ends with 2 and the usage', () => {
  for (const args of [[], ['fast'], ['call', '--rounds', '0'], ['call', '--unknown']]) {
    const done = run(args)
    assert.equal(done.status, 2, args.join(' '))
    assert.match(done.stderr, /^usage: /)
  }
})
