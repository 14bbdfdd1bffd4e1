// /v1/servers: virtual servers, each an endpoint of its own with chosen things of chosen upstreams. Members are stored by
// id, so that renaming an upstream breaks nobody, and answered by slug.

import type { Fault } from '../core/errors.ts'
import type { Member, UpstreamRow, VirtualServerRow, VirtualServerSpec } from '../core/model.ts'
import { exposedName, matchesAny, slugify } from '../core/names.ts'
import { rfc3339 } from '../core/time.ts'
import { mergePatch } from './merge-patch.ts'
import { CURSOR, LIMIT, pageOf, readPage } from './page.ts'
import { etagOf, expectedVersion } from './precondition.ts'
import type { Answer, RestContext, RestRequest, Route } from './route.ts'
import { afterWrite, insertWithSlug, missing, refuseManaged } from './rows.ts'
import { listOf, MERGE_PATCH, SERVER, SERVER_INPUT, type ServerInput } from './schemas.ts'
import { pointer, refuseFaults, validate } from './validate.ts'

export const virtualServerRoutes: readonly Route[] = [
  {
    method: 'GET',
    path: '/v1/servers',
    permission: 'admin',
    summary: 'List the virtual servers',
    query: { limit: LIMIT, cursor: CURSOR },
    answers: { 200: listOf(SERVER) },
    handle: listServers,
  },
  {
    method: 'POST',
    path: '/v1/servers',
    permission: 'admin',
    summary: 'Create a virtual server',
    body: SERVER_INPUT,
    answers: { 201: SERVER },
    handle: create,
  },
  {
    method: 'GET',
    path: '/v1/servers/{server}',
    permission: 'admin',
    summary: 'Read a virtual server, by id or slug',
    answers: { 200: SERVER },
    handle: read,
  },
  {
    method: 'PATCH',
    path: '/v1/servers/{server}',
    permission: 'admin',
    summary: 'Change a virtual server',
    body: MERGE_PATCH,
    answers: { 200: SERVER },
    handle: change,
  },
  {
    method: 'DELETE',
    path: '/v1/servers/{server}',
    permission: 'admin',
    summary: 'Remove a virtual server',
    answers: { 204: null },
    handle: remove,
  },
]

/** Upstreams by id and by slug. */
type Known = ReadonlyMap<string, UpstreamRow>

async function knownUpstreams(context: RestContext): Promise<Known> {
  const rows = await context.store.upstreams()
  // Ids last: a slug that looks like another upstream's id never stands for it.
  return new Map([...rows.map((row) => [row.slug, row] as const), ...rows.map((row) => [row.id, row] as const)])
}

async function listServers({ query }: RestRequest, context: RestContext): Promise<Answer> {
  const page = readPage(context.sealer, ['servers'], query)
  const { items, nextCursor } = pageOf(context.sealer, page, await context.store.virtualServers(), ({ slug }) => slug)
  const known = await knownUpstreams(context)
  return { status: 200, body: { items: items.map((row) => toAnswer(row, known, context)), nextCursor } }
}

async function read({ path }: RestRequest, context: RestContext): Promise<Answer> {
  return answerOf(await find(path.server!, context), context)
}

async function create(request: RestRequest, context: RestContext): Promise<Answer> {
  const { slug, ...input } = request.body as ServerInput
  const spec = { ...input, members: resolveMembers(input.members, await knownUpstreams(context)) }
  const row = await insertWithSlug(
    slug,
    () => slugify(spec.title ?? 'server'),
    async () => (await context.store.virtualServers()).map((known) => known.slug),
    (free) => context.store.insertVirtualServer({ slug: free, spec, origin: 'api' }),
  )
  await afterWrite(context, 'server.created', { virtualServer: row.slug, caller: request.caller.name })
  return { ...(await answerOf(row, context)), status: 201, headers: ['location', `/v1/servers/${row.id}`] }
}

async function change(request: RestRequest, context: RestContext): Promise<Answer> {
  const row = await find(request.path.server!, context)
  refuseManaged(`The virtual server "${row.slug}"`, row)
  const version = expectedVersion(request, row.rowVersion)
  const merged = mergePatch(row.spec, request.body)
  await validate(SERVER_INPUT, merged)
  const { slug = row.slug, ...input } = merged as ServerInput
  const hasNewMembers = 'members' in (request.body as object)
  const spec: VirtualServerSpec = hasNewMembers
    ? { ...input, members: resolveMembers(input.members, await knownUpstreams(context)) }
    : input
  const next = await context.store.updateVirtualServer(row.id, spec, slug, version)
  await afterWrite(context, 'server.changed', { virtualServer: next.slug, caller: request.caller.name })
  return answerOf(next, context)
}

