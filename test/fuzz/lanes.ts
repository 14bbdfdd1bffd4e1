// The server's two lanes against each other: generated connections of several requests, right and broken, cut anywhere,
// go to a server of node:http alone and to one with the fast lane before it. Both must have understood the same requests
// and given the same answers. `node test/fuzz/lanes.ts [--seed N] [--cases N]`; a failure names its seed.

import assert from 'node:assert/strict'
import { type AddressInfo, connect } from 'node:net'
import { parseArgs } from 'node:util'
import type { GatewayError } from '../../src/core/errors.ts'
import { LIMITS } from '../../src/core/limits.ts'
import type { Exchange } from '../../src/http/exchange.ts'
import { createNodeServer, type NodeServer } from '../../src/http/node-exchange.ts'
import { createRandom, type Random } from './random.ts'

/** Low, so that the cases reach them. */
const BOUNDS = { headerBytes: 2_000, headerCount: 14, lingerMs: 20 }
const BODY_BYTES_MAX = 6_000

// --- what is sent --------------------------------------------------------------------------------------------------------

const REST_OF_LINE = ['\r\n', '\r\n', '\r\n', '\r\n', '\n', '\r', '\r\r\n', '\n\r', ' \r\n', '\0\r\n']
const TARGETS = ['/mcp', '/reply', '/early', '/none', '/stream', '/late', '/servers/a-b/mcp']
const ODD_TARGETS = [
  '/mcp?a=b',
  '/%6dcp',
  '//mcp',
  'http://h/mcp',
  '*',
  'mcp',
  '',
  '/m\xe9',
  '/a#b',
  '/a b',
  '/../mcp',
  '/\x7f',
  '/a\t',
]
const ODD_METHODS = ['GET', 'PUT', 'DELETE', 'OPTIONS', 'post', 'POST ', ' POST', 'PO', 'QUERY', 'CONNECT']
const ODD_VERSIONS = ['HTTP/1.0', 'HTTP/1.2', 'HTTP/2.0', 'http/1.1', 'HTTP/1.1 ', ' HTTP/1.1', 'HTTP/01.1', '']
const ODD_LENGTHS = [
  '+5',
  '-5',
  '0x5',
  '5, 5',
  '5 5',
  '',
  'five',
  '05',
  '00',
  ' 5\t',
  '5\x0b',
  '99999999999999999999',
  '1e1',
  '5;',
]
const CONNECTIONS = [
  'keep-alive',
  'Keep-Alive',
  'close',
  'CLOSE',
  'keep-alive, close',
  'upgrade',
  'te',
  '',
  'close ',
  'x',
]
const FRAMINGS = [
  'Transfer-Encoding: chunked',
  'Transfer-Encoding: gzip, chunked',
  'transfer-encoding:chunked',
  'Transfer-Encoding: ',
  'Transfer-Encoding : chunked',
  'Transfer-Encoding: xchunked',
  'Transfer-Encoding:\r\n chunked',
  'Expect: 100-continue',
  'Expect: wonders',
  'Upgrade: websocket',
  'Upgrade: h2c',
  'Proxy-Connection: close',
  'Trailer: X',
  'TE: trailers',
]
const NAMES = [
  'Accept',
  'content-type',
  'AUTHORIZATION',
  'Mcp-Session-Id',
  'mcp-method',
  'Mcp-Param-A',
  'X-Y',
  'Cookie',
  'Origin',
]
const ODD_NAMES = [
  'X Y',
  'X ',
  ' X',
  '',
  'X\x80',
  'X\0',
  'X"',
  'X(',
  'X/',
  'X@',
  'X{',
  '__proto__',
  'constructor',
  'toString',
  'Set-Cookie',
  'Host',
  'Content-Length',
  'content-length',
  "!#$%&'*+-.^_`|~9",
]
const VALUES = [
  'a',
  'application/json',
  'a, b',
  ' padded ',
  '\ttabbed\t',
  'a\tb',
  '\xe9\xff',
  '',
  ':',
  'a: b',
  '"',
  'x'.repeat(300),
]
const ODD_VALUES = [
  'a\0b',
  'a\x01',
  'a\x7f',
  'a\x0bb',
  'a\rb',
  'a\nb',
  'a\r\n b',
  'a\r\n\tb',
  '\x1f',
  'x'.repeat(1_900),
  ' '.repeat(1_500),
  'a\r',
]
const SMUGGLED = 'POST /smuggled HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n'

