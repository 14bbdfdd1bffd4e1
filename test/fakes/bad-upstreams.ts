// Upstreams that misbehave, each in one way, on 127.0.0.1: what a gateway must live with. The one that dies half-way
// speaks just enough of 2025-11-25 by itself to be discovered first.

import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'

export interface BadUpstream {
  readonly url: string
  close(): Promise<void>
}

type Handler = (request: IncomingMessage, response: ServerResponse, body: string) => void

async function listen(handler: Handler): Promise<BadUpstream & { readonly server: Server }> {
  const server = createServer((request, response) => {
    const chunks: Buffer[] = []
    request.on('data', (chunk: Buffer) => chunks.push(chunk))
    request.on('end', () => handler(request, response, Buffer.concat(chunks).toString()))
    request.on('error', () => {})
    response.on('error', () => {})
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    server,
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/mcp`,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }
}

/** Nobody listens there. */
export async function refusing(): Promise<BadUpstream> {
  const { url, close } = await listen(() => {})
  await close()
  return { url, close: async () => {} }
}

/** Takes every request and never answers. */
export const hanging = (): Promise<BadUpstream> => listen(() => {})

/** Answers a page. */
export const garbage = (): Promise<BadUpstream> =>
  listen((_request, response) => {
    response.writeHead(200, { 'Content-Type': 'application/json' })
    response.end('<html>\u0000 this is no JSON')
  })

/** Answers an event stream that never ends and says nothing that was asked. */
export const endless = (): Promise<BadUpstream> =>
  listen((request, response) => {
    response.writeHead(200, { 'Content-Type': 'text/event-stream' })
    const timer = setInterval(() => response.write('data: {"jsonrpc":"2.0","id":"nobody","result":{}}\n\n'), 5)
    request.socket.on('close', () => clearInterval(timer))
    response.on('close', () => clearInterval(timer))
  })

/** Breaks every connection as soon as it has read a request. */
export const breaking = (): Promise<BadUpstream> => listen((request) => void request.socket.destroy())

/** Is discovered like any other and breaks the connection of every tools/call. */
export const dyingInCalls = (): Promise<BadUpstream> =>
  listen((request, response, body) => {
    if (request.method !== 'POST') return void response.writeHead(405).end()
    const { id, method } = JSON.parse(body) as { id?: unknown; method: string }
    if (method === 'tools/call') return void request.socket.destroy()
    if (id === undefined) return void response.writeHead(202).end()
    const results: Record<string, unknown> = {
      initialize: {
        protocolVersion: '2025-11-25',
        capabilities: { tools: {} },
        serverInfo: { name: 'dying', version: '1' },
      },
      'tools/list': { tools: [{ name: 'doomed', inputSchema: { type: 'object' } }] },
    }
    const result = results[method]
    const answer = result === undefined ? { error: { code: -32601, message: 'Method not found' } } : { result }
    response.writeHead(200, { 'Content-Type': 'application/json' })
    response.end(JSON.stringify({ jsonrpc: '2.0', id, ...answer }))
  })

/** Well-behaved, but with many tools: its lists have several pages. */
export const manyTools = (count: number): Promise<BadUpstream> =>
  listen((request, response, body) => {
    if (request.method !== 'POST') return void response.writeHead(405).end()
    const { id, method } = JSON.parse(body) as { id?: unknown; method: string }
    if (id === undefined) return void response.writeHead(202).end()
    const tools = (): object[] =>
      Array.from({ length: count }, (_, at) => ({ name: `t${at}`, inputSchema: { type: 'object' } }))
    const results: Record<string, () => unknown> = {
      initialize: () => ({
        protocolVersion: '2025-11-25',
        capabilities: { tools: {} },
        serverInfo: { name: 'many', version: '1' },
      }),
      'tools/list': () => ({ tools: tools() }),
    }
    const result = results[method]?.()
    const answer = result === undefined ? { error: { code: -32601, message: 'Method not found' } } : { result }
    response.writeHead(200, { 'Content-Type': 'application/json' })
    response.end(JSON.stringify({ jsonrpc: '2.0', id, ...answer }))
  })
