// The whole edge on a real listening socket, with a dispatch of its own instead of the call path.

import assert from 'node:assert/strict'
import { request as httpRequest, type IncomingHttpHeaders } from 'node:http'
import { type AddressInfo, connect, type Socket } from 'node:net'
import { after, describe, test as nodeTest } from 'node:test'
import { createFakeBus, type FakeBus } from '../../test/fakes/bus.ts'
import { createFakeClock, type FakeClock } from '../../test/fakes/clock.ts'
import { createLocalHop } from '../adapters/hop-local.ts'
import { ASKS } from '../core/asks.ts'
import type { Call, Reply } from '../core/call.ts'
import type { CancelReason } from '../core/cancel.ts'
import { type ErrorCode, GatewayError } from '../core/errors.ts'
import { LIMITS, type Limits } from '../core/limits.ts'
import type { Caller } from '../core/policy.ts'
import { createNodeServer, type NodeServer } from '../http/node-exchange.ts'
import { createSealer } from '../mcp/seal.ts'
import { SILENT } from '../ports/log.ts'
import { createEdge, type Edge } from './edge.ts'
import { isEndpoint } from './router.ts'

/** The server lane that the test which runs is behind: each runs behind both. */
let lane: 'node' | 'fast' = 'node'

function test(name: string, body: () => void | Promise<void>): void {
  for (const each of ['node', 'fast'] as const) {
    nodeTest(`${name} (${each})`, async () => {
      lane = each
      await body()
    })
  }
}

const KEY = Buffer.alloc(32, 7)
const open: { edge: Edge; server: NodeServer }[] = []
after(async () => {
  for (const { edge, server } of open) {
    edge.close()
    await server.close()
  }
})

function callerOf(name: string): Caller {
  const id = Buffer.from(name.padEnd(16, '.')).toString('hex')
  return { id, issuer: 'test', subject: name, name, rights: ['use'], expiresMs: null }
}

interface Rig {
  readonly port: number
  readonly edge: Edge
  readonly bus: FakeBus
  readonly clock: FakeClock
  readonly seen: Call[]
  readonly cancelled: [method: string, reason: CancelReason][]
  readonly ended: string[]
  readonly faults: unknown[]
  /** Holders and URIs. */
  readonly watched: string[]
  /** Tokens that are known. */
  readonly tokens: Set<string>
  readonly marks: [string, string, string]
  /** Lets the oldest call of "wait" go on. */
  release(): void
  waiting(): number
}

interface RigOptions {
  readonly limits?: Partial<Limits>
  readonly origins?: readonly string[]
  readonly hosts?: readonly string[]
  readonly bus?: FakeBus
  readonly endSession?: (key: string) => Promise<void>
}

const json = (value: unknown): Buffer => Buffer.from(JSON.stringify(value))
const until = async (condition: () => boolean): Promise<void> => {
  while (!condition()) await new Promise((resolve) => setTimeout(resolve, 2))
}

async function start(options: RigOptions = {}): Promise<Rig> {
  const bus = options.bus ?? createFakeBus()
  const clock = createFakeClock()
  const limits = { ...LIMITS, ...options.limits }
  const seen: Call[] = []
  const cancelled: Rig['cancelled'] = []
  const waiters: (() => void)[] = []
  const ended: string[] = []
  const faults: unknown[] = []
  const watched: string[] = []
  const rigMarks: [string, string, string] = ['aa', 'bb', 'cc']
  const tokens = new Set(['ada', 'bob'])

  const wait = (call: Call): Promise<Reply> =>
    new Promise((resolve, reject) => {
      waiters.push(() => resolve({ result: json({ waited: true }) }))
      call.cancel.onCancel((reason) => {
        cancelled.push([call.method, reason])
        reject(new GatewayError('CANCELLED'))
      })
    })
  const tools: Record<string, (call: Call) => Promise<Reply> | Reply> = {
    echo: (call) => ({ result: json({ revision: call.revision, session: call.session?.key ?? null }) }),
    parts: () => ({ result: [Buffer.from('{"a":'), Buffer.from('1}')] }),
    broken: () => ({ result: Buffer.from('{"a":1},"b":}') }),
    wait,
    notify: (call) => {
      for (const progress of [1, 2]) call.notify?.('notifications/progress', json({ progressToken: 'p', progress }))
      return { result: json({ notified: call.notify !== null }) }
    },
    flood: async (call) => {
      const line = json({ level: 'info', data: 'x'.repeat(100_000) })
      for (let sent = 0; sent < 100; sent += 1) call.notify?.('notifications/message', line)
      return wait(call)
    },
    bug: () => {
      throw new TypeError('secret detail of the inside')
    },
    'upstream-error': () => ({ error: Buffer.from('{ "code" : -32021, "message":"no","data":{"code":1}}') }),
  }
  const dispatch = async (call: Call): Promise<Reply> => {
    seen.push(call)
    if (call.method === 'initialize') {
      if (call.params.value('protocolVersion') === undefined) throw new GatewayError('INVALID_PARAMS', 'no version')
      return { result: json({ protocolVersion: call.revision }) }
    }
    if (call.method === 'ping' || call.method === 'logging/setLevel') return { result: Buffer.from('{}') }
    if (call.method !== 'tools/call') throw new GatewayError('METHOD_NOT_FOUND')
    const name = String(call.params.value('name'))
    const tool = tools[name]
    if (tool === undefined) throw new GatewayError(name as ErrorCode, undefined, { retryAfterSeconds: 3 })
    return tool(call)
  }
  const edge = createEdge({
    hop: createLocalHop({ worker: 0, boot: 1 }),
    watch: async (_call, holder, uri) => {
      if (uri === 'x://unknown') throw new GatewayError('NOT_FOUND')
      watched.push(`${holder} ${uri}`)
    },
    unwatch: (holder) => watched.push(`${holder} no more`),
    authenticate: (authorization) => {
      const name = authorization?.replace('Bearer ', '') ?? ''
      if (!tokens.has(name))
        throw new GatewayError('UNAUTHENTICATED', undefined, { headers: { 'WWW-Authenticate': 'Bearer' } })
      // One of them is asked for elsewhere, as a cold token is.
      return name === 'bob' ? Promise.resolve(callerOf(name)) : callerOf(name)
    },
    dispatch,
    scopeExists: (scope, caller) => scope === 'team' || (scope === 'secret' && caller.name === 'bob'),
    marksOf: () => rigMarks,
    ready: () => ({ ready: false, missing: ['registry'] }),
    sealer: createSealer([{ id: 1, key: KEY }]),
    bus,
    leaveSession: () => {},
    endSession: async (key, _, expiresMs) => {
      await options.endSession?.(key)
      ended.push(key)
      bus.publish('sessionEnded', { session: key, expiresMs })
    },
    rest: (exchange) => exchange.reply(exchange.path === '/v1/tools' ? 200 : 404, [], `rest ${exchange.path}`),
    limits,
    log: { ...SILENT, error: (event, fields) => faults.push([event, fields?.requestId]) },
    clock,
    publicUrl: 'https://gateway.example.com',
    hosts: options.hosts ?? ['inner:8080'],
    origins: options.origins ?? ['https://app.example.com'],
    open: false,
  })
  const isFastPath = lane === 'fast' ? { isFastPath: isEndpoint } : {}
  const server = createNodeServer({ handler: edge.handler, limits, trustedProxies: [], log: SILENT, ...isFastPath })
  open.push({ edge, server })
  await new Promise<void>((resolve) => server.server.listen(0, '127.0.0.1', resolve))
  const { port } = server.server.address() as AddressInfo
  return {
    port,
    edge,
    bus,
    clock,
    seen,
    cancelled,
    ended,
    faults,
    watched,
    marks: rigMarks,
    tokens,
    release: () => waiters.shift()?.(),
    waiting: () => waiters.length,
  }
}

interface Answer {
  readonly status: number
  readonly headers: IncomingHttpHeaders
  readonly text: string
}

interface Asked {
  readonly method?: string
  readonly path?: string
  readonly headers?: Readonly<Record<string, string | undefined>>
  readonly body?: string | object
}

