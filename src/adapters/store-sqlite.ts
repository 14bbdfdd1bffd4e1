// The embedded store: the port's asynchronous side. It seals and opens secrets, cuts long arguments into pieces so that
// neither thread stalls, and gives every request a deadline; the SQL runs in one worker thread (store-sqlite-worker.ts).
// Absent on purpose: caches (registry/holder and access keep what is hot) and the lock of the data directory (data-lock.ts).

import { chmodSync, closeSync, openSync } from 'node:fs'
import { isDeepStrictEqual } from 'node:util'
import { GatewayError } from '../core/errors.ts'
import { LIMITS } from '../core/limits.ts'
import type { Definition, Discovery, TokenRow, UpstreamRow, VirtualServerRow } from '../core/model.ts'
import { isSameServer } from '../core/same-server.ts'
import type { Clock } from '../core/time.ts'
import type { Log } from '../ports/log.ts'
import type { FileRows, NewUpstream, NewVirtualServer, Store, Tombstone } from '../ports/store.ts'
import { createSpecSealer, type Sealing, type SpecSealer } from './store-seal.ts'
import type { StoreLimits } from './store-sqlite-connection.ts'
import type { EntityRecord, EntityUpdate, NewEntity } from './store-sqlite-entities.ts'
import type { FilePlan, PlannedEntity } from './store-sqlite-file.ts'
import { StoreThread } from './store-sqlite-thread.ts'

export interface SqliteStoreOptions {
  /** The file, such as `<data>/gateway.db`; its directory must exist. */
  readonly path: string
  readonly clock: Clock
  readonly log: Log
  /** Encrypts what is secret in specifications; without the key that wrote a store, it does not open. */
  readonly sealing: Sealing
  /** Lower bounds, for tests. */
  readonly limits?: Partial<StoreLimits>
}

/** Sealed at the first start: tells a wrong key at once instead of at the first secret that is needed. */
const KEY_PROOF = 'mcp-gateway store'

/** Opens the store, brings its schema up to date and proves the key. Errors: STORE_UNAVAILABLE, with what to do. */
export async function createSqliteStore(options: SqliteStoreOptions): Promise<Store> {
  makePrivate(options.path)
  const { upstreamsMax, virtualServersMax, tokensMax, tombstonesMax, changesKept, storeBytes } = LIMITS
  const bounds = { upstreamsMax, virtualServersMax, tokensMax, tombstonesMax, changesKept, storeBytes }
  const thread = new StoreThread(
    { path: options.path, limits: { ...bounds, ...options.limits }, nowMs: options.clock.now() },
    options.log,
  )
  try {
    const migrated = await thread.ready()
    if (migrated.length > 0) options.log.info('store.migrated', { path: options.path, migrations: migrated })
    await proveKey(thread, options)
  } catch (error) {
    await thread.close()
    throw error
  }
  return createStore(thread, options)
}

/** SQLite gives its other files (-wal, -shm) the rights of the first one. */
function makePrivate(path: string): void {
  try {
    closeSync(openSync(path, 'a', 0o600))
    chmodSync(path, 0o600)
  } catch (error) {
    throw new GatewayError(
      'STORE_UNAVAILABLE',
      `${(error as Error).message}: make the data directory writable for this user`,
      { cause: error },
    )
  }
}

async function proveKey(thread: StoreThread, { sealing, path }: SqliteStoreOptions): Promise<void> {
  const proof = await thread.read('property', 'keyProof')
  if (proof === null) {
    await thread.edit('setProperty', 'keyProof', sealing.encrypt(Buffer.from(KEY_PROOF)))
    return
  }
  if (sealing.decrypt(proof)?.toString() === KEY_PROOF) return
  throw new GatewayError(
    'STORE_UNAVAILABLE',
    `${path} was written with another secret key: restore that secret.key, or move the file away to start anew`,
  )
}

