// Streams that break and are resumed, over the hop between two workers: what is said, to whom, and what is kept.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setImmediate as turn } from 'node:timers/promises'
import { createFakeClock } from '../../test/fakes/clock.ts'
import { createMessagePair } from '../../test/fakes/messages.ts'
import { createHopRelay, createWorkerHop } from '../adapters/hop-workers.ts'
import type { Session } from '../core/call.ts'
import { LIMITS, type Limits } from '../core/limits.ts'
import type { Revision } from '../core/model.ts'
import type { EventStream, Exchange } from '../http/exchange.ts'
import { createSealer } from '../mcp/seal.ts'
import { SILENT } from '../ports/log.ts'
import { Replay } from './replay.ts'

const sealer = createSealer([{ id: 1, key: Buffer.alloc(32, 1) }])
const clock = createFakeClock()

function sessionOf(key: string, revision: Revision = '2025-06-18', callerId = 'a'.repeat(32)): Session {
  const client = { name: 'c', version: '1', asks: 0, capabilities: null }
  return { id: key, key: key.repeat(32), callerId, scope: '', revision, client, expiresMs: clock.now() + 1e9 }
}
const SESSION = sessionOf('1')

/** A connection of a client: what it was sent, and its going away. */
class Client {
  text = ''
  status = 0
  isFull = false
  isOver = false
  buffered = 0
  abort: () => void = () => {}
  stream: EventStream | null = null
  readonly exchange: Exchange

  constructor() {
    this.exchange = {
      stream: (status: number) => {
        this.status = status
        this.stream = {
          write: (chunk) => {
            this.text += chunk.toString()
            return !this.isFull
          },
          onDrain: null,
          end: () => {
            this.isOver = true
          },
          destroy: () => this.goAway(),
          bufferedBytes: this.buffered,
        }
        return this.stream
      },
      reply: (status: number) => {
        this.status = status
        this.isOver = true
      },
      onAbort: (listener: () => void) => {
        this.abort = listener
      },
    } as unknown as Exchange
  }

  goAway(): void {
    this.isOver = true
    this.abort()
  }

  get data(): string[] {
    return [...this.text.matchAll(/^data: (.+)$/gm)].map(([, data]) => data!)
  }

  get ids(): string[] {
    return [...this.text.matchAll(/^id: (.+)$/gm)].map(([, id]) => id!)
  }
}

function setUp(limits: Partial<Limits> = {}) {
  const relay = createHopRelay()
  const start = (worker: number) => {
    const pair = createMessagePair()
    relay.attach(pair.primary, worker)
    const here = { worker, boot: worker }
    const hop = createWorkerHop({ here, messages: pair.worker, limits: LIMITS, log: SILENT })
    const replay = new Replay({ sealer, hop, clock, limits: { ...LIMITS, ...limits } })
    return { replay, pair }
  }
  const [owner, other] = [start(1), start(2)]
  const call = (id = '7', session = SESSION) => {
    const client = new Client()
    const stream = owner.replay.open(session, Buffer.from(id), client.exchange)
    return { client, stream, say: (text: string) => stream.say(Buffer.from(JSON.stringify(text)), null) }
  }
  const resume = (at: { replay: Replay }, id: string, session = SESSION) => {
    const client = new Client()
    const done = at.replay.resume(session, client.exchange, id)
    done.catch(() => {})
    return { client, done }
  }
  return { owner, other, call, resume }
}

const settle = async (): Promise<void> => {
  for (let times = 0; times < 20; times += 1) await turn()
}
const ANSWER = [Buffer.from('{"jsonrpc":"2.0","id":7,"result":{}}')]
const answerText = ANSWER[0]!.toString()

