// One request over HTTP: what goes out, in both eras, and what becomes of every kind of answer that a bad server can give.

import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { gzipSync } from 'node:zlib'
import { makeCall } from '../../test/fakes/call.ts'
import { until } from '../../test/fakes/processes.ts'
import {
  chunk,
  createRawUpstream,
  event,
  http,
  json,
  type RawUpstream,
  type Respond,
  result,
  SSE_HEAD,
  sse,
} from '../../test/fakes/raw-upstream.ts'
import { ASKS } from '../core/asks.ts'
import type { Call, Reply } from '../core/call.ts'
import { GatewayError } from '../core/errors.ts'
import { LIMITS, type Limits } from '../core/limits.ts'
import { createFastLink } from '../http/fast-link.ts'
import { createGuard } from '../http/guard.ts'
import { type Ask, BROKER_CLASS, createWire, Ids, NotProcessed } from './ask.ts'
import { createHttpPeer, type HttpPeer } from './http-peer.ts'
import { askHttp, openHttp } from './mcp-http.ts'

const BOUNDS: Limits = {
  ...LIMITS,
  upstreamBodyBytes: 4_000,
  upstreamEventBytes: 4_000,
  upstreamErrorBytes: 2_000,
  upstreamDroppedMax: 20,
  upstreamLingerMs: 50,
}
const LEGACY = createWire('legacy', '2025-11-25', '9.9.9')
const MODERN = createWire('modern', '2026-07-28', '9.9.9')

interface Setup {
  upstream: RawUpstream
  peer: HttpPeer
}

async function setUp(
  t: TestContext,
  respond: Respond,
  over: Partial<HttpPeer> & { staticHeaders?: string[] } = {},
): Promise<Setup> {
  const upstream = await createRawUpstream(respond)
  const link = createFastLink(new URL(upstream.url), {
    ...{ connectionsMax: 4, connectMs: 1_000, headerBytes: LIMITS.upstreamHeaderBytes, ca: null, caPinned: false },
    guard: createGuard({ allowPrivate: true, networks: [] }),
  })
  t.after(async () => {
    await link.close(0)
    await upstream.close()
  })
  const peer = createHttpPeer({
    ...{ name: 'up', wire: LEGACY, link, path: '/mcp', sessionId: null, ids: new Ids(7), limits: BOUNDS },
    ...{ version: '9.9.9', staticHeaders: [], ...over },
  })
  return { upstream, peer }
}

function makeAsk(call: Call | null, over: Partial<Ask> = {}): Ask {
  const params = Buffer.from('{"name":"echo","arguments":{"a":1}}')
  return {
    method: 'tools/call',
    params,
    name: 'echo',
    paramHeaders: [],
    callMs: 2_000,
    callMsMax: 10_000,
    call,
    ...over,
  }
}

const textOf = (reply: Reply): string => ('error' in reply ? reply.error : (reply.result as Buffer)).toString()

async function failure(promise: Promise<unknown>): Promise<GatewayError | NotProcessed> {
  const error = await promise.then(
    () => assert.fail('it did not fail'),
    (fault: unknown) => fault,
  )
  assert.ok(error instanceof GatewayError || error instanceof NotProcessed, String(error))
  return error
}

// --- what goes out ------------------------------------------------------------------------------------------------------

test('a legacy request: exact headers and body', async (t) => {
  const { upstream, peer } = await setUp(t, ({ id }) => json(result(id)), {
    sessionId: 's-1',
    staticHeaders: ['X-Key', 'k'],
  })
  await askHttp(peer, makeAsk(makeCall('tools/call', { name: 'x' })))
  const { headers, body } = upstream.requests[0]!
  assert.equal(body, '{"jsonrpc":"2.0","id":519,"method":"tools/call","params":{"name":"echo","arguments":{"a":1}}}')
  const { host, connection, 'content-length': length, ...rest } = headers
  assert.deepEqual([host, connection, length], [`127.0.0.1:${upstream.port}`, 'keep-alive', String(body.length)])
  assert.deepEqual(rest, {
    accept: 'application/json, text/event-stream',
    'content-type': 'application/json',
    'x-mcp-gateway-hops': '1',
    'mcp-protocol-version': '2025-11-25',
    'mcp-session-id': 's-1',
    'user-agent': 'mcp-gateway/9.9.9',
    'x-key': 'k',
  })
})