const BOTH = 'application/json, text/event-stream'

function headersFor(asked: Asked): Record<string, string> {
  const all = {
    Authorization: 'Bearer ada',
    ...(asked.body === undefined ? {} : { 'Content-Type': 'application/json', Accept: BOTH }),
    ...asked.headers,
  }
  return Object.fromEntries(Object.entries(all).filter((entry): entry is [string, string] => entry[1] !== undefined))
}

function ask(rig: Rig, asked: Asked): Promise<Answer> {
  const { method = asked.body === undefined ? 'GET' : 'POST', path = '/mcp', body } = asked
  return new Promise((resolve, reject) => {
    const request = httpRequest(
      { port: rig.port, path, method, headers: headersFor(asked), agent: false },
      (response) => {
        let text = ''
        response.setEncoding('utf8')
        response.on('data', (chunk: string) => {
          text += chunk
        })
        response.on('end', () => resolve({ status: response.statusCode!, headers: response.headers, text }))
        response.on('error', reject)
      },
    )
    request.on('error', reject)
    request.end(typeof body === 'object' ? JSON.stringify(body) : body)
  })
}

interface OpenStream {
  readonly status: number
  readonly headers: IncomingHttpHeaders
  text: string
  isOver: boolean
  close(): void
}

/** A request whose answer comes in pieces. */
function openStream(rig: Rig, asked: Asked): Promise<OpenStream> {
  const { method = asked.body === undefined ? 'GET' : 'POST', path = '/mcp', body } = asked
  return new Promise((resolve, reject) => {
    const request = httpRequest(
      { port: rig.port, path, method, headers: headersFor(asked), agent: false },
      (response) => {
        const stream: OpenStream = {
          status: response.statusCode!,
          headers: response.headers,
          text: '',
          isOver: false,
          close: () => request.destroy(),
        }
        response.on('data', (chunk: Buffer) => {
          stream.text += chunk.toString('utf8')
        })
        response.on('close', () => {
          stream.isOver = true
        })
        resolve(stream)
      },
    )
    request.on('error', reject)
    request.end(typeof body === 'object' ? JSON.stringify(body) : body)
  })
}

const rpcOf = (
  answer: Answer,
): { id: unknown; result?: unknown; error?: { code: number; message: string; data: Record<string, unknown> } } =>
  JSON.parse(answer.text)
const codeOf = (answer: Answer): unknown => {
  const body = JSON.parse(answer.text)
  return body.error?.data.code ?? body.code
}
const events = (text: string): unknown[] =>
  text
    .split('\n\n')
    .map((event) => /(?:^|\n)event: message\ndata: (.*)$/.exec(event)?.[1])
    .filter((data) => data !== undefined)
    .map((data) => JSON.parse(data))

const request = (method: string, params?: object, id: unknown = 1): object => ({
  jsonrpc: '2.0',
  id,
  method,
  ...(params && { params }),
})
const tool = (name: string, id: unknown = 1): object => request('tools/call', { name }, id)
const initialize = (protocolVersion = '2025-11-25'): object =>
  request('initialize', { protocolVersion, capabilities: { roots: {} }, clientInfo: { name: 'client', version: '1' } })

async function begin(rig: Rig, version = '2025-11-25', asked: Asked = {}): Promise<Record<string, string>> {
  const answer = await ask(rig, { ...asked, body: initialize(version) })
  assert.equal(answer.status, 200, answer.text)
  return { 'Mcp-Session-Id': answer.headers['mcp-session-id'] as string, ...(asked.headers as object) }
}

const MODERN_META = {
  'io.modelcontextprotocol/protocolVersion': '2026-07-28',
  'io.modelcontextprotocol/clientCapabilities': {},
}
function modern(method: string, params: Record<string, unknown> = {}, headers: Record<string, string> = {}): Asked {
  return {
    headers: {
      'MCP-Protocol-Version': '2026-07-28',
      'Mcp-Method': method,
      ...(typeof params.name === 'string' ? { 'Mcp-Name': params.name } : {}),
      ...headers,
    },
    body: request(method, { ...params, _meta: MODERN_META }, 'm'),
  }
}

