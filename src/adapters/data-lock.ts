// One gateway per data directory. The kernel holds the lock (an open exclusive transaction of SQLite on the empty file
// `lock`), so that it ends with its process however that ends: there is no stale lock to take over and no race in doing
// so. `lock.json` only says whose it is. Absent on purpose: network file systems that have no locks.

import { closeSync, mkdirSync, openSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { GatewayError } from '../core/errors.ts'
import { LIMITS } from '../core/limits.ts'
import type { Clock } from '../core/time.ts'
import { isForeign } from './owner.ts'

export interface DataLock {
  release(): void
}

export interface LockOwner {
  readonly pid: number
  readonly startedMs: number
}

/** Kept from the garbage collector, which would close them and so free their locks. */
const held = new Set<DatabaseSync>()

/**
 * Takes the directory, made with mode 0700 if need be, for this process.
 * Errors: CONFLICT with the owner's pid, in `data` too; STORE_UNAVAILABLE where the directory cannot be used.
 */
export function lockData(directory: string, clock: Clock, pid: number = process.pid): DataLock {
  const note = join(directory, 'lock.json')
  let lock: DatabaseSync | null = null
  try {
    mkdirSync(directory, { recursive: true, mode: 0o700 })
    if (isForeign(statSync(directory).uid))
      throw new Error('it belongs to another user: give it to this one, or name another with --data')
    // SQLite would let everyone read it, and so lock it.
    closeSync(openSync(join(directory, 'lock'), 'a', 0o600))
    // Two that start together hinder each other for an instant, of which one must come out as the owner.
    lock = new DatabaseSync(join(directory, 'lock'), { timeout: LIMITS.lockMs })
    // The journal in memory: the transaction writes nothing, so the directory gets no file for it.
    lock.exec('PRAGMA journal_mode = MEMORY; BEGIN EXCLUSIVE')
    // By rename, since a second process may be reading it.
    writeFileSync(`${note}.${pid}`, JSON.stringify({ pid, startedMs: clock.now() } satisfies LockOwner), {
      mode: 0o600,
    })
    renameSync(`${note}.${pid}`, note)
  } catch (error) {
    lock?.close()
    throw isBusy(error) ? taken(directory, readOwner(note)) : unusable(directory, error)
  }
  const mine = lock
  held.add(mine)
  return {
    release() {
      if (!held.delete(mine)) return
      rmSync(note, { force: true })
      mine.close()
    },
  }
}

const BUSY = 5

function isBusy(error: unknown): boolean {
  return (error as { errcode?: number }).errcode === BUSY
}

function taken(directory: string, owner: LockOwner | null): GatewayError {
  const who = owner === null ? 'Another gateway' : `The gateway with pid ${owner.pid}`
  const since = owner === null ? '' : ` since ${new Date(owner.startedMs).toISOString()}`
  return new GatewayError(
    'CONFLICT',
    `${who} uses the data directory ${directory}${since}: stop it, or start this one with another --data`,
    { data: { pid: owner?.pid ?? null } },
  )
}

function unusable(directory: string, error: unknown): GatewayError {
  return new GatewayError(
    'STORE_UNAVAILABLE',
    `The data directory ${directory} cannot be used: ${(error as Error).message}`,
    { cause: error },
  )
}

/** Null for the instant between lock and note. */
function readOwner(note: string): LockOwner | null {
  try {
    const { pid, startedMs } = JSON.parse(readFileSync(note, 'utf8')) as Partial<LockOwner>
    return Number.isInteger(pid) && Number.isInteger(startedMs) ? { pid: pid!, startedMs: startedMs! } : null
  } catch {
    return null
  }
}
