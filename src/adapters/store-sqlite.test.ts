// What is SQLite's own about the embedded store. What every store does: test/contract/store.test.ts.

import assert from 'node:assert/strict'
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { after, test } from 'node:test'
import { GatewayError } from '../core/errors.ts'
import type { UpstreamSpec } from '../core/model.ts'
import { SILENT } from '../ports/log.ts'
import type { Store } from '../ports/store.ts'
import type { Sealing } from './store-seal.ts'
import { createSqliteStore, type SqliteStoreOptions } from './store-sqlite.ts'

const root = mkdtempSync(join(tmpdir(), 'mcp-gateway-sqlite-'))
after(() => rmSync(root, { recursive: true, force: true }))

let places = 0
function newPath(): string {
  places += 1
  mkdirSync(join(root, String(places)))
  return join(root, String(places), 'gateway.db')
}

/** Not encryption: bytes turned by `key`, with a mark that tells its own texts. */
function turning(key: number): Sealing {
  const turn = (bytes: Buffer): Buffer => Buffer.from(bytes.map((byte) => byte ^ key))
  return {
    encrypt: (plain) => `s${turn(plain).toString('hex')}`,
    decrypt: (text) => (text.startsWith('s') ? turn(Buffer.from(text.slice(1), 'hex')) : null),
  }
}

const open = (path: string, more: Partial<SqliteStoreOptions> = {}): Promise<Store> =>
  createSqliteStore({ path, clock: { now: () => 1 }, log: SILENT, sealing: turning(0x55), ...more })

async function unavailable(attempt: Promise<unknown>, pattern: RegExp): Promise<void> {
  await assert.rejects(attempt, (error: GatewayError) => {
    assert.equal(error.code, 'STORE_UNAVAILABLE', String(error))
    assert.match(error.message, pattern)
    return true
  })
}

/** Opens the file beside the store, as another program would. */
function withDatabase<T>(path: string, body: (database: DatabaseSync) => T): T {
  const database = new DatabaseSync(path)
  try {
    return body(database)
  } finally {
    database.close()
  }
}

const SECRET_SPEC: UpstreamSpec = {
  transport: {
    kind: 'http',
    urls: ['https://a.example/?key=url-secret'],
    headers: { a: 'header-secret', b: { env: 'NAME_B' } },
  },
  tools: { t: { fixed: { key: 'fixed-secret' } }, u: { fixed: { file: 'own-secret', env: 'its-secret' } } },
}
const STDIO_SPEC: UpstreamSpec = {
  transport: {
    kind: 'stdio',
    command: 'run',
    args: ['--key=argument-secret'],
    env: { A: 'env-secret', B: { file: '/b' } },
  },
}

test('only the owner may read the files, also those that were there before', async () => {
  const path = newPath()
  writeFileSync(path, '', { mode: 0o644 })
  const store = await open(path)
  await store.insertUpstream({ slug: 'a', spec: SECRET_SPEC, origin: 'api' })
  const files = readdirSync(join(path, '..'))
  assert.deepEqual(files.sort(), ['gateway.db', 'gateway.db-shm', 'gateway.db-wal'])
  for (const file of files) assert.equal(statSync(join(path, '..', file)).mode & 0o777, 0o600, file)
  await store.close()
  assert.deepEqual(readdirSync(join(path, '..')), ['gateway.db'])
})

test('no literal secret reaches the disk; references stay readable', async () => {
  const path = newPath()
  const store = await open(path)
  const { id } = await store.insertUpstream({ slug: 'a', spec: SECRET_SPEC, origin: 'api' })
  await store.insertUpstream({ slug: 'b', spec: STDIO_SPEC, origin: 'api' })
  await store.insertVirtualServer({
    slug: 'v',
    spec: { members: [{ upstream: 'a', overrides: { t: { fixed: { env: 'member-secret' } } } }] },
    origin: 'api',
  })
  await store.updateUpstream(id, SECRET_SPEC, 'a', null)
  const bytes = readdirSync(join(path, '..'))
    .map((file) => readFileSync(join(path, '..', file), 'latin1'))
    .join('')
  assert.ok(!bytes.includes('-secret'))
  assert.ok(bytes.includes('NAME_B') && bytes.includes('"/b"'))
  await store.close()
})

test('another secret key does not open the store, and says what to do', async () => {
  const path = newPath()
  await (await open(path)).close()
  await unavailable(open(path, { sealing: turning(0x11) }), /another secret key: restore that secret\.key/)
  await (await open(path)).close()
})

