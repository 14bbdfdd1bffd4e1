// What only the fast lane promises: how it treats its connections. What both lanes do alike stands in link.test.ts.

import assert from 'node:assert/strict'
import type { Socket } from 'node:net'
import { test } from 'node:test'
import { fails, POST, rawLink, send, succeeds } from '../../test/fakes/links.ts'
import { createFastLink } from './fast-link.ts'

const answer = (text: string, headers = ''): string =>
  `HTTP/1.1 200 OK\r\n${headers}content-length: ${text.length}\r\n\r\n${text}`

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

test('a server that closes behind its answers without a word loses no request', async (t) => {
  let connections = 0
  const link = await rawLink(t, createFastLink, (socket) => {
    connections += 1
    socket.once('data', () => socket.end(answer('ok')))
  })
  // Each is made in the very callback that the answer before it ends in.
  await new Promise<void>((resolve, reject) => {
    let left = 50
    const next = (): void => {
      left -= 1
      if (left < 0) resolve()
      else link.request(POST, { onHead() {}, onData() {}, onEnd: next, onError: reject })
    }
    next()
  })
  assert.equal(connections, 50)
})

test('a connection that ends just before a request is made is not used for it', async (t) => {
  let last: Socket | null = null
  const link = await rawLink(t, createFastLink, (socket) => {
    last = socket
    socket.on('data', () => socket.write(answer('ok')))
  })
  for (const end of [() => last!.end(), () => last!.resetAndDestroy(), () => last!.destroy()]) {
    assert.equal((await succeeds(send(link))).body, 'ok')
    await turn()
    await turn()
    end()
    assert.equal((await succeeds(send(link))).body, 'ok')
  }
})

test('one connection serves request after request, and a crowd no more than it needs', async (t) => {
  let connections = 0
  const link = await rawLink(t, createFastLink, (socket) => {
    connections += 1
    socket.on('data', () => socket.write(answer('ok')))
  })
  for (let count = 0; count < 20; count += 1) await succeeds(send(link))
  assert.equal(connections, 1)
  await Promise.all([1, 2, 3].map(() => succeeds(send(link))))
  assert.equal(connections, 3)
  await Promise.all(Array.from({ length: 50 }, () => succeeds(send(link))))
  assert.equal(connections, 8)
})

test('an unused connection is closed before its server would do so', async (t) => {
  const ended = Promise.withResolvers<void>()
  const link = await rawLink(t, createFastLink, (socket) => {
    socket.on('end', ended.resolve)
    socket.on('data', () => socket.write(answer('ok', 'keep-alive: timeout=3\r\n')))
  })
  await succeeds(send(link))
  await ended.promise
})

test('100 Continue is passed over, though it was not asked for', async (t) => {
  const link = await rawLink(t, createFastLink, (socket) =>
    socket.on('data', () => socket.write(`HTTP/1.1 100 Continue\r\n\r\n${answer('ok')}`)),
  )
  assert.equal((await succeeds(send(link))).body, 'ok')
})

test('a connection whose request was answered before all of it had left is not used again', async (t) => {
  const link = await rawLink(t, createFastLink, (socket, count) =>
    socket.once('data', () => {
      socket.pause()
      socket.write(answer(String(count)))
    }),
  )
  const body = Buffer.alloc(32 * 1024 * 1024)
  assert.deepEqual([(await succeeds(send(link, { body }))).body, (await succeeds(send(link))).body], ['1', '2'])
})

test('who waits for a connection gets the first that is free, and the error of one that fails', async (t) => {
  const sockets: Socket[] = []
  let arrived = 0
  const link = await rawLink(
    t,
    createFastLink,
    (socket) => {
      sockets.push(socket)
      socket.on('data', (bytes) => {
        if (String(bytes).includes('/slow')) arrived += 1
        else socket.write(answer(/[^/]*(?= HTTP)/.exec(String(bytes))![0]))
      })
    },
    { connectionsMax: 2 },
  )
  const slow = [send(link, { path: '/slow' }), send(link, { path: '/slow' })]
  const order: string[] = []
  const waiting = ['a', 'b', 'c'].map(async (name) => {
    order.push((await succeeds(send(link, { path: `/${name}` }))).body)
  })
  while (arrived < 2) await turn()
  sockets[0]!.destroy()
  const lost = await fails(slow[0]!)
  assert.deepEqual([lost.code, lost.sent], ['UPSTREAM_UNAVAILABLE', true])
  await Promise.all(waiting)
  assert.deepEqual(order, ['a', 'b', 'c'])
  sockets[1]!.write(answer('late'))
  assert.equal((await succeeds(slow[1]!)).body, 'late')
})

test('a name that resolves to nothing fails every request that waits, unsent', async () => {
  const link = createFastLink(new URL('http://no-such-name.invalid'), {
    ...{ connectionsMax: 1, connectMs: 5_000, headerBytes: 1_000, ca: null, caPinned: false, guard: () => true },
  })
  const all = await Promise.all([1, 2, 3].map(() => fails(send(link))))
  assert.deepEqual(
    all.map(({ code, sent }) => [code, sent]),
    [1, 2, 3].map(() => ['UPSTREAM_UNAVAILABLE', false]),
  )
  assert.equal(link.inFlight, 0)
  await link.close(0)
})

test('a connection that takes longer than connectMs is given up, and nothing is sent on it', async (t) => {
  const received: unknown[] = []
  const link = await rawLink(t, createFastLink, (socket) => socket.on('data', (bytes) => received.push(bytes)), {
    connectMs: 1,
  })
  const sending = send(link)
  // Time passes before the loop can see the connection; timers come first.
  const untilMs = performance.now() + 10
  while (performance.now() < untilMs);
  const got = await fails(sending)
  assert.deepEqual([got.code, got.sent], ['UPSTREAM_UNAVAILABLE', false])
  assert.match(got.message, /took over 1 ms/)
  await new Promise((resolve) => setTimeout(resolve, 20))
  assert.deepEqual(received, [])
})
