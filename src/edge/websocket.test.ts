// WebSocket: who gets one, and what its frames may be. What messages mean is in wire.test.ts.

import assert from 'node:assert/strict'
import { connect } from 'node:net'
import { after, before, describe, test } from 'node:test'
import { CA_PEM, SERVER_CERT_PEM, SERVER_KEY_PEM } from '../../test/fakes/certificates.ts'
import { connectSocket, type Front, type Json, startFront } from '../../test/fakes/fronts.ts'
import { rawExchange } from '../../test/fakes/raw-http.ts'

let front: Front
before(async () => {
  front = await startFront({ bodyBytes: 100_000 })
})
after(() => front.close())

const HANDSHAKE =
  'Host: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n'
const TOKEN = 'Authorization: Bearer ada\r\n'

describe('before the handshake', () => {
  const refused: [what: string, options: Parameters<typeof connectSocket>[1], status: number][] = [
    ['no token', { token: null }, 401],
    ['an unknown token', { token: 'eve' }, 401],
    ['an unknown token among the subprotocols', { token: null, protocols: ['mcp', 'bearer.eve'] }, 401],
    ['two tokens', { protocols: ['mcp', 'bearer.ada'] }, 400],
    ['two tokens among the subprotocols', { token: null, protocols: ['bearer.ada', 'mcp', 'bearer.bob'] }, 400],
    ['a token in the query', { token: null, path: '/ws?access_token=ada' }, 401],
    ['subprotocols without ours', { protocols: ['graphql-ws'] }, 400],
    ['a page of another site', { headers: { Origin: 'https://evil.example' } }, 403],
    ['a page of no site', { headers: { Origin: 'null' } }, 403],
    ['a page of this machine at another port', { headers: { Origin: 'http://localhost:3000' } }, 403],
    ['another Host', { headers: { Host: 'evil.example' } }, 403],
    ['an unknown virtual server', { path: '/servers/other/ws' }, 404],
    ['the path of streamable HTTP', { path: '/mcp' }, 406],
    ['a path of nobody', { path: '/else' }, 404],
  ]
  for (const [what, options, status] of refused)
    test(`${what} is refused as plain HTTP with ${status}`, async () => {
      await assert.rejects(connectSocket(front, options), { status })
    })

  const raw: [what: string, request: string, status: number][] = [
    ['no upgrade at all', `GET /ws HTTP/1.1\r\nHost: localhost\r\n${TOKEN}\r\n`, 426],
    [
      'h2c',
      `GET /ws HTTP/1.1\r\nHost: localhost\r\n${TOKEN}Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n\r\n`,
      426,
    ],
    ['two Upgrade headers', `GET /ws HTTP/1.1\r\n${HANDSHAKE}${TOKEN}Upgrade: h2c\r\n\r\n`, 426],
    ['two keys', `GET /ws HTTP/1.1\r\n${HANDSHAKE}${TOKEN}Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n`, 426],
    ['an older version', `GET /ws HTTP/1.1\r\n${HANDSHAKE.replace('13', '8')}${TOKEN}\r\n`, 426],
    ['a body with a length', `GET /ws HTTP/1.1\r\n${HANDSHAKE}${TOKEN}Content-Length: 5\r\n\r\nhello`, 426],
    ['a body in chunks', `GET /ws HTTP/1.1\r\n${HANDSHAKE}${TOKEN}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n`, 426],
    [
      'a body of two lengths',
      `GET /ws HTTP/1.1\r\n${HANDSHAKE}${TOKEN}Content-Length: 0\r\nContent-Length: 5\r\n\r\nhello`,
      400,
    ],
    ['POST', `POST /ws HTTP/1.1\r\n${HANDSHAKE}${TOKEN}Content-Length: 0\r\n\r\n`, 405],
    ['HTTP/1.0', `GET /ws HTTP/1.0\r\n${HANDSHAKE}${TOKEN}\r\n`, 426],
    ['two tokens', `GET /ws HTTP/1.1\r\n${HANDSHAKE}${TOKEN}${TOKEN}\r\n`, 400],
  ]
  for (const [what, request, status] of raw)
    test(`${what} is refused plainly with ${status}`, async () => {
      const answer = await rawExchange(`http://127.0.0.1:${front.port}`, request)
      assert.equal(answer.status, status, answer.body)
      if (status === 426) assert.equal(answer.headers.upgrade, 'websocket')
    })
})

const accepted: [what: string, options: Parameters<typeof connectSocket>[1], protocol: string][] = [
  ['a header', {}, 'mcp'],
  ['a header, and no subprotocol', { protocols: [] }, ''],
  ['a subprotocol, which is not answered', { token: null, protocols: ['bearer.ada', 'mcp'] }, 'mcp'],
  ['a header, on a page of its own', { headers: { Origin: 'https://gateway.example.com' } }, 'mcp'],
  ['a header, on a page that is listed', { headers: { Origin: 'https://app.example.com' } }, 'mcp'],
]
for (const [what, options, protocol] of accepted)
  test(`the token comes in ${what}`, async () => {
    const client = await connectSocket(front, options)
    assert.equal(client.socket.protocol, protocol)
    await client.greet()
    client.close()
    await client.closed
  })