describe('who may come, and where to', () => {
  test('Host and Origin', async () => {
    const rig = await start()
    const session = await begin(rig)
    const cases: [host: string | undefined, origin: string | undefined, status: number][] = [
      [undefined, undefined, 200],
      ['localhost', undefined, 200],
      ['LOCALHOST:1', undefined, 200],
      ['[::1]:4444', undefined, 200],
      ['127.0.0.1:9', undefined, 200],
      ['gateway.example.com', undefined, 200],
      ['gateway.example.com:8443', undefined, 200],
      ['inner:8080', undefined, 200],
      ['inner:8081', undefined, 403],
      ['inner', undefined, 403],
      ['evil.example.com', undefined, 403],
      ['localhost.evil.example.com', undefined, 403],
      ['127.0.0.1.evil.example.com', undefined, 403],
      ['evil.example.com:127.0.0.1', undefined, 403],
      ['localhost@evil.example.com', undefined, 403],
      ['127.0.0.2', undefined, 403],
      [undefined, 'http://localhost:3000', 200],
      [undefined, 'https://127.0.0.1', 200],
      [undefined, 'http://[::1]:80', 200],
      [undefined, 'https://gateway.example.com', 200],
      [undefined, 'https://app.example.com', 200],
      ['inner:8080', 'http://inner:8080', 200],
      ['inner:8080', 'http://inner:8081', 403],
      [undefined, 'https://evil.example.com', 403],
      [undefined, 'https://app.example.com.evil.example.com', 403],
      [undefined, 'http://app.example.com', 403],
      [undefined, 'https://localhost.evil.example.com', 403],
      [undefined, 'https://localhost@evil.example.com', 403],
      [undefined, 'null', 403],
      [undefined, 'file://localhost', 403],
      [undefined, 'chrome-extension://localhost', 403],
    ]
    for (const [host, origin, status] of cases) {
      const headers = {
        ...session,
        ...(host === undefined ? {} : { Host: host }),
        ...(origin === undefined ? {} : { Origin: origin }),
      }
      for (let again = 0; again < 2; again += 1) {
        const answer = await ask(rig, { headers, body: request('ping') })
        assert.equal(answer.status, status, `${host} ${origin}: ${answer.text}`)
        if (status === 403) assert.match(String(codeOf(answer)), /^(HOST|ORIGIN)_REFUSED$/)
        const shared = origin === 'https://app.example.com' ? origin : undefined
        assert.equal(answer.headers['access-control-allow-origin'], shared)
      }
    }
    const rest = await ask(rig, { path: '/v1/tools', headers: { Host: 'evil.example.com' } })
    assert.equal(rest.status, 403)
    assert.equal(rest.headers['content-type'], 'application/problem+json')
    for (const path of ['/health', '/ready']) {
      const probe = await ask(rig, {
        path,
        headers: { Host: 'evil.example.com', Origin: 'https://evil.example.com', Authorization: undefined },
      })
      assert.equal(probe.status, path === '/health' ? 200 : 503)
    }
  })

  test('pages of a listed origin read the answer, after a preflight; of others they do not', async () => {
    const rig = await start()
    const preflight = (origin: string): Promise<Answer> =>
      ask(rig, {
        method: 'OPTIONS',
        headers: {
          Origin: origin,
          Authorization: undefined,
          'Access-Control-Request-Method': 'POST',
          'Access-Control-Request-Headers': 'authorization, content-type, mcp-param-region',
        },
      })
    const listed = await preflight('https://app.example.com')
    assert.equal(listed.status, 204)
    assert.equal(listed.headers['access-control-allow-origin'], 'https://app.example.com')
    assert.equal(listed.headers['access-control-allow-headers'], 'authorization, content-type, mcp-param-region')
    assert.match(String(listed.headers['access-control-allow-methods']), /POST.*DELETE/)
    assert.equal(listed.headers.vary, 'Origin')
    const loopback = await preflight('http://localhost:3000')
    assert.equal(loopback.status, 204)
    assert.equal(loopback.headers['access-control-allow-origin'], undefined)
    assert.equal((await preflight('https://evil.example.com')).status, 403)
    const origin = { Origin: 'https://app.example.com' }
    const begun = await ask(rig, { headers: origin, body: initialize() })
    assert.match(String(begun.headers['access-control-expose-headers']), /Mcp-Session-Id/)
    const refused = await ask(rig, { headers: { ...origin, Authorization: undefined }, body: initialize() })
    assert.equal(refused.headers['access-control-allow-origin'], 'https://app.example.com')
    assert.equal(
      (await ask(rig, { path: '/v1/tools', headers: origin })).headers['access-control-allow-origin'],
      origin.Origin,
    )
    const session = { ...origin, 'Mcp-Session-Id': String(begun.headers['mcp-session-id']) }
    const stream = await openStream(rig, { headers: { ...session, Accept: 'text/event-stream' } })
    assert.equal(stream.headers['access-control-allow-origin'], 'https://app.example.com')
    stream.close()
  })

  test('paths and methods', async () => {
    const rig = await start()
    const cases: [method: string, path: string, status: number, allow?: string][] = [
      ['GET', '/v1/tools', 200],
      ['GET', '/nowhere', 404],
      ['GET', '/', 404],
      ['POST', '/mcp/more', 404],
      ['POST', '/servers/team', 404],
      ['POST', '/servers/team/mcp/more', 404],
      ['POST', '/servers/%74eam/mcp', 404],
      ['POST', '/servers//mcp', 404],
      ['POST', '/servers/../mcp', 404],
      ['PUT', '/mcp', 405, 'POST, GET, DELETE, OPTIONS'],
      ['HEAD', '/mcp', 405, 'POST, GET, DELETE, OPTIONS'],
      ['PATCH', '/servers/team/mcp', 405, 'POST, GET, DELETE, OPTIONS'],
      ['GET', '/rpc', 405, 'POST'],
      ['POST', '/health', 405, 'GET, HEAD'],
      ['DELETE', '/ready', 405, 'GET, HEAD'],
      ['OPTIONS', '/mcp', 204, 'POST, GET, DELETE, OPTIONS'],
      ['OPTIONS', '/rpc', 204, 'POST'],
      ['HEAD', '/health', 200],
      ['GET', '/health', 200],
    ]
    for (const [method, path, status, allow] of cases) {
      const answer = await ask(rig, { method, path })
      assert.equal(answer.status, status, `${method} ${path}`)
      assert.equal(answer.headers.allow, allow, `${method} ${path}`)
    }
    assert.deepEqual(JSON.parse((await ask(rig, { path: '/ready' })).text), { ready: false, missing: ['registry'] })
    for (const path of ['/mcp', '/mcp/', '/mcp?x=1', '/servers/team/mcp', '/servers/team/mcp/']) {
      assert.equal((await ask(rig, { path, body: initialize() })).status, 200, path)
    }
  })

  test('nobody is served without a token, and no body is read for it', async () => {
    const rig = await start()
    for (const path of ['/mcp', '/rpc', '/servers/team/mcp']) {
      const answer = await ask(rig, { path, headers: { Authorization: 'Bearer eve' }, body: initialize() })
      assert.equal(answer.status, 401)
      assert.equal(answer.headers['www-authenticate'], 'Bearer')
      assert.deepEqual([rpcOf(answer).id, codeOf(answer)], [null, 'UNAUTHENTICATED'])
    }
    for (const method of ['GET', 'DELETE']) {
      assert.equal((await ask(rig, { method, headers: { Authorization: undefined } })).status, 401)
    }
    const early = await new Promise<string>((resolve) => {
      const socket = connect(rig.port, '127.0.0.1')
      socket.on('data', (chunk) => {
        resolve(chunk.toString('latin1'))
        socket.destroy()
      })
      socket.write('POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\n')
    })
    assert.match(early, /^HTTP\/1\.1 401 /)
    assert.equal(rig.seen.length, 0)
  })

  test('a virtual server that the caller may not see does not exist', async () => {
    const rig = await start()
    const path = '/servers/secret/mcp'
    const hidden = await ask(rig, { path, body: initialize() })
    assert.deepEqual([hidden.status, codeOf(hidden)], [404, 'NOT_FOUND'])
    const shown = await ask(rig, { path, headers: { Authorization: 'Bearer bob' }, body: initialize() })
    assert.equal(shown.status, 200)
    assert.equal(rig.seen.at(-1)!.scope, 'secret')
    assert.equal((await ask(rig, { path: '/servers/none/rpc', body: request('ping') })).status, 404)
  })

  test('forms of the body and of the answer', async () => {
    const rig = await start()
    const session = await begin(rig)
    const types: [type: string | undefined, status: number][] = [
      ['application/json', 200],
      ['Application/JSON; charset=utf-8', 200],
      ['application/json;charset=utf-8', 200],
      ['text/plain', 415],
      ['application/jsonp', 415],
      ['application/x-www-form-urlencoded', 415],
      [undefined, 415],
    ]
    for (const [type, status] of types) {
      const answer = await ask(rig, { headers: { ...session, 'Content-Type': type }, body: request('ping') })
      assert.equal(answer.status, status, type)
    }
    const packed = await ask(rig, { headers: { ...session, 'Content-Encoding': 'gzip' }, body: request('ping') })
    assert.equal(packed.status, 415)
    const accepts: [accept: string | undefined, status: number, type: string][] = [
      [BOTH, 200, 'application/json'],
      ['application/json', 200, 'application/json'],
      [undefined, 200, 'application/json'],
      ['*/*', 200, 'application/json'],
      ['text/event-stream', 200, 'text/event-stream'],
      ['text/event-stream, */*;q=0.1', 200, 'application/json'],
      ['TEXT/Event-Stream;q=0.9', 200, 'text/event-stream'],
      ['application/json;q=0, text/event-stream', 200, 'text/event-stream'],
      ['text/html', 406, 'application/json'],
      ['application/json;q=0', 406, 'application/json'],
    ]
    for (const [accept, status, type] of accepts) {
      const answer = await ask(rig, { headers: { ...session, Accept: accept }, body: request('ping') })
      assert.equal(answer.status, status, accept)
      assert.equal(answer.headers['content-type'], type, accept)
    }
    const event = await ask(rig, {
      headers: { ...session, Accept: 'text/event-stream' },
      body: request('ping', {}, 'x'),
    })
    assert.deepEqual(events(event.text), [{ jsonrpc: '2.0', id: 'x', result: {} }])
  })
})

