import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import type { GatewayError } from '../core/errors.ts'
import { lockData } from './data-lock.ts'

const clock = { now: () => 1_700_000_000_000 }
const root = mkdtempSync(join(tmpdir(), 'mcp-gateway-lock-'))
after(() => rmSync(root, { recursive: true, force: true }))

/** Takes the lock in a process of its own, says so, and holds it until it is killed or its input ends. */
const HOLDER = `
  import { lockData } from ${JSON.stringify(join(import.meta.dirname, 'data-lock.ts'))}
  try {
    lockData(process.argv[1], Date)
    console.log('held')
    process.stdin.on('end', () => process.exit(0)).resume()
  } catch (error) {
    console.log(error.code + ' ' + error.options.data.pid)
  }`

async function hold(directory: string) {
  const child = spawn(process.execPath, ['--input-type=module-typescript', '-e', HOLDER, directory], {
    stdio: ['pipe', 'pipe', 'inherit'],
  })
  const [line] = (await once(child.stdout, 'data')) as [Buffer]
  return { child, said: line.toString().trim() }
}

test('the second one is told the pid of the first, and gets the lock when the first has ended', () => {
  const directory = join(root, 'one')
  const first = lockData(directory, clock)
  assert.throws(
    () => lockData(directory, clock),
    (error: GatewayError) => {
      assert.equal(error.code, 'CONFLICT')
      assert.equal(error.options.data?.pid, process.pid)
      assert.match(error.message, new RegExp(`pid ${process.pid} .*since 2023-11-14T22:13:20.000Z`))
      return true
    },
  )
  first.release()
  first.release()
  lockData(directory, clock).release()
  assert.deepEqual(readdirSync(directory), ['lock'])
})

test('the directory is private', () => {
  const directory = join(root, 'deep', 'er')
  const lock = lockData(directory, clock)
  assert.equal(statSync(directory).mode & 0o777, 0o700)
  assert.equal(statSync(join(directory, 'lock.json')).mode & 0o777, 0o600)
  assert.equal(statSync(join(directory, 'lock')).mode & 0o777, 0o600)
  lock.release()
})

test('another process is refused with our pid, and we with its pid', async () => {
  const directory = join(root, 'two')
  const lock = lockData(directory, clock)
  const refused = await hold(directory)
  assert.equal(refused.said, `CONFLICT ${process.pid}`)
  if (refused.child.exitCode === null) await once(refused.child, 'exit')
  lock.release()

  const { child, said } = await hold(directory)
  assert.equal(said, 'held')
  assert.throws(() => lockData(directory, clock), { message: new RegExp(`pid ${child.pid} `) })
  child.stdin.end()
  await once(child, 'exit')
})

test('the lock of a killed process is free at once, whatever its note says', async () => {
  const directory = join(root, 'three')
  const { child } = await hold(directory)
  child.kill('SIGKILL')
  await once(child, 'exit')
  assert.equal(JSON.parse(readFileSync(join(directory, 'lock.json'), 'utf8')).pid, child.pid)
  const lock = lockData(directory, clock)
  assert.equal(JSON.parse(readFileSync(join(directory, 'lock.json'), 'utf8')).pid, process.pid)
  lock.release()
})

test('of many processes that start together exactly one holds the lock', async () => {
  const directory = join(root, 'four')
  const all = await Promise.all(Array.from({ length: 6 }, () => hold(directory)))
  for (const { child } of all) child.stdin.end()
  await Promise.all(all.map(({ child }) => child.exitCode ?? once(child, 'exit')))
  const said = all.map((one) => one.said)
  assert.equal(said.filter((text) => text === 'held').length, 1, said.join(', '))
  for (const text of said) assert.match(text, /^(held|CONFLICT (null|\d+))$/)
})

test('a directory that is a file is no directory', () => {
  const path = join(root, 'file')
  writeFileSync(path, '')
  assert.throws(
    () => lockData(path, clock),
    (error: GatewayError) => error.code === 'STORE_UNAVAILABLE',
  )
})
