import assert from 'node:assert/strict'
import { request as httpRequest } from 'node:http'
import { request as httpsRequest } from 'node:https'
import { type AddressInfo, connect, type Socket } from 'node:net'
import { after, test as nodeTest } from 'node:test'
import type { TLSSocket } from 'node:tls'
import { OTHER_CERT_PEM, OTHER_KEY_PEM, SERVER_CERT_PEM, SERVER_KEY_PEM } from '../../test/fakes/certificates.ts'
import { GatewayError } from '../core/errors.ts'
import { LIMITS } from '../core/limits.ts'
import type { EventStream, Exchange } from './exchange.ts'
import { createNodeServer, type NodeServer, type NodeServerOptions } from './node-exchange.ts'

const LANES = ['node', 'fast'] as const
/** The lane that the test which runs goes through: each runs through both. */
let lane: (typeof LANES)[number] = 'node'

function test(name: string, body: () => Promise<void>): void {
  for (const each of LANES) {
    nodeTest(`${name} (${each})`, async () => {
      lane = each
      await body()
    })
  }
}

const HEAD = 'Host: h\r\n'
/** The head of a request without a body, still open, in the form that the lane serves itself. */
const begin = (path = '/'): string =>
  lane === 'node' ? `GET ${path} HTTP/1.1\r\n${HEAD}` : `POST ${path} HTTP/1.1\r\n${HEAD}Content-Length: 0\r\n`
const ask = (path = '/'): string => `${begin(path)}\r\n`

const SILENT = { warn: () => {} }
const open: NodeServer[] = []
after(() => Promise.all(open.map((server) => server.close())))

interface Started {
  readonly server: NodeServer
  readonly port: number
}

async function start(
  handler: (exchange: Exchange) => void,
  options: Partial<NodeServerOptions> = {},
): Promise<Started> {
  const limits = { ...LIMITS, lingerMs: 100, ...options.limits }
  const isFastPath = lane === 'fast' ? { isFastPath: () => true } : {}
  const server = createNodeServer({ trustedProxies: [], log: SILENT, ...isFastPath, ...options, handler, limits })
  open.push(server)
  await new Promise<void>((resolve) => server.server.listen(0, '127.0.0.1', resolve))
  return { server, port: (server.server.address() as AddressInfo).port }
}

/** Answers with what it understood of the request. */
function echo(exchange: Exchange): void {
  exchange.body(1024 * 1024).then(
    (body) => {
      const { method, path, query, address, secure } = exchange
      const seen = {
        method,
        path,
        query,
        address,
        secure,
        bytes: body.length,
        text: body.toString('utf8').slice(0, 100),
      }
      exchange.reply(200, ['Content-Type', 'application/json'], JSON.stringify(seen))
    },
    (error: unknown) => {
      assert.ok(error instanceof GatewayError)
      exchange.reply(error.entry.status, [], error.code)
    },
  )
}

/** Sends bytes as they are and returns all that comes back until the server closes, or until `enough` says so. */
function talk(port: number, text: string | readonly string[], enough?: (got: string) => boolean): Promise<string> {
  const socket = connect(port, '127.0.0.1')
  return new Promise((resolve) => {
    socket.once('error', () => resolve(''))
    socket.once('connect', () => resolve(talkOver(socket, text, enough)))
  })
}

function talkOver(
  socket: Socket,
  text: string | readonly string[],
  enough?: (got: string) => boolean,
): Promise<string> {
  return new Promise((resolve, reject) => {
    let got = ''
    const timer = setTimeout(() => {
      socket.destroy()
      reject(new Error(`no end after 10 s: ${JSON.stringify(got)}`))
    }, 10_000)
    const finish = (): void => {
      clearTimeout(timer)
      socket.destroy()
      resolve(got)
    }
    socket.on('data', (chunk) => {
      got += chunk.toString('latin1')
      if (enough?.(got)) finish()
    })
    socket.on('error', finish)
    socket.on('close', finish)
    const parts = typeof text === 'string' ? [text] : text
    let at = 0
    const next = (): void => {
      if (at < parts.length && socket.writable) {
        socket.write(parts[at]!, 'latin1')
        at += 1
        setTimeout(next, 5)
      }
    }
    next()
  })
}

