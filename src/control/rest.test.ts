// Every route of the table, over a real server: the good answer against its schema, and each refusal that applies to it.

import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { prompt, resource, template, tool } from '../../test/fakes/registry.ts'
import { type Answered, type Ask, type RestFixture, startRest } from '../../test/fakes/rest.ts'
import { CATALOGUE, type ErrorCode, GatewayError } from '../core/errors.ts'
import { LIMITS } from '../core/limits.ts'
import { TABLE } from './rest.ts'
import type { Route } from './route.ts'
import { PROBLEM } from './schemas.ts'
import { faultsOf } from './validate.ts'

let rest: RestFixture
before(async () => {
  rest = await startRest()
  const row = await rest.upstream('present')
  await rest.discover(row, [tool('read'), prompt('ask'), resource('file:///a'), template('file:///{x}')])
  await rest.store.insertVirtualServer({ slug: 'chosen', spec: { members: [{ upstream: row.id }] }, origin: 'api' })
  await rest.upstream('of-a-file', { origin: 'file', originRef: 'gateway.yaml:3' })
  await rest.store.insertVirtualServer({
    slug: 'of-a-file',
    spec: { members: [] },
    origin: 'file',
    originRef: 'gateway.yaml:4',
  })
  await rest.token('of-a-file', ['use'], 'file')
})
after(() => rest.close())

let count = 0
/** A name that no other case has. */
const fresh = (): string => {
  count += 1
  return `case-${count}`
}
const URLS = { kind: 'http', urls: ['https://new.example/mcp'] }

interface Sample {
  /** Makes what the path names, where it is changed or removed; the row's version if it has one. */
  readonly make?: () => Promise<{ name: string; version?: number }>
  /** What the path names where it is only read. */
  readonly name?: string
  readonly body?: () => unknown
  /** Members that POST must refuse because they are taken. */
  readonly taken?: () => unknown
  readonly status: number
}

const makeUpstream = async () => {
  const { slug, rowVersion } = await rest.upstream(fresh())
  return { name: slug, version: rowVersion }
}
const makeServer = async () => {
  const row = await rest.store.insertVirtualServer({ slug: fresh(), spec: { members: [] }, origin: 'api' })
  return { name: row.slug, version: row.rowVersion }
}
const makeToken = async () => ({ name: (await rest.token(fresh(), ['use'])).row.name })

const SAMPLES: Readonly<Record<string, Sample>> = {
  'GET /': { status: 200 },
  'GET /version': { status: 200 },
  'GET /openapi.json': { status: 200 },
  'GET /v1/status': { status: 200 },
  'POST /v1/reload': { status: 200 },
  'GET /v1/upstreams': { status: 200 },
  'POST /v1/upstreams': {
    body: () => ({ slug: fresh(), transport: URLS }),
    taken: () => ({ slug: 'present', transport: URLS }),
    status: 201,
  },
  'GET /v1/upstreams/{upstream}': { name: 'present', status: 200 },
  'PATCH /v1/upstreams/{upstream}': {
    make: makeUpstream,
    body: () => ({ title: 'Changed' }),
    taken: () => ({ slug: 'present' }),
    status: 200,
  },
  'DELETE /v1/upstreams/{upstream}': { make: makeUpstream, status: 204 },
  'POST /v1/upstreams/{upstream}/refresh': { name: 'present', status: 202 },
  'GET /v1/servers': { status: 200 },
  'POST /v1/servers': {
    body: () => ({ slug: fresh(), members: [{ upstream: 'present' }] }),
    taken: () => ({ slug: 'chosen', members: [] }),
    status: 201,
  },
  'GET /v1/servers/{server}': { name: 'chosen', status: 200 },
  'PATCH /v1/servers/{server}': {
    make: makeServer,
    body: () => ({ title: 'Changed' }),
    taken: () => ({ slug: 'chosen' }),
    status: 200,
  },
  'DELETE /v1/servers/{server}': { make: makeServer, status: 204 },
  'GET /v1/tokens': { status: 200 },
  'POST /v1/tokens': { body: () => ({ name: fresh() }), taken: () => ({ name: 'an agent' }), status: 201 },
  'DELETE /v1/tokens/{token}': { make: makeToken, status: 204 },
  'GET /v1/tools': { status: 200 },
  'GET /v1/prompts': { status: 200 },
  'GET /v1/resources': { status: 200 },
}