function request(random: Random, isLast: boolean): string {
  /** How much is wrong with it. */
  const odds = random.chance(0.6) ? 0 : random.pick([0.02, 0.1, 0.2])
  const isBroken = odds > 0
  const twist = (usual: string, odd: readonly string[], likely = 1): string =>
    random.chance(odds * likely) ? random.pick(odd) : usual
  const end = (): string => twist('\r\n', REST_OF_LINE, 0.3)
  const body = bodyText(random)
  const lines: string[] = []
  const add = (line: string): void => {
    lines.splice(random.int(lines.length + 1), 0, `${line}${end()}`)
  }
  const isChunked = isBroken && random.chance(0.15)
  if (!isBroken || !random.chance(0.06))
    add(`${random.pick(['Host', 'host', 'HOST'])}:${twist(' ', ['', '\t', ' \t '])}h`)
  if (isChunked) add('Transfer-Encoding: chunked')
  else if (!isBroken || !random.chance(0.06)) {
    const length = isBroken && random.chance(0.08) ? Math.max(0, body.length + random.int(9) - 4) : body.length
    add(`${random.pick(['Content-Length', 'content-length'])}: ${twist(String(length), ODD_LENGTHS)}`)
  }
  for (let more = random.chance(0.1) ? 8 + random.int(8) : random.int(6); more > 0; more -= 1) {
    const name = twist(`${random.pick(NAMES)}${random.chance(0.9) ? random.int(1e6) : ''}`, ODD_NAMES)
    add(
      `${name}${twist(':', [' :', '\t:', '', '::', ';'])}${random.chance(0.8) ? ' ' : ''}${twist(random.pick(VALUES), ODD_VALUES, 0.5)}`,
    )
  }
  if (isLast) add('Connection: close')
  else if (random.chance(isBroken ? 0.5 : 0.2)) add(`Connection: ${twist('keep-alive', CONNECTIONS, 4)}`)
  else if (random.chance(0.03)) add('Connection: close')
  if (isBroken && random.chance(0.2)) add(random.pick(FRAMINGS))
  const method = twist(random.chance(0.85) ? 'POST' : 'GET', ODD_METHODS)
  const target = twist(random.pick(TARGETS), ODD_TARGETS)
  const line = `${method}${twist(' ', ['  ', '\t', ''])}${target}${twist(' ', ['  ', '\t', ''])}${twist('HTTP/1.1', ODD_VERSIONS, 2)}`
  let head = `${twist('', ['\r\n', '\n', ' '])}${line}${end()}${lines.join('')}${end()}`
  if (isBroken && random.chance(0.15)) head = bend(random, head)
  // Not one that is refused for its length: whether all of it is there by then, and its connection stays, is chance.
  return head + (isChunked ? chunked(random, body.slice(0, BODY_BYTES_MAX)) : body)
}

function bodyText(random: Random): string {
  const kind = random.int(10)
  if (kind < 2) return ''
  if (kind < 4) return SMUGGLED.repeat(1 + random.int(2))
  if (kind < 9) return Array.from({ length: random.int(100) }, () => String.fromCharCode(random.int(256))).join('')
  return 'x'.repeat(random.int(BODY_BYTES_MAX * 1.2))
}

function chunked(random: Random, body: string): string {
  let text = ''
  for (let at = 0; at < body.length; ) {
    const size = 1 + random.int(body.length - at)
    text += `${size.toString(16)}\r\n${body.slice(at, at + size)}\r\n`
    at += size
  }
  return `${text}0\r\n\r\n`
}

/** One byte more, less or another. */
function bend(random: Random, text: string): string {
  const at = random.int(text.length)
  const byte = random.pick(['\r', '\n', '\0', ' ', '\t', ':', ',', '\x7f', '\xff', 'a', '0', '/'])
  const kind = random.int(3)
  return text.slice(0, at) + (kind === 0 ? '' : byte) + text.slice(kind === 2 ? at : at + 1)
}

function cut(random: Random, text: string): Buffer[] {
  const pieces: Buffer[] = []
  const sizeMax = random.pick([text.length, text.length, 1_000, 200, 30])
  for (let at = 0; at < text.length; ) {
    const size = 1 + random.int(Math.max(sizeMax, text.length / 40))
    pieces.push(Buffer.from(text.slice(at, at + size), 'latin1'))
    at += size
  }
  return pieces
}

// --- what comes of it ----------------------------------------------------------------------------------------------------

