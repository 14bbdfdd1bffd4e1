// Both adapters of the bus: alone, and with workers.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setImmediate as turn } from 'node:timers/promises'
import { createMessagePair, type FakePair } from '../../test/fakes/messages.ts'
import { LIMITS } from '../core/limits.ts'
import type { Bus } from '../ports/bus.ts'
import { type Log, SILENT } from '../ports/log.ts'
import { createMemoryBus } from './bus-memory.ts'
import { createPrimaryBus, createWorkerBus } from './bus-workers.ts'

const turns = async (): Promise<void> => {
  for (let count = 0; count < 10; count += 1) await turn()
}

function listen(bus: Bus): string[] {
  const heard: string[] = []
  bus.subscribe('cancel', (event) => heard.push(event.id))
  return heard
}

const cancel = (bus: Bus, id: string): void => bus.publish('cancel', { session: 's', id })

function recorder() {
  const said: string[] = []
  const log: Log = {
    ...SILENT,
    warn: (event, fields) => said.push(`${event} ${String(fields?.count)}`),
    error: (event) => said.push(event),
  }
  return { said, log }
}

test('news reaches every subscriber of its topic, in order, in a later turn', async () => {
  const bus = createMemoryBus({ limits: LIMITS, log: SILENT })
  const [one, two] = [listen(bus), listen(bus)]
  const other: unknown[] = []
  const leave = bus.subscribe('sessionEnded', (event) => other.push(event))
  for (const id of ['1', '2', '3']) cancel(bus, id)
  bus.publish('sessionEnded', { session: 's', expiresMs: 1 })
  assert.deepEqual(one, [])
  await turns()
  assert.deepEqual(
    [one, two],
    [
      ['1', '2', '3'],
      ['1', '2', '3'],
    ],
  )
  assert.deepEqual(other, [{ session: 's', expiresMs: 1 }])
  leave()
  bus.publish('sessionEnded', { session: 't', expiresMs: 1 })
  await turns()
  assert.equal(other.length, 1)
})

test('a subscriber that throws or publishes disturbs nobody', async () => {
  const { said, log } = recorder()
  const bus = createMemoryBus({ limits: LIMITS, log })
  bus.subscribe('cancel', (event) => {
    if (event.id === '1') cancel(bus, '2')
    throw new Error('no')
  })
  const heard = listen(bus)
  cancel(bus, '1')
  await turns()
  assert.deepEqual(heard, ['1', '2'])
  assert.deepEqual(said, ['bus.handler', 'bus.handler'])
})

test('too much news is dropped and counted', async () => {
  const { said, log } = recorder()
  const bus = createMemoryBus({ limits: { ...LIMITS, busBacklog: 3 }, log })
  const heard = listen(bus)
  for (let id = 0; id < 10; id += 1) cancel(bus, String(id))
  await turns()
  assert.deepEqual(heard, ['0', '1', '2'])
  assert.equal(bus.dropped, 7)
  assert.deepEqual(said, ['bus.dropped 1', 'bus.dropped 2', 'bus.dropped 4'])
})

function replica(workers: number, busBacklog: number = LIMITS.busBacklog) {
  const limits = { ...LIMITS, busBacklog }
  const primary = createPrimaryBus({ limits, log: SILENT })
  const pairs: FakePair[] = []
  const buses = Array.from({ length: workers }, () => {
    const pair = createMessagePair()
    pairs.push(pair)
    primary.attach(pair.primary)
    return createWorkerBus({ limits, log: SILENT, messages: pair.worker })
  })
  return { primary, buses, pairs, heard: [primary, ...buses].map(listen) }
}

test('news of any process reaches all processes once, in order per sender', async () => {
  const { primary, buses, heard } = replica(3)
  for (let round = 0; round < 3; round += 1) {
    cancel(primary, `p${round}`)
    for (const [index, bus] of buses.entries()) cancel(bus, `${index}${round}`)
  }
  await turns()
  for (const one of heard) {
    assert.equal(one.length, 12)
    for (const sender of ['p', '0', '1', '2']) {
      assert.deepEqual(
        one.filter((id) => id.startsWith(sender)),
        [0, 1, 2].map((round) => `${sender}${round}`),
      )
    }
  }
})

test('a worker that reads slowly loses news and holds up nobody', async () => {
  const { primary, pairs, heard } = replica(2, 5)
  pairs[0]!.hold()
  for (let id = 0; id < 50; id += 1) {
    cancel(primary, String(id))
    await turn()
  }
  await turns()
  assert.deepEqual(
    heard.map((one) => one.length),
    [50, 0, 50],
  )
  assert.equal(primary.dropped, 45)
  pairs[0]!.release()
  await turns()
  assert.deepEqual(heard[1], ['0', '1', '2', '3', '4'])
})

test('a flood of what anyone can send does not push out what takes rights and sessions away', async () => {
  const { primary, buses, pairs } = replica(2, 5)
  const heard: string[] = []
  for (const [name, bus] of [['primary', primary], ...buses.entries()] as const) {
    bus.subscribe('callersChanged', () => heard.push(`${name} callers`))
    bus.subscribe('sessionEnded', () => heard.push(`${name} session`))
  }
  for (const pair of pairs) pair.hold()
  for (let id = 0; id < 20; id += 1) {
    cancel(primary, String(id))
    cancel(buses[0]!, String(id))
    await turn()
  }
  primary.publish('callersChanged', { hashes: null })
  primary.publish('sessionEnded', { session: 's', expiresMs: 1 })
  for (const pair of pairs) pair.release()
  await turns()
  const wanted = ['primary', 0, 1].flatMap((name) => [`${name} callers`, `${name} session`])
  assert.deepEqual(heard.sort(), wanted.sort())
})

test('a worker that is gone is forgotten', async () => {
  const { primary, pairs, buses, heard } = replica(2)
  pairs[0]!.close()
  cancel(primary, '1')
  cancel(buses[1]!, '2')
  await turns()
  assert.deepEqual(heard, [['1', '2'], [], ['2', '1']])
  assert.deepEqual(pairs[0]!.primary.sent, [])
})