test('frames right behind the handshake are read, and the library is loaded by the first one', async () => {
  const socket = connect(front.port, '127.0.0.1')
  const ping = Buffer.from('{"jsonrpc":"2.0","id":1,"method":"none"}')
  const frame = Buffer.concat([Buffer.of(0x81, 0x80 | ping.length, 0, 0, 0, 0), ping])
  socket.write(Buffer.concat([Buffer.from(`GET /ws HTTP/1.1\r\n${HANDSHAKE}${TOKEN}\r\n`), frame]))
  let text = ''
  for await (const chunk of socket) {
    text += (chunk as Buffer).toString('latin1')
    if (text.includes('SESSION_REQUIRED')) break
  }
  assert.match(text, /^HTTP\/1\.1 101 /)
  socket.destroy()
})

test('a request behind another one is served first: the upgrade does not overtake it', async () => {
  const answers = async (first: string): Promise<string> => {
    const socket = connect(front.port, '127.0.0.1')
    socket.write(`${first}GET /ws HTTP/1.1\r\n${HANDSHAKE}${TOKEN}\r\n`)
    let text = ''
    for await (const chunk of socket) {
      text += (chunk as Buffer).toString('latin1')
      if (/HTTP\/1\.1 (101|426)/.test(text)) break
    }
    socket.destroy()
    return [...text.matchAll(/HTTP\/1\.1 (\d+)/g)].map(([, status]) => status).join(' ')
  }
  const body = '{"jsonrpc":"2.0","id":1,"method":"none"}'
  const post = `POST /rpc HTTP/1.1\r\nHost: localhost\r\n${TOKEN}Content-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n${body}`
  // The fast lane hands over between two requests, when the first one is answered; node:http reads on before that.
  assert.equal(await answers(post), '200 101')
  assert.match(await answers(`GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n`), /^200 (101|426)$/)
})

describe('frames', () => {
  test('binary ones end the connection with 1003, too large ones with 1009', async () => {
    const binary = await connectSocket(front)
    binary.socket.send(Buffer.from('{}'), { binary: true })
    assert.equal(await binary.closed, 1003)
    const large = await connectSocket(front)
    large.socket.send(`"${'x'.repeat(100_001)}"`)
    assert.equal(await large.closed, 1009)
  })

  test('what is no message is told, and the connection goes on; notifications are never answered', async () => {
    const client = await connectSocket(front)
    for (const text of ['{', '[]', '17', '{"jsonrpc":"2.0","id":1}', 'x\u0000']) {
      client.socket.send(text)
      const { id, error } = await client.inbox.take(() => true)
      assert.equal(id, null, text)
      assert.ok([-32700, -32600].includes((error as Json).code as number))
    }
    client.send({ jsonrpc: '2.0', method: 'notifications/initialized' })
    client.send({ jsonrpc: '2.0', id: 'q.forged', result: {} })
    await client.greet()
    client.send({ jsonrpc: '2.0', id: 5, method: 'tools/call', params: { name: 'wait' } })
    client.send({ jsonrpc: '2.0', id: 5, method: 'tools/call', params: { name: 'wait' } })
    assert.equal((await client.inbox.take(({ error }) => error !== undefined)).id, null)
    assert.equal(front.waiting.length, 1)
    client.close()
    await client.closed
  })

  test('a message is not taken for a token that has gone meanwhile', async () => {
    const own = await startFront()
    const client = await connectSocket(own)
    await client.greet()
    own.tokens.delete('ada')
    client.send({ jsonrpc: '2.0', id: 1, method: 'tools/call', params: { name: 'echo' } })
    assert.equal(await client.closed, 1008)
    assert.deepEqual(client.inbox.messages, [])
    await own.close()
  })
})

test('one that answers no ping is dropped after wirePingsMax of them', async () => {
  const own = await startFront({ keepAliveCommentMs: 15, wirePingsMax: 3 })
  const alive = await connectSocket(own)
  const dead = await connectSocket(own, { autoPong: false })
  let pings = 0
  dead.socket.on('ping', () => {
    pings += 1
  })
  assert.equal(await dead.closed, 1006)
  assert.equal(pings, 3)
  await alive.greet()
  alive.close()
  await own.close()
})

test('handshakes that the library refuses, and clients that go in the middle of one, leave nothing behind', async () => {
  const own = await startFront()
  const handshake = `GET /ws HTTP/1.1\r\n${HANDSHAKE}${TOKEN}`
  for (const protocols of ['mcp, mcp', 'mcp,,', 'mcp, a b']) {
    const request = `${handshake}Sec-WebSocket-Protocol: ${protocols}\r\n\r\n`
    const answer = await rawExchange(`http://127.0.0.1:${own.port}`, request)
    assert.equal(answer.status, 400, protocols)
    assert.match(answer.body, /INVALID_REQUEST/)
  }
  for (let at = 0; at < 20; at += 1) {
    const socket = connect(own.port, '127.0.0.1')
    await new Promise<void>((resolve) => socket.write(`${handshake}\r\n`, () => resolve()))
    if (at % 2 === 0) socket.destroy()
    else socket.resetAndDestroy()
  }
  const last = await connectSocket(own)
  last.close()
  await last.closed
  while (own.edge.stats().streams > 0) await new Promise(setImmediate)
  await own.close()
})

test('a worker that stops in the middle of a handshake ends the socket that comes of it', async () => {
  const own = await startFront()
  const connecting = connectSocket(own)
  while (own.edge.stats().streams === 0) await new Promise(setImmediate)
  own.edge.drain()
  assert.equal(await (await connecting).closed, 1001)
  await own.close()
})

test('over TLS too', async () => {
  const own = await startFront({}, { cert: SERVER_CERT_PEM, key: SERVER_KEY_PEM })
  const client = await connectSocket(own, { ca: CA_PEM })
  await client.greet()
  client.close()
  await own.close()
})