interface Seen {
  readonly method: string
  readonly path: string
  readonly query: string
  readonly headers: Record<string, unknown>
  readonly address: string
  /** Its bytes, or why it was not had. */
  body: string
}

interface Answer {
  readonly status: number
  /** Sorted; without the date. */
  readonly headers: readonly string[]
  readonly body: string
}

interface Rig {
  readonly server: NodeServer
  readonly port: number
  seen: Seen[]
  /** Requests that the fast lane has served. */
  fast: number
  /** Grows with everything that happens. */
  events: number
}

async function startRig(isFast: boolean): Promise<Rig> {
  const handler = (exchange: Exchange): void => {
    const { method, path, query, headers, address } = exchange
    const seen: Seen = { method, path, query, headers: { ...headers }, address, body: 'unread' }
    rig.seen.push(seen)
    rig.events += 1
    if (exchange.constructor.name === 'FastExchange') rig.fast += 1
    if (path === '/early') {
      exchange.reply(401, ['X-Early', '1'], 'early')
      return
    }
    const answer = (): void => {
      rig.events += 1
      if (path === '/none') exchange.reply(204, [], null)
      else if (path === '/stream') {
        const stream = exchange.stream(200, [])
        stream.write('data: 1\n\n')
        stream.write('')
        stream.write(Buffer.from(`data: ${seen.body.length}\n\n`))
        stream.end()
      } else exchange.reply(200, ['Content-Type', 'text/plain'], Buffer.from(seen.body, 'latin1'))
    }
    exchange.body(BODY_BYTES_MAX).then(
      (body) => {
        seen.body = body.toString('latin1')
        if (path === '/late') setImmediate(answer)
        else answer()
      },
      (error: unknown) => {
        seen.body = (error as GatewayError).code
        exchange.reply((error as GatewayError).entry.status, [], (error as GatewayError).code)
      },
    )
  }
  const server = createNodeServer({
    handler,
    limits: { ...LIMITS, ...BOUNDS },
    trustedProxies: [],
    log: { warn: () => {} },
    ...(isFast ? { isFastPath: () => true } : {}),
  })
  await new Promise<void>((resolve) => server.server.listen(0, '127.0.0.1', resolve))
  const rig: Rig = { server, port: (server.server.address() as AddressInfo).port, seen: [], fast: 0, events: 0 }
  return rig
}

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))
/** Client and server share one event loop: what has not moved for so many turns waits for more bytes. */
const QUIET_TURNS = 12

async function quiet(rig: Rig): Promise<void> {
  for (let still = 0, last = rig.events; still < QUIET_TURNS; still += 1) {
    await turn()
    if (rig.events !== last) {
      last = rig.events
      still = 0
    }
  }
}

/** Sends `pieces`, then ends its side; everything that came back. */
async function talk(rig: Rig, pieces: readonly Buffer[], waits: readonly boolean[]): Promise<string> {
  const socket = connect({ port: rig.port, host: '127.0.0.1', allowHalfOpen: true, noDelay: true })
  let text = ''
  let isClosed = false
  socket.on('data', (chunk) => {
    text += chunk.toString('latin1')
    rig.events += 1
  })
  socket.on('end', () => socket.end())
  socket.on('error', () => {})
  const closed = new Promise<void>((resolve) => {
    socket.on('close', () => {
      isClosed = true
      resolve()
    })
  })
  await new Promise<void>((resolve) => socket.once('connect', resolve))
  for (const [at, piece] of pieces.entries()) {
    if (isClosed || !socket.writable) break
    socket.write(piece)
    if (waits[at]) await quiet(rig)
  }
  await quiet(rig)
  socket.end()
  await closed
  await quiet(rig)
  return text
}

