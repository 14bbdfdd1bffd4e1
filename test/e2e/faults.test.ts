// Upstreams fail in every way that they do in life, and only their own calls fail with them: typed, visible, and back
// as soon as the upstream is.

import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import * as bad from '../fakes/bad-upstreams.ts'
import type { Program } from '../fakes/process.ts'
import { COMMANDS, eventually, startStateful } from './fixtures.ts'
import { type RunningGateway, startGateway, type UpstreamAnswer } from './gateway.ts'
import { connectPeer, type Json, type Peer, textOf } from './peers.ts'

type Stateful = Program & { readonly url: string }
const portOf = (url: string): number => Number(new URL(url).port)

interface Refusal {
  readonly code: number
  readonly data?: { readonly code?: string; readonly retryable?: boolean; readonly hint?: string }
}

async function refusal(running: Promise<unknown>): Promise<Refusal> {
  try {
    const answer = await running
    throw new assert.AssertionError({ message: `it was answered: ${JSON.stringify(answer)}` })
  } catch (error) {
    if (error instanceof assert.AssertionError) throw error
    return error as Refusal
  }
}

describe('bad upstreams beside a good one', () => {
  const made: bad.BadUpstream[] = []
  let good: Stateful
  let gateway: RunningGateway
  let peer: Peer

  before(
    async () => {
      good = await startStateful()
      const kinds = {
        refusing: await bad.refusing(),
        hanging: await bad.hanging(),
        garbage: await bad.garbage(),
        endless: await bad.endless(),
        breaking: await bad.breaking(),
        dying: await bad.dyingInCalls(),
      }
      made.push(...Object.values(kinds))
      const urls = Object.entries(kinds).map(([slug, { url }]) => [slug, { url }])
      gateway = await startGateway({
        yaml: JSON.stringify({
          version: 1,
          upstreams: {
            ...Object.fromEntries(urls),
            good: { url: good.url },
            missing: { command: '/nowhere/no-such-command' },
            ending: { command: process.execPath, args: ['-e', 'console.error("ends at once"); process.exit(7)'] },
            babbling: { command: process.execPath, args: ['-e', 'setInterval(() => console.log("babble"), 5)'] },
          },
        }),
        ready: ['good', 'dying'],
      })
      peer = await connectPeer('sdk 1.x', { url: `${gateway.url}/mcp`, token: gateway.token })
    },
    { timeout: 60_000 },
  )

  after(async () => {
    await peer?.close()
    await gateway?.stop()
    await Promise.all([good?.stop(), ...made.map((one) => one.close())])
  })

  test('the good one is listed and called', async () => {
    const names = (await peer.tools()).map((tool) => tool.name)
    assert.ok(names.includes('good-echo') && names.includes('dying-doomed'))
    for (let at = 0; at < 20; at += 1)
      assert.equal(textOf(await peer.call('good-echo', { text: `call ${at}` })), `call ${at}`)
  })

  test('each bad one says what is wrong with it and when it is tried again', async () => {
    const wanted = ['refusing', 'hanging', 'garbage', 'endless', 'breaking', 'missing', 'ending', 'babbling']
    const states = await eventually(
      'all are down',
      async () => {
        const { body } = await gateway.api<{ items: UpstreamAnswer[] }>('GET', '/v1/upstreams')
        const down = body.items.filter((item) => item.state.state === 'down')
        return wanted.every((slug) => down.some((item) => item.slug === slug)) ? down : null
      },
      45_000,
    )
    for (const slug of wanted) {
      const { state } = states.find((item) => item.slug === slug)!
      assert.match(state.code ?? '', /^[A-Z]+(_[A-Z]+)*$/, slug)
      assert.ok((state.message ?? '').length > 5, slug)
      assert.ok(state.attempts >= 1, slug)
      assert.ok(state.nextRetryAt === null || !Number.isNaN(Date.parse(state.nextRetryAt)), slug)
    }
  })

  test('the end of what a child printed can be read', async () => {
    await eventually('stderr', async () => {
      const { body } = await gateway.api<{ stderr?: string }>('GET', '/v1/upstreams/ending?include=stderr')
      return body.stderr?.includes('ends at once') ? true : null
    })
  })

  test('a call that its upstream breaks is a typed refusal', async () => {
    const { code, data } = await refusal(peer.call('dying-doomed'))
    assert.equal(code, -31014)
    assert.equal(data?.code, 'UPSTREAM_UNAVAILABLE')
    assert.ok((data?.hint ?? '').length > 0)
  })

  test('while many calls to a bad one fail, those to the good one go on', async () => {
    const doomed = Array.from({ length: 30 }, () => refusal(peer.call('dying-doomed')))
    const fine = Array.from({ length: 30 }, async (_, at) => textOf(await peer.call('good-echo', { text: String(at) })))
    assert.deepEqual(
      await Promise.all(fine),
      Array.from({ length: 30 }, (_, at) => String(at)),
    )
    for (const { data } of await Promise.all(doomed)) assert.match(data?.code ?? '', /^UPSTREAM_/)
  })
})

