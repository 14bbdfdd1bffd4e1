import assert from 'node:assert/strict'
import { appendFileSync, mkdirSync, mkdtempSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { watchFiles } from './watch.ts'

const POLL_MS = 40

function setUp(t: TestContext, name = 'gateway.yaml', quietMsMax = 60_000) {
  const folder = mkdtempSync(join(tmpdir(), 'mcp-gateway-watch-'))
  const path = join(folder, name)
  const paths = [path]
  let changes = 0
  const watch = (): ReturnType<typeof watchFiles> => {
    const watcher = watchFiles({ paths: () => paths, pollMs: POLL_MS, quietMsMax, onChange: () => (changes += 1) })
    t.after(() => watcher.close())
    return watcher
  }
  t.after(() => rmSync(folder, { recursive: true, force: true }))
  const looks = (count: number) => new Promise((resolve) => setTimeout(resolve, count * POLL_MS))
  /** The number of changes that were noticed, once it is at least this and some looks have brought no more. */
  const noticed = async (least: number): Promise<number> => {
    for (let tries = 0; changes < least && tries < 200; tries += 1) await looks(1)
    await looks(6)
    return changes
  }
  return { folder, path, paths, watch, noticed, looks }
}

test('a file written in place, replaced by rename, removed and made again', async (t) => {
  const { folder, path, watch, noticed } = setUp(t)
  writeFileSync(path, 'a')
  watch()
  assert.equal(await noticed(0), 0)
  writeFileSync(path, 'b')
  assert.equal(await noticed(1), 1)
  const other = join(folder, '.gateway.yaml.swp')
  writeFileSync(other, 'c')
  renameSync(other, path)
  assert.equal(await noticed(2), 2)
  rmSync(path)
  assert.equal(await noticed(3), 3)
  writeFileSync(path, 'd')
  assert.equal(await noticed(4), 4)
})

test('the folder behind a link is swapped, as Kubernetes does', async (t) => {
  const { folder, path, watch, noticed } = setUp(t)
  for (const version of ['..v1', '..v2']) {
    mkdirSync(join(folder, version))
    writeFileSync(join(folder, version, 'gateway.yaml'), version)
  }
  symlinkSync('..v1', join(folder, '..data'))
  symlinkSync(join('..data', 'gateway.yaml'), path)
  watch()
  symlinkSync('..v2', join(folder, '..data_tmp'))
  renameSync(join(folder, '..data_tmp'), join(folder, '..data'))
  assert.equal(await noticed(1), 1)
})

test('writes in quick succession come as one, and a file that is away for the moment of a rename is not missed', async (t) => {
  const { folder, path, watch, noticed, looks } = setUp(t)
  writeFileSync(path, 'a')
  watch()
  for (let part = 0; part < 8; part += 1) {
    appendFileSync(path, 'more')
    await looks(0.5)
  }
  renameSync(path, join(folder, 'away'))
  writeFileSync(path, 'b')
  assert.equal(await noticed(1), 1)
})

test('a file that never rests is read all the same', async (t) => {
  const { path, watch, noticed, looks } = setUp(t, 'gateway.yaml', 6 * POLL_MS)
  writeFileSync(path, 'a')
  watch()
  for (let part = 0; part < 40; part += 1) {
    appendFileSync(path, 'more')
    await looks(0.5)
  }
  assert.ok((await noticed(1)) >= 1)
})

test('what is marked is known, and what files refer to is watched as soon as it is named', async (t) => {
  const { folder, path, paths, watch, noticed } = setUp(t)
  writeFileSync(path, 'a')
  const watcher = watch()
  writeFileSync(path, 'b')
  watcher.mark()
  assert.equal(await noticed(0), 0)
  const secret = join(folder, 'secret')
  paths.push(secret)
  watcher.mark()
  writeFileSync(secret, 's')
  assert.equal(await noticed(1), 1)
})
