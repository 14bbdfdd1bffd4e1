// Sessions apart from HTTP: what is kept of them, and for how long. Over the wire they are tested in edge.test.ts.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { createFakeBus } from '../../test/fakes/bus.ts'
import { CALLER, makeCall } from '../../test/fakes/call.ts'
import { createFakeClock } from '../../test/fakes/clock.ts'
import { ASKS } from '../core/asks.ts'
import { LIMITS, type Limits } from '../core/limits.ts'
import { createSealer } from '../mcp/seal.ts'
import { Sessions } from './session.ts'

const SEALER = createSealer([{ id: 1, key: Buffer.alloc(32, 7) }])
const OWNER = { ...CALLER, id: '0123456789abcdef0123456789abcdef' }
const { client } = makeCall('x')

function setUp(limits: Partial<Limits> = {}) {
  const clock = createFakeClock()
  const ended: string[] = []
  const sessions = new Sessions({
    sealer: SEALER,
    bus: createFakeBus(),
    clock,
    limits: { ...LIMITS, ...limits },
    endSession: async () => {},
    leaveSession: () => {},
    onEnded: (key) => ended.push(key),
  })
  return { clock, ended, sessions, begin: (scope = '') => sessions.begin(OWNER, scope, '2025-11-25', client) }
}

const isUnknown = { code: 'SESSION_NOT_FOUND' }

test('an id holds all there is of a session, for whoever has the key', () => {
  const { begin } = setUp()
  const session = begin('tools')
  const other = setUp().sessions
  assert.deepEqual(other.open(session.id, OWNER, 'tools'), session)
  for (const caller of [
    { ...OWNER, id: OWNER.id.replace('0', '1') },
    { ...OWNER, id: '' },
  ])
    assert.throws(() => other.open(session.id, caller, 'tools'), isUnknown)
  assert.throws(() => other.open(session.id, OWNER, ''), isUnknown)
})

test('what a client says of itself is cut, in whole characters', () => {
  const { sessions } = setUp()
  const long = { ...client, name: 'é'.repeat(100), version: '1'.repeat(100), asks: ASKS.sampling | ASKS.roots }
  const { id } = sessions.begin(OWNER, 's'.repeat(64), '2024-11-05', long)
  const read = setUp().sessions.open(id, OWNER, 's'.repeat(64))
  assert.deepEqual(
    [read.client.name, read.client.version, read.revision],
    ['é'.repeat(32), '1'.repeat(32), '2024-11-05'],
  )
  assert.equal(read.client.asks, ASKS.sampling | ASKS.roots)
  assert.ok(id.length <= LIMITS.sessionIdBytes)
})

test('an id longer than any of ours is not even opened', () => {
  const { sessions, begin } = setUp()
  const scope = 's'.repeat(LIMITS.sessionIdBytes)
  const { id } = begin(scope)
  assert.equal(sessions.open(id, OWNER, scope).id, id, 'whoever made it knows it')
  assert.throws(() => setUp().sessions.open(id, OWNER, scope), isUnknown)
})

test('a session ends with its age, or before; its log level is forgotten with it', async () => {
  const { sessions, begin, clock, ended } = setUp({ sessionAgeMs: 1_000 })
  const [young, over] = [begin(), begin()]
  for (const session of [young, over]) sessions.setLevel(session, 'error')
  await sessions.end(over)
  assert.deepEqual([sessions.level(young), sessions.level(over), ended], ['error', null, [over.key]])
  assert.throws(() => sessions.open(over.id, OWNER, ''), isUnknown)
  clock.forward(999)
  sessions.open(young.id, OWNER, '')
  clock.forward(1)
  assert.throws(() => sessions.open(young.id, OWNER, ''), isUnknown)
})

test('an end that comes after the age is no news', () => {
  const { sessions, begin, clock, ended } = setUp({ sessionAgeMs: 1_000, tombstonesMax: 1 })
  const [first, second] = [begin(), begin()]
  clock.forward(500)
  sessions.markEnded(first.key, first.expiresMs)
  // It would push the only tombstone out.
  sessions.markEnded(second.key, clock.now())
  assert.throws(() => sessions.open(first.id, OWNER, ''), isUnknown)
  assert.deepEqual(ended, [first.key])
})