test('a modern request: envelope, mirrored headers, encoded names, trace, hops', async (t) => {
  const { upstream, peer } = await setUp(t, ({ id }) => json(result(id)), { wire: MODERN })
  const call = makeCall(
    'tools/call',
    {
      name: 'x',
      _meta: {
        'example.com/k': { é: [1] },
        progressToken: 'mine',
        traceparent: 'spoilt',
        'io.modelcontextprotocol/x': 1,
      },
    },
    {
      era: 'modern',
      hops: 2,
      logLevel: 'warning',
      progressToken: Buffer.from('"mine"'),
      notify: () => {},
      trace: { traceparent: '00-aa-bb-01', tracestate: 'a=b', baggage: 'c=d' },
      client: {
        name: 'c',
        version: '1',
        asks: ASKS.sampling,
        capabilities: Buffer.from('{"sampling":{}}'),
      },
    },
  )
  await askHttp(
    peer,
    makeAsk(call, { params: Buffer.from('{}'), name: 'naïve', paramHeaders: ['Mcp-Param-Region', 'eu'] }),
  )
  const { headers, message } = upstream.requests[0]!
  assert.deepEqual(message, {
    jsonrpc: '2.0',
    id: 519,
    method: 'tools/call',
    params: {
      _meta: {
        'io.modelcontextprotocol/protocolVersion': '2026-07-28',
        'io.modelcontextprotocol/clientInfo': { name: 'mcp-gateway', version: '9.9.9' },
        'io.modelcontextprotocol/clientCapabilities': { sampling: {} },
        'io.modelcontextprotocol/logLevel': 'warning',
        progressToken: 519,
        traceparent: '00-aa-bb-01',
        tracestate: 'a=b',
        baggage: 'c=d',
        'example.com/k': { é: [1] },
      },
    },
  })
  const seen = [
    'mcp-protocol-version',
    'mcp-method',
    'mcp-name',
    'mcp-param-region',
    'traceparent',
    'tracestate',
    'baggage',
    'x-mcp-gateway-hops',
    'mcp-session-id',
  ]
  assert.deepEqual(
    seen.map((name) => headers[name]),
    ['2026-07-28', 'tools/call', '=?base64?bmHDr3Zl?=', 'eu', '00-aa-bb-01', 'a=b', 'c=d', '3', undefined],
  )
})

test("a legacy client's capabilities and our own requests declare nothing to a modern server", async (t) => {
  const { upstream, peer } = await setUp(t, ({ id }) => json(result(id)), { wire: MODERN })
  const client = {
    name: 'c',
    version: '1',
    asks: ASKS.sampling | ASKS.elicitationForm | ASKS.roots,
    capabilities: Buffer.from('{"sampling":{}}'),
  }
  await askHttp(peer, makeAsk(makeCall('tools/call', {}, { client })))
  await askHttp(peer, makeAsk(null, { params: Buffer.from('{ }') }))
  for (const { message } of upstream.requests) {
    const meta = message.params?._meta as Record<string, unknown>
    assert.deepEqual(meta['io.modelcontextprotocol/clientCapabilities'], {})
  }
})

test('trace context goes into the _meta of an older server only when the client had it there', async (t) => {
  const { upstream, peer } = await setUp(t, ({ id }) => json(result(id)))
  const trace = { traceparent: '00-aa-bb-01', tracestate: null, baggage: null }
  await askHttp(peer, makeAsk(makeCall('tools/call', {}, { trace })))
  await askHttp(peer, makeAsk(makeCall('tools/call', { _meta: { traceparent: '00-aa-bb-01' } }, { trace })))
  assert.deepEqual(
    upstream.requests.map(({ headers, message }) => [headers.traceparent, message.params?._meta]),
    [
      ['00-aa-bb-01', undefined],
      ['00-aa-bb-01', { traceparent: '00-aa-bb-01' }],
    ],
  )
})

test('ids of two processes never meet', () => {
  const workers = [0, 1, LIMITS.workersMax, BROKER_CLASS - 1, BROKER_CLASS + 1, BROKER_CLASS + 2, 5 * BROKER_CLASS + 1]
  const all = [new Ids(BROKER_CLASS), ...workers.map((n) => new Ids(n)), new Ids(100_000)]
  const seen = new Set(Array.from({ length: 1000 }, () => all.map((ids) => ids.next())).flat())
  assert.equal(seen.size, 1000 * all.length)
  assert.ok([...seen].every(Number.isSafeInteger))
})

