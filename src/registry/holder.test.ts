// The holder: swaps whole, waits for first discoveries a bounded while, and holds up the loop only in small slices.

import assert from 'node:assert/strict'
import { monitorEventLoopDelay } from 'node:perf_hooks'
import { test } from 'node:test'
import { createFakeFeed, registryRows, tool, upstreamRow } from '../../test/fakes/registry.ts'
import { LIMITS } from '../core/limits.ts'
import { createHolder } from './holder.ts'

const DEFAULTS = { validate: 'arguments', callMs: 60_000, callMsMax: 3_600_000, connectMs: 5_000 } as const
const clock = { now: () => Date.now() }
const fail = (error: unknown): never => {
  throw error
}

test('a change is swapped in whole; a call keeps what it began with', async () => {
  const feed = createFakeFeed(registryRows([{ upstream: upstreamRow('a'), definitions: [tool('x')] }]))
  const holder = createHolder(feed, DEFAULTS, clock, fail)
  await holder.ready()
  const before = holder.current()
  const swapped = new Promise<void>((resolve) => holder.onSwap(() => resolve()))
  feed.set(registryRows([{ upstream: upstreamRow('a'), definitions: [tool('x'), tool('y')] }], [], 2))
  await swapped
  assert.equal(before.scopes.get('')!.tools.length, 1)
  assert.equal(holder.current().scopes.get('')!.tools.length, 2)
})

test('a scope with an undiscovered upstream is waited for until it is discovered, or has had its time', async () => {
  let now = 1_000
  const undiscovered = { upstream: upstreamRow('a', {}, null), definitions: [] }
  const feed = createFakeFeed(registryRows([undiscovered]))
  const holder = createHolder(feed, DEFAULTS, { now: () => now }, fail)
  await holder.ready()
  const settled = holder.settle(holder.current().scopes.get('')!)
  assert.notEqual(settled, null)
  feed.set(registryRows([{ upstream: upstreamRow('a'), definitions: [tool('x')] }], [], 2))
  await settled
  assert.equal(holder.settle(holder.current().scopes.get('')!), null)

  feed.set(registryRows([undiscovered], [], 3))
  await new Promise((resolve) => setImmediate(resolve))
  now += LIMITS.notReadyWaitMs - 1
  assert.notEqual(holder.settle(holder.current().scopes.get('')!), null)
  now += 1
  assert.equal(holder.settle(holder.current().scopes.get('')!), null, 'its two seconds are over')
  holder.close()
})

test('10,000 tools are built in slices', async () => {
  const definitions = Array.from({ length: 10_000 }, (_, index) =>
    tool(`tool_${index}`, { inputSchema: { type: 'object', properties: { a: { type: 'string' } } } }),
  )
  const feed = createFakeFeed(registryRows([{ upstream: upstreamRow('big'), definitions }]))
  let turns = 0
  const ticking = setInterval(() => {
    turns += 1
  }, 0)
  const delay = monitorEventLoopDelay({ resolution: 1 })
  delay.enable()
  const holder = createHolder(feed, DEFAULTS, clock, fail)
  await holder.ready()
  delay.disable()
  clearInterval(ticking)
  assert.equal(holder.current().scopes.get('')!.tools.length, 10_000)
  assert.ok(turns > 5, `the loop had ${turns} turns meanwhile`)
  console.log(`longest delay of the loop: ${(delay.max / 1e6).toFixed(1)} ms`)
})