const statuses = (got: string): number[] => [...got.matchAll(/HTTP\/1\.1 (\d{3}) /g)].map((match) => Number(match[1]))
const bodyOf = (got: string): string => got.slice(got.indexOf('\r\n\r\n') + 4)
const problemOf = (got: string): { code: string; status: number; detail: string; hint: string } =>
  JSON.parse(bodyOf(got))

test('a request is seen as it was sent', async () => {
  const { port } = await start(echo)
  const cases: [request: string, seen: Record<string, unknown>][] = [
    [`GET / HTTP/1.1\r\n${HEAD}Connection: close\r\n\r\n`, { method: 'GET', path: '/', query: '', bytes: 0 }],
    [`GET /a%2Fb/c?x=1?&y HTTP/1.1\r\n${HEAD}Connection: close\r\n\r\n`, { path: '/a%2Fb/c', query: 'x=1?&y' }],
    [`GET /? HTTP/1.1\r\n${HEAD}Connection: close\r\n\r\n`, { path: '/', query: '' }],
    [`GET http://H/p?q HTTP/1.1\r\n${HEAD}Connection: close\r\n\r\n`, { path: '/p', query: 'q' }],
    [`GET http://h HTTP/1.1\r\n${HEAD}Connection: close\r\n\r\n`, { path: '/', query: '' }],
    [`GET http://h?q HTTP/1.1\r\n${HEAD}Connection: close\r\n\r\n`, { path: '/', query: 'q' }],
    [`OPTIONS * HTTP/1.1\r\n${HEAD}Connection: close\r\n\r\n`, { method: 'OPTIONS', path: '*' }],
    [`POST /p HTTP/1.1\r\n${HEAD}Content-Length: 2\r\nConnection: close\r\n\r\nhi`, { bytes: 2, text: 'hi' }],
    [
      `POST /p HTTP/1.1\r\n${HEAD}Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n2\r\nhi\r\n1;x=y\r\n!\r\n0\r\n\r\n`,
      { bytes: 3, text: 'hi!' },
    ],
    ['GET /old HTTP/1.0\r\n\r\n', { path: '/old' }],
    ['POST /old HTTP/1.0\r\nContent-Length: 1\r\n\r\nx', { path: '/old', bytes: 1 }],
    [`GET /x HTTP/1.1\r\n${HEAD}Upgrade: websocket\r\nConnection: Upgrade, close\r\n\r\n`, { path: '/x' }],
    [
      `${begin('/x')}X-Forwarded-For: 1.2.3.4\r\nX-Forwarded-Proto: https\r\nConnection: close\r\n\r\n`,
      { address: '127.0.0.1', secure: false },
    ],
    [
      `GET /x HTTP/1.1\r\n${HEAD}Accept: a\r\nAccept: b\r\nMcp-Param-A: 1\r\nMcp-Param-B: 2\r\nConnection: close\r\n\r\n`,
      { path: '/x' },
    ],
  ]
  for (const [request, seen] of cases) {
    const got = await talk(port, request)
    assert.deepEqual(statuses(got), [200], request)
    assert.partialDeepStrictEqual(JSON.parse(bodyOf(got)), seen, request)
  }
})

test('forwarded headers count only from a trusted proxy', async () => {
  const { port } = await start(echo, { trustedProxies: ['127.0.0.0/8'] })
  const got = await talk(
    port,
    `${begin()}X-Forwarded-For: 9.9.9.9, 1.2.3.4\r\nX-Forwarded-Proto: http, https\r\nConnection: close\r\n\r\n`,
  )
  assert.partialDeepStrictEqual(JSON.parse(bodyOf(got)), { address: '1.2.3.4', secure: true })
})