// --- good answers ---------------------------------------------------------------------------------------------------------

const GOOD: [string, Respond, string][] = [
  ['JSON', ({ id }) => json(result(id)), '{"content":[]}'],
  [
    'JSON with a charset',
    ({ id }) => json(result(id), 200, { 'content-type': 'Application/JSON; charset=utf-8' }),
    '{"content":[]}',
  ],
  [
    'JSON with its members in another order',
    ({ id }) => json(`{ "result" : {"a":1} , "id":${id} ,"jsonrpc":"2.0"}\n`),
    '{"a":1}',
  ],
  [
    'an error',
    ({ id }) => json(`{"jsonrpc":"2.0","id":${id},"error":{"code":-32602,"message":"no"}}`),
    '{"code":-32602,"message":"no"}',
  ],
  [
    'an error with HTTP 400',
    ({ id }) => json(`{"jsonrpc":"2.0","id":${id},"error":{"code":-32602,"message":"no"}}`, 400),
    '{"code":-32602,"message":"no"}',
  ],
  [
    'an error with HTTP 500',
    ({ id }) => json(`{"jsonrpc":"2.0","id":${id},"error":{"code":-32603,"message":"no"}}`, 500),
    '{"code":-32603,"message":"no"}',
  ],
  ['a stream of one', ({ id }) => sse(event(result(id))), '{"content":[]}'],
  [
    'a stream with comments, ids, a priming event and CR LF',
    ({ id }) => sse(`: hi\r\n\r\nid: 1\r\ndata:\r\n\r\nid: 2\r\ndata: ${result(id)}\r\n\r\n`),
    '{"content":[]}',
  ],
  [
    'data on several lines',
    ({ id }) => sse(`data: {"jsonrpc":"2.0",\ndata: "id":${id},\ndata: "result":{}}\n\n`),
    '{}',
  ],
  [
    'unrelated things before the answer',
    ({ id }) =>
      sse(
        `event: ping\ndata: x\n\n${event('not JSON')}${event(result('99'))}${event('{"jsonrpc":"2.0","method":"notifications/x"}')}${event(result(id))}`,
      ),
    '{"content":[]}',
  ],
  ['identity encoding', ({ id }) => json(result(id), 200, { 'content-encoding': 'identity' }), '{"content":[]}'],
]

test('a body of many small chunks is put together once', async (t) => {
  const limits = { ...LIMITS }
  const { peer } = await setUp(
    t,
    ({ id }, socket) => {
      const text = result(id, `{"a":"${'x'.repeat(300_000)}"}`)
      socket.write('HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n')
      socket.write([...text].map((letter) => chunk(letter)).join('') + chunk(''))
    },
    { limits },
  )
  assert.equal(textOf(await askHttp(peer, makeAsk(makeCall('tools/call')))).length, 300_008)
})

test('answers that are one', async (t) => {
  for (const [name, respond, expected] of GOOD) {
    const { peer } = await setUp(t, respond)
    assert.equal(textOf(await askHttp(peer, makeAsk(makeCall('tools/call')))), expected, name)
    assert.equal(peer.link.inFlight, 0, name)
  }
})

// --- hostile answers --------------------------------------------------------------------------------------------------------

const flood = (socket: Parameters<Respond>[1], text: string): void => {
  const more = (): void => {
    while (!socket.destroyed && socket.writable && socket.write(chunk(text))) {}
  }
  socket.on('drain', more)
  more()
}