function readAnswers(text: string): Answer[] {
  const answers: Answer[] = []
  let rest = text
  while (rest.length > 0) {
    const end = rest.indexOf('\r\n\r\n')
    assert.ok(end > 0, `no answer: ${JSON.stringify(rest)}`)
    const [line, ...lines] = rest.slice(0, end).split('\r\n')
    const status = Number(/^HTTP\/1\.1 (\d{3}) /.exec(line!)?.[1])
    assert.ok(status >= 100, `no answer: ${JSON.stringify(rest)}`)
    rest = rest.slice(end + 4)
    const headers = lines.filter((header) => !header.startsWith('Date: ')).sort()
    const length = headers.find((header) => header.startsWith('Content-Length: '))?.slice(16)
    let body = ''
    if (headers.includes('Transfer-Encoding: chunked')) {
      for (let size = 1; size > 0; ) {
        const sizeEnd = rest.indexOf('\r\n')
        size = Number.parseInt(rest.slice(0, sizeEnd), 16)
        assert.ok(size >= 0, `no chunk: ${JSON.stringify(rest)}`)
        body += rest.slice(sizeEnd + 2, sizeEnd + 2 + size)
        rest = rest.slice(sizeEnd + 4 + size)
      }
    } else if (length !== undefined) {
      body = rest.slice(0, Number(length))
      rest = rest.slice(Number(length))
    } else if (status >= 200 && status !== 204) {
      body = rest
      rest = ''
    }
    answers.push({ status, headers, body })
  }
  return answers
}

// --- the comparison ------------------------------------------------------------------------------------------------------

export interface LanesResult {
  readonly requests: number
  /** Of them, those that the fast lane served. */
  readonly fast: number
  readonly refusals: number
}

export async function fuzzLanes(seed: number, cases: number): Promise<LanesResult> {
  const node = await startRig(false)
  const fast = await startRig(true)
  let requests = 0
  let refusals = 0
  try {
    for (let at = 0; at < cases; at += 1) {
      const random = createRandom(seed + at)
      const count = 1 + random.int(5)
      let text = ''
      for (let n = 0; n < count; n += 1) text += request(random, n === count - 1 && random.chance(0.5))
      const pieces = cut(random, text)
      const waits = pieces.map(() => random.chance(0.5))
      node.seen = []
      fast.seen = []
      const said = await talk(node, pieces, waits)
      const saidFast = await talk(fast, pieces, waits)
      try {
        const answers = readAnswers(said)
        const answersFast = readAnswers(saidFast)
        assert.deepEqual(fast.seen, node.seen)
        const last = node.seen.at(-1)
        if (last?.headers['transfer-encoding'] !== undefined && /^(?:INVALID_REQUEST|unread)$/.test(last.body)) {
          // Node's lane, which reads chunked bodies for both, drops a connection whose body is faulty while an earlier
          // answer is still due; whether one is, is a matter of time.
          const common = Math.min(answers.length, answersFast.length)
          for (const list of [answers, answersFast]) list.splice(common)
        }
        dropLateRefusal(answers, answersFast)
        assert.deepEqual(answersFast, answers)
        requests += node.seen.length
        refusals += answers.filter(({ status }) => status >= 400).length
      } catch (cause) {
        const sent = pieces.map((piece, n) => JSON.stringify(piece.toString('latin1')) + (waits[n] ? '' : ' +'))
        throw new Error(`case ${seed + at} (repeat with --seed ${seed + at} --cases 1):\n${sent.join('\n')}`, { cause })
      }
    }
  } finally {
    await node.server.close()
    await fast.server.close()
  }
  return { requests, fast: fast.fast, refusals }
}

/**
 * The differences that are allowed, all of them about how a fault is told. Node's parser finds a fault behind a request
 * whose answer is still due, makes that answer the last word and says so in it; the fast lane looks behind a request when
 * it is over, and then the fault gets a refusal of its own. And the fast lane judges a head when all of it is there: one
 * that is faulty and never ends is given up without a refusal. What is understood is the same, and nothing behind it is.
 */
function dropLateRefusal(some: Answer[], others: Answer[]): void {
  if (Math.abs(some.length - others.length) === 1) {
    const { status, headers } = (some.length > others.length ? some : others).pop()!
    assert.ok([400, 405, 413, 417, 431].includes(status), `${status}`)
    assert.ok(headers.includes('Connection: close'))
  }
  for (const answers of [some, others]) {
    const last = answers.pop()
    if (last === undefined) continue
    answers.push({ ...last, headers: last.headers.filter((header) => !/^(?:Connection|Keep-Alive): /.test(header)) })
  }
}

if (import.meta.main) {
  const { values } = parseArgs({ options: { seed: { type: 'string' }, cases: { type: 'string', default: '5000' } } })
  const seed = values.seed === undefined ? Date.now() % 2 ** 31 : Number(values.seed)
  const { requests, fast, refusals } = await fuzzLanes(seed, Number(values.cases))
  console.log(
    `lanes: seed ${seed}, ${values.cases} connections, ${requests} requests, ${fast} of them fast, ${refusals} refusals`,
  )
}
