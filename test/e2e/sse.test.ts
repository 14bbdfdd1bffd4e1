// Servers of the HTTP+SSE transport (2024-11-05) that no one here wrote, behind a gateway with one worker and with four:
// the official SDKs of TypeScript and Python, and server-everything. Each is found out by its URL alone.

import assert from 'node:assert/strict'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { Client as ClientOne } from '@modelcontextprotocol/sdk/client/index.js'
import { SSEClientTransport } from '@modelcontextprotocol/sdk/client/sse.js'
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js'
import { ElicitRequestSchema, ResourceUpdatedNotificationSchema } from '@modelcontextprotocol/sdk/types.js'
import { type Program, startProgram, startServer, waitFor } from '../fakes/process.ts'
import { pythonPart } from '../parts.ts'
import { eventually, startEverythingSse } from './fixtures.ts'
import { type RunningGateway, startGateway } from './gateway.ts'
import { connectPeer, PEER_KINDS, textOf } from './peers.ts'

const ASKING = join(import.meta.dirname, '..', 'fakes', 'asking-server.ts')
const PYTHON_SERVER = join(import.meta.dirname, 'python_sse_server.py')
const part = pythonPart()
const skip = 'missing' in part ? part.missing : false

type Server = Program & { readonly url: string }
let asking: Server
let everything: Server
let python: (Program & { readonly url: string }) | null = null

before(
  async () => {
    asking = await startServer(ASKING, ['sse'])
    everything = await startEverythingSse()
    if ('path' in part) {
      const program = startProgram(part.path, [PYTHON_SERVER])
      const url = await waitFor(
        program,
        'the Python server',
        () => /^\{"url":"([^"]+)"\}$/m.exec(program.output())?.[1] ?? null,
      )
      python = { ...program, url }
    }
  },
  { timeout: 90_000 },
)

after(async () => {
  await asking?.stop()
  await everything?.stop()
  await python?.stop()
})

/** Straight to the server, by its own transport. */
async function direct(url: string): Promise<ClientOne> {
  const client = new ClientOne({ name: 'direct', version: '1' })
  await client.connect(new SSEClientTransport(new URL(url)))
  return client
}

const ELICITS = { capabilities: { elicitation: { form: {} } } }