test('what could be read in two ways is refused, typed, and nothing behind it is answered', async () => {
  const seen: string[] = []
  const { port } = await start((exchange) => {
    seen.push(exchange.path)
    echo(exchange)
  })
  const next = ask('/smuggled')
  const cases: [name: string, request: string, code: string][] = [
    [
      'length and chunked',
      `POST / HTTP/1.1\r\n${HEAD}Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n${next}`,
      'INVALID_REQUEST',
    ],
    [
      'chunked and length',
      `POST / HTTP/1.1\r\n${HEAD}Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n${next}`,
      'INVALID_REQUEST',
    ],
    [
      'two lengths',
      `POST / HTTP/1.1\r\n${HEAD}Content-Length: 0\r\nContent-Length: 44\r\n\r\n${next}`,
      'INVALID_REQUEST',
    ],
    [
      'two equal lengths',
      `POST / HTTP/1.1\r\n${HEAD}Content-Length: 0\r\nContent-Length: 0\r\n\r\n${next}`,
      'INVALID_REQUEST',
    ],
    ['a list of lengths', `POST / HTTP/1.1\r\n${HEAD}Content-Length: 0, 0\r\n\r\n${next}`, 'INVALID_REQUEST'],
    ['a signed length', `POST / HTTP/1.1\r\n${HEAD}Content-Length: +0\r\n\r\n${next}`, 'INVALID_REQUEST'],
    ['a negative length', `POST / HTTP/1.1\r\n${HEAD}Content-Length: -1\r\n\r\n${next}`, 'INVALID_REQUEST'],
    ['a hexadecimal length', `POST / HTTP/1.1\r\n${HEAD}Content-Length: 0x0\r\n\r\n${next}`, 'INVALID_REQUEST'],
    [
      'a huge length',
      `POST / HTTP/1.1\r\n${HEAD}Content-Length: 99999999999999999999999\r\n\r\n${next}`,
      'INVALID_REQUEST',
    ],
    [
      'a coding before chunked',
      `POST / HTTP/1.1\r\n${HEAD}Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n`,
      'INVALID_REQUEST',
    ],
    [
      'a coding that is not chunked',
      `POST / HTTP/1.1\r\n${HEAD}Transfer-Encoding: identity\r\n\r\n${next}`,
      'INVALID_REQUEST',
    ],
    [
      'a coding behind chunked',
      `POST / HTTP/1.1\r\n${HEAD}Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n`,
      'INVALID_REQUEST',
    ],
    [
      'chunked twice',
      `POST / HTTP/1.1\r\n${HEAD}Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`,
      'INVALID_REQUEST',
    ],
    [
      'a space before the colon',
      `POST / HTTP/1.1\r\n${HEAD}Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n`,
      'INVALID_REQUEST',
    ],
    [
      'a folded header',
      `POST / HTTP/1.1\r\n${HEAD}Transfer-Encoding:\r\n chunked\r\nContent-Length: 0\r\n\r\n${next}`,
      'INVALID_REQUEST',
    ],
    ['a bare line feed', `POST / HTTP/1.1\n${HEAD}Content-Length: 0\n\n${next}`, 'INVALID_REQUEST'],
    ['a null byte in a header', `${begin()}X: a\0b\r\n\r\n`, 'INVALID_REQUEST'],
    ['a bare return in a header', `${begin()}X: a\rY: b\r\n\r\n`, 'INVALID_REQUEST'],
    ['chunked of HTTP/1.0', `POST / HTTP/1.0\r\n${HEAD}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n`, 'INVALID_REQUEST'],
    ['no Host', `GET / HTTP/1.1\r\n\r\n`, 'INVALID_REQUEST'],
    ['two Hosts', `${begin()}host: evil\r\n\r\n${next}`, 'INVALID_REQUEST'],
    ['a target of another host', `GET http://evil/ HTTP/1.1\r\n${HEAD}\r\n`, 'INVALID_REQUEST'],
    ['a target of another scheme', `GET ftp://h/ HTTP/1.1\r\n${HEAD}\r\n`, 'INVALID_REQUEST'],
    ['two tokens', `${begin()}Authorization: Bearer a\r\nAuthorization: Bearer b\r\n\r\n`, 'INVALID_REQUEST'],
    ['two sessions', `${begin()}Mcp-Session-Id: a\r\nMCP-SESSION-ID: b\r\n\r\n`, 'INVALID_REQUEST'],
    ['two methods', `${begin()}Mcp-Method: a\r\nmcp-method: a\r\n\r\n`, 'INVALID_REQUEST'],
    [
      'two values of a parameter',
      `${begin()}Mcp-Param-A: a\r\nMcp-Param-B: b\r\nmcp-param-a: c\r\n\r\n`,
      'INVALID_REQUEST',
    ],
    ['CONNECT', `CONNECT h:80 HTTP/1.1\r\n${HEAD}\r\n`, 'METHOD_NOT_ALLOWED'],
    ['an unknown method', `MCP / HTTP/1.1\r\n${HEAD}\r\n`, 'INVALID_REQUEST'],
    ['another protocol', 'SSH-2.0-OpenSSH_9.2\r\n', 'INVALID_REQUEST'],
    ['a version that does not exist', `GET / HTTP/3.7\r\n${HEAD}\r\n`, 'INVALID_REQUEST'],
  ]
  for (const [name, request, code] of cases) {
    seen.length = 0
    const got = await talk(port, request)
    assert.equal(statuses(got).length, 1, `${name}: ${got}`)
    // Behind a request that was served, on the same connection, it is the same.
    const socket = connect(port, '127.0.0.1')
    assert.deepEqual(statuses(await talkOn(socket, ask('/before'))), [200], name)
    assert.deepEqual(statuses(await talkOver(socket, request)), statuses(got), name)
    assert.deepEqual(seen.splice(0), ['/before'], name)
    const problem = problemOf(got)
    assert.equal(problem.code, code, name)
    assert.equal(problem.status, statuses(got)[0], name)
    assert.ok(problem.hint.length > 0)
    assert.match(got, /Content-Type: application\/problem\+json\r\n/)
    assert.match(got, /Connection: close\r\n/)
    assert.deepEqual(seen, [], name)
  }
  const faultyBodies: [name: string, body: string][] = [
    ['a chunk size that is none', 'zz\r\nhi\r\n0\r\n\r\n'],
    ['a chunk longer than it says', '1\r\nhi\r\n0\r\n\r\n'],
    ['a chunk size that overflows', 'fffffffffffffffff\r\nhi\r\n0\r\n\r\n'],
    ['a chunk that ends in a line feed', '2\nhi\r\n0\r\n\r\n'],
    ['a negative chunk', '-1\r\nhi\r\n0\r\n\r\n'],
  ]
  for (const [name, body] of faultyBodies) {
    const got = await talk(port, `POST / HTTP/1.1\r\n${HEAD}Transfer-Encoding: chunked\r\n\r\n${body}${next}`)
    assert.deepEqual(statuses(got), [400], `${name}: ${got}`)
    assert.equal(problemOf(got).code, 'INVALID_REQUEST')
    assert.ok(!seen.includes('/smuggled'), name)
  }
})

