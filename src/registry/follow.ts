// The primary's feed: keeps the rows of the registry in memory and equal to the store by its change numbers. A gap in
// the numbers means that changes were missed, and everything is read again. The bus only makes it quicker.

import { LIMITS } from '../core/limits.ts'
import type { Definition } from '../core/model.ts'
import type { Feed, RegistryPart, RegistryRows } from '../ports/feed.ts'
import type { Store } from '../ports/store.ts'

export interface Follower extends Feed {
  /** Reads what changed since the last time, now. */
  sync(): Promise<void>
  start(): Promise<void>
  close(): void
}

const CHANGES_AT_ONCE = 500

export function createFollower(store: Store, onFault: (error: unknown) => void): Follower {
  const listeners = new Set<(rows: RegistryRows) => void>()
  let rows: RegistryRows | null = null
  let running: Promise<void> | null = null
  let again = false
  let timer: NodeJS.Timeout | null = null

  function swap(next: RegistryRows): void {
    rows = next
    for (const listener of listeners) listener(next)
  }

  async function readAll(): Promise<void> {
    const { newest } = await store.changes(0, 1)
    const upstreams = await store.upstreams()
    const parts = new Map<string, RegistryPart>()
    for (const upstream of upstreams) {
      parts.set(upstream.id, { upstream, definitions: await store.definitions(upstream.id) })
    }
    swap({ version: newest, parts, virtualServers: await store.virtualServers() })
  }

  async function readChanges(known: RegistryRows): Promise<void> {
    const { changes, newest } = await store.changes(known.version, CHANGES_AT_ONCE)
    if (newest === known.version) return
    const isWhole = changes.length === newest - known.version && changes[0]?.seq === known.version + 1
    if (!isWhole) return readAll()
    const upstreamIds = new Set(
      changes.filter(({ kind }) => kind === 'upstream' || kind === 'definitions').map(({ id }) => id),
    )
    const redefined = new Set(changes.filter(({ kind }) => kind === 'definitions').map(({ id }) => id))
    const parts = new Map(known.parts)
    for (const id of upstreamIds) {
      const upstream = await store.upstream(id)
      if (upstream === null) {
        parts.delete(id)
        continue
      }
      const old = parts.get(id)
      const definitions: readonly Definition[] =
        old === undefined || redefined.has(id) ? await store.definitions(id) : old.definitions
      parts.set(id, { upstream, definitions })
    }
    const isServers = changes.some(({ kind }) => kind === 'server')
    swap({ version: newest, parts, virtualServers: isServers ? await store.virtualServers() : known.virtualServers })
  }

  async function syncAll(): Promise<void> {
    try {
      do {
        again = false
        await (rows === null ? readAll() : readChanges(rows))
      } while (again)
    } finally {
      // In the same step as the last look at `again`: whoever asks from now on gets a read of his own.
      running = null
    }
  }

  const sync = (): Promise<void> => {
    again = true
    running ??= syncAll()
    return running
  }

  return {
    current: () => rows,
    onChange(listener) {
      listeners.add(listener)
      return () => listeners.delete(listener)
    },
    sync,
    async start() {
      await sync()
      timer = setInterval(() => sync().catch(onFault), LIMITS.changePollMs)
      timer.unref()
    },
    close() {
      if (timer !== null) clearInterval(timer)
    },
  }
}
