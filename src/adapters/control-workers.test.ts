import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setImmediate as turn } from 'node:timers/promises'
import { createMessagePair } from '../../test/fakes/messages.ts'
import { GatewayError } from '../core/errors.ts'
import { LIMITS, type Limits } from '../core/limits.ts'
import type { Caller } from '../core/policy.ts'
import type { Control, LinkTicket } from '../ports/control.ts'
import { type Log, SILENT } from '../ports/log.ts'
import { createControlClient, serveControl } from './control-workers.ts'

const CALLER: Caller = { id: 'c', issuer: 'i', subject: 's', name: 'n', rights: ['use'], expiresMs: null }
const TICKET: LinkTicket = {
  ...{
    era: 'legacy',
    revision: '2025-11-25',
    generation: 3,
    sessionId: 's',
    url: null,
    childId: 'child-1',
    logging: true,
  },
}

function setUp(given: Partial<Limits> = {}, part: Partial<Control> = {}) {
  const limits = { ...LIMITS, ...given }
  const pair = createMessagePair()
  const calls: unknown[][] = []
  const said: unknown[] = []
  const log: Log = { ...SILENT, error: (event, fields) => said.push([event, fields?.method, String(fields?.error)]) }
  const control: Control = {
    async caller(...args) {
      calls.push(['caller', ...args])
      return args[0] === 'known' ? CALLER : null
    },
    async openLink(...args) {
      calls.push(['openLink', ...args])
      return TICKET
    },
    async endSession(...args) {
      calls.push(['endSession', ...args])
    },
    leaveSession: (...args) => void calls.push(['leaveSession', ...args]),
    async takeQuestion(...args) {
      calls.push(['takeQuestion', ...args])
      return true
    },
    async watch(...args) {
      calls.push(['watch', ...args])
    },
    linksUsed: (...args) => void calls.push(['linksUsed', ...args]),
    unwatch: (...args) => void calls.push(['unwatch', ...args]),
    answerQuestion: (...args) => void calls.push(['answerQuestion', ...args]),
    staleLink: (...args) => void calls.push(['staleLink', ...args]),
    reportUpstream: (...args) => void calls.push(['reportUpstream', ...args]),
    ...part,
  }
  serveControl({ control, messages: pair.primary, limits, log })
  return { pair, calls, said, client: createControlClient({ messages: pair.worker, limits }) }
}

async function refused(promise: Promise<unknown>): Promise<GatewayError> {
  const error = await promise.then(
    () => assert.fail('it was not refused'),
    (fault: unknown) => fault,
  )
  assert.ok(error instanceof GatewayError)
  return error
}

test('every method crosses with its arguments and its result', async () => {
  const { client, calls } = setUp()
  const key = { upstreamId: 'u', owner: 'o', asks: 0 }
  assert.deepEqual(await client.caller('known'), CALLER)
  assert.equal(await client.caller('unknown'), null)
  assert.deepEqual(await client.openLink(key), TICKET)
  assert.equal(await client.endSession('s', 'c', 5), undefined)
  client.leaveSession('s')
  client.staleLink(key, 4, 'session')
  client.reportUpstream('u', false, 'TIMEOUT', 'late')
  await turn()
  await turn()
  assert.deepEqual(calls, [
    ['caller', 'known'],
    ['caller', 'unknown'],
    ['openLink', key],
    ['endSession', 's', 'c', 5],
    ['leaveSession', 's'],
    ['staleLink', key, 4, 'session'],
    ['reportUpstream', 'u', false, 'TIMEOUT', 'late'],
  ])
})

test('answers find their question in any order', async () => {
  const waiting: (() => void)[] = []
  const { client } = setUp(
    {},
    { caller: (hash) => new Promise((resolve) => waiting.push(() => resolve({ ...CALLER, name: hash }))) },
  )
  const asked = ['a', 'b', 'c'].map((hash) => client.caller(hash))
  while (waiting.length < 3) await turn()
  for (const answer of waiting.reverse()) answer()
  assert.deepEqual(
    (await Promise.all(asked)).map((caller) => caller?.name),
    ['a', 'b', 'c'],
  )
})