test('headers have bounds in bytes and in lines', async () => {
  const lines = (count: number): string => Array.from({ length: count }, (_, at) => `X${at}: 1\r\n`).join('')
  const { port } = await start(echo)
  const cases: [name: string, request: string][] = [
    ['one long header', `${begin()}X: ${'a'.repeat(LIMITS.headerBytes)}\r\n\r\n`],
    ['a long target', ask(`/${'a'.repeat(LIMITS.headerBytes)}`)],
    ['many headers', `${begin()}${lines(LIMITS.headerCount)}\r\n`],
    ['headers without end', `${begin()}${'Y: 1\r\n'.repeat(10_000)}`],
  ]
  for (const [name, request] of cases) {
    const got = await talk(port, request)
    assert.deepEqual(statuses(got), [431], name)
    assert.equal(problemOf(got).code, 'HEADERS_TOO_LARGE', name)
  }
  const first = `${begin()}Connection: close\r\n`
  const most = `${first}${lines(LIMITS.headerCount + 1 - first.split('\r\n').length)}\r\n`
  assert.deepEqual(statuses(await talk(port, most)), [200])
})

test('a body has a bound, known beforehand or not, and the answer arrives', async () => {
  const { port } = await start(echo)
  const declared = await talk(port, `POST / HTTP/1.1\r\n${HEAD}Content-Length: 9000000\r\n\r\nabc`)
  assert.deepEqual(statuses(declared), [413])
  assert.match(declared, /Connection: close/)
  const chunk = `10000\r\n${'x'.repeat(0x10000)}\r\n`
  const endless = await talk(port, [
    `POST / HTTP/1.1\r\n${HEAD}Transfer-Encoding: chunked\r\n\r\n`,
    ...new Array<string>(200).fill(chunk),
  ])
  assert.deepEqual(statuses(endless), [413])
  assert.ok(endless.endsWith('TOO_LARGE'))
})

