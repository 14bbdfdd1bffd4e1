// Rows for tests of the store.

import { createHash } from 'node:crypto'
import type { Definition, Discovery, UpstreamSpec, VirtualServerSpec } from '../../src/core/model.ts'
import type { FileRows, NewToken, NewUpstream, NewVirtualServer, Store, Tombstone } from '../../src/ports/store.ts'

export function httpSpec(more: Partial<UpstreamSpec> = {}): UpstreamSpec {
  return { transport: { kind: 'http', urls: ['http://127.0.0.1:9/mcp'] }, ...more }
}

export function newUpstream(slug: string, more: Partial<NewUpstream> = {}): NewUpstream {
  return { slug, spec: httpSpec(), origin: 'api', ...more }
}

export function newServer(slug: string, more: Partial<NewVirtualServer> = {}): NewVirtualServer {
  const spec: VirtualServerSpec = { members: [{ upstream: 'a' }] }
  return { slug, spec, origin: 'api', ...more }
}

export function newToken(name: string, more: Partial<NewToken> = {}): NewToken {
  const hash = createHash('sha256').update(name).digest('hex')
  return { id: `id-${name}`, name, hash, rights: ['use'], origin: 'api', ...more }
}

export function discovery(more: Partial<Discovery> = {}): Discovery {
  return {
    era: 'modern',
    revision: '2026-07-28',
    probedMs: 1,
    discoveredMs: 2,
    serverInfo: { name: 'sample', version: '1' },
    capabilities: { tools: {} },
    stateful: false,
    ttlMs: null,
    skipped: [],
    ...more,
  }
}

/** `mark` stands in every definition, so that a mixture of two sets shows. */
export function manyDefinitions(count: number, mark: string): Definition[] {
  return Array.from({ length: count }, (_, at) => ({
    kind: 'tool' as const,
    name: `tool-${at}`,
    json: JSON.stringify({ name: `tool-${at}`, description: `${mark} ${'x'.repeat(200)}` }),
  }))
}

export function manyTombstones(count: number, expiresMs: (at: number) => number): Tombstone[] {
  return Array.from({ length: count }, (_, at) => ({
    key: at.toString(16).padStart(32, '0'),
    expiresMs: expiresMs(at),
  }))
}

export function fileRows(more: Partial<FileRows> = {}): FileRows {
  return { origin: 'file', upstreams: [], virtualServers: [], tokens: [], ...more }
}

/** Without the time at which each was first offered, which the store adds. */
export async function bareDefinitions(store: Pick<Store, 'definitions'>, upstreamId: string): Promise<Definition[]> {
  return (await store.definitions(upstreamId)).map(({ kind, name, json }) => ({ kind, name, json }))
}
