// /v1/tokens: who may use the gateway. The text of a token is answered once, when it is made; what is kept is its hash,
// which is never answered. A revoked token is refused from the next request on, in every worker.

import { mintToken } from '../access/api-token.ts'
import { LOCAL_CALLER } from '../access/authenticate.ts'
import { GatewayError } from '../core/errors.ts'
import type { TokenRow } from '../core/model.ts'
import { type Caller, hasRight, needRight } from '../core/policy.ts'
import { rfc3339 } from '../core/time.ts'
import { CURSOR, LIMIT, pageOf, readPage } from './page.ts'
import type { Answer, RestContext, RestRequest, Route } from './route.ts'
import { afterWrite, missing, refuseManaged, timeOrNull } from './rows.ts'
import { listOf, NEW_TOKEN, TOKEN, TOKEN_INPUT, type TokenInput } from './schemas.ts'
import { invalid } from './validate.ts'

export const tokenRoutes: readonly Route[] = [
  {
    method: 'GET',
    path: '/v1/tokens',
    permission: 'admin',
    summary: 'List the tokens',
    query: { limit: LIMIT, cursor: CURSOR },
    answers: { 200: listOf(TOKEN) },
    handle: listTokens,
  },
  {
    method: 'POST',
    path: '/v1/tokens',
    permission: 'admin',
    summary: 'Create a token; its text is answered this one time',
    body: TOKEN_INPUT,
    answers: { 201: NEW_TOKEN },
    handle: create,
  },
  {
    method: 'DELETE',
    path: '/v1/tokens/{token}',
    permission: 'admin',
    summary: 'Revoke a token, by id or name',
    answers: { 204: null },
    handle: revoke,
  },
]

async function listTokens({ query }: RestRequest, context: RestContext): Promise<Answer> {
  const page = readPage(context.sealer, ['tokens'], query)
  const { items, nextCursor } = pageOf(context.sealer, page, await context.store.tokens(), ({ name }) => name)
  return { status: 200, body: { items: items.map(toAnswer), nextCursor } }
}

async function create(request: RestRequest, context: RestContext): Promise<Answer> {
  const { name, rights = ['use'], expiresAt } = request.body as TokenInput
  needName(request.caller)
  if (rights.includes('operator')) needRight(request.caller, 'operator')
  const expiresMs = expiresAt === undefined ? undefined : readExpiry(expiresAt, context.clock.now())
  const { id, text, hash } = mintToken()
  const row = await context.store.insertToken({ id, name, hash, rights, origin: 'api', expiresMs })
  await afterWrite(context, 'token.created', { token: row.id, name, rights, caller: request.caller.name })
  return { status: 201, body: { ...toAnswer(row), token: text }, headers: ['location', `/v1/tokens/${row.id}`] }
}

/** A token outlives the --open under which nobody was asked who he is. Errors: FORBIDDEN. */
function needName(caller: Caller): void {
  if (caller.id === LOCAL_CALLER.id)
    throw new GatewayError('FORBIDDEN', 'Tokens are made and revoked by somebody with a token: start without --open')
}

const RFC3339 = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:Z|[+-]\d\d:\d\d)$/i

function readExpiry(text: string, nowMs: number): number {
  const ms = RFC3339.test(text) ? Date.parse(text) : Number.NaN
  if (Number.isNaN(ms)) throw invalid([{ at: '/expiresAt', message: 'must be a time such as 2030-01-31T00:00:00Z' }])
  if (ms <= nowMs) throw invalid([{ at: '/expiresAt', message: 'must be in the future' }])
  return ms
}

async function revoke(request: RestRequest, context: RestContext): Promise<Answer> {
  needName(request.caller)
  const asked = request.path.token!
  const tokens = await context.store.tokens()
  const row = tokens.find(({ id }) => id === asked) ?? tokens.find(({ name }) => name === asked)
  if (row === undefined) throw missing('token', asked)
  refuseManaged(`The token "${row.name}"`, row)
  if (row.rights.includes('operator') && !hasRight(request.caller, 'operator'))
    throw new GatewayError('OPERATOR_ONLY', `Only an operator may revoke "${row.name}", the token of an operator`)
  await context.store.deleteToken(row.id)
  context.bus.publish('callersChanged', { hashes: [row.hash] })
  await afterWrite(context, 'token.revoked', { token: row.id, name: row.name, caller: request.caller.name })
  return { status: 204 }
}

function toAnswer(row: TokenRow): object {
  return {
    id: row.id,
    name: row.name,
    rights: row.rights,
    origin: row.origin,
    originRef: row.originRef,
    createdAt: rfc3339(row.createdMs),
    expiresAt: timeOrNull(row.expiresMs),
    lastUsedAt: timeOrNull(row.lastUsedMs),
  }
}
