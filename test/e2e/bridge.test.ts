// Clients and servers that no one here wrote, with questions in the middle of a call and subscriptions: a server of
// 2025-11-25, by HTTP and as a child, asks clients of both families, behind two workers.

import assert from 'node:assert/strict'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import * as two from '@modelcontextprotocol/client'
import { Client as ClientOne } from '@modelcontextprotocol/sdk/client/index.js'
import {
  CreateMessageRequestSchema,
  ElicitRequestSchema,
  ListRootsRequestSchema,
  ResourceUpdatedNotificationSchema,
} from '@modelcontextprotocol/sdk/types.js'
import { type Program, startServer } from '../fakes/process.ts'
import { eventually } from './fixtures.ts'
import { type RunningGateway, startGateway } from './gateway.ts'
import { transportOne, transportTwo } from './peers.ts'

const ASKING = join(import.meta.dirname, '..', 'fakes', 'asking-server.ts')
let http: Program & { readonly url: string }
let gateway: RunningGateway

before(
  async () => {
    http = await startServer(ASKING, ['http'])
    const upstreams = { http: { url: http.url }, stdio: { command: process.execPath, args: [ASKING, 'stdio'] } }
    gateway = await startGateway({
      yaml: JSON.stringify({ version: 1, upstreams }),
      args: ['--workers', '2'],
      ready: ['http', 'stdio'],
    })
  },
  { timeout: 60_000 },
)

after(async () => {
  await gateway?.stop()
  await http?.stop()
})

interface Asked {
  call(name: string): Promise<string>
  /** Questions that came, in their order. */
  readonly questions: string[]
  readonly updates: string[]
  watch(uri: string): Promise<void>
  close(): Promise<void>
}

const INFO = { name: 'asked', version: '1' }
const CAPABILITIES = { elicitation: { form: {} }, sampling: {}, roots: {} }
/** `last` is the last part of the path: which transport. */
const placeOf = (last: string) => {
  const origin = last === 'ws' ? gateway.url.replace('http', 'ws') : gateway.url
  return { url: `${origin}/${last}`, token: gateway.token }
}
const textOf = (result: unknown): string => (result as { content: { text: string }[] }).content[0]!.text

const elicited = (who: string) => ({ action: 'accept' as const, content: { said: who } })
const sampled = (who: string) => ({
  ...{ role: 'assistant' as const, model: 'm-1', content: { type: 'text' as const, text: `hello ${who}` } },
})
const rooted = (who: string) => ({ roots: [{ uri: `file:///${who}` }] })

async function older(who: string, last: string): Promise<Asked> {
  const client = new ClientOne(INFO, { capabilities: CAPABILITIES })
  const questions: string[] = []
  const updates: string[] = []
  client.setRequestHandler(ElicitRequestSchema, ({ params }) => {
    questions.push(params.message)
    return elicited(who)
  })
  client.setRequestHandler(CreateMessageRequestSchema, () => sampled(who))
  client.setRequestHandler(ListRootsRequestSchema, () => rooted(who))
  client.setNotificationHandler(ResourceUpdatedNotificationSchema, ({ params }) => void updates.push(params.uri))
  const transport = transportOne(placeOf(last))
  await client.connect(transport as Parameters<typeof client.connect>[0])
  return {
    ...{ questions, updates },
    call: async (name) => textOf(await client.callTool({ name, arguments: {} })),
    watch: async (uri) => void (await client.subscribeResource({ uri })),
    async close() {
      if ('terminateSession' in transport) await transport.terminateSession()
      await client.close()
    },
  }
}

async function newer(who: string, last: string): Promise<Asked> {
  const client = new two.Client(INFO, { capabilities: CAPABILITIES, versionNegotiation: { mode: 'auto' } })
  const questions: string[] = []
  const updates: string[] = []
  client.setRequestHandler('elicitation/create', ({ params }) => {
    questions.push(params.message)
    return elicited(who)
  })
  client.setRequestHandler('sampling/createMessage', () => sampled(who))
  client.setRequestHandler('roots/list', () => rooted(who))
  client.setNotificationHandler('notifications/resources/updated', ({ params }) => void updates.push(params.uri))
  await client.connect(transportTwo(placeOf(last)) as Parameters<typeof client.connect>[0])
  assert.equal(client.getProtocolEra(), 'modern')
  return {
    ...{ questions, updates },
    call: async (name) => textOf(await client.callTool({ name, arguments: {} })),
    watch: async (uri) => void (await client.listen({ resourceSubscriptions: [uri] })),
    close: () => client.close(),
  }
}

const FAMILIES = [
  ['a client of 2025-11-25', older],
  ['a client of 2026-07-28', newer],
] as const
const CLIENTS = FAMILIES.flatMap(([family, connect]) =>
  ['mcp', 'sse', 'ws'].map((last) => [family, connect, last] as const),
)
for (const [family, connect, last] of CLIENTS) {
  describe(`${family} over ${last}`, () => {
    for (const upstream of ['http', 'stdio']) {
      test(`is asked by a server behind ${upstream}, and answers`, { timeout: 30_000 }, async () => {
        const peers = [await connect('ada', last), await connect('bob', last)]
        try {
          for (const [at, who] of ['ada', 'bob'].entries()) {
            const peer = peers[at]!
            assert.equal(await peer.call(`${upstream}-name`), `accept ${who}, accept ${who}`)
            assert.deepEqual(peer.questions, ['first', 'last'])
            assert.equal(await peer.call(`${upstream}-model`), `m-1: hello ${who}`)
            assert.equal(await peer.call(`${upstream}-roots`), `file:///${who}`)
          }
        } finally {
          await Promise.all(peers.map((peer) => peer.close()))
        }
      })
    }

    test('hears of a resource that it watches', { timeout: 30_000 }, async () => {
      const peer = await connect('ada', last)
      try {
        // The stream of a session is opened some time after the handshake.
        await new Promise((resolve) => setTimeout(resolve, 300))
        await peer.watch('note://one')
        await eventually('the update', async () => {
          await peer.call('http-touch')
          return peer.updates.length > 0 ? true : null
        })
        assert.deepEqual(new Set(peer.updates), new Set(['note://one']))
      } finally {
        await peer.close()
      }
    })
  })
}
