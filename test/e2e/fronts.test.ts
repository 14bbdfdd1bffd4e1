// HTTP+SSE and WebSocket in front of four workers: what one process shows is in src/edge/*.test.ts, what real clients are
// told in clients.test.ts. Here a post comes to any worker, and workers are replaced and killed.

import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { connectSocket, connectSse, type Front, type FrontClient, postTo } from '../fakes/fronts.ts'
import type { Program } from '../fakes/process.ts'
import { holderOf, isRunning, until, workersOf } from '../fakes/processes.ts'
import { eventually, startStateful } from './fixtures.ts'
import { type RunningGateway, startGateway } from './gateway.ts'
import { connectPeer, PEER_KINDS, textOf } from './peers.ts'

const WORKERS = 4
const hasProc = process.platform === 'linux'

let upstream: Program & { readonly url: string }
let gateway: RunningGateway
let front: Pick<Front, 'port'>

before(
  async () => {
    upstream = await startStateful()
    gateway = await startGateway({
      args: ['--workers', String(WORKERS)],
      yaml: JSON.stringify({ version: 1, upstreams: { state: { url: upstream.url } } }),
      ready: ['state'],
    })
    front = { port: Number(new URL(gateway.url).port) }
  },
  { timeout: 60_000 },
)
after(async () => {
  await gateway?.stop()
  await upstream?.stop()
})

const echo = (client: FrontClient, id: number): Promise<unknown> =>
  client.ask(id, 'tools/call', { name: 'state-echo', arguments: { text: `n${id}` } })

for (const kind of PEER_KINDS)
  for (const last of ['sse', 'ws'])
    test(`${kind}: eight clients over ${last} are each told their own`, { timeout: 60_000 }, async () => {
      const url = `${last === 'ws' ? gateway.url.replace('http', 'ws') : gateway.url}/${last}`
      const peers = await Promise.all(
        Array.from({ length: 8 }, async (_, at) => {
          const token = await gateway.newToken(`${kind} ${last} ${at}`)
          return connectPeer(kind, { url, token })
        }),
      )
      await Promise.all(
        peers.map(async (peer, at) => {
          await peer.call('state-note', { text: `of ${at}` })
          for (let n = 0; n < 5; n += 1)
            assert.equal(textOf(await peer.call('state-echo', { text: `${at} ${n}` })), `${at} ${n}`)
          assert.equal(textOf(await peer.call('state-notes')), `of ${at}`)
        }),
      )
      await Promise.all(peers.map((peer) => peer.close()))
    })

test('posts of one client come to every worker, and all are answered on its stream', { timeout: 60_000 }, async () => {
  const client = await connectSse(front, { token: gateway.token })
  const send = (message: unknown) => postTo(front, client.endpoint, message, { token: gateway.token })
  const answerTo = (id: number) => client.inbox.take((message) => message.id === id)
  const clientInfo = { name: 'test', version: '1' }
  const params = { protocolVersion: '2025-06-18', capabilities: {}, clientInfo }
  await send({ jsonrpc: '2.0', id: 0, method: 'initialize', params })
  await answerTo(0)
  const ids = Array.from({ length: 60 }, (_, at) => at + 1)
  const call = { name: 'state-echo', arguments: { text: 'x'.repeat(100_000) } }
  const posted = await Promise.all(ids.map((id) => send({ jsonrpc: '2.0', id, method: 'tools/call', params: call })))
  assert.deepEqual(new Set(posted.map(({ status }) => status)), new Set([202]))
  for (const id of ids) assert.ok('result' in (await answerTo(id)))
  const other = await gateway.newToken('another')
  for (const { status } of await Promise.all(ids.map(() => postTo(front, client.endpoint, {}, { token: other }))))
    assert.equal(status, 404)
  client.close()
})

test('many sockets without a token are refused, and nobody else notices', { timeout: 60_000 }, async () => {
  const client = await connectSocket(front, { token: gateway.token })
  await client.greet()
  const refused = Array.from({ length: 300 }, () =>
    assert.rejects(connectSocket(front, { token: 'mgw_no_token' }), { status: 401 }),
  )
  const answered = Array.from({ length: 30 }, (_, id) => echo(client, id))
  await Promise.all([...refused, ...answered])
  client.close()
})

const onLinux = { timeout: 90_000, skip: hasProc ? false : 'processes are looked up in /proc' }

test('an endpoint whose worker was killed is lost, and says so', onLinux, async () => {
  const client = await connectSse(front, { token: gateway.token })
  const holder = holderOf(client.response.socket.localPort!, front.port, workersOf(gateway.pid))
  assert.ok(holder !== undefined)
  process.kill(holder, 'SIGKILL')
  assert.equal(await client.closed, 0)
  await until('the worker is gone', () => !isRunning(holder))
  const ping = { jsonrpc: '2.0', id: 1, method: 'ping' }
  const { status, text } = await postTo(front, client.endpoint, ping, { token: gateway.token })
  assert.equal(status, 410, text)
  assert.match(text, /OWNER_LOST/)
})

test('replaced workers end their connections with 1001, and a new one is had at once', onLinux, async () => {
  const clients = await Promise.all(Array.from({ length: 12 }, () => connectSocket(front, { token: gateway.token })))
  for (const client of clients) await client.greet()
  const before = workersOf(gateway.pid)
  process.kill(gateway.pid, 'SIGHUP')
  for (const client of clients) assert.equal(await client.closed, 1001)
  await eventually(
    'new workers',
    () => {
      const now = workersOf(gateway.pid)
      return now.length === WORKERS && now.every((pid) => !before.includes(pid)) ? true : null
    },
    60_000,
  )
  const client = await connectSocket(front, { token: gateway.token })
  await client.greet()
  await echo(client, 1)
  client.close()
})
