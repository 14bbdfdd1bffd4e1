// The thread that owns gateway.db. Three connections, so that nobody waits for a long operation of another kind: short
// reads are answered as they come, long reads run on a snapshot of their own, and writes run one after the other, each in
// one transaction. Long operations pause every few milliseconds. Speaks with store-sqlite.ts in the messages below.

import { DatabaseSync } from 'node:sqlite'
import { parentPort, workerData } from 'node:worker_threads'
import { type ErrorOptions, GatewayError } from '../core/errors.ts'
import { LIMITS } from '../core/limits.ts'
import type { Definition, Discovery } from '../core/model.ts'
import type { NewToken, Tombstone } from '../ports/store.ts'
import { type Applied, dueMigrations, readMigrations } from './migrations.ts'
import { Connection, changes, type Steps, type StoreLimits } from './store-sqlite-connection.ts'
import {
  definitions,
  deleteEntity,
  type EntityUpdate,
  getEntity,
  insertEntity,
  listEntities,
  type NewEntity,
  SERVER,
  saveDiscovery,
  UPSTREAM,
  updateEntity,
} from './store-sqlite-entities.ts'
import { applyFile, type FilePlan } from './store-sqlite-file.ts'
import {
  addTombstones,
  deleteExpired,
  deleteToken,
  insertToken,
  tokenByHash,
  tokens,
  tombstones,
  touchTokens,
} from './store-sqlite-tokens.ts'

export interface WorkerOptions {
  readonly path: string
  readonly limits: StoreLimits
  readonly nowMs: number
}

/** `pieces` of a long argument come first, then the request with the same number. */
export type Request =
  | { readonly n: number; readonly piece: readonly unknown[] }
  | { readonly n: number; readonly name: string; readonly args: readonly unknown[] }

export type Answer =
  | { readonly n: number; readonly piece: readonly unknown[] }
  | { readonly n: number; readonly value: unknown }
  | { readonly n: number; readonly failure: Failure }

export interface Failure {
  /** Null for a fault of ours. */
  readonly code: GatewayError['code'] | null
  readonly message: string
  readonly options: ErrorOptions
}

type Send = (piece: readonly unknown[]) => void

/** Answered at once. */
export const READS = {
  upstreams: (on: Connection) => listEntities(on, UPSTREAM),
  upstream: (on: Connection, idOrSlug: string) => getEntity(on, UPSTREAM, idOrSlug),
  virtualServers: (on: Connection) => listEntities(on, SERVER),
  virtualServer: (on: Connection, idOrSlug: string) => getEntity(on, SERVER, idOrSlug),
  tokenByHash,
  changes,
  property: (on: Connection, name: string) =>
    (on.row('SELECT value FROM properties WHERE name = ?', name)?.value as string | undefined) ?? null,
}

/** Answered in pieces. */
export const SCANS = {
  definitions: (on: Connection, send: Send, upstreamId: string) => definitions(on, upstreamId, send),
  tokens: (on: Connection, send: Send) => tokens(on, send),
  tombstones: (on: Connection, send: Send) => tombstones(on, send),
}

/** What can be learnt or done again: on power loss the last of it may be missing. */
export const LEARNINGS = {
  saveDiscovery: (on: Connection, items: unknown[], upstreamId: string, discovery: Discovery, nowMs: number) =>
    saveDiscovery(on, upstreamId, discovery, items as Definition[], nowMs),
  touchTokens: (on: Connection, items: unknown[]) => touchTokens(on, items as [string, number][]),
  addTombstones: (on: Connection, items: unknown[]) => addTombstones(on, items as Tombstone[]),
  deleteExpired: (on: Connection, _items: unknown[], nowMs: number) => deleteExpired(on, nowMs),
}

