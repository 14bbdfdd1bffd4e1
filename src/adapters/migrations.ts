// Migrations: files `NNNN-name.<dialect>.sql` beside this one, run once, in order, forward only. This file decides which
// ones are due, for every dialect; the adapter runs them inside its own lock. Absent on purpose: going back.

import { createHash } from 'node:crypto'
import { readdirSync, readFileSync } from 'node:fs'
import { GatewayError } from '../core/errors.ts'

export type Dialect = 'sqlite' | 'postgres'

export interface Migration {
  readonly version: number
  readonly name: string
  readonly sql: string
  /** SHA-256 of the file, hex. */
  readonly checksum: string
}

export interface Applied {
  readonly version: number
  readonly name: string
  readonly checksum: string
}

/** Every migration of this dialect, by rising version. Two files of one version are a fault of ours. */
export function readMigrations(dialect: Dialect, directory = new URL('./migrations/', import.meta.url)): Migration[] {
  const migrations: Migration[] = []
  for (const file of readdirSync(directory).sort()) {
    const match = /^(\d{4})-([a-z0-9-]+)\.([a-z]+)\.sql$/.exec(file)
    if (match === null || match[3] !== dialect) continue
    const sql = readFileSync(new URL(file, directory), 'utf8')
    const version = Number(match[1])
    if (migrations.some((other) => other.version === version)) throw new Error(`two migrations have number ${version}`)
    migrations.push({ version, name: match[2]!, sql, checksum: createHash('sha256').update(sql).digest('hex') })
  }
  return migrations
}

/**
 * What is still to be run. Errors: STORE_UNAVAILABLE where the store was written by a newer release (running on would
 * damage what this release does not know) or where an applied file has been changed since.
 */
export function dueMigrations(known: readonly Migration[], applied: readonly Applied[], where: string): Migration[] {
  const newest = known[known.length - 1]?.version ?? 0
  for (const row of applied) {
    const migration = known.find(({ version }) => version === row.version)
    if (migration === undefined) {
      throw new GatewayError(
        'STORE_UNAVAILABLE',
        `${where} has schema ${row.version} (${row.name}), this release knows schemas up to ${newest}: ` +
          'start the release that wrote it, or restore a backup from before',
      )
    }
    if (migration.checksum !== row.checksum) {
      throw new GatewayError(
        'STORE_UNAVAILABLE',
        `Migration ${row.version} (${row.name}) of ${where} is not the file of this release: ` +
          'the file was changed after it had run; install the release again',
      )
    }
  }
  const done = new Set(applied.map(({ version }) => version))
  const last = Math.max(0, ...done)
  const due = known.filter(({ version }) => !done.has(version))
  const late = due.find(({ version }) => version < last)
  if (late !== undefined) {
    throw new GatewayError(
      'STORE_UNAVAILABLE',
      `Migration ${late.version} (${late.name}) was added before schema ${last} of ${where}: migrations go forward only`,
    )
  }
  return due
}
