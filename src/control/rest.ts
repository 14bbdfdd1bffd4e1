// The REST API: one table of routes, and the straight line that every request takes through it: route, who calls, may
// they, query, body, handler, answer. Every refusal leaves as problem+json. In a worker the edge hands these requests to
// the primary, where this runs. Absent on purpose: CORS and Host checks (the edge has made them), sessions, cookies.

import { hash, randomUUID } from 'node:crypto'
import { GatewayError } from '../core/errors.ts'
import { LIMITS } from '../core/limits.ts'
import { type Caller, needRight } from '../core/policy.ts'
import type { Exchange, ExchangeHandler } from '../http/exchange.ts'
import { PROBLEM_TYPE, problemText } from '../http/problem.ts'
import { readJsonBody } from './body.ts'
import { definitionRoutes } from './definitions.ts'
import { openApi } from './openapi.ts'
import { matchesTag } from './precondition.ts'
import { createPrivilege } from './privilege.ts'
import type { Answer, Query, RestContext, RestDeps, Route } from './route.ts'
import { createRouter, type Matched } from './router.ts'
import { ANY_OBJECT } from './schemas.ts'
import { statusRoutes } from './status.ts'
import { tokenRoutes } from './tokens.ts'
import { upstreamRoutes } from './upstreams.ts'
import { faultsOf, invalid, validate } from './validate.ts'
import { virtualServerRoutes } from './virtual-servers.ts'

const openApiRoute: Route = {
  method: 'GET',
  path: '/openapi.json',
  permission: 'token',
  summary: 'This document',
  answers: { 200: ANY_OBJECT },
  handle: (_, { version, config }) => {
    const document = openApi(TABLE, { version, publicUrl: config.publicUrl })
    return {
      status: 200,
      body: document,
      etag: `"${hash('sha256', JSON.stringify(document), 'base64url').slice(0, 22)}"`,
    }
  },
}

/** Every route: the router, the checks, the OpenAPI document and the generated tests are made from this. */
export const TABLE: readonly Route[] = [
  ...statusRoutes,
  openApiRoute,
  ...upstreamRoutes,
  ...virtualServerRoutes,
  ...tokenRoutes,
  ...definitionRoutes,
]

export function createRest(deps: RestDeps): ExchangeHandler {
  const find = createRouter(TABLE)
  const context: RestContext = { ...deps, privilege: createPrivilege(deps.config), startedMs: deps.clock.now() }
  let inFlight = 0

  async function serve(exchange: Exchange, requestId: string): Promise<void> {
    const found = find(exchange.path)
    if (found === null) throw new GatewayError('NOT_FOUND', 'There is nothing at this path')
    const route = found.routes.get(exchange.method === 'HEAD' ? 'GET' : exchange.method)
    if (route === undefined) return answerMethod(exchange, found, requestId)
    const caller = await authorized(route, exchange)
    const query = readQuery(exchange.query, route)
    await validateQuery(route, query)
    const body = route.body === undefined ? null : await readJsonBody(exchange, route.method === 'PATCH')
    if (route.body !== undefined) await validate(route.body, body)
    const answer = await route.handle(
      {
        path: found.parameters,
        query,
        body,
        caller,
        ifMatch: exchange.headers['if-match'] ?? null,
        versioned: found.versioned,
      },
      context,
    )
    send(exchange, answer, requestId)
  }

  async function authorized(route: Route, exchange: Exchange): Promise<Caller> {
    const caller = await deps.authenticate(exchange.headers.authorization)
    if (route.permission !== 'token') needRight(caller, route.permission)
    return caller
  }

  function refuse(exchange: Exchange, error: unknown, requestId: string): void {
    const isKnown = error instanceof GatewayError
    const refusal = isKnown ? error : new GatewayError('INTERNAL')
    if (!isKnown || refusal.code === 'INTERNAL')
      deps.log.error('rest.failed', {
        requestId,
        method: exchange.method,
        path: exchange.path,
        error,
        stack: stackOf(error),
      })
    if (exchange.replied) return
    const { headers = {}, retryAfterSeconds } = refusal.options
    const extra = Object.entries(headers).flat()
    if (retryAfterSeconds !== undefined) extra.push('retry-after', String(retryAfterSeconds))
    exchange.reply(
      refusal.entry.status,
      ['content-type', PROBLEM_TYPE, 'cache-control', 'no-store', 'x-request-id', requestId, ...extra],
      problemText(refusal, requestId),
    )
  }

  return (exchange) => {
    const requestId = randomUUID()
    if (inFlight >= LIMITS.restInFlight) {
      refuse(exchange, new GatewayError('OVERLOADED', undefined, { retryAfterSeconds: 1 }), requestId)
      return
    }
    inFlight += 1
    serve(exchange, requestId)
      .catch((error) => refuse(exchange, error, requestId))
      .finally(() => {
        inFlight -= 1
      })
  }
}

function stackOf(error: unknown): string | undefined {
  return error instanceof Error ? error.stack : undefined
}

/** OPTIONS, or a method that this path does not have. Errors: METHOD_NOT_ALLOWED. */
function answerMethod(exchange: Exchange, { routes }: Matched, requestId: string): void {
  const methods = [...routes.keys()]
  const allow = [...methods, ...(methods.includes('GET') ? ['HEAD'] : []), 'OPTIONS'].join(', ')
  if (exchange.method !== 'OPTIONS') throw new GatewayError('METHOD_NOT_ALLOWED', undefined, { headers: { allow } })
  exchange.reply(204, ['allow', allow, 'cache-control', 'no-store', 'x-request-id', requestId], null)
}

/** Errors: INVALID_INPUT for a parameter that the route does not know, or that is there twice. */
function readQuery(text: string, route: Route): Query {
  if (text === '') return {}
  const query = new Map<string, string>()
  for (const [name, value] of new URLSearchParams(text)) {
    if (route.query === undefined || !Object.hasOwn(route.query, name))
      throw invalid([{ at: `?${name.slice(0, 64)}`, message: 'is not a parameter here' }])
    if (query.has(name)) throw invalid([{ at: `?${name}`, message: 'is there twice' }])
    query.set(name, value)
  }
  return Object.fromEntries(query)
}

async function validateQuery(route: Route, query: Query): Promise<void> {
  for (const [name, value] of Object.entries(query)) {
    const { schema } = route.query![name]!
    const typed = schema.type === 'integer' && /^\d{1,15}$/.test(value!) ? Number(value) : value
    const faults = await faultsOf(schema, typed)
    if (faults.length > 0) throw invalid(faults.map(({ message }) => ({ at: `?${name}`, message })))
  }
}

function send(exchange: Exchange, answer: Answer, requestId: string): void {
  if (exchange.replied) return
  const { status, body, etag } = answer
  const headers = ['cache-control', 'no-store', 'x-request-id', requestId, ...(answer.headers ?? [])]
  if (etag !== undefined) headers.push('etag', etag)
  if (isUnchanged(exchange, answer)) exchange.reply(304, headers, null)
  else if (body === undefined) exchange.reply(status, headers, null)
  else exchange.reply(status, ['content-type', 'application/json', ...headers], JSON.stringify(body))
}

function isUnchanged({ method, headers }: Exchange, { etag, revalidates }: Answer): boolean {
  const known = headers['if-none-match']
  if (known === undefined || etag === undefined || revalidates === false) return false
  return (method === 'GET' || method === 'HEAD') && matchesTag(known, etag)
}