test('a sealed value that does not open is an error of the store, not a wrong value', async () => {
  const path = newPath()
  const store = await open(path)
  await store.insertUpstream({ slug: 'a', spec: SECRET_SPEC, origin: 'api' })
  await store.close()
  withDatabase(path, (database) =>
    database.exec(`UPDATE upstreams SET spec = replace(spec, '"sealed":"s', '"sealed":"x')`),
  )
  const again = await open(path)
  await unavailable(again.upstreams(), /secret\.key/)
  await again.close()
})

test('a store of a newer release is refused, and left as it is', async () => {
  const path = newPath()
  await (await open(path)).close()
  withDatabase(path, (database) => database.exec("INSERT INTO schema_migrations VALUES (7, 'later', 'x', 1)"))
  await unavailable(open(path), /schema 7 \(later\), this release knows schemas up to 1/)
  assert.equal(
    withDatabase(path, (database) => database.prepare('SELECT count(*) AS n FROM schema_migrations').get()!.n),
    2,
  )
})

test('migrations run once', async () => {
  const path = newPath()
  const events: string[] = []
  const log = { ...SILENT, info: (event: string) => void events.push(event) }
  await (await open(path, { log })).close()
  await (await open(path, { log })).close()
  assert.deepEqual(events, ['store.migrated'])
})

for (const [name, prepare, pattern] of [
  ['a file of another kind', (path: string) => writeFileSync(path, 'x'.repeat(8192)), /not a store of this gateway/],
  [
    'a database of another program',
    (path: string) => withDatabase(path, (database) => database.exec('CREATE TABLE upstreams (x)')),
    /not a store of this gateway/,
  ],
  ['a directory', (path: string) => mkdirSync(path), /EISDIR.*make the data directory writable/],
  ['a missing directory', (path: string) => rmSync(join(path, '..'), { recursive: true }), /ENOENT.*data directory/],
] as const) {
  test(`${name} in its place is refused with what to do`, async () => {
    const path = newPath()
    prepare(path)
    await unavailable(open(path), pattern)
  })
}

test('damaged pages are named as such, and others can still be read', async () => {
  const path = newPath()
  const store = await open(path)
  const { id } = await store.insertUpstream({ slug: 'a', spec: SECRET_SPEC, origin: 'api' })
  const many = Array.from({ length: 2_000 }, (_, at) => ({
    kind: 'tool' as const,
    name: `t${at}`,
    json: 'x'.repeat(500),
  }))
  await store.saveDiscovery(id, DISCOVERY, many)
  await store.close()
  const bytes = readFileSync(path)
  bytes.fill(0xff, Math.floor(bytes.length / 2))
  writeFileSync(path, bytes)
  const again = await open(path)
  await unavailable(again.definitions(id), /damaged: stop the gateway and restore a backup/)
  assert.equal((await again.upstream(id))!.slug, 'a')
  await again.close()
})

const DISCOVERY = {
  era: 'modern',
  revision: '2026-07-28',
  probedMs: 1,
  discoveredMs: 1,
  serverInfo: { name: 'a', version: '1' },
  capabilities: {},
  stateful: false,
  ttlMs: null,
  skipped: [],
} as const

test('a full store refuses the write whole, and works on', async () => {
  const path = newPath()
  const store = await open(path, { limits: { storeBytes: 512 * 1024 } })
  const { id } = await store.insertUpstream({ slug: 'a', spec: SECRET_SPEC, origin: 'api' })
  const few = [{ kind: 'tool' as const, name: 'a', json: '{}' }]
  await store.saveDiscovery(id, DISCOVERY, few)
  const many = Array.from({ length: 3_000 }, (_, at) => ({
    kind: 'tool' as const,
    name: `t${at}`,
    json: 'x'.repeat(500),
  }))
  await unavailable(store.saveDiscovery(id, DISCOVERY, many), /disk is full.*make room/)
  assert.deepEqual(
    (await store.definitions(id)).map(({ kind, name, json }) => ({ kind, name, json })),
    few,
  )
  await store.insertUpstream({ slug: 'b', spec: SECRET_SPEC, origin: 'api' })
  await store.close()
})

test('requests past the bound of the queue are refused, the others answered', async () => {
  const store = await open(newPath())
  const results = await Promise.allSettled(Array.from({ length: 1_200 }, () => store.upstreams()))
  assert.equal(results.filter(({ status }) => status === 'fulfilled').length, 1_000)
  const refusal = results.find((result) => result.status === 'rejected')!
  assert.ok(refusal.reason instanceof GatewayError && refusal.reason.code === 'STORE_UNAVAILABLE')
  assert.deepEqual(await store.upstreams(), [])
  await store.close()
})