test('a body of one-byte chunks is put together', async () => {
  const { port } = await start(echo)
  const text = `POST / HTTP/1.1\r\n${HEAD}Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n${'1\r\nx\r\n'.repeat(40_000)}0\r\n\r\n`
  assert.equal(JSON.parse(bodyOf(await talk(port, text))).bytes, 40_000)
  const slow = [`POST / HTTP/1.1\r\n${HEAD}Content-Length: 6\r\nConnection: close\r\n\r\n`, 'a', 'bc', 'def']
  assert.equal(JSON.parse(bodyOf(await talk(port, slow))).text, 'abcdef')
})

test('a body that ends early is told to whoever reads it', async () => {
  const { promise, resolve } = Promise.withResolvers<unknown>()
  const { port } = await start((exchange) => {
    exchange.body(1000).catch((error: unknown) => {
      resolve(error)
      exchange.reply(400, [], 'nobody hears this')
    })
  })
  const socket = connect(port, '127.0.0.1')
  socket.write(`POST / HTTP/1.1\r\n${HEAD}Content-Length: 10\r\n\r\nabc`)
  setTimeout(() => socket.destroy(), 30)
  const error = await promise
  assert.ok(error instanceof GatewayError && error.code === 'INVALID_REQUEST')
})

test('slow headers, slow bodies and silent connections end with 408', async () => {
  const limits = { ...LIMITS, lingerMs: 50, headersMs: 120, requestMs: 240 }
  const { port } = await start(echo, { limits })
  const slow: [name: string, text: string][] = [
    ['headers', `POST / HTTP/1.1\r\n${HEAD}X: `],
    ['body', `POST / HTTP/1.1\r\n${HEAD}Content-Length: 10\r\n\r\nabc`],
    ['chunked body', `POST / HTTP/1.1\r\n${HEAD}Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n`],
    ['nothing', ''],
  ]
  const answers = await Promise.all(slow.map(([, text]) => talk(port, text)))
  answers.forEach((got, at) => {
    assert.deepEqual(statuses(got), [408], slow[at]![0])
    assert.equal(problemOf(got).code, 'REQUEST_TIMEOUT')
  })
})

test('an idle connection is closed after keepAliveMs', async () => {
  const { port } = await start(echo, { limits: { ...LIMITS, keepAliveMs: 50 } })
  assert.deepEqual(statuses(await talk(port, ask())), [200])
})

test('connections have a bound', async () => {
  const dropped: unknown[] = []
  const { server, port } = await start(echo, {
    limits: { ...LIMITS, connectionsMax: 2 },
    log: { warn: (event, fields) => dropped.push([event, fields]) },
  })
  const held = [connect(port, '127.0.0.1'), connect(port, '127.0.0.1')]
  await Promise.all(held.map((socket) => talkOn(socket, ask())))
  assert.equal(server.connections, 2)
  assert.equal(await talk(port, ask()), '')
  assert.deepEqual(dropped, [['connections.dropped', { dropped: 1, connectionsMax: 2 }]])
  for (const socket of held) socket.destroy()
})

/** One answer on a connection that stays open. */
function talkOn(socket: Socket, text: string): Promise<string> {
  socket.write(text)
  return new Promise((resolve, reject) => {
    socket.once('data', (chunk) => resolve(chunk.toString('latin1')))
    socket.once('error', reject)
    socket.once('close', () => reject(new Error('closed')))
  })
}

test('pipelined requests are answered in order, and a fault behind them does not jump the queue', async () => {
  const { port } = await start((exchange) => {
    if (exchange.path === '/slow') setTimeout(() => exchange.reply(200, [], 'slow'), 30)
    else exchange.reply(200, [], 'quick')
  })
  const two = `${ask('/slow')}${ask('/quick')}`
  const got = await talk(port, two, (text) => text.includes('quick'))
  assert.ok(got.indexOf('slow') < got.indexOf('quick'))
  const faulty = await talk(port, `${two}NONSENSE\r\n\r\n`)
  // The fast lane looks at what is behind a request when that is over, and then there is someone to refuse it.
  assert.deepEqual(statuses(faulty), lane === 'node' ? [200, 200] : [200, 200, 400])
  assert.ok(faulty.indexOf('slow') < faulty.indexOf('quick'))
  const tunnel = await talk(port, `${ask('/slow')}CONNECT h:80 HTTP/1.1\r\n${HEAD}\r\n`)
  assert.deepEqual(statuses(tunnel), lane === 'node' ? [200] : [200, 405])
})

