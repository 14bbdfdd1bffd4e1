// A whole store in memory, for tests of what stands above the store: no thread, no file, nothing kept. It passes the
// same contract suite as the real ones (test/contract/). `fault` makes it be away.

import { randomBytes } from 'node:crypto'
import { isDeepStrictEqual } from 'node:util'
import { type Fault, GatewayError } from '../../src/core/errors.ts'
import { LIMITS } from '../../src/core/limits.ts'
import type {
  Definition,
  Discovery,
  Origin,
  TokenRow,
  UpstreamRow,
  UpstreamSpec,
  VirtualServerRow,
  VirtualServerSpec,
} from '../../src/core/model.ts'
import { isSameServer } from '../../src/core/same-server.ts'
import type { Clock } from '../../src/core/time.ts'
import { uuid7 } from '../../src/core/uuid.ts'
import type { Change, ChangeKind, FileRows, NewToken, Store } from '../../src/ports/store.ts'

const BOUNDS = {
  upstreamsMax: LIMITS.upstreamsMax,
  virtualServersMax: LIMITS.virtualServersMax,
  tokensMax: LIMITS.tokensMax,
  tombstonesMax: LIMITS.tombstonesMax,
  changesKept: LIMITS.changesKept,
}

export interface MemoryStore extends Store {
  /** Thrown by every method while it is set. */
  fault: GatewayError | null
}

export interface MemoryStoreOptions {
  readonly clock: Clock
  readonly limits?: { readonly [K in keyof typeof BOUNDS]?: number }
}

type Row = UpstreamRow | VirtualServerRow | TokenRow
type Mutable<T> = { -readonly [K in keyof T]: T[K] }

