// What changes while clients are connected reaches them: an upstream that is registered or removed, and one whose own
// tools change.

import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import type { Program } from '../fakes/process.ts'
import { eventually, startStateful } from './fixtures.ts'
import { type RunningGateway, startGateway } from './gateway.ts'
import { connectPeer, type Peer, textOf } from './peers.ts'

let upstream: Program & { readonly url: string }
let late: Program & { readonly url: string }
let gateway: RunningGateway
const peers: Peer[] = []

before(
  async () => {
    upstream = await startStateful()
    late = await startStateful()
    gateway = await startGateway({
      yaml: JSON.stringify({ version: 1, upstreams: { state: { url: upstream.url } } }),
      args: ['--workers', '2'],
      ready: ['state'],
    })
    // Clients of 2026-07-28 hear of changes by subscriptions, which are not part of this test.
    for (const kind of ['sdk 1.x', 'sdk 2.x legacy', 'sdk 1.x'] as const)
      peers.push(await connectPeer(kind, { url: `${gateway.url}/mcp`, token: gateway.token }))
  },
  { timeout: 60_000 },
)

after(async () => {
  await Promise.all(peers.map((peer) => peer.close()))
  await gateway?.stop()
  await Promise.all([upstream?.stop(), late?.stop()])
})

async function whileChanging(what: string, change: () => Promise<void>): Promise<void> {
  // A client opens its stream by itself some time after the handshake; changes count from here.
  await new Promise((resolve) => setTimeout(resolve, 300))
  const earlier = peers.map((peer) => peer.toolsChanged())
  await change()
  for (const [at, peer] of peers.entries())
    await eventually(`${what} reaches ${peer.kind}`, () => (peer.toolsChanged() > earlier[at]! ? true : null))
}

const names = async (peer: Peer): Promise<string[]> => (await peer.tools()).map((tool) => String(tool.name))

test('an upstream registered while clients are connected', async () => {
  await whileChanging('the new upstream', async () => {
    const transport = { kind: 'http', urls: [late.url] }
    const { status } = await gateway.api('POST', '/v1/upstreams?wait=15s', { slug: 'late', transport })
    assert.equal(status, 201)
  })
  for (const peer of peers) {
    assert.ok((await names(peer)).includes('late-echo'))
    assert.equal(textOf(await peer.call('late-echo', { text: 'welcome' })), 'welcome')
  }
})

test('an upstream that says that its own tools have changed is read again at once', async () => {
  await whileChanging('the tool that grew', async () => {
    await peers[0]!.call('state-grow', { name: 'sprout' })
  })
  for (const peer of peers)
    await eventually('the tool is listed', async () => ((await names(peer)).includes('state-sprout') ? true : null))
  assert.equal(textOf(await peers[1]!.call('state-sprout')), 'sprout is here')
})

test('an upstream removed while clients are connected', async () => {
  await whileChanging('the removal', async () => {
    assert.equal(await gateway.remove('/v1/upstreams/late'), 204)
  })
  for (const peer of peers) {
    assert.ok(!(await names(peer)).some((name) => name.startsWith('late-')))
    await assert.rejects(peer.call('late-echo', { text: 'gone' }), { code: -32602 })
  }
})
