// An upstream that keeps state per session, on the official SDK 1.x, which we did not write: a counter and notes of the
// session's own, a slow tool, a tool that appears later, and ways to lose sessions or die. `node stateful-server.ts http
// [port]` listens on 127.0.0.1 and prints {"url":…}; `node stateful-server.ts stdio` speaks on its own stdin and stdout.
// Absent on purpose: anything of 2026-07-28.

import { randomUUID } from 'node:crypto'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { completable } from '@modelcontextprotocol/sdk/server/completable.js'
import { McpServer, ResourceTemplate } from '@modelcontextprotocol/sdk/server/mcp.js'
import { StdioServerTransport } from '@modelcontextprotocol/sdk/server/stdio.js'
import { StreamableHTTPServerTransport } from '@modelcontextprotocol/sdk/server/streamableHttp.js'
import { z } from 'zod'

interface Session {
  readonly transport: StreamableHTTPServerTransport
  readonly server: McpServer
}

const NAMES = ['ada', 'alan', 'barbara', 'edsger', 'grace']
const servers = new Set<McpServer>()
const sessions = new Map<string, Session>()
const grown: string[] = []
/** Slow calls that were cancelled, in the whole process: what a caller cannot see in its own answer. */
let cancelled = 0
/** Requests that reached a tool, in the whole process. */
let calls = 0

const say = (text: string) => ({ content: [{ type: 'text' as const, text }] })

function addGrown(server: McpServer, name: string): void {
  server.registerTool(name, { description: 'Came later' }, () => say(`${name} is here`))
}

function createStateful(): McpServer {
  let count = 0
  const notes: string[] = []
  const server = new McpServer(
    { name: 'stateful-fixture', version: '1.0.0' },
    { capabilities: { logging: {}, tools: { listChanged: true } }, instructions: 'Counts and remembers.' },
  )

  server.registerTool('count', { description: 'Adds one to the counter of this session and tells it' }, () => {
    calls += 1
    count += 1
    return say(String(count))
  })
  server.registerTool(
    'note',
    { description: 'Remembers a line in this session', inputSchema: { text: z.string() } },
    ({ text }) => {
      calls += 1
      notes.push(text)
      return say(`${notes.length} notes`)
    },
  )
  server.registerTool('notes', { description: 'Tells every line that this session remembers' }, () => {
    calls += 1
    return say(notes.join('\n'))
  })
  server.registerTool(
    'echo',
    {
      description: 'Answers what it got',
      inputSchema: { text: z.string(), times: z.number().int().min(1).max(10).optional() },
      outputSchema: { text: z.string() },
    },
    ({ text, times }) => {
      calls += 1
      const whole = text.repeat(times ?? 1)
      return { ...say(whole), structuredContent: { text: whole } }
    },
  )
  server.registerTool(
    'slow',
    { description: 'Works in steps of 20 ms and reports each', inputSchema: { steps: z.number().int().max(500) } },
    async ({ steps }, extra) => {
      calls += 1
      const progressToken = extra._meta?.progressToken
      for (let step = 1; step <= steps; step += 1) {
        if (progressToken !== undefined)
          await extra.sendNotification({
            method: 'notifications/progress',
            params: { progressToken, progress: step, total: steps },
          })
        await new Promise((resolve) => setTimeout(resolve, 20))
        if (extra.signal.aborted) {
          cancelled += 1
          return say('cancelled')
        }
      }
      return say(`${steps} steps`)
    },
  )
  server.registerTool('cancelled', { description: 'Tells how many slow calls were cancelled' }, () =>
    say(String(cancelled)),
  )
  server.registerTool('calls', { description: 'Tells how many calls have reached this process' }, () =>
    say(String(calls)),
  )
  server.registerTool(
    'log',
    { description: 'Logs a line of each of three levels on the stream of its call, whatever level was asked for' },
    async (extra) => {
      calls += 1
      for (const level of ['debug', 'warning', 'error'])
        await extra.sendNotification({
          method: 'notifications/message',
          params: { level: level as 'debug', logger: 'stateful', data: `a line of ${level}` },
        })
      return say('logged')
    },
  )
  server.registerTool(
    'headers',
    { description: 'Tells the names and values of the request headers that reached it' },
    (extra) => say(JSON.stringify(extra.requestInfo?.headers ?? {})),
  )
  server.registerTool('fail', { description: 'Always fails' }, () => {
    throw new Error('this failed on purpose')
  })
  server.registerTool(
    'grow',
    { description: 'Adds a tool to every session', inputSchema: { name: z.string() } },
    (a) => {
      grown.push(a.name)
      for (const other of servers) addGrown(other, a.name)
      return say(`grew ${a.name}`)
    },
  )
  server.registerTool('forget', { description: 'Forgets every session' }, () => {
    setImmediate(() => {
      for (const { server: one } of sessions.values()) servers.delete(one)
      sessions.clear()
    })
    return say('forgotten')
  })
  server.registerTool('die', { description: 'Ends this process without an answer' }, () => process.exit(3))

  server.registerPrompt(
    'greet',
    { description: 'Greets somebody', argsSchema: { name: completable(z.string(), (word) => startingWith(word)) } },
    ({ name }) => ({ messages: [{ role: 'user', content: { type: 'text', text: `Good day, ${name}` } }] }),
  )
  server.registerResource('motto', 'stateful://motto', { description: 'One line', mimeType: 'text/plain' }, (uri) => ({
    contents: [{ uri: uri.href, mimeType: 'text/plain', text: 'Count on me.' }],
  }))
  server.registerResource(
    'person',
    new ResourceTemplate('stateful://person/{name}', {
      list: undefined,
      complete: { name: (word) => startingWith(word) },
    }),
    { description: 'A person by name', mimeType: 'application/json' },
    (uri, { name }) => ({
      contents: [{ uri: uri.href, mimeType: 'application/json', text: JSON.stringify({ name }) }],
    }),
  )
  for (const name of grown) addGrown(server, name)
  servers.add(server)
  return server
}