export function createMemoryStore({ clock, limits }: MemoryStoreOptions): MemoryStore {
  const bounds = { ...BOUNDS, ...limits }
  const upstreams = new Map<string, UpstreamRow>()
  const servers = new Map<string, VirtualServerRow>()
  const tokens = new Map<string, TokenRow>()
  const definitions = new Map<string, readonly Definition[]>()
  const tombstones = new Map<string, number>()
  let changes: Change[] = []
  let seq = 0

  const changed = (kind: ChangeKind, id: string): void => {
    seq += 1
    changes.push({ seq, kind, id, atMs: clock.now() })
    changes = changes.slice(-bounds.changesKept)
  }
  const newId = (): string => uuid7(clock.now(), randomBytes(10))
  const base = (origin: Origin, originRef: string | undefined) => ({
    id: newId(),
    origin,
    originRef: originRef ?? null,
    rowVersion: 1,
    createdMs: clock.now(),
    updatedMs: clock.now(),
  })

  const refuseForeign = (noun: string, row: Row): void => {
    if (row.origin !== 'api') throw new GatewayError('MANAGED_BY_FILE', `The ${noun} is managed by ${row.originRef}`)
  }
  const refuseVersion = (row: Row, ifVersion: number | null): void => {
    if (ifVersion !== null && row.rowVersion !== ifVersion)
      throw new GatewayError('PRECONDITION_FAILED', `It has version ${row.rowVersion}, not ${ifVersion}`)
  }
  const refuseMore = (count: number, limit: keyof typeof BOUNDS): void => {
    if (count >= bounds[limit]) throw new GatewayError('TOO_MANY', `The limit ${limit} is ${bounds[limit]}`)
  }
  const bySlug = <T extends { slug: string }>(rows: ReadonlyMap<string, T>, slug: string): T | undefined =>
    [...rows.values()].find((row) => row.slug === slug)
  const refuseSlug = <T extends { id: string; slug: string }>(
    rows: ReadonlyMap<string, T>,
    slug: string,
    id?: string,
  ) => {
    const taken = bySlug(rows, slug)
    if (taken !== undefined && taken.id !== id) throw new GatewayError('CONFLICT', `The slug "${slug}" is taken`)
  }
  const need = <T>(rows: ReadonlyMap<string, T>, id: string): T => {
    const row = rows.get(id)
    if (row === undefined) throw new GatewayError('NOT_FOUND', `There is no ${id}`)
    return row
  }
  const find = <T extends { slug: string }>(rows: ReadonlyMap<string, T>, idOrSlug: string): T | null =>
    rows.get(idOrSlug) ?? bySlug(rows, idOrSlug) ?? null

  const changeUpstream = (row: UpstreamRow, next: Partial<UpstreamRow>): UpstreamRow => {
    const forget = next.spec !== undefined && !isSameServer(row.spec.transport, next.spec.transport)
    const written: UpstreamRow = {
      ...row,
      ...next,
      ...(forget ? { discovery: null } : {}),
      rowVersion: row.rowVersion + 1,
      updatedMs: clock.now(),
    }
    upstreams.set(row.id, written)
    changed('upstream', row.id)
    if (forget) {
      definitions.delete(row.id)
      changed('definitions', row.id)
    }
    return written
  }
  const changeServer = (row: VirtualServerRow, next: Partial<VirtualServerRow>): VirtualServerRow => {
    const written = { ...row, ...next, rowVersion: row.rowVersion + 1, updatedMs: clock.now() }
    servers.set(row.id, written)
    changed('server', row.id)
    return written
  }
  const dropUpstream = (id: string): void => {
    upstreams.delete(id)
    definitions.delete(id)
    changed('upstream', id)
  }
  const tokenTaken = (row: NewToken): TokenRow | undefined =>
    [...tokens.values()].find(({ id, name, hash }) => id === row.id || name === row.name || hash === row.hash)
  const addToken = (row: NewToken, before: TokenRow | undefined): TokenRow => {
    const written: TokenRow = {
      id: row.id,
      name: row.name,
      hash: row.hash,
      rights: row.rights,
      origin: row.origin,
      originRef: row.originRef ?? null,
      createdMs: before?.createdMs ?? clock.now(),
      expiresMs: row.expiresMs ?? null,
      lastUsedMs: before?.hash === row.hash ? before.lastUsedMs : null,
      rowVersion: (before?.rowVersion ?? 0) + 1,
    }
    tokens.set(row.id, written)
    changed('token', row.id)
    return written
  }

  function clashesOf(rows: FileRows): Fault[] {
    const faults: Fault[] = []
    const check = (at: string, taken: Row | undefined, isTwice: boolean): void => {
      if (isTwice || (taken !== undefined && taken.origin !== rows.origin)) faults.push({ at, message: 'is taken' })
    }
    const isTwice = <T>(list: readonly T[], key: (item: T) => string, item: T): boolean =>
      list.filter((other) => key(other) === key(item)).length > 1
    for (const row of rows.upstreams)
      check(
        row.originRef ?? row.slug,
        bySlug(upstreams, row.slug),
        isTwice(rows.upstreams, ({ slug }) => slug, row),
      )
    for (const row of rows.virtualServers)
      check(
        row.originRef ?? row.slug,
        bySlug(servers, row.slug),
        isTwice(rows.virtualServers, ({ slug }) => slug, row),
      )
    for (const row of rows.tokens)
      check(
        row.originRef ?? row.name,
        tokenTaken(row),
        isTwice(rows.tokens, ({ name }) => name, row),
      )
    return faults
  }

  function applyFile(rows: FileRows): void {
    const faults = clashesOf(rows)
    if (faults.length > 0)
      throw new GatewayError('CONFLICT', faults.map(({ at, message }) => `${at} ${message}`).join('\n'), { faults })
    for (const row of [...upstreams.values()].filter(({ origin }) => origin === rows.origin)) {
      const wanted = rows.upstreams.find(({ slug }) => slug === row.slug)
      if (wanted === undefined) dropUpstream(row.id)
      else if (!isDeepStrictEqual(wanted.spec, row.spec))
        changeUpstream(row, { spec: wanted.spec, originRef: wanted.originRef ?? null })
      else upstreams.set(row.id, { ...row, originRef: wanted.originRef ?? null })
    }
    for (const { slug, spec, origin, originRef } of rows.upstreams) {
      if (bySlug(upstreams, slug) !== undefined) continue
      const row = { ...base(origin, originRef), slug, spec, discovery: null }
      upstreams.set(row.id, row)
      changed('upstream', row.id)
    }
    for (const row of [...servers.values()].filter(({ origin }) => origin === rows.origin)) {
      const wanted = rows.virtualServers.find(({ slug }) => slug === row.slug)
      if (wanted === undefined) {
        servers.delete(row.id)
        changed('server', row.id)
      } else if (!isDeepStrictEqual(wanted.spec, row.spec))
        changeServer(row, { spec: wanted.spec, originRef: wanted.originRef ?? null })
      else servers.set(row.id, { ...row, originRef: wanted.originRef ?? null })
    }
    for (const { slug, spec, origin, originRef } of rows.virtualServers) {
      if (bySlug(servers, slug) !== undefined) continue
      const row = { ...base(origin, originRef), slug, spec }
      servers.set(row.id, row)
      changed('server', row.id)
    }
    const before = new Map<string, TokenRow>()
    for (const row of [...tokens.values()].filter(({ origin }) => origin === rows.origin)) {
      const wanted = rows.tokens.find(({ name }) => name === row.name)
      const isSame =
        wanted?.id === row.id &&
        wanted.hash === row.hash &&
        (wanted.expiresMs ?? null) === row.expiresMs &&
        isDeepStrictEqual(wanted.rights, row.rights)
      if (isSame) tokens.set(row.id, { ...row, originRef: wanted.originRef ?? null })
      else {
        before.set(row.name, row)
        tokens.delete(row.id)
        changed('token', row.id)
      }
    }
    for (const row of rows.tokens) if (!tokens.has(row.id)) addToken(row, before.get(row.name))
    if (
      upstreams.size > bounds.upstreamsMax ||
      servers.size > bounds.virtualServersMax ||
      tokens.size > bounds.tokensMax
    )
      throw new GatewayError('TOO_MANY')
  }

  /** All of a write or nothing of it. */
  function atomic(write: () => void): void {
    const maps = [upstreams, servers, tokens, definitions, tombstones] as Map<string, unknown>[]
    const kept = maps.map((map) => [...map])
    const keptChanges = changes
    const keptSeq = seq
    try {
      write()
    } catch (error) {
      for (const [at, map] of maps.entries()) {
        map.clear()
        for (const [key, value] of kept[at]!) map.set(key, value)
      }
      changes = keptChanges
      seq = keptSeq
      throw error
    }
  }

  const store = {
    async upstreams() {
      return [...upstreams.values()]
    },
    async upstream(idOrSlug: string) {
      return find(upstreams, idOrSlug)
    },
    async insertUpstream({ slug, spec, origin, originRef }) {
      refuseSlug(upstreams, slug)
      refuseMore(upstreams.size, 'upstreamsMax')
      const row: UpstreamRow = { ...base(origin, originRef), slug, spec, discovery: null }
      upstreams.set(row.id, row)
      changed('upstream', row.id)
      return row
    },
    async updateUpstream(id: string, spec: UpstreamSpec, slug: string, ifVersion: number | null) {
      const row = need(upstreams, id)
      refuseForeign('upstream', row)
      refuseVersion(row, ifVersion)
      refuseSlug(upstreams, slug, id)
      return changeUpstream(row, { spec, slug })
    },
    async deleteUpstream(id: string, ifVersion: number | null) {
      const row = need(upstreams, id)
      refuseForeign('upstream', row)
      refuseVersion(row, ifVersion)
      dropUpstream(id)
    },
    async definitions(upstreamId: string) {
      return [...(definitions.get(upstreamId) ?? [])]
    },
    async saveDiscovery(upstreamId: string, discovery: Discovery, found: readonly Definition[]) {
      const row = need(upstreams, upstreamId)
      const timeless = (of: Discovery | null) => of && { ...of, probedMs: 0, discoveredMs: 0 }
      if (!isDeepStrictEqual(timeless(row.discovery), timeless(discovery))) changed('upstream', upstreamId)
      upstreams.set(upstreamId, { ...row, discovery })
      const bare = found.map(({ kind, name, json }) => ({ kind, name, json }))
      const known = (definitions.get(upstreamId) ?? []).map(({ kind, name, json }) => ({ kind, name, json }))
      if (isDeepStrictEqual(bare, known)) return false
      definitions.set(upstreamId, found)
      changed('definitions', upstreamId)
      return true
    },
    async virtualServers() {
      return [...servers.values()]
    },
    async virtualServer(idOrSlug: string) {
      return find(servers, idOrSlug)
    },
    async insertVirtualServer({ slug, spec, origin, originRef }) {
      refuseSlug(servers, slug)
      refuseMore(servers.size, 'virtualServersMax')
      const row: VirtualServerRow = { ...base(origin, originRef), slug, spec }
      servers.set(row.id, row)
      changed('server', row.id)
      return row
    },
    async updateVirtualServer(id: string, spec: VirtualServerSpec, slug: string, ifVersion: number | null) {
      const row = need(servers, id)
      refuseForeign('virtual server', row)
      refuseVersion(row, ifVersion)
      refuseSlug(servers, slug, id)
      return changeServer(row, { spec, slug })
    },
    async deleteVirtualServer(id: string, ifVersion: number | null) {
      const row = need(servers, id)
      refuseForeign('virtual server', row)
      refuseVersion(row, ifVersion)
      servers.delete(id)
      changed('server', id)
    },
    async tokens() {
      return [...tokens.values()]
    },
    async tokenByHash(hash: string) {
      return [...tokens.values()].find((row) => row.hash === hash) ?? null
    },
    async insertToken(row: NewToken) {
      if (tokenTaken(row) !== undefined) throw new GatewayError('CONFLICT', `The name "${row.name}" is taken`)
      refuseMore(tokens.size, 'tokensMax')
      return addToken(row, undefined)
    },
    async deleteToken(idOrName: string) {
      const row = tokens.get(idOrName) ?? [...tokens.values()].find(({ name }) => name === idOrName)
      if (row === undefined) throw new GatewayError('NOT_FOUND', `There is no token "${idOrName}"`)
      refuseForeign('token', row)
      tokens.delete(row.id)
      changed('token', row.id)
    },
    async touchTokens(used: ReadonlyMap<string, number>) {
      for (const [id, ms] of used) {
        const row = tokens.get(id) as Mutable<TokenRow> | undefined
        if (row !== undefined) tokens.set(id, { ...row, lastUsedMs: Math.max(row.lastUsedMs ?? 0, ms) })
      }
    },
    async applyFile(rows: FileRows) {
      atomic(() => applyFile(rows))
    },
    async tombstones() {
      return [...tombstones].map(([key, expiresMs]) => ({ key, expiresMs }))
    },
    async addTombstones(batch) {
      atomic(() => {
        for (const { key, expiresMs } of batch) tombstones.set(key, Math.max(tombstones.get(key) ?? 0, expiresMs))
        if (tombstones.size > bounds.tombstonesMax) throw new GatewayError('TOO_MANY')
      })
    },
    async deleteExpired(nowMs: number) {
      const over = [...tombstones].filter(([, expiresMs]) => expiresMs <= nowMs)
      for (const [key] of over) tombstones.delete(key)
      return over.length
    },
    async changes(after: number, limit: number) {
      return { changes: changes.filter((change) => change.seq > after).slice(0, limit), newest: seq }
    },
    async close() {},
  } satisfies Store

  const memory: MemoryStore = { ...store, fault: null }
  // What comes out is a copy: nobody can change a stored row by changing what was read.
  for (const [name, method] of Object.entries(store)) {
    const call = method as (...args: unknown[]) => Promise<unknown>
    Object.assign(memory, {
      [name]: async (...args: unknown[]) => {
        if (memory.fault !== null) throw memory.fault
        return structuredClone(await call(...structuredClone(args)))
      },
    })
  }
  return memory
}
