// An edge on a real listening socket, with a call path of a few tools, and small clients of the two transports that keep
// a connection: WebSocket (by the library that the gateway itself uses on its side) and HTTP+SSE (by hand).

import { type IncomingMessage, request } from 'node:http'
import type { AddressInfo } from 'node:net'
import { type ClientOptions, WebSocket } from 'ws'
import { createLocalHop } from '../../src/adapters/hop-local.ts'
import type { Call, Reply } from '../../src/core/call.ts'
import { GatewayError } from '../../src/core/errors.ts'
import { LIMITS, type Limits } from '../../src/core/limits.ts'
import type { Caller } from '../../src/core/policy.ts'
import { createEdge, type Edge } from '../../src/edge/edge.ts'
import { isEndpoint, isSocketPath } from '../../src/edge/router.ts'
import { createNodeServer, type TlsTexts } from '../../src/http/node-exchange.ts'
import { createSealer } from '../../src/mcp/seal.ts'
import { SILENT } from '../../src/ports/log.ts'
import { createFakeBus, type FakeBus } from './bus.ts'
import { createFakeClock, type FakeClock } from './clock.ts'

export interface Front {
  readonly port: number
  readonly edge: Edge
  readonly bus: FakeBus
  readonly clock: FakeClock
  /** Tokens that are known, each of a caller of that name. */
  readonly tokens: Set<string>
  /** Keys of sessions that were ended. */
  readonly ended: string[]
  /** Why calls of the tool `wait` were cancelled. */
  readonly cancelled: string[]
  /** Those that wait. */
  readonly waiting: (() => void)[]
  readonly unwatched: string[]
  /** As a stopping worker does it. */
  drain(ms: number): Promise<void>
  close(): Promise<void>
}

const json = (value: unknown): Buffer => Buffer.from(JSON.stringify(value))

function answer(call: Call, front: Pick<Front, 'cancelled' | 'waiting'>): Reply | Promise<Reply> {
  if (call.method === 'initialize') return { result: json({ protocolVersion: call.revision }) }
  if (call.method !== 'tools/call') throw new GatewayError('METHOD_NOT_FOUND')
  const name = String(call.params.value('name'))
  if (name === 'large') return { result: json({ text: 'x'.repeat(1024 * 1024) }) }
  if (name === 'progress') call.notify?.('notifications/progress', json({ progressToken: 1, progress: 1 }))
  if (name !== 'wait')
    return {
      result: json({ era: call.era, caller: call.caller.name, scope: call.scope, hasSession: call.session !== null }),
    }
  return new Promise((resolve, reject) => {
    front.waiting.push(() => resolve({ result: json({ waited: true }) }))
    call.cancel.onCancel((reason) => {
      front.cancelled.push(reason)
      reject(new GatewayError('CANCELLED'))
    })
  })
}