describe('an upstream that goes and comes', () => {
  let upstream: Stateful
  let gateway: RunningGateway
  let peer: Peer

  before(
    async () => {
      upstream = await startStateful()
      gateway = await startGateway({
        yaml: JSON.stringify({
          version: 1,
          upstreams: {
            state: { url: upstream.url },
            child: { command: COMMANDS.stateful.command, args: COMMANDS.stateful.args },
          },
        }),
        ready: ['state', 'child'],
      })
      peer = await connectPeer('sdk 1.x', { url: `${gateway.url}/mcp`, token: gateway.token })
    },
    { timeout: 60_000 },
  )

  after(async () => {
    await peer?.close()
    await gateway?.stop()
    await upstream?.stop()
  })

  test('it forgets its sessions, and the next call works all the same', async () => {
    assert.equal(textOf(await peer.call('state-count')), '1')
    assert.equal(textOf(await peer.call('state-count')), '2')
    await peer.call('state-forget')
    assert.equal(textOf(await peer.call('state-count')), '1')
  })

  test('it restarts, and the next call works; while it is away its tools stay listed and calls are refused', async () => {
    const port = portOf(upstream.url)
    const tools = (await peer.tools()).length
    await upstream.stop()
    const { data } = await refusal(peer.call('state-count'))
    assert.equal(data?.code, 'UPSTREAM_UNAVAILABLE')
    assert.equal((await peer.tools()).length, tools)
    upstream = await startStateful(port)
    const first = await eventually('it is back', async () => {
      try {
        return textOf(await peer.call('state-count'))
      } catch {
        return null
      }
    })
    assert.equal(first, '1')
  })

  test('a child dies in a call: that call is refused, the next one has a new child', async () => {
    assert.equal(textOf(await peer.call('child-count')), '1')
    const { data } = await refusal(peer.call('child-die'))
    assert.match(data?.code ?? '', /^UPSTREAM_/)
    const first = await eventually('a new child', async () => {
      try {
        return textOf(await peer.call('child-count'))
      } catch {
        return null
      }
    })
    assert.equal(first, '1')
  })
})

test('of several URLs one dies, and every caller goes on', { timeout: 60_000 }, async () => {
  const copies = await Promise.all([startStateful(), startStateful(), startStateful()])
  const gateway = await startGateway({
    yaml: JSON.stringify({ version: 1, upstreams: { many: { urls: copies.map((copy) => copy.url) } } }),
    ready: ['many'],
  })
  const callers = await Promise.all(Array.from({ length: 9 }, (_, at) => gateway.newToken(`caller ${at}`)))
  const peers = await Promise.all(callers.map((token) => connectPeer('sdk 1.x', { url: `${gateway.url}/mcp`, token })))
  const reached = async (copy: Stateful): Promise<number> => {
    const direct = await connectPeer('sdk 1.x', { url: copy.url })
    try {
      return Number(textOf(await direct.call('calls')))
    } finally {
      await direct.close()
    }
  }
  try {
    for (const peer of peers) assert.equal(textOf(await peer.call('many-count')), '1')
    const used = await Promise.all(copies.map(reached))
    assert.ok(
      used.every((count) => count > 0),
      `every copy is used: ${used.join(', ')}`,
    )
    await copies[0]!.stop()
    const goesOn = async (peer: Peer): Promise<void> => {
      await eventually('a caller goes on', async () => {
        try {
          return Number(textOf(await peer.call('many-count'))) >= 1 ? true : null
        } catch {
          return null
        }
      })
    }
    await Promise.all(peers.map(goesOn))
    for (let round = 0; round < 3; round += 1)
      for (const peer of peers) assert.ok(Number(textOf(await peer.call('many-count'))) >= 2)
  } finally {
    await Promise.all(peers.map((peer) => peer.close()))
    await gateway.stop()
    await Promise.all(copies.map((copy) => copy.stop()))
  }
})

