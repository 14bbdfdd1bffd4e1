// Joined pages of lists, bounded by their bytes: one cache in a worker, for all scopes and both shapes.

import { LRUCache } from 'lru-cache'

export type PageCache = LRUCache<string, Buffer>

/** What an entry costs besides its bytes. */
const ENTRY_BYTES = 200

export function createPageCache(bytesMax: number): PageCache {
  return new LRUCache({ maxSize: bytesMax, sizeCalculation: (page) => page.length + ENTRY_BYTES })
}
