// An upstream that asks in the middle of its calls, on the official SDK 1.x: forms, a model, roots; and a resource that
// changes. `node asking-server.ts http` listens on 127.0.0.1 (a free port, or the one given behind) and prints {"url":…}; `… sse` speaks HTTP+SSE there, and `… stdio` on its own
// pipes.

import { randomUUID } from 'node:crypto'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { McpServer } from '@modelcontextprotocol/sdk/server/mcp.js'
import { SSEServerTransport } from '@modelcontextprotocol/sdk/server/sse.js'
import { StdioServerTransport } from '@modelcontextprotocol/sdk/server/stdio.js'
import { StreamableHTTPServerTransport } from '@modelcontextprotocol/sdk/server/streamableHttp.js'
import { SubscribeRequestSchema, UnsubscribeRequestSchema } from '@modelcontextprotocol/sdk/types.js'

const say = (text: string) => ({ content: [{ type: 'text' as const, text }] })
const NOTE = 'note://one'

function createAsking(): McpServer {
  const server = new McpServer(
    { name: 'asking-fixture', version: '1.0.0' },
    { capabilities: { resources: { subscribe: true } } },
  )
  const inner = server.server
  let isWatched = false
  inner.setRequestHandler(SubscribeRequestSchema, () => {
    isWatched = true
    return {}
  })
  inner.setRequestHandler(UnsubscribeRequestSchema, () => {
    isWatched = false
    return {}
  })
  server.registerResource('note', NOTE, {}, () => ({ contents: [{ uri: NOTE, text: 'a note' }] }))
  server.registerTool('touch', { description: 'Changes the note' }, async () => {
    if (isWatched) await inner.sendResourceUpdated({ uri: NOTE })
    return say(isWatched ? 'told' : 'nobody watches')
  })
  server.registerTool('name', { description: 'Asks two times' }, async () => {
    const requestedSchema = { type: 'object' as const, properties: { said: { type: 'string' as const } } }
    const told: unknown[] = []
    for (const message of ['first', 'last']) {
      const { action, content } = await inner.elicitInput({ message, requestedSchema })
      told.push(`${action} ${String(content?.said)}`)
    }
    return say(told.join(', '))
  })
  server.registerTool('model', { description: 'Asks a model' }, async () => {
    const messages = [{ role: 'user' as const, content: { type: 'text' as const, text: 'hello' } }]
    const { content, model } = await inner.createMessage({ messages, maxTokens: 10 })
    return say(`${model}: ${content.type === 'text' ? content.text : content.type}`)
  })
  server.registerTool('roots', { description: 'Asks for roots' }, async () =>
    say((await inner.listRoots()).roots.map(({ uri }) => uri).join(' ')),
  )
  return server
}

const sessions = new Map<string, StreamableHTTPServerTransport>()

async function serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
  const id = request.headers['mcp-session-id']
  const known = typeof id === 'string' ? sessions.get(id) : undefined
  if (known !== undefined) return known.handleRequest(request, response)
  if (id !== undefined) return void response.writeHead(404).end()
  const transport = new StreamableHTTPServerTransport({
    sessionIdGenerator: randomUUID,
    onsessioninitialized: (session) => void sessions.set(session, transport),
  })
  // Under exactOptionalPropertyTypes the SDK's own transport does not fit its own interface.
  const server = createAsking()
  await server.connect(transport as Parameters<typeof server.connect>[0])
  await transport.handleRequest(request, response)
}

const streams = new Map<string, SSEServerTransport>()

async function serveSse(request: IncomingMessage, response: ServerResponse): Promise<void> {
  const url = new URL(request.url ?? '', 'http://x')
  if (request.method === 'GET' && url.pathname === '/sse') {
    const transport = new SSEServerTransport('/messages', response)
    streams.set(transport.sessionId, transport)
    response.on('close', () => streams.delete(transport.sessionId))
    await createAsking().connect(transport)
    return
  }
  const transport = streams.get(url.searchParams.get('sessionId') ?? '')
  if (request.method === 'POST' && url.pathname === '/messages' && transport !== undefined)
    return transport.handlePostMessage(request, response)
  response.writeHead(404).end()
}

const isSse = process.argv[2] === 'sse'
if (process.argv[2] === 'stdio') await createAsking().connect(new StdioServerTransport())
else {
  const listener = createServer((request, response) => {
    const served = isSse ? serveSse(request, response) : serve(request, response)
    served.catch(() => response.destroy())
  })
  listener.listen(Number(process.argv[3] ?? 0), '127.0.0.1', () => {
    const { port } = listener.address() as AddressInfo
    process.stdout.write(`${JSON.stringify({ url: `http://127.0.0.1:${port}/${isSse ? 'sse' : 'mcp'}` })}\n`)
  })
  process.on('SIGTERM', () => process.exit(0))
}