describe('bodies', () => {
  test('what is no message is refused, typed, with its id where it has one', async () => {
    const rig = await start()
    const session = await begin(rig)
    const deep = `{"jsonrpc":"2.0","id":1,"method":"ping","params":{"x":${'['.repeat(100)}${']'.repeat(100)}}}`
    const cases: [body: string, status: number, code: string][] = [
      ['', 400, 'PARSE_ERROR'],
      ['{', 400, 'PARSE_ERROR'],
      ['{"jsonrpc":"2.0","id":1,"method":"ping"', 400, 'PARSE_ERROR'],
      ['null', 400, 'INVALID_REQUEST'],
      ['[]', 400, 'INVALID_REQUEST'],
      ['{"jsonrpc":"2.0","id":1,"id":2,"method":"ping"}', 400, 'INVALID_REQUEST'],
      [deep, 400, 'TOO_DEEP'],
      [
        `[${new Array(LIMITS.batchItems + 1).fill('{"jsonrpc":"2.0","method":"x"}').join(',')}]`,
        400,
        'INVALID_REQUEST',
      ],
      ['x'.repeat(LIMITS.bodyBytes + 1), 413, 'TOO_LARGE'],
    ]
    for (const [body, status, code] of cases) {
      const answer = await ask(rig, { headers: session, body })
      assert.deepEqual([answer.status, codeOf(answer), rpcOf(answer).id], [status, code, null], body.slice(0, 60))
    }
    const answer = await ask(rig, {
      headers: { ...session, 'MCP-Protocol-Version': '1999-01-01' },
      body: request('ping', {}, 'v'),
    })
    assert.deepEqual([answer.status, codeOf(answer), rpcOf(answer).id], [400, 'UNSUPPORTED_VERSION', 'v'])
    assert.partialDeepStrictEqual(rpcOf(answer).error!.data, { requested: '1999-01-01', retryable: false })
    assert.equal(rig.seen.length, 1)
  })

  test('a request that has passed too many gateways goes no further', async () => {
    const rig = await start()
    const session = await begin(rig)
    const cases: [hops: string, status: number, seen: number | null][] = [
      ['0', 200, 0],
      ['5', 200, 5],
      ['6', 508, null],
      ['junk', 200, LIMITS.hopsMax],
      ['-1', 200, LIMITS.hopsMax],
      ['1e9', 200, LIMITS.hopsMax],
      ['999', 508, null],
    ]
    for (const [hops, status, seen] of cases) {
      const before = rig.seen.length
      const answer = await ask(rig, { headers: { ...session, 'X-Mcp-Gateway-Hops': hops }, body: request('ping') })
      assert.equal(answer.status, status, hops)
      assert.equal(rig.seen[before]?.hops ?? null, seen, hops)
    }
  })

  test('trace context, parameter headers and progress token reach the call', async () => {
    const rig = await start()
    const traceparent = `00-${'a'.repeat(32)}-${'b'.repeat(16)}-01`
    const params = { name: 'echo', _meta: { ...MODERN_META, progressToken: 7 } }
    const headers = { traceparent, 'Mcp-Param-Region': 'eu', 'Mcp-Param-Size': '2' }
    const asked = modern('tools/call', { name: 'echo' }, headers)
    await ask(rig, { ...asked, body: request('tools/call', params) })
    const call = rig.seen[0]!
    assert.equal(call.trace?.traceparent, traceparent)
    assert.deepEqual(call.paramHeaders, { 'mcp-param-region': 'eu', 'mcp-param-size': '2' })
    assert.equal(String(call.progressToken), '7')
    assert.equal(call.requestId, call.requestId)
    await ask(rig, { ...modern('tools/call', { name: 'echo' }, {}), body: request('tools/call', params) })
    assert.deepEqual(
      rig.seen.at(-1)!.paramHeaders,
      {},
      'none is not the same as not asked for: a missing one is refused',
    )
    await ask(rig, { path: '/rpc', body: request('tools/call', params) })
    assert.equal(rig.seen.at(-1)!.paramHeaders, null, 'plain JSON-RPC has no headers that mirror it')
    const session = await begin(rig)
    await ask(rig, { headers: session, body: tool('echo') })
    assert.equal(rig.seen.at(-1)!.paramHeaders, null)
    assert.notEqual(rig.seen.at(-1)!.requestId, call.requestId)
  })
})

describe('answers', () => {
  test('the status of an error depends on the era, and on when it came up', async () => {
    const rig = await start()
    const session = await begin(rig)
    const cases: [name: string, legacy: number, modern: number][] = [
      ['METHOD_NOT_FOUND', 200, 404],
      ['HEADER_MISMATCH', 200, 400],
      ['MISSING_CAPABILITY', 200, 400],
      ['UNSUPPORTED_VERSION', 200, 400],
      ['INVALID_PARAMS', 200, 200],
      ['NOT_FOUND', 200, 200],
      ['FORBIDDEN', 200, 200],
      ['TIMEOUT', 200, 200],
      ['UPSTREAM_UNAVAILABLE', 200, 200],
      ['UPSTREAM_NOT_READY', 503, 503],
      ['OVERLOADED', 503, 503],
      ['RATE_LIMITED', 429, 429],
      ['upstream-error', 200, 400],
      ['bug', 200, 200],
    ]
    for (const [name, legacy, status] of cases) {
      const inSession = await ask(rig, { headers: session, body: tool(name, 'l') })
      assert.deepEqual([inSession.status, rpcOf(inSession).id], [legacy, 'l'], name)
      const stateless = await ask(rig, modern('tools/call', { name }))
      assert.deepEqual([stateless.status, rpcOf(stateless).id], [status, 'm'], name)
      assert.equal(stateless.headers['retry-after'], status === 200 || name === 'upstream-error' ? undefined : '3')
    }
    const upstream = await ask(rig, { headers: session, body: tool('upstream-error') })
    assert.deepEqual(rpcOf(upstream).error, { code: -32021, message: 'no', data: { code: 1 } })
  })

  test('a fault of ours is logged under its request id, and nothing of it is told', async () => {
    const rig = await start()
    const answer = await ask(rig, modern('tools/call', { name: 'bug' }))
    assert.doesNotMatch(answer.text, /secret|TypeError|\.ts/)
    assert.equal(codeOf(answer), 'INTERNAL')
    assert.deepEqual(rig.faults, [['edge.fault', rpcOf(answer).error!.data.requestId]])
  })

  test('a result in parts is one answer', async () => {
    const rig = await start()
    assert.deepEqual(rpcOf(await ask(rig, modern('tools/call', { name: 'parts' }))).result, { a: 1 })
  })

  test('a notification opens the stream, the answer ends it; who cannot take one gets the answer alone', async () => {
    const rig = await start()
    const session = await begin(rig)
    for (const asked of [modern('tools/call', { name: 'notify' }), { headers: session, body: tool('notify', 'm') }]) {
      const streamed = await ask(rig, asked)
      assert.equal(streamed.headers['content-type'], 'text/event-stream')
      assert.equal(streamed.headers['x-accel-buffering'], 'no')
      const params = (progress: number): object => ({ progressToken: 'p', progress })
      assert.deepEqual(events(streamed.text), [
        { jsonrpc: '2.0', method: 'notifications/progress', params: params(1) },
        { jsonrpc: '2.0', method: 'notifications/progress', params: params(2) },
        { jsonrpc: '2.0', id: 'm', result: { notified: true } },
      ])
      const plain = await ask(rig, { ...asked, headers: { ...asked.headers, Accept: 'application/json' } })
      assert.deepEqual(rpcOf(plain).result, { notified: false })
    }
  })

  test('a long wait opens the stream, and comments keep it open', async () => {
    const rig = await start({ limits: { keepAliveCommentMs: 15 } })
    const stream = await openStream(rig, modern('tools/call', { name: 'wait' }))
    await until(() => stream.text.split(': keep-alive\n').length > 3)
    rig.release()
    await until(() => stream.isOver)
    assert.deepEqual(events(stream.text), [{ jsonrpc: '2.0', id: 'm', result: { waited: true } }])
    const plain = ask(rig, { ...modern('tools/call', { name: 'wait' }, { Accept: 'application/json' }) })
    await until(() => rig.waiting() === 1)
    await new Promise((resolve) => setTimeout(resolve, 40))
    rig.release()
    assert.equal((await plain).headers['content-type'], 'application/json')
  })

  test('a client that does not read its stream is dropped, and its stateless call with it', async () => {
    const rig = await start({ limits: { streamBufferBytes: 200_000 } })
    const asked = modern('tools/call', { name: 'flood' })
    const body = JSON.stringify(asked.body)
    const socket: Socket = connect(rig.port, '127.0.0.1')
    socket.on('error', () => {})
    socket.pause()
    const lines = Object.entries(headersFor(asked)).map(([name, value]) => `${name}: ${value}\r\n`)
    socket.write(
      `POST /mcp HTTP/1.1\r\nHost: localhost\r\n${lines.join('')}Content-Length: ${body.length}\r\n\r\n${body}`,
    )
    await until(() => rig.cancelled.length === 1)
    assert.deepEqual(rig.cancelled, [['tools/call', 'disconnect']])
    socket.destroy()
    await until(() => rig.edge.stats().inFlight === 0)
  })
})