function createStore(thread: StoreThread, { clock, sealing }: SqliteStoreOptions): Store {
  const sealer = createSpecSealer(sealing)
  const upstreamRow = (record: EntityRecord): UpstreamRow => ({
    ...record,
    spec: sealer.openUpstream(record.spec),
    discovery: record.discovery === null ? null : (JSON.parse(record.discovery) as Discovery),
  })
  const serverRow = ({ discovery: _, ...record }: EntityRecord): VirtualServerRow => ({
    ...record,
    spec: sealer.openServer(record.spec),
  })
  const newUpstream = (row: NewUpstream): NewEntity => ({ ...entity(row), spec: sealer.sealUpstream(row.spec) })
  const newServer = (row: NewVirtualServer): NewEntity => ({ ...entity(row), spec: sealer.sealServer(row.spec) })
  const upstreams = async (): Promise<UpstreamRow[]> => (await thread.read('upstreams')).map(upstreamRow)
  const upstream = async (idOrSlug: string): Promise<UpstreamRow | null> => {
    const record = await thread.read('upstream', idOrSlug)
    return record === null ? null : upstreamRow(record)
  }
  const virtualServers = async (): Promise<VirtualServerRow[]> => (await thread.read('virtualServers')).map(serverRow)
  const inTurn = createTurns()

  return {
    upstreams,
    upstream,
    insertUpstream: async (row) => upstreamRow(await thread.edit('insertUpstream', newUpstream(row), clock.now())),
    updateUpstream: (id, spec, slug, ifVersion) =>
      inTurn(async () => {
        const before = await upstream(id)
        const forget = before !== null && !isSameServer(before.spec.transport, spec.transport)
        const update: EntityUpdate = { id, slug, spec: sealer.sealUpstream(spec), ifVersion, forget }
        return upstreamRow(await thread.edit('updateUpstream', update, clock.now()))
      }),
    deleteUpstream: (id, ifVersion) => thread.edit('deleteUpstream', id, ifVersion, clock.now()),

    definitions: (upstreamId) => thread.scan<Definition>('definitions', upstreamId),
    saveDiscovery: async (upstreamId, discovery, definitions) => {
      refuseLong('definitions', definitions.length, LIMITS.listItemsMax)
      const size = ({ name, json }: Definition): number => name.length + json.length
      return thread.learn('saveDiscovery', { items: definitions, size }, upstreamId, discovery, clock.now())
    },

    virtualServers,
    virtualServer: async (idOrSlug) => {
      const record = await thread.read('virtualServer', idOrSlug)
      return record === null ? null : serverRow(record)
    },
    insertVirtualServer: async (row) =>
      serverRow(await thread.edit('insertVirtualServer', newServer(row), clock.now())),
    updateVirtualServer: async (id, spec, slug, ifVersion) => {
      const update: EntityUpdate = { id, slug, spec: sealer.sealServer(spec), ifVersion, forget: false }
      return serverRow(await thread.edit('updateVirtualServer', update, clock.now()))
    },
    deleteVirtualServer: (id, ifVersion) => thread.edit('deleteVirtualServer', id, ifVersion, clock.now()),

    tokens: () => thread.scan<TokenRow>('tokens'),
    tokenByHash: (hash) => thread.read('tokenByHash', hash),
    insertToken: async (row) => thread.edit('insertToken', row, clock.now()),
    deleteToken: async (idOrName) => thread.edit('deleteToken', idOrName, clock.now()),
    touchTokens: (used) => thread.learn('touchTokens', { items: [...used], size: () => 64 }),

    applyFile: (rows) =>
      inTurn(async () => {
        const plan = planFile(rows, await upstreams(), await virtualServers(), sealer)
        return thread.edit('applyFile', plan, clock.now())
      }),

    tombstones: () => thread.scan<Tombstone>('tombstones'),
    addTombstones: async (batch) => {
      refuseLong('tombstones', batch.length, LIMITS.tombstonesMax)
      return thread.learn('addTombstones', { items: batch, size: () => 64 })
    },
    deleteExpired: (nowMs) => thread.learn('deleteExpired', null, nowMs),

    changes: (seq, limit) => thread.read('changes', seq, Math.min(limit, LIMITS.changesKept)),
    close: () => thread.close(),
  }
}

function entity(row: NewUpstream | NewVirtualServer): Omit<NewEntity, 'spec'> {
  return { slug: row.slug, origin: row.origin, originRef: row.originRef ?? null }
}

function refuseLong(what: string, length: number, max: number): void {
  if (length > max) throw new GatewayError('TOO_MANY', `${length} ${what} at once are more than ${max}`)
}

/** One after the other: what compares with stored rows before it writes must not be overtaken. */
function createTurns(): <T>(task: () => Promise<T>) => Promise<T> {
  let last: Promise<unknown> = Promise.resolve()
  return (task) => {
    const mine = last.then(task)
    last = mine.catch(() => {})
    return mine
  }
}

/** Sealed texts differ each time, so the comparison happens here, where they can be read. */
function planFile(
  rows: FileRows,
  upstreams: readonly UpstreamRow[],
  servers: readonly VirtualServerRow[],
  sealer: SpecSealer,
): FilePlan {
  const oldUpstreams = new Map(upstreams.map((row) => [row.slug, row]))
  const oldServers = new Map(servers.map((row) => [row.slug, row]))
  const origin = rows.origin
  return {
    origin,
    upstreams: rows.upstreams.map((row): PlannedEntity => {
      const before = oldUpstreams.get(row.slug)
      const forget = before !== undefined && !isSameServer(before.spec.transport, row.spec.transport)
      const unchanged = before !== undefined && isEqual(before.spec, row.spec)
      return { ...entity(row), origin, spec: sealer.sealUpstream(row.spec), unchanged, forget }
    }),
    virtualServers: rows.virtualServers.map((row): PlannedEntity => {
      const before = oldServers.get(row.slug)
      const unchanged = before !== undefined && isEqual(before.spec, row.spec)
      return { ...entity(row), origin, spec: sealer.sealServer(row.spec), unchanged, forget: false }
    }),
    tokens: rows.tokens.map((row) => ({ ...row, origin })),
  }
}

function isEqual(stored: unknown, wanted: unknown): boolean {
  return isDeepStrictEqual(stored, JSON.parse(JSON.stringify(wanted)))
}