const BAD: [string, Respond, string, RegExp][] = [
  ['not JSON', () => json('<html>'), 'UPSTREAM_INVALID', /breaks the protocol/],
  ['an empty body', () => json(''), 'UPSTREAM_INVALID', /breaks the protocol/],
  ['a foreign id', () => json(result('1')), 'UPSTREAM_INVALID', /id is not the one/],
  ['our id as a string', ({ id }) => json(result(`"${id}"`)), 'UPSTREAM_INVALID', /id is not the one/],
  ['no id', () => json('{"jsonrpc":"2.0","result":{}}'), 'UPSTREAM_INVALID', /"id" is missing/],
  ['a null id', () => json('{"jsonrpc":"2.0","id":null,"result":{}}'), 'UPSTREAM_INVALID', /id is not the one/],
  ['two ids', ({ id }) => json(`{"jsonrpc":"2.0","id":1,"id":${id},"result":{}}`), 'UPSTREAM_INVALID', /duplicate key/],
  [
    'a second id in disguise',
    ({ id }) => json(`{"jsonrpc":"2.0","id":${id},"result":{},"\\u0069d":1}`),
    'UPSTREAM_INVALID',
    /duplicate key/,
  ],
  [
    'two results',
    ({ id }) => json(`{"jsonrpc":"2.0","id":${id},"result":{},"result":{"x":1}}`),
    'UPSTREAM_INVALID',
    /duplicate key/,
  ],
  [
    'result and error',
    ({ id }) => json(`{"jsonrpc":"2.0","id":${id},"result":{},"error":{"code":1,"message":""}}`),
    'UPSTREAM_INVALID',
    /neither or both/,
  ],
  ['neither', ({ id }) => json(`{"jsonrpc":"2.0","id":${id}}`), 'UPSTREAM_INVALID', /neither or both/],
  ['a result that is no object', ({ id }) => json(result(id, '[1]')), 'UPSTREAM_INVALID', /not an object/],
  [
    'an error that is no object',
    ({ id }) => json(`{"jsonrpc":"2.0","id":${id},"error":"no"}`),
    'UPSTREAM_INVALID',
    /not an object/,
  ],
  [
    'an error without a code',
    ({ id }) => json(`{"jsonrpc":"2.0","id":${id},"error":{"message":"x"}}`),
    'UPSTREAM_INVALID',
    /code/,
  ],
  ['another version', ({ id }) => json(`{"jsonrpc":"1.0","id":${id},"result":{}}`), 'UPSTREAM_INVALID', /jsonrpc/],
  ['a batch', ({ id }) => json(`[${result(id)}]`), 'UPSTREAM_INVALID', /breaks the protocol/],
  ['more behind it', ({ id }) => json(`${result(id)}${result(id)}`), 'UPSTREAM_INVALID', /more data/],
  ['our own request', ({ body }) => json(body), 'UPSTREAM_INVALID', /a request where the answer was due/],
  ['no UTF-8', ({ id }) => json(Buffer.from(result(id, '{"a":"\xff"}'), 'latin1')), 'UPSTREAM_INVALID', /UTF-8/],
  ['a raw newline in a string', ({ id }) => json(result(id, '{"a":"\n"}')), 'UPSTREAM_INVALID', /control character/],
  [
    'nested beyond reason',
    ({ id }) => json(result(id, `{"a":${'['.repeat(900)}${']'.repeat(900)}}`)),
    'UPSTREAM_INVALID',
    /deep/,
  ],
  [
    'too large by its length',
    ({ id }) => json(result(id, `{"a":"${'x'.repeat(5_000)}"}`)),
    'UPSTREAM_INVALID',
    /larger than 4000/,
  ],
  [
    'an endless body',
    (_, socket) => {
      socket.write('HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n')
      flood(socket, ' '.repeat(1000))
    },
    'UPSTREAM_INVALID',
    /larger than 4000/,
  ],
  [
    'the wrong type',
    ({ id }) => http(200, { 'content-type': 'text/html' }, result(id)),
    'UPSTREAM_INVALID',
    /content type "text\/html"/,
  ],
  ['no type', ({ id }) => http(200, {}, result(id)), 'UPSTREAM_INVALID', /content type ""/],
  ['202 without a body', () => http(202, {}), 'UPSTREAM_INVALID', /HTTP 202/],
  ['204', () => 'HTTP/1.1 204 No Content\r\n\r\n', 'UPSTREAM_INVALID', /HTTP 204/],
  [
    'compression that nobody asked for',
    ({ id }) => json(gzipSync(result(id, `{"a":"${'x'.repeat(100_000)}"}`)), 200, { 'content-encoding': 'gzip' }),
    'UPSTREAM_INVALID',
    /compressed/,
  ],
  [
    'a redirect',
    () => http(302, { location: 'http://169.254.169.254/latest' }),
    'UPSTREAM_INVALID',
    /redirects \(HTTP 302\) to "169\.254\.169\.254"/,
  ],
  [
    'a permanent redirect',
    () => http(308, { location: '/other' }),
    'UPSTREAM_INVALID',
    /redirects \(HTTP 308\) to another path/,
  ],
  ['401', () => http(401, { 'www-authenticate': 'Bearer' }), 'UPSTREAM_REFUSED', /HTTP 401/],
  ['403', () => http(403, {}, 'no'), 'UPSTREAM_REFUSED', /HTTP 403/],
  ['429', () => http(429, { 'retry-after': '7' }), 'UPSTREAM_BUSY', /HTTP 429/],
  ['500', () => http(500, {}, 'oops'), 'UPSTREAM_UNAVAILABLE', /HTTP 500/],
  ['503', () => json('{"error":"busy"}', 503), 'UPSTREAM_UNAVAILABLE', /HTTP 503/],
  [
    'an early end of the body',
    ({ id }, socket) =>
      void socket.end(`HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 500\r\n\r\n${result(id)}`),
    'UPSTREAM_UNAVAILABLE',
    /lost/,
  ],
  [
    'a reset in the body',
    (_, socket) => {
      socket.write('HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 500\r\n\r\n{')
      setTimeout(() => socket.resetAndDestroy(), 20)
    },
    'UPSTREAM_UNAVAILABLE',
    /lost/,
  ],
  ['no answer but an end', (_, socket) => void socket.end(), 'UPSTREAM_UNAVAILABLE', /lost/],
  [
    '100 and then nothing',
    (_, socket) => void socket.end('HTTP/1.1 100 Continue\r\n\r\n'),
    'UPSTREAM_UNAVAILABLE',
    /lost/,
  ],
  ['huge headers', () => `HTTP/1.1 200 OK\r\nx: ${'y'.repeat(64_000)}\r\n\r\n`, 'UPSTREAM_INVALID', /headers/],
  [
    'a stream without an answer',
    () => sse(event(result('1'))),
    'UPSTREAM_INVALID',
    /ended before the answer \(an answer to a foreign id\)/,
  ],
  ['an empty stream', () => sse(''), 'UPSTREAM_INVALID', /ended before the answer$/],
  [
    'an answer without the end of its event',
    ({ id }) => sse(`data: ${result(id)}\n`),
    'UPSTREAM_INVALID',
    /ended before the answer/,
  ],
  [
    'a raw newline inside the data',
    ({ id }) => sse(`data: {"jsonrpc":"2.0","id":${id},"result":{"a":"\n"}}\n\n`),
    'UPSTREAM_INVALID',
    /ended before the answer/,
  ],
  [
    'an endless line',
    (_, socket) => {
      socket.write(`${SSE_HEAD}${chunk('data: ')}`)
      flood(socket, 'x'.repeat(1000))
    },
    'UPSTREAM_INVALID',
    /larger than 4000/,
  ],
  [
    'an endless event of many lines',
    (_, socket) => {
      socket.write(SSE_HEAD)
      flood(socket, 'data: x\n'.repeat(100))
    },
    'UPSTREAM_INVALID',
    /larger than 4000/,
  ],
  ...[':c\n', '\n', 'id: 1\n', 'event: other\ndata: x\n\n'].map((line): (typeof BAD)[number] => [
    `a flood of ${JSON.stringify(line)}`,
    (_, socket) => {
      socket.write(SSE_HEAD)
      flood(socket, line.repeat(200))
    },
    'UPSTREAM_INVALID',
    /floods its stream/,
  ]),
  [
    'a flood of what nobody asked for',
    (_, socket) => {
      socket.write(SSE_HEAD)
      flood(
        socket,
        event('{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":1,"progress":1}}'),
      )
    },
    'UPSTREAM_INVALID',
    /full of what nobody asked for/,
  ],
  [
    'a flood of questions',
    (_, socket) => {
      socket.write(SSE_HEAD)
      flood(socket, event('{"jsonrpc":"2.0","id":1,"method":"roots/list"}'))
    },
    'UPSTREAM_INVALID',
    /asks too much/,
  ],
  [
    'a slow drip',
    (_, socket) => {
      socket.write('HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 500\r\n\r\n')
      const timer = setInterval(() => socket.write(' '), 10)
      socket.on('close', () => clearInterval(timer))
    },
    'TIMEOUT',
    /No answer within 1000 ms/,
  ],
  ['silence', () => undefined, 'TIMEOUT', /No answer within 1000 ms/],
]

