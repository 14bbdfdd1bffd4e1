// The bench's own upstream: a streamable HTTP MCP server on bare node:net, so cheap that it does not hide what stands in
// front of it. It speaks one era at a time: `sessions` mints an Mcp-Session-Id and refuses unknown ones, `stateless` wants
// the headers of 2026-07-28 to fit the body. Every answer holds the text of its own request. It counts what it is asked
// (GET /count, POST /reset). Absent on purpose: chunked request bodies, pipelining, and anything that a load does not need.
// Run: node bench/rig/upstream.ts '{"form":"sessions","tools":20,"delayMs":0,"events":0}'; prints one line of JSON.

import { randomUUID } from 'node:crypto'
import { createServer, type Socket } from 'node:net'
import { type Form, REVISION, toolName } from './talk.ts'

export interface UpstreamOptions {
  readonly form: Form
  readonly tools: number
  /** Wait before the answer of a call. */
  readonly delayMs: number
  /** Progress events before the answer of a call that has a progress token; such an answer is an event stream. */
  readonly events: number
}

export interface Counts {
  /** tools/call requests. */
  calls: number
  /** Every other request but GET /count and POST /reset: what the candidate does on its own account. */
  others: number
  inFlight: number
  inFlightMax: number
}

interface Message {
  id?: string | number
  method: string
  params?: {
    name?: string
    arguments?: { mark: string; text: string }
    _meta?: Record<string, unknown>
    protocolVersion?: string
  }
}

function toolsJson(count: number): string {
  const tools = Array.from({ length: count }, (_, n) => ({
    name: toolName(n),
    title: `Tool ${n}`,
    description: `Answers with the mark and the text of the request. This is tool number ${n} of the bench's upstream.`,
    inputSchema: {
      type: 'object',
      properties: {
        mark: { type: 'string', minLength: 1, maxLength: 64, description: 'Comes back at the head of the answer' },
        text: { type: 'string', description: 'Comes back after the mark' },
        [`option${n}`]: { type: 'integer', minimum: 0, maximum: 100 + n, description: 'Changes nothing' },
      },
      required: ['mark', 'text'],
      additionalProperties: false,
    },
    annotations: { readOnlyHint: true, idempotentHint: true },
  }))
  return JSON.stringify(tools)
}

const CRLF2 = Buffer.from('\r\n\r\n')
const BODY_BYTES_MAX = 1024 * 1024

