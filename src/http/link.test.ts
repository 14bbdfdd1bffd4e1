// Both lanes to upstreams against real servers, by one table: what they send, what they hand on, and what they say when
// things break. What only the fast lane promises stands in fast-link.test.ts, what it makes of odd answers in
// answer-reader.test.ts and link-differential.test.ts.

import assert from 'node:assert/strict'
import { createServer, type RequestListener, type Server } from 'node:http'
import { createServer as createTlsServer } from 'node:https'
import { type AddressInfo, createServer as createTcpServer, type Socket } from 'node:net'
import { type TestContext, test } from 'node:test'
import { CA_PEM, OTHER_CA_PEM, SERVER_CERT_PEM, SERVER_KEY_PEM } from '../../test/fakes/certificates.ts'
import type { GatewayError } from '../core/errors.ts'
import { LIMITS } from '../core/limits.ts'
import { createFastLink } from './fast-link.ts'
import { createGuard } from './guard.ts'
import type { CreateLink, Link, LinkOptions, LinkRequest } from './link.ts'
import { createLink as createUndiciLink } from './undici-link.ts'

const OPTIONS: LinkOptions = {
  connectionsMax: 8,
  connectMs: 2_000,
  headerBytes: LIMITS.upstreamHeaderBytes,
  ca: null,
  caPinned: false,
  guard: createGuard({ allowPrivate: true, networks: [] }),
}

const POST: LinkRequest = { method: 'POST', path: '/mcp', headers: [], body: Buffer.from('{}'), headMs: 0 }

async function listen(t: TestContext, server: Server | ReturnType<typeof createTcpServer>): Promise<number> {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.after(() => {
    server.close()
    if ('closeAllConnections' in server) server.closeAllConnections()
  })
  return (server.address() as AddressInfo).port
}

async function httpLink(
  t: TestContext,
  createLink: CreateLink,
  listener: RequestListener,
  options: Partial<LinkOptions> = {},
): Promise<Link> {
  const port = await listen(t, createServer(listener))
  const link = createLink(new URL(`http://127.0.0.1:${port}`), { ...OPTIONS, ...options })
  t.after(() => link.close(0))
  return link
}

/** A server that answers every connection with raw bytes, or does with it what `on` says. */
async function rawLink(
  t: TestContext,
  createLink: CreateLink,
  on: (socket: Socket, count: number) => void,
): Promise<Link> {
  let count = 0
  const sockets = new Set<Socket>()
  const server = createTcpServer((socket) => {
    sockets.add(socket)
    socket.on('error', () => {})
    count += 1
    on(socket, count)
  })
  const port = await listen(t, server)
  t.after(() => {
    for (const socket of sockets) socket.destroy()
  })
  const link = createLink(new URL(`http://127.0.0.1:${port}`), OPTIONS)
  t.after(() => link.close(0))
  return link
}

type Outcome =
  | { status: number; headers: Readonly<Record<string, string | undefined>>; body: string }
  | { error: GatewayError; sent: boolean; status: number }

function send(link: Link, request: Partial<LinkRequest> = {}, onHead?: () => void): Promise<Outcome> {
  return new Promise((resolve) => {
    let status = 0
    let headers: Readonly<Record<string, string | undefined>> = {}
    const chunks: Buffer[] = []
    link.request(
      { ...POST, ...request },
      {
        onHead: (code, given) => {
          status = code
          headers = given
          onHead?.()
        },
        onData: (chunk) => chunks.push(chunk),
        onEnd: () => resolve({ status, headers, body: Buffer.concat(chunks).toString() }),
        onError: (error, sent) => resolve({ error, sent, status }),
      },
    )
  })
}

async function fails(outcome: Promise<Outcome>): Promise<{ code: string; message: string; sent: boolean }> {
  const got = await outcome
  assert.ok('error' in got, JSON.stringify(got))
  return { code: got.error.code, message: got.error.message, sent: got.sent }
}

/** One test, twice. */
function laneTest(name: string, run: (t: TestContext, createLink: CreateLink) => Promise<void>): void {
  test(`undici: ${name}`, (t) => run(t, createUndiciLink))
  test(`fast: ${name}`, (t) => run(t, createFastLink))
}

laneTest('a request goes out as it is and its answer comes back', async (t, createLink) => {
  const link = await httpLink(t, createLink, (request, response) => {
    const chunks: Buffer[] = []
    request.on('data', (chunk: Buffer) => chunks.push(chunk))
    request.on('end', () => {
      response.writeHead(
        201,
        [
          ['X-One', '1'],
          ['X-Two', 'a'],
          ['X-Two', 'b'],
          ['__proto__', 'p'],
        ].flat(),
      )
      response.end(
        `${request.method} ${request.url} ${request.headers['x-mine']} ${request.headers['content-length']} ${Buffer.concat(chunks)}`,
      )
    })
  })
  const got = await send(link, { path: '/mcp?a=1', headers: ['x-mine', 'yes'], body: Buffer.from('{"é":1}') })
  assert.ok('body' in got)
  assert.equal(got.body, 'POST /mcp?a=1 yes 8 {"é":1}')
  assert.equal(got.status, 201)
  assert.deepEqual([got.headers['x-one'], got.headers['x-two']], ['1', 'a'])
  assert.equal(link.inFlight, 0)
})

