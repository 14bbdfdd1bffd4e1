// Children that take too much: floods, memory, CPU, processes; and a gateway that is killed outright.

import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { test } from 'node:test'
import { LIMITS } from '../../src/core/limits.ts'
import { ask, listen, refused, setUp } from '../fakes/children.ts'
import { isRunning, until } from '../fakes/processes.ts'

const hasProc = existsSync('/proc/self/stat')

const FLOODS: [mode: string, line?: string][] = [
  ['flood-stdout'],
  ['flood-stderr'],
  // Proper messages: to everyone, to the broker, and answers on a channel that is there to questions nobody put.
  ['flood-stdout', '{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}'],
  ['flood-stdout', '{"jsonrpc":"2.0","id":1,"method":"sampling/createMessage","params":{}}'],
  ['flood-stdout', '{"jsonrpc":"2.0","id":"0.999","result":{}}'],
]
for (const [mode, line = ''] of FLOODS) {
  test(`a flood costs little and holds up nothing (${mode} ${line})`, async () => {
    const { children, start } = setUp({ childNoiseBytes: 64 * 1024 })
    const channel = await children.connect(await start(mode, line))
    const heard = listen(channel)
    const before = process.cpuUsage()
    const begun = performance.now()
    if (mode === 'flood-stderr') assert.deepEqual(await ask(channel, heard, 'echo'), { echo: {} })
    await until('a second of flood', () => performance.now() - begun > 1_000)
    const { user, system } = process.cpuUsage(before)
    // Unthrottled it is a whole core. CPU time, not wall clock: a busy machine does not matter.
    assert.ok((user + system) / 1000 < 500, `${(user + system) / 1000} ms of CPU`)
    assert.ok(children.stderr('up').length <= LIMITS.childStderrBytes)
  })
}

test('open files and CPU are limited where prlimit is there', async (context) => {
  const { children, start, exits } = setUp()
  const channel = await children.connect(await start('echo', '', { openFiles: 123 }))
  const { unset } = children.list()[0]!
  if (unset.length > 0) return context.skip(unset.join())
  const { text } = (await ask(channel, listen(channel), 'limits')) as { text: string }
  assert.match(text, /Max open files +123 +123/)
  assert.match(text, /Max core file size +0 +0/)
  await start('spin', '', { cpuSeconds: 1 }, 'spinner')
  await until('the end of its CPU', () => exits.length === 1)
  assert.equal(exits[0]!.why, 'The process was ended by SIGXCPU after 1 s of CPU, its limit')
})

test('memory of the whole group is limited', { skip: !hasProc }, async () => {
  const { children, start, exits } = setUp()
  const id = await start('hog', '', { memoryBytes: 300 * 1024 ** 2 })
  await until('the end', () => exits.length === 1)
  assert.match(exits[0]!.why, /^The process used \d+ MiB of memory; its limit is 300 MiB$/)
  assert.equal((await refused(children.connect(id))).message, exits[0]!.why)
})

test('the number of processes of the group is limited', { skip: !hasProc }, async () => {
  const { start, exits } = setUp()
  await start('many', '30', { processes: 10 })
  await until('the end', () => exits.length === 1)
  assert.match(exits[0]!.why, /^The process had \d+ processes; its limit is 10$/)
})

test('a gateway killed outright leaves no process behind, not even stubborn grandchildren', async () => {
  const primary = spawn(process.execPath, [join(import.meta.dirname, '../fakes/primary-of-children.ts')], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const pids = await new Promise<number[]>((resolve) => {
    createInterface({ input: primary.stdout }).once('line', (line) => resolve(JSON.parse(line) as number[]))
  })
  assert.equal(pids.length, 4)
  assert.deepEqual(pids.map(isRunning), [true, true, true, true])
  primary.kill('SIGKILL')
  await once(primary, 'exit')
  await until('the end of all of them', () => !pids.some(isRunning))
})
