// The fast lane to upstreams: HTTP/1.1 without TLS on node:net, kept connections, one request at a time on each. Its CPU
// per request stands in docs/decisions/0003-http-lanes.md; it is less because it does less: a request in one write, one
// buffer for the reads of all connections, a parser for answers only (answer-reader.ts). Origins with https go to
// undici-link.ts. Absent on purpose: pipelining, HTTP/2, upgrades, Expect, redirects, decompression.

import { connect, type Socket } from 'node:net'
import { GatewayError } from '../core/errors.ts'
import { LIMITS } from '../core/limits.ts'
import { AnswerReader, type AnswerSink } from './answer-reader.ts'
import { checkLiteralHost, guardedLookup } from './guard.ts'
import type { CreateLink, Link, LinkHandler, LinkOptions, LinkRequest, Sending } from './link.ts'
import { closedFault, connectFault, describeFault, waitingFault } from './link-faults.ts'
import { RequestHeads } from './request-heads.ts'
import { createLink as createUndiciLink } from './undici-link.ts'

const READ_BYTES = 64 * 1024
/** One for all: what is read is handed on in copies before the next read, on whichever connection. */
const READ_BUFFER = Buffer.allocUnsafeSlow(READ_BYTES)
/** Up to here a body is copied behind its head, so that they leave as one. */
const COPIED_BODY_BYTES = 16 * 1024
/** A server counts its time from when it wrote, we from when we read. */
const TIMEOUT_MARGIN_MS = 2_000
const SWEEP_MS = 1_000
const TCP_KEEP_ALIVE_MS = 60_000

/** A request under way: it waits for a connection, then it has one. */
class Run implements Sending, AnswerSink {
  readonly head: string
  body: Buffer | null
  connection: Connection | null = null
  begun = false
  readonly #link: FastLink
  readonly #handler: LinkHandler
  readonly #headMs: number
  #isOver = false
  #isPaused = false
  #timer: NodeJS.Timeout | null = null

  constructor(link: FastLink, handler: LinkHandler, head: string, { body, headMs }: LinkRequest) {
    this.#link = link
    this.#handler = handler
    this.head = head
    this.body = body
    this.#headMs = headMs
    if (headMs > 0) this.#timer = setTimeout(onHeadLate, headMs, this)
  }

