// Clients that no one here wrote, against the gateway: each does everything it can, directly and through the gateway,
// and must be told the same. The upstream keeps state, so each client sees its own.

import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import type { Program } from '../fakes/process.ts'
import { eventually, startStateful } from './fixtures.ts'
import { type RunningGateway, startGateway } from './gateway.ts'
import { comparable, connectPeer, essence, type Json, PEER_KINDS, type Peer, textOf } from './peers.ts'

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

/** Everything that a client can ask of the stateful upstream and whose answer does not depend on who else asked. */
async function script(peer: Peer, prefix: string, other: Peer): Promise<Json> {
  const list = (items: Json[]): unknown[] => comparable(items, peer, other)
  const rename = (items: Json[]): unknown[] =>
    list(items.map((item) => ({ ...item, name: String(item.name).slice(prefix.length) })))
  const steps: unknown[] = []
  return {
    tools: rename(await peer.tools()),
    prompts: rename(await peer.prompts()),
    resources: list(await peer.resources()),
    templates: list(await peer.templates()),
    echo: essence(await peer.call(`${prefix}echo`, { text: 'grüße', times: 3 })),
    fail: essence(await peer.call(`${prefix}fail`)),
    counts: [textOf(await peer.call(`${prefix}count`)), textOf(await peer.call(`${prefix}count`))],
    note: textOf(await peer.call(`${prefix}note`, { text: 'mine' })),
    notes: textOf(await peer.call(`${prefix}notes`)),
    prompt: essence(await peer.prompt(`${prefix}greet`, { name: 'Ada' })),
    motto: essence(await peer.read('stateful://motto')),
    person: essence(await peer.read('stateful://person/ada')),
    promptCompletion: essence(
      await peer.complete({ type: 'ref/prompt', name: `${prefix}greet` }, { name: 'name', value: 'a' }),
    ),
    templateCompletion: essence(
      await peer.complete({ type: 'ref/resource', uri: 'stateful://person/{name}' }, { name: 'name', value: 'g' }),
    ),
    slow: essence(
      await peer.call(
        `${prefix}slow`,
        { steps: 4 },
        { onProgress: ({ progress, total }) => steps.push([progress, total]) },
      ),
    ),
    steps,
  }
}

/** Each gets a token of its own: two clients of one caller share the upstream's state. */
async function through(kind: (typeof PEER_KINDS)[number], path: string, name: string): Promise<Peer> {
  const origin = path.endsWith('/ws') ? gateway.url.replace('http', 'ws') : gateway.url
  return connectPeer(kind, { url: `${origin}${path}`, token: await gateway.newToken(`${kind} ${name}`) })
}

/** What a client can connect to, as the last part of a path. */
const TRANSPORTS = ['mcp', 'sse', 'ws'] as const

for (const kind of PEER_KINDS)
  for (const transport of TRANSPORTS)
    test(`${kind} over ${transport} is told through a virtual server what the upstream itself says`, async () => {
      const direct = await connectPeer(kind, { url: upstream.url })
      const peer = await through(kind, `/servers/plain/${transport}`, `keep ${transport}`)
      try {
        assert.deepEqual(await script(peer, '', direct), await script(direct, '', peer))
      } finally {
        await Promise.all([direct.close(), peer.close()])
      }
    })

for (const kind of PEER_KINDS)
  for (const transport of TRANSPORTS) {
    describe(`${kind} over ${transport}`, () => {
      test('is told through all of the gateway the same under prefixed names', async () => {
        const direct = await connectPeer(kind, { url: upstream.url })
        const peer = await through(kind, `/${transport}`, `prefix ${transport}`)
        try {
          assert.deepEqual(await script(peer, 'state-', direct), await script(direct, '', peer))
        } finally {
          await Promise.all([direct.close(), peer.close()])
        }
      })

      test('speaks the newest revision that both sides know', async () => {
        const peer = await through(kind, `/${transport}`, `era ${transport}`)
        try {
          assert.equal(peer.era, kind === 'sdk 2.x auto' ? 'modern' : 'legacy')
          assert.equal(peer.server?.name, 'mcp-gateway')
          for (const capability of ['tools', 'prompts', 'resources', 'completions'])
            assert.ok(capability in peer.capabilities, `${capability} is not declared`)
        } finally {
          await peer.close()
        }
      })

      test('a cancelled call stops the work of the upstream', async () => {
        const peer = await through(kind, `/${transport}`, `cancel ${transport}`)
        const cancelled = async (): Promise<number> => Number(textOf(await peer.call('state-cancelled')))
        try {
          const earlier = await cancelled()
          const controller = new AbortController()
          const running = peer.call(
            'state-slow',
            { steps: 500 },
            { signal: controller.signal, onProgress: () => controller.abort(new Error('enough')) },
          )
          await assert.rejects(running)
          await eventually('the upstream stops', async () => ((await cancelled()) === earlier + 1 ? true : null))
        } finally {
          await peer.close()
        }
      })

      test('log lines come from the level that it asked for', async () => {
        const peer = await through(kind, `/${transport}`, `logs ${transport}`)
        try {
          await peer.setLevel('warning')
          await peer.call('state-log')
          await eventually('both lines', () => (peer.logs.length >= 2 ? true : null))
          assert.deepEqual(
            peer.logs.map((line) => [line.level, line.data]),
            [
              ['warning', 'a line of warning'],
              ['error', 'a line of error'],
            ],
          )
        } finally {
          await peer.close()
        }
      })

      test('what does not exist is a typed refusal', async () => {
        const peer = await through(kind, `/${transport}`, `unknown ${transport}`)
        try {
          await assert.rejects(peer.call('no-such-tool'), { code: -32602 })
          await assert.rejects(peer.prompt('no-such-prompt'), { code: -32602 })
          await assert.rejects(peer.read('stateful://nothing'), (error: { code?: number }) =>
            [-32602, -32002].includes(error.code ?? 0),
          )
        } finally {
          await peer.close()
        }
      })
    })
  }

test("no caller's credential reaches an upstream", async () => {
  const peer = await through('sdk 1.x', '/mcp', 'headers')
  try {
    const headers = JSON.parse(textOf(await peer.call('state-headers'))) as Record<string, string>
    assert.ok(!('authorization' in headers))
    assert.ok(!JSON.stringify(headers).includes('mgw_'))
    assert.ok(!('cookie' in headers) && !('origin' in headers))
  } finally {
    await peer.close()
  }
})
