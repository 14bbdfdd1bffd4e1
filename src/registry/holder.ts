// Holds the current snapshot of a process: follows a feed, builds one snapshot at a time, swaps it whole. A call that
// runs keeps the snapshot it began with.

import { LIMITS } from '../core/limits.ts'
import type { Clock } from '../core/time.ts'
import type { Feed, RegistryRows } from '../ports/feed.ts'
import { type BuildDefaults, createBuilder, type Yield } from './build.ts'
import type { Scope, Snapshot } from './snapshot.ts'

export interface Holder {
  /** Never null after `ready`. */
  current(): Snapshot
  ready(): Promise<void>
  /** Resolves when everything that the feed has said is in the current snapshot. */
  built(): Promise<void>
  /** After each swap; `changed` is false when only state moved. */
  onSwap(listener: (snapshot: Snapshot) => void): () => void
  /**
   * Resolves with the newest snapshot once every upstream of the scope has been discovered, or when the longest of them
   * has been waited for 2 s since it was first seen; null when there is nothing to wait for.
   */
  settle(scope: Scope): Promise<void> | null
  close(): void
}

const EMPTY: Snapshot = { definitionVersion: 0, upstreams: new Map(), scopes: new Map() }

function yieldEvery(sliceMs: number): Yield {
  let until = performance.now() + sliceMs
  return () => {
    if (performance.now() < until) return null
    return new Promise<void>((resolve) => {
      setImmediate(() => {
        until = performance.now() + sliceMs
        resolve()
      })
    })
  }
}

export function createHolder(
  feed: Feed,
  defaults: BuildDefaults,
  clock: Clock,
  onFault: (error: unknown) => void,
): Holder {
  const builder = createBuilder(defaults, yieldEvery(LIMITS.sliceMs))
  const listeners = new Set<(snapshot: Snapshot) => void>()
  const firstSeenMs = new Map<string, number>()
  let snapshot = EMPTY
  let waiting: RegistryRows | null = null
  let isBuilding = false
  let building: Promise<void> = Promise.resolve()
  let settleReady: (() => void) | null = null
  const isReady = new Promise<void>((resolve) => {
    settleReady = resolve
  })

  async function buildAll(): Promise<void> {
    isBuilding = true
    try {
      while (waiting !== null) {
        const rows = waiting
        waiting = null
        const next = await builder.build(rows)
        for (const id of next.upstreams.keys()) if (!firstSeenMs.has(id)) firstSeenMs.set(id, clock.now())
        for (const id of firstSeenMs.keys()) if (!next.upstreams.has(id)) firstSeenMs.delete(id)
        if (next !== snapshot) {
          snapshot = next
          for (const listener of listeners) listener(next)
        }
        settleReady?.()
        settleReady = null
      }
    } finally {
      isBuilding = false
    }
  }

  const take = (rows: RegistryRows): void => {
    waiting = rows
    if (!isBuilding) building = buildAll().catch(onFault)
  }
  const first = feed.current()
  if (first !== null) take(first)
  const unfollow = feed.onChange(take)

  /** How long the undiscovered upstreams of a scope may still be waited for. */
  function patienceMs(scope: Scope): number {
    let most = 0
    for (const upstream of scope.upstreams) {
      if (snapshot.upstreams.get(upstream.id)?.discovery !== null) continue
      most = Math.max(most, (firstSeenMs.get(upstream.id) ?? 0) + LIMITS.notReadyWaitMs - clock.now())
    }
    return most
  }

  return {
    current: () => snapshot,
    ready: () => isReady,
    built: () => building,
    onSwap(listener) {
      listeners.add(listener)
      return () => listeners.delete(listener)
    },
    settle(scope) {
      const wait = patienceMs(scope)
      if (wait <= 0) return null
      return new Promise((resolve) => {
        const done = (): void => {
          clearTimeout(timer)
          listeners.delete(check)
          resolve()
        }
        const check = (): void => {
          if (patienceMs(scope) <= 0) done()
        }
        const timer = setTimeout(done, wait)
        listeners.add(check)
      })
    },
    close: unfollow,
  }
}