describe('sessions', () => {
  test('each revision of the family begins one, sealed in its id', async () => {
    const rig = await start()
    for (const version of ['2024-11-05', '2025-03-26', '2025-06-18', '2025-11-25']) {
      const session = await begin(rig, version)
      assert.match(session['Mcp-Session-Id']!, /^[\x21-\x7e]{40,512}$/)
      const answer = await ask(rig, { headers: session, body: tool('echo') })
      assert.partialDeepStrictEqual(rpcOf(answer).result, { revision: version })
      assert.equal(answer.headers['mcp-session-id'], undefined)
      const { client } = rig.seen.at(-1)!
      assert.deepEqual([client.name, client.version, client.asks], ['client', '1', ASKS.roots])
    }
    const newest = await begin(rig, '2099-01-01')
    assert.equal(
      (rpcOf(await ask(rig, { headers: newest, body: tool('echo') })).result as { revision: string }).revision,
      '2025-11-25',
    )
    const long = { name: '€'.repeat(100), version: 'v'.repeat(100) }
    const params = { protocolVersion: '2025-11-25', capabilities: {}, clientInfo: long }
    const id = (await ask(rig, { path: '/servers/team/mcp', body: request('initialize', params) })).headers[
      'mcp-session-id'
    ]
    assert.ok(String(id).length <= LIMITS.sessionIdBytes)
    await ask(rig, { path: '/servers/team/mcp', headers: { 'Mcp-Session-Id': String(id) }, body: request('ping') })
    assert.equal(rig.seen.at(-1)!.client.name, '€'.repeat(21))
  })

  test('a handshake that fails begins none', async () => {
    const rig = await start()
    const answer = await ask(rig, { body: request('initialize', {}) })
    assert.deepEqual(
      [answer.status, codeOf(answer), answer.headers['mcp-session-id']],
      [200, 'INVALID_PARAMS', undefined],
    )
  })

  test('without one nothing but initialize is answered', async () => {
    const rig = await start()
    for (const asked of [{ body: tool('echo') }, { headers: { Accept: 'text/event-stream' } }, { method: 'DELETE' }]) {
      const answer = await ask(rig, asked)
      assert.deepEqual([answer.status, codeOf(answer)], [400, 'SESSION_REQUIRED'])
    }
  })

  test('in other hands, at another endpoint, changed, expired or ended it is unknown', async () => {
    const rig = await start()
    const session = await begin(rig)
    const id = session['Mcp-Session-Id']!
    const flipped = id.slice(0, 40) + (id[40] === 'A' ? 'B' : 'A') + id.slice(41)
    const unknown: Asked[] = [
      { headers: { ...session, Authorization: 'Bearer bob' } },
      { headers: session, path: '/servers/team/mcp' },
      { headers: { 'Mcp-Session-Id': flipped } },
      { headers: { 'Mcp-Session-Id': `${id}A` } },
      { headers: { 'Mcp-Session-Id': id.slice(0, -1) } },
      { headers: { 'Mcp-Session-Id': 'A'.repeat(5_000) } },
      { headers: { 'Mcp-Session-Id': '' } },
      {
        headers: {
          'Mcp-Session-Id': createSealer([{ id: 1, key: Buffer.alloc(32, 8) }]).seal('session', Buffer.alloc(60)),
        },
      },
      { headers: { 'Mcp-Session-Id': createSealer([{ id: 1, key: KEY }]).seal('cursor', Buffer.alloc(60)) } },
      { headers: { 'Mcp-Session-Id': createSealer([{ id: 1, key: KEY }]).seal('session', Buffer.alloc(3)) } },
    ]
    const isUnknown = async (asked: Asked): Promise<void> => {
      for (const form of [
        { ...asked, body: request('ping', {}, 9) },
        { ...asked, method: 'DELETE' },
        { ...asked, headers: { ...asked.headers, Accept: 'text/event-stream' } },
      ]) {
        const answer = await ask(rig, form)
        assert.deepEqual([answer.status, codeOf(answer)], [404, 'SESSION_NOT_FOUND'], JSON.stringify(asked))
        assert.equal(rpcOf(answer).error!.code, -32001)
      }
    }
    for (const asked of unknown) await isUnknown(asked)
    assert.equal((await ask(rig, { headers: session, body: request('ping') })).status, 200)
    const other = await begin(rig)
    assert.equal((await ask(rig, { method: 'DELETE', headers: session })).status, 204)
    assert.equal(rig.ended.length, 1)
    await isUnknown({ headers: session })
    assert.equal((await ask(rig, { headers: other, body: request('ping') })).status, 200)
    rig.clock.forward(LIMITS.sessionAgeMs)
    await isUnknown({ headers: other })
  })

  test('it is known to every worker, and so is its end and its log level', async () => {
    const bus = createFakeBus()
    const [one, two] = [await start({ bus }), await start({ bus })]
    const session = await begin(one)
    assert.equal((await ask(two, { headers: session, body: request('ping') })).status, 200)
    assert.equal(two.seen[0]!.logLevel, null)
    await ask(one, { headers: session, body: request('logging/setLevel', { level: 'loud' }) })
    await ask(one, { headers: session, body: request('logging/setLevel', { level: 'error' }) })
    await ask(two, { headers: session, body: request('ping') })
    assert.equal(two.seen.at(-1)!.logLevel, 'error')
    await ask(one, { method: 'DELETE', headers: session })
    assert.equal((await ask(two, { headers: session, body: request('ping') })).status, 404)
    const three = await start({ bus })
    assert.equal((await ask(three, { headers: session, body: request('ping') })).status, 200)
    three.edge.markEnded(one.ended[0]!, three.clock.nowMs + 1_000)
    assert.equal((await ask(three, { headers: session, body: request('ping') })).status, 404)
  })

  test('an end that is refused leaves it alive', async () => {
    const rig = await start({
      endSession: () => Promise.reject(new GatewayError('RATE_LIMITED', undefined, { retryAfterSeconds: 9 })),
    })
    const session = await begin(rig)
    const answer = await ask(rig, { method: 'DELETE', headers: session })
    assert.deepEqual([answer.status, answer.headers['retry-after']], [429, '9'])
    assert.equal((await ask(rig, { headers: session, body: request('ping') })).status, 200)
  })

  test('what is kept for sessions is bounded', async () => {
    const rig = await start({ limits: { sessionCacheItems: 4, tombstonesMax: 2, sessionLevelsMax: 1 } })
    const sessions = [await begin(rig), await begin(rig), await begin(rig), await begin(rig), await begin(rig)]
    assert.ok(rig.edge.stats().sessions <= 4)
    for (const session of sessions)
      assert.equal((await ask(rig, { headers: session, body: request('ping') })).status, 200)
    for (const session of sessions.slice(0, 2)) {
      await ask(rig, { headers: session, body: request('logging/setLevel', { level: 'error' }) })
    }
    await ask(rig, { headers: sessions[0], body: request('ping') })
    assert.equal(rig.seen.at(-1)!.logLevel, null)
    await ask(rig, { headers: sessions[1], body: request('ping') })
    assert.equal(rig.seen.at(-1)!.logLevel, 'error')
    for (const session of sessions.slice(0, 3)) await ask(rig, { method: 'DELETE', headers: session })
    const statuses = []
    for (const session of sessions) statuses.push((await ask(rig, { headers: session, body: request('ping') })).status)
    assert.deepEqual(statuses, [200, 404, 404, 200, 200])
  })

  test('batches belong to 2025-03-26', async () => {
    const rig = await start()
    const old = await begin(rig, '2025-03-26')
    const batch = [
      request('ping', {}, 'a'),
      { jsonrpc: '2.0', method: 'notifications/x' },
      tool('NOT_FOUND', 'b'),
      request('ping', { _meta: { progressToken: {} } }, 'c'),
    ]
    const answer = await ask(rig, { headers: old, body: batch })
    assert.equal(answer.status, 200)
    const answers = JSON.parse(answer.text) as { id: string; error?: { data: { code: string } } }[]
    assert.deepEqual(
      answers.map(({ id, error }) => [id, error?.data.code]),
      [
        ['a', undefined],
        ['b', 'NOT_FOUND'],
        ['c', 'INVALID_PARAMS'],
      ],
    )
    const streamed = await ask(rig, {
      headers: { ...old, Accept: 'text/event-stream' },
      body: [request('ping', {}, 'a')],
    })
    assert.deepEqual(events(streamed.text), [[{ jsonrpc: '2.0', id: 'a', result: {} }]])
    const none = await ask(rig, { headers: old, body: [{ jsonrpc: '2.0', method: 'notifications/x' }] })
    assert.deepEqual([none.status, none.text], [202, ''])
    const refused: Asked[] = [
      { headers: old, body: [initialize()] },
      { headers: old, body: [request('ping', { _meta: MODERN_META })] },
      { headers: { ...old, 'MCP-Protocol-Version': '2026-07-28' }, body: batch },
      { headers: await begin(rig, '2025-06-18'), body: batch },
      { headers: await begin(rig, '2025-11-25'), body: batch },
    ]
    for (const asked of refused) {
      const refusal = await ask(rig, asked)
      assert.deepEqual([refusal.status, codeOf(refusal), rpcOf(refusal).id], [400, 'INVALID_REQUEST', null])
    }
    assert.equal((await ask(rig, { body: batch })).status, 400)
  })

  test('one answer of a batch that is no JSON fails alone', async () => {
    const rig = await start()
    const body = [tool('parts', 'a'), tool('broken', 'b'), tool('parts', 'c')]
    const answer = await ask(rig, { headers: await begin(rig, '2025-03-26'), body })
    const answers = JSON.parse(answer.text) as { id: string; result?: object; error?: { data: { code: string } } }[]
    assert.deepEqual(
      answers.map(({ id, result, error }) => [id, result ?? error?.data.code]),
      [
        ['a', { a: 1 }],
        ['b', 'UPSTREAM_INVALID'],
        ['c', { a: 1 }],
      ],
    )
  })

  test('notifications and posted answers are accepted without a body', async () => {
    const rig = await start()
    const session = await begin(rig)
    const bodies = [
      { jsonrpc: '2.0', method: 'notifications/initialized' },
      { jsonrpc: '2.0', method: 'notifications/cancelled', params: {} },
      { jsonrpc: '2.0', method: 'notifications/unknown' },
      { jsonrpc: '2.0', id: 's1', result: {} },
    ]
    for (const body of bodies) {
      const answer = await ask(rig, { headers: session, body })
      assert.deepEqual([answer.status, answer.text], [202, ''])
    }
  })
})

