// Who an API token belongs to, as the store says: the primary's answer to the cache misses of authenticate.ts.
// Absent on purpose: a cache (workers hold one) and anything about JWTs (they are verified where they arrive).

import type { Limits } from '../core/limits.ts'
import type { TokenRow } from '../core/model.ts'
import type { Caller } from '../core/policy.ts'
import type { Clock } from '../core/time.ts'
import type { Store } from '../ports/store.ts'
import { callerId, sameHash, TOKEN_ISSUER } from './api-token.ts'

export interface CallersOptions {
  readonly store: Pick<Store, 'tokenByHash' | 'touchTokens'>
  readonly clock: Clock
  readonly limits: Pick<Limits, 'tokenUsedMs' | 'callerCacheItems'>
}

export interface Callers {
  /** Null when there is no such token or it has expired. Errors: STORE_UNAVAILABLE. */
  caller(tokenHash: string): Promise<Caller | null>
  /** Writes the times of last use that have gathered, and stops the timer. */
  close(): Promise<void>
}

export function callerOfToken(row: TokenRow): Caller {
  return {
    id: callerId('token', TOKEN_ISSUER, row.id),
    issuer: TOKEN_ISSUER,
    subject: row.id,
    name: row.name,
    rights: row.rights,
    expiresMs: row.expiresMs,
  }
}

export function createCallers({ store, clock, limits }: CallersOptions): Callers {
  let used = new Map<string, number>()
  const flush = async (): Promise<void> => {
    if (used.size === 0) return
    const batch = used
    used = new Map()
    // The time of last use is a courtesy: when the store is away it is lost, and nothing else.
    await store.touchTokens(batch).catch(() => {})
  }
  const timer = setInterval(() => void flush(), limits.tokenUsedMs).unref()

  return {
    async caller(tokenHash) {
      const row = await store.tokenByHash(tokenHash)
      if (row === null || !sameHash(row.hash, tokenHash)) return null
      const nowMs = clock.now()
      if (row.expiresMs !== null && row.expiresMs <= nowMs) return null
      if (used.size < limits.callerCacheItems) used.set(row.id, nowMs)
      return callerOfToken(row)
    },
    async close() {
      clearInterval(timer)
      await flush()
    },
  }
}