export async function startFront(changed: Partial<Limits> = {}, tls?: TlsTexts): Promise<Front> {
  const bus = createFakeBus()
  const clock = createFakeClock()
  const limits = { ...LIMITS, lingerMs: 100, ...changed }
  const tokens = new Set(['ada', 'bob'])
  const ended: string[] = []
  const unwatched: string[] = []
  const seen = { cancelled: [] as string[], waiting: [] as (() => void)[] }
  const known = (authorization: string | undefined): Caller => {
    const name = authorization?.replace('Bearer ', '') ?? ''
    if (!tokens.has(name)) throw new GatewayError('UNAUTHENTICATED')
    const id = Buffer.from(name.padEnd(16, '.')).toString('hex')
    return { id, issuer: 'test', subject: name, name, rights: ['use'], expiresMs: null }
  }
  const edge = createEdge({
    ...{ hop: createLocalHop({ worker: 0, boot: 1 }), bus, clock, limits, log: SILENT },
    authenticate: known,
    dispatch: async (call) => answer(call, seen),
    marksOf: () => ['aa', 'bb', 'cc'],
    scopeExists: (scope) => scope === 'team',
    ready: () => ({ ready: true, missing: [] }),
    sealer: createSealer([{ id: 1, key: Buffer.alloc(32, 7) }]),
    watch: async () => {},
    unwatch: (holder) => unwatched.push(holder),
    endSession: async () => {},
    leaveSession: (key) => void ended.push(key),
    rest: (exchange) => exchange.reply(404, [], 'rest'),
    ...{ publicUrl: 'https://gateway.example.com', hosts: [], origins: ['https://app.example.com'], open: false },
  })
  const lanes = { isFastPath: isEndpoint, isSocketPath }
  const server = createNodeServer({
    ...{ handler: edge.handler, limits, trustedProxies: [], log: SILENT, ...lanes },
    ...(tls === undefined ? {} : { tls }),
  })
  await new Promise<void>((resolve) => server.server.listen(0, '127.0.0.1', resolve))
  return {
    ...{ port: (server.server.address() as AddressInfo).port, edge, bus, clock, tokens, ended, unwatched, ...seen },
    drain: (ms) => {
      edge.drain()
      return server.drain(ms)
    },
    close: async () => {
      edge.close()
      await server.close()
    },
  }
}

export type Json = Record<string, unknown>

/** What a client has been sent and has not looked at. */
class Inbox {
  readonly messages: Json[] = []
  #waiting: (() => void)[] = []

  put(text: string): void {
    this.messages.push(JSON.parse(text) as Json)
    this.wake()
  }

  wake(): void {
    const waiting = this.#waiting
    this.#waiting = []
    for (const wake of waiting) wake()
  }