describe('cancellation', () => {
  test('a session cancels by notification, in this worker or another, and only its own calls', async () => {
    const bus = createFakeBus()
    const [one, two] = [await start({ bus }), await start({ bus })]
    const session = await begin(one)
    const other = await begin(one)
    const cancel = (rig: Rig, headers: Record<string, string>, requestId: unknown): Promise<Answer> =>
      ask(rig, { headers, body: { jsonrpc: '2.0', method: 'notifications/cancelled', params: { requestId } } })
    const ids: [sent: string, cancelledAs: unknown][] = [
      ['7', 7],
      ['"a/b"', 'a/b'],
      ['"a\\/\\u0062"', 'a/b'],
    ]
    for (const [sent, cancelledAs] of ids) {
      for (const rig of [one, two]) {
        const body = `{"jsonrpc":"2.0","id":${sent},"method":"tools/call","params":{"name":"wait"}}`
        const call = ask(one, { headers: session, body })
        await until(() => one.edge.stats().inFlight === 1)
        const before = one.cancelled.length
        await cancel(rig, other, cancelledAs)
        await cancel(rig, session, 'another')
        assert.equal(one.cancelled.length, before)
        await cancel(rig, session, cancelledAs)
        const answer = await call
        assert.deepEqual([answer.status, codeOf(answer)], [200, 'CANCELLED'])
        assert.deepEqual(one.cancelled.at(-1), ['tools/call', 'client'])
        await until(() => one.edge.stats().inFlight === 0)
      }
    }
  })

  test('what cannot be an id is neither looked for nor told to other workers', async () => {
    const rig = await start()
    const session = await begin(rig)
    for (const requestId of ['x'.repeat(1_000_000), { a: 1 }, [7], 1.5, true, null]) {
      const body = { jsonrpc: '2.0', method: 'notifications/cancelled', params: { requestId } }
      assert.equal((await ask(rig, { headers: session, body })).status, 202)
    }
    assert.deepEqual(rig.bus.published, [])
  })

  test('going away cancels a stateless call and a plain one, but not a call of a session', async () => {
    const rig = await start()
    const session = await begin(rig)
    const drop = async (asked: Asked): Promise<void> => {
      const waiting = rig.waiting()
      const gone = new Promise((resolve) => {
        const { body, path = '/mcp' } = asked
        const posted = httpRequest({ port: rig.port, path, method: 'POST', headers: headersFor(asked), agent: false })
        posted.on('error', resolve)
        posted.end(JSON.stringify(body))
        void until(() => rig.waiting() > waiting).then(() => posted.destroy())
      })
      await gone
    }
    await drop(modern('tools/call', { name: 'wait' }))
    await until(() => rig.cancelled.length === 1)
    await drop({ path: '/rpc', body: [tool('wait', 1), tool('wait', 2)] })
    await until(() => rig.cancelled.length === 3)
    assert.ok(rig.cancelled.every(([, reason]) => reason === 'disconnect'))
    await until(() => rig.edge.stats().inFlight === 0)
    await drop({ headers: session, body: tool('wait') })
    await new Promise((resolve) => setTimeout(resolve, 30))
    assert.equal(rig.edge.stats().inFlight, 1)
    assert.equal(rig.cancelled.length, 3)
    while (rig.waiting() > 0) rig.release()
    await until(() => rig.edge.stats().inFlight === 0)
  })
})