/** What a person did and was told is done: synced to the disk before the answer. A revocation must not come undone. */
export const EDITS = {
  insertUpstream: (on: Connection, _items: unknown[], row: NewEntity, nowMs: number) =>
    insertEntity(on, UPSTREAM, row, nowMs),
  updateUpstream: (on: Connection, _items: unknown[], update: EntityUpdate, nowMs: number) =>
    updateEntity(on, UPSTREAM, update, nowMs),
  deleteUpstream: (on: Connection, _items: unknown[], id: string, ifVersion: number | null, nowMs: number) =>
    deleteEntity(on, UPSTREAM, id, ifVersion, nowMs),
  insertVirtualServer: (on: Connection, _items: unknown[], row: NewEntity, nowMs: number) =>
    insertEntity(on, SERVER, row, nowMs),
  updateVirtualServer: (on: Connection, _items: unknown[], update: EntityUpdate, nowMs: number) =>
    updateEntity(on, SERVER, update, nowMs),
  deleteVirtualServer: (on: Connection, _items: unknown[], id: string, ifVersion: number | null, nowMs: number) =>
    deleteEntity(on, SERVER, id, ifVersion, nowMs),
  insertToken: (on: Connection, _items: unknown[], row: NewToken, nowMs: number) => insertToken(on, row, nowMs),
  deleteToken: (on: Connection, _items: unknown[], idOrName: string, nowMs: number) => deleteToken(on, idOrName, nowMs),
  applyFile: (on: Connection, _items: unknown[], plan: FilePlan, nowMs: number) => applyFile(on, plan, nowMs),
  setProperty: (on: Connection, _items: unknown[], name: string, value: string) =>
    on.run('INSERT OR REPLACE INTO properties (name, value) VALUES (?, ?)', name, value),
}

type Operation = (on: Connection, ...args: unknown[]) => unknown

function operation(table: object, name: string): Operation | null {
  return Object.hasOwn(table, name) ? ((table as Record<string, unknown>)[name] as Operation) : null
}

/** Runs long operations one after the other, a few milliseconds at a time. */
class Lane {
  #jobs: Steps<void>[] = []
  #running = false

