// /v1/tools, /v1/prompts, /v1/resources: what callers can list and call, as the snapshot has it, under the names that
// they use. Read from the very bytes that clients get, so that the two cannot disagree.

import { GatewayError } from '../core/errors.ts'
import type { UpstreamView } from '../core/model.ts'
import type { ListedTarget, Scope, Snapshot } from '../registry/snapshot.ts'
import { isObject } from './merge-patch.ts'
import { CURSOR, cursorAfter, LIMIT, readPage } from './page.ts'
import type { Answer, QueryParameter, RestContext, RestRequest, Route } from './route.ts'
import { missing } from './rows.ts'
import { listOf, PROMPT, RESOURCE, TOOL } from './schemas.ts'

const QUERY: Readonly<Record<string, QueryParameter>> = {
  upstream: {
    description: 'Only those of this upstream, by slug or id.',
    schema: { type: 'string', minLength: 1, maxLength: 64 },
  },
  server: {
    description: 'Those of this virtual server, by slug or id, under the names that they have there.',
    schema: { type: 'string', minLength: 1, maxLength: 64 },
  },
  q: {
    description: 'Only those with this text in a name, title or description, whatever its case.',
    schema: { type: 'string', minLength: 1, maxLength: 200 },
  },
  limit: LIMIT,
  cursor: CURSOR,
}

export const definitionRoutes: readonly Route[] = [
  {
    method: 'GET',
    path: '/v1/tools',
    permission: 'use',
    summary: 'List tools',
    query: QUERY,
    answers: { 200: listOf(TOOL) },
    handle: (request, context) => list('tools', request, context, (scope) => scope.tools),
  },
  {
    method: 'GET',
    path: '/v1/prompts',
    permission: 'use',
    summary: 'List prompts',
    query: QUERY,
    answers: { 200: listOf(PROMPT) },
    handle: (request, context) => list('prompts', request, context, (scope) => scope.prompts),
  },
  {
    method: 'GET',
    path: '/v1/resources',
    permission: 'use',
    summary: 'List resources, then templates of resources',
    query: QUERY,
    answers: { 200: listOf(RESOURCE) },
    handle: (request, context) =>
      list('resources', request, context, (scope) => [...scope.resources, ...scope.templates]),
  },
]

/** Items read between two turns of the event loop: some ms at most. */
const ITEMS_AT_ONCE = 100

async function list(
  noun: string,
  { query }: RestRequest,
  context: RestContext,
  targetsOf: (scope: Scope) => readonly ListedTarget[],
): Promise<Answer> {
  const { server = '', q = '' } = query
  const snapshot = context.snapshot()
  const everything = snapshot?.scopes.get('')
  if (snapshot === null || everything === undefined) throw new GatewayError('UPSTREAM_NOT_READY')
  const scope = server === '' ? everything : snapshot.scopes.get(server)
  if (scope === undefined) throw missing('virtual server', server)
  const upstream = query.upstream === undefined ? null : upstreamOf(snapshot, query.upstream)
  const page = readPage(context.sealer, [noun, scope.id, upstream?.id, q], query)

  const items: object[] = []
  const words = q.toLowerCase()
  let lastKey = ''
  let read = 0
  for (const target of targetsOf(scope)) {
    const key = keyOf(target)
    if (upstream !== null && target.upstream.id !== upstream.id) continue
    if (page.after !== null && key <= page.after) continue
    read += 1
    if (read % ITEMS_AT_ONCE === 0) await new Promise(setImmediate)
    const item = toAnswer(target)
    if (words !== '' && !contains(item, words)) continue
    if (items.length === page.limit) {
      return { status: 200, body: { items, nextCursor: cursorAfter(context.sealer, page, lastKey) } }
    }
    items.push(item)
    lastKey = key
  }
  return { status: 200, body: { items, nextCursor: null } }
}

function upstreamOf(snapshot: Snapshot, idOrSlug: string): UpstreamView {
  const byId = snapshot.upstreams.get(idOrSlug)
  if (byId !== undefined) return byId
  for (const upstream of snapshot.upstreams.values()) if (upstream.slug === idOrSlug) return upstream
  throw missing('upstream', idOrSlug)
}

/** Rises along each list of a scope; templates come after resources. */
function keyOf(target: ListedTarget): string {
  switch (target.kind) {
    case 'resource':
      return `1${target.uri}`
    case 'template':
      return `2${target.template}`
    default:
      return target.exposed
  }
}

function toAnswer(target: ListedTarget): Readonly<Record<string, unknown>> {
  const entity: unknown = JSON.parse(target.modern.toString('utf8'))
  const own = isObject(entity) ? entity : {}
  if (target.kind === 'resource' || target.kind === 'template') return { ...own, upstream: target.upstream.slug }
  return { ...own, name: target.exposed, upstream: target.upstream.slug, upstreamName: target.name }
}

function contains(item: Readonly<Record<string, unknown>>, words: string): boolean {
  const texts = [item.name, item.upstreamName, item.title, item.description, item.uri, item.uriTemplate]
  return texts.some((text) => typeof text === 'string' && text.toLowerCase().includes(words))
}
