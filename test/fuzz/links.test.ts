// The two lanes to upstreams side by side: answers made from a seed, cut at random, must be the same to both; broken ones
// may be an error to the fast lane only, never an answer that undici refuses. Then a soak: requests while connections die
// under them, every one of which must end exactly once, with its own answer or with an error that says the truth.

import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { createServer, type Socket } from 'node:net'
import { test } from 'node:test'
import { LANES, laneTest, listen, OPTIONS, type Outcome, POST, send } from '../fakes/links.ts'
import { createRandom, type Random } from './random.ts'

interface Scripted {
  readonly pieces: readonly Buffer[]
  readonly end: 'keep' | 'end' | 'reset'
}

const NAMES = ['Content-Type', 'X-A', 'x-a', 'ETag', 'Date', 'mcp-session-id', 'X_y', '__proto__', 'Keep-Alive', 'Vary']
const VALUES = [
  '',
  'a',
  'application/json',
  '"x", y;z=1',
  '  padded\t',
  '\xe9\xff',
  'timeout=5',
  'a\tb',
  'x'.repeat(300),
]

/** A legal answer and whether only the end of the connection ends it. */
function legalAnswer(random: Random): { text: string; untilEnd: boolean } {
  const body = String.fromCharCode(...Array.from({ length: random.pick([0, 1, 2, 50, 3_000]) }, () => random.int(256)))
  const status = random.pick([200, 200, 200, 201, 202, 204, 304, 400, 404, 429, 500, 599])
  const isEmpty = status === 204 || status === 304
  let head = `HTTP/1.1 ${status} ${random.pick(['OK', '', 'Not \xe9 bad'])}\r\n`
  for (let count = random.int(5); count > 0; count -= 1) {
    head += `${random.pick(NAMES)}:${random.pick(['', ' ', '\t '])}${random.pick(VALUES)}\r\n`
  }
  if (random.chance(0.1)) head += 'Connection: close\r\n'
  const hints = random.chance(0.1) ? 'HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n' : ''
  const kind = isEmpty ? 'empty' : random.pick(['sized', 'sized', 'chunks', 'chunks', 'end', 'old', 'old end'])
  if (kind.startsWith('old')) head = head.replace('HTTP/1.1', 'HTTP/1.0')
  if (kind === 'empty') return { text: `${hints}${head}\r\n`, untilEnd: false }
  if (kind.endsWith('end')) return { text: `${hints}${head}\r\n${body}`, untilEnd: true }
  if (kind !== 'chunks')
    return { text: `${hints}${head}content-length: ${body.length}\r\n\r\n${body}`, untilEnd: false }
  let text = `${hints}${head}${random.pick(['Transfer-Encoding: chunked', 'transfer-encoding:Chunked'])}\r\n\r\n`
  for (let at = 0; at < body.length; ) {
    const size = 1 + random.int(Math.min(body.length - at, 700))
    const digits = random.chance(0.2) ? `0${size.toString(16).toUpperCase()}` : size.toString(16)
    text += `${digits}${random.chance(0.1) ? ';a=b' : ''}\r\n${body.slice(at, at + size)}\r\n`
    at += size
  }
  return { text: `${text}0\r\n${random.chance(0.1) ? 'X-Trailer: t\r\n' : ''}\r\n`, untilEnd: false }
}

function cut(random: Random, text: string): Buffer[] {
  const bytes = Buffer.from(text, 'latin1')
  const pieces: Buffer[] = []
  const longest = random.pick([3, 40, 600, 5_000])
  for (let at = 0; at < bytes.length && pieces.length < 300; ) {
    const size = pieces.length === 299 ? bytes.length : 1 + random.int(longest)
    pieces.push(bytes.subarray(at, at + size))
    at += size
  }
  return pieces
}

/** Whole in two cases of three, else broken off somewhere. */
function legalCase(random: Random): Scripted {
  const { text, untilEnd } = legalAnswer(random)
  if (random.chance(0.67)) return { pieces: cut(random, text), end: untilEnd ? 'end' : 'keep' }
  // undici takes a reset for the end of a body without a length; to the fast lane such a body is broken off.
  const end = untilEnd ? 'end' : random.pick(['end', 'reset'] as const)
  return { pieces: cut(random, text.slice(0, random.int(text.length))), end }
}

