// The breaker, step by step on a clock of its own, and the choice among several addresses.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { createFakeClock } from '../../test/fakes/clock.ts'
import { LIMITS } from '../core/limits.ts'
import type { Link } from '../http/link.ts'
import { Breaker } from './breaker.ts'
import { createPool, Pool, type Target } from './pool.ts'

const make = (): Breaker => new Breaker({ failuresMax: 3, openMsBase: 100, openMsMax: 400, random: () => 0.5 })

test('it rests after failures in a row, longer each time, and one request tries again', () => {
  const breaker = make()
  breaker.fail(0)
  breaker.fail(0)
  breaker.succeed()
  breaker.fail(0)
  breaker.fail(0)
  assert.equal(breaker.allows(0), true)
  breaker.fail(0)
  assert.deepEqual([breaker.allows(99), breaker.openUntilMs], [false, 100])
  // Requests that began before count no further.
  for (let index = 0; index < 10; index += 1) breaker.fail(50)
  assert.equal(breaker.openUntilMs, 100)
  const rests: number[] = []
  let now = 100
  for (let round = 0; round < 4; round += 1) {
    assert.equal(breaker.allows(now), true)
    breaker.begin(now)
    assert.equal(breaker.allows(now), false, 'only one tries')
    breaker.fail(now)
    rests.push(breaker.openUntilMs - now)
    now = breaker.openUntilMs
  }
  assert.deepEqual(rests, [200, 400, 400, 400])
  breaker.begin(now)
  breaker.forget()
  assert.equal(breaker.allows(now), true, 'a trial that told nothing lets another one try')
  breaker.begin(now)
  breaker.succeed()
  assert.deepEqual([breaker.allows(now), breaker.openUntilMs], [true, 0])
  breaker.fail(now)
  assert.equal(breaker.allows(now), true)
})

test('a trial that takes long does not keep everyone else out', () => {
  const breaker = make()
  for (let count = 0; count < 3; count += 1) breaker.fail(0)
  breaker.begin(100)
  assert.deepEqual([breaker.allows(199), breaker.allows(200)], [false, true])
  breaker.begin(200)
  breaker.succeed()
  assert.equal(breaker.openUntilMs, 0)
  // The slow one fails at last: one failure of three.
  breaker.fail(10_000)
  assert.equal(breaker.allows(10_000), true)
})

function target(url: string): Target & { link: { inFlight: number } } {
  const link = { inFlight: 0, request: () => assert.fail(), close: async () => {} } satisfies Link as Link & {
    inFlight: number
  }
  return { url, path: '/mcp', link, breaker: make(), peer: null, sessions: 0 }
}

test('the address with the least in flight is used, resting ones are not', () => {
  const clock = createFakeClock(0)
  const [a, b, c] = [target('a'), target('b'), target('c')]
  const pool = new Pool([a, b, c], [], clock)
  a.link.inFlight = 2
  b.link.inFlight = 1
  c.link.inFlight = 3
  assert.equal(pool.pick(null)?.url, 'b')
  assert.equal(pool.pick(new Set([b]))?.url, 'a')
  for (let index = 0; index < 3; index += 1) b.breaker.fail(0)
  assert.equal(pool.pick(null)?.url, 'a')
  clock.forward(100)
  assert.equal(pool.pick(null)?.url, 'b', 'back within its interval')
  assert.equal(pool.pick(null)?.url, 'a', 'but with one request only')
  b.breaker.succeed()
  assert.equal(pool.pick(null)?.url, 'b')
  for (const one of [a, b, c]) for (let index = 0; index < 3; index += 1) one.breaker.fail(100)
  assert.equal(pool.pick(null), null)
  const error = pool.resting('up')
  assert.deepEqual([error.code, error.options.retryAfterSeconds], ['UPSTREAM_UNAVAILABLE', 1])
  assert.equal(pool.at('c'), c)
  assert.equal(pool.at('d'), null)
})

test('among equals they take turns', () => {
  const pool = new Pool([target('a'), target('b'), target('c')], [], createFakeClock(0))
  const picked = Array.from({ length: 6 }, () => pool.pick(null)?.url)
  assert.deepEqual(picked, ['a', 'b', 'c', 'a', 'b', 'c'])
})

test('a pool takes as many addresses as the bound says, each with a breaker of the configured bounds', () => {
  const limits = { ...LIMITS, upstreamUrlsMax: 2, breakerFailures: 2, breakerOpenMsBase: 100, breakerOpenMsMax: 300 }
  const pool = createPool(
    { kind: 'http', urls: ['http://a.example/', 'http://b.example/', 'http://c.example/'] },
    { isPrivileged: false, connectMs: 1_000 },
    {
      createLink: () => target('x').link,
      resolveSecret: (secret) => secret as string,
      ...{ networks: [], ca: null, clock: createFakeClock(0), random: () => 0.5, limits },
    },
  )
  assert.deepEqual(
    pool.targets.map(({ url }) => url),
    ['http://a.example/', 'http://b.example/'],
  )
  const { breaker } = pool.targets[0]!
  breaker.fail(0)
  assert.equal(breaker.openUntilMs, 0)
  breaker.fail(0)
  const rests = [breaker.openUntilMs]
  for (let round = 0; round < 2; round += 1) {
    const nowMs = breaker.openUntilMs
    breaker.begin(nowMs)
    breaker.fail(nowMs)
    rests.push(breaker.openUntilMs - nowMs)
  }
  assert.deepEqual(rests, [100, 200, 300])
})

test('headers of the configuration are checked when the pool is made', () => {
  const attempt = (headers: Record<string, string>) =>
    createPool(
      { kind: 'http', urls: ['http://a.example/mcp?x=1'], headers },
      { isPrivileged: false, connectMs: 1_000 },
      {
        createLink: () => target('x').link,
        resolveSecret: (secret) => secret as string,
        ...{ networks: [], ca: null, clock: createFakeClock(), random: () => 0, limits: LIMITS },
      },
    )
  const pool = attempt({ Authorization: 'Bearer x\n', 'X-Y': '' })
  assert.deepEqual(pool.headers, ['Authorization', 'Bearer x', 'X-Y', ''])
  assert.equal(pool.targets[0]!.path, '/mcp?x=1')
  for (const name of [
    'Host',
    'content-length',
    'Content-Type',
    'MCP-Session-Id',
    'Transfer-Encoding',
    'accept',
    'a b',
    '',
    'X-Mcp-Gateway-Hops',
    'x:',
    'Connection',
  ]) {
    assert.throws(() => attempt({ [name]: 'v' }), { code: 'CONFIG_INVALID' }, name)
  }
  for (const value of ['a\r\nb: c', 'a\nb', 'a\u0000', '\u2028', 'a\u007fb']) {
    assert.throws(() => attempt({ 'x-y': value }), { code: 'CONFIG_INVALID' }, JSON.stringify(value))
  }
})
