// Streams that break and go on, with a client that no one here wrote: the official SDK 1.x resumes by itself, on new
// connections and so at any of several workers; and what it hears when the worker that had its call is killed.

import assert from 'node:assert/strict'
import { connect, createServer, type Socket } from 'node:net'
import { after, before, test } from 'node:test'
import { setTimeout as wait } from 'node:timers/promises'
import { Client } from '@modelcontextprotocol/sdk/client/index.js'
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js'
import { ToolListChangedNotificationSchema } from '@modelcontextprotocol/sdk/types.js'
import { holderOf, until, workersOf } from '../fakes/processes.ts'
import { STATEFUL } from './fixtures.ts'
import { type RunningGateway, startGateway } from './gateway.ts'

const WORKERS = 3
let gateway: RunningGateway
let breaking: { readonly url: string; readonly broken: () => number; close(): void }

/** Passes bytes on, but cuts every connection that has carried an event stream for 80 ms. */
async function startBreaking(port: number): Promise<typeof breaking> {
  const sockets = new Set<Socket>()
  let broken = 0
  const server = createServer((client) => {
    const target = connect(port, '127.0.0.1')
    let isStream = false
    for (const socket of [client, target]) {
      sockets.add(socket)
      socket.on('error', () => {})
      socket.on('close', () => {
        sockets.delete(socket)
        client.destroy()
        target.destroy()
      })
    }
    client.pipe(target)
    target.on('data', (chunk: Buffer) => {
      client.write(chunk)
      if (isStream || !chunk.includes('text/event-stream')) return
      isStream = true
      setTimeout(() => {
        if (client.destroyed) return
        broken += 1
        client.destroy()
      }, 80)
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    url: `http://127.0.0.1:${(server.address() as { port: number }).port}`,
    broken: () => broken,
    close() {
      server.close()
      for (const socket of sockets) socket.destroy()
    },
  }
}

before(
  async () => {
    const upstreams = { child: { command: process.execPath, args: [STATEFUL, 'stdio'] } }
    const yaml = JSON.stringify({ version: 1, upstreams })
    gateway = await startGateway({ yaml, args: ['--workers', String(WORKERS)], ready: ['child'] })
    breaking = await startBreaking(Number(new URL(gateway.url).port))
  },
  { timeout: 90_000 },
)

after(async () => {
  breaking?.close()
  await gateway?.stop()
})

async function connectClient(): Promise<{ client: Client; errors: Error[] }> {
  const client = new Client({ name: 'resuming', version: '1' })
  const errors: Error[] = []
  client.onerror = (error) => errors.push(error)
  const transport = new StreamableHTTPClientTransport(new URL(`${breaking.url}/mcp`), {
    requestInit: { headers: { Authorization: `Bearer ${gateway.token}` } },
    reconnectionOptions: {
      ...{ initialReconnectionDelay: 5, maxReconnectionDelay: 20, reconnectionDelayGrowFactor: 1, maxRetries: 1_000 },
    },
  })
  await client.connect(transport as Parameters<typeof client.connect>[0])
  return { client, errors }
}

test('calls of a client whose connections break all the time lose and repeat nothing', {
  timeout: 60_000,
}, async () => {
  const clients = await Promise.all(Array.from({ length: 4 }, connectClient))
  const steps = 60
  const outcomes = await Promise.all(
    clients.map(async ({ client }) => {
      const heard: number[] = []
      const call = { name: 'child-slow', arguments: { steps } }
      const result = await client.callTool(call, undefined, { onprogress: ({ progress }) => heard.push(progress) })
      return { heard, text: (result.content as { text: string }[])[0]!.text }
    }),
  )
  for (const { heard, text } of outcomes) {
    assert.match(text, /60/)
    assert.deepEqual(
      heard,
      [...new Set(heard)].sort((a, b) => a - b),
    )
    assert.equal(heard.length, steps)
  }
  assert.ok(breaking.broken() > clients.length * 5, `only ${breaking.broken()} connections were cut`)
  for (const { client } of clients) await client.close()
})

test('what a session misses while its stream is away is told when it is back', { timeout: 60_000 }, async () => {
  const { client } = await connectClient()
  let changes = 0
  client.setNotificationHandler(ToolListChangedNotificationSchema, () => {
    changes += 1
  })
  const transport = { kind: 'stdio', command: process.execPath, args: [STATEFUL, 'stdio'] }
  const added = await gateway.api('POST', '/v1/upstreams?wait=20s', { slug: 'later', transport })
  assert.ok(added.status < 300, JSON.stringify(added.body))
  await until('the change', () => changes > 0)
  assert.ok((await client.listTools()).tools.some(({ name }) => name === 'later-count'))
  // What it has been told it is not told again, however often its stream breaks.
  const [told, cut] = [changes, breaking.broken()]
  await until('more breaks', () => breaking.broken() > cut + 5)
  assert.equal(changes, told)
  await client.close()
})

/** A request on a connection of its own; what it has heard so far, and how it went. */
async function open(init: { body?: object; headers?: Record<string, string> }) {
  const { port } = new URL(gateway.url)
  const socket = connect(Number(port), '127.0.0.1')
  await new Promise<void>((resolve) => socket.once('connect', () => resolve()))
  const heard = { text: '', isOver: false }
  socket.on('data', (chunk: Buffer) => {
    heard.text += chunk.toString()
  })
  socket.on('error', () => {})
  socket.on('close', () => {
    heard.isOver = true
  })
  const body = init.body === undefined ? '' : JSON.stringify(init.body)
  const headers: Record<string, string> = {
    ...{
      Host: `127.0.0.1:${port}`,
      Authorization: `Bearer ${gateway.token}`,
      Accept: 'application/json, text/event-stream',
    },
    ...(body === '' ? {} : { 'Content-Type': 'application/json', 'Content-Length': String(Buffer.byteLength(body)) }),
    ...init.headers,
  }
  const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`)
  socket.write(`${body === '' ? 'GET' : 'POST'} /mcp HTTP/1.1\r\n${lines.join('')}\r\n${body}`)
  return { heard, socket, port: socket.localPort! }
}

const rpc = (method: string, params: object, id = 1): object => ({ jsonrpc: '2.0', id, method, params })

test('the worker that had the call is killed: whoever comes for the rest hears that it is lost', {
  timeout: 60_000,
}, async () => {
  const client = { protocolVersion: '2025-06-18', capabilities: {}, clientInfo: { name: 'raw', version: '1' } }
  const greeting = await open({ body: rpc('initialize', client) })
  await until('the session', () => /mcp-session-id: (\S+)/i.test(greeting.heard.text))
  greeting.socket.destroy()
  const headers = { 'Mcp-Session-Id': /mcp-session-id: (\S+)/i.exec(greeting.heard.text)![1]! }
  const params = { name: 'child-slow', arguments: { steps: 400 }, _meta: { progressToken: 'p' } }
  const call = await open({ body: rpc('tools/call', params, 42), headers })
  await until('progress', () => /^id: c\./m.test(call.heard.text))
  const owner = holderOf(call.port, Number(new URL(gateway.url).port), workersOf(gateway.pid))
  assert.ok(owner !== null)
  const id = /^id: (c\..*)$/m.exec(call.heard.text)![1]!
  call.socket.destroy()
  // It goes on at whichever worker.
  const first = await open({ headers: { ...headers, 'Last-Event-ID': id } })
  await until('more', () => first.heard.text.split('notifications/progress').length > 5)
  process.kill(owner!, 'SIGKILL')
  const lost = async (): Promise<boolean> => {
    const late = await open({ headers: { ...headers, 'Last-Event-ID': id } })
    await wait(300)
    late.socket.destroy()
    return /"id":42,"error".*"code":"OWNER_LOST"/.test(late.heard.text)
  }
  for (let times = 0; ; times += 1) {
    if (await lost()) break
    assert.ok(times < 50, 'nobody says that the call is lost')
  }
  first.socket.destroy()
})