const BENT = [
  '\r',
  '\n',
  '\r\n',
  '\0',
  ' ',
  '\t',
  ':',
  '0',
  'f',
  ';',
  ',',
  '-',
  '\r\n ',
  'content-length: 1\r\n',
  '\xff',
]

function bentCase(random: Random): Scripted {
  let { text } = legalAnswer(random)
  for (let count = 1 + random.int(2); count > 0; count -= 1) {
    const at = random.int(Math.min(text.length, 400))
    text = text.slice(0, at) + random.pick(['', ...BENT]) + text.slice(at + random.int(3))
  }
  // undici miscounts a body whose length has blanks behind it, which are legal.
  return { pieces: cut(random, text.replace(/(content-length: \d+)[\t ]+\r/i, '$1\r')), end: 'end' }
}

/** Plays the case whose number stands in the path. */
async function play(socket: Socket, { pieces, end }: Scripted): Promise<void> {
  for (const piece of pieces) {
    if (socket.destroyed) return
    socket.write(piece)
    await new Promise((resolve) => setImmediate(resolve))
  }
  if (end === 'end') socket.end()
  else if (end === 'reset') socket.resetAndDestroy()
}

const CASES = 300

async function outcomes(seed: number, make: (random: Random) => Scripted, t: Parameters<typeof listen>[0]) {
  const cases = Array.from({ length: CASES }, (_, at) => make(createRandom(seed + at)))
  const sockets = new Set<Socket>()
  const server = createServer({ noDelay: true }, (socket) => {
    sockets.add(socket)
    socket.on('close', () => sockets.delete(socket))
    socket.on('error', () => {})
    socket.on('data', (bytes) => void play(socket, cases[Number(/\/(\d+) /.exec(String(bytes))![1])]!))
  })
  const port = await listen(t, server)
  const results: Outcome[][] = []
  for (const [, createLink] of LANES) {
    const link = createLink(new URL(`http://127.0.0.1:${port}`), OPTIONS)
    const run = (at: number): Promise<Outcome> => send(link, { path: `/${at}`, headMs: 60_000 }, { encoding: 'latin1' })
    results.push(await Promise.all(cases.map((_, at) => run(at))))
    assert.equal(link.inFlight, 0)
    await link.close(0)
  }
  for (const socket of sockets) socket.destroy()
  return cases.map((scripted, at) => ({
    name: `seed ${seed + at}: ${JSON.stringify(Buffer.concat(scripted.pieces).toString('latin1').slice(0, 600))}`,
    undici: comparable(results[0]![at]!),
    fast: comparable(results[1]![at]!),
  }))
}

/** Errors are all one: the lanes need not blame the same thing. undici leaves tabs behind values. */
function comparable(outcome: Outcome): unknown {
  if ('error' in outcome) return 'error'
  const { status, body } = outcome
  const headers = Object.entries(outcome.headers).map(([name, value]) => [name, value!.replace(/[\t ]+$/, '')])
  return { status, headers, bytes: body.length, hash: createHash('sha1').update(body, 'latin1').digest('hex') }
}

test('legal answers are the same to both lanes, whole or broken off', async (t) => {
  const all = await outcomes(1_000, legalCase, t)
  for (const { name, undici, fast } of all) assert.deepEqual(fast, undici, name)
  assert.ok(all.filter(({ fast }) => fast !== 'error').length > CASES / 2)
  assert.ok(all.filter(({ fast }) => fast === 'error').length > CASES / 10)
})

test('of bent answers the fast lane takes none that undici refuses, and none in another way', async (t) => {
  const all = await outcomes(50_000, bentCase, t)
  for (const { name, undici, fast } of all) if (fast !== 'error') assert.deepEqual(fast, undici, name)
  assert.ok(all.filter(({ fast }) => fast === 'error').length > CASES / 4)
})

// --- soak -------------------------------------------------------------------------------------------------------------

const answerOf = (id: number): string => `answer ${id} ${'.'.repeat((id * 37) % 3_000)}`

