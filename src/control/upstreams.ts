// /v1/upstreams: the servers behind the gateway. A registration is answered at once, with its state; what only an
// operator may do is checked with every change of a transport (upstream-spec.ts). Absent on purpose: discovery itself.

import { GatewayError } from '../core/errors.ts'
import { LIMITS } from '../core/limits.ts'
import type { UpstreamRow } from '../core/model.ts'
import { hasRight } from '../core/policy.ts'
import { parseDuration } from '../core/time.ts'
import { CURSOR, LIMIT, pageOf, readPage } from './page.ts'
import { expectedVersion } from './precondition.ts'
import type { Answer, QueryParameter, RestContext, RestRequest, Route } from './route.ts'
import { afterWrite, catchUp, insertWithSlug, missing, refuseManaged, waitAtMost } from './rows.ts'
import { listOf, MERGE_PATCH, UPSTREAM, UPSTREAM_INPUT, type UpstreamInput } from './schemas.ts'
import { slugOf } from './slug.ts'
import { answerOf, childrenOf, toAnswer } from './upstream-answer.ts'
import { newSpec, patchSpec } from './upstream-spec.ts'
import { invalid } from './validate.ts'

const WAIT: QueryParameter = {
  description: 'Answer when it is ready or down, or after this time (at most 60s), such as 15s or 500ms.',
  schema: {
    type: 'string',
    pattern: '^\\d{1,6}(?:\\.\\d{1,3})?(?:ms|s|m)?$',
    description: 'must be a time such as 15s',
  },
}
const INCLUDE: QueryParameter = {
  description: 'Also, separated by commas: stderr, children, shadowed.',
  schema: {
    type: 'string',
    pattern: '^(?:stderr|children|shadowed)(?:,(?:stderr|children|shadowed)){0,2}$',
    description: 'must be of stderr, children, shadowed, separated by commas',
  },
}
export const upstreamRoutes: readonly Route[] = [
  {
    method: 'GET',
    path: '/v1/upstreams',
    permission: 'admin',
    summary: 'List the upstreams with their states',
    query: { limit: LIMIT, cursor: CURSOR },
    answers: { 200: listOf(UPSTREAM) },
    handle: listUpstreams,
  },
  {
    method: 'POST',
    path: '/v1/upstreams',
    permission: 'admin',
    summary: 'Register an upstream',
    query: { wait: WAIT },
    body: UPSTREAM_INPUT,
    answers: { 201: UPSTREAM },
    handle: register,
  },
  {
    method: 'GET',
    path: '/v1/upstreams/{upstream}',
    permission: 'admin',
    summary: 'Read an upstream, by id or slug',
    query: { include: INCLUDE },
    answers: { 200: UPSTREAM },
    handle: read,
  },
  {
    method: 'PATCH',
    path: '/v1/upstreams/{upstream}',
    permission: 'admin',
    summary: 'Change an upstream',
    body: MERGE_PATCH,
    answers: { 200: UPSTREAM },
    handle: change,
  },
  {
    method: 'DELETE',
    path: '/v1/upstreams/{upstream}',
    permission: 'admin',
    summary: 'Remove an upstream',
    answers: { 204: null },
    handle: remove,
  },
  {
    method: 'POST',
    path: '/v1/upstreams/{upstream}/refresh',
    permission: 'admin',
    summary: 'Probe an upstream and read its definitions again',
    query: { wait: WAIT },
    answers: { 200: UPSTREAM, 202: UPSTREAM },
    handle: refresh,
  },
]

async function listUpstreams({ query }: RestRequest, context: RestContext): Promise<Answer> {
  const page = readPage(context.sealer, ['upstreams'], query)
  const { items, nextCursor } = pageOf(context.sealer, page, await context.store.upstreams(), ({ slug }) => slug)
  const parts = context.feed.current()?.parts
  return {
    status: 200,
    body: { items: items.map((row) => toAnswer(row, context, parts?.get(row.id)?.definitions ?? [])), nextCursor },
  }
}

