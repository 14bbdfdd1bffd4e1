import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, statSync } from 'node:fs'
import { connect, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { setImmediate as turn, setTimeout as wait } from 'node:timers/promises'
import { until } from '../../test/fakes/processes.ts'
import { GatewayError } from '../core/errors.ts'
import { LIMITS, type Limits } from '../core/limits.ts'
import type { Channel, Children } from '../ports/children.ts'
import { SILENT } from '../ports/log.ts'
import { childSocketPath, createChildConnector, createChildServer } from './children-socket.ts'

const directory = mkdtempSync(join(tmpdir(), 'links-'))
const closers: (() => Promise<void> | void)[] = []
after(async () => {
  for (const close of closers.reverse()) await close()
  rmSync(directory, { recursive: true })
})

/** A channel whose other end is the test. */
interface FakeChannel extends Channel {
  readonly got: Buffer[]
  full: boolean
  pauses: number
  paused: boolean
  closed: boolean
}

function fakeChannel(n: number): FakeChannel {
  return {
    n,
    got: [],
    full: false,
    pauses: 0,
    paused: false,
    closed: false,
    onLine: null,
    onRefused: null,
    onDrain: null,
    onClose: null,
    send(line) {
      this.got.push(Buffer.from(line))
      return !this.full
    },
    pause() {
      this.paused = true
      this.pauses += 1
    },
    resume() {
      this.paused = false
    },
    close() {
      this.closed = true
    },
  }
}

let paths = 0
async function setUp(given: Partial<Limits> = {}) {
  const limits = { ...LIMITS, ...given }
  paths += 1
  const path = join(directory, `run${paths}`, 'children.sock')
  const channels: FakeChannel[] = []
  const children: Pick<Children, 'connect'> = {
    connect(childId) {
      if (childId === 'gone') return Promise.reject(new GatewayError('UPSTREAM_UNAVAILABLE', 'It exited with code 1'))
      if (childId === 'broken') return Promise.reject(new Error('secret detail'))
      if (childId === 'never') return new Promise(() => {})
      const channel = fakeChannel(channels.length + 5)
      channel.full = childId === 'deaf'
      channels.push(channel)
      return Promise.resolve(channel)
    },
  }
  const server = createChildServer({ children: children as Children, path, limits, log: SILENT })
  await server.listen()
  closers.push(() => server.close())
  const connector = createChildConnector({ path, limits })
  closers.push(() => connector.close())
  const open = async () => {
    const channel = await connector.connect('child')
    const lines: Buffer[] = []
    const events: string[] = []
    channel.onLine = (line) => lines.push(Buffer.from(line))
    channel.onClose = (why) => events.push(`close: ${why}`)
    channel.onDrain = () => events.push('drain')
    return { channel, lines, events, far: channels.find((one) => one.n === channel.n)! }
  }
  return { path, limits, channels, server, connector, open }
}

async function refusal(promise: Promise<unknown>): Promise<string> {
  const error = await promise.then(
    () => assert.fail('it was not refused'),
    (fault: unknown) => fault,
  )
  assert.ok(error instanceof GatewayError)
  return `${error.code} ${error.message}`
}

const json = (bytes: number, mark = 'x'): Buffer => Buffer.from(JSON.stringify({ mark, text: 'x'.repeat(bytes) }))

test('lines of every size go both ways, in order', async () => {
  const { open } = await setUp()
  const { channel, lines, far } = await open()
  assert.equal(channel.n, 5)
  // Around the sizes of a frame and of the window.
  const sizes = [1, 100, 65_500, 65_536, 65_537, 1_048_576, 5_000_000, 2, 1_048_567, 3]
  const sent = sizes.map((size, index) => json(size, String(index)))
  for (const line of sent) channel.send(line)
  await until('the lines at the child', () => far.got.length === sent.length)
  assert.deepEqual(far.got, sent)
  for (const line of sent) far.onLine!(line)
  await until('the lines at the worker', () => lines.length === sent.length)
  assert.deepEqual(lines, sent)
})

test('many links share a connection and hear only their own', async () => {
  const { open } = await setUp()
  const links = await Promise.all(Array.from({ length: 20 }, async () => await open()))
  const numbers = links.map((link) => link.channel.n)
  assert.equal(new Set(numbers).size, 20)
  for (let round = 0; round < 50; round += 1) {
    for (const { channel } of links) channel.send(Buffer.from(`{"n":${channel.n},"round":${round}}`))
  }
  await until('all', () => links.every(({ far }) => far.got.length === 50))
  for (const { far } of links) {
    assert.deepEqual(
      far.got.map((line) => line.toString()),
      Array.from({ length: 50 }, (_, round) => `{"n":${far.n},"round":${round}}`),
    )
  }
})

test('a child that does not read stops its own link only, and its sender hears of the drain', async () => {
  const { open } = await setUp()
  const [slow, quick] = [await open(), await open()]
  slow.far.full = true
  let took = true
  for (let count = 0; count < 100 && took; count += 1) took = slow.channel.send(json(100_000))
  assert.equal(took, false)
  await until('the first lines', () => slow.far.got.length > 1)
  quick.channel.send(json(10))
  await until('the other link', () => quick.far.got.length === 1)
  for (let count = 0; count < 50; count += 1) slow.channel.send(json(100_000))
  quick.channel.send(json(10))
  await until('the other link again', () => quick.far.got.length === 2)
  // No more than the window came through before the child had room.
  const bytes = slow.far.got.reduce((sum, line) => sum + line.length, 0)
  assert.ok(bytes <= LIMITS.linkWindowBytes, `${bytes} bytes`)
  slow.events.length = 0
  slow.far.full = false
  slow.far.onDrain!()
  await until('the drain', () => slow.events.includes('drain'))
})

test('a link whose child never reads closes at its bound', async () => {
  const { open } = await setUp({ childQueueBytes: 1_000_000 })
  const { channel, far, events } = await open()
  far.full = true
  for (let count = 0; count < 100 && events.length === 0; count += 1) channel.send(json(100_000))
  assert.deepEqual(events, ['close: the process does not read its input'])
  assert.equal(channel.send(json(1)), false)
  await until('the close at the primary', () => far.closed)
})

test('a long line leaves turns to other links', async () => {
  const { open } = await setUp()
  const [long, short] = [await open(), await open()]
  const order: string[] = []
  long.channel.onLine = () => order.push('long')
  short.channel.onLine = () => order.push('short')
  await turn()
  long.far.onLine!(json(20_000_000))
  short.far.onLine!(json(10))
  await until('both', () => order.length === 2)
  assert.deepEqual(order, ['short', 'long'])
})

test('a child that talks faster than the worker listens is paused and goes on', async () => {
  const { open } = await setUp()
  const { lines, far } = await open()
  for (let count = 0; count < 40; count += 1) far.onLine!(json(100_000))
  assert.equal(far.pauses, 1)
  assert.equal(far.paused, true)
  await until('all lines', () => lines.length === 40)
  assert.equal(far.paused, false)
})

test('last words arrive before the close', async () => {
  const { open } = await setUp()
  const { lines, events, far } = await open()
  for (let count = 0; count < 30; count += 1) far.onLine!(json(100_000))
  far.onClose!('The process exited with code 0')
  await until('the close', () => events.length === 1)
  assert.equal(lines.length, 30)
  assert.deepEqual(events, ['close: The process exited with code 0'])
})

test('a request that fails on its own is said of it alone', async () => {
  const { open } = await setUp()
  const { channel, far, lines, events } = await open()
  const refused: unknown[] = []
  channel.onRefused = (...one) => refused.push(one)
  channel.send(json(10))
  await until('the line', () => far.got.length === 1)
  far.onRefused?.('"5.1"', 'UPSTREAM_REFUSED', 'it answered HTTP 401: 2 words\nand a line')
  far.onRefused?.('"5.2"', 'UPSTREAM_BUSY', 'x'.repeat(100_000))
  far.onLine?.(json(1))
  await until('all of it', () => refused.length === 2 && lines.length === 1)
  assert.deepEqual(refused[0], ['"5.1"', 'UPSTREAM_REFUSED', 'it answered HTTP 401: 2 words\nand a line'])
  assert.deepEqual((refused[1] as unknown[]).slice(0, 2), ['"5.2"', 'UPSTREAM_BUSY'])
  assert.deepEqual(events, [])
})

test('refusals come with their code, and faults of our own without their detail', async () => {
  const { connector } = await setUp({ connectMs: 200 })
  assert.equal(await refusal(connector.connect('gone')), 'UPSTREAM_UNAVAILABLE It exited with code 1')
  assert.equal(await refusal(connector.connect('broken')), 'INTERNAL A fault of the gateway')
  assert.match(await refusal(connector.connect('never')), /^UPSTREAM_UNAVAILABLE .*in time/)
  await connector.connect('child')
})

test('the number of links is bounded', async () => {
  const { connector, open } = await setUp({ linksMax: 2 })
  const { channel } = await open()
  await open()
  assert.match(await refusal(connector.connect('child')), /^UPSTREAM_BUSY/)
  channel.close()
  await open()
})

test('closing a channel closes the one at the primary, without an onClose here', async () => {
  const { open } = await setUp()
  const { channel, events, far } = await open()
  channel.close()
  channel.close()
  await until('the close', () => far.closed)
  assert.deepEqual(events, [])
  assert.equal(channel.send(json(1)), false)
})

test('when the connection breaks every channel closes, and the next connect makes a new one', async () => {
  const { open, server } = await setUp()
  const links = [await open(), await open()]
  await server.close()
  await until('the closes', () => links.every((link) => link.events.length === 1))
  assert.match(links[0]!.events[0]!, /broke/)
  await server.listen()
  const again = await open()
  again.channel.send(json(1))
  await until('a line', () => again.far.got.length === 1)
  closers.push(() => server.close())
})

test('a primary that is not there is said in time', async () => {
  const connector = createChildConnector({ path: join(directory, 'nobody'), limits: LIMITS })
  assert.match(await refusal(connector.connect('child')), /^UPSTREAM_UNAVAILABLE The primary does not answer/)
  connector.close()
  assert.match(await refusal(connector.connect('child')), /^SHUTTING_DOWN/)
})

// --- an intruder, or a fault of ours

function frame(type: number, link: number, payload: Buffer | number): Buffer {
  const head = Buffer.alloc(9)
  head[0] = type
  head.writeUInt32BE(link, 1)
  head.writeUInt32BE(typeof payload === 'number' ? payload : payload.length, 5)
  return typeof payload === 'number' ? head : Buffer.concat([head, payload])
}

const credit = (bytes: number): Buffer => {
  const payload = Buffer.alloc(4)
  payload.writeUInt32BE(bytes)
  return payload
}
const opened = frame(1, 1, Buffer.from('deaf'))

const HOSTILE: [string, Buffer[]][] = [
  ['a frame over its bound', [frame(5, 1, 0xffff_ffff)]],
  ['a frame just over its bound', [frame(5, 1, LIMITS.linkFrameBytes + 1)]],
  ['an unknown type', [frame(0, 1, Buffer.alloc(0))]],
  ['another unknown type', [frame(99, 1, Buffer.alloc(0))]],
  ['a child id without end', [frame(1, 1, Buffer.alloc(257))]],
  ['the same link twice', [opened, opened]],
  ['an answer from the asking side', [frame(2, 1, credit(1))]],
  ['lines before the link is open', [frame(1, 1, Buffer.from('never')), frame(5, 1, Buffer.alloc(10))]],
  ['more lines than credit', [opened, ...Array(20).fill(frame(5, 1, Buffer.alloc(LIMITS.linkFrameBytes)))]],
  ['credit of the wrong size', [opened, frame(6, 1, Buffer.alloc(3))]],
  ['more credit than there is', [opened, frame(6, 1, credit(LIMITS.linkWindowBytes + 1))]],
  ['crumbs', [opened, frame(4, 1, Buffer.alloc(1))]],
]
for (const [name, frames] of HOSTILE) {
  test(`hostile: ${name}`, async () => {
    const { path, open, channels } = await setUp()
    const good = await open()
    const socket: Socket = connect(path)
    let closed = false
    socket.on('error', () => {})
    socket.on('close', () => {
      closed = true
    })
    socket.resume()
    for (const bytes of frames) {
      socket.write(bytes)
      await wait(5)
    }
    await until('the end of the connection', () => closed)
    for (const channel of channels.slice(1)) assert.equal(channel.closed, true)
    good.channel.send(json(1))
    await until('the good one', () => good.far.got.length === 1)
  })
}

test('a line that never ends closes its link', async () => {
  const { path, channels } = await setUp({ childLineBytes: 100_000 })
  const socket = connect(path)
  closers.push(() => void socket.destroy())
  const got: Buffer[] = []
  socket.on('data', (chunk: Buffer) => got.push(chunk))
  socket.write(opened)
  await until('the channel', () => channels.length === 1)
  await turn()
  for (let count = 0; count < 3; count += 1) socket.write(frame(4, 1, Buffer.alloc(40_000)))
  await until('the close', () => Buffer.concat(got).includes('a line of more than 100000 bytes'))
  assert.equal(channels[0]!.closed, true)
  assert.equal(channels[0]!.got.length, 0)
})

test('frames in single bytes are frames', async () => {
  const { path, channels } = await setUp()
  const socket = connect(path)
  closers.push(() => void socket.destroy())
  socket.setNoDelay(true)
  for (const byte of Buffer.concat([opened, frame(5, 1, Buffer.from('{"a":1}'))])) {
    socket.write(Buffer.of(byte))
    await turn()
  }
  await until('the line', () => channels[0]?.got.length === 1)
  assert.equal(channels[0]!.got[0]!.toString(), '{"a":1}')
})

test('a worker that takes nothing loses its link, so that the child goes on', async () => {
  const { path, channels } = await setUp({ linkStallMs: 100 })
  const socket = connect(path)
  closers.push(() => void socket.destroy())
  socket.write(opened)
  await until('the channel', () => channels.length === 1)
  await turn()
  const channel = channels[0]!
  while (channel.pauses === 0) channel.onLine!(json(100_000))
  assert.equal(channel.closed, false)
  await until('the close', () => channel.closed)
})

test('the socket and its directory are for this user only', async () => {
  const { path } = await setUp()
  assert.equal(statSync(path).mode & 0o777, 0o600)
  assert.equal(statSync(join(path, '..')).mode & 0o777, 0o700)
})

test('a run directory with a long path has its socket elsewhere', () => {
  assert.equal(childSocketPath('/data/run', '/tmp'), '/data/run/children.sock')
  const long = `/${'long/'.repeat(30)}run`
  const path = childSocketPath(long, '/tmp')
  assert.match(path, /^\/tmp\/mcp-gateway-[0-9a-f]{24}\/children\.sock$/)
  assert.equal(path, childSocketPath(long, '/tmp'))
  assert.notEqual(path, childSocketPath(`${long}2`, '/tmp'))
})
