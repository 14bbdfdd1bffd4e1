// Both lanes to upstreams against real servers, by one table: what they send, what they hand on, and what they say when
// things break. What only the fast lane promises stands in fast-link.test.ts, what it makes of odd answers in
// answer-reader.test.ts and test/fuzz/links.test.ts.

import assert from 'node:assert/strict'
import { createServer, type RequestListener } from 'node:http'
import { createServer as createTlsServer } from 'node:https'
import { type AddressInfo, createServer as createTcpServer, type Socket } from 'node:net'
import type { TestContext } from 'node:test'
import { CA_PEM, OTHER_CA_PEM, SERVER_CERT_PEM, SERVER_KEY_PEM } from '../../test/fakes/certificates.ts'
import {
  fails,
  laneTest,
  listen,
  OPTIONS,
  type Outcome,
  POST,
  rawLink,
  send,
  succeeds,
} from '../../test/fakes/links.ts'
import { until } from '../../test/fakes/processes.ts'
import { LIMITS } from '../core/limits.ts'
import { createGuard } from './guard.ts'
import type { CreateLink, Link, LinkOptions } from './link.ts'

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
  const got = await fails(send(link, { headMs: 400 }))
  assert.deepEqual([got.code, got.sent, link.inFlight], ['TIMEOUT', true, 0])
  const slow = await httpLink(t, createLink, (_request, response) => {
    response.write('a')
    setTimeout(() => response.end('b'), 600)
  })
  const answer = await send(slow, { headMs: 500 })
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

laneTest('nothing is sent that a server could read as something else', async (t, createLink) => {
  let requests = 0
  const link = await httpLink(t, createLink, (_request, response) => {
    requests += 1
    response.end()
  })
  const injected = 'a\r\nx-evil: 1'
  const table: Parameters<typeof send>[1][] = [
    ...['a\nb', 'a\rb', injected, 'a\0b', '\x7f', '€', 'a\r\n\r\nGET / HTTP/1.1\r\n\r\n'].map((value) => ({
      headers: ['x-good', '1', 'x-mine', value],
    })),
    ...['', 'a b', 'a:', 'a\r\n', 'é', '(a)', ' a', injected].map((name) => ({ headers: [name, 'x'] })),
    ...['Host', 'content-length', 'Transfer-Encoding', 'CONNECTION', 'upgrade', 'expect', 'te', 'trailer'].map(
      (name) => ({
        headers: [name, '1'],
      }),
    ),
    ...['', 'mcp', '*', 'http://x/', '/a b', '/a\tb', '/a\r\n', '/é', '/ HTTP/1.1\r\nx: y'].map((path) => ({ path })),
  ]
  for (const request of table) {
    const got = await fails(send(link, request))
    assert.deepEqual([got.code, got.sent, link.inFlight], ['UPSTREAM_INVALID', false, 0], JSON.stringify(request))
  }
  assert.equal(requests, 0)
})

laneTest('a body as large as they come goes and comes whole, on many connections at once', async (t, createLink) => {
  const link = await httpLink(t, createLink, (request, response) => {
    response.writeHead(200, request.url === '/sized' ? { 'content-length': request.headers['content-length'] } : {})
    request.pipe(response)
  })
  const sizes = [0, 1, 1_000, 16_384, 16_385, 65_536, 300_000, 3_000_000]
  await Promise.all(
    sizes.flatMap((size, at) =>
      ['/sized', '/chunks'].map(async (path) => {
        const body = Buffer.alloc(size, `${at}-${path}|`)
        assert.equal((await succeeds(send(link, { path, body }))).body, body.toString(), `${path} ${size}`)
      }),
    ),
  )
  assert.equal(link.inFlight, 0)
})

laneTest('requests without a body say so', async (t, createLink) => {
  const link = await httpLink(t, createLink, ({ method, headers }, response) => {
    response.end(`${method} ${headers['content-length']} ${headers['transfer-encoding']} ${headers.host !== undefined}`)
  })
  assert.equal((await succeeds(send(link, { body: null }))).body, 'POST 0 undefined true')
  assert.equal((await succeeds(send(link, { method: 'GET', body: null }))).body, 'GET undefined undefined true')
  assert.match(
    (await succeeds(send(link, { method: 'DELETE', body: null }))).body,
    /^DELETE (0|undefined) undefined true$/,
  )
})

laneTest('events are handed on as they come', async (t, createLink) => {
  let next: () => void = () => {}
  const link = await httpLink(t, createLink, (_request, response) => {
    response.writeHead(200, { 'content-type': 'text/event-stream' })
    let count = 0
    next = () => {
      count += 1
      if (count === 4) response.end()
      else response.write(`data: ${count}\n\n`)
    }
    next()
  })
  const events: string[] = []
  await new Promise<void>((resolve, reject) => {
    link.request(
      { ...POST, method: 'GET', body: null },
      {
        onHead: () => {},
        // Each is asked for by the one before it.
        onData: (chunk) => {
          events.push(String(chunk))
          next()
        },
        onEnd: resolve,
        onError: reject,
      },
    )
  })
  assert.deepEqual(events, ['data: 1\n\n', 'data: 2\n\n', 'data: 3\n\n'])
})

