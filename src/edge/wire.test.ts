// What holds on every connection, whichever its transport: run over WebSocket and over HTTP+SSE.

import assert from 'node:assert/strict'
import { after, describe, test } from 'node:test'
import {
  connectSocket,
  connectSse,
  type Front,
  type FrontClient,
  type Json,
  startFront,
} from '../../test/fakes/fronts.ts'
import type { Limits } from '../core/limits.ts'

const fronts: Front[] = []
after(() => Promise.all(fronts.map((front) => front.close())))
async function start(limits: Partial<Limits> = {}): Promise<Front> {
  const front = await startFront(limits)
  fronts.push(front)
  return front
}
const until = async (condition: () => boolean): Promise<void> => {
  while (!condition()) await new Promise((resolve) => setTimeout(resolve, 2))
}
const codeOf = (answer: Json): unknown => ((answer.error as Json).data as Json).code
const modern = (params: Json = {}): Json => ({
  ...params,
  _meta: {
    'io.modelcontextprotocol/protocolVersion': '2026-07-28',
    'io.modelcontextprotocol/clientCapabilities': {},
    'io.modelcontextprotocol/clientInfo': { name: 'test', version: '1' },
  },
})
const cancelled = (requestId: unknown): Json => ({
  jsonrpc: '2.0',
  method: 'notifications/cancelled',
  params: { requestId },
})

const TRANSPORTS: readonly [string, string, (front: Front, path?: string) => Promise<FrontClient>][] = [
  ['WebSocket', 'ws', (front, path) => connectSocket(front, { ...(path === undefined ? {} : { path }) })],
  ['HTTP+SSE', 'sse', (front, path) => connectSse(front, { ...(path === undefined ? {} : { path }) })],
]