  onHead(status: number, headers: Readonly<Record<string, string | undefined>>): void {
    if (this.#timer !== null) this.#clearTimer()
    this.#handler.onHead(status, headers)
  }

  onData(chunk: Buffer): void {
    this.#handler.onData(chunk)
  }

  end(): void {
    this.#finish()
    this.#handler.onEnd()
  }

  fail(error: GatewayError): void {
    if (this.#isOver) return
    this.#finish()
    this.#handler.onError(error, this.begun)
  }

  abort(): void {
    if (this.#isOver) return
    const { connection } = this
    this.#finish()
    if (connection === null) this.#link.forget(this)
    else connection.drop(null)
  }

  pause(): void {
    this.#isPaused = true
    this.connection?.pause()
  }

  resume(): void {
    this.#isPaused = false
    this.connection?.resume()
  }

  get isPaused(): boolean {
    return this.#isPaused
  }

  onHeadLate(): void {
    const what = `${this.#link.host} did not answer within ${this.#headMs} ms`
    this.abort()
    this.#handler.onError(new GatewayError('TIMEOUT', what), this.begun)
  }

  #finish(): void {
    this.#isOver = true
    if (this.#timer !== null) this.#clearTimer()
    if (this.connection !== null) {
      // It serves others next.
      if (this.#isPaused) this.connection.resume()
      this.connection.run = null
    }
    this.connection = null
    this.#link.onFinish()
  }

  #clearTimer(): void {
    clearTimeout(this.#timer!)
    this.#timer = null
  }
}

function onHeadLate(run: Run): void {
  run.onHeadLate()
}

/** A socket, from its first attempt to connect to its end. */
class Connection {
  run: Run | null = null
  isConnecting = true
  /** While it is idle: until when the server can be expected to keep it. */
  usableUntilMs = 0
  readonly #link: FastLink
  readonly #socket: Socket
  readonly #reader: AnswerReader
  #connectTimer: NodeJS.Timeout
  #isGone = false

  constructor(link: FastLink, target: { host: string; port: number }, options: LinkOptions) {
    this.#link = link
    this.#reader = new AnswerReader(link.host, options.headerBytes)
    this.#socket = connect({
      ...target,
      lookup: guardedLookup(options.guard),
      noDelay: true,
      keepAlive: true,
      keepAliveInitialDelay: TCP_KEEP_ALIVE_MS,
      onread: {
        // Windows fills the buffer before it says so, hence it needs one for each connection.
        buffer: process.platform === 'win32' ? Buffer.allocUnsafeSlow(READ_BYTES) : READ_BUFFER,
        callback: (length, bytes) => this.#onRead(bytes as Buffer, length),
      },
    })
    this.#connectTimer = setTimeout(() => this.#onConnectLate(options.connectMs), options.connectMs)
    this.#socket
      .on('connect', () => this.#onConnect())
      .on('end', () => this.#onEnd())
      .on('error', (error) => this.drop(error))
      .on('close', () => this.drop(null))
  }

  send(run: Run): void {
    this.run = run
    run.connection = this
    run.begun = true
    this.#reader.begin(run)
    const { head, body } = run
    if (body === null || body.length <= COPIED_BODY_BYTES) {
      const bytes = Buffer.allocUnsafe(head.length + (body === null ? 0 : body.length))
      bytes.write(head, 'latin1')
      body?.copy(bytes, head.length)
      this.#socket.write(bytes)
    } else {
      this.#socket.cork()
      this.#socket.write(head, 'latin1')
      this.#socket.write(body)
      this.#socket.uncork()
    }
    run.body = null
    if (run.isPaused) this.pause()
  }

  pause(): void {
    this.#socket.pause()
  }

  resume(): void {
    this.#socket.resume()
  }

  /** Ends it, and the request on it with what is wrong; null stands for a connection that just ended. */
  drop(error: Error | null): void {
    if (this.#isGone) return
    this.#isGone = true
    clearTimeout(this.#connectTimer)
    this.#reader.stop()
    this.#socket.destroy()
    // Of a failed attempt to connect, whoever waits longest.
    const run = this.#link.onDrop(this) ?? this.run
    run?.fail(describeFault(error, this.#link.host))
  }

  #onConnect(): void {
    clearTimeout(this.#connectTimer)
    this.isConnecting = false
    this.#link.onConnect(this)
  }

  #onConnectLate(connectMs: number): void {
    this.drop(connectFault(this.#link.host, connectMs))
  }

  #onRead(bytes: Buffer, length: number): boolean {
    // Bytes that nobody asked for would be taken for the next answer.
    if (this.run === null) {
      this.drop(null)
      return false
    }
    try {
      if (this.#reader.push(bytes, length)) this.#onAnswered()
    } catch (error) {
      this.drop(error as Error)
    }
    return !this.#isGone
  }

  #onEnd(): void {
    if (this.run !== null && this.#reader.end()) this.#onAnswered()
    else this.drop(null)
  }

  #onAnswered(): void {
    const run = this.run!
    this.run = null
    const { isKept, timeoutSeconds } = this.#reader
    const keepMs =
      timeoutSeconds < 0
        ? LIMITS.upstreamIdleMs
        : Math.min(timeoutSeconds * 1000 - TIMEOUT_MARGIN_MS, LIMITS.upstreamIdleMsMax)
    // A server that answers before it has read all of the request may read the rest as another one.
    if (isKept && keepMs > 0 && this.#socket.writableLength === 0) {
      this.usableUntilMs = performance.now() + keepMs
      this.#link.onFree(this)
    } else this.drop(null)
    run.end()
  }
}

class FastLink implements Link {
  readonly host: string
  inFlight = 0
  readonly #options: LinkOptions
  readonly #target: { readonly host: string; readonly port: number }
  readonly #inFlightMax: number
  readonly #connections = new Set<Connection>()
  #connecting = 0
  /** Requests without a connection, the oldest first. */
  readonly #waiting = new Set<Run>()
  /** Ready for the next request, the latest used last; it is taken first, so that a crowd shrinks again. */
  readonly #idle: Connection[] = []
  /**
   * Just answered, and one turn of the event loop later. Many servers close behind their answer without a word, and the
   * end of the connection, or bytes nobody asked for, may be there already: they are read before the next request goes.
   */
  #resting: Connection[] = []
  #rested: Connection[] = []
  #isTurnSet = false
  #sweeper: NodeJS.Timeout | null = null
  readonly #heads: RequestHeads
  #isClosed = false
  #quiet: PromiseWithResolvers<void> | null = null

  constructor(origin: URL, options: LinkOptions) {
    checkLiteralHost(origin.hostname, options.guard)
    this.host = origin.host
    this.#heads = new RequestHeads(origin.host)
    this.#options = options
    this.#inFlightMax = options.connectionsMax + LIMITS.upstreamWaitingMax
    this.#target = { host: origin.hostname.replace(/^\[|\]$/g, ''), port: Number(origin.port || 80) }
  }

  request(request: LinkRequest, handler: LinkHandler): Sending {
    this.inFlight += 1
    let head = ''
    let fault: GatewayError | null = null
    try {
      head = this.#heads.of(request)
    } catch (error) {
      fault = error as GatewayError
    }
    if (this.#isClosed) fault = closedFault(this.host)
    else if (this.inFlight > this.#inFlightMax) fault = waitingFault(this.host)
    const run = new Run(this, handler, head, request)
    if (fault !== null) {
      run.fail(fault)
      return run
    }
    this.#waiting.add(run)
    this.#serve()
    return run
  }

  async close(graceMs: number): Promise<void> {
    this.#isClosed = true
    if (this.inFlight > 0) {
      this.#quiet ??= Promise.withResolvers()
      const timer = setTimeout(() => this.#endAll(), graceMs)
      await this.#quiet.promise
      clearTimeout(timer)
    }
    this.#endAll()
  }

  #endAll(): void {
    const closed = closedFault(this.host)
    const waiting = [...this.#waiting]
    this.#waiting.clear()
    for (const connection of this.#connections) connection.drop(closed)
    for (const run of waiting) run.fail(closed)
  }

  // --- told by requests -----------------------------------------------------------------------------------------------

  forget(run: Run): void {
    this.#waiting.delete(run)
  }

  onFinish(): void {
    this.inFlight -= 1
    if (this.inFlight === 0) this.#quiet?.resolve()
  }

  // --- told by connections --------------------------------------------------------------------------------------------

  onConnect(connection: Connection): void {
    this.#connecting -= 1
    const run = this.#nextWaiting()
    if (run !== null) connection.send(run)
    else {
      connection.usableUntilMs = performance.now() + LIMITS.upstreamIdleMs
      this.#idle.push(connection)
      this.#sweepLater()
    }
  }

  onFree(connection: Connection): void {
    this.#resting.push(connection)
    this.#turnLater()
    this.#sweepLater()
  }

  /** Of a failed attempt to connect: the request that fails with it. */
  onDrop(connection: Connection): Run | null {
    this.#connections.delete(connection)
    let first: Run | null = null
    if (connection.isConnecting) {
      this.#connecting -= 1
      first = this.#nextWaiting()
    } else if (connection.run === null) {
      for (const list of [this.#idle, this.#resting, this.#rested]) {
        const at = list.lastIndexOf(connection)
        if (at >= 0) list.splice(at, 1)
      }
    }
    this.#serve()
    return first
  }

  // --- who gets which -------------------------------------------------------------------------------------------------

  /** Sees to it that whoever waits will be served: by the next turn, or by one more connection. */
  #serve(): void {
    if (this.#waiting.size === 0) return
    if (this.#idle.length > 0) this.#turnLater()
    const coming = this.#idle.length + this.#rested.length + this.#resting.length + this.#connecting
    if (this.#waiting.size > coming && this.#connections.size < this.#options.connectionsMax) {
      this.#connecting += 1
      this.#connections.add(new Connection(this, this.#target, this.#options))
    }
  }

  #nextWaiting(): Run | null {
    for (const run of this.#waiting) {
      this.#waiting.delete(run)
      return run
    }
    return null
  }

  #turnLater(): void {
    if (this.#isTurnSet) return
    this.#isTurnSet = true
    setImmediate(onTurn, this)
  }

  /** After node has read what there was to read. */
  onTurn(): void {
    this.#isTurnSet = false
    for (const connection of this.#rested) this.#idle.push(connection)
    this.#rested = this.#resting
    this.#resting = []
    if (this.#rested.length > 0) this.#turnLater()
    const nowMs = performance.now()
    while (this.#waiting.size > 0) {
      const connection = this.#idle.pop()
      if (connection === undefined) break
      if (connection.usableUntilMs < nowMs) connection.drop(null)
      else connection.send(this.#nextWaiting()!)
    }
  }

  #sweepLater(): void {
    this.#sweeper ??= setTimeout(onSweep, SWEEP_MS, this).unref()
  }

  onSweep(): void {
    this.#sweeper = null
    const nowMs = performance.now()
    for (const connection of this.#idle.filter(({ usableUntilMs }) => usableUntilMs < nowMs)) connection.drop(null)
    if (this.#idle.length + this.#rested.length + this.#resting.length > 0) this.#sweepLater()
  }
}

function onTurn(link: FastLink): void {
  link.onTurn()
}

function onSweep(link: FastLink): void {
  link.onSweep()
}

export const createFastLink: CreateLink = (origin, options) =>
  origin.protocol === 'http:' ? new FastLink(origin, options) : createUndiciLink(origin, options)
