// Rows of a registry for tests: upstreams with tools, prompts and resources, without a store.

import type {
  Definition,
  Discovery,
  UpstreamRow,
  UpstreamSpec,
  VirtualServerRow,
  VirtualServerSpec,
} from '../../src/core/model.ts'
import type { Feed, RegistryPart, RegistryRows } from '../../src/ports/feed.ts'

export const DISCOVERY: Discovery = {
  era: 'legacy',
  revision: '2025-11-25',
  probedMs: 0,
  discoveredMs: 0,
  serverInfo: { name: 'fake', version: '1' },
  capabilities: { tools: {}, prompts: {}, resources: {}, completions: {}, logging: {} },
  stateful: false,
  ttlMs: null,
  skipped: [],
}

export function upstreamRow(
  slug: string,
  spec: Partial<UpstreamSpec> = {},
  discovery: Partial<Discovery> | null = {},
  createdMs = 1,
): UpstreamRow {
  return {
    id: `id-${slug}`,
    slug,
    spec: { transport: { kind: 'http', urls: ['http://127.0.0.1:1/mcp'] }, ...spec },
    origin: 'api',
    originRef: null,
    discovery: discovery === null ? null : { ...DISCOVERY, ...discovery },
    rowVersion: 1,
    createdMs,
    updatedMs: createdMs,
  }
}

export function tool(name: string, members: object = {}, seenMs?: number): Definition {
  const json = JSON.stringify({ name, description: `does ${name}`, inputSchema: { type: 'object' }, ...members })
  return { kind: 'tool', name, json, ...(seenMs === undefined ? {} : { seenMs }) }
}

export function prompt(name: string): Definition {
  return { kind: 'prompt', name, json: JSON.stringify({ name }) }
}

export function resource(uri: string): Definition {
  return { kind: 'resource', name: uri, json: JSON.stringify({ uri, name: uri }) }
}

export function template(uriTemplate: string): Definition {
  return { kind: 'template', name: uriTemplate, json: JSON.stringify({ uriTemplate, name: uriTemplate }) }
}

export function serverRow(slug: string, spec: VirtualServerSpec): VirtualServerRow {
  return { id: `id-${slug}`, slug, spec, origin: 'api', originRef: null, rowVersion: 1, createdMs: 1, updatedMs: 1 }
}

export function registryRows(
  parts: readonly RegistryPart[],
  virtualServers: readonly VirtualServerRow[] = [],
  version = 1,
): RegistryRows {
  return { version, parts: new Map(parts.map((part) => [part.upstream.id, part])), virtualServers }
}

/** A feed that a test changes by hand. */
export function createFakeFeed(first: RegistryRows | null): Feed & { set(rows: RegistryRows): void } {
  let rows = first
  const listeners = new Set<(rows: RegistryRows) => void>()
  return {
    current: () => rows,
    onChange(listener) {
      listeners.add(listener)
      return () => listeners.delete(listener)
    },
    set(next) {
      rows = next
      for (const listener of listeners) listener(next)
    },
  }
}