async function read({ path, query }: RestRequest, context: RestContext): Promise<Answer> {
  const row = await find(path.upstream!, context)
  const include = query.include?.split(',') ?? []
  const answer = await answerOf(row, context)
  const more: Record<string, unknown> = {}
  if (include.includes('stderr')) more.stderr = context.children.stderr(row.id)
  if (include.includes('children')) more.children = childrenOf(row, context)
  if (include.includes('shadowed')) {
    const shadowed = context.snapshot()?.scopes.get('')?.shadowed ?? []
    more.shadowed = shadowed.filter(({ upstream }) => upstream === row.slug)
  }
  return { ...answer, body: { ...(answer.body as object), ...more } }
}

async function register(request: RestRequest, context: RestContext): Promise<Answer> {
  const waitMs = readWait(request)
  const { slug, ...input } = request.body as UpstreamInput
  const spec = newSpec(input, hasRight(request.caller, 'operator'), context)
  const row = await insertWithSlug(
    slug,
    () => slugOf(spec.transport),
    async () => (await context.store.upstreams()).map((known) => known.slug),
    (free) => context.store.insertUpstream({ slug: free, spec, origin: 'api' }),
  )
  await afterWrite(context, 'upstream.registered', { upstream: row.slug, caller: request.caller.name })
  if (waitMs > 0) {
    await context.discoverer.whenSettled([row.id], waitMs)
    await catchUp(context)
  }
  const answer = await answerOf(waitMs > 0 ? await find(row.id, context) : row, context)
  return { ...answer, status: 201, headers: ['location', `/v1/upstreams/${row.id}`] }
}

async function change(request: RestRequest, context: RestContext): Promise<Answer> {
  const row = await find(request.path.upstream!, context)
  refuseManaged(`The upstream "${row.slug}"`, row)
  const version = expectedVersion(request, row.rowVersion)
  const patch = request.body as Readonly<Record<string, unknown>>
  const { slug, spec } = await patchSpec(row, patch, hasRight(request.caller, 'operator'), context)
  if (slug !== row.slug) await refuseIfUsed(row, context, [row.slug])
  const next = await context.store.updateUpstream(row.id, spec, slug, version)
  await afterWrite(context, 'upstream.changed', { upstream: next.slug, caller: request.caller.name })
  return answerOf(next, context)
}

async function remove(request: RestRequest, context: RestContext): Promise<Answer> {
  const row = await find(request.path.upstream!, context)
  refuseManaged(`The upstream "${row.slug}"`, row)
  const version = expectedVersion(request, row.rowVersion)
  await refuseIfUsed(row, context, [row.slug, row.id])
  await context.store.deleteUpstream(row.id, version)
  await afterWrite(context, 'upstream.removed', { upstream: row.slug, caller: request.caller.name })
  return { status: 204 }
}

async function refresh(request: RestRequest, context: RestContext): Promise<Answer> {
  const waitMs = readWait(request)
  const row = await find(request.path.upstream!, context)
  if (row.spec.enabled === false) throw new GatewayError('CONFLICT', `The upstream "${row.slug}" is disabled`)
  const running = context.discoverer.refresh(row.id)
  running.catch((error) => context.log.warn('upstream.refresh_failed', { upstream: row.slug, error }))
  if (waitMs === 0) return { ...(await answerOf(row, context)), status: 202 }
  await waitAtMost(waitMs, running)
  await catchUp(context)
  return answerOf(await find(row.id, context), context)
}

async function find(idOrSlug: string, context: RestContext): Promise<UpstreamRow> {
  const row = await context.store.upstream(idOrSlug)
  if (row === null) throw missing('upstream', idOrSlug)
  return row
}

/** Errors: CONFLICT, naming the virtual servers that have one of `names` as a member. */
async function refuseIfUsed(row: UpstreamRow, context: RestContext, names: readonly string[]): Promise<void> {
  const users = (await context.store.virtualServers()).filter(({ spec }) =>
    spec.members.some(({ upstream }) => names.includes(upstream)),
  )
  if (users.length === 0) return
  const slugs = users.slice(0, 10).map(({ slug }) => slug)
  throw new GatewayError('CONFLICT', `Virtual servers use the upstream "${row.slug}": ${slugs.join(', ')}`)
}

/** Milliseconds of `?wait=`, 0 without it. Errors: INVALID_INPUT. */
function readWait({ query }: RestRequest): number {
  const waitMs = parseDuration(query.wait ?? '0') ?? 0
  if (waitMs > LIMITS.restWaitMs)
    throw invalid([{ at: '?wait', message: `must be at most ${LIMITS.restWaitMs / 1_000}s` }])
  return waitMs
}
