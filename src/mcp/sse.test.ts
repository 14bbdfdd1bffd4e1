// Server-sent events as the standard reads them, in any chunking; and our writer, whose events nobody can break out of.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import type { GatewayError } from '../core/errors.ts'
import { type SseEvent, SseReader, sseEvent } from './sse.ts'

function read(
  text: string | Buffer,
  cuts: readonly number[] = [],
  bytesMax = 1_000_000,
): { event: string; data: string; id: string | null }[] {
  const events: SseEvent[] = []
  const reader = new SseReader(bytesMax, (event) => events.push(event))
  const bytes = Buffer.from(text)
  let from = 0
  for (const cut of [...cuts.map((at) => at % (bytes.length + 1)).sort((a, b) => a - b), bytes.length]) {
    if (cut > from) reader.push(bytes.subarray(from, cut))
    from = Math.max(from, cut)
  }
  reader.end()
  return events.map(({ event, data, id }) => ({ event, data: data.toString(), id }))
}

test('events of the standard', () => {
  assert.deepEqual(read('data: a\n\n'), [{ event: 'message', data: 'a', id: null }])
  assert.deepEqual(read('\ufeffdata:a\n\n'), [{ event: 'message', data: 'a', id: null }])
  assert.deepEqual(read('event: x\r\ndata: a\r\ndata:  b\r\nid: 7\r\n\r\n'), [{ event: 'x', data: 'a\n b', id: '7' }])
  assert.deepEqual(read('data: a\rdata: b\r\r'), [{ event: 'message', data: 'a\nb', id: null }])
  assert.deepEqual(read(': comment\n\ndata\n\n'), [{ event: 'message', data: '', id: null }])
  assert.deepEqual(read('event: only\n\n'), [])
  assert.deepEqual(read('data: without an end'), [])
  assert.deepEqual(read('data: a\n'), [])
})

test('chunks may be cut anywhere', () => {
  const text = '\ufeffevent: message\r\ndata: {"ключ":1}\r\ndata: x\r\rid: 3\ndata: y\n\n: c\n\r\ndata: z\r\n\r\n'
  const whole = read(text)
  assert.equal(whole.length, 3)
  fc.assert(fc.property(fc.array(fc.nat(200), { maxLength: 12 }), (cuts) => assert.deepEqual(read(text, cuts), whole)))
})

test('a long line in many pieces is put together once', () => {
  const long = Buffer.from(`data: ${'x'.repeat(1_000_000)}\r\n\r\n`)
  const cuts = Array.from({ length: 2_000 }, (_, at) => at * 500)
  const [event, ...more] = read(long, cuts, 2_000_000)
  assert.deepEqual([event?.data.length, more.length], [1_000_000, 0])
})

test('an endless line, an endless event', () => {
  const code = (run: () => unknown): unknown => {
    try {
      return run()
    } catch (error) {
      return (error as GatewayError).code
    }
  }
  assert.equal(
    code(() => read(`data: ${'x'.repeat(200)}`, [50, 120], 100)),
    'UPSTREAM_INVALID',
  )
  assert.equal(
    code(() => read('data: xxxxxxxxx\n'.repeat(20), [], 100)),
    'UPSTREAM_INVALID',
  )
  assert.equal(
    code(() => read('data\n'.repeat(20), [], 100)),
    'UPSTREAM_INVALID',
  )
})

test('a written event is read back as one message, newlines or not', () => {
  fc.assert(
    fc.property(fc.array(fc.string(), { minLength: 1, maxLength: 4 }), (texts) => {
      const bytes = Buffer.concat(sseEvent(texts.map((text) => Buffer.from(text))))
      const events = read(bytes)
      assert.equal(events.length, 1)
      assert.equal(events[0]!.event, 'message')
      assert.equal(events[0]!.data, texts.join('').replaceAll('\r', '\n'))
    }),
  )
})
