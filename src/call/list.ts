// Lists: a join of slices that were encoded when the upstream changed. A joined page is kept in one bounded cache, so
// that a warm list writes bytes that are there already. Cursors are keysets under a MAC: any worker can go on.

import type { Call, Reply } from '../core/call.ts'
import { GatewayError } from '../core/errors.ts'
import { LIMITS } from '../core/limits.ts'
import type { Era } from '../core/model.ts'
import { META } from '../mcp/classify.ts'
import type { Sealer } from '../mcp/seal.ts'
import type { ListedTarget, Scope } from '../registry/snapshot.ts'
import type { Gateway } from './gateway.ts'
import { scopeOf } from './route.ts'

export type ListKind = 'tools' | 'prompts' | 'resources' | 'resourceTemplates'

const KIND_OF_METHOD: Readonly<Record<string, ListKind>> = {
  'tools/list': 'tools',
  'prompts/list': 'prompts',
  'resources/list': 'resources',
  'resources/templates/list': 'resourceTemplates',
}

/** How long a 2026-07-28 client may keep a list: the upper bound of our own registry caches. */
const TTL_MS = 20_000
const PURPOSE = 'cursor'
/** The longest key in JSON, where a character may take six bytes, in base64; and what stands around it. */
const CURSOR_CHARS_MAX = 8 * LIMITS.uriChars + 400

function itemsOf(scope: Scope, kind: ListKind): readonly ListedTarget[] {
  if (kind === 'tools') return scope.tools
  if (kind === 'prompts') return scope.prompts
  return kind === 'resources' ? scope.resources : scope.templates
}

function keyOf(target: ListedTarget): string {
  if (target.kind === 'resource') return target.uri
  return target.kind === 'template' ? target.template : target.exposed
}

/** The first index behind `after`; items are sorted by key. */
function indexAfter(items: readonly ListedTarget[], after: string): number {
  let low = 0
  let high = items.length
  while (low < high) {
    const middle = (low + high) >> 1
    if (keyOf(items[middle]!) <= after) low = middle + 1
    else high = middle
  }
  return low
}

function cursorText(sealer: Sealer, scope: Scope, kind: ListKind, after: string): string {
  const plain = Buffer.from(JSON.stringify([kind, scope.id, after]))
  return Buffer.concat([sealer.mac(PURPOSE, plain), plain]).toString('base64url')
}

function readCursor(sealer: Sealer, scope: Scope, kind: ListKind, cursor: unknown): string {
  if (typeof cursor === 'string' && cursor.length <= CURSOR_CHARS_MAX) {
    const bytes = Buffer.from(cursor, 'base64url')
    const plain = bytes.subarray(16)
    if (bytes.length > 16 && sealer.checkMac(PURPOSE, plain, bytes.subarray(0, 16))) {
      const [cursorKind, scopeId, after] = JSON.parse(plain.toString('utf8')) as [string, string, string]
      if (cursorKind === kind && scopeId === scope.id) return after
    }
  }
  throw new GatewayError('INVALID_CURSOR')
}

function joinPage(gateway: Gateway, scope: Scope, kind: ListKind, era: Era, from: number): Buffer {
  const items = itemsOf(scope, kind)
  const page = items.slice(from, from + LIMITS.pageItems)
  const parts: Buffer[] = [Buffer.from(`{"${kind}":[`)]
  const comma = Buffer.from(',')
  for (const target of page) {
    if (parts.length > 1) parts.push(comma)
    parts.push(era === 'modern' ? target.modern : target.legacy)
  }
  const isLast = from + page.length >= items.length
  const next = isLast ? '' : `,"nextCursor":"${cursorText(gateway.sealer, scope, kind, keyOf(page[page.length - 1]!))}"`
  const hints = era === 'modern' ? `,${modernHints(gateway, scope)}` : ''
  parts.push(Buffer.from(`]${next}${hints}}`))
  return Buffer.concat(parts)
}

/** What 2026-07-28 wants of every complete list and of server/discover. */
export function modernHints(gateway: Gateway, scope: Scope, meta: Record<string, unknown> = {}): string {
  const ttlMs = scope.upstreams.reduce((least, { discovery }) => Math.min(least, discovery?.ttlMs ?? TTL_MS), TTL_MS)
  const cacheScope = gateway.open ? 'public' : 'private'
  const server = JSON.stringify({ [META.server]: serverInfo(gateway, scope), ...meta })
  return `"resultType":"complete","ttlMs":${ttlMs},"cacheScope":"${cacheScope}","_meta":${server}`
}

export function serverInfo(gateway: Gateway, scope: Scope): Record<string, unknown> {
  return {
    name: scope.slug === '' ? 'mcp-gateway' : scope.slug,
    version: gateway.version,
    ...(scope.title === null ? {} : { title: scope.title }),
    ...(scope.description === null ? {} : { description: scope.description }),
    ...(scope.icons === null ? {} : { icons: scope.icons }),
  }
}

/** The scope of a call when its upstreams have been discovered, or have had their time. Errors: UPSTREAM_NOT_READY. */
export async function settledScope(call: Call, gateway: Gateway): Promise<Scope> {
  const scope = scopeOf(gateway.registry.current(), call)
  const settled = gateway.registry.settle(scope)
  if (settled === null) return scope
  await settled
  return scopeOf(gateway.registry.current(), call)
}

/** Answers tools/list, prompts/list, resources/list and resources/templates/list. */
export async function list(call: Call, gateway: Gateway): Promise<Reply> {
  const kind = KIND_OF_METHOD[call.method]!
  gateway.authorize(call)
  const scope = await settledScope(call, gateway)
  if (scope.upstreams.length > 0 && scope.upstreams.every(({ discovery }) => discovery === null)) {
    throw new GatewayError('UPSTREAM_NOT_READY', undefined, { retryAfterSeconds: 2 })
  }
  const cursor = call.params.value('cursor')
  const from =
    cursor === undefined || cursor === null
      ? 0
      : indexAfter(itemsOf(scope, kind), readCursor(gateway.sealer, scope, kind, cursor))
  const key = `${gateway.registry.current().definitionVersion}\n${scope.id}\n${kind}\n${call.era}\n${from}`
  const known = gateway.pages.get(key)
  if (known !== undefined) return { result: known }
  const page = joinPage(gateway, scope, kind, call.era, from)
  gateway.pages.set(key, page)
  return { result: page }
}
