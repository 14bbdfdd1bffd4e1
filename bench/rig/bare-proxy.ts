// The bare Node proxy: the least that a proxy of tools/call can do in JavaScript, and nothing of MCP. Token map, parse,
// rename, new id, forward, parse, restore the id. Always node:http and undici's Pool.dispatch on the Node that runs the
// gateway, whatever lane the gateway uses. No session is opened, no schema checked, no limit kept, no header believed:
// it is the plain alternative that the gateway's cost is divided by, not a gateway.
// Run: node bench/rig/bare-proxy.ts '{"upstream":"http://127.0.0.1:1","tokens":["t"],"names":{"bench-a":"a"}}'

import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { type Dispatcher, Pool } from 'undici'

interface Options {
  readonly upstream: string
  readonly tokens: readonly string[]
  /** Exposed name to the upstream's name. */
  readonly names: Readonly<Record<string, string>>
}

interface Message {
  id?: unknown
  method: string
  params?: { name?: string }
}

const options = JSON.parse(process.argv[2] ?? '') as Options
const tokens = new Map(options.tokens.map((token, n) => [`Bearer ${token}`, n]))
const names = new Map(Object.entries(options.names))
const pool = new Pool(options.upstream, { connections: 1024, pipelining: 1 })
const PASSED = ['mcp-session-id', 'mcp-protocol-version', 'mcp-method', 'accept'] as const
let nextId = 1

const server = createServer({ keepAliveTimeout: 65_000 }, (request, response) => {
  if (tokens.get(request.headers.authorization ?? '') === undefined) {
    response.writeHead(401, { 'content-length': 0 }).end()
    return
  }
  const chunks: Buffer[] = []
  request.on('data', (chunk: Buffer) => chunks.push(chunk))
  request.on('end', () => forward(request, response, chunks.length === 1 ? chunks[0]! : Buffer.concat(chunks)))
})

function forward(request: IncomingMessage, response: ServerResponse, body: Buffer): void {
  const message = JSON.parse(body.toString()) as Message
  const headers = ['content-type', 'application/json']
  for (const name of PASSED) {
    const value = request.headers[name]
    if (value !== undefined) headers.push(name, value as string)
  }
  const exposed = message.params?.name
  if (exposed !== undefined) {
    const name = names.get(exposed)
    if (name === undefined) {
      response.writeHead(404, { 'content-length': 0 }).end()
      return
    }
    message.params!.name = name
    if (request.headers['mcp-name'] !== undefined) headers.push('mcp-name', name)
  }
  const id = message.id
  if (id !== undefined) message.id = nextId++
  pool.dispatch(
    { path: '/mcp', method: 'POST', headers, body: JSON.stringify(message) },
    new Answer(response, id, message.id),
  )
}

class Answer implements Dispatcher.DispatchHandler {
  #response: ServerResponse
  #id: unknown
  #sentId: unknown
  #status = 0
  #headers: Record<string, string | string[] | undefined> = {}
  #chunks: Buffer[] = []
  #stream = false
  #line = ''

  constructor(response: ServerResponse, id: unknown, sentId: unknown) {
    this.#response = response
    this.#id = id
    this.#sentId = sentId
  }

  onRequestStart(): void {}

  onResponseStart(_: unknown, status: number, headers: Record<string, string | string[] | undefined>): void {
    this.#status = status
    this.#headers = headers
    this.#stream = headers['content-type'] === 'text/event-stream'
    if (this.#stream) this.#response.writeHead(status, { 'content-type': 'text/event-stream' })
  }

  onResponseData(_: unknown, chunk: Buffer): void {
    if (!this.#stream) {
      this.#chunks.push(chunk)
      return
    }
    // Whole lines only: the one that holds our id gets the client's, all others go on as they are.
    const lines = (this.#line + chunk.toString()).split('\n')
    this.#line = lines.pop()!
    let text = ''
    for (const line of lines) text += `${line.startsWith('data: ') ? `data: ${this.#restore(line.slice(6))}` : line}\n`
    if (text !== '') this.#response.write(text)
  }

  onResponseEnd(): void {
    if (this.#stream) {
      this.#response.end(this.#line)
      return
    }
    const body = this.#chunks.length === 1 ? this.#chunks[0]! : Buffer.concat(this.#chunks)
    const text = body.length === 0 ? '' : this.#restore(body.toString())
    const headers: Record<string, string | number> = { 'content-length': Buffer.byteLength(text) }
    if (text !== '') headers['content-type'] = 'application/json'
    const session = this.#headers['mcp-session-id']
    if (session !== undefined) headers['mcp-session-id'] = session as string
    this.#response.writeHead(this.#status, headers).end(text)
  }

  onResponseError(): void {
    if (this.#response.headersSent) this.#response.destroy()
    else this.#response.writeHead(502, { 'content-length': 0 }).end()
  }

  #restore(text: string): string {
    const answer = JSON.parse(text) as Message
    if (answer.id === this.#sentId) answer.id = this.#id
    return JSON.stringify(answer)
  }
}

server.listen({ port: 0, host: '127.0.0.1', backlog: 4096 }, () => {
  console.log(JSON.stringify({ port: (server.address() as AddressInfo).port }))
})
