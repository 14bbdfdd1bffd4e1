// The ends of sessions: a session lives in its sealed id, so its end is what must be kept. Tombstones are written in
// batches, told to every worker at once, and counted: in all and per caller and minute.

import { GatewayError } from '../core/errors.ts'
import type { Limits } from '../core/limits.ts'
import type { Clock } from '../core/time.ts'
import type { Bus } from '../ports/bus.ts'
import type { Log } from '../ports/log.ts'
import type { Store, Tombstone } from '../ports/store.ts'

export interface SessionEndsDeps {
  readonly store: Pick<Store, 'tombstones' | 'addTombstones' | 'deleteExpired'>
  readonly bus: Pick<Bus, 'publish'>
  /** Closes what the session alone had of upstreams. */
  readonly closeOwner: (session: string) => void
  readonly clock: Clock
  readonly limits: Pick<Limits, 'tombstonesMax' | 'tombstonesPerMinute'>
  readonly log: Log
}

export interface SessionEnds {
  /** Reads the stored ones: call before the first request is answered. */
  load(): Promise<void>
  /** Resolves when it is stored. Errors: RATE_LIMITED, TOO_MANY, STORE_UNAVAILABLE. */
  end(session: string, callerId: string, expiresMs: number): Promise<void>
  /** Those that a worker that starts must know. */
  all(): Iterable<Tombstone>
  close(): Promise<void>
}

const BATCH_MS = 100
const MINUTE_MS = 60_000
const CLEAN_MS = 600_000

export function createSessionEnds(deps: SessionEndsDeps): SessionEnds {
  const { store, bus, clock, limits, log } = deps
  const ended = new Map<string, number>()
  let minute = { startMs: 0, ofCaller: new Map<string, number>() }
  /** Told to everyone, but not in the store yet. */
  const unwritten = new Map<string, number>()
  let writing: Promise<void> | null = null

  /** One write for all that came within a tenth of a second. */
  function write(): Promise<void> {
    writing ??= new Promise<void>((resolve, reject) => {
      setTimeout(() => {
        const due = [...unwritten].map(([key, expiresMs]) => ({ key, expiresMs }))
        unwritten.clear()
        writing = null
        store.addTombstones(due).then(resolve, (error: unknown) => {
          // They go with the next batch: what is not stored would live again after a restart.
          for (const { key, expiresMs } of due) unwritten.set(key, expiresMs)
          reject(error)
        })
      }, BATCH_MS)
    })
    return writing
  }

  const writeLater = (): Promise<void> => write().catch((error: unknown) => log.warn('sessions.write', { error }))

  function count(callerId: string): void {
    const nowMs = clock.now()
    if (nowMs - minute.startMs >= MINUTE_MS) minute = { startMs: nowMs, ofCaller: new Map() }
    const before = minute.ofCaller.get(callerId) ?? 0
    if (before >= limits.tombstonesPerMinute) {
      const left = Math.ceil((minute.startMs + MINUTE_MS - nowMs) / 1_000)
      throw new GatewayError('RATE_LIMITED', `A caller may end ${limits.tombstonesPerMinute} sessions a minute`, {
        retryAfterSeconds: left,
      })
    }
    minute.ofCaller.set(callerId, before + 1)
  }

  const clean = setInterval(() => {
    const nowMs = clock.now()
    for (const [key, expiresMs] of ended) if (expiresMs <= nowMs) ended.delete(key)
    if (unwritten.size > 0) void writeLater()
    store.deleteExpired(nowMs).catch((error: unknown) => log.warn('sessions.clean', { error }))
  }, CLEAN_MS)
  clean.unref()

  return {
    async load() {
      for (const { key, expiresMs } of await store.tombstones()) if (expiresMs > clock.now()) ended.set(key, expiresMs)
    },
    async end(session, callerId, expiresMs) {
      if (ended.has(session)) {
        if (unwritten.has(session)) await write()
        return
      }
      count(callerId)
      if (ended.size >= limits.tombstonesMax)
        throw new GatewayError('TOO_MANY', `No more than ${limits.tombstonesMax} ended sessions are kept`)
      ended.set(session, expiresMs)
      bus.publish('sessionEnded', { session, expiresMs })
      deps.closeOwner(session)
      unwritten.set(session, expiresMs)
      await write()
    },
    *all() {
      for (const [key, expiresMs] of ended) yield { key, expiresMs }
    },
    async close() {
      clearInterval(clean)
      if (unwritten.size > 0) await writeLater()
    },
  }
}
