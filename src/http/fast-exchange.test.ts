// What is the fast lane's own: which requests it serves, how a connection gets from it to node:http, and what it keeps
// of a client that sends more than it reads. What both lanes promise alike stands in node-exchange.test.ts, and they are
// fuzzed against each other in test/fuzz/lanes.ts.

import assert from 'node:assert/strict'
import { type AddressInfo, connect, type Socket } from 'node:net'
import { after, test } from 'node:test'
import { LIMITS, type Limits } from '../core/limits.ts'
import type { Exchange } from './exchange.ts'
import { createNodeServer, type NodeServer } from './node-exchange.ts'

const open: NodeServer[] = []
after(() => Promise.all(open.map((server) => server.close())))

async function start(handler: (exchange: Exchange) => void, limits: Partial<Limits> = {}): Promise<number> {
  const server = createNodeServer({
    handler,
    limits: { ...LIMITS, lingerMs: 100, ...limits },
    trustedProxies: [],
    isFastPath: (path) => path !== '/slow-path',
    log: { warn: () => {} },
  })
  open.push(server)
  await new Promise<void>((resolve) => server.server.listen(0, '127.0.0.1', resolve))
  return (server.server.address() as AddressInfo).port
}

const laneOf = (exchange: Exchange): string => exchange.constructor.name.replace('Exchange', '').toLowerCase()

/** Answers with the lane, the path and the body. */
function tell(exchange: Exchange): void {
  exchange.body(1_000_000).then(
    (body) => exchange.reply(200, [], `${laneOf(exchange)} ${exchange.path} ${body}`),
    () => exchange.reply(413, [], 'too large'),
  )
}

/** A client that collects all it is told. */
class Client {
  readonly socket: Socket
  text = ''
  closed = false
  #changed = (): void => {}

  constructor(port: number) {
    this.socket = connect({ port, host: '127.0.0.1', noDelay: true })
    this.socket.on('data', (chunk) => {
      this.text += chunk.toString('latin1')
      this.#changed()
    })
    this.socket.on('error', () => {})
    this.socket.on('close', () => {
      this.closed = true
      this.#changed()
    })
  }

  async until(condition: () => boolean): Promise<void> {
    while (!condition()) {
      if (this.closed) throw new Error(`closed: ${this.text}`)
      await new Promise<void>((resolve) => {
        this.#changed = resolve
      })
    }
  }

  /** Sends a request and reads the whole of its answer (of one with a Content-Length). */
  async ask(...pieces: string[]): Promise<string> {
    this.text = ''
    for (const [at, piece] of pieces.entries()) {
      if (at > 0) await new Promise((resolve) => setTimeout(resolve, 3))
      this.socket.write(piece, 'latin1')
    }
    await this.until(() => this.answers.length > 0)
    return this.answers[0]!
  }

  /** Bodies of the whole answers so far. */
  get answers(): string[] {
    const bodies: string[] = []
    for (let at = 0; ; ) {
      const end = this.text.indexOf('\r\n\r\n', at)
      if (end < 0) return bodies
      const length = Number(/content-length: (\d+)/i.exec(this.text.slice(at, end))?.[1] ?? 0)
      if (this.text.length < end + 4 + length) return bodies
      bodies.push(this.text.slice(end + 4, end + 4 + length))
      at = end + 4 + length
    }
  }
}

const post = (path: string, body = '', more = ''): string =>
  `POST ${path} HTTP/1.1\r\nHost: h\r\n${more}Content-Length: ${body.length}\r\n\r\n${body}`