laneTest('connections are kept and never shared by two requests at a time', async (t, createLink) => {
  const open = new Set<unknown>()
  let busiest = 0
  let running = 0
  const link = await httpLink(t, createLink, (request, response) => {
    open.add(request.socket)
    running += 1
    busiest = Math.max(busiest, running)
    setTimeout(() => {
      running -= 1
      response.end('ok')
    }, 5)
  })
  for (let round = 0; round < 5; round += 1) await send(link)
  // Two, since undici rests a connection for one turn of the loop before it uses it again.
  assert.ok(open.size <= 2)
  await Promise.all(Array.from({ length: 40 }, () => send(link)))
  assert.equal(open.size, 8)
  assert.equal(busiest, 8)
})

laneTest('failures say what happened and whether the request can have left', async (t, createLink) => {
  const refused = createTcpServer()
  const port = await new Promise<number>((resolve) => {
    refused.listen(0, '127.0.0.1', () => resolve((refused.address() as AddressInfo).port))
  })
  await new Promise((resolve) => refused.close(resolve))
  const nobody = createLink(new URL(`http://127.0.0.1:${port}`), OPTIONS)
  assert.deepEqual(await fails(send(nobody)), {
    code: 'UPSTREAM_UNAVAILABLE',
    message: `Connecting to 127.0.0.1:${port} failed (ECONNREFUSED)`,
    sent: false,
  })
  const nameless = createLink(new URL('http://no-such-name.invalid'), OPTIONS)
  const unresolved = await fails(send(nameless))
  assert.deepEqual([unresolved.code, unresolved.sent], ['UPSTREAM_UNAVAILABLE', false])

  const table: [string, (socket: Socket) => void, string][] = [
    ['closed before a byte', (socket) => socket.once('data', () => socket.end()), 'UPSTREAM_UNAVAILABLE'],
    ['reset before a byte', (socket) => socket.once('data', () => socket.resetAndDestroy()), 'UPSTREAM_UNAVAILABLE'],
    ['not HTTP', (socket) => socket.end('SSH-2.0-OpenSSH_9\r\n'), 'UPSTREAM_INVALID'],
    [
      'headers without end',
      (socket) => socket.write(`HTTP/1.1 200 OK\r\nx: ${'y'.repeat(40_000)}`),
      'UPSTREAM_INVALID',
    ],
    [
      'a bare 100',
      (socket) => socket.once('data', () => socket.end('HTTP/1.1 100 Continue\r\n\r\n')),
      'UPSTREAM_UNAVAILABLE',
    ],
    [
      '101 unasked',
      (socket) =>
        socket.once('data', () =>
          socket.write('HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n'),
        ),
      'UPSTREAM_UNAVAILABLE',
    ],
    [
      'both framings',
      (socket) =>
        socket.once('data', () =>
          socket.end('HTTP/1.1 200 OK\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n'),
        ),
      'UPSTREAM_INVALID',
    ],
    [
      'body cut off',
      (socket) => socket.once('data', () => socket.end('HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{}')),
      'UPSTREAM_UNAVAILABLE',
    ],
    [
      'reset in the body',
      (socket) =>
        socket.once('data', () =>
          socket.write('HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{}', () =>
            setTimeout(() => socket.resetAndDestroy(), 20),
          ),
        ),
      'UPSTREAM_UNAVAILABLE',
    ],
  ]
  for (const [name, on, code] of table) {
    const link = await rawLink(t, createLink, on)
    const got = await fails(send(link))
    assert.deepEqual([got.code, got.sent, link.inFlight], [code, true, 0], `${name}: ${got.message}`)
  }
})

laneTest('an early hint is passed over', async (t, createLink) => {
  const link = await rawLink(t, createLink, (socket) =>
    socket.once('data', () =>
      socket.write('HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok'),
    ),
  )
  const got = await send(link)
  assert.deepEqual('body' in got && [got.status, got.body], [200, 'ok'])
})

laneTest(
  'a kept connection that the server has closed is replaced before anything is sent on it',
  async (t, createLink) => {
    const link = await rawLink(t, createLink, (socket, count) =>
      socket.on('data', () => {
        socket.write(`HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n${count}`)
        if (count === 1) setTimeout(() => socket.end(), 10)
      }),
    )
    const first = await send(link)
    await new Promise((resolve) => setTimeout(resolve, 60))
    const second = await send(link)
    assert.deepEqual(['body' in first && first.body, 'body' in second && second.body], ['1', '2'])
  },
)