  /** The next message that fits, the others stay. The test's own time-out is the bound. */
  async take(fits: (message: Json) => boolean): Promise<Json> {
    for (;;) {
      const at = this.messages.findIndex(fits)
      if (at >= 0) return this.messages.splice(at, 1)[0]!
      await new Promise<void>((resolve) => this.#waiting.push(resolve))
    }
  }
}

/** A client of either transport. */
export interface FrontClient {
  readonly inbox: Inbox
  send(message: unknown): void
  /** The answer to a request. */
  ask(id: number | string, method: string, params?: Json): Promise<Json>
  /** Begins a session. */
  greet(revision?: string): Promise<void>
  close(): void
  /** When the connection is over: the close code of a WebSocket, 0 for a stream. */
  readonly closed: Promise<number>
}

function clientOf(
  inbox: Inbox,
  send: (message: unknown) => void,
  closed: Promise<number>,
  close: () => void,
): FrontClient {
  const ask = async (id: number | string, method: string, params: Json = {}): Promise<Json> => {
    send({ jsonrpc: '2.0', id, method, params })
    return inbox.take((message) => message.id === id && message.method === undefined)
  }
  return {
    ...{ inbox, send, ask, close, closed },
    async greet(revision = '2025-11-25') {
      const clientInfo = { name: 'test', version: '1' }
      const { error } = await ask('greet', 'initialize', { protocolVersion: revision, capabilities: {}, clientInfo })
      if (error !== undefined) throw new Error(JSON.stringify(error))
      send({ jsonrpc: '2.0', method: 'notifications/initialized' })
    },
  }
}

/** The answer's status and body when it is no WebSocket. */
export class Refused extends Error {
  readonly status: number
  constructor(status: number, text: string) {
    super(`${status} ${text}`)
    this.status = status
  }
}

export interface SocketClient extends FrontClient {
  readonly socket: WebSocket
}

export async function connectSocket(
  front: { readonly port: number },
  {
    path = '/ws',
    protocols = ['mcp'],
    token = 'ada',
    ...options
  }: ClientOptions & { path?: string; protocols?: string[]; token?: string | null } = {},
): Promise<SocketClient> {
  const headers = { ...(token === null ? {} : { Authorization: `Bearer ${token}` }), ...options.headers }
  // The certificate of the tests names no address.
  const origin = options.ca === undefined ? 'ws://127.0.0.1' : 'wss://localhost'
  const socket = new WebSocket(`${origin}:${front.port}${path}`, protocols, {
    ...options,
    headers,
  })
  const inbox = new Inbox()
  socket.on('message', (data: Buffer) => inbox.put(data.toString()))
  const closed = new Promise<number>((resolve) => socket.on('close', resolve))
  await new Promise<void>((resolve, reject) => {
    socket.on('open', resolve)
    socket.on('error', reject)
    socket.on('unexpected-response', (_request, response: IncomingMessage) => {
      let text = ''
      response.on('data', (chunk) => {
        text += chunk
      })
      response.on('end', () => reject(new Refused(response.statusCode!, text)))
    })
  })
  return {
    ...clientOf(
      inbox,
      (message) => socket.send(JSON.stringify(message)),
      closed,
      () => socket.close(),
    ),
    socket,
  }
}

export interface SseClient extends FrontClient {
  /** What its stream says to post to. */
  readonly endpoint: string
  /** Comments that came. */
  comments(): number
  readonly response: IncomingMessage
}

export async function connectSse(
  front: { readonly port: number },
  {
    path = '/sse',
    token = 'ada',
    headers = {},
  }: { path?: string; token?: string; headers?: Record<string, string> } = {},
): Promise<SseClient> {
  const inbox = new Inbox()
  let endpoint = ''
  let comments = 0
  let text = ''
  const { promise: closed, resolve: close } = Promise.withResolvers<number>()
  const outgoing = request({
    ...{ port: front.port, path, agent: false },
    headers: { Authorization: `Bearer ${token}`, Accept: 'text/event-stream', ...headers },
  })
  outgoing.on('error', () => close(0))
  outgoing.end()
  const response = await new Promise<IncomingMessage>((resolve) => outgoing.on('response', resolve))
  response.setEncoding('utf8')
  const take = (event: string): void => {
    const data = /^data: (.*)$/m.exec(event)?.[1]
    if (/^event: endpoint$/m.test(event)) endpoint = data!
    else if (data !== undefined) inbox.put(data)
    inbox.wake()
  }
  response.on('data', (chunk: string) => {
    text += chunk
    if (response.statusCode !== 200) return
    // Comments are lines of their own, wherever events begin and end.
    text = text.replace(/^:.*\n/gm, () => {
      comments += 1
      return ''
    })
    for (let end = text.indexOf('\n\n'); end >= 0; end = text.indexOf('\n\n')) {
      const event = text.slice(0, end)
      text = text.slice(end + 2)
      take(event)
    }
  })
  response.on('error', () => {})
  const over = new Promise<void>((resolve) => response.on('close', resolve))
  void over.then(() => close(0))
  if (response.statusCode !== 200) {
    await over
    throw new Refused(response.statusCode!, text)
  }
  while (endpoint === '') await new Promise((resolve) => setImmediate(resolve))
  const send = (message: unknown): void => void postTo(front, endpoint, message, { token })
  return {
    ...clientOf(inbox, send, closed, () => outgoing.destroy()),
    ...{ endpoint, comments: () => comments, response },
  }
}

/** The status and the text of the answer to a post. */
export function postTo(
  front: { readonly port: number },
  path: string,
  message: unknown,
  { token = 'ada', headers = {} }: { token?: string; headers?: Record<string, string> } = {},
): Promise<{ status: number; text: string }> {
  return new Promise((resolve) => {
    const outgoing = request({
      ...{ port: front.port, path, method: 'POST', agent: false },
      headers: { Authorization: `Bearer ${token}`, 'Content-Type': 'application/json', ...headers },
    })
    outgoing.on('error', (error) => resolve({ status: 0, text: error.message }))
    outgoing.on('response', (response) => {
      let text = ''
      response.on('data', (chunk) => {
        text += chunk
      })
      response.on('close', () => resolve({ status: response.statusCode!, text }))
    })
    outgoing.end(typeof message === 'string' ? message : JSON.stringify(message))
  })
}