test('a refusal before the body is read keeps the connection for a short body and drops it for a long one', async () => {
  const { port } = await start((exchange) => exchange.reply(401, [], 'no'))
  const short = `POST / HTTP/1.1\r\n${HEAD}Content-Length: 5\r\n\r\nhello`
  assert.deepEqual(statuses(await talk(port, short + short, (got) => statuses(got).length === 2)), [401, 401])
  const long = await talk(port, `POST / HTTP/1.1\r\n${HEAD}Content-Length: 100000\r\n\r\nhello`)
  assert.deepEqual(statuses(long), [401])
  assert.match(long, /Connection: close/)
})

test('a long body that is answered as soon as it is there keeps its connection', async () => {
  const { port } = await start(echo)
  const long = `POST / HTTP/1.1\r\n${HEAD}Content-Length: 100000\r\n\r\n${'x'.repeat(100_000)}`
  assert.deepEqual(statuses(await talk(port, long + long, (got) => statuses(got).length === 2)), [200, 200])
})

test('100-continue is sent when the body is wanted, and only then', async () => {
  const { port } = await start((exchange) => (exchange.path === '/no' ? exchange.reply(401, [], 'no') : echo(exchange)))
  const request = (path: string): string =>
    `POST ${path} HTTP/1.1\r\n${HEAD}Expect: 100-continue\r\nContent-Length: 2\r\nConnection: close\r\n\r\n`
  assert.deepEqual(statuses(await talk(port, [request('/yes'), 'hi'])), [100, 200])
  assert.deepEqual(statuses(await talk(port, request('/no'))), [401])
  const other = `POST / HTTP/1.1\r\n${HEAD}Expect: miracles\r\nContent-Length: 2\r\n\r\nhi`
  assert.equal(problemOf(await talk(port, other)).code, 'EXPECTATION_FAILED')
  assert.deepEqual(statuses(await talk(port, `${other}${ask()}`)), [417])
  assert.deepEqual(statuses(await talk(port, `${ask()}${other}NONSENSE\r\n\r\n`)), [200, 417])
})

test('replies of every form', async () => {
  const big = Buffer.alloc(300_000, 'é')
  const { port } = await start((exchange) => {
    if (exchange.path === '/null') exchange.reply(202, [], null)
    else if (exchange.path === '/204') exchange.reply(204, ['X-A', '1'], null)
    else if (exchange.path === '/text') exchange.reply(200, [], 'é')
    else if (exchange.path === '/bytes') exchange.reply(200, [], Buffer.from('é'))
    else if (exchange.path === '/parts') exchange.reply(200, [], [Buffer.from('a'), Buffer.from('é'), Buffer.from('b')])
    else if (exchange.path === '/big') exchange.reply(200, [], big)
    else exchange.reply(200, [], [Buffer.from('<'), big, Buffer.from('>')])
    exchange.reply(500, [], 'a second reply is nobody’s')
  })
  const get = (
    path: string,
    method = lane === 'node' ? 'GET' : 'POST',
  ): Promise<{ status: number; length: string | undefined; body: Buffer }> =>
    new Promise((resolve, reject) => {
      httpRequest({ port, path, method, agent: false }, (response) => {
        const chunks: Buffer[] = []
        response.on('data', (chunk: Buffer) => chunks.push(chunk))
        response.on('end', () =>
          resolve({
            status: response.statusCode!,
            length: response.headers['content-length'],
            body: Buffer.concat(chunks),
          }),
        )
      })
        .on('error', reject)
        .end()
    })
  assert.deepEqual(await get('/null'), { status: 202, length: '0', body: Buffer.alloc(0) })
  assert.deepEqual(await get('/204'), { status: 204, length: undefined, body: Buffer.alloc(0) })
  assert.deepEqual(await get('/text'), { status: 200, length: '2', body: Buffer.from('é') })
  assert.deepEqual(await get('/bytes'), { status: 200, length: '2', body: Buffer.from('é') })
  assert.deepEqual(await get('/parts'), { status: 200, length: '4', body: Buffer.from('aéb') })
  assert.deepEqual(await get('/text', 'HEAD'), { status: 200, length: '2', body: Buffer.alloc(0) })
  assert.ok((await get('/big')).body.equals(big))
  assert.ok((await get('/bigger')).body.equals(Buffer.concat([Buffer.from('<'), big, Buffer.from('>')])))
})