for (const [name, last, connect] of TRANSPORTS)
  describe(name, { timeout: 60_000 }, () => {
    test('a session is begun by initialize, hears of changes, and ends with its connection', async () => {
      const front = await start()
      const client = await connect(front, `/servers/team/${last}`)
      assert.equal(codeOf(await client.ask(1, 'tools/call', { name: 'echo' })), 'SESSION_REQUIRED')
      await client.greet()
      const { result } = await client.ask(2, 'tools/call', { name: 'progress' })
      assert.deepEqual(result, { era: 'legacy', caller: 'ada', scope: 'team', hasSession: true })
      assert.equal((await client.inbox.take(({ method }) => method === 'notifications/progress')).id, undefined)
      front.edge.announce(() => ['tools'])
      await client.inbox.take(({ method }) => method === 'notifications/tools/list_changed')
      assert.equal(codeOf(await client.ask(3, 'initialize', { protocolVersion: '2025-11-25' })), 'INVALID_REQUEST')
      assert.equal(front.edge.stats().streams, 1)
      client.send({ jsonrpc: '2.0', id: 4, method: 'tools/call', params: { name: 'wait' } })
      await until(() => front.waiting.length === 1)
      client.close()
      await until(() => front.ended.length === 1)
      assert.deepEqual(front.cancelled, ['client'])
      assert.equal(front.edge.stats().streams, 0)
      assert.equal(await front.edge.idle(60_000), true)
    })

    test('requests of 2026-07-28 need no session, and are cancelled by a notification', async () => {
      const front = await start()
      const client = await connect(front)
      const { result } = await client.ask('a', 'tools/call', modern({ name: 'echo' }))
      assert.deepEqual(result, { era: 'modern', caller: 'ada', scope: '', hasSession: false })
      client.send({ jsonrpc: '2.0', id: 'w\u00e9', method: 'tools/call', params: modern({ name: 'wait' }) })
      await until(() => front.waiting.length === 1)
      client.send(cancelled('no such request'))
      client.send(cancelled('w\u00e9'))
      await until(() => front.cancelled.length === 1)
      // What was cancelled is not answered: the next answer is that of the next request.
      await client.ask('b', 'tools/call', modern({ name: 'echo' }))
      assert.deepEqual(client.inbox.messages, [])
      client.close()
    })

    test('a legacy call is cancelled by a notification, and then not answered', async () => {
      const front = await start()
      const client = await connect(front)
      await client.greet()
      client.send({ jsonrpc: '2.0', id: 1, method: 'tools/call', params: { name: 'wait' } })
      await until(() => front.waiting.length === 1)
      client.send(cancelled(1))
      await until(() => front.cancelled.length === 1)
      await client.ask(2, 'tools/call', { name: 'echo' })
      assert.deepEqual(client.inbox.messages, [])
      client.close()
    })

    test('a subscription begins with what is honoured and ends by its cancellation', async () => {
      const front = await start()
      const client = await connect(front)
      const notifications = { toolsListChanged: true, resourceSubscriptions: ['x://a'] }
      client.send({ jsonrpc: '2.0', id: 7, method: 'subscriptions/listen', params: modern({ notifications }) })
      const first = await client.inbox.take(() => true)
      assert.equal(first.method, 'notifications/subscriptions/acknowledged')
      front.edge.announce(() => ['tools', 'prompts'])
      const heard = await client.inbox.take(() => true)
      assert.equal(heard.method, 'notifications/tools/list_changed')
      assert.deepEqual((heard.params as Json)._meta, { 'io.modelcontextprotocol/subscriptionId': 7 })
      client.send(cancelled(7))
      await until(() => front.unwatched.length === 1)
      assert.equal(front.edge.stats().streams, 1)
      client.close()
    })

    test('no more than wireCallsMax requests wait for their answers', async () => {
      const front = await start({ wireCallsMax: 2 })
      const client = await connect(front)
      await client.greet()
      for (const id of [1, 2]) client.send({ jsonrpc: '2.0', id, method: 'tools/call', params: { name: 'wait' } })
      await until(() => front.waiting.length === 2)
      assert.equal(codeOf(await client.ask(3, 'tools/call', { name: 'echo' })), 'OVERLOADED')
      front.waiting[0]!()
      await client.inbox.take(({ id }) => id === 1 || id === 2)
      await client.ask(4, 'tools/call', { name: 'echo' })
      client.close()
    })

    test('no more than maxStreams connections are open', async () => {
      const front = await start({ maxStreams: 2 })
      const clients = [await connect(front), await connect(front)]
      for (const client of clients) await client.greet()
      await assert.rejects(connect(front), { status: 503 })
      clients[0]!.close()
      await until(() => front.edge.stats().streams === 1)
      clients.push(await connect(front))
      for (const client of clients) client.close()
    })

    test('calls count at the gate', async () => {
      const front = await start({ maxInFlight: 2, maxQueued: 0 })
      const client = await connect(front)
      await client.greet()
      client.send({ jsonrpc: '2.0', id: 1, method: 'tools/call', params: { name: 'wait' } })
      await until(() => front.waiting.length === 1)
      assert.equal(front.edge.stats().inFlight, 1)
      front.waiting[0]!()
      await client.inbox.take(({ id }) => id === 1)
      client.close()
      assert.equal(await front.edge.idle(60_000), true)
    })

    test('who does not read loses the connection at wireUnreadBytes', async () => {
      const front = await start({ wireUnreadBytes: 3 * 1024 * 1024, streamBufferBytes: 64 * 1024 * 1024 })
      const client = await connect(front)
      await client.greet()
      if ('socket' in client) (client as { socket: { pause(): void } }).socket.pause()
      else (client as unknown as { response: { pause(): void } }).response.pause()
      for (let id = 1; id <= 60; id += 1)
        client.send({ jsonrpc: '2.0', id, method: 'tools/call', params: { name: 'large' } })
      await until(() => front.ended.length === 1)
      assert.equal(front.edge.stats().streams, 0)
      client.close()
    })

    test('a revoked token ends its connections', async () => {
      const front = await start()
      const client = await connect(front)
      await client.greet()
      front.tokens.delete('ada')
      front.bus.publish('callersChanged', { hashes: null })
      assert.equal(await client.closed, last === 'ws' ? 1008 : 0)
      await until(() => front.ended.length === 1)
    })

    test('a session that is too old ends its connection', async () => {
      const front = await start({ keepAliveCommentMs: 30, sessionAgeMs: 60_000 })
      const client = await connect(front)
      front.clock.forward(60_001)
      assert.equal(await client.closed, last === 'ws' ? 1008 : 0)
    })

    test('a worker that stops answers what has come, takes nothing more, and says why', async () => {
      const front = await start()
      const [busy, idle] = [await connect(front), await connect(front)]
      await busy.greet()
      busy.send({ jsonrpc: '2.0', id: 1, method: 'tools/call', params: { name: 'wait' } })
      await until(() => front.waiting.length === 1)
      const drained = front.drain(100)
      assert.equal(await idle.closed, last === 'ws' ? 1001 : 0)
      assert.equal(codeOf(await busy.ask(2, 'tools/call', { name: 'echo' })), 'SHUTTING_DOWN')
      // A new one gets its time here, as there is nobody else yet.
      const late = await connect(front)
      await late.greet()
      await drained
      front.edge.drain()
      assert.equal(await late.closed, last === 'ws' ? 1001 : 0)
      front.waiting[0]!()
      assert.deepEqual((await busy.inbox.take(({ id }) => id === 1)).result, { waited: true })
      assert.equal(await busy.closed, last === 'ws' ? 1001 : 0)
    })

    test('batches are those of 2025-03-26', async () => {
      const front = await start()
      const client = await connect(front)
      await client.greet('2025-03-26')
      const call = (id: number): Json => ({ jsonrpc: '2.0', id, method: 'tools/call', params: { name: 'echo' } })
      client.send([call(1), { jsonrpc: '2.0', method: 'notifications/x' }, call(2)])
      const answers = (await client.inbox.take((message) => Array.isArray(message))) as unknown as Json[]
      assert.deepEqual(
        answers.map(({ id }) => id),
        [1, 2],
      )
      client.close()
      const other = await connect(front)
      await other.greet()
      other.send([call(1)])
      assert.equal(codeOf(await other.inbox.take(({ error }) => error !== undefined)), 'INVALID_REQUEST')
      other.close()
    })
  })
