import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { ProcessSpec } from '../ports/children.ts'
import { findCommand, findLimitTools, hardLimit, type LimitTools, limitCommand } from './child-limits.ts'

const SPEC: ProcessSpec = {
  kind: 'process',
  command: 'server',
  args: ['--flag', 'a b'],
  env: {},
  cwd: null,
  memoryBytes: 1,
  cpuSeconds: 10,
  openFiles: 100,
  processes: 5,
}
const TOOLS: LimitTools = {
  prlimit: '/usr/bin/prlimit',
  noPrlimit: '',
  hasProc: true,
  openFilesMax: 1000,
  cpuSecondsMax: Number.POSITIVE_INFINITY,
}

test('limits become options of prlimit, and the command stays one argument each', () => {
  assert.deepEqual(limitCommand(SPEC, TOOLS), {
    file: '/usr/bin/prlimit',
    args: ['--core=0:0', '--nofile=100:100', '--cpu=10:11', '--', 'server', '--flag', 'a b'],
    unset: [],
  })
})

test('a limit of 0 is none', () => {
  const { args, unset } = limitCommand({ ...SPEC, cpuSeconds: 0, openFiles: 0, memoryBytes: 0, processes: 0 }, TOOLS)
  assert.deepEqual(args, ['--core=0:0', '--', 'server', '--flag', 'a b'])
  assert.deepEqual(unset, [])
})

test('what the system cannot do is said with its reason', () => {
  const bare = limitCommand(SPEC, { ...TOOLS, prlimit: null, noPrlimit: 'prlimit is away', hasProc: false })
  assert.equal(bare.file, 'server')
  assert.deepEqual(bare.args, ['--flag', 'a b'])
  assert.deepEqual(bare.unset, [
    'openFiles: prlimit is away',
    'cpuSeconds: prlimit is away',
    'memoryBytes: this system has no /proc',
    'processes: this system has no /proc',
  ])
  const low = limitCommand({ ...SPEC, openFiles: 5000 }, TOOLS)
  assert.deepEqual(low.unset, ['openFiles: 5000 is wanted, the system allows 1000, which applies'])
  assert.ok(!low.args.some((arg) => arg.startsWith('--nofile')))
})

test('hard limits are read from the table of /proc', () => {
  const text =
    'Limit                     Soft Limit           Hard Limit           Units     \n' +
    'Max cpu time              unlimited            unlimited            seconds   \n' +
    'Max open files            1024                 524288               files     \n'
  assert.equal(hardLimit(text, 'Max open files'), 524288)
  assert.equal(hardLimit(text, 'Max cpu time'), Number.POSITIVE_INFINITY)
  assert.equal(hardLimit('', 'Max cpu time'), Number.POSITIVE_INFINITY)
})

test('a command is looked for on PATH, or taken as a path', async () => {
  const path = process.env.PATH ?? ''
  assert.match((await findCommand('sh', path, '/')) ?? '', /\/sh$/)
  assert.equal(await findCommand('no-such-command', path, '/'), null)
  assert.equal(await findCommand('sh', '', '/nowhere'), null)
  assert.equal(await findCommand(process.execPath, '', '/'), process.execPath)
  assert.equal(await findCommand('./package.json', path, process.cwd()), null)
})

test('the tools are what this system has', async () => {
  const tools = await findLimitTools(process.env.PATH ?? '')
  assert.equal(tools.prlimit === null, tools.noPrlimit !== '')
  assert.ok(tools.openFilesMax > 0)
  const none = await findLimitTools('')
  assert.equal(none.prlimit, null)
  assert.match(none.noPrlimit, /not installed/)
})
