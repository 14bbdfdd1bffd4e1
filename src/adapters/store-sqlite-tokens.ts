// API tokens and ended sessions in the embedded store.

import { GatewayError } from '../core/errors.ts'
import type { Origin, TokenRow } from '../core/model.ts'
import type { Right } from '../core/policy.ts'
import type { NewToken, Tombstone } from '../ports/store.ts'
import {
  type Connection,
  conflict,
  type Row,
  recordChange,
  refuseForeign,
  refuseMore,
  type Steps,
} from './store-sqlite-connection.ts'

const DELETE_ROWS = 500
const PIECE_ROWS = 1_000

export function toToken(row: Row): TokenRow {
  return {
    id: row.id as string,
    name: row.name as string,
    hash: row.hash as string,
    rights: JSON.parse(row.rights as string) as Right[],
    origin: row.origin as Origin,
    originRef: row.origin_ref as string | null,
    createdMs: row.created_ms as number,
    expiresMs: row.expires_ms as number | null,
    lastUsedMs: row.last_used_ms as number | null,
    rowVersion: row.row_version as number,
  }
}

export function getToken(connection: Connection, idOrName: string): Row | null {
  return (
    connection.row('SELECT * FROM tokens WHERE id = ?', idOrName) ??
    connection.row('SELECT * FROM tokens WHERE name = ?', idOrName)
  )
}

export const TOKEN_KEYS = ['name', 'id', 'hash'] as const

export function addToken(connection: Connection, row: NewToken, before: TokenRow | null, nowMs: number): void {
  connection.run(
    `INSERT INTO tokens (id, name, hash, rights, origin, origin_ref, created_ms, expires_ms, last_used_ms, row_version)
     VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
    row.id,
    row.name,
    row.hash,
    JSON.stringify(row.rights),
    row.origin,
    row.originRef ?? null,
    before?.createdMs ?? nowMs,
    row.expiresMs ?? null,
    before?.hash === row.hash ? before.lastUsedMs : null,
    (before?.rowVersion ?? 0) + 1,
  )
  recordChange(connection, 'token', row.id, nowMs)
}

export function insertToken(connection: Connection, row: NewToken, nowMs: number): TokenRow {
  for (const field of TOKEN_KEYS) {
    const taken = connection.row(`SELECT * FROM tokens WHERE ${field} = ?`, row[field])
    if (taken !== null) throw conflict('token', field, row[field], taken)
  }
  refuseMore(connection, 'tokens', 'tokensMax', 'token')
  addToken(connection, row, null, nowMs)
  return toToken(getToken(connection, row.id)!)
}

export function dropToken(connection: Connection, id: string, nowMs: number): void {
  connection.run('DELETE FROM tokens WHERE id = ?', id)
  recordChange(connection, 'token', id, nowMs)
}

export function deleteToken(connection: Connection, idOrName: string, nowMs: number): void {
  const row = getToken(connection, idOrName)
  if (row === null) throw new GatewayError('NOT_FOUND', `There is no token "${idOrName}"`)
  refuseForeign(row, 'token', row.name as string)
  dropToken(connection, row.id as string, nowMs)
}

export function* touchTokens(connection: Connection, used: readonly (readonly [string, number])[]): Steps<void> {
  for (const [id, ms] of used) {
    connection.run('UPDATE tokens SET last_used_ms = max(coalesce(last_used_ms, 0), ?) WHERE id = ?', ms, id)
    yield
  }
}

export function* tombstones(connection: Connection, send: (piece: Tombstone[]) => void): Steps<void> {
  let piece: Tombstone[] = []
  for (const row of connection.each('SELECT key, expires_ms FROM tombstones')) {
    piece.push({ key: Buffer.from(row.key as Uint8Array).toString('hex'), expiresMs: row.expires_ms as number })
    if (piece.length === PIECE_ROWS) {
      send(piece)
      piece = []
    }
    yield
  }
  send(piece)
}

/** All of the batch or, past the bound, none of it. */
export function* addTombstones(connection: Connection, batch: readonly Tombstone[]): Steps<void> {
  // A million rows take 10 ms to count and batches come ten times a second, so the count is kept between them.
  let count = connection.tombstoneCount ?? connection.count('tombstones')
  for (const { key, expiresMs } of batch) {
    const bytes = Buffer.from(key, 'hex')
    const added = connection.run('INSERT OR IGNORE INTO tombstones (key, expires_ms) VALUES (?, ?)', bytes, expiresMs)
    if (added === 0)
      connection.run('UPDATE tombstones SET expires_ms = max(expires_ms, ?) WHERE key = ?', expiresMs, bytes)
    count += added
    yield
  }
  const max = connection.limits.tombstonesMax
  if (count > max) {
    throw new GatewayError('TOO_MANY', `There are ${max} ended sessions already, which is the limit (tombstonesMax)`, {
      data: { limit: 'tombstonesMax', max },
    })
  }
  connection.tombstoneCount = count
}

/** Sessions that would have expired by now anyway; how many. */
export function* deleteExpired(connection: Connection, nowMs: number): Steps<number> {
  let deleted = 0
  for (;;) {
    const some = connection.run(
      'DELETE FROM tombstones WHERE key IN (SELECT key FROM tombstones WHERE expires_ms <= ? LIMIT ?)',
      ...[nowMs, DELETE_ROWS],
    )
    deleted += some
    if (some < DELETE_ROWS) break
    yield
  }
  if (connection.tombstoneCount !== null) connection.tombstoneCount -= deleted
  return deleted
}

export function* tokens(connection: Connection, send: (piece: TokenRow[]) => void): Steps<void> {
  let piece: TokenRow[] = []
  for (const row of connection.each('SELECT * FROM tokens ORDER BY created_ms, id')) {
    piece.push(toToken(row))
    if (piece.length === PIECE_ROWS) {
      send(piece)
      piece = []
    }
    yield
  }
  send(piece)
}

export function tokenByHash(connection: Connection, hash: string): TokenRow | null {
  const row = connection.row('SELECT * FROM tokens WHERE hash = ?', hash)
  return row === null ? null : toToken(row)
}