test('answers that are none end in a typed error that names the upstream and leaves nothing behind', async (t) => {
  for (const [name, respond, code, message] of BAD) {
    const { upstream, peer } = await setUp(t, (request, ...rest) =>
      request.message.method === 'tools/call' ? respond(request, ...rest) : undefined,
    )
    const error = await failure(
      askHttp(
        peer,
        makeAsk(makeCall('tools/call', {}, { notify: () => {} }), { callMs: code === 'TIMEOUT' ? 1_000 : 30_000 }),
      ),
    )
    assert.ok(error instanceof GatewayError, `${name}: ${error.message}`)
    assert.equal(error.code, code, `${name}: ${error.message}`)
    assert.match(error.message, message, name)
    assert.match(error.message, /^up: /, name)
    assert.equal(upstream.requests.filter((request) => request.message.method === 'tools/call').length, 1, name)
    await upstream.close()
    await until(`nothing under way after ${name}`, () => peer.link.inFlight === 0)
  }
})

test('Retry-After is passed on where it makes sense', async (t) => {
  for (const [text, seconds] of [
    ['7', 7],
    ['-1', undefined],
    ['soon', undefined],
    ['99999999', undefined],
  ] as const) {
    const { peer } = await setUp(t, () => http(503, { 'retry-after': text }))
    const error = await failure(askHttp(peer, makeAsk(makeCall('tools/call'))))
    assert.equal(error instanceof GatewayError && error.options.retryAfterSeconds, seconds, text)
  }
})

