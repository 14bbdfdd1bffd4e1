// The data directory: what it makes, with which rights, and what it refuses.

import assert from 'node:assert/strict'
import { existsSync, mkdtempSync, readFileSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import type { GatewayError } from '../core/errors.ts'
import { openDataDirectory } from './data-directory.ts'

const fresh = (): string => mkdtempSync(join(tmpdir(), 'mcp-gateway-data-'))

test('key and token are made once, for their owner only', () => {
  const path = fresh()
  const first = openDataDirectory(path)
  const key = first.secretKey()
  assert.equal(key.length, 32)
  assert.deepEqual(openDataDirectory(path).secretKey(), key)
  assert.equal(first.token(), null)
  first.saveToken('mgw_x')
  assert.equal(openDataDirectory(path).token(), 'mgw_x')
  for (const name of ['secret.key', 'token']) assert.equal(statSync(join(path, name)).mode & 0o777, 0o600)
  assert.equal(statSync(join(path, 'run')).mode & 0o777, 0o700)
})

test('a file or link that was laid out beforehand is not written through', () => {
  const path = fresh()
  const elsewhere = join(fresh(), 'theirs')
  writeFileSync(elsewhere, 'theirs', { mode: 0o666 })
  symlinkSync(elsewhere, join(path, 'token.new'))
  writeFileSync(join(path, 'secret.key.new'), 'theirs', { mode: 0o666 })
  const directory = openDataDirectory(path)
  directory.saveToken('mgw_x')
  directory.secretKey()
  assert.equal(readFileSync(elsewhere, 'utf8'), 'theirs')
  for (const name of ['secret.key', 'token']) assert.equal(statSync(join(path, name)).mode & 0o777, 0o600)
})

test('a broken key is never replaced', () => {
  const path = fresh()
  writeFileSync(join(path, 'secret.key'), 'abc')
  assert.throws(
    () => openDataDirectory(path).secretKey(),
    (error: GatewayError) => error.code === 'STORE_UNAVAILABLE',
  )
  assert.equal(readFileSync(join(path, 'secret.key'), 'utf8'), 'abc')
})

test('only the process that announced itself withdraws', () => {
  const path = fresh()
  const mine = openDataDirectory(path, 11)
  mine.announce('http://127.0.0.1:1')
  openDataDirectory(path, 12).withdraw()
  assert.deepEqual(JSON.parse(readFileSync(join(path, 'gateway.json'), 'utf8')), { pid: 11, url: 'http://127.0.0.1:1' })
  mine.withdraw()
  assert.equal(existsSync(join(path, 'gateway.json')), false)
})
