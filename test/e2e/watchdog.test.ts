// The watchdog beside the gateway, with real process groups.

import assert from 'node:assert/strict'
import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { after, test } from 'node:test'
import { setImmediate as turn } from 'node:timers/promises'
import { type Log, SILENT } from '../../src/ports/log.ts'
import { createWatchdog } from '../../src/upstream/watchdog.ts'
import { isRunning, until } from '../fakes/processes.ts'

const path = process.env.PATH ?? ''
const started: ChildProcess[] = []
after(() => {
  for (const child of started) child.kill('SIGKILL')
})

/** A process group whose leader hears no SIGTERM. */
async function group(): Promise<number> {
  const child = spawn('sh', ['-c', 'trap "" TERM; echo ready; while :; do sleep 0.1; done'], {
    detached: true,
    stdio: ['ignore', 'pipe', 'ignore'],
  })
  started.push(child)
  await once(child.stdout, 'data')
  return child.pid!
}

const hasPs = spawnSync('ps', ['--version']).status === 0

/** Watchdogs of this process. */
function watchdogs(): number[] {
  const { stdout } = spawnSync('ps', ['-o', 'pid=,args=', '--ppid', String(process.pid)], { encoding: 'utf8' })
  return stdout
    .split('\n')
    .filter((line) => line.includes('mcp-gateway: ends its stdio children'))
    .map((line) => Number.parseInt(line, 10))
}

for (const shell of ['/bin/sh', '/nowhere/sh']) {
  test(`groups that are still known when the pipe ends are killed, others are left alone (${shell})`, async () => {
    const watchdog = createWatchdog({ log: SILENT, path, shell })
    const [known, alsoKnown, removed] = [await group(), await group(), await group()]
    for (const one of [known, alsoKnown, removed]) watchdog.add(one)
    watchdog.remove(removed)
    watchdog.remove(999_999)
    await turn()
    // The end of the pipe is what a killed gateway leaves.
    watchdog.close()
    await until('the end of the known', () => !isRunning(known) && !isRunning(alsoKnown))
    assert.equal(isRunning(removed), true)
  })
}

test('a watchdog that dies is replaced and told of every group', { skip: !hasPs }, async () => {
  const warnings: string[] = []
  const log: Log = { ...SILENT, warn: (event) => warnings.push(event) }
  const watchdog = createWatchdog({ log, path })
  const known = await group()
  watchdog.add(known)
  await until('the watchdog', () => watchdogs().length === 1)
  const [first] = watchdogs()
  process.kill(first!, 'SIGKILL')
  await until('its replacement', () => watchdogs().some((pid) => pid !== first))
  assert.deepEqual(warnings, ['child.watchdog'])
  watchdog.close()
  await until('the end of the group', () => !isRunning(known))
})
