import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { defaultDataDirectory, readBaseEnvironment } from './environment.ts'
import { readTextFile } from './files.ts'

const root = mkdtempSync(join(tmpdir(), 'mcp-gateway-files-'))
after(() => rmSync(root, { recursive: true, force: true }))

test('a file is read up to its bound', () => {
  const path = join(root, 'a')
  writeFileSync(path, 'é1234')
  assert.equal(readTextFile(path, 6), 'é1234')
  assert.throws(() => readTextFile(path, 5), { message: `${path} is larger than 5 bytes` })
})

test('a file whose size the system does not know is read up to its bound', () => {
  assert.ok(readTextFile('/proc/self/status', 65_536).includes('Pid:'))
  assert.throws(() => readTextFile('/proc/self/status', 10), /larger than 10 bytes/)
})

test('a directory, a device and a pipe without a writer are no files, and nothing waits for them', () => {
  const pipe = join(root, 'pipe')
  execFileSync('mkfifo', [pipe])
  for (const path of [root, '/dev/zero', pipe]) assert.throws(() => readTextFile(path, 10), /is not a file/)
  assert.throws(() => readTextFile(join(root, 'missing'), 10), /ENOENT/)
})

test('children get five variables and no others', () => {
  const env = { PATH: '/bin', HOME: '/h', LANG: 'C', TZ: 'UTC', TMPDIR: '/t', AWS_SECRET: 'x', LD_PRELOAD: 'x' }
  assert.deepEqual(readBaseEnvironment(env), { PATH: '/bin', HOME: '/h', LANG: 'C', TZ: 'UTC', TMPDIR: '/t' })
  assert.deepEqual(readBaseEnvironment({ PATH: '/bin' }), { PATH: '/bin' })
})

for (const [env, directory] of [
  [{ XDG_DATA_HOME: '/data', HOME: '/h' }, '/data/mcp-gateway'],
  [{ XDG_DATA_HOME: 'relative', HOME: '/h' }, '/h/.local/share/mcp-gateway'],
  [{ XDG_DATA_HOME: '', HOME: '/h' }, '/h/.local/share/mcp-gateway'],
] as const) {
  test(`the data directory of ${JSON.stringify(env)}`, () => assert.equal(defaultDataDirectory(env), directory))
}