  push(job: Steps<void>): void {
    this.#jobs.push(job)
    if (!this.#running) this.#slice()
  }

  #slice(): void {
    this.#running = true
    const end = performance.now() + LIMITS.sliceMs
    while (this.#jobs.length > 0 && performance.now() < end) {
      if (this.#jobs[0]!.next().done) this.#jobs.shift()
    }
    if (this.#jobs.length > 0) setImmediate(() => this.#slice())
    else this.#running = false
  }
}

/** What to do, by SQLite's result code. */
const ADVICE: Readonly<Record<number, string>> = {
  5: 'another program holds it: close that program',
  6: 'another program holds it: close that program',
  8: 'it is read-only: make the data directory writable for this user',
  10: 'the disk failed to read or write: look at the disk and its free space',
  11: 'it is damaged: stop the gateway and restore a backup, or move the file away to start anew',
  13: 'the disk is full or the store has reached its largest size (storeBytes): make room',
  14: 'it cannot be opened: look at the rights of the data directory',
  26: 'it is not a store of this gateway: restore a backup, or move the file away to start anew',
}

const options = workerData as WorkerOptions
const port = parentPort!
const writes = new Lane()
const scans = new Lane()
/** Pieces of arguments whose request has not come yet. */
const pieces = new Map<number, unknown[]>()

function open(): DatabaseSync {
  const database = new DatabaseSync(options.path, { timeout: LIMITS.storeBusyMs })
  refuseForeign(database)
  database.exec(`
    PRAGMA journal_mode = WAL;
    PRAGMA synchronous = NORMAL;
    PRAGMA foreign_keys = ON;
    PRAGMA trusted_schema = OFF;
    PRAGMA journal_size_limit = ${64 * 1024 * 1024};
  `)
  const { page_size: pageBytes } = database.prepare('PRAGMA page_size').get() as { page_size: number }
  database.exec(`PRAGMA max_page_count = ${Math.floor(options.limits.storeBytes / pageBytes)}`)
  return database
}

/** Before anything is written to it. */
function refuseForeign(database: DatabaseSync): void {
  const tables = database.prepare("SELECT name FROM sqlite_schema WHERE type = 'table'").all()
  if (tables.length === 0 || tables.some(({ name }) => name === 'schema_migrations')) return
  throw new GatewayError('STORE_UNAVAILABLE', `${options.path}: ${ADVICE[26]}`)
}

/** Brings the schema up to this release: each migration in a transaction of its own, with its entry. */
function migrate(database: DatabaseSync): string[] {
  database.exec(`
    CREATE TABLE IF NOT EXISTS schema_migrations (
      version INTEGER PRIMARY KEY, name TEXT NOT NULL, checksum TEXT NOT NULL, applied_ms INTEGER NOT NULL
    ) STRICT`)
  const applied = database
    .prepare('SELECT version, name, checksum FROM schema_migrations')
    .all() as unknown as Applied[]
  const due = dueMigrations(readMigrations('sqlite'), applied, options.path)
  for (const { version, name, sql, checksum } of due) {
    database.exec('BEGIN IMMEDIATE')
    try {
      database.exec(sql)
      database
        .prepare('INSERT INTO schema_migrations (version, name, checksum, applied_ms) VALUES (?, ?, ?, ?)')
        .run(version, name, checksum, options.nowMs)
      database.exec('COMMIT')
    } catch (error) {
      if (database.isTransaction) database.exec('ROLLBACK')
      throw error
    }
  }
  return due.map(({ version, name }) => `${version} ${name}`)
}

function toFailure(error: unknown): Failure {
  if (error instanceof GatewayError) {
    const { data, faults } = error.options
    return { code: error.code, message: error.message, options: { data, faults } }
  }
  const { errcode, message, stack } = error as { errcode?: number; message: string; stack?: string }
  const advice = ADVICE[(errcode ?? 0) & 0xff]
  if (advice === undefined) return { code: null, message: stack ?? message, options: {} }
  return { code: 'STORE_UNAVAILABLE', message: `${options.path}: ${message}; ${advice}`, options: {} }
}

function answer(message: Answer): void {
  port.postMessage(message)
}

function fail(n: number, error: unknown): void {
  answer({ n, failure: toFailure(error) })
}

function takeBack(connection: Connection): void {
  connection.tombstoneCount = null
  // Where the disk failed, SQLite may have rolled back by itself, or be unable to: either way nothing was committed.
  try {
    if (connection.database.isTransaction) connection.database.exec('ROLLBACK')
  } catch {}
}

function isSteps(value: unknown): value is Steps<unknown> {
  return typeof value === 'object' && value !== null && Symbol.iterator in value && 'next' in value
}

function* write(connection: Connection, run: Operation, synced: boolean, n: number, args: unknown[]): Steps<void> {
  try {
    connection.database.exec(`PRAGMA synchronous = ${synced ? 'FULL' : 'NORMAL'}; BEGIN IMMEDIATE`)
    const result = run(connection, ...args)
    const value = isSteps(result) ? yield* result : result
    connection.database.exec('COMMIT')
    answer({ n, value })
  } catch (error) {
    takeBack(connection)
    fail(n, error)
  }
}

function* scan(connection: Connection, run: Operation, n: number, args: readonly unknown[]): Steps<void> {
  try {
    connection.database.exec('BEGIN')
    const send: Send = (piece) => answer({ n, piece })
    yield* run(connection, send, ...args) as Steps<void>
    connection.database.exec('COMMIT')
    answer({ n, value: undefined })
  } catch (error) {
    takeBack(connection)
    fail(n, error)
  }
}

function start(): void {
  const writer = new Connection(open(), options.limits)
  const migrated = migrate(writer.database)
  const reader = new Connection(open(), options.limits)
  const scanner = new Connection(open(), options.limits)
  const close = (): void => {
    for (const connection of [reader, scanner, writer]) connection.database.close()
    port.close()
  }
  port.on('message', (request: Request) => {
    const { n } = request
    if ('piece' in request) {
      const known = pieces.get(n)
      if (known === undefined) pieces.set(n, [...request.piece])
      else for (const item of request.piece) known.push(item)
      return
    }
    const { name, args } = request
    try {
      if (name === 'close') {
        close()
        return
      }
      const read = operation(READS, name)
      if (read !== null) {
        answer({ n, value: read(reader, ...args) })
        return
      }
      const long = operation(SCANS, name)
      if (long !== null) {
        scans.push(scan(scanner, long, n, args))
        return
      }
      const edit = operation(EDITS, name)
      const run = edit ?? operation(LEARNINGS, name)
      if (run === null) throw new Error(`the store has no operation "${name}"`)
      const items = pieces.get(n) ?? []
      pieces.delete(n)
      writes.push(write(writer, run, edit !== null, n, [items, ...args]))
    } catch (error) {
      fail(n, error)
    }
  })
  answer({ n: 0, value: migrated })
}

try {
  start()
} catch (error) {
  fail(0, error)
  port.close()
}