// --- what was not processed -------------------------------------------------------------------------------------------------

const error = (id: string, code: number): string =>
  `{"jsonrpc":"2.0","id":${id},"error":{"code":${code},"message":"m"}}`

test('refusals that say that the request was not processed', async (t) => {
  const table: [string, Partial<HttpPeer>, Respond, NotProcessed['why'] | null][] = [
    ['404 with a session', { sessionId: 's' }, () => json(error('null', -32001), 404), 'session'],
    ['404 with a session and our id', { sessionId: 's' }, ({ id }) => json(error(id, -32001), 404), 'session'],
    ['404 with a session and a page', { sessionId: 's' }, () => http(404, {}, '<html>'), 'session'],
    ['400 of the SDK examples', { sessionId: 's' }, ({ id }) => json(error(id, -32000), 400), 'session'],
    ['400 of a modern server', { sessionId: 's' }, ({ id }) => json(error(id, -32022), 400), 'era'],
    ['404 without a session', {}, () => http(404, {}), 'era'],
    ['400 without our id', {}, () => json(error('null', -32000), 400), 'era'],
    ['405', {}, () => http(405, {}), 'era'],
    ['a refusal without end', {}, () => http(400, {}, 'x'.repeat(3_000)), 'era'],
    ['an older server where a modern was', { wire: MODERN }, ({ id }) => json(error(id, -32000), 400), 'era'],
    ['other versions', { wire: MODERN }, ({ id }) => json(error(id, -32022), 400), 'era'],
    ['an unknown method', { wire: MODERN }, ({ id }) => json(error(id, -32601), 404), null],
    ['a capability that is missing', { wire: MODERN }, ({ id }) => json(error(id, -32021), 400), null],
  ]
  for (const [name, over, respond, why] of table) {
    const { peer } = await setUp(t, respond, over)
    const outcome = await askHttp(peer, makeAsk(makeCall('tools/call'))).catch((fault: unknown) => fault)
    assert.equal(outcome instanceof NotProcessed ? outcome.why : null, why, name)
  }
})

test('a connection that cannot be made is told apart from one that was lost', async (t) => {
  const { upstream, peer } = await setUp(t, () => undefined)
  await upstream.close()
  const gone = await failure(askHttp(peer, makeAsk(makeCall('tools/call'))))
  assert.ok(gone instanceof NotProcessed)
  assert.deepEqual([gone.why, gone.error.code], ['unsent', 'UPSTREAM_UNAVAILABLE'])
})

// --- during the call --------------------------------------------------------------------------------------------------------