for (const where of ['owner', 'other'] as const) {
  test(`${where}: the rest comes once, in order, and then goes on until the answer`, async () => {
    const rig = setUp()
    const { client, stream, say } = rig.call()
    for (const text of ['1', '2', '3']) say(text)
    assert.deepEqual(client.data, ['"1"', '"2"', '"3"'])
    client.goAway()
    say('4')
    const again = rig.resume(rig[where], client.ids[1]!)
    await settle()
    assert.deepEqual([again.client.status, again.client.data], [200, ['"3"', '"4"']])
    say('5')
    await settle()
    stream.answer(ANSWER)
    await again.done
    assert.deepEqual(again.client.data, ['"3"', '"4"', '"5"', answerText])
    assert.equal(again.client.isOver, true)
    assert.doesNotMatch(again.client.text, /keep-alive\n\n|open\n\n/)
    // Who has seen the end gets no more, whoever is asked, and needs no owner for it.
    const last = again.client.ids.at(-1)!
    assert.match(last, /\.4\.end$|\.6\.end$|\.end$/)
    rig.owner.pair.close()
    const nothing = rig.resume(rig.other, last)
    await nothing.done
    assert.deepEqual([nothing.client.status, nothing.client.text], [204, ''])
  })

  test(`${where}: an answer that nobody heard is kept for its time, and no longer`, async () => {
    const rig = setUp()
    const { client, stream, say } = rig.call()
    say('1')
    client.goAway()
    stream.answer(ANSWER)
    assert.equal(rig.owner.replay.unread, 1)
    const again = rig.resume(rig[where], client.ids[0]!)
    await again.done
    assert.deepEqual(again.client.data, [answerText])
    assert.equal(rig.owner.replay.unread, 0)
    clock.forward(LIMITS.tapeMs + 1)
    rig.owner.replay.tick()
    assert.deepEqual([rig.owner.replay.size, rig.owner.replay.bytes], [0, 0])
    const late = rig.resume(rig[where], client.ids[0]!)
    await late.done
    // Not silence: the client's call is answered with an error, and that is the last event.
    const [error] = late.client.data.map((data) => JSON.parse(data) as { id: unknown; error: { data: unknown } })
    assert.deepEqual([error!.id, (error!.error.data as { code: string }).code], [7, 'OWNER_LOST'])
    assert.match(late.client.ids.at(-1)!, /\.end$/)
  })
}

test('the owner is gone: the call is answered with an error, also in the middle of a resumed stream', async () => {
  const rig = setUp()
  const { client, say } = rig.call('"seven"')
  say('1')
  const reading = rig.resume(rig.other, client.ids[0]!)
  await settle()
  say('2')
  await settle()
  rig.owner.pair.close()
  await reading.done
  const late = rig.resume(rig.other, client.ids[0]!)
  await late.done
  for (const { client: each } of [reading, late]) {
    const error = JSON.parse(each.data.at(-1)!) as { id: unknown; error: { data: { code: string } } }
    assert.deepEqual([error.id, error.error.data.code, each.isOver], ['seven', 'OWNER_LOST', true])
  }
  // An id too long to stand in every event: the refusal comes by status instead.
  const long = setUp()
  const { client: first, say: speak } = long.call(JSON.stringify('x'.repeat(200)))
  speak('1')
  long.owner.pair.close()
  await assert.rejects(long.resume(long.other, first.ids[0]!).done, { code: 'OWNER_LOST' })
})

test('an id is good for its session and caller alone', async () => {
  const rig = setUp()
  const { client, say } = rig.call()
  say('secret')
  const id = client.ids[0]!
  const [, name] = id.split('.')
  const cases: [string, Session][] = [
    [id, sessionOf('2')],
    [id, sessionOf('1', '2025-06-18', 'b'.repeat(32))],
    [`c.${name!.slice(0, -2)}AA.0`, SESSION],
    [`c.${name}.1x`, SESSION],
    [`c.${name}.01`, SESSION],
    [`c.${name}.-1`, SESSION],
    [`c.${name}.999`, SESSION],
    ['c.', SESSION],
    [`c.${'A'.repeat(600)}.0`, SESSION],
  ]
  for (const [text, session] of cases) {
    const { client: each, done } = rig.resume(rig.other, text, session)
    await assert.rejects(done, { code: 'INVALID_PARAMS' }, text)
    assert.equal(each.text, '')
  }
})

test('a new reader takes the place of the one before, a thousand times, and nothing piles up', async () => {
  const rig = setUp()
  const { client, stream, say } = rig.call()
  say('0')
  let last = client.ids[0]!
  let before = client
  const heard = [...client.data]
  for (let times = 1; times <= 1_000; times += 1) {
    const { client: next } = rig.resume(times % 2 === 0 ? rig.owner : rig.other, last)
    await settle()
    assert.equal(before.isOver, true)
    say(String(times))
    await settle()
    // Half of them break, the others are still there when the next one comes.
    if (times % 3 === 0) next.goAway()
    heard.push(...next.data)
    last = next.ids.at(-1)!
    before = next
  }
  assert.deepEqual(
    heard,
    [...Array(1_001).keys()].map((n) => JSON.stringify(String(n))),
  )
  assert.ok(rig.owner.replay.resumes + rig.other.replay.resumes <= 1)
  assert.ok(rig.owner.replay.bytes < 100 * 400)
  stream.answer(ANSWER)
  await settle()
  rig.owner.replay.end(SESSION.key)
  assert.deepEqual([rig.owner.replay.size, rig.owner.replay.bytes, rig.other.replay.resumes], [0, 0, 0])
})