describe('streams of sessions', () => {
  const LISTEN = { Accept: 'text/event-stream' }

  test('list changes reach those whose lists they are, and comments keep the stream open', async () => {
    const rig = await start({ limits: { keepAliveCommentMs: 15 } })
    const all = await openStream(rig, { headers: { ...(await begin(rig)), ...LISTEN } })
    const path = '/servers/team/mcp'
    const team = await openStream(rig, { path, headers: { ...(await begin(rig, '2025-06-18', { path })), ...LISTEN } })
    assert.deepEqual([all.status, all.headers['content-type']], [200, 'text/event-stream'])
    assert.equal(rig.edge.stats().streams, 2)
    rig.edge.announce((scope) => (scope === '' ? ['tools', 'resources'] : []))
    rig.edge.announce((scope) => (scope === '' ? ['tools'] : []))
    rig.edge.announce(() => ['prompts'])
    const changed = (kind: string): object => ({ jsonrpc: '2.0', method: `notifications/${kind}/list_changed` })
    await until(() => events(all.text).length === 3 && events(team.text).length === 1)
    assert.deepEqual(events(all.text), [changed('tools'), changed('prompts'), changed('resources')])
    assert.deepEqual(events(team.text), [changed('prompts')])
    await until(() => all.text.includes(': keep-alive'))
    all.close()
    await until(() => rig.edge.stats().streams === 1)
    team.close()
    await until(() => rig.edge.stats().streams === 0)
  })

  test('a second stream of a session takes the place of the first', async () => {
    const rig = await start()
    const headers = { ...(await begin(rig)), ...LISTEN }
    const first = await openStream(rig, { headers })
    const second = await openStream(rig, { headers })
    await until(() => first.isOver)
    assert.equal(rig.edge.stats().streams, 1)
    rig.edge.announce(() => ['tools'])
    await until(() => events(second.text).length === 1)
    second.close()
  })

  test('streams have a bound of their own, need an Accept and a session revision', async () => {
    const rig = await start({ limits: { maxStreams: 1 } })
    const [one, two] = [await begin(rig), await begin(rig)]
    const stream = await openStream(rig, { headers: { ...one, ...LISTEN } })
    const refusals: [headers: Record<string, string>, status: number, code: string][] = [
      [{ ...two, ...LISTEN }, 503, 'OVERLOADED'],
      [{ ...two }, 406, 'NOT_ACCEPTABLE'],
      [{ ...two, Accept: 'application/json' }, 406, 'NOT_ACCEPTABLE'],
      [{ ...LISTEN, 'MCP-Protocol-Version': '2026-07-28' }, 405, 'METHOD_NOT_ALLOWED'],
      [{ ...two, ...LISTEN, 'MCP-Protocol-Version': '1999-01-01' }, 400, 'UNSUPPORTED_VERSION'],
    ]
    for (const [headers, status, code] of refusals) {
      const answer = await ask(rig, { headers })
      assert.deepEqual([answer.status, codeOf(answer)], [status, code])
    }
    const gone = await ask(rig, { method: 'DELETE', headers: { 'MCP-Protocol-Version': '2026-07-28' } })
    assert.deepEqual([gone.status, gone.headers.allow], [405, 'POST, OPTIONS'])
    stream.close()
  })

  test('one that broke goes on, here or elsewhere: what differs from what its client has seen is told', async () => {
    const bus = createFakeBus()
    const [rig, elsewhere] = [await start({ bus }), await start({ bus })]
    const session = await begin(rig)
    const holders = [`s${(await ask(rig, { headers: session, body: tool('echo') })).text.match(/[0-9a-f]{32}/)![0]}`]
    const first = await openStream(rig, { headers: { ...session, ...LISTEN } })
    const idsOf = (stream: OpenStream): string[] => [...stream.text.matchAll(/^id: (.*)$/gm)].map(([, id]) => id!)
    // Before anything has happened there is an id to come back with.
    await until(() => idsOf(first).length === 1)
    assert.match(first.text, /^: open\nid: l\.aa\.bb\.cc\.\w+\ndata:\n\n$/)
    bus.publish('resourceUpdated', { holders, uri: 'x://seen' })
    await until(() => idsOf(first).length === 2)
    // Further apart than clocks may differ, else it is told again.
    for (const { clock } of [rig, elsewhere]) clock.forward(10_000)
    rig.edge.announce(() => ['tools'])
    await until(() => idsOf(first).length === 3)
    first.close()
    await until(() => rig.edge.stats().streams === 0)
    for (const { clock } of [rig, elsewhere]) clock.forward(10_000)
    bus.publish('resourceUpdated', { holders: [...holders, 'sother', 'w1.1.1'], uri: 'x://missed' })
    for (const { marks } of [rig, elsewhere]) marks[1] = 'bbb'
    for (const where of [rig, elsewhere]) {
      const id = idsOf(first)[2]!
      const again = await openStream(where, { headers: { ...session, ...LISTEN, 'Last-Event-ID': id } })
      const told = [
        { jsonrpc: '2.0', method: 'notifications/prompts/list_changed' },
        { jsonrpc: '2.0', method: 'notifications/resources/updated', params: { uri: 'x://missed' } },
      ]
      // What came while the first one had been resumed is news to who comes again with the old id.
      if (where === elsewhere) told.push({ ...told[1]!, params: { uri: 'x://now' } })
      await until(() => events(again.text).length === told.length)
      assert.deepEqual(events(again.text), told)
      // Only the last one has an id: who got half of it gets it all again.
      assert.match(again.text, /^: open\nevent[\s\S]*\n\nid: l\.aa\.bbb\.cc\.\w+\nevent.*\n.*\n\n$/)
      assert.equal(idsOf(again).length, 1)
      const nothing = await openStream(where, { headers: { ...session, ...LISTEN, 'Last-Event-ID': idsOf(again)[0]! } })
      await until(() => again.isOver)
      bus.publish('resourceUpdated', { holders, uri: 'x://now' })
      await until(() => nothing.text.includes('x://now'))
      assert.doesNotMatch(nothing.text, /list_changed|x:\/\/seen/)
      nothing.close()
    }
    for (const id of ['', 'x', 'l.', 'l.aa.bb.cc', 'l.aa.bb.cc.!', `l.${'a'.repeat(99)}.b.c.1`, 'c.x.1']) {
      const answer = await ask(rig, { headers: { ...session, ...LISTEN, 'Last-Event-ID': id } })
      assert.deepEqual([answer.status, codeOf(answer)], [400, 'INVALID_PARAMS'], id)
    }
    // Whose clients cannot take an event without data get their first id with their first news.
    const older = await openStream(rig, { headers: { ...(await begin(rig, '2025-06-18')), ...LISTEN } })
    rig.edge.announce(() => ['tools'])
    await until(() => events(older.text).length === 1)
    assert.match(older.text, /^: open\nid: l\.aa\.bbb\.cc\.\w+\nevent: message\n/)
    older.close()
  })

  test('they end with the session, with the right to call, with the drain', async () => {
    const rig = await start({ limits: { keepAliveCommentMs: 15 } })
    const listen = async (): Promise<{ session: Record<string, string>; stream: OpenStream }> => {
      const session = await begin(rig)
      return { session, stream: await openStream(rig, { headers: { ...session, ...LISTEN } }) }
    }
    const deleted = await listen()
    await ask(rig, { method: 'DELETE', headers: deleted.session })
    await until(() => deleted.stream.isOver)
    const kept = await listen()
    rig.bus.publish('callersChanged', { hashes: null })
    await until(() => kept.stream.text.includes(': keep-alive'))
    assert.equal(kept.stream.isOver, false)
    rig.tokens.delete('ada')
    rig.bus.publish('callersChanged', { hashes: ['x'] })
    await until(() => kept.stream.isOver)
    rig.tokens.add('ada')
    const old = await listen()
    rig.clock.forward(LIMITS.sessionAgeMs)
    await until(() => old.stream.isOver)
    const last = await listen()
    rig.edge.drain()
    await until(() => last.stream.isOver)
    // Its client opens the next one at once, perhaps on the same connection: it is served as calls are, till the close.
    const late = await openStream(rig, { headers: { ...last.session, ...LISTEN } })
    assert.equal((await ask(rig, { headers: last.session, body: request('ping') })).status, 200)
    rig.edge.close()
    await until(() => late.isOver)
    const refused = await ask(rig, { headers: { ...last.session, ...LISTEN } })
    assert.deepEqual([refused.status, codeOf(refused)], [503, 'SHUTTING_DOWN'])
  })
})

describe('room', () => {
  test('a few calls wait for a moment, the rest is told to come again', async () => {
    const rig = await start({ limits: { maxInFlight: 2, maxQueued: 1, queueMs: 60 } })
    const one = (): Promise<Answer> => ask(rig, modern('tools/call', { name: 'wait' }))
    const taken = [one(), one()]
    await until(() => rig.waiting() === 2)
    const waits = one()
    await until(() => rig.edge.stats().queued === 1)
    const refused = await one()
    assert.deepEqual([refused.status, refused.headers['retry-after'], codeOf(refused)], [503, '1', 'OVERLOADED'])
    const late = await waits
    assert.deepEqual([late.status, codeOf(late)], [503, 'OVERLOADED'])
    const admitted = one()
    await until(() => rig.edge.stats().queued === 1)
    rig.release()
    await until(() => rig.waiting() === 2)
    rig.release()
    rig.release()
    const statuses = (await Promise.all([...taken, admitted])).map(({ status }) => status)
    assert.deepEqual(statuses, [200, 200, 200])
    const { inFlight, queued, streams, sessions, questions } = rig.edge.stats()
    assert.deepEqual([inFlight, queued, streams, sessions, questions], [0, 0, 0, 0, 0])
  })

  test('streams and probes need no place among the calls; the calls of a batch do', async () => {
    const rig = await start({ limits: { maxInFlight: 3, maxQueued: 0 } })
    const session = await begin(rig, '2025-03-26')
    const stream = await openStream(rig, { headers: { ...session, Accept: 'text/event-stream' } })
    const batch = ask(rig, { headers: session, body: [tool('wait', 1), tool('wait', 2), tool('wait', 3)] })
    await until(() => rig.waiting() === 3)
    assert.equal(rig.edge.stats().inFlight, 3)
    assert.equal((await ask(rig, modern('ping'))).status, 503)
    assert.equal((await ask(rig, { path: '/health' })).status, 200)
    while (rig.waiting() > 0) rig.release()
    assert.equal((await batch).status, 200)
    assert.equal(rig.edge.stats().inFlight, 0)
    stream.close()
  })

  test('closing waits for calls as long as it is told, then cancels them', async () => {
    const rig = await start({ limits: { maxInFlight: 1 } })
    assert.equal(await rig.edge.idle(10), true)
    const call = ask(rig, modern('tools/call', { name: 'wait' }))
    await until(() => rig.waiting() === 1)
    const queued = ask(rig, modern('tools/call', { name: 'wait' }))
    await until(() => rig.edge.stats().queued === 1)
    assert.equal(await rig.edge.idle(10), false)
    rig.edge.close()
    assert.deepEqual([codeOf(await queued), codeOf(await call)], ['SHUTTING_DOWN', 'CANCELLED'])
    assert.deepEqual(rig.cancelled, [['tools/call', 'shutdown']])
    assert.equal(await rig.edge.idle(1_000), true)
    assert.equal(codeOf(await ask(rig, modern('ping'))), 'SHUTTING_DOWN')
  })
})