test('progress and log messages of this call pass, with the token of the client; everything else does not', async (t) => {
  const progress = (token: string, value: string): string =>
    event(
      `{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":${token},"progress":${value},"message":"m",\r\ndata: "_meta":{"a":1,"io.modelcontextprotocol/subscriptionId":5}}}`,
    )
  const log = (level: string): string =>
    event(`{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"${level}","data":"${level}"}}`)
  const { peer } = await setUp(t, ({ id }) =>
    sse(
      [
        ...[
          progress(id, '1'),
          progress(id, '1'),
          progress(id, '0.5'),
          progress('1', '2'),
          progress(`"${id}"`, '3'),
          progress(id, '"4"'),
        ],
        ...[
          progress(id, '2.5'),
          log('debug'),
          log('warning'),
          log('loud'),
          event('{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}'),
        ],
        event(result(id)),
        progress(id, '9'),
      ].join(''),
    ),
  )
  const heard: [string, string][] = []
  const call = makeCall(
    'tools/call',
    {},
    {
      progressToken: Buffer.from('"mine"'),
      logLevel: 'warning',
      notify: (method, params) => heard.push([method, params.toString()]),
    },
  )
  await askHttp(peer, makeAsk(call))
  assert.deepEqual(heard, [
    ['notifications/progress', '{"progressToken":"mine","progress":1,"message":"m","_meta":{"a":1}}'],
    ['notifications/progress', '{"progressToken":"mine","progress":2.5,"message":"m","_meta":{"a":1}}'],
    ['notifications/message', '{"level":"warning","data":"warning"}'],
  ])
})

test('questions of an older server in the middle of the call are answered, so that it does not wait', async (t) => {
  const answers: unknown[] = []
  const { peer, upstream } = await setUp(
    t,
    (request, socket) => {
      if (request.message.method === 'tools/call') {
        socket.write(SSE_HEAD + chunk(event('{"jsonrpc":"2.0","id":"q","method":"elicitation/create","params":{}}')))
        socket.write(chunk(event('{"jsonrpc":"2.0","id":5,"method":"ping"}')))
        waiting = () => void socket.write(chunk(event(result(request.id))) + chunk(''))
        return undefined
      }
      answers.push(request.message)
      if (answers.length === 2) waiting()
      return http(202, {})
    },
    { sessionId: 's-1' },
  )
  let waiting = (): void => {}
  assert.equal(textOf(await askHttp(peer, makeAsk(makeCall('tools/call')))), '{"content":[]}')
  assert.deepEqual(answers, [
    { jsonrpc: '2.0', id: 'q', error: { code: -32601, message: 'Method not found' } },
    { jsonrpc: '2.0', id: 5, result: {} },
  ])
  assert.deepEqual(
    upstream.requests.slice(1).map(({ headers }) => headers['mcp-session-id']),
    ['s-1', 's-1'],
  )
})

test('an upstream that asks too much in one call is left', async (t) => {
  for (const [asked, code] of [
    [BOUNDS.upstreamAsksMax, null],
    [BOUNDS.upstreamAsksMax + 1, 'UPSTREAM_INVALID'],
  ] as const) {
    const { peer } = await setUp(t, (request) => {
      if (request.message.method !== 'tools/call') return http(202, {})
      const asks = Array.from({ length: asked }, (_, n) => event(`{"jsonrpc":"2.0","id":${n},"method":"ping"}`))
      return sse(asks.join('') + event(result(request.id)))
    })
    const outcome = await askHttp(peer, makeAsk(makeCall('tools/call'))).catch((fault: unknown) => fault)
    assert.equal(outcome instanceof GatewayError ? outcome.code : null, code, `${asked} questions`)
  }
})