test('a client that goes away is noticed once, before the reply and in a stream, and not after a reply', async () => {
  const aborted: string[] = []
  const streams: EventStream[] = []
  const { port } = await start((exchange) => {
    exchange.onAbort(() => aborted.push(exchange.path))
    if (exchange.path === '/stream') {
      const stream = exchange.stream(200, ['Mcp-Session-Id', 'x'])
      stream.write(': open\n\n')
      streams.push(stream)
    } else if (exchange.path === '/reply') exchange.reply(200, [], 'done')
  })
  for (const path of ['/never', '/stream', '/reply']) {
    const socket = connect(port, '127.0.0.1')
    const closed = new Promise((resolve) => socket.on('close', resolve))
    socket.resume()
    socket.write(ask(path))
    setTimeout(() => socket.destroy(), 40)
    await closed
  }
  while (aborted.length < 2) await new Promise((resolve) => setTimeout(resolve, 5))
  assert.deepEqual(aborted, ['/never', '/stream'])
  assert.equal(streams[0]!.write('nobody hears this'), false)
  streams[0]!.end()
})

test('a stream says when the client is slow, when it has caught up, and can be dropped', async () => {
  const { promise: opened, resolve: onOpen } = Promise.withResolvers<EventStream>()
  const { port } = await start((exchange) => onOpen(exchange.stream(200, [])))
  const socket = connect(port, '127.0.0.1')
  socket.pause()
  socket.write(ask())
  const stream = await opened
  const block = Buffer.alloc(1024 * 1024, 'x')
  // More than any loopback socket takes without a reader.
  const isRoom = new Array(32).fill(block).map((part) => stream.write(part))
  assert.ok(isRoom.includes(false))
  assert.ok(stream.bufferedBytes > 1024 * 1024)
  const drained = new Promise<void>((resolve) => {
    stream.onDrain = resolve
  })
  let head = ''
  socket.on('data', (chunk) => {
    if (head.length < 500) head += chunk.toString('latin1')
  })
  socket.resume()
  await drained
  assert.match(
    head,
    /Content-Type: text\/event-stream\r\nCache-Control: no-cache, no-transform\r\nX-Accel-Buffering: no\r\n/,
  )
  const closed = new Promise((resolve) => socket.on('close', resolve))
  stream.destroy()
  await closed
})

test('a client that stops reading in the middle of its answer is dropped after requestMs', async () => {
  const limits = { ...LIMITS, headersMs: 80, requestMs: 80 }
  const { server, port } = await start(
    (exchange) => {
      if (exchange.path === '/reply') exchange.reply(200, [], Buffer.alloc(32 * 1024 * 1024))
      else {
        const stream = exchange.stream(200, [])
        stream.write(Buffer.alloc(32 * 1024 * 1024))
        stream.end()
      }
    },
    { limits },
  )
  for (const path of ['/reply', '/stream']) {
    const socket = connect(port, '127.0.0.1')
    socket.pause()
    socket.write(ask(path))
    while (server.connections === 0) await new Promise((resolve) => setTimeout(resolve, 2))
    while (server.connections > 0) await new Promise((resolve) => setTimeout(resolve, 2))
    socket.destroy()
  }
})

test('HTTP/1.0 gets an event stream that ends with the connection', async () => {
  const { port } = await start((exchange) => {
    const stream = exchange.stream(200, [])
    stream.write('data: 1\n\n')
    stream.end()
  })
  const got = await talk(port, 'GET / HTTP/1.0\r\n\r\n')
  assert.equal(bodyOf(got), 'data: 1\n\n')
  assert.doesNotMatch(got, /chunked/)
})

