// The complete server lane: Exchange over node:http and node:https. Framing is node's strict parser; what it lets pass
// and we do not (repeated headers, odd transfer codings) is refused here, before anything above sees the request.
// Lean on purpose: one object per request, no listener that is not needed, small replies leave as one write. Plain POST
// and GET requests can go a faster lane, which stands before this one (fast-exchange.ts).
// Of upgrades only WebSocket is known, and only on its paths (upgrade.ts): elsewhere, and for any other protocol, the wish
// to upgrade is passed over, as HTTP allows, and the request answered as it is.
// Absent on purpose: compression (the front proxy's), HTTP/2, request trailers.

import type { IncomingMessage, ServerResponse } from 'node:http'
import { createServer as createHttpsServer, type Server as HttpsServer } from 'node:https'
import { Server as NetServer, type Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { setImmediate as nextTurn, setTimeout as wait } from 'node:timers/promises'
import { type ErrorCode, GatewayError } from '../core/errors.ts'
import type { EventStream, Exchange, ExchangeHandler } from './exchange.ts'
import { createFastLane, type FastLane } from './fast-exchange.ts'
import {
  addressOf,
  append,
  EMPTY,
  EVENT_STREAM,
  endedEarly,
  isSecure,
  JOIN_BYTES_MAX,
  type Lane,
  type LaneLimits,
  linger,
  type OpenConnection,
  refuseRaw,
  splitTarget,
  tooLarge,
  tooSlow,
} from './lane.ts'
import { PROBLEM_TYPE, problemText } from './problem.ts'
import { createProxies } from './proxies.ts'
import { asksForWebSocket, UpgradeExchange } from './upgrade.ts'

// Not by import: that reads every export, and three of node:http's load the whole of node's own undici (40 ms of a start).
const { createServer: createHttpServer } = process.getBuiltinModule('node:http')

export interface TlsTexts {
  /** PEM texts. */
  readonly cert: string
  readonly key: string
}

export interface NodeServerOptions {
  /** Must answer every exchange and must not throw. */
  readonly handler: ExchangeHandler
  readonly limits: LaneLimits
  readonly trustedProxies: readonly string[]
  readonly tls?: TlsTexts
  /** Paths whose plain POST and GET requests go the fast lane; without it, and with TLS, none do. */
  readonly isFastPath?: (path: string) => boolean
  /** Paths of WebSockets; without it there are none. */
  readonly isSocketPath?: (path: string) => boolean
  readonly log: { warn(event: string, fields?: Readonly<Record<string, unknown>>): void }
}

export interface NodeServer {
  /** The caller lets it listen: on an address, or on a handle that the cluster shares. */
  readonly server: NetServer
  /** Certificate and key for new connections; throws, and keeps the old ones, where the texts do not fit. */
  setTls(texts: TlsTexts): void
  /**
   * For `ms` every reply carries `Connection: close`; then no connection is accepted and idle ones are closed, those that
   * have asked for nothing yet after `lingerMs`.
   */
  drain(ms: number): Promise<void>
  /** Ends everything at once, but for replies on their way: they have `lingerMs` to get out. */
  close(): Promise<void>
  readonly connections: number
}

/** What we know of a connection, kept on its socket. */
class Connection implements OpenConnection {
  latest: NodeExchange | null = null
  /** Exchanges that want to hear that the client went away. */
  watching: Set<NodeExchange> | null = null
  /** Nothing more is answered on it: a refusal has been written, or its last reply. */
  closing = false
  /** It has left HTTP behind. */
  upgraded = false
  readonly #socket: Duplex

  constructor(socket: Duplex) {
    this.#socket = socket
  }

  get isIdle(): boolean {
    return !this.upgraded && (this.latest === null || this.latest.isFinished)
  }

  get isFresh(): boolean {
    return this.latest === null
  }

  get isLeaving(): boolean {
    return this.latest?.isLeaving === true
  }

  closeAfterReply(): void {
    this.latest?.closeAfterReply()
  }

  destroy(): void {
    this.#socket.destroy()
  }

  /** The client has gone. */
  gone(): void {
    const { watching } = this
    this.watching = null
    if (watching !== null) for (const exchange of watching) exchange.abort()
  }
}

const CONNECTION = Symbol('connection')
type Carrier = Duplex & { [CONNECTION]?: Connection }

// --- repeated headers --------------------------------------------------------------------------------------------------

/**
 * Headers that mean one thing. A second one is a fault or an attack (two parties that each believe another one), and
 * node would keep the first in silence. Each has a bit; every Mcp-* name is single too.
 */
const SINGLE = new Map(
  [
    'host',
    'authorization',
    'content-length',
    'content-type',
    'content-encoding',
    'transfer-encoding',
    'expect',
    'origin',
    'last-event-id',
    'traceparent',
    'x-mcp-gateway-hops',
    'mcp-session-id',
    'mcp-protocol-version',
    'mcp-method',
    'mcp-name',
  ].map((name, at) => [name, 1 << at] as const),
)
const OTHER_MCP = 1 << 30
const SPELLINGS_MAX = 1_000
const SPELLING_CHARS_MAX = 64
/** Spelling as on the wire -> bit, or 0 for a header that may be repeated. */
const spellings = new Map<string, number>()

function bitOf(spelling: string): number {
  const known = spellings.get(spelling)
  if (known !== undefined) return known
  const name = spelling.toLowerCase()
  const bit = SINGLE.get(name) ?? (name.startsWith('mcp-') ? OTHER_MCP : 0)
  if (spellings.size < SPELLINGS_MAX && name.length <= SPELLING_CHARS_MAX) spellings.set(spelling, bit)
  return bit
}

/** The name of a header that must stand once and stands twice, or null. `raw` is node's flat list. */
function repeatedHeader(raw: readonly string[]): string | null {
  let seen = 0
  for (let at = 0; at < raw.length; at += 2) {
    const bit = bitOf(raw[at]!)
    if (bit === 0) continue
    if ((seen & bit) !== 0 && (bit !== OTHER_MCP || isRepeated(raw, at))) return raw[at]!
    seen |= bit
  }
  return null
}

function isRepeated(raw: readonly string[], at: number): boolean {
  const name = raw[at]!.toLowerCase()
  for (let before = 0; before < at; before += 2) if (raw[before]!.toLowerCase() === name) return true
  return false
}

// --- one request -------------------------------------------------------------------------------------------------------

class NodeStream implements EventStream {
  onDrain: (() => void) | null = null
  readonly #response: ServerResponse
  readonly #onEnd: () => void

  constructor(response: ServerResponse, onEnd: () => void) {
    this.#response = response
    this.#onEnd = onEnd
    response.on('drain', () => this.onDrain?.())
  }

  write(chunk: Buffer | string): boolean {
    return !this.#response.destroyed && !this.#response.writableEnded && this.#response.write(chunk)
  }

  end(): void {
    this.#response.end()
    this.#onEnd()
  }

  destroy(): void {
    this.#response.destroy()
  }

  get bufferedBytes(): number {
    return this.#response.writableLength
  }
}

class NodeExchange implements Exchange {
  readonly method: string
  readonly path: string
  readonly query: string
  readonly headers: Readonly<Record<string, string | undefined>>
  replied = false
  readonly #lane: Lane
  readonly #connection: Connection
  readonly #request: IncomingMessage
  readonly #response: ServerResponse
  readonly #awaitsContinue: boolean
  #onAbort: (() => void) | null = null
  /** Bytes of the body that body() was given so far. */
  #received = 0

  constructor(
    lane: Lane,
    connection: Connection,
    request: IncomingMessage,
    response: ServerResponse,
    awaitsContinue: boolean,
  ) {
    this.#lane = lane
    this.#connection = connection
    this.#request = request
    this.#response = response
    this.#awaitsContinue = awaitsContinue
    this.method = request.method!
    // Node joins what may be repeated; an array is only ever made of Set-Cookie, which no request carries.
    this.headers = request.headers as Readonly<Record<string, string | undefined>>
    const { path, query } = splitTarget(request.url!)
    this.path = path
    this.query = query
  }

  get address(): string {
    return addressOf(this.#lane, this.#request.socket, this.headers)
  }

  get secure(): boolean {
    return isSecure(this.#lane, this.#request.socket, this.headers)
  }

  /** The request has come in whole, or never will. */
  get isRequestOver(): boolean {
    return this.#request.complete || this.#request.destroyed
  }

  get isHeadSent(): boolean {
    return this.#response.headersSent
  }

  /** Another reply of the same connection goes first (pipelining). */
  get isQueued(): boolean {
    return this.#response.socket === null && !this.#response.writableFinished
  }

  get isFinished(): boolean {
    return this.#response.writableFinished
  }

  /** Answered, but not all of the answer has left. */
  get isLeaving(): boolean {
    return this.#response.writableEnded && !this.#response.writableFinished
  }

  body(bytesMax: number): Promise<Buffer> {
    const request = this.#request
    const declared = this.headers['content-length']
    const length = declared === undefined ? -1 : Number(declared)
    if (length > bytesMax) return Promise.reject(tooLarge(bytesMax))
    if (length === 0 || (length < 0 && this.headers['transfer-encoding'] === undefined)) return Promise.resolve(EMPTY)
    if (request.destroyed) return Promise.reject(endedEarly())
    if (this.#awaitsContinue) this.#response.writeContinue()
    return new Promise((resolve, reject) => {
      let store: Buffer = EMPTY
      let settled = false
      request.on('data', (chunk: Buffer) => {
        if (settled) return
        const received = this.#received
        this.#received += chunk.length
        if (chunk.length === length) {
          settled = true
          resolve(chunk)
          return
        }
        if (received + chunk.length > bytesMax) {
          settled = true
          store = EMPTY
          reject(tooLarge(bytesMax))
          return
        }
        store = append(store, received, chunk, length < 0 ? bytesMax : length)
        if (this.#received !== length) return
        settled = true
        resolve(store)
      })
      if (length < 0) {
        request.on('end', () => {
          if (settled) return
          settled = true
          resolve(store.subarray(0, this.#received))
        })
      }
      request.on('close', () => {
        if (settled) return
        settled = true
        reject(endedEarly())
      })
    })
  }

  reply(status: number, headers: readonly string[], body: Buffer | readonly Buffer[] | string | null): void {
    if (!this.#begin()) return
    this.#connection.watching?.delete(this)
    const response = this.#response
    if (body === null) {
      response.writeHead(status, this.#flat(headers, status === 204 || status === 304 ? -1 : 0))
      response.end()
      return
    }
    if (typeof body === 'string') {
      response.writeHead(status, this.#flat(headers, Buffer.byteLength(body)))
      response.end(body)
      return
    }
    const parts = Buffer.isBuffer(body) ? null : (body as readonly Buffer[])
    let length = 0
    if (parts === null) length = (body as Buffer).length
    else for (const part of parts) length += part.length
    response.writeHead(status, this.#flat(headers, length))
    if (length <= JOIN_BYTES_MAX) {
      // Latin-1 is bytes as they are: node then writes head and body as one string.
      let text = ''
      if (parts === null) text = (body as Buffer).toString('latin1')
      else for (const part of parts) text += part.toString('latin1')
      response.end(text, 'latin1')
    } else if (parts === null) {
      response.end(body)
    } else {
      response.cork()
      for (const part of parts) response.write(part)
      response.end()
    }
    this.#boundReading()
  }

  stream(status: number, headers: readonly string[]): EventStream {
    if (this.#begin()) this.#response.writeHead(status, this.#flat([...headers, ...EVENT_STREAM], -1))
    return new NodeStream(this.#response, () => {
      this.#connection.watching?.delete(this)
      this.#boundReading()
    })
  }

  onAbort(listener: () => void): void {
    if (this.#response.writableEnded) return
    if (this.#request.socket.destroyed) {
      listener()
      return
    }
    this.#onAbort = listener
    this.#connection.watching ??= new Set()
    this.#connection.watching.add(this)
  }

  /** The connection is gone. */
  abort(): void {
    const listener = this.#onAbort
    this.#onAbort = null
    listener?.()
  }

  /** After this reply nothing more is answered on the connection. */
  closeAfterReply(): void {
    this.#connection.closing = true
    if (!this.#response.headersSent) this.#response.shouldKeepAlive = false
    else this.#response.once('finish', () => this.#request.socket.destroySoon())
  }

  /**
   * The reply is the last one on its connection, which is not reset at once: that would take the reply away from a
   * client that is still sending.
   */
  lingerAfterReply(): void {
    this.#connection.closing = true
    this.#response.shouldKeepAlive = false
    const { socket } = this.#request
    const { lingerMs } = this.#lane.limits
    // What node calls after the last reply of a connection.
    socket.destroySoon = () => linger(socket, lingerMs)
  }

  /** A client that stops reading before its reply's end must not hold it for ever. */
  #boundReading(): void {
    if (this.#response.writableLength > 0) this.#response.socket?.setTimeout(this.#lane.limits.requestMs)
  }

  /** False when there is no one to answer to. */
  #begin(): boolean {
    if (this.replied) return false
    this.replied = true
    if (this.#request.socket.destroyed || this.#response.writableEnded) return false
    if (!this.#request.complete && this.#leavesMuchUnread()) this.lingerAfterReply()
    return true
  }

  /** A short rest of a body that nobody wants is read and dropped, so that the connection can be kept. */
  #leavesMuchUnread(): boolean {
    const length = this.headers['content-length']
    if (length === undefined) return this.headers['transfer-encoding'] !== undefined
    // Node says that a request is complete only after the last of its body was handed over: an answer made at once is earlier.
    return Number(length) - this.#received > this.#lane.limits.unreadBodyBytes
  }

  #flat(headers: readonly string[], length: number): string[] {
    const flat = headers.slice()
    if (length >= 0) flat.push('Content-Length', String(length))
    if (this.#lane.draining) flat.push('Connection', 'close')
    return flat
  }
}

// --- what we refuse before anybody sees it --------------------------------------------------------------------------------

function faultOf(request: IncomingMessage, limits: LaneLimits): GatewayError | null {
  const raw = request.rawHeaders
  if (raw.length > limits.headerCount * 2) {
    return new GatewayError('HEADERS_TOO_LARGE', `More than ${limits.headerCount} header lines`)
  }
  const repeated = repeatedHeader(raw)
  if (repeated !== null) return new GatewayError('INVALID_REQUEST', `The header ${repeated} stands more than once`)
  const { headers } = request
  if (headers.host === undefined && (request.httpVersionMinor > 0 || request.httpVersionMajor > 1)) {
    return new GatewayError('INVALID_REQUEST', 'The header Host is missing')
  }
  const coding = headers['transfer-encoding']
  if (coding !== undefined && (coding.toLowerCase() !== 'chunked' || request.httpVersionMinor === 0)) {
    return new GatewayError('INVALID_REQUEST', 'No transfer coding but "chunked" of HTTP/1.1 is accepted')
  }
  const target = request.url!
  if (target.charCodeAt(0) !== 0x2f && target !== '*') {
    const authority = /^https?:\/\/([^/?#]*)/i.exec(target)?.[1]
    if (authority === undefined || authority.toLowerCase() !== headers.host?.toLowerCase()) {
      return new GatewayError(
        'INVALID_REQUEST',
        'The request target must be a path, or a URL of the Host that is named',
      )
    }
  }
  return null
}

function refuse(exchange: NodeExchange, error: GatewayError): void {
  exchange.lingerAfterReply()
  exchange.reply(error.entry.status, ['Content-Type', PROBLEM_TYPE], problemText(error))
}

/** Parser faults and time-outs, as node names them. Anything else is a connection that broke. */
function refusalOf(error: NodeJS.ErrnoException, limits: LaneLimits): GatewayError | null {
  const code = error.code ?? ''
  const refusal = (name: ErrorCode, message: string): GatewayError => new GatewayError(name, message)
  if (code === 'HPE_HEADER_OVERFLOW') {
    return refusal('HEADERS_TOO_LARGE', `The headers are larger than ${limits.headerBytes} bytes`)
  }
  if (code === 'HPE_CHUNK_EXTENSIONS_OVERFLOW') return refusal('TOO_LARGE', 'The chunk extensions are too large')
  if (code === 'ERR_HTTP_REQUEST_TIMEOUT') {
    return tooSlow(limits)
  }
  if (code === 'HPE_INVALID_EOF_STATE' || !code.startsWith('HPE_')) return null
  return refusal(
    'INVALID_REQUEST',
    `Not a valid HTTP/1.1 request (${code.slice(4).toLowerCase().replaceAll('_', ' ')})`,
  )
}

/** `error` came up while the parser read from `socket`: answer where an answer would be understood, else just end. */
function onClientError(error: NodeJS.ErrnoException, socket: Carrier, limits: LaneLimits): void {
  const refusal = refusalOf(error, limits)
  if (refusal === null || socket.destroyed) socket.destroy()
  else refuseLast(socket, refusal, limits)
}

/** `refusal` is our last word on this connection, unless the answer to an earlier request is due: then that one is. */
function refuseLast(socket: Carrier, refusal: GatewayError, limits: LaneLimits): void {
  const connection = socket[CONNECTION]
  // What still comes in behind our last word.
  if (connection?.closing === true) return
  if (connection !== undefined) connection.closing = true
  const latest = connection?.latest ?? null
  if (latest === null || latest.isFinished) {
    refuseRaw(socket, refusal, limits.lingerMs)
  } else if (latest.isRequestOver) {
    // A fault behind a whole request whose answer is due: that one is sent first and is the last.
    latest.closeAfterReply()
  } else if (latest.isHeadSent || latest.isQueued) {
    socket.destroy()
  } else {
    latest.replied = true
    refuseRaw(socket, refusal, limits.lingerMs)
  }
}

// --- the server ----------------------------------------------------------------------------------------------------------

export function createNodeServer(options: NodeServerOptions): NodeServer {
  const { limits, log, isSocketPath } = options
  const lane: Lane = {
    handler: options.handler,
    limits,
    proxies: createProxies(options.trustedProxies),
    draining: false,
    open: new Set(),
  }
  const serverOptions = {
    maxHeaderSize: limits.headerBytes,
    headersTimeout: limits.headersMs,
    requestTimeout: Math.max(limits.requestMs, limits.headersMs),
    keepAliveTimeout: limits.keepAliveMs,
    // Node looks for slow requests only this often.
    connectionsCheckingInterval: Math.max(50, Math.min(5_000, Math.floor(limits.headersMs / 3))),
    // We refuse a missing Host ourselves, with an answer that says so.
    requireHostHeader: false,
    noDelay: true,
    // A request behind one whose answer is due is not taken out of the row: its turn has not come.
    shouldUpgradeCallback: (request: IncomingMessage): boolean =>
      isSocketPath !== undefined &&
      (request.socket as Carrier)[CONNECTION]?.isIdle !== false &&
      asksForWebSocket(request) &&
      isSocketPath(splitTarget(request.url!).path),
  }
  const server =
    options.tls === undefined
      ? createHttpServer(serverOptions)
      : createHttpsServer({ ...serverOptions, ...options.tls, handshakeTimeout: limits.headersMs })
  // Node drops what is above this count in silence; we count the lines and refuse (faultOf).
  server.maxHeadersCount = 0
  server.maxConnections = limits.connectionsMax

  const sockets = new Set<Socket>()
  let dropped = 0

  const handle = (
    request: IncomingMessage,
    response: ServerResponse,
    expects: 'nothing' | 'continue' | 'other',
  ): void => {
    const socket = request.socket as Carrier
    const connection = socket[CONNECTION] ?? attach(socket, lane)
    if (connection.closing) return
    const exchange = new NodeExchange(lane, connection, request, response, expects === 'continue')
    connection.latest = exchange
    const fault = expects === 'other' ? new GatewayError('EXPECTATION_FAILED') : faultOf(request, limits)
    if (fault === null) lane.handler(exchange)
    else refuse(exchange, fault)
  }
  server.on('request', (request, response) => handle(request, response, 'nothing'))
  server.on('checkContinue', (request, response) => handle(request, response, 'continue'))
  server.on('checkExpectation', (request, response) => handle(request, response, 'other'))
  server.on('upgrade', (request: IncomingMessage, socket: Carrier, head: Buffer) => {
    const connection = socket[CONNECTION] ?? attach(socket, lane)
    // What breaks from now on comes as 'close' too.
    socket.on('error', () => {})
    if (connection.closing) return
    const fault = faultOf(request, limits)
    if (fault !== null) return refuseLast(socket, fault, limits)
    connection.upgraded = true
    lane.handler(new UpgradeExchange(lane, request, socket as Socket, head))
  })
  server.on('connect', (_request: IncomingMessage, socket: Duplex) => {
    refuseLast(socket, new GatewayError('METHOD_NOT_ALLOWED', 'This is no proxy: CONNECT is not served'), limits)
  })
  server.on('clientError', (error: NodeJS.ErrnoException, socket: Duplex) => onClientError(error, socket, limits))
  const fast =
    options.tls === undefined && options.isFastPath !== undefined
      ? putFastLaneBefore(server, lane, options.isFastPath)
      : null
  if (fast === null) {
    server.on(options.tls === undefined ? 'connection' : 'secureConnection', (socket: Carrier) => attach(socket, lane))
  }
  server.on('connection', (socket: Socket) => {
    sockets.add(socket)
    socket.once('close', () => sockets.delete(socket))
  })
  server.on('drop', () => {
    dropped += 1
    // Powers of two: a flood of refused connections must not become a flood of log lines.
    if ((dropped & (dropped - 1)) === 0)
      log.warn('connections.dropped', { dropped, connectionsMax: limits.connectionsMax })
  })

  /** Resolves when the last connection has gone. Not by http's own close, which cuts off replies that are on their way. */
  const stopListening = (): Promise<void> =>
    new Promise((resolve) => {
      // An error only says that it does not listen any more.
      NetServer.prototype.close.call(server, () => resolve())
    })

  return {
    server,
    setTls: (texts) => (server as HttpsServer).setSecureContext(texts),
    drain: async (ms) => {
      lane.draining = true
      await wait(ms)
      void stopListening()
      await endIdle(lane, (connection) => !connection.isFresh)
      // One that was accepted a moment ago has its first request on the way.
      const untilMs = performance.now() + limits.lingerMs
      while (isAnyFresh(lane) && performance.now() < untilMs) await wait(FRESH_LOOK_MS)
      await endIdle(lane, () => true)
    },
    close: async () => {
      lane.draining = true
      const stopped = stopListening()
      for (const connection of lane.open) {
        if (connection.isLeaving) connection.closeAfterReply()
        else connection.destroy()
      }
      const timer = setTimeout(() => {
        for (const socket of sockets) socket.destroy()
      }, limits.lingerMs)
      await stopped
      clearTimeout(timer)
      fast?.close()
      // Ends node's own timer, which looks for slow requests.
      server.close()
    },
    get connections() {
      return sockets.size
    },
  }
}

const FRESH_LOOK_MS = 20
const ENDED_AT_ONCE = 64

function isAnyFresh({ open }: Lane): boolean {
  for (const { isFresh, isIdle } of open) if (isFresh && isIdle) return true
  return false
}

/**
 * The others end with the reply that is due on them. In small numbers and each time after the loop has read what has come
 * in: a request that a client has sent before its connection was ended must be answered.
 */
async function endIdle({ open }: Lane, which: (connection: OpenConnection) => boolean): Promise<void> {
  let looked = 0
  for (const connection of [...open]) {
    if (looked % ENDED_AT_ONCE === 0) await nextTurn()
    looked += 1
    if (connection.isIdle && which(connection)) connection.destroy()
  }
}

/** New connections go to the fast lane; those that it hands over are served by node:http as if they had just come. */
function putFastLaneBefore(server: NetServer, lane: Lane, isFastPath: (path: string) => boolean): FastLane {
  const listeners = server.listeners('connection')
  server.removeAllListeners('connection')
  const fast = createFastLane({
    lane,
    isFastPath,
    handOver: (socket) => {
      attach(socket, lane)
      for (const listener of listeners) listener.call(server, socket)
    },
  })
  server.on('connection', fast.accept)
  return fast
}

function attach(socket: Carrier, lane: Lane): Connection {
  const connection = new Connection(socket)
  socket[CONNECTION] = connection
  lane.open.add(connection)
  socket.once('close', () => {
    lane.open.delete(connection)
    connection.gone()
  })
  return connection
}