describe('gateways behind gateways', () => {
  test('another gateway is an upstream like any other', { timeout: 60_000 }, async () => {
    const upstream = await startStateful()
    const inner = await startGateway({
      yaml: JSON.stringify({ version: 1, upstreams: { state: { url: upstream.url } } }),
      ready: ['state'],
    })
    const outer = await startGateway({
      yaml: JSON.stringify({
        version: 1,
        upstreams: { inner: { url: `${inner.url}/mcp`, headers: { Authorization: { env: 'INNER_AUTHORIZATION' } } } },
      }),
      env: { INNER_AUTHORIZATION: `Bearer ${await inner.newToken('outer')}` },
      ready: ['inner'],
    })
    try {
      for (const kind of ['sdk 1.x', 'sdk 2.x auto'] as const) {
        const peer = await connectPeer(kind, { url: `${outer.url}/mcp`, token: outer.token })
        assert.equal(textOf(await peer.call('inner-state-echo', { text: 'through two' })), 'through two')
        const steps: number[] = []
        const onProgress = ({ progress }: { progress: number }): void => void steps.push(progress)
        await peer.call('inner-state-slow', { steps: 3 }, { onProgress })
        assert.deepEqual(steps, [1, 2, 3])
        assert.equal(((await peer.read('stateful://motto')).contents as Json[])[0]?.text, 'Count on me.')
        await peer.close()
      }
    } finally {
      await outer.stop()
      await inner.stop()
      await upstream.stop()
    }
  })

  test('a gateway that is its own upstream is refused, and goes on', { timeout: 60_000 }, async () => {
    const upstream = await startStateful()
    const gateway = await startGateway({
      yaml: JSON.stringify({ version: 1, upstreams: { state: { url: upstream.url } } }),
      ready: ['state'],
    })
    try {
      const headers = { Authorization: `Bearer ${gateway.token}` }
      const transport = { kind: 'http', urls: [`${gateway.url}/mcp`], headers }
      const { status, body } = await gateway.api('POST', '/v1/upstreams?wait=10s', { slug: 'self', transport })
      assert.equal(status, 201)
      assert.deepEqual(
        [(body as UpstreamAnswer).state.state, (body as UpstreamAnswer).state.code],
        ['down', 'LOOP_DETECTED'],
      )
      const peer = await connectPeer('sdk 1.x', { url: `${gateway.url}/mcp`, token: gateway.token })
      assert.equal(textOf(await peer.call('state-echo', { text: 'still here' })), 'still here')
      assert.deepEqual(
        (await peer.tools()).filter((tool) => String(tool.name).startsWith('self-')),
        [],
      )
      await peer.close()
    } finally {
      await gateway.stop()
      await upstream.stop()
    }
  })

  test('a loop over two gateways is refused by the one that would close it', { timeout: 90_000 }, async () => {
    const upstream = await startStateful()
    const one = await startGateway({
      yaml: JSON.stringify({ version: 1, upstreams: { state: { url: upstream.url } } }),
      ready: ['state'],
    })
    const other = await startGateway({})
    try {
      const register = async (at: RunningGateway, slug: string, of: RunningGateway): Promise<unknown> => {
        const transport = { kind: 'http', urls: [`${of.url}/mcp`], headers: { Authorization: `Bearer ${of.token}` } }
        return (await at.api('POST', '/v1/upstreams?wait=10s', { slug, transport })).body
      }
      assert.equal(((await register(other, 'one', one)) as UpstreamAnswer).state.state, 'ready')
      const closing = ((await register(one, 'other', other)) as UpstreamAnswer).state
      assert.deepEqual([closing.state, closing.code], ['down', 'LOOP_DETECTED'])
    } finally {
      await one.stop()
      await other.stop()
      await upstream.stop()
    }
  })
})
