// The store: what must not be lost. Asynchronous from its first line; only the primary of a replica opens one.
// Every write of an upstream, definition set, virtual server or token bumps the change counter and appends to
// `changes` in its own transaction. Adapters: adapters/store-sqlite.ts. Contract: test/contract/store.test.ts.

import type {
  Definition,
  Discovery,
  Origin,
  TokenRow,
  UpstreamRow,
  UpstreamSpec,
  VirtualServerRow,
  VirtualServerSpec,
} from '../core/model.ts'
import type { Right } from '../core/policy.ts'

export type ChangeKind = 'upstream' | 'definitions' | 'server' | 'token' | 'session'

export interface Change {
  /** Rises by one with every change; the number of the last one is the registry's version. */
  readonly seq: number
  readonly kind: ChangeKind
  readonly id: string
  readonly atMs: number
}

export interface NewUpstream {
  readonly slug: string
  readonly spec: UpstreamSpec
  readonly origin: Origin
  readonly originRef?: string
}

export interface NewVirtualServer {
  readonly slug: string
  readonly spec: VirtualServerSpec
  readonly origin: Origin
  readonly originRef?: string
}

export interface NewToken {
  readonly id: string
  readonly name: string
  readonly hash: string
  readonly rights: readonly Right[]
  readonly origin: Origin
  readonly originRef?: string
  readonly expiresMs?: number
}

/** A session that ended before its time: 16 bytes and its expiry. */
export interface Tombstone {
  readonly key: string
  readonly expiresMs: number
}

/** What a configuration file wants: rows of `origin: file` are made equal to it in one transaction. */
export interface FileRows {
  readonly origin: 'file' | 'demo'
  readonly upstreams: readonly NewUpstream[]
  readonly virtualServers: readonly NewVirtualServer[]
  readonly tokens: readonly NewToken[]
}

/**
 * A read that starts after a write was answered sees it. Every write is one transaction.
 * Errors: CONFLICT (a slug or name is taken; `data.field` and `data.id` of the other row), PRECONDITION_FAILED (`ifVersion`
 * differs; `data.version`), MANAGED_BY_FILE (the row is not of origin `api`; `data.originRef`), NOT_FOUND, TOO_MANY
 * (`data.limit`), STORE_UNAVAILABLE with what to do. Null from a read means that there is no such row.
 */
export interface Store {
  upstreams(): Promise<UpstreamRow[]>
  upstream(idOrSlug: string): Promise<UpstreamRow | null>
  insertUpstream(row: NewUpstream): Promise<UpstreamRow>
  /** Forgets discovery and definitions where the specification names another server (core/same-server.ts). */
  updateUpstream(id: string, spec: UpstreamSpec, slug: string, ifVersion: number | null): Promise<UpstreamRow>
  deleteUpstream(id: string, ifVersion: number | null): Promise<void>

  definitions(upstreamId: string): Promise<Definition[]>
  /**
   * Stores what a discovery learned, in bounded slices; false when the definitions are byte-equal to what is there.
   * `rowVersion` stays: it is the version of what people wrote. Only new definitions and a new answer of the server are
   * changes, when it was asked is not.
   */
  saveDiscovery(upstreamId: string, discovery: Discovery, definitions: readonly Definition[]): Promise<boolean>

  virtualServers(): Promise<VirtualServerRow[]>
  virtualServer(idOrSlug: string): Promise<VirtualServerRow | null>
  insertVirtualServer(row: NewVirtualServer): Promise<VirtualServerRow>
  updateVirtualServer(
    id: string,
    spec: VirtualServerSpec,
    slug: string,
    ifVersion: number | null,
  ): Promise<VirtualServerRow>
  deleteVirtualServer(id: string, ifVersion: number | null): Promise<void>

  tokens(): Promise<TokenRow[]>
  tokenByHash(hash: string): Promise<TokenRow | null>
  insertToken(row: NewToken): Promise<TokenRow>
  deleteToken(idOrName: string): Promise<void>
  /** Token id -> time of last use; kept in batches, not a change. */
  touchTokens(used: ReadonlyMap<string, number>): Promise<void>

  /**
   * Makes the rows of that origin equal to the file: all in one transaction or a CONFLICT that names every clash. Rows of
   * other origins are never touched; a row that is as it was is not written and keeps what was discovered.
   */
  applyFile(rows: FileRows): Promise<void>

  tombstones(): Promise<Tombstone[]>
  /** All of the batch, or none of it past the bound. */
  addTombstones(batch: readonly Tombstone[]): Promise<void>
  /** Removes tombstones whose time has come; how many. */
  deleteExpired(nowMs: number): Promise<number>

  /**
   * Changes after `seq`, oldest first, at most `limit`; and the newest number. Old changes are trimmed: a first one that is
   * not `seq + 1` is a gap, and the reader reads everything again.
   */
  changes(seq: number, limit: number): Promise<{ changes: Change[]; newest: number }>
  close(): Promise<void>
}
