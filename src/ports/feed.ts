// The feed: rows of the registry on their way to the data plane. In the primary it follows the store
// (registry/follow.ts); in a worker it is filled by process messages (adapters/feed-workers.ts).

import type { Definition, UpstreamRow, VirtualServerRow } from '../core/model.ts'

export interface RegistryPart {
  readonly upstream: UpstreamRow
  /** In the order of the upstream's own lists. The array is replaced, never changed: same array, same definitions. */
  readonly definitions: readonly Definition[]
}

export interface RegistryRows {
  /** Number of the last change that these rows contain. */
  readonly version: number
  readonly parts: ReadonlyMap<string, RegistryPart>
  readonly virtualServers: readonly VirtualServerRow[]
}

export interface Feed {
  /** Null until the first rows have arrived. */
  current(): RegistryRows | null
  /** After every change; several changes may come as one. */
  onChange(listener: (rows: RegistryRows) => void): () => void
}