function startingWith(word: string | undefined): string[] {
  return NAMES.filter((name) => name.startsWith(word ?? ''))
}

function refuse(response: ServerResponse, status: number, message: string): void {
  response.writeHead(status, { 'Content-Type': 'application/json' })
  response.end(JSON.stringify({ jsonrpc: '2.0', id: null, error: { code: -32_000, message } }))
}

async function serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
  const id = request.headers['mcp-session-id']
  const known = typeof id === 'string' ? sessions.get(id) : undefined
  if (known) return known.transport.handleRequest(request, response)
  if (id !== undefined) return refuse(response, 404, 'Session not found')
  const server = createStateful()
  const transport = new StreamableHTTPServerTransport({
    sessionIdGenerator: randomUUID,
    onsessioninitialized: (session) => void sessions.set(session, { transport, server }),
    onsessionclosed: (session) => {
      servers.delete(server)
      sessions.delete(session)
    },
  })
  await server.connect(transport as Parameters<McpServer['connect']>[0])
  // Anything but initialize is refused by the transport itself: no session has begun.
  await transport.handleRequest(request, response)
}

const [kind = 'http', port = '0'] = process.argv.slice(2)
if (kind === 'stdio') {
  await createStateful().connect(new StdioServerTransport())
} else {
  const http = createServer((request, response) => {
    serve(request, response).catch((error: unknown) => {
      console.error(error)
      if (!response.headersSent) refuse(response, 500, 'The fixture failed')
    })
  })
  http.listen(Number(port), '127.0.0.1', () => {
    console.log(JSON.stringify({ url: `http://127.0.0.1:${(http.address() as AddressInfo).port}/mcp` }))
  })
}
process.on('SIGTERM', () => process.exit(0))
