import assert from 'node:assert/strict'
import { test } from 'node:test'
import { createFakeClock } from '../../test/fakes/clock.ts'
import { LIMITS, type Limits } from '../core/limits.ts'
import type { TokenRow } from '../core/model.ts'
import { mintToken } from './api-token.ts'
import { createCallers } from './callers.ts'

function start(limits: Limits = LIMITS) {
  const clock = createFakeClock()
  const { id, hash } = mintToken()
  const row: TokenRow = {
    id,
    hash,
    name: 'ci',
    rights: ['use', 'admin'],
    origin: 'api',
    originRef: null,
    createdMs: 0,
    expiresMs: clock.now() + 1_000,
    lastUsedMs: null,
    rowVersion: 1,
  }
  const touched: ReadonlyMap<string, number>[] = []
  const store = {
    answer: row as TokenRow | null,
    tokenByHash: async () => store.answer,
    touchTokens: async (used: ReadonlyMap<string, number>) => {
      touched.push(used)
    },
  }
  return { clock, row, store, touched, callers: createCallers({ store, clock, limits }) }
}

test('a token gives its caller, with its own stable id', async () => {
  const { callers, row } = start()
  const caller = await callers.caller(row.hash)
  assert.deepEqual(caller, {
    id: caller?.id,
    issuer: 'mcp-gateway',
    subject: row.id,
    name: 'ci',
    rights: ['use', 'admin'],
    expiresMs: row.expiresMs,
  })
  assert.match(caller?.id ?? '', /^[0-9a-f]{32}$/)
  await callers.close()
})

test('no caller: unknown, expired, or a row of another hash', async () => {
  const { callers, row, store, clock } = start()
  assert.equal(await callers.caller(mintToken().hash), null)
  store.answer = null
  assert.equal(await callers.caller(row.hash), null)
  store.answer = row
  clock.forward(1_000)
  assert.equal(await callers.caller(row.hash), null)
  await callers.close()
})

test('the times of last use are written in one batch', async () => {
  const { callers, row, touched, clock } = start()
  await callers.caller(row.hash)
  clock.forward(10)
  await callers.caller(row.hash)
  assert.equal(touched.length, 0)
  await callers.close()
  assert.deepEqual(touched, [new Map([[row.id, clock.now()]])])
})

test('they are written every tokenUsedMs, and a store that is away costs only them', async () => {
  const { callers, row, store, touched } = start({ ...LIMITS, tokenUsedMs: 2 })
  const { touchTokens } = store
  // The gateway's timer does not keep a process alive; this one does.
  const alive = setInterval(() => {}, 1_000)
  const failed = new Promise<void>((resolve) => {
    store.touchTokens = async () => {
      resolve()
      throw new Error('away')
    }
  })
  await callers.caller(row.hash)
  await failed
  const written = new Promise<void>((resolve) => {
    store.touchTokens = async (used) => {
      await touchTokens(used)
      resolve()
    }
  })
  await callers.caller(row.hash)
  await written
  clearInterval(alive)
  assert.deepEqual([...touched[0]!.keys()], [row.id])
  await callers.close()
})
