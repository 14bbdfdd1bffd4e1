import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { GatewayError } from '../core/errors.ts'
import { type Applied, dueMigrations, type Migration, readMigrations } from './migrations.ts'

const migration = (version: number, checksum = `sum${version}`): Migration => ({
  version,
  name: `name${version}`,
  sql: '',
  checksum,
})

const CASES: [string, Migration[], Applied[], number[] | RegExp][] = [
  ['an empty store gets all', [migration(1), migration(2)], [], [1, 2]],
  ['a current one gets none', [migration(1)], [migration(1)], []],
  ['an older one gets the rest', [migration(1), migration(2), migration(3)], [migration(1)], [2, 3]],
  ['a newer one is refused', [migration(1)], [migration(1), migration(2)], /has schema 2 \(name2\).*up to 1/],
  ['a changed file is refused', [migration(1, 'other')], [migration(1)], /Migration 1 \(name1\).*changed/],
  ['a file added in between is refused', [migration(1), migration(2)], [migration(2)], /Migration 1 .*forward only/],
]

for (const [name, known, applied, expected] of CASES) {
  test(name, () => {
    const run = (): number[] => dueMigrations(known, applied, 'x.db').map(({ version }) => version)
    if (Array.isArray(expected)) assert.deepEqual(run(), expected)
    else assert.throws(run, (error: GatewayError) => error.code === 'STORE_UNAVAILABLE' && expected.test(error.message))
  })
}

test('the migrations of this release are numbered from 1 without a gap', () => {
  const versions = readMigrations('sqlite').map(({ version }) => version)
  assert.ok(versions.length > 0)
  assert.deepEqual(
    versions,
    versions.map((_, at) => at + 1),
  )
})