/** Answers request `id` by one of many manners, some of them deadly. */
function misbehave(socket: Socket, id: number, random: Random, others: ReadonlySet<Socket>): void {
  const text = answerOf(id)
  const sized = `HTTP/1.1 200 OK\r\ncontent-length: ${text.length}\r\n\r\n${text}`
  const half = (whole: string): string => whole.slice(0, random.int(whole.length))
  const size = text.length.toString(16)
  const chunks = `HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n${size}\r\n${text}\r\n0\r\n\r\n`
  switch (random.int(14)) {
    case 0:
      socket.destroy()
      break
    case 1:
      socket.resetAndDestroy()
      break
    case 2:
      socket.end(half(sized))
      break
    case 3:
      socket.end(half(chunks))
      break
    case 4:
      socket.end(sized)
      break
    case 5:
      socket.end(`HTTP/1.1 200 OK\r\n\r\n${text}`)
      break
    case 6:
      socket.write(`${sized}HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil`)
      break
    case 7:
      socket.write(sized)
      random.pick([...others]).destroy()
      break
    case 8:
      socket.write('220 smtp.example ready\r\n')
      break
    case 9:
      setTimeout(() => socket.write(sized), random.int(10))
      break
    case 10:
      socket.write(sized)
      setTimeout(() => socket.destroy(), random.int(5))
      break
    default:
      void play(socket, { pieces: cut(random, random.pick([sized, chunks])), end: 'keep' })
  }
}

const REQUESTS = 3_000

laneTest('every request ends once, with its own answer or with a true error', async (t, createLink) => {
  const random = createRandom(7)
  const sockets = new Set<Socket>()
  const seen = new Map<number, number>()
  const server = createServer({ noDelay: true }, (socket) => {
    sockets.add(socket)
    socket.on('close', () => sockets.delete(socket))
    socket.on('error', () => {})
    let received = ''
    socket.on('data', (bytes) => {
      received += bytes
      const request = /^POST \/(\d+) .*?\r\n\r\n\{\}/s.exec(received)
      if (request === null) return
      received = received.slice(request[0].length)
      assert.equal(received, '', 'two requests on one connection')
      const id = Number(request[1])
      seen.set(id, (seen.get(id) ?? 0) + 1)
      misbehave(socket, id, random, sockets)
    })
  })
  const port = await listen(t, server)
  const link = createLink(new URL(`http://127.0.0.1:${port}`), { ...OPTIONS, connectionsMax: 24 })
  const counts = { answered: 0, failed: 0, unsent: 0, aborted: 0 }

  const run = (id: number): Promise<void> =>
    new Promise((resolve, reject) => {
      const chunks: Buffer[] = []
      const abortAt = random.chance(0.1) ? random.pick(['at once', 'soon', 'head', 'data']) : ''
      let isOver = false
      const over = (kind: keyof typeof counts): void => {
        if (isOver) reject(new Error(`request ${id} ended twice, the second time ${kind}`))
        isOver = true
        counts[kind] += 1
        // Late, so that a second end would be seen.
        setTimeout(resolve, 5)
      }
      const abort = (): void => {
        if (isOver) return
        sending.abort()
        over('aborted')
      }
      const sending = link.request(
        { ...POST, path: `/${id}`, headMs: 30_000 },
        {
          onHead: (status) => {
            if (isOver || status !== 200) reject(new Error(`request ${id}: a head`))
            if (abortAt === 'head') abort()
          },
          onData: (chunk) => {
            if (isOver) reject(new Error(`request ${id}: data behind its end`))
            chunks.push(chunk)
            if (abortAt === 'data') abort()
          },
          onEnd: () => {
            const body = Buffer.concat(chunks).toString()
            if (body !== answerOf(id)) reject(new Error(`request ${id} got ${body.slice(0, 40)}`))
            over('answered')
          },
          onError: (error, sent) => {
            if (!sent && seen.has(id)) reject(new Error(`request ${id} was sent after all: ${error.message}`))
            if (error.code === 'TIMEOUT') reject(error)
            over(sent ? 'failed' : 'unsent')
          },
        },
      )
      if (abortAt === 'at once') abort()
      else if (abortAt === 'soon') setTimeout(abort, random.int(10))
    })

  let next = 0
  const worker = async (): Promise<void> => {
    while (next < REQUESTS) {
      next += 1
      await run(next)
    }
  }
  await Promise.all(Array.from({ length: 48 }, worker))
  assert.equal(link.inFlight, 0)
  assert.deepEqual(
    [...seen].filter(([, times]) => times > 1),
    [],
    'sent twice',
  )
  assert.equal(counts.answered + counts.failed + counts.unsent + counts.aborted, REQUESTS)
  assert.ok(counts.answered > REQUESTS / 3 && counts.failed > REQUESTS / 10, JSON.stringify(counts))
  await link.close(0)
  for (const socket of sockets) socket.destroy()
})