export async function startUpstream(options: UpstreamOptions): Promise<{ port: number; close(): Promise<void> }> {
  const { form, events, delayMs } = options
  const counts: Counts = { calls: 0, others: 0, inFlight: 0, inFlightMax: 0 }
  const sessions = new Set<string>()
  const sockets = new Set<Socket>()
  const known = new Set(Array.from({ length: options.tools }, (_, n) => toolName(n)))
  const tools = toolsJson(options.tools)
  const list =
    form === 'stateless'
      ? `{"resultType":"complete","tools":${tools},"ttlMs":300000,"cacheScope":"public"}`
      : `{"tools":${tools}}`

  const server = createServer({ noDelay: true }, (socket) => {
    sockets.add(socket)
    socket.on('close', () => sockets.delete(socket))
    socket.on('error', () => socket.destroy())
    let rest: Buffer | null = null
    let wanted = 0
    socket.on('data', (chunk) => {
      let data = rest === null ? chunk : Buffer.concat([rest, chunk])
      rest = null
      for (;;) {
        if (data.length < wanted) break
        const end = data.indexOf(CRLF2)
        if (end < 0) break
        const head = data.toString('latin1', 0, end)
        const length = contentLength(head)
        if (length < 0 || length > BODY_BYTES_MAX) {
          socket.end('HTTP/1.1 411 Length Required\r\nContent-Length: 0\r\nConnection: close\r\n\r\n')
          return
        }
        wanted = end + 4 + length
        if (data.length < wanted) break
        request(socket, head, data.toString('utf8', end + 4, wanted))
        if (data.length === wanted) {
          wanted = 0
          return
        }
        data = data.subarray(wanted)
        wanted = 0
      }
      rest = data
    })
  })

  function request(socket: Socket, head: string, body: string): void {
    if (head.startsWith('GET /count ')) {
      send(socket, '200 OK', JSON.stringify(counts))
      return
    }
    if (head.startsWith('POST /reset ')) {
      counts.calls = 0
      counts.others = 0
      counts.inFlightMax = counts.inFlight
      send(socket, '200 OK', '{}')
      return
    }
    if (!head.startsWith('POST /mcp ')) {
      counts.others += 1
      const deleted = head.startsWith('DELETE /mcp ') && sessions.delete(header(head, 'mcp-session-id') ?? '')
      send(socket, deleted ? '200 OK' : '405 Method Not Allowed', '')
      return
    }
    const message = parse(body)
    if (message === null) {
      counts.others += 1
      send(socket, '400 Bad Request', error('null', -32700, 'No JSON'))
      return
    }
    if (message.method === 'tools/call') {
      counts.calls += 1
      call(socket, head, message)
    } else {
      counts.others += 1
      other(socket, head, message)
    }
  }

  function call(socket: Socket, head: string, message: Message): void {
    const id = JSON.stringify(message.id)
    const name = message.params?.name ?? ''
    const given = message.params?.arguments
    const fault = form === 'sessions' ? sessionFault(head) : headerFault(head, message.method, name)
    if (fault !== null) {
      refuse(socket, fault, id)
      return
    }
    if (!known.has(name) || given === undefined) {
      send(socket, '200 OK', error(id, -32602, `No tool ${name}`))
      return
    }
    const text = JSON.stringify(`${given.mark} ${given.text}`)
    const type = form === 'stateless' ? '"resultType":"complete",' : ''
    const answer = `{"jsonrpc":"2.0","id":${id},"result":{${type}"content":[{"type":"text","text":${text}}]}}`
    const token = message.params?._meta?.progressToken
    if (events > 0 && token !== undefined) {
      stream(socket, JSON.stringify(token), answer)
      return
    }
    if (delayMs === 0) {
      send(socket, '200 OK', answer)
      return
    }
    counts.inFlight += 1
    if (counts.inFlight > counts.inFlightMax) counts.inFlightMax = counts.inFlight
    setTimeout(() => {
      counts.inFlight -= 1
      send(socket, '200 OK', answer)
    }, delayMs)
  }

  /** One chunk and one turn of the loop per event, as a server does that reports while it works. */
  function stream(socket: Socket, token: string, answer: string): void {
    socket.write(
      'HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-cache\r\nTransfer-Encoding: chunked\r\n\r\n',
    )
    let n = 0
    const next = (): void => {
      n += 1
      if (n > events) {
        socket.write(`${chunk(`event: message\ndata: ${answer}\n\n`)}0\r\n\r\n`)
        return
      }
      const params = `{"progressToken":${token},"progress":${n},"total":${events},"message":"step ${n}"}`
      const event = `{"jsonrpc":"2.0","method":"notifications/progress","params":${params}}`
      socket.write(chunk(`event: message\ndata: ${event}\n\n`))
      setImmediate(next)
    }
    setImmediate(next)
  }

  function other(socket: Socket, head: string, message: Message): void {
    if (message.id === undefined) {
      send(socket, '202 Accepted', '')
      return
    }
    const id = JSON.stringify(message.id)
    if (form === 'sessions' && message.method === 'initialize') {
      const session = randomUUID()
      sessions.add(session)
      const result = `{"protocolVersion":"${REVISION.sessions}","capabilities":{"tools":{}},"serverInfo":{"name":"bench","version":"1"}}`
      send(socket, '200 OK', answer(id, result), `Mcp-Session-Id: ${session}\r\n`)
      return
    }
    const fault = form === 'sessions' ? sessionFault(head) : headerFault(head, message.method, null)
    if (fault !== null) {
      refuse(socket, fault, id)
      return
    }
    if (message.method === 'tools/list') {
      send(socket, '200 OK', answer(id, list))
      return
    }
    if (message.method === 'ping' && form === 'sessions') {
      send(socket, '200 OK', answer(id, '{}'))
      return
    }
    if (message.method === 'server/discover' && form === 'stateless') {
      const result = `{"resultType":"complete","supportedVersions":["${REVISION.stateless}"],"capabilities":{"tools":{}},"ttlMs":300000,"cacheScope":"public","_meta":{"io.modelcontextprotocol/serverInfo":{"name":"bench","version":"1"}}}`
      send(socket, '200 OK', answer(id, result))
      return
    }
    send(socket, form === 'stateless' ? '404 Not Found' : '200 OK', error(id, -32601, 'Unknown method'))
  }

  function sessionFault(head: string): Fault | null {
    const session = header(head, 'mcp-session-id')
    if (session === null) return { status: '400 Bad Request', code: -32600, message: 'Mcp-Session-Id is missing' }
    return sessions.has(session) ? null : { status: '404 Not Found', code: -32001, message: 'Session not found' }
  }

  server.listen({ port: 0, host: '127.0.0.1', backlog: 4096 })
  await new Promise((resolve) => server.once('listening', resolve))
  const address = server.address() as { port: number }
  return {
    port: address.port,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        for (const socket of sockets) socket.destroy()
      }),
  }
}

