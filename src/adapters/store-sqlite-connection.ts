// One connection to the embedded store, and what the SQL of every noun shares: statements kept prepared, the log of
// changes, and the refusals. Runs in the store's worker thread only. Absent on purpose: encryption (specifications arrive
// sealed) and transactions (store-sqlite-worker.ts holds them).

import type { DatabaseSync, SQLInputValue, StatementSync } from 'node:sqlite'
import { GatewayError } from '../core/errors.ts'
import type { Change, ChangeKind } from '../ports/store.ts'

/** Bounds that tests lower; everyone else takes core/limits.ts. */
export interface StoreLimits {
  readonly upstreamsMax: number
  readonly virtualServersMax: number
  readonly tokensMax: number
  readonly tombstonesMax: number
  readonly changesKept: number
  readonly storeBytes: number
}

/** A long operation: it yields where it may pause. */
export type Steps<T> = Generator<void, T>
export type Row = Record<string, string | number | null | Uint8Array>

/** Prepared statements by their text: preparing costs more than running most of them. */
export class Connection {
  readonly database: DatabaseSync
  readonly limits: StoreLimits
  /** Null when it must be counted: at first, and after a transaction that was taken back. */
  tombstoneCount: number | null = null
  #statements = new Map<string, StatementSync>()

  constructor(database: DatabaseSync, limits: StoreLimits) {
    this.database = database
    this.limits = limits
  }

  #prepare(sql: string): StatementSync {
    let statement = this.#statements.get(sql)
    if (statement === undefined) {
      statement = this.database.prepare(sql)
      this.#statements.set(sql, statement)
    }
    return statement
  }

  run(sql: string, ...values: SQLInputValue[]): number {
    return Number(this.#prepare(sql).run(...values).changes)
  }

  row(sql: string, ...values: SQLInputValue[]): Row | null {
    return (this.#prepare(sql).get(...values) as Row | undefined) ?? null
  }

  rows(sql: string, ...values: SQLInputValue[]): Row[] {
    return this.#prepare(sql).all(...values) as Row[]
  }

  each(sql: string, ...values: SQLInputValue[]): IterableIterator<Row> {
    return this.#prepare(sql).iterate(...values) as IterableIterator<Row>
  }

  count(table: string): number {
    return Number(this.row(`SELECT count(*) AS n FROM ${table}`)!.n)
  }
}

export function recordChange(connection: Connection, kind: ChangeKind, id: string, nowMs: number): void {
  connection.run('INSERT INTO changes (kind, id, at_ms) VALUES (?, ?, ?)', kind, id, nowMs)
  connection.run('DELETE FROM changes WHERE seq <= ?', newestChange(connection) - connection.limits.changesKept)
}

export function newestChange(connection: Connection): number {
  return Number(connection.row("SELECT seq FROM sqlite_sequence WHERE name = 'changes'")?.seq ?? 0)
}

export function refuseForeign(row: Row, noun: string, name: string): void {
  if (row.origin === 'api') return
  const where = row.origin_ref === null ? `the origin "${row.origin}"` : String(row.origin_ref)
  throw new GatewayError('MANAGED_BY_FILE', `The ${noun} "${name}" is managed by ${where}: change it there`, {
    data: { origin: row.origin, originRef: row.origin_ref },
  })
}

export function refuseVersion(row: Row, noun: string, name: string, ifVersion: number | null): void {
  if (ifVersion === null || row.row_version === ifVersion) return
  throw new GatewayError(
    'PRECONDITION_FAILED',
    `The ${noun} "${name}" has version ${row.row_version}, not ${ifVersion}`,
    { data: { version: row.row_version } },
  )
}

export function refuseMore(connection: Connection, table: string, limit: keyof StoreLimits, noun: string): void {
  const max = connection.limits[limit]
  if (connection.count(table) < max) return
  throw new GatewayError('TOO_MANY', `There are ${max} ${noun}s already, which is the limit (${limit})`, {
    data: { limit, max },
  })
}

export function conflict(noun: string, field: string, value: string, row: Row): GatewayError {
  return new GatewayError('CONFLICT', clashText(noun, field, value, row), { data: { field, id: row.id as string } })
}

/** A token's hash is not shown: it is what the token is recognised by. */
export function clashText(noun: string, field: string, value: string, row: Row): string {
  const what = field === 'hash' ? 'This token' : `The ${field} "${value}"`
  const from = row.origin_ref === null ? '' : ` of ${row.origin_ref}`
  return `${what} is taken by the ${noun} ${row.id}${from}`
}

export function refuseOver(connection: Connection, table: string, limit: keyof StoreLimits, noun: string): void {
  const max = connection.limits[limit]
  if (connection.count(table) <= max) return
  throw new GatewayError('TOO_MANY', `With these files there are more than ${max} ${noun}s (${limit})`, {
    data: { limit, max },
  })
}

export function changes(connection: Connection, seq: number, limit: number): { changes: Change[]; newest: number } {
  const rows = connection.rows('SELECT * FROM changes WHERE seq > ? ORDER BY seq LIMIT ?', seq, limit)
  return {
    changes: rows.map((row) => ({
      seq: row.seq as number,
      kind: row.kind as ChangeKind,
      id: row.id as string,
      atMs: row.at_ms as number,
    })),
    newest: newestChange(connection),
  }
}