test('tapeEvents: the oldest notifications go first, open questions and the answer stay', async () => {
  const rig = setUp({ tapeEvents: 5 })
  const { client, stream, say } = rig.call()
  say('seen')
  client.goAway()
  stream.say(Buffer.from('"question"'), '"q.1"')
  stream.say(Buffer.from('"answered"'), '"q.2"')
  for (let n = 0; n < 20; n += 1) say(String(n))
  stream.settled('"q.2"')
  stream.answer(ANSWER)
  const { client: again, done } = rig.resume(rig.other, client.ids[0]!)
  await done
  assert.deepEqual(again.data, ['"question"', '"17"', '"18"', '"19"', answerText])
})

test('tapeBytes and tapesBytes: of an answer without room the fact is kept, and who waits longest for nothing goes', async () => {
  const rig = setUp({ tapeBytes: 2_000, tapesBytes: 3_000 })
  const large = rig.call()
  large.say('1')
  large.client.goAway()
  large.stream.answer([Buffer.from(`{"jsonrpc":"2.0","id":7,"result":{"x":"${'y'.repeat(3_000)}"}}`)])
  const { client, done } = rig.resume(rig.owner, large.client.ids[0]!)
  await done
  assert.equal((JSON.parse(client.data[0]!) as { error: { data: { code: string } } }).error.data.code, 'OWNER_LOST')
  const calls = [rig.call(), rig.call(), rig.call()]
  for (const { stream } of calls) stream.answer([Buffer.from(`{"id":7,"x":"${'y'.repeat(1_000)}"}`)])
  assert.ok(rig.owner.replay.bytes <= 3_000)
  assert.equal(rig.owner.replay.size, 2)
})

test('tapesMax and resumesMax: past them streams cannot be resumed, but work', async () => {
  const rig = setUp({ tapesMax: 1, resumesMax: 1 })
  const one = rig.call()
  const two = rig.call()
  one.say('1')
  two.say('1')
  assert.deepEqual([one.client.ids.length, two.client.ids.length, two.client.data], [1, 0, ['"1"']])
  rig.resume(rig.other, one.client.ids[0]!)
  await settle()
  await assert.rejects(rig.resume(rig.other, one.client.ids[0]!).done, { code: 'OVERLOADED' })
})

test('a slow reader is waited for, and dropped when it never reads; the call goes on', async () => {
  const rig = setUp({ keepAliveCommentMs: 10 })
  const { client, say } = rig.call()
  say('1')
  client.goAway()
  say('2')
  const slow = new Client()
  slow.isFull = true
  const done = rig.other.replay.resume(SESSION, slow.exchange, client.ids[0]!)
  await settle()
  say('3')
  await settle()
  assert.deepEqual(slow.data, ['"2"'])
  slow.isFull = false
  slow.stream!.onDrain?.()
  await settle()
  assert.deepEqual(slow.data, ['"2"', '"3"'])
  slow.isFull = true
  say('4')
  await done
  assert.equal(slow.isOver, true)
  // The first connection, too, loses its place when it leaves too much unread.
  const lazy = new Client()
  lazy.buffered = LIMITS.streamBufferBytes + 1
  const stream = rig.owner.replay.open(SESSION, Buffer.from('8'), lazy.exchange)
  stream.say(Buffer.from('"1"'), null)
  assert.equal(lazy.isOver, true)
  stream.say(Buffer.from('"2"'), null)
  const { client: again } = rig.resume(rig.owner, lazy.ids[0]!)
  await settle()
  assert.deepEqual(again.data, ['"2"'])
})

test('2025-11-25 begins with an event without data, older revisions do not', () => {
  const rig = setUp()
  const { client } = rig.call('7', sessionOf('1', '2025-11-25'))
  assert.match(client.text, /^id: c\.[\w-]+\.0\ndata:\n\n$/)
  assert.equal(rig.call().client.text, '')
})

test('the session is over: who still hears is answered, and nothing is kept', async () => {
  const rig = setUp()
  const over = rig.call()
  over.stream.answer(ANSWER)
  const { client, stream, say } = rig.call()
  say('1')
  const { client: again, done } = rig.resume(rig.other, client.ids[0]!)
  await settle()
  rig.owner.replay.end(SESSION.key)
  assert.equal(rig.owner.replay.size, 1)
  stream.answer(ANSWER)
  await done
  assert.deepEqual([again.isOver, again.data], [true, [answerText]])
  assert.deepEqual([rig.owner.replay.size, rig.owner.replay.bytes], [0, 0])
})

test('the worker stops: a call that is cut off still says so to who hears it', () => {
  const rig = setUp()
  const { client, stream, say } = rig.call()
  const over = rig.call()
  over.stream.answer(ANSWER)
  say('1')
  rig.owner.replay.close()
  assert.equal(client.isOver, false)
  stream.answer(ANSWER)
  assert.deepEqual([client.data, client.isOver], [['"1"', answerText], true])
  assert.deepEqual([rig.owner.replay.size, rig.owner.replay.bytes], [0, 0])
})