laneTest('only so many wait for a connection', async (t, createLink) => {
  const link = await httpLink(t, createLink, () => {}, { connectionsMax: 1 })
  const nothing = { onHead() {}, onData() {}, onEnd() {}, onError() {} }
  const running = Array.from({ length: 1 + LIMITS.upstreamWaitingMax }, () => link.request(POST, nothing))
  const got = await fails(send(link))
  assert.deepEqual([got.code, got.sent], ['UPSTREAM_BUSY', false])
  for (const sending of running) sending.abort()
  assert.equal(link.inFlight, 0)
})

laneTest('a connection that says it goes is not used again', async (t, createLink) => {
  const table: [name: string, head: string][] = [
    ['close', 'connection: close\r\n'],
    ['close among others', 'connection: x, Close\r\n'],
    ['a short time', 'keep-alive: timeout=1\r\n'],
  ]
  for (const [name, head] of table) {
    const link = await rawLink(t, createLink, (socket, count) =>
      socket.on('data', () => socket.write(`HTTP/1.1 200 OK\r\n${head}content-length: 1\r\n\r\n${count}`)),
    )
    assert.deepEqual([(await succeeds(send(link))).body, (await succeeds(send(link))).body], ['1', '2'], name)
  }
})

laneTest('bytes that nobody asked for are no answer to the next request', async (t, createLink) => {
  const answer = (text: string): string => `HTTP/1.1 200 OK\r\ncontent-length: ${text.length}\r\n\r\n${text}`
  let first: Socket | null = null
  const link = await rawLink(t, createLink, (socket, count) => {
    first ??= socket
    socket.on('data', () => socket.write(answer(`good${count}`)))
  })
  assert.equal((await succeeds(send(link))).body, 'good1')
  await new Promise((resolve) => setTimeout(resolve, 20))
  // They lie in the socket, unread, when the request is made.
  first!.write(answer('evil'))
  assert.equal((await succeeds(send(link))).body, 'good2')

  const greedy = await rawLink(t, createLink, (socket, count) =>
    socket.on('data', () => socket.write(answer(`good${count}`) + answer('evil'))),
  )
  assert.equal((await succeeds(send(greedy))).body, 'good1')
  assert.equal((await succeeds(send(greedy))).body, 'good2')
})

laneTest('a handler that throws loses its request and nothing else', async (t, createLink) => {
  const link = await httpLink(t, createLink, (_request, response) => response.end('ok'))
  for (const broken of ['onHead', 'onData', 'onEnd'] as const) {
    const errors: unknown[] = []
    await new Promise<void>((resolve) => {
      const boom = (): void => {
        setTimeout(resolve, 20)
        throw new Error('boom')
      }
      const handler = { onHead() {}, onData() {}, onEnd() {}, onError: (error: unknown) => errors.push(error) }
      link.request(POST, { ...handler, [broken]: boom })
    })
    assert.equal(errors.length, broken === 'onEnd' ? 0 : 1, broken)
    assert.equal(link.inFlight, 0)
    assert.equal((await succeeds(send(link))).body, 'ok')
  }
})

laneTest('an abort from within a callback is the last of them', async (t, createLink) => {
  const link = await httpLink(t, createLink, (_request, response) => {
    response.write('a')
    setTimeout(() => response.end('b'), 10)
  })
  for (const at of ['onHead', 'onData'] as const) {
    const calls: string[] = []
    const abort = (): void => {
      calls.push(at)
      sending.abort()
    }
    const count = (name: string) => () => void calls.push(name)
    const sending = link.request(POST, {
      onHead: at === 'onHead' ? abort : () => {},
      onData: at === 'onData' ? abort : count('data'),
      onEnd: count('end'),
      onError: count('error'),
    })
    await new Promise((resolve) => setTimeout(resolve, 60))
    assert.deepEqual([calls, link.inFlight], [[at], 0])
  }
})

laneTest(
  'an answer that is paused waits at its server, and its connection serves others afterwards',
  async (t, createLink) => {
    let written = 0
    let isFull = false
    const link = await httpLink(t, createLink, (request, response) => {
      if (request.url === '/next') return void response.end('next')
      const pour = (): void => {
        while (written < 64 && !isFull) {
          written += 1
          isFull = !response.write(Buffer.alloc(1024 * 1024))
        }
        if (written === 64) response.end()
      }
      response.on('drain', () => {
        isFull = false
        pour()
      })
      pour()
    })
    let bytes = 0
    const ended = Promise.withResolvers<void>()
    const sending = link.request(
      { ...POST, headMs: 0 },
      {
        onHead: () => sending.pause(),
        onData: (chunk) => {
          bytes += chunk.length
        },
        onEnd: () => ended.resolve(),
        onError: (error) => ended.reject(error),
      },
    )
    await until('the server has to wait', () => isFull)
    const before = written
    await succeeds(send(link, { path: '/next' }))
    assert.ok(written < 64 && written <= before + 1, `${written} MiB were taken`)
    sending.resume()
    await ended.promise
    assert.equal(bytes, 64 * 1024 * 1024)
    assert.equal((await succeeds(send(link, { path: '/next' }))).body, 'next')
  },
)