laneTest('an abort ends the request on the wire, and before it is written nothing is sent', async (t, createLink) => {
  let requests = 0
  const closed = Promise.withResolvers<void>()
  const link = await httpLink(
    t,
    createLink,
    (request) => {
      requests += 1
      request.socket.on('close', closed.resolve)
    },
    { connectionsMax: 1 },
  )
  const never = { onHead() {}, onData() {}, onEnd: () => assert.fail('ended'), onError: () => assert.fail('failed') }
  const running = link.request(POST, never)
  const queued = link.request(POST, never)
  assert.equal(link.inFlight, 2)
  queued.abort()
  assert.equal(link.inFlight, 1)
  await new Promise((resolve) => setTimeout(resolve, 50))
  running.abort()
  running.abort()
  await closed.promise
  assert.deepEqual([link.inFlight, requests], [0, 1])
})

laneTest('headMs ends a request whose answer does not begin', async (t, createLink) => {
  const link = await httpLink(t, createLink, () => {})
  const got = await fails(send(link, { headMs: 30 }))
  assert.deepEqual([got.code, got.sent, link.inFlight], ['TIMEOUT', true, 0])
  const slow = await httpLink(t, createLink, (_request, response) => {
    response.write('a')
    setTimeout(() => response.end('b'), 80)
  })
  const answer = await send(slow, { headMs: 40 })
  assert.equal('body' in answer && answer.body, 'ab')
})

laneTest('an address that the guard refuses is never connected to', async (t, createLink) => {
  let connections = 0
  const port = await listen(
    t,
    createTcpServer(() => (connections += 1)),
  )
  const guard = createGuard({ allowPrivate: false, networks: [] })
  assert.throws(() => createLink(new URL(`http://127.0.0.1:${port}`), { ...OPTIONS, guard }), {
    code: 'ADDRESS_REFUSED',
  })
  const byName = createLink(new URL(`http://localhost:${port}`), { ...OPTIONS, guard })
  const got = await fails(send(byName))
  assert.deepEqual([got.code, got.sent, connections], ['ADDRESS_REFUSED', false, 0])
})

laneTest('TLS: the system, an extra CA, a pinned CA', async (t, createLink) => {
  const server = createTlsServer({ key: SERVER_KEY_PEM, cert: SERVER_CERT_PEM }, (_request, response) =>
    response.end('secret'),
  )
  const port = await listen(t, server)
  const attempt = (ca: string | null, caPinned: boolean): Promise<Outcome> => {
    const link = createLink(new URL(`https://localhost:${port}`), { ...OPTIONS, ca, caPinned })
    t.after(() => link.close(0))
    return send(link)
  }
  for (const [ca, pinned] of [
    [CA_PEM, false],
    [CA_PEM, true],
    [`${OTHER_CA_PEM}\n${CA_PEM}`, true],
  ] as const) {
    const got = await attempt(ca, pinned)
    assert.equal('body' in got && got.body, 'secret')
  }
  for (const [ca, pinned] of [
    [null, false],
    [OTHER_CA_PEM, true],
    [OTHER_CA_PEM, false],
  ] as const) {
    const got = await fails(attempt(ca, pinned))
    assert.deepEqual([got.code, got.sent], ['UPSTREAM_UNAVAILABLE', false])
    assert.match(got.message, /TLS/)
  }
  // The certificate names localhost only.
  const wrongName = createLink(new URL(`https://127.0.0.1:${port}`), { ...OPTIONS, ca: CA_PEM, caPinned: true })
  assert.match((await fails(send(wrongName))).message, /TLS.*ALTNAME/)
  assert.throws(() => createLink(new URL(`https://localhost:${port}`), { ...OPTIONS, ca: 'nonsense' }), {
    code: 'INVALID_INPUT',
  })
})

laneTest('close waits for what is under way, and no longer than it may', async (t, createLink) => {
  const link = await httpLink(t, createLink, (_request, response) => void setTimeout(() => response.end('done'), 40))
  const sending = send(link)
  await new Promise((resolve) => setTimeout(resolve, 10))
  await link.close(5_000)
  const got = await sending
  assert.equal('body' in got && got.body, 'done')
  assert.deepEqual((await fails(send(link))).sent, false)

  const stuck = await httpLink(t, createLink, () => {}, { connectionsMax: 1 })
  const both = [send(stuck), send(stuck)]
  await new Promise((resolve) => setTimeout(resolve, 20))
  await stuck.close(20)
  for (const outcome of both) assert.equal((await fails(outcome)).code, 'UPSTREAM_UNAVAILABLE')
})
