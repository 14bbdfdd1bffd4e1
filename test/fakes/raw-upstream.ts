// An HTTP upstream that answers with exactly the bytes a test gives it, on a plain socket: what no HTTP library would send.

import { type AddressInfo, createServer, type Socket } from 'node:net'

export interface RawRequest {
  readonly method: string
  readonly path: string
  readonly headers: Readonly<Record<string, string>>
  readonly body: string
  /** The message of the body; empty when there is none. */
  readonly message: {
    readonly id?: number | string
    readonly method?: string
    readonly params?: Record<string, unknown>
  }
  /** Raw JSON text of the request's id. */
  readonly id: string
}

/** Returns bytes to send at once, or does what it likes with the socket. */
export type Respond = (request: RawRequest, socket: Socket, connection: number) => unknown

export interface RawUpstream {
  readonly url: string
  readonly port: number
  readonly requests: RawRequest[]
  connections: number
  respond: Respond
  close(): Promise<void>
}

/** Reads requests with Content-Length or without a body, one after the other on each connection. */
export async function createRawUpstream(respond: Respond, port = 0): Promise<RawUpstream> {
  const sockets = new Set<Socket>()
  const server = createServer((socket) => {
    upstream.connections += 1
    const connection = upstream.connections
    sockets.add(socket)
    socket.on('error', () => {})
    socket.on('close', () => sockets.delete(socket))
    let received = Buffer.alloc(0)
    socket.on('data', (chunk: Buffer) => {
      received = Buffer.concat([received, chunk])
      for (;;) {
        const taken = readRequest(received)
        if (taken === null) return
        received = received.subarray(taken.bytes)
        upstream.requests.push(taken.request)
        const answer = upstream.respond(taken.request, socket, connection)
        if (typeof answer === 'string' || Buffer.isBuffer(answer)) socket.write(answer)
      }
    })
  })
  await new Promise<void>((resolve) => server.listen(port, '127.0.0.1', resolve))
  const bound = (server.address() as AddressInfo).port
  const upstream: RawUpstream = {
    url: `http://127.0.0.1:${bound}/mcp`,
    port: bound,
    requests: [],
    connections: 0,
    respond,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        for (const socket of sockets) socket.destroy()
      }),
  }
  return upstream
}

function readRequest(received: Buffer): { request: RawRequest; bytes: number } | null {
  const end = received.indexOf('\r\n\r\n')
  if (end < 0) return null
  const [first = '', ...lines] = received.toString('latin1', 0, end).split('\r\n')
  const [method = '', path = ''] = first.split(' ')
  const headers = Object.fromEntries(
    lines.map((line) => [line.slice(0, line.indexOf(':')).toLowerCase(), line.slice(line.indexOf(':') + 1).trim()]),
  )
  const bytes = end + 4 + Number(headers['content-length'] ?? 0)
  if (received.length < bytes) return null
  const body = received.toString('utf8', end + 4, bytes)
  const message = body === '' ? {} : (JSON.parse(body) as RawRequest['message'])
  return { request: { method, path, headers, body, message, id: JSON.stringify(message.id ?? null) }, bytes }
}

/** A whole HTTP answer. */
export function http(status: number, headers: Readonly<Record<string, string>>, body: string | Buffer = ''): Buffer {
  const bytes = Buffer.from(body)
  const lines = Object.entries({ 'content-length': String(bytes.length), ...headers }).map(([k, v]) => `${k}: ${v}\r\n`)
  return Buffer.concat([Buffer.from(`HTTP/1.1 ${status} Text\r\n${lines.join('')}\r\n`, 'latin1'), bytes])
}

export const json = (body: string | Buffer, status = 200, headers: Readonly<Record<string, string>> = {}): Buffer =>
  http(status, { 'content-type': 'application/json', ...headers }, body)

/** A stream that ends with its last event. */
export const sse = (body: string, headers: Readonly<Record<string, string>> = {}): Buffer =>
  http(200, { 'content-type': 'text/event-stream', ...headers }, body)

/** The head of a stream that goes on: what follows must be `chunk`s. */
export const SSE_HEAD = 'HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n'

export const chunk = (text: string): string => `${Buffer.byteLength(text).toString(16)}\r\n${text}\r\n`

export const event = (message: string): string => `event: message\ndata: ${message}\n\n`

export const result = (id: string, value = '{"content":[]}'): string => `{"jsonrpc":"2.0","id":${id},"result":${value}}`