test('an error of the catalogue crosses whole, without its cause', async () => {
  const { client, said } = setUp(
    {},
    {
      openLink: () =>
        Promise.reject(
          new GatewayError('UPSTREAM_BUSY', 'full', {
            ...{ data: { a: [1] }, retryAfterSeconds: 3, faults: [{ at: '/x', message: 'm' }] },
            cause: new Error('secret'),
          }),
        ),
    },
  )
  const error = await refused(client.openLink({ upstreamId: 'u', owner: '', asks: 0 }))
  assert.equal(error.code, 'UPSTREAM_BUSY')
  assert.equal(error.message, 'full')
  assert.deepEqual(error.options, { data: { a: [1] }, retryAfterSeconds: 3, faults: [{ at: '/x', message: 'm' }] })
  assert.deepEqual(said, [])
})

test('any other fault is logged in the primary and crosses as INTERNAL', async () => {
  const { client, said } = setUp(
    {},
    {
      caller: () => Promise.reject(new Error('secret')),
      staleLink() {
        throw new Error('thrown')
      },
    },
  )
  const error = await refused(client.caller('x'))
  assert.equal(error.code, 'INTERNAL')
  assert.doesNotMatch(error.message, /secret/)
  client.staleLink({ upstreamId: 'u', owner: '', asks: 0 }, 1, 'closed')
  await turn()
  await turn()
  assert.deepEqual(said, [
    ['control.fault', 'caller', 'Error: secret'],
    ['control.fault', 'staleLink', 'Error: thrown'],
  ])
})

test('a primary that does not answer is not waited for, and its late answer hurts nobody', async () => {
  const { client, pair } = setUp({ controlMs: 20, controlLinkMs: 20 })
  pair.hold()
  const [caller, link, end] = [
    refused(client.caller('x')),
    refused(client.openLink({ upstreamId: 'u', owner: '', asks: 0 })),
    refused(client.endSession('s', 'c', 1)),
  ]
  assert.deepEqual(
    (await Promise.all([caller, link, end])).map((error) => error.code),
    ['STORE_UNAVAILABLE', 'UPSTREAM_UNAVAILABLE', 'STORE_UNAVAILABLE'],
  )
  pair.release()
  assert.deepEqual(await client.caller('known'), CALLER)
})

test('outstanding questions are bounded on both sides', async () => {
  const { client, pair: first } = setUp({ controlOutstanding: 2 }, { caller: () => new Promise(() => {}) })
  client.caller('a').catch(() => {})
  client.caller('b').catch(() => {})
  assert.equal((await refused(client.caller('c'))).code, 'OVERLOADED')
  first.close()

  const pair = createMessagePair()
  const control = { caller: () => new Promise<never>(() => {}) } as unknown as Control
  serveControl({ control, messages: pair.primary, limits: { ...LIMITS, controlOutstanding: 2 }, log: SILENT })
  const eager = createControlClient({ messages: pair.worker, limits: LIMITS })
  eager.caller('a').catch(() => {})
  eager.caller('b').catch(() => {})
  assert.equal((await refused(eager.caller('c'))).code, 'OVERLOADED')
  pair.close()
})

test('when the primary is gone every question is refused at once', async () => {
  const { client, pair } = setUp({}, { caller: () => new Promise(() => {}) })
  const asked = refused(client.caller('a'))
  pair.close()
  assert.equal((await asked).code, 'SHUTTING_DOWN')
  assert.equal((await refused(client.caller('b'))).code, 'SHUTTING_DOWN')
  client.reportUpstream('u', true, null, null)
})

test('a stream whose worker ends while the primary works on what it watches watches nothing', async () => {
  const made = Promise.withResolvers<void>()
  const { pair, calls, client } = setUp({}, { watch: () => made.promise })
  client.watch('w1.2.3', { upstreamId: 'u', owner: '', asks: 0 }, 'note://one', true).catch(() => {})
  await turn()
  pair.close()
  made.resolve()
  await turn()
  // Once with its worker, and again when it would have begun to watch after that.
  assert.deepEqual(calls, [
    ['unwatch', 'w1.2.3'],
    ['unwatch', 'w1.2.3'],
  ])
})