function parse(body: string): Message | null {
  try {
    return JSON.parse(body) as Message
  } catch {
    return null
  }
}

interface Fault {
  readonly status: string
  readonly code: number
  readonly message: string
}

function headerFault(head: string, method: string, name: string | null): Fault | null {
  const fits =
    header(head, 'mcp-protocol-version') === REVISION.stateless &&
    header(head, 'mcp-method') === method &&
    (name === null || header(head, 'mcp-name') === name)
  return fits ? null : { status: '400 Bad Request', code: -32020, message: 'A header contradicts the body' }
}

const PATTERNS = new Map<string, RegExp>()

function header(head: string, name: string): string | null {
  let pattern = PATTERNS.get(name)
  if (pattern === undefined) {
    pattern = new RegExp(`\r\n${name}: *([^\r]*)`, 'i')
    PATTERNS.set(name, pattern)
  }
  return pattern.exec(head)?.[1] ?? null
}

/** Bytes of the body, or -1 for a body whose length is not said. */
function contentLength(head: string): number {
  const length = header(head, 'content-length')
  if (length !== null) return Number(length)
  return header(head, 'transfer-encoding') === null ? 0 : -1
}

const answer = (id: string, result: string): string => `{"jsonrpc":"2.0","id":${id},"result":${result}}`
const error = (id: string, code: number, message: string): string =>
  `{"jsonrpc":"2.0","id":${id},"error":{"code":${code},"message":${JSON.stringify(message)}}}`
const chunk = (text: string): string => `${Buffer.byteLength(text).toString(16)}\r\n${text}\r\n`

function refuse(socket: Socket, fault: Fault, id: string): void {
  send(socket, fault.status, error(id, fault.code, fault.message))
}

function send(socket: Socket, status: string, body: string, headers = ''): void {
  if (socket.destroyed) return
  const type = body === '' ? '' : 'Content-Type: application/json\r\n'
  const head = `HTTP/1.1 ${status}\r\n${type}${headers}Content-Length: ${Buffer.byteLength(body)}\r\n\r\n`
  socket.write(head + body)
}

if (import.meta.main) {
  const started = await startUpstream(JSON.parse(process.argv[2] ?? '') as UpstreamOptions)
  console.log(JSON.stringify({ port: started.port }))
}
