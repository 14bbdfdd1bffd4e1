// Both adapters of ports/hop.ts: what is asked of a worker is answered by it alone, or by nobody.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setImmediate as turn } from 'node:timers/promises'
import { createMessagePair } from '../../test/fakes/messages.ts'
import { Cancel } from '../core/cancel.ts'
import { GatewayError } from '../core/errors.ts'
import { LIMITS } from '../core/limits.ts'
import type { Place } from '../core/place.ts'
import type { Hop } from '../ports/hop.ts'
import { SILENT } from '../ports/log.ts'
import { createLocalHop } from './hop-local.ts'
import { createHopRelay, createWorkerHop } from './hop-workers.ts'

function twoWorkers(limits: Partial<typeof LIMITS> = {}) {
  const relay = createHopRelay()
  const start = (worker: number) => {
    const pair = createMessagePair()
    relay.attach(pair.primary, worker)
    const here = { worker, boot: 100 + worker }
    const hop = createWorkerHop({ here, messages: pair.worker, limits: { ...LIMITS, ...limits }, log: SILENT })
    return { hop, pair }
  }
  return { one: start(1), two: start(2), start }
}

const local = createLocalHop({ worker: 0, boot: 5 })
const ways: [string, () => { asker: Hop; owner: Hop; pairs: { close(): void }[] }][] = [
  ['in one process', () => ({ asker: local, owner: local, pairs: [] })],
  [
    'between workers',
    () => {
      const { one, two } = twoWorkers()
      return { asker: one.hop, owner: two.hop, pairs: [one.pair, two.pair] }
    },
  ],
]

let part = 0
const PARTS = ['answer', 'resume', 'replay', 'endpoint'] as const

for (const [way, setUp] of ways) {
  test(`${way}: notes come in order, then the answer; errors cross as they are`, async () => {
    const { asker, owner } = setUp()
    const name = PARTS[part++ % 2]!
    owner.serve(name, async (body, { note }) => {
      if (body === 'refuse') throw new GatewayError('TOO_MANY', 'no', { data: { limit: 3 } })
      note(1)
      await turn()
      note({ two: body })
      return ['answer', body]
    })
    const notes: unknown[] = []
    assert.deepEqual(await asker.ask(owner.here, name, 'x', (note) => notes.push(note)), ['answer', 'x'])
    assert.deepEqual(notes, [1, { two: 'x' }])
    await assert.rejects(asker.ask(owner.here, name, 'refuse'), { code: 'TOO_MANY', message: 'no' })
    const otherBoot: Place = { ...owner.here, boot: owner.here.boot + 1 }
    await assert.rejects(asker.ask(otherBoot, name, 'x'), { code: 'OWNER_LOST' })
    await assert.rejects(asker.ask({ worker: 9, boot: 1 }, name, 'x'), { code: 'OWNER_LOST' })
    await assert.rejects(asker.ask(owner.here, 'replay', 'x'), { code: 'OWNER_LOST' })
  })
}

test('a worker that ends loses what was asked of it, and what it asked for is cancelled', async () => {
  const { one, two } = twoWorkers()
  const seen = Promise.withResolvers<Cancel>()
  two.hop.serve('resume', (_body, { cancel }) => {
    seen.resolve(cancel)
    return new Promise(() => {})
  })
  one.hop.serve('resume', () => new Promise(() => {}))
  const asked = one.hop.ask(two.hop.here, 'resume', {})
  const cancel = await seen.promise
  const back = two.hop.ask(one.hop.here, 'resume', {})
  one.pair.close()
  await assert.rejects(asked, { code: 'SHUTTING_DOWN' })
  await assert.rejects(back, { code: 'OWNER_LOST' })
  assert.equal(cancel.reason, 'disconnect')
})

test('whoever no longer wants to know says so to the other side', async () => {
  const { one, two } = twoWorkers()
  const seen = Promise.withResolvers<Cancel>()
  two.hop.serve('resume', (_body, { cancel }) => {
    seen.resolve(cancel)
    return new Promise(() => {})
  })
  const cancel = new Cancel()
  const asked = one.hop.ask(two.hop.here, 'resume', {}, () => {}, cancel)
  const there = await seen.promise
  cancel.cancel('disconnect')
  await assert.rejects(asked, { code: 'CANCELLED' })
  await turn()
  await turn()
  assert.equal(there.reason, 'disconnect')
})

test('a worker that hangs is given up, and nobody may ask without end', async () => {
  const { one, two } = twoWorkers({ hopMs: 20, hopsOutstanding: 2 } as never)
  two.pair.hold()
  const asked = [one.hop.ask(two.hop.here, 'answer', 1), one.hop.ask(two.hop.here, 'answer', 2)]
  const results = Promise.allSettled(asked)
  await assert.rejects(one.hop.ask(two.hop.here, 'answer', 3), { code: 'OVERLOADED' })
  for (const result of await results)
    assert.equal(result.status === 'rejected' && (result.reason as GatewayError).code, 'OWNER_LOST')
})

test('nobody answers for another worker', async () => {
  const { one, two, start } = twoWorkers()
  const three = start(3)
  const hold = Promise.withResolvers<string>()
  two.hop.serve('answer', () => hold.promise)
  const asked = one.hop.ask(two.hop.here, 'answer', {})
  await turn()
  three.pair.worker.send('hop', { op: 'done', to: 1, id: 1, value: 'forged' })
  await turn()
  await turn()
  hold.resolve('true')
  assert.equal(await asked, 'true')
})