const keyOf = (route: Route): string => `${route.method} ${route.path}`
const sampleOf = (route: Route): Sample => SAMPLES[keyOf(route)] ?? assert.fail(`no sample of ${keyOf(route)}`)
const hasName = (route: Route): boolean => route.path.includes('{')
const isVersioned = (route: Route): boolean =>
  hasName(route) && (route.method === 'PATCH' || (route.method === 'DELETE' && !route.path.includes('{token}')))
const pathTo = (route: Route, name: string): string => route.path.replace(/\{\w+\}/, encodeURIComponent(name))

/** Who may use it. */
const asOf = (route: Route): Ask => (route.permission === 'operator' ? { as: 'operator' } : {})

/** A good request of a route, with changes. */
async function askWell(route: Route, ask: Ask = {}): Promise<Answered> {
  const sample = sampleOf(route)
  const made = (await sample.make?.()) ?? { name: sample.name ?? '', version: undefined }
  const ifMatch: Record<string, string> = made.version === undefined ? {} : { 'if-match': `"v${made.version}"` }
  const body = sample.body === undefined ? {} : { body: sample.body() }
  const headers = { ...ifMatch, ...ask.headers }
  return rest.ask(route.method, pathTo(route, made.name), { ...asOf(route), ...body, ...ask, headers })
}

function assertRefused(answer: Answered, code: ErrorCode): void {
  assert.equal(answer.body?.code, code, answer.text)
  assert.equal(answer.status, CATALOGUE[code].status)
  assert.equal(answer.body.status, answer.status)
  assert.equal(answer.headers['content-type'], 'application/problem+json')
  assert.equal(answer.headers['cache-control'], 'no-store')
  assert.equal(answer.body.requestId, answer.headers['x-request-id'])
  assert.equal(answer.body.hint, CATALOGUE[code].hint)
}

/** The places of a refused input. */
function placesOf(answer: Answered): string[] {
  assertRefused(answer, 'INVALID_INPUT')
  return answer.body.errors.map(({ at }: { at: string }) => at)
}

test('every route has a sample here, and every sample a route', () => {
  assert.deepEqual(TABLE.map(keyOf).sort(), Object.keys(SAMPLES).sort())
})

