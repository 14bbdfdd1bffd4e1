// `mcp-gateway stdio` as clients spawn it: the official SDKs of both eras drive it, and a restart of the gateway between.

import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { after, before, test } from 'node:test'
import type { Program } from '../fakes/process.ts'
import { startStateful } from './fixtures.ts'
import { type RunningGateway, startGateway } from './gateway.ts'
import { connectPeer, PEER_KINDS, textOf } from './peers.ts'

const MAIN = join(import.meta.dirname, '..', '..', 'src', 'main.ts')
let upstream: Program & { readonly url: string }
let gateway: RunningGateway

before(
  async () => {
    upstream = await startStateful()
    gateway = await startGateway({
      yaml: JSON.stringify({
        version: 1,
        upstreams: { state: { url: upstream.url } },
        virtualServers: { plain: { naming: 'keep', members: [{ upstream: 'state' }] } },
      }),
      ready: ['state'],
    })
  },
  { timeout: 60_000 },
)

after(async () => {
  await gateway?.stop()
  await upstream?.stop()
})

for (const kind of PEER_KINDS) {
  test(`${kind}: lists, calls, progress, state and refusals pass`, { timeout: 60_000 }, async () => {
    const args = [MAIN, 'stdio', '--server', 'plain', '--data', gateway.data]
    const peer = await connectPeer(kind, { command: process.execPath, args })
    try {
      assert.equal(peer.era, kind === 'sdk 2.x auto' ? 'modern' : 'legacy')
      assert.ok((await peer.tools()).some(({ name }) => name === 'echo'))
      assert.match(textOf(await peer.call('echo', { text: 'grüße\nzwei', times: 1 })), /grüße\nzwei/)
      const steps: number[] = []
      await peer.call('slow', { steps: 3 }, { onProgress: ({ progress }) => steps.push(progress) })
      assert.ok(steps.length > 0, 'progress came')
      await assert.rejects(peer.read('stateful://no-such-thing'))
      const many = await Promise.all(Array.from({ length: 20 }, (_, n) => peer.call('echo', { text: `n${n}` })))
      for (const [n, answer] of many.entries()) assert.match(textOf(answer), new RegExp(`n${n}\\b`))
    } finally {
      await peer.close()
    }
  })
}

/** The bridge by hand: one line in, one line out. */
function spawnBridge(args: readonly string[]) {
  const child = spawn(process.execPath, [MAIN, 'stdio', ...args], { stdio: ['pipe', 'pipe', 'ignore'] })
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]()
  return {
    child,
    say: (message: unknown) =>
      child.stdin.write(`${typeof message === 'string' ? message : JSON.stringify(message)}\n`),
    hear: async () => JSON.parse((await lines.next()).value as string),
    exit: once(child, 'exit'),
  }
}

const GREETING = {
  ...{ jsonrpc: '2.0', id: 'g', method: 'initialize' },
  params: { protocolVersion: '2025-11-25', capabilities: {}, clientInfo: { name: 'hand', version: '1' } },
}

test('a gateway that goes away and another in its place: each request gets a typed error, and the bridge lives on', {
  timeout: 60_000,
}, async () => {
  const { child, say, hear, exit } = spawnBridge(['--data', gateway.data])
  try {
    say('{"jsonrpc":')
    assert.equal((await hear()).error.code, -32700)
    say(GREETING)
    assert.equal((await hear()).id, 'g')
    say({ jsonrpc: '2.0', method: 'notifications/initialized' })
    say({ jsonrpc: '2.0', id: 1, method: 'ping' })
    assert.deepEqual(await hear(), { jsonrpc: '2.0', id: 1, result: {} })
    // Another gateway at the same address does not know the token of the first one.
    const { data } = gateway
    const port = Number(new URL(gateway.url).port)
    const yaml = JSON.stringify({ version: 1, upstreams: { state: { url: upstream.url } } })
    process.kill(gateway.pid, 'SIGTERM')
    for (;;) {
      say({ jsonrpc: '2.0', id: 2, method: 'ping' })
      const heard = await hear()
      if (heard.error === undefined) continue
      assert.equal(typeof heard.error.data.code, 'string')
      if (heard.error.data.code === 'UPSTREAM_UNAVAILABLE') break
    }
    await gateway.stop()
    gateway = await startGateway({ yaml, port, ready: ['state'] })
    assert.notEqual(gateway.data, data)
    say({ jsonrpc: '2.0', id: 3, method: 'ping' })
    const refused = await hear()
    assert.deepEqual([refused.id, refused.error.data.code], [3, 'UNAUTHENTICATED'])
    child.stdin.end()
    assert.equal((await exit)[0], 0)
  } finally {
    child.kill('SIGKILL')
  }
})

test('no gateway: exit code 3 and nothing on standard output', { timeout: 30_000 }, async () => {
  const { child, exit } = spawnBridge(['--data', join(import.meta.dirname, 'no-such-directory')])
  let out = ''
  child.stdout.on('data', (chunk) => {
    out += chunk
  })
  assert.equal((await exit)[0], 3)
  assert.equal(out, '')
})