test('draining: replies say close, then nothing is accepted and idle connections end; calls in flight finish', async () => {
  let finish = (): void => {}
  const { server, port } = await start((exchange) => {
    if (exchange.path === '/slow') finish = () => exchange.reply(200, [], 'late')
    else exchange.reply(200, [], 'now')
  })
  const idle = connect(port, '127.0.0.1')
  const idleClosed = new Promise((resolve) => idle.on('close', resolve))
  assert.match(await talkOn(idle, ask()), /Connection: keep-alive/)
  const slow = talk(port, ask('/slow'))
  const drained = server.drain(60)
  assert.match(await talk(port, ask()), /Connection: close/)
  await drained
  await idleClosed
  await assert.rejects(new Promise((_, reject) => connect(port, '127.0.0.1').on('error', reject)), {
    code: 'ECONNREFUSED',
  })
  finish()
  assert.ok((await slow).endsWith('late'))
  await server.close()
  assert.equal(server.connections, 0)
})

test('draining: a request that was sent before its connection was ended is answered, and the first one of a new connection', async () => {
  const { server, port } = await start((exchange) => exchange.reply(200, [], exchange.path), {
    limits: { ...LIMITS, lingerMs: 5_000 },
  })
  const idle = connect(port, '127.0.0.1')
  assert.match(await talkOn(idle, ask('/first')), /first/)
  const fresh = connect(port, '127.0.0.1')
  while (server.connections < 2) await new Promise((resolve) => setTimeout(resolve, 2))
  const drained = server.drain(20)
  await new Promise((resolve) => setTimeout(resolve, 5))
  const late = talkOn(idle, ask('/late'))
  // Busy past the end of the drain: the request lies in the kernel when the idle connections are ended.
  for (const untilMs = performance.now() + 40; performance.now() < untilMs; );
  assert.match(await late, /Connection: close[\s\S]*late/)
  await new Promise((resolve) => setTimeout(resolve, 50))
  assert.match(await talkOn(fresh, ask('/fresh')), /Connection: close[\s\S]*fresh/)
  await drained
})

test('closing lets an answer out that is on its way, and ends all else at once', async () => {
  const { server, port } = await start(
    (exchange) => {
      if (exchange.path === '/big') exchange.reply(200, [], Buffer.alloc(32 * 1024 * 1024))
    },
    { limits: { ...LIMITS, lingerMs: 5_000 } },
  )
  const hanging = talk(port, ask('/never'))
  const socket = connect(port, '127.0.0.1')
  let received = 0
  socket.on('data', (chunk) => {
    received += chunk.length
  })
  const closed = new Promise((resolve) => socket.on('close', resolve))
  socket.pause()
  socket.write(ask('/big'))
  while (server.connections < 2) await new Promise((resolve) => setTimeout(resolve, 2))
  await new Promise((resolve) => setTimeout(resolve, 20))
  const closing = server.close()
  socket.resume()
  assert.equal(await hanging, '')
  await closing
  await closed
  assert.ok(received > 32 * 1024 * 1024, `${received}`)
})

test('TLS, and another certificate without a new start', async () => {
  const { server, port } = await start(echo, { tls: { cert: SERVER_CERT_PEM, key: SERVER_KEY_PEM } })
  const ask = (): Promise<{ name: string; secure: boolean }> =>
    new Promise((resolve, reject) => {
      httpsRequest({ port, host: '127.0.0.1', rejectUnauthorized: false, agent: false }, (response) => {
        const name = String((response.socket as TLSSocket).getPeerCertificate().subject.CN)
        let text = ''
        response.on('data', (chunk: Buffer) => {
          text += chunk.toString('utf8')
        })
        response.on('end', () => resolve({ name, secure: JSON.parse(text).secure }))
      })
        .on('error', reject)
        .end()
    })
  assert.deepEqual(await ask(), { name: 'localhost', secure: true })
  server.setTls({ cert: OTHER_CERT_PEM, key: OTHER_KEY_PEM })
  assert.deepEqual(await ask(), { name: 'other', secure: true })
  assert.throws(() => server.setTls({ cert: 'nonsense', key: 'nonsense' }))
  assert.equal((await ask()).name, 'other')
})