async function remove(request: RestRequest, context: RestContext): Promise<Answer> {
  const row = await find(request.path.server!, context)
  refuseManaged(`The virtual server "${row.slug}"`, row)
  await context.store.deleteVirtualServer(row.id, expectedVersion(request, row.rowVersion))
  await afterWrite(context, 'server.removed', { virtualServer: row.slug, caller: request.caller.name })
  return { status: 204 }
}

async function find(idOrSlug: string, context: RestContext): Promise<VirtualServerRow> {
  const row = await context.store.virtualServer(idOrSlug)
  if (row === null) throw missing('virtual server', idOrSlug)
  return row
}

/** Members with the ids of their upstreams. Errors: INVALID_INPUT for one that names none, or one that another names too. */
function resolveMembers(members: readonly Member[], known: Known): Member[] {
  const faults: Fault[] = []
  const seen = new Set<string>()
  const resolved = members.map((member, at) => {
    const row = known.get(member.upstream)
    const where = pointer('members', at, 'upstream')
    if (row === undefined) faults.push({ at: where, message: 'is neither slug nor id of an upstream' })
    else if (seen.has(row.id)) faults.push({ at: where, message: 'is a member already' })
    else seen.add(row.id)
    return { ...member, upstream: row?.id ?? member.upstream }
  })
  refuseFaults(faults)
  return resolved
}

async function answerOf(row: VirtualServerRow, context: RestContext): Promise<Answer> {
  const body = toAnswer(row, await knownUpstreams(context), context)
  // The clashes among the members come and go with what these offer, so nothing is ever "unchanged".
  return { status: 200, body, etag: etagOf(row.rowVersion), revalidates: false }
}

function toAnswer(row: VirtualServerRow, known: Known, context: RestContext): object {
  const { spec } = row
  return {
    id: row.id,
    slug: row.slug,
    title: spec.title ?? null,
    description: spec.description ?? null,
    instructions: spec.instructions ?? null,
    icons: spec.icons ?? null,
    naming: spec.naming ?? 'prefix',
    members: spec.members.map((member) => ({
      ...member,
      upstream: known.get(member.upstream)?.slug ?? member.upstream,
    })),
    endpoint: `${context.config.publicUrl}/servers/${row.slug}/mcp`,
    origin: row.origin,
    originRef: row.originRef,
    clashes: clashesOf(spec, known, context),
    createdAt: rfc3339(row.createdMs),
    updatedAt: rfc3339(row.updatedMs),
    version: row.rowVersion,
  }
}

interface Clash {
  readonly kind: string
  readonly name: string
  readonly upstreams: readonly string[]
}

const CLASHES_MAX = 1_000

/** Names that several members offer, as far as discovery knows: whoever offered one first keeps it. */
function clashesOf(spec: VirtualServerSpec, known: Known, context: RestContext): Clash[] {
  const parts = context.feed.current()?.parts
  const owners = new Map<string, Clash & { upstreams: string[] }>()
  for (const member of spec.members) {
    const row = known.get(member.upstream)
    if (row === undefined || row.spec.enabled === false) continue
    for (const { kind, name } of parts?.get(row.id)?.definitions ?? []) {
      const override = kind === 'tool' ? { ...row.spec.tools?.[name], ...member.overrides?.[name] } : {}
      const patterns = {
        tool: member.tools,
        prompt: member.prompts,
        resource: member.resources,
        template: member.resources,
      }
      if (override.hide === true || !matchesAny(name, patterns[kind])) continue
      const isUri = kind === 'resource' || kind === 'template'
      const given = override.name ?? name
      const exposed = isUri || spec.naming === 'keep' ? given : exposedName(row.slug, given)
      const key = `${kind} ${exposed}`
      const owner = owners.get(key)
      if (owner === undefined) owners.set(key, { kind, name: exposed, upstreams: [row.slug] })
      else if (owner.upstreams.length < 10) owner.upstreams.push(row.slug)
    }
  }
  return [...owners.values()].filter(({ upstreams }) => upstreams.length > 1).slice(0, CLASHES_MAX)
}