test('which lane serves what', async () => {
  const port = await start(tell)
  const cases: [request: string, answer: string][] = [
    [post('/mcp', 'body'), 'fast /mcp body'],
    [post('/mcp'), 'fast /mcp '],
    [post('/', 'x', 'connection: Keep-Alive\r\nX-Empty:\r\nX-Wide: \xe9\r\n'), 'fast / x'],
    [post('/slow-path', 'x'), 'node /slow-path x'],
    [post('/mcp?a=b', 'x'), 'node /mcp x'],
    [post('/mc%70', 'x'), 'node /mc%70 x'],
    [post('/mcp', 'x', 'Accept: a\r\nAccept: b\r\n'), 'node /mcp x'],
    [post('/mcp', 'x', 'constructor: a\r\n'), 'node /mcp x'],
    [post('/mcp', 'x', 'TE: trailers\r\n'), 'fast /mcp x'],
    [post('/mcp', 'x', 'Upgrade: h2c\r\n'), 'node /mcp x'],
    [post('/mcp', 'x', 'Connection: upgrade\r\n'), 'node /mcp x'],
    [`\r\n${post('/mcp', 'x')}`, 'node /mcp x'],
    ['GET /mcp HTTP/1.1\r\nHost: h\r\n\r\n', 'fast /mcp '],
    ['GET /mcp?a HTTP/1.1\r\nHost: h\r\n\r\n', 'node /mcp '],
    ['GET /mcp HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n', 'node /mcp '],
    ['GET /mcp HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\nx', 'node /mcp x'],
    ['DELETE /mcp HTTP/1.1\r\nHost: h\r\n\r\n', 'node /mcp '],
    ['PUT /mcp HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\nx', 'node /mcp x'],
    ['POST /mcp HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n', 'node /mcp x'],
  ]
  for (const [request, answer] of cases) {
    const client = new Client(port)
    assert.equal(await client.ask(request), answer)
    // A connection that has gone to node:http stays there.
    assert.equal(await client.ask(post('/mcp', 'more')), `${answer.slice(0, 4)} /mcp more`)
    client.socket.destroy()
  }
})

test('a connection is handed over with what stands unread in it, between two requests and in the middle of a head', async () => {
  const port = await start(tell)
  const other = 'DELETE /other HTTP/1.1\r\nHost: h\r\n\r\n'
  const client = new Client(port)
  client.socket.write(`${post('/1', 'one')}${post('/2', 'two')}${other}${post('/3', 'three')}`)
  await client.until(() => client.answers.length === 4)
  assert.deepEqual(client.answers, ['fast /1 one', 'fast /2 two', 'node /other ', 'node /3 three'])
  client.socket.destroy()
  const cut = new Client(port)
  assert.equal(await cut.ask(post('/1', 'one')), 'fast /1 one')
  assert.equal(await cut.ask(other.slice(0, 9), other.slice(9)), 'node /other ')
  cut.socket.destroy()
})

test('a head may come in a few pieces; one in many goes to node:http', async () => {
  const port = await start(tell)
  const request = post('/mcp', 'body', 'X-Y: z\r\n')
  for (const pieces of [2, 3, 4]) {
    const client = new Client(port)
    const size = Math.ceil(request.length / pieces)
    const parts = Array.from({ length: pieces }, (_, at) => request.slice(at * size, (at + 1) * size))
    assert.equal(await client.ask(...parts), 'fast /mcp body', `${pieces}`)
    assert.equal(await client.ask(...parts), 'fast /mcp body', `${pieces}, again`)
    client.socket.destroy()
  }
  const slow = new Client(port)
  assert.equal(await slow.ask(...request), 'node /mcp body')
  slow.socket.destroy()
})

test('heads that look alike are told apart, and bodies are those of their heads', async () => {
  const seen: Exchange[] = []
  const port = await start((exchange) => {
    seen.push(exchange)
    tell(exchange)
  })
  const client = new Client(port)
  for (const [key, body] of ['aa', 'aa', 'ab', 'ba', 'aa'].map((text) => [text[0]!, text])) {
    assert.equal(await client.ask(post('/mcp', body, `X-Key: ${key}\r\n`)), `fast /mcp ${body}`)
  }
  assert.deepEqual(
    seen.map(({ headers }) => headers['x-key']),
    ['a', 'a', 'a', 'b', 'a'],
  )
  client.socket.destroy()
})

