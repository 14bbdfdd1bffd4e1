// Upstreams, virtual servers and what upstreams offer, in the embedded store.

import { createHash, randomBytes } from 'node:crypto'
import { GatewayError } from '../core/errors.ts'
import { LIMITS } from '../core/limits.ts'
import type { Definition, DefinitionKind, Discovery, Origin } from '../core/model.ts'
import { uuid7 } from '../core/uuid.ts'
import type { ChangeKind } from '../ports/store.ts'
import {
  type Connection,
  conflict,
  type Row,
  recordChange,
  refuseForeign,
  refuseMore,
  refuseVersion,
  type Steps,
} from './store-sqlite-connection.ts'

/** An upstream or virtual server as it is stored: `spec` and `discovery` are JSON texts. */
export interface EntityRecord {
  readonly id: string
  readonly slug: string
  readonly spec: string
  readonly origin: Origin
  readonly originRef: string | null
  /** Always null for a virtual server. */
  readonly discovery: string | null
  readonly rowVersion: number
  readonly createdMs: number
  readonly updatedMs: number
}

export interface NewEntity {
  readonly slug: string
  readonly spec: string
  readonly origin: Origin
  readonly originRef: string | null
}

export interface EntityUpdate {
  readonly id: string
  readonly slug: string
  readonly spec: string
  readonly ifVersion: number | null
  /** True where the specification now names another server: what was learnt of the old one goes. */
  readonly forget: boolean
}

export interface EntityKind {
  readonly table: 'upstreams' | 'virtual_servers'
  readonly change: ChangeKind
  readonly noun: string
  readonly limit: 'upstreamsMax' | 'virtualServersMax'
}

export const UPSTREAM: EntityKind = { table: 'upstreams', change: 'upstream', noun: 'upstream', limit: 'upstreamsMax' }
export const SERVER: EntityKind = {
  table: 'virtual_servers',
  change: 'server',
  noun: 'virtual server',
  limit: 'virtualServersMax',
}

const DELETE_ROWS = 500

function toEntity(row: Row): EntityRecord {
  return {
    id: row.id as string,
    slug: row.slug as string,
    spec: row.spec as string,
    origin: row.origin as Origin,
    originRef: row.origin_ref as string | null,
    discovery: (row.discovery as string | null | undefined) ?? null,
    rowVersion: row.row_version as number,
    createdMs: row.created_ms as number,
    updatedMs: row.updated_ms as number,
  }
}

export function listEntities(connection: Connection, kind: EntityKind): EntityRecord[] {
  return connection.rows(`SELECT * FROM ${kind.table} ORDER BY id`).map(toEntity)
}

export function getEntity(connection: Connection, kind: EntityKind, idOrSlug: string): EntityRecord | null {
  const row = connection.row(`SELECT * FROM ${kind.table} WHERE id = ? OR slug = ?`, idOrSlug, idOrSlug)
  return row === null ? null : toEntity(row)
}

export function needEntity(connection: Connection, kind: EntityKind, id: string): Row {
  const row = connection.row(`SELECT * FROM ${kind.table} WHERE id = ?`, id)
  if (row === null) throw new GatewayError('NOT_FOUND', `There is no ${kind.noun} ${id}`)
  return row
}

export function refuseSlug(connection: Connection, kind: EntityKind, slug: string, id: string | null): void {
  const taken = connection.row(`SELECT * FROM ${kind.table} WHERE slug = ?`, slug)
  if (taken !== null && taken.id !== id) throw conflict(kind.noun, 'slug', slug, taken)
}

export function addEntity(connection: Connection, kind: EntityKind, row: NewEntity, nowMs: number): string {
  const id = uuid7(nowMs, randomBytes(10))
  connection.run(
    `INSERT INTO ${kind.table} (id, slug, spec, origin, origin_ref, row_version, created_ms, updated_ms)
     VALUES (?, ?, ?, ?, ?, 1, ?, ?)`,
    ...[id, row.slug, row.spec, row.origin, row.originRef, nowMs, nowMs],
  )
  recordChange(connection, kind.change, id, nowMs)
  return id
}

export function insertEntity(connection: Connection, kind: EntityKind, row: NewEntity, nowMs: number): EntityRecord {
  refuseSlug(connection, kind, row.slug, null)
  refuseMore(connection, kind.table, kind.limit, kind.noun)
  return getEntity(connection, kind, addEntity(connection, kind, row, nowMs))!
}

export function* changeEntity(
  connection: Connection,
  kind: EntityKind,
  change: { id: string; slug: string; spec: string; originRef: string | null; forget: boolean },
  nowMs: number,
): Steps<void> {
  connection.run(
    `UPDATE ${kind.table} SET slug = ?, spec = ?, origin_ref = ?, row_version = row_version + 1, updated_ms = ?
     WHERE id = ?`,
    ...[change.slug, change.spec, change.originRef, nowMs, change.id],
  )
  recordChange(connection, kind.change, change.id, nowMs)
  if (!change.forget || kind !== UPSTREAM) return
  yield* dropDefinitions(connection, change.id)
  connection.run('UPDATE upstreams SET discovery = NULL, definitions_digest = NULL WHERE id = ?', change.id)
  recordChange(connection, 'definitions', change.id, nowMs)
}

