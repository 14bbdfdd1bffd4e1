import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { test } from 'node:test'
import { measureGroups, parseStat, sharedMemory } from './process-groups.ts'

test('a stat line is read whatever the name of the process', () => {
  assert.deepEqual(parseStat('12 (a) S 1 7 7 0 -1 4194560'), { state: 'S', group: 7 })
  assert.deepEqual(parseStat('12 (evil) R 1 99 (x) Z 1 8 8 0 -1'), { state: 'Z', group: 8 })
  assert.equal(parseStat(''), null)
  assert.equal(parseStat('nonsense'), null)
})

const noProc = (await measureGroups(new Set([1]), 5)) === null

test('a group is measured with everything in it, and only the wanted ones', { skip: noProc }, async () => {
  const child = spawn('sh', ['-c', 'sleep 1000 & sleep 1000 & echo ready; wait'], {
    detached: true,
    stdio: ['ignore', 'pipe', 'ignore'],
  })
  try {
    await new Promise((resolve) => child.stdout.once('data', resolve))
    const uses = await measureGroups(new Set([child.pid!, 999_999_999]), 5)
    assert.deepEqual([...uses!.keys()], [child.pid])
    const use = uses!.get(child.pid!)!
    assert.equal(use.processes, 3)
    assert.ok(use.pids.includes(child.pid!))
    assert.ok(use.memoryBytes > 100_000 && use.memoryBytes < 100_000_000, String(use.memoryBytes))
    const shared = await sharedMemory(use)
    assert.ok(shared > 0 && shared <= use.memoryBytes, `${shared} of ${use.memoryBytes}`)
  } finally {
    process.kill(-child.pid!, 'SIGKILL')
  }
})

test('processes that have ended count for nothing', async () => {
  assert.equal(await sharedMemory({ processes: 1, memoryBytes: 5, pids: [999_999_999] }), 0)
})