for (const route of TABLE) {
  const name = keyOf(route)

  test(`${name}: the good answer fits its schema`, async () => {
    const answer = await askWell(route)
    assert.equal(answer.status, sampleOf(route).status, answer.text)
    assert.equal(answer.headers['cache-control'], 'no-store')
    assert.match(String(answer.headers['x-request-id']), /^[0-9a-f-]{36}$/)
    const schema = route.answers[answer.status]
    assert.notEqual(schema, undefined)
    if (schema === null || schema === undefined) assert.equal(answer.text, '')
    else {
      assert.equal(answer.headers['content-type'], 'application/json')
      assert.deepEqual(await faultsOf(schema, answer.body), [])
    }
    if (answer.status === 201) {
      const { status } = await rest.ask('GET', String(answer.headers.location))
      assert.equal(status, route.path === '/v1/tokens' ? 405 : 200, 'the Location is there')
    }
  })

  test(`${name}: who may`, async () => {
    const unknown = { authorization: `Bearer mgw_${'a'.repeat(12)}_${'b'.repeat(43)}` }
    for (const as of [null, unknown, { authorization: 'Basic dXNlcjpwYXNz' }]) {
      const answer = await askWell(route, { as })
      assertRefused(answer, 'UNAUTHENTICATED')
      assert.match(String(answer.headers['www-authenticate']), /^Bearer realm="mcp-gateway"/)
    }
    if (route.permission === 'admin') assertRefused(await askWell(route, { as: 'use' }), 'FORBIDDEN')
    if (route.permission === 'operator') assertRefused(await askWell(route, { as: 'admin' }), 'OPERATOR_ONLY')
    if (route.permission === 'use') {
      const { text } = await rest.token(fresh(), ['admin'])
      assertRefused(await askWell(route, { as: { authorization: `Bearer ${text}` } }), 'FORBIDDEN')
    }
  })

  test(`${name}: a parameter that it does not know, or that is there twice`, async () => {
    const path = pathTo(route, sampleOf(route).name ?? 'x')
    const good = { ...asOf(route), body: sampleOf(route).body?.(), headers: { 'if-match': '*' } }
    assert.deepEqual(placesOf(await rest.ask(route.method, `${path}?nonsense=1`, good)), ['?nonsense'])
    assert.deepEqual(placesOf(await rest.ask(route.method, `${path}?__proto__=1`, good)), ['?__proto__'])
    for (const known of Object.keys(route.query ?? {}))
      assert.deepEqual(placesOf(await rest.ask(route.method, `${path}?${known}=1&${known}=1`, good)), [`?${known}`])
  })

  test(`${name}: OPTIONS, other methods and HEAD`, async () => {
    const path = pathTo(route, sampleOf(route).name ?? 'x')
    const options = await rest.ask('OPTIONS', path, { as: null })
    assert.equal(options.status, 204)
    const allowed = String(options.headers.allow).split(', ')
    assert.ok(allowed.includes(route.method))
    for (const method of ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE'].filter((one) => !allowed.includes(one))) {
      const answer = await rest.ask(method, path)
      assert.equal(answer.status, 405)
      assert.equal(answer.headers.allow, options.headers.allow)
    }
    if (route.method !== 'GET') return
    assert.ok(allowed.includes('HEAD'))
    const [get, head] = [await rest.ask('GET', path), await rest.ask('HEAD', path)]
    assert.equal(head.status, get.status)
    assert.equal(head.text, '')
    for (const header of ['content-length', 'content-type', 'etag'])
      assert.equal(head.headers[header], get.headers[header])
  })

  if (route.path.startsWith('/v1/')) {
    const aliases = [route.path.slice('/v1'.length)]
    if (route.path.includes('/upstreams'))
      aliases.push(...[route.path, aliases[0]!].map((path) => path.replace('/upstreams', '/gateways')))
    for (const path of aliases) {
      test(`${name}: also as ${path}${path.startsWith('/v1/') ? '' : ', where If-Match may be left out'}`, async () => {
        const { make, name: read, body, status } = sampleOf(route)
        const made = (await make?.()) ?? { name: read ?? '' }
        const answer = await rest.ask(route.method, path.replace(/\{\w+\}/, made.name), {
          ...asOf(route),
          ...(body === undefined ? {} : { body: body() }),
          headers: path.startsWith('/v1/') ? { 'if-match': '*' } : {},
        })
        assert.equal(answer.status, status, answer.text)
      })
    }
  }

  if (hasName(route)) {
    test(`${name}: what is not there`, async () => {
      const good = { body: sampleOf(route).body?.(), headers: { 'if-match': '*' } }
      for (const missing of [
        'nobody',
        '00000000-0000-7000-8000-000000000000',
        '..',
        '%',
        'a/b',
        "'; DROP TABLE",
        '\u0000',
      ])
        assertRefused(await rest.ask(route.method, pathTo(route, missing), good), 'NOT_FOUND')
      assertRefused(await rest.ask(route.method, route.path.replace(/\{\w+\}/, '%E0%A4%A'), good), 'NOT_FOUND')
      assertRefused(await rest.ask(route.method, route.path.replace(/\{\w+\}/, ''), good), 'NOT_FOUND')
    })
  }

  if (isVersioned(route)) {
    test(`${name}: If-Match`, async () => {
      const { make, body, status } = sampleOf(route)
      const attempt = async (ifMatch: string | null): Promise<Answered> => {
        const { name: made } = await make!()
        return rest.ask(route.method, pathTo(route, made), {
          ...(body === undefined ? {} : { body: body() }),
          headers: ifMatch === null ? {} : { 'if-match': ifMatch },
        })
      }
      assertRefused(await attempt(null), 'PRECONDITION_REQUIRED')
      for (const other of ['"v2"', 'W/"v2"', 'v1', '"1"', '""', '"v01"', '"v3", "v4"'])
        assertRefused(await attempt(other), 'PRECONDITION_FAILED')
      for (const good of ['"v1"', 'W/"v1"', '"v9", W/"v1"', '*']) assert.equal((await attempt(good)).status, status)
    })

    test(`${name}: a row of a file`, async () => {
      const answer = await rest.ask(route.method, pathTo(route, 'of-a-file'), {
        body: sampleOf(route).body?.(),
        headers: { 'if-match': '*' },
      })
      assertRefused(answer, 'MANAGED_BY_FILE')
      assert.match(answer.body.detail, /gateway\.yaml:\d/)
    })
  }

  const { taken } = SAMPLES[name] ?? {}
  if (taken !== undefined) {
    test(`${name}: a name that is taken`, async () => {
      assertRefused(await askWell(route, { body: taken() }), 'CONFLICT')
    })
  }

  if (route.body !== undefined) {
    const bodies: [string, Ask, ErrorCode][] = [
      ['none', { raw: '' }, 'INVALID_INPUT'],
      ['not JSON', { raw: 'slug=x' }, 'INVALID_INPUT'],
      ['an array', { raw: '[]' }, 'INVALID_INPUT'],
      ['null', { raw: 'null' }, 'INVALID_INPUT'],
      ['two objects', { raw: '{}{}' }, 'INVALID_INPUT'],
      ['a trailing comma', { raw: '{"name":"x",}' }, 'INVALID_INPUT'],
      ['a key twice', { raw: '{"title":"a","title":"b"}' }, 'INVALID_INPUT'],
      ['a key twice, once escaped', { raw: '{"title":"a","t\\u0069tle":"b"}' }, 'INVALID_INPUT'],
      ['a key twice, deep inside', { raw: '{"members":[{"upstream":"a","upstream":"b"}]}' }, 'INVALID_INPUT'],
      ['not UTF-8', { raw: Buffer.from('{"title":"\xff"}', 'latin1') }, 'INVALID_INPUT'],
      ['a byte order mark', { raw: '\ufeff{}' }, 'INVALID_INPUT'],
      ['nothing in it', { raw: '{}' }, 'INVALID_INPUT'],
      ['an unknown member', { raw: '{"nonsense":1}' }, 'INVALID_INPUT'],
      ['__proto__', { raw: '{"__proto__":{"slug":"x"}}' }, 'INVALID_INPUT'],
      ['too deep', { raw: `{"x":${'['.repeat(LIMITS.jsonDepth + 1)}${']'.repeat(LIMITS.jsonDepth + 1)}}` }, 'TOO_DEEP'],
      ['too large', { raw: `{"x":"${'x'.repeat(LIMITS.restBodyBytes)}"}` }, 'TOO_LARGE'],
      ['text/plain', { raw: '{}', headers: { 'content-type': 'text/plain' } }, 'UNSUPPORTED_MEDIA_TYPE'],
      [
        'another charset',
        { raw: '{}', headers: { 'content-type': 'application/json; charset=utf-16' } },
        'UNSUPPORTED_MEDIA_TYPE',
      ],
      [
        'a form',
        { raw: 'a=1', headers: { 'content-type': 'application/x-www-form-urlencoded' } },
        'UNSUPPORTED_MEDIA_TYPE',
      ],
    ]
    for (const [what, ask, code] of bodies) {
      test(`${name}: a body that is wrong: ${what}`, async () => {
        assertRefused(await askWell(route, ask), code)
      })
    }

    test(`${name}: media types that are right`, async () => {
      for (const type of ['application/json', 'Application/JSON; charset=UTF-8', 'application/json;charset="utf-8"'])
        assert.equal((await askWell(route, { headers: { 'content-type': type } })).status, sampleOf(route).status)
      const patch = await askWell(route, { headers: { 'content-type': 'application/merge-patch+json' } })
      assert.equal(patch.status, route.method === 'PATCH' ? 200 : 415)
    })
  }
}

