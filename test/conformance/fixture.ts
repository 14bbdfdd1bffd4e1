// The conformance fixture as a process: `node test/conformance/fixture.ts` listens on 127.0.0.1 on a free port, prints
// {"url":…} and serves until SIGTERM. FIXTURE_ERA chooses what it speaks: dual (default), legacy (sessions up to
// 2025-11-25 only) or modern (2026-07-28 only).

import { randomUUID } from 'node:crypto'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { localhostHostValidation, NodeStreamableHTTPServerTransport, toNodeHandler } from '@modelcontextprotocol/node'
import {
  classifyInboundRequest,
  createMcpHandler,
  type EventId,
  type EventStore,
  isInitializeRequest,
  type JSONRPCMessage,
  type McpServer,
  type StreamId,
} from '@modelcontextprotocol/server'
import { createThings, type Hooks } from './fixture-things.ts'

const ERAS = ['dual', 'legacy', 'modern']
const EVENTS_MAX = 500

interface LegacySession {
  readonly transport: NodeStreamableHTTPServerTransport
  readonly server: McpServer
}

/** Events of one session, so that a client may fetch what came after the one it saw last. */
class Events implements EventStore {
  #events: { id: string; stream: string; message: JSONRPCMessage }[] = []
  #count = 0

  async storeEvent(stream: StreamId, message: JSONRPCMessage): Promise<EventId> {
    this.#count += 1
    const id = `${stream}/${this.#count}`
    this.#events.push({ id, stream, message })
    if (this.#events.length > EVENTS_MAX) this.#events.shift()
    return id
  }

  async replayEventsAfter(
    last: EventId,
    { send }: { send: (id: EventId, message: JSONRPCMessage) => Promise<void> },
  ): Promise<StreamId> {
    const at = this.#events.findIndex((event) => event.id === last)
    const stream = at < 0 ? last.slice(0, last.lastIndexOf('/')) : this.#events[at]!.stream
    for (const event of this.#events.slice(at + 1)) {
      const sendable = event.stream === stream && 'jsonrpc' in event.message
      if (sendable) await send(event.id, event.message)
    }
    return stream
  }
}

const era = process.env.FIXTURE_ERA ?? 'dual'
if (!ERAS.includes(era)) throw new Error(`FIXTURE_ERA is one of ${ERAS.join(', ')}, not ${era}`)
const sessions = new Map<string, LegacySession>()

const hooks: Hooks = {
  toolsChanged() {
    modern.notify.toolsChanged()
    for (const { server } of sessions.values()) server.sendToolListChanged()
  },
  promptsChanged() {
    modern.notify.promptsChanged()
    for (const { server } of sessions.values()) server.sendPromptListChanged()
  },
  closeStream(context) {
    const session = context.sessionId === undefined ? undefined : sessions.get(context.sessionId)
    session?.transport.closeSSEStream(context.mcpReq.id)
  },
}
const modern = createMcpHandler(() => createThings(hooks), { legacy: 'reject' })
const serveModern = toNodeHandler(modern)

async function serveLegacy(request: IncomingMessage, response: ServerResponse, body: unknown): Promise<void> {
  const id = request.headers['mcp-session-id']
  const known = typeof id === 'string' ? sessions.get(id) : undefined
  if (known) return known.transport.handleRequest(request, response, body)
  if (id !== undefined) return refuse(response, 404, -32_001, 'Session not found')
  if (!isInitializeRequest(body)) return refuse(response, 400, -32_000, 'A session id is needed')
  const server = createThings(hooks)
  const transport = new NodeStreamableHTTPServerTransport({
    sessionIdGenerator: randomUUID,
    eventStore: new Events(),
    retryInterval: 1_000,
    onsessioninitialized: (sessionId) => void sessions.set(sessionId, { transport, server }),
    onsessionclosed: (sessionId) => void sessions.delete(sessionId),
  })
  await server.connect(transport)
  await transport.handleRequest(request, response, body)
}

function refuse(response: ServerResponse, status: number, code: number, message: string): void {
  response.writeHead(status, { 'Content-Type': 'application/json' })
  response.end(JSON.stringify({ jsonrpc: '2.0', id: null, error: { code, message } }))
}

function isModern(request: IncomingMessage, body: unknown): boolean {
  if (era !== 'dual') return era === 'modern'
  const header = (name: string): string | undefined => {
    const value = request.headers[name]
    return Array.isArray(value) ? value[0] : value
  }
  const outcome = classifyInboundRequest({
    httpMethod: request.method ?? 'POST',
    protocolVersionHeader: header('mcp-protocol-version'),
    mcpMethodHeader: header('mcp-method'),
    body,
  })
  return outcome.kind !== 'legacy'
}

async function serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
  if (!checkHost(request, response)) return
  if (request.url !== '/mcp') return refuse(response, 404, -32_600, 'Only /mcp is served')
  let body: unknown
  if (request.method === 'POST') {
    const chunks: Buffer[] = []
    for await (const chunk of request) chunks.push(chunk as Buffer)
    try {
      body = JSON.parse(Buffer.concat(chunks).toString())
    } catch {
      return refuse(response, 400, -32_700, 'The body is not JSON')
    }
  }
  if (isModern(request, body)) await serveModern(request, response, body)
  else await serveLegacy(request, response, body)
}

const checkHost = localhostHostValidation()
const http = createServer((request, response) => {
  serve(request, response).catch((error: unknown) => {
    console.error(error)
    if (!response.headersSent) refuse(response, 500, -32_603, 'The fixture failed')
  })
})
http.listen(0, '127.0.0.1', () => {
  console.log(JSON.stringify({ url: `http://127.0.0.1:${(http.address() as AddressInfo).port}/mcp`, era }))
})
process.on('SIGTERM', () => process.exit(0))