test('plain JSON-RPC: no session, no headers of MCP, no stream', async () => {
  const rig = await start()
  const cases: [path: string, body: string | object, status: number, expected: unknown][] = [
    ['/rpc', tool('echo', 'x'), 200, { jsonrpc: '2.0', id: 'x', result: { revision: '2025-11-25', session: null } }],
    [
      '/servers/team/rpc',
      tool('echo', 1),
      200,
      { jsonrpc: '2.0', id: 1, result: { revision: '2025-11-25', session: null } },
    ],
    [
      '/rpc',
      request('tools/call', { name: 'echo', _meta: MODERN_META }),
      200,
      { jsonrpc: '2.0', id: 1, result: { revision: '2026-07-28', session: null } },
    ],
    ['/rpc', tool('notify'), 200, { jsonrpc: '2.0', id: 1, result: { notified: false } }],
    [
      '/rpc',
      [tool('echo', 1), { jsonrpc: '2.0', method: 'x' }],
      200,
      [{ jsonrpc: '2.0', id: 1, result: { revision: '2025-11-25', session: null } }],
    ],
    ['/rpc', { jsonrpc: '2.0', method: 'notifications/x' }, 202, null],
    ['/rpc', [{ jsonrpc: '2.0', method: 'notifications/x' }], 202, null],
  ]
  for (const [path, body, status, expected] of cases) {
    const answer = await ask(rig, { path, body })
    assert.equal(answer.status, status)
    assert.deepEqual(answer.text === '' ? null : JSON.parse(answer.text), expected)
    assert.equal(answer.headers['mcp-session-id'], undefined)
  }
  const missing = await ask(rig, { path: '/rpc', body: request('nope') })
  assert.deepEqual([missing.status, codeOf(missing)], [200, 'METHOD_NOT_FOUND'])
  const broken = await ask(rig, { path: '/rpc', body: '{' })
  assert.deepEqual([broken.status, codeOf(broken)], [400, 'PARSE_ERROR'])
})

test('the stateless revision has no sessions: an id is ignored, and none is made', async () => {
  const rig = await start()
  const answer = await ask(rig, modern('tools/call', { name: 'echo' }, { 'Mcp-Session-Id': 'whatever' }))
  assert.deepEqual(rpcOf(answer).result, { revision: '2026-07-28', session: null })
  assert.equal(answer.headers['mcp-session-id'], undefined)
  const noted = await ask(rig, {
    headers: { 'MCP-Protocol-Version': '2026-07-28' },
    body: { jsonrpc: '2.0', method: 'notifications/cancelled', params: { requestId: 1 } },
  })
  assert.deepEqual([noted.status, noted.text], [202, ''])
  const mismatch = await ask(rig, {
    ...modern('ping'),
    headers: { 'MCP-Protocol-Version': '2026-07-28', 'Mcp-Method': 'other' },
  })
  assert.deepEqual([mismatch.status, codeOf(mismatch), rpcOf(mismatch).id], [400, 'HEADER_MISMATCH', 'm'])
})

describe('subscriptions of the stateless revision', () => {
  const TAG = 'io.modelcontextprotocol/subscriptionId'
  const listen = (rig: Rig, notifications: unknown, id: unknown = 1): Promise<OpenStream> => {
    const { body, ...rest } = modern('subscriptions/listen', { notifications })
    return openStream(rig, { ...rest, body: { ...(body as object), id } })
  }
  const count = (stream: OpenStream, wanted: number) => until(() => events(stream.text).length >= wanted)

  test('what can be heard is acknowledged first, and then heard under the tag of its request alone', async () => {
    const rig = await start()
    const one = await listen(
      rig,
      { toolsListChanged: true, resourceSubscriptions: ['a://1', 'x://unknown', 'a://1'] },
      'é',
    )
    const two = await listen(rig, { promptsListChanged: true, toolsListChanged: false })
    await count(one, 1)
    await count(two, 1)
    const meta = (id: unknown): object => ({ _meta: { [TAG]: id } })
    const said = (method: string, id: unknown, more: object = {}): object => ({
      ...{ jsonrpc: '2.0', method: `notifications/${method}`, params: { ...more, ...meta(id) } },
    })
    const honoured = { toolsListChanged: true, resourceSubscriptions: ['a://1'] }
    assert.deepEqual(events(one.text), [said('subscriptions/acknowledged', 'é', { notifications: honoured })])
    const [holder] = rig.watched[0]!.split(' ')
    assert.deepEqual(rig.watched, [`${holder} a://1`])
    rig.edge.announce(() => ['tools', 'prompts', 'resources'])
    rig.bus.publish('resourceUpdated', { uri: 'a://1', holders: [holder!, 'w9.9.9'] })
    await count(one, 3)
    await count(two, 2)
    assert.deepEqual(events(one.text).slice(1), [
      said('tools/list_changed', 'é'),
      said('resources/updated', 'é', { uri: 'a://1' }),
    ])
    assert.deepEqual(events(two.text).slice(1), [said('prompts/list_changed', 1)])
    assert.deepEqual([rig.edge.stats().inFlight, rig.edge.stats().streams], [0, 2])
    one.close()
    await until(() => rig.watched.includes(`${holder} no more`))
  })

  test('a drain ends it with the answer to its request', async () => {
    const rig = await start()
    const stream = await listen(rig, { toolsListChanged: true }, 7)
    await count(stream, 1)
    rig.edge.drain()
    await until(() => stream.isOver)
    assert.deepEqual(events(stream.text).at(-1), {
      ...{ jsonrpc: '2.0', id: 7 },
      result: { resultType: 'complete', _meta: { [TAG]: 7 } },
    })
  })

  test('what cannot be a filter, a client that takes no stream, and one stream too many are refused', async () => {
    const rig = await start({ limits: { maxStreams: 1 } })
    for (const notifications of [undefined, null, [], { resourceSubscriptions: 'a' }, { resourceSubscriptions: [7] }])
      assert.equal(codeOf(await ask(rig, modern('subscriptions/listen', { notifications }))), 'INVALID_PARAMS')
    const silent = modern('subscriptions/listen', { notifications: {} }, { Accept: 'application/json' })
    assert.equal(codeOf(await ask(rig, silent)), 'NOT_ACCEPTABLE')
    await listen(rig, {})
    assert.equal(codeOf(await ask(rig, modern('subscriptions/listen', { notifications: {} }))), 'OVERLOADED')
  })

  test('of one stream only watchesPerHolder resources are watched', async () => {
    const rig = await start({ limits: { watchesPerHolder: 2 } })
    await count(await listen(rig, { resourceSubscriptions: ['a', 'b', 'c'] }), 1)
    assert.equal(rig.watched.length, 2)
  })
})

test('the GET stream of a session hears of the resources that the session watches', async () => {
  const rig = await start()
  const session = await begin(rig)
  const stream = await openStream(rig, { headers: { ...session, Accept: 'text/event-stream' } })
  await ask(rig, { headers: session, body: tool('echo') })
  const holders = [`s${rig.seen.at(-1)!.session!.key}`]
  for (const uri of ['a://1', 'a://1', 'a://2']) rig.bus.publish('resourceUpdated', { uri, holders })
  await until(() => events(stream.text).length === 2)
  assert.deepEqual(
    (events(stream.text) as { params: object }[]).map(({ params }) => params),
    [{ uri: 'a://1' }, { uri: 'a://2' }],
  )
  stream.close()
})