test('while the store is away every route that needs it says so, and those that do not go on', async () => {
  const storeless = ['/', '/version', '/openapi.json', '/v1/reload', '/v1/tools', '/v1/prompts', '/v1/resources']
  const requests: (() => Promise<[Route, Answered]>)[] = []
  for (const route of TABLE) {
    const sample = sampleOf(route)
    const { name: made } = (await sample.make?.()) ?? { name: sample.name ?? '' }
    const body = sample.body === undefined ? {} : { body: sample.body() }
    const ask = { ...asOf(route), ...body, headers: { 'if-match': '*' } }
    requests.push(async () => [route, await rest.ask(route.method, pathTo(route, made), ask)])
  }
  await rest.ask('GET', '/version')
  rest.store.fault = new GatewayError('STORE_UNAVAILABLE')
  try {
    for (const request of requests) {
      const [route, answer] = await request()
      if (storeless.includes(route.path)) assert.equal(answer.status, sampleOf(route).status, route.path)
      else assertRefused(answer, 'STORE_UNAVAILABLE')
    }
  } finally {
    rest.store.fault = null
  }
})

test('a path that is not there is 404 as a problem, for anyone', async () => {
  for (const path of [
    '/nothing',
    '/v1',
    '/v1/',
    '/v2/upstreams',
    '/v1/upstreams/',
    '//',
    '/V1/upstreams',
    '/v1/version',
  ]) {
    const answer = await rest.ask('GET', path, { as: null })
    assertRefused(answer, 'NOT_FOUND')
    assert.deepEqual(await faultsOf(PROBLEM, answer.body), [])
  }
})