test('thousands of pipelined requests are answered in order; of a client that does not read only a few are served', async () => {
  let served = 0
  const port = await start((exchange) => {
    served += 1
    const number = served
    void exchange.body(1_000).then((body) => exchange.reply(200, [], `${body} ${number} ${'x'.repeat(9_000)}`))
  })
  const client = new Client(port)
  client.socket.pause()
  const count = 4_000
  for (let at = 1; at <= count; at += 1) {
    client.socket.write(post('/mcp', `body ${at}`, at === count ? 'Connection: close\r\n' : ''))
  }
  // Waits until nothing more is served.
  for (let before = -1; before !== served; ) {
    before = served
    await new Promise((resolve) => setTimeout(resolve, 100))
  }
  assert.ok(served > 0 && served < count / 2, `${served}`)
  client.socket.resume()
  await new Promise((resolve) => client.socket.once('close', resolve))
  const { answers } = client
  assert.equal(answers.length, count)
  answers.forEach((answer, at) => {
    assert.ok(answer.startsWith(`body ${at + 1} ${at + 1} x`))
  })
})

test('what is pipelined behind an unanswered request is bounded: the client is not read from', async () => {
  let answer = (): void => {}
  let served = 0
  const port = await start((exchange) => {
    served += 1
    const text = `${served}`
    answer = () => exchange.reply(200, [], text)
    if (served !== 301) setImmediate(answer)
  })
  const sockets: Socket[] = []
  open.at(-1)!.server.on('connection', (socket: Socket) => sockets.push(socket))
  const client = new Client(port)
  const request = post('/mcp', 'x'.repeat(10_000))
  for (let at = 0; at < 40; at += 1) client.socket.write(request.repeat(100))
  for (let before = -1; served < 301 || before !== sockets[0]!.bytesRead; ) {
    before = sockets[0]?.bytesRead ?? -1
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
  const ahead = sockets[0]!.bytesRead - 301 * request.length
  assert.ok(ahead < 300_000, `${ahead}`)
  answer()
  await client.until(() => client.text.endsWith('\r\n\r\n4000'))
  assert.equal(client.answers.length, 4_000)
  client.socket.destroy()
})

test('a body that nobody has asked for yet waits with the client, and comes when it is asked for', async () => {
  const body = 'x'.repeat(8_000_000)
  let ask = (): void => {}
  const port = await start((exchange) => {
    ask = () => void exchange.body(10_000_000).then((bytes) => exchange.reply(200, [], `${bytes.length}`))
  })
  const client = new Client(port)
  let isWritten = false
  client.socket.write(post('/mcp', body), () => {
    isWritten = true
  })
  await new Promise((resolve) => setTimeout(resolve, 200))
  assert.equal(isWritten, false)
  ask()
  await client.until(() => client.answers.length === 1)
  assert.deepEqual(client.answers, ['8000000'])
  client.socket.destroy()
})

test('a rest of a body that nobody wants is dropped before the next request', async () => {
  const port = await start((exchange) => {
    if (exchange.path === '/no') exchange.reply(401, [], 'no')
    else tell(exchange)
  })
  const client = new Client(port)
  const refused = post('/no', post('/smuggled', 'x'))
  client.socket.write(refused.slice(0, -20))
  await client.until(() => client.answers.length === 1)
  client.socket.write(`${refused.slice(-20)}${post('/mcp', 'next')}`)
  await client.until(() => client.answers.length === 2)
  assert.deepEqual(client.answers, ['no', 'fast /mcp next'])
  client.socket.destroy()
})

test('a client that ends its side is not answered, and one that does so in the middle of a request is dropped', async () => {
  const port = await start((exchange) => {
    if (exchange.path === '/mcp') tell(exchange)
  })
  for (const text of ['', post('/mcp', 'body').slice(0, -1), post('/mcp').slice(0, 9), post('/never', 'body')]) {
    const client = new Client(port)
    client.socket.end(text)
    await new Promise((resolve) => client.socket.once('close', resolve))
    assert.equal(client.text, '', text)
  }
})

test('no header of an answer can end early', async () => {
  const values = ['a\r\nX-Evil: 1', 'a\nb', 'a\0', '\u{1f600}']
  for (const value of values) {
    let fault: unknown = null
    const port = await start((exchange) => {
      assert.throws(() => exchange.reply(200, ['X-A', value], null), TypeError)
      fault = value
    })
    const client = new Client(port)
    client.socket.end(post('/mcp'))
    await new Promise((resolve) => client.socket.once('close', resolve))
    assert.equal(fault, value)
    assert.equal(client.text, '')
  }
})