export function* updateEntity(
  connection: Connection,
  kind: EntityKind,
  update: EntityUpdate,
  nowMs: number,
): Steps<EntityRecord> {
  const row = needEntity(connection, kind, update.id)
  refuseForeign(row, kind.noun, row.slug as string)
  refuseVersion(row, kind.noun, row.slug as string, update.ifVersion)
  refuseSlug(connection, kind, update.slug, update.id)
  yield* changeEntity(connection, kind, { ...update, originRef: row.origin_ref as string | null }, nowMs)
  return getEntity(connection, kind, update.id)!
}

export function* dropEntity(connection: Connection, kind: EntityKind, id: string, nowMs: number): Steps<void> {
  if (kind === UPSTREAM) yield* dropDefinitions(connection, id)
  connection.run(`DELETE FROM ${kind.table} WHERE id = ?`, id)
  recordChange(connection, kind.change, id, nowMs)
}

export function* deleteEntity(
  connection: Connection,
  kind: EntityKind,
  id: string,
  ifVersion: number | null,
  nowMs: number,
): Steps<void> {
  const row = needEntity(connection, kind, id)
  refuseForeign(row, kind.noun, row.slug as string)
  refuseVersion(row, kind.noun, row.slug as string, ifVersion)
  yield* dropEntity(connection, kind, id, nowMs)
}

export function* dropDefinitions(connection: Connection, upstreamId: string): Steps<void> {
  const newest = connection.row('SELECT max(position) AS last FROM definitions WHERE upstream_id = ?', upstreamId)
  const last = newest?.last
  if (typeof last !== 'number') return
  for (let from = 0; from <= last; from += DELETE_ROWS) {
    connection.run(
      'DELETE FROM definitions WHERE upstream_id = ? AND position >= ? AND position < ?',
      ...[upstreamId, from, from + DELETE_ROWS],
    )
    yield
  }
}

export function* digest(definitions: readonly Definition[]): Steps<Buffer> {
  const hash = createHash('sha256')
  for (const { kind, name, json } of definitions) {
    // Lengths first: no two different lists give the same bytes.
    hash.update(`${kind} ${Buffer.byteLength(name)} ${Buffer.byteLength(json)}\n`)
    hash.update(name)
    hash.update(json)
    yield
  }
  return hash.digest()
}

/** When a server was asked is no news; what it answered is. */
export function sameLearning(before: string | null, after: Discovery): boolean {
  if (before === null) return false
  const timeless = (discovery: Discovery): string => JSON.stringify({ ...discovery, probedMs: 0, discoveredMs: 0 })
  return timeless(JSON.parse(before) as Discovery) === timeless(after)
}

export function* saveDiscovery(
  connection: Connection,
  upstreamId: string,
  discovery: Discovery,
  definitions: readonly Definition[],
  nowMs: number,
): Steps<boolean> {
  const row = needEntity(connection, UPSTREAM, upstreamId)
  const found = yield* digest(definitions)
  const known = row.definitions_digest as Uint8Array | null
  const differs = known === null ? definitions.length > 0 : !found.equals(known)
  const before = row.discovery as string | null
  connection.run(
    'UPDATE upstreams SET discovery = ?, definitions_digest = ? WHERE id = ?',
    ...[JSON.stringify(discovery), found, upstreamId],
  )
  if (!sameLearning(before, discovery)) recordChange(connection, 'upstream', upstreamId, nowMs)
  if (!differs) return false
  const seen = yield* firstSeen(connection, upstreamId)
  yield* dropDefinitions(connection, upstreamId)
  for (const [position, { kind, name, json }] of definitions.entries()) {
    connection.run(
      'INSERT INTO definitions (upstream_id, position, kind, name, json, seen_ms) VALUES (?, ?, ?, ?, ?, ?)',
      ...[upstreamId, position, kind, name, json, seen.get(`${kind} ${name}`) ?? nowMs],
    )
    yield
  }
  recordChange(connection, 'definitions', upstreamId, nowMs)
  return true
}

/** Kind and name -> when this upstream first offered it. */
function* firstSeen(connection: Connection, upstreamId: string): Steps<Map<string, number>> {
  const seen = new Map<string, number>()
  const sql = 'SELECT kind, name, seen_ms FROM definitions WHERE upstream_id = ?'
  for (const row of connection.each(sql, upstreamId)) {
    seen.set(`${row.kind as string} ${row.name as string}`, row.seen_ms as number)
    yield
  }
  return seen
}

export function* definitions(
  connection: Connection,
  upstreamId: string,
  send: (piece: Definition[]) => void,
): Steps<void> {
  let piece: Definition[] = []
  let chars = 0
  const sql = 'SELECT kind, name, json, seen_ms FROM definitions WHERE upstream_id = ? ORDER BY position'
  for (const row of connection.each(sql, upstreamId)) {
    const json = row.json as string
    const { kind, name, seen_ms } = row
    piece.push({ kind: kind as DefinitionKind, name: name as string, json, seenMs: seen_ms as number })
    chars += json.length
    if (chars >= LIMITS.pieceBytes) {
      send(piece)
      piece = []
      chars = 0
    }
    yield
  }
  send(piece)
}