test('a fault of our own tells nothing but its requestId, and is logged with it', async () => {
  const { upstreams } = rest.store
  rest.store.upstreams = async () => {
    throw new TypeError('secret details')
  }
  try {
    const answer = await rest.ask('GET', '/v1/upstreams')
    assertRefused(answer, 'INTERNAL')
    assert.ok(!answer.text.includes('secret'))
    const line = rest.logged.find(({ event }) => event === 'rest.failed')
    assert.ok(line)
    assert.equal((line.fields as { requestId: string }).requestId, answer.body.requestId)
  } finally {
    rest.store.upstreams = upstreams
  }
})

test('If-None-Match: 304 for a document that has not changed, never where live state is answered', async () => {
  const { headers } = await rest.ask('GET', '/openapi.json')
  for (const tag of [String(headers.etag), `W/${headers.etag}`, '*', `"x", ${headers.etag}`]) {
    const again = await rest.ask('GET', '/openapi.json', { headers: { 'if-none-match': tag } })
    assert.equal(again.status, 304)
    assert.equal(again.text, '')
    assert.equal(again.headers.etag, headers.etag)
  }
  assert.equal((await rest.ask('GET', '/openapi.json', { headers: { 'if-none-match': '"x"' } })).status, 200)
  const upstream = await rest.ask('GET', '/v1/upstreams/present')
  const tag = String(upstream.headers.etag)
  assert.equal((await rest.ask('GET', '/v1/upstreams/present', { headers: { 'if-none-match': tag } })).status, 200)
})

test('a page holds restPageItems when nothing else is asked for', async () => {
  const many = await startRest()
  for (let at = 0; at < LIMITS.restPageItems; at += 1) await many.token(`t-${at}`, ['use'])
  const { body } = await many.ask('GET', '/v1/tokens')
  await many.close()
  assert.equal(body.items.length, LIMITS.restPageItems)
  assert.equal(typeof body.nextCursor, 'string')
})

test('restInFlight requests are worked on at once, more are sent away, and the places come back', async () => {
  const { refresh } = rest.discoverer
  let release = (): void => {}
  const gate = new Promise<void>((resolve) => {
    release = resolve
  })
  let running = 0
  let full = (): void => {}
  const isFull = new Promise<void>((resolve) => {
    full = resolve
  })
  rest.discoverer.refresh = async (id) => {
    running += 1
    if (running === LIMITS.restInFlight) full()
    await gate
    return rest.discoverer.state(id)
  }
  const path = '/v1/upstreams/present/refresh?wait=60s'
  const waiting = Array.from({ length: LIMITS.restInFlight }, () => rest.ask('POST', path))
  await isFull
  const refused = await rest.ask('GET', '/version')
  assertRefused(refused, 'OVERLOADED')
  assert.equal(refused.headers['retry-after'], '1')
  release()
  for (const { status } of await Promise.all(waiting)) assert.equal(status, 200)
  rest.discoverer.refresh = refresh
  assert.equal((await rest.ask('GET', '/version')).status, 200)
})