test('a deadline and a cancellation reach the server by the means of its era', async (t) => {
  for (const wire of [LEGACY, MODERN]) {
    for (const how of ['deadline', 'client', 'shutdown'] as const) {
      let closed = 0
      const { upstream, peer } = await setUp(
        t,
        (request, socket) => {
          if (request.message.method !== 'tools/call') return http(202, {})
          socket.on('close', () => (closed += 1))
          return SSE_HEAD + chunk(': hello\n\n')
        },
        { wire, sessionId: wire.era === 'legacy' ? 's' : null },
      )
      const call = makeCall('tools/call')
      const asking = failure(askHttp(peer, makeAsk(call, { callMs: how === 'deadline' ? 60 : 5_000 })))
      if (how !== 'deadline') {
        await until('the request', () => upstream.requests.length === 1)
        call.cancel.cancel(how)
      }
      const fault = await asking
      const codes = { deadline: 'TIMEOUT', client: 'CANCELLED', shutdown: 'SHUTTING_DOWN' } as const
      assert.equal(fault instanceof GatewayError && fault.code, codes[how])
      await until('the end of the stream', () => closed === 1)
      if (wire.era === 'legacy') {
        await until('the notice', () => upstream.requests.length === 2)
        const { method, params } = upstream.requests[1]!.message
        assert.deepEqual([method, params?.requestId], ['notifications/cancelled', upstream.requests[0]!.message.id])
      } else assert.equal(upstream.requests.length, 1)
      await until('nothing under way', () => peer.link.inFlight === 0)
    }
  }
})

test('a call that was cancelled before it began is never sent', async (t) => {
  const { upstream, peer } = await setUp(t, ({ id }) => json(result(id)))
  const call = makeCall('tools/call')
  call.cancel.cancel('client')
  const fault = await failure(askHttp(peer, makeAsk(call)))
  assert.equal(fault instanceof GatewayError && fault.code, 'CANCELLED')
  assert.equal(upstream.connections, 0)
})

test('progress moves the deadline, but not past the longest time', async (t) => {
  const ticking: Respond = (request, socket) => {
    if (request.message.method !== 'tools/call') return http(202, {})
    socket.write(SSE_HEAD)
    let step = 0
    const timer = setInterval(() => {
      step += 1
      const params = `{"progressToken":${request.id},"progress":${step}}`
      socket.write(chunk(event(`{"jsonrpc":"2.0","method":"notifications/progress","params":${params}}`)))
      if (step === 12) socket.write(chunk(event(result(request.id))) + chunk(''))
    }, 60)
    socket.on('close', () => clearInterval(timer))
    return undefined
  }
  const { peer } = await setUp(t, ticking)
  const call = (): Call => makeCall('tools/call', {}, { progressToken: Buffer.from('1'), notify: () => {} })
  assert.equal(textOf(await askHttp(peer, makeAsk(call(), { callMs: 600 }))), '{"content":[]}')
  const fault = await failure(askHttp(peer, makeAsk(call(), { callMs: 600, callMsMax: 650 })))
  assert.equal(fault instanceof GatewayError && fault.code, 'TIMEOUT')
})

test('a server that keeps its stream open after the answer loses the connection, not the call', async (t) => {
  let closed = 0
  const { peer } = await setUp(t, ({ id }, socket) => {
    socket.on('close', () => (closed += 1))
    return SSE_HEAD + chunk(event(result(id)))
  })
  assert.equal(textOf(await askHttp(peer, makeAsk(makeCall('tools/call')))), '{"content":[]}')
  assert.equal(peer.link.inFlight, 1)
  await until('the end', () => closed === 1 && peer.link.inFlight === 0)
})

test('the session id of initialize is taken only when it can be a header of ours', async (t) => {
  const ask = makeAsk(null, { method: 'initialize' })
  for (const [id, expected] of [
    ['abc-123~!', 'abc-123~!'],
    [undefined, null],
  ] as const) {
    const { peer } = await setUp(t, (request) =>
      json(result(request.id), 200, id === undefined ? {} : { 'mcp-session-id': id }),
    )
    assert.equal((await openHttp(peer, ask)).sessionId, expected)
  }
  for (const id of ['a b', 'é', 'x'.repeat(1025), '', '\t', 'a\u007fb']) {
    const { peer } = await setUp(t, (request) => json(result(request.id), 200, { 'mcp-session-id': id }))
    const fault = await failure(openHttp(peer, ask))
    assert.equal(fault instanceof GatewayError && fault.code, 'UPSTREAM_INVALID', id)
  }
})

test('what a modern server asks on the stream of a call is not answered', async (t) => {
  const { peer, upstream } = await setUp(
    t,
    ({ id }) => sse(event('{"jsonrpc":"2.0","id":5,"method":"ping"}') + event(result(id))),
    { wire: MODERN },
  )
  assert.equal(textOf(await askHttp(peer, makeAsk(makeCall('tools/call')))), '{"content":[]}')
  await peer.link.close(1_000)
  assert.equal(upstream.requests.length, 1)
})
