import assert from 'node:assert/strict'
import { test } from 'node:test'
import { createFakeClock } from '../../test/fakes/clock.ts'
import type { Session } from '../core/call.ts'
import { LIMITS } from '../core/limits.ts'
import type { Caller } from '../core/policy.ts'
import type { EventStream, Exchange } from '../http/exchange.ts'
import { Listeners } from './listeners.ts'

const CALLER: Caller = { id: 'c', issuer: 'i', subject: 's', name: 'n', rights: ['use'], expiresMs: null }
const QUIET_TICKS = 3

class FakeStream implements EventStream {
  onDrain: (() => void) | null = null
  readonly bufferedBytes = 0
  written: string[] = []
  isFull = false
  state: 'open' | 'ended' | 'destroyed' = 'open'

  write(chunk: Buffer | string): boolean {
    this.written.push(chunk.toString())
    return !this.isFull
  }

  end(): void {
    this.state = 'ended'
  }

  destroy(): void {
    this.state = 'destroyed'
  }

  drain(): void {
    this.isFull = false
    this.onDrain?.()
  }
}

function start(caller: Caller = CALLER): {
  listeners: Listeners
  stream: FakeStream
  clock: ReturnType<typeof createFakeClock>
} {
  const clock = createFakeClock()
  const listeners = new Listeners({
    ...{ clock, limits: LIMITS, unwatch: () => {}, authenticate: () => caller },
    marksOf: () => ['aa', 'bb', 'cc'],
  })
  const stream = new FakeStream()
  const exchange: Pick<Exchange, 'stream' | 'onAbort' | 'headers'> = {
    headers: {},
    stream: () => stream,
    onAbort: () => {},
  }
  const client = { name: '', version: '', asks: 0, capabilities: null }
  const session: Session = {
    id: 'x',
    key: 'k',
    callerId: 'c',
    scope: '',
    revision: '2025-11-25',
    client,
    expiresMs: clock.now() + 1_000_000,
  }
  listeners.open(session, caller, exchange as Exchange)
  return { listeners, stream, clock }
}

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(() => setImmediate(resolve)))

test('what a slow reader misses is kept as flags and told once when it reads again', async () => {
  const { listeners, stream } = start()
  stream.isFull = true
  listeners.announce(() => ['tools'])
  await turn()
  assert.equal(stream.written.length, 2)
  for (let times = 0; times < 1_000; times += 1) listeners.announce(() => ['prompts', 'tools'])
  await turn()
  for (let tick = 0; tick < QUIET_TICKS; tick += 1) listeners.tick(QUIET_TICKS)
  assert.equal(stream.written.length, 2)
  stream.drain()
  await turn()
  assert.equal(stream.written.length, 3)
  assert.equal(stream.written[2]!.match(/list_changed/g)!.length, 2)
})

test('a reader that never reads again is dropped', async () => {
  const { listeners, stream } = start()
  stream.isFull = true
  listeners.announce(() => ['tools'])
  await turn()
  for (let tick = 1; tick < QUIET_TICKS * 4; tick += 1) listeners.tick(QUIET_TICKS)
  assert.equal(stream.state, 'open')
  listeners.tick(QUIET_TICKS)
  assert.equal(stream.state, 'destroyed')
  assert.equal(listeners.size, 0)
})

test('a stream ends when its caller does', () => {
  const { listeners, stream, clock } = start({ ...CALLER, expiresMs: createFakeClock().now() + 500 })
  listeners.tick(QUIET_TICKS)
  assert.equal(stream.state, 'open')
  clock.forward(500)
  listeners.tick(QUIET_TICKS)
  assert.equal(stream.state, 'ended')
})

test('a stream of a token that is now another caller’s ends', async () => {
  const { listeners, stream } = start({ ...CALLER, id: 'other' })
  await listeners.check()
  assert.equal(stream.state, 'ended')
})
