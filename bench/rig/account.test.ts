import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { test } from 'node:test'
import { cpuMs, memory } from './account.ts'

test('CPU time and memory of a process include its children, running and ended', async () => {
  // A shell whose first child burns 200 ms and ends, while the second burns 200 ms and stays.
  const burn = 'while (process.cpuUsage().user < 200_000);'
  const child = spawn(
    'sh',
    [
      '-c',
      `"$0" -e '${burn}'; "$0" -e '${burn} console.log(1); setTimeout(() => {}, 20_000)' & wait`,
      process.execPath,
    ],
    { stdio: ['ignore', 'pipe', 'inherit'], detached: true },
  )
  try {
    await once(child.stdout, 'data')
    assert.ok(cpuMs(child.pid!) >= 350, `${cpuMs(child.pid!)} ms`)
    const used = memory(child.pid!)
    assert.equal(used.processes, 2)
    assert.ok(used.rssMb > 20 && used.pssMb > 0 && used.pssMb <= used.rssMb)
  } finally {
    process.kill(-child.pid!, 'SIGKILL')
  }
})

test('a process that is gone costs nothing', () => {
  assert.equal(cpuMs(2 ** 30), 0)
  assert.equal(memory(2 ** 30).rssMb, 0)
})
