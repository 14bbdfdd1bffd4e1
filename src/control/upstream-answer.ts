// An upstream as the API answers it: what was configured, without secrets, beside the state that it is in now.

import type { Definition, UpstreamRow } from '../core/model.ts'
import { rfc3339 } from '../core/time.ts'
import { etagOf } from './precondition.ts'
import type { Answer, RestContext } from './route.ts'
import { timeOrNull } from './rows.ts'
import { redactTransport } from './secrets.ts'

export async function answerOf(row: UpstreamRow, context: RestContext): Promise<Answer> {
  const part = context.feed.current()?.parts.get(row.id)
  const isCurrent = part !== undefined && part.upstream.discovery?.discoveredMs === row.discovery?.discoveredMs
  const definitions = isCurrent
    ? part.definitions
    : row.discovery === null
      ? []
      : await context.store.definitions(row.id)
  // The tag stands for what a person configured; the state beside it changes without it, so nothing is ever "unchanged".
  return { status: 200, body: toAnswer(row, context, definitions), etag: etagOf(row.rowVersion), revalidates: false }
}

export function toAnswer(row: UpstreamRow, context: RestContext, definitions: readonly Definition[]): object {
  const { spec, discovery } = row
  return {
    id: row.id,
    slug: row.slug,
    ...spec,
    title: spec.title ?? null,
    transport: redactTransport(spec.transport),
    enabled: spec.enabled ?? true,
    isolation: spec.isolation ?? 'auto',
    validate: spec.validate ?? null,
    privileged: spec.privileged ?? false,
    origin: row.origin,
    originRef: row.originRef,
    state: stateOf(row, context),
    discovery:
      discovery === null
        ? null
        : {
            era: discovery.era,
            revision: discovery.revision,
            transport: spec.transport.kind === 'stdio' ? 'stdio' : discovery.sse === true ? 'sse' : 'http',
            probedAt: rfc3339(discovery.probedMs),
            discoveredAt: rfc3339(discovery.discoveredMs),
            serverInfo: discovery.serverInfo,
            capabilities: discovery.capabilities,
            stateful: discovery.stateful,
            ttlMs: discovery.ttlMs,
            counts: countsOf(definitions),
            skipped: discovery.skipped,
          },
    createdAt: rfc3339(row.createdMs),
    updatedAt: rfc3339(row.updatedMs),
    version: row.rowVersion,
  }
}

function stateOf(row: UpstreamRow, context: RestContext): object {
  const { state, sinceMs, code, message, attempts, nextRetryMs } = context.discoverer.state(row.id)
  // The row knows first that it was disabled: the discoverer follows.
  const now = row.spec.enabled === false ? 'disabled' : state
  return { state: now, since: rfc3339(sinceMs), code, message, attempts, nextRetryAt: timeOrNull(nextRetryMs) }
}

interface Counts {
  tools: number
  prompts: number
  resources: number
  templates: number
}

/** The array of definitions is replaced, never changed, so what was counted once stays right. */
const counted = new WeakMap<readonly Definition[], Counts>()

function countsOf(definitions: readonly Definition[]): Counts {
  let counts = counted.get(definitions)
  if (counts === undefined) {
    counts = { tools: 0, prompts: 0, resources: 0, templates: 0 }
    for (const { kind } of definitions) counts[`${kind}s`] += 1
    counted.set(definitions, counts)
  }
  return counts
}

export function childrenOf(row: UpstreamRow, context: RestContext): object[] {
  return context.children.list(row.id).map(({ id, pid, owner, startedMs, lastUsedMs, dropped, unset }) => ({
    id,
    pid,
    // An owner is a caller's id or a session's key: enough of it to tell them apart.
    owner: owner === '' ? 'shared' : owner.slice(0, 8),
    startedAt: rfc3339(startedMs),
    lastUsedAt: rfc3339(lastUsedMs),
    dropped,
    unset,
  }))
}