for (const workers of [1, 4])
  describe(`${workers} worker(s)`, () => {
    let gateway: RunningGateway

    before(
      async () => {
        const upstreams = {
          asking: { url: asking.url },
          every: { url: everything.url, kind: 'sse' },
          ...(python === null ? {} : { python: { url: python.url } }),
        }
        gateway = await startGateway({
          yaml: JSON.stringify({
            version: 1,
            upstreams,
            virtualServers: Object.fromEntries(
              Object.keys(upstreams).map((slug) => [`v-${slug}`, { naming: 'keep', members: [{ upstream: slug }] }]),
            ),
          }),
          args: ['--workers', String(workers)],
          ready: Object.keys(upstreams),
        })
      },
      { timeout: 90_000 },
    )

    after(() => gateway?.stop())

    const place = (slug: string) => ({ url: `${gateway.url}/servers/v-${slug}/mcp`, token: gateway.token })

    test('what was found out is shown', async () => {
      for (const slug of ['asking', 'every']) {
        const { body } = await gateway.api<{ discovery: Record<string, unknown> }>('GET', `/v1/upstreams/${slug}`)
        const { era, transport, stateful } = body.discovery
        assert.deepEqual([era, transport, stateful], ['legacy', 'sse', true])
      }
    })

    for (const kind of PEER_KINDS)
      test(`server-everything says through the gateway what it says directly: ${kind}`, async () => {
        const plain = await direct(everything.url)
        const peer = await connectPeer(kind, place('every'))
        try {
          const names = (await plain.listTools()).tools.map(({ name }) => name)
          assert.deepEqual((await peer.tools()).map(({ name }) => name).toSorted(), names.toSorted())
          assert.equal(textOf(await peer.call('echo', { message: 'é\n"x"' })), 'Echo: é\n"x"')
          const sums = await Promise.all(
            Array.from({ length: 50 }, (_, a) => peer.call('get-sum', { a, b: 1_000 }).then(textOf)),
          )
          for (const [a, text] of sums.entries()) assert.ok(text.includes(String(1_000 + a)), text)
          const seen: number[] = []
          const onProgress = ({ progress }: { progress: number }): void => void seen.push(progress)
          await peer.call('trigger-long-running-operation', { duration: 0.5, steps: 3 }, { onProgress })
          assert.deepEqual(seen, [1, 2, 3])
          const [resource] = await peer.resources()
          const uri = String(resource!.uri)
          assert.deepEqual((await peer.read(uri)).contents, (await plain.readResource({ uri })).contents)
        } finally {
          await peer.close()
          await plain.close()
        }
      })

    test('the Python SDK over HTTP+SSE', { skip }, async () => {
      for (const kind of PEER_KINDS) {
        const peer = await connectPeer(kind, place('python'))
        try {
          assert.deepEqual(
            (await peer.tools()).map(({ name }) => name),
            ['add'],
          )
          assert.equal(textOf(await peer.call('add', { a: 2, b: 40 })), '42')
        } finally {
          await peer.close()
        }
      }
    })

    test('a question in the middle of a call reaches its own client, and so does what it watches', async () => {
      const connect = async (who: string) => {
        const client = new ClientOne({ name: who, version: '1' }, ELICITS)
        const updates: string[] = []
        client.setRequestHandler(ElicitRequestSchema, () => ({ action: 'accept', content: { said: who } }))
        client.setNotificationHandler(ResourceUpdatedNotificationSchema, ({ params }) => void updates.push(params.uri))
        const headers = { Authorization: `Bearer ${gateway.token}` }
        const transport = new StreamableHTTPClientTransport(new URL(place('asking').url), { requestInit: { headers } })
        await client.connect(transport as Parameters<typeof client.connect>[0])
        return { who, client, transport, updates }
      }
      const peers = await Promise.all(['ann', 'bob', 'cem'].map(connect))
      try {
        await Promise.all(
          peers.map(async ({ who, client }) => {
            const result = await client.callTool({ name: 'name', arguments: {} })
            assert.equal(textOf(result as Record<string, unknown>), `accept ${who}, accept ${who}`)
          }),
        )
        const [ann] = peers as [(typeof peers)[0]]
        await ann.client.subscribeResource({ uri: 'note://one' })
        await ann.client.callTool({ name: 'touch', arguments: {} })
        await eventually('news of the note', () => (ann.updates.length > 0 ? true : null))
      } finally {
        for (const { client, transport } of peers) {
          await transport.terminateSession()
          await client.close()
        }
      }
    })

    test('a server that goes and comes back fails the calls in flight, and serves again', {
      timeout: 60_000,
    }, async () => {
      const port = Number(new URL(asking.url).port)
      const own = await startServer(ASKING, ['sse'])
      const created = await gateway.api<{ id: string }>('POST', '/v1/upstreams?wait=10s', {
        slug: `own-${workers}`,
        transport: { kind: 'http', urls: [own.url] },
      })
      assert.equal(created.status, 201, JSON.stringify(created.body))
      assert.notEqual(port, Number(new URL(own.url).port))
      const client = new ClientOne({ name: 'own', version: '1' }, ELICITS)
      const asked = Promise.withResolvers<void>()
      client.setRequestHandler(ElicitRequestSchema, () => {
        asked.resolve()
        return new Promise(() => {})
      })
      const headers = { Authorization: `Bearer ${gateway.token}` }
      const transport = new StreamableHTTPClientTransport(new URL(`${gateway.url}/mcp`), { requestInit: { headers } })
      await client.connect(transport as Parameters<typeof client.connect>[0])
      try {
        const hanging = client.callTool({ name: `own-${workers}-name`, arguments: {} }).then(
          () => assert.fail('it was answered'),
          (error: Error & { data?: { code?: string } }) => error,
        )
        await asked.promise
        await own.stop('SIGKILL')
        assert.equal((await hanging).data?.code, 'UPSTREAM_UNAVAILABLE')
        const again = await startServer(ASKING, ['sse', new URL(own.url).port])
        try {
          await eventually(
            'it serves again',
            async () => {
              const said = await client.callTool({ name: `own-${workers}-touch`, arguments: {} }).catch(() => null)
              return said === null ? null : true
            },
            30_000,
          )
        } finally {
          await again.stop()
        }
      } finally {
        await client.close()
        await gateway.remove(`/v1/upstreams/own-${workers}`)
        await own.stop()
      }
    })
  })
