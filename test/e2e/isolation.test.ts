// A stateful upstream, four workers, several callers: over hundreds of calls that land on any worker, nobody ever sees
// the state of another, and everybody always finds their own.

import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import type { Program } from '../fakes/process.ts'
import { COMMANDS, startStateful } from './fixtures.ts'
import { type RunningGateway, startGateway } from './gateway.ts'
import { connectPeer, type Peer, textOf } from './peers.ts'

const CALLS_PER_CALLER = 110
const IN_FLIGHT = 6

let upstream: Program & { readonly url: string }
let gateway: RunningGateway

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
      args: ['--workers', '4'],
      ready: ['state', 'child'],
    })
  },
  { timeout: 90_000 },
)

after(async () => {
  await gateway?.stop()
  await upstream?.stop()
})

/** Many calls with some in flight at a time, spread over connections of both eras; what each counted, sorted. */
async function counts(peers: readonly Peer[], tool: string): Promise<number[]> {
  const seen: number[] = []
  let next = 0
  const run = async (): Promise<void> => {
    while (next < CALLS_PER_CALLER) {
      const at = next
      next += 1
      seen.push(Number(textOf(await peers[at % peers.length]!.call(tool))))
    }
  }
  await Promise.all(Array.from({ length: IN_FLIGHT }, run))
  return seen.sort((a, b) => a - b)
}

async function peersOf(token: string): Promise<Peer[]> {
  const place = { url: `${gateway.url}/mcp`, token }
  return Promise.all([
    connectPeer('sdk 1.x', place),
    connectPeer('sdk 2.x auto', place),
    connectPeer('sdk 2.x legacy', place),
    connectPeer('sdk 2.x auto', place),
  ])
}

for (const slug of ['state', 'child'])
  test(`two callers of the ${slug === 'state' ? 'HTTP' : 'stdio'} upstream, ${2 * CALLS_PER_CALLER} calls`, {
    timeout: 120_000,
  }, async () => {
    const tokens = await Promise.all(['ada', 'alan'].map((name) => gateway.newToken(`${name} ${slug}`)))
    const callers = await Promise.all(tokens.map(peersOf))
    try {
      const whole = Array.from({ length: CALLS_PER_CALLER }, (_, at) => at + 1)
      // Every number once: one counter of one's own, never a second link, never a stranger's call on it.
      for (const seen of await Promise.all(callers.map((peers) => counts(peers, `${slug}-count`))))
        assert.deepEqual(seen, whole)
      const [ada, alan] = callers as [Peer[], Peer[]]
      await ada[0]!.call(`${slug}-note`, { text: 'of ada' })
      await alan[0]!.call(`${slug}-note`, { text: 'of alan' })
      for (const peer of ada) assert.equal(textOf(await peer.call(`${slug}-notes`)), 'of ada')
      for (const peer of alan) assert.equal(textOf(await peer.call(`${slug}-notes`)), 'of alan')
    } finally {
      await Promise.all(callers.flat().map((peer) => peer.close()))
    }
  })

test('callers who have only tokens, each call a connection of its own, find their own again', async () => {
  const names = ['one', 'two', 'three', 'four', 'five']
  const tokens = await Promise.all(names.map((name) => gateway.newToken(`fresh ${name}`)))
  const rpc = async (token: string, name: string, args: object): Promise<string> => {
    const answer = await fetch(`${gateway.url}/rpc`, {
      method: 'POST',
      headers: { 'Content-Type': 'application/json', Authorization: `Bearer ${token}`, Connection: 'close' },
      body: JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'tools/call', params: { name, arguments: args } }),
      signal: AbortSignal.timeout(20_000),
    })
    const { result, error } = (await answer.json()) as { result?: Parameters<typeof textOf>[0]; error?: unknown }
    assert.ok(result, JSON.stringify(error))
    return textOf(result)
  }
  for (let round = 1; round <= 6; round += 1) {
    const told = await Promise.all(
      tokens.map(async (token, at) => {
        await rpc(token, 'state-note', { text: `${names[at]} ${round}` })
        return rpc(token, 'state-notes', {})
      }),
    )
    for (const [at, notes] of told.entries())
      assert.deepEqual(
        notes.split('\n'),
        Array.from({ length: round }, (_, one) => `${names[at]} ${one + 1}`),
      )
  }
})

test('a caller whose session ended, or whose token is gone, leaves nothing to the next', async () => {
  const token = await gateway.newToken('leaver')
  const first = await connectPeer('sdk 1.x', { url: `${gateway.url}/mcp`, token })
  await first.call('state-note', { text: 'private' })
  await first.close()
  const { status } = await gateway.api('DELETE', '/v1/tokens/leaver')
  assert.equal(status, 204)
  await assert.rejects(connectPeer('sdk 1.x', { url: `${gateway.url}/mcp`, token }))
  const next = await connectPeer('sdk 1.x', { url: `${gateway.url}/mcp`, token: await gateway.newToken('leaver') })
  assert.equal(textOf(await next.call('state-notes')), '')
  await next.close()
})
