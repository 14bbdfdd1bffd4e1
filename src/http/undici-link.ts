// The complete lane to upstreams: undici's Pool.dispatch, one request per connection at a time, HTTP/1.1 with keep-alive.
// Pool.dispatch and not undici.request or fetch: those cost 1.5 and 3 times as much CPU (docs/decisions/0003-http-lanes.md).
// Absent on purpose: HTTP/2, pipelining, redirects, decompression, time-outs of undici's own (they fire half a second late).

import { createRequire } from 'node:module'
import type { Dispatcher, Pool as UndiciPool } from 'undici'
import { GatewayError } from '../core/errors.ts'
import { LIMITS } from '../core/limits.ts'
import { checkLiteralHost, guardedLookup } from './guard.ts'
import type { CreateLink, Link, LinkHandler, LinkOptions, LinkRequest, Sending } from './link.ts'
import { connectFault, describeFault, waitingFault } from './link-faults.ts'
import { checkPath, linesOf } from './request-heads.ts'
import { createTrust } from './tls.ts'

/**
 * Its one file, as all of undici takes 50 ms of a start; it is CommonJS and pinned to an exact version. Loaded with the
 * first link that needs it, since most upstreams of a laptop are plain HTTP or processes.
 */
const loadPool = (): typeof UndiciPool => createRequire(import.meta.url)('undici/lib/dispatcher/pool.js')

const ABORTED = new Error('aborted')

class Run implements Sending {
  readonly #link: UndiciLink
  readonly #handler: LinkHandler
  readonly #headMs: number
  #controller: Dispatcher.DispatchController | null = null
  #headTimer: NodeJS.Timeout | null = null
  #over = false
  #isPaused = false

  constructor(link: UndiciLink, handler: LinkHandler, headMs: number) {
    this.#link = link
    this.#handler = handler
    this.#headMs = headMs
    if (headMs > 0) this.#headTimer = setTimeout(onHeadLate, headMs, this)
  }

  get begun(): boolean {
    return this.#controller !== null
  }

  // undici calls this just before it writes the request: from here on it may have reached the server.
  onRequestStart(controller: Dispatcher.DispatchController): void {
    this.#controller = controller
    if (this.#over) controller.abort(ABORTED)
    else if (this.#isPaused) controller.pause()
  }

  onResponseStart(
    _controller: Dispatcher.DispatchController,
    status: number,
    headers: Record<string, string | string[] | undefined>,
  ): void {
    // 1xx: the head of the answer is still to come.
    if (this.#over || status < 200) return
    if (this.#headTimer !== null) this.#clearTimer()
    for (const name in headers) {
      const value = headers[name]
      if (typeof value === 'object') headers[name] = value[0]
    }
    this.#handler.onHead(status, headers as Record<string, string | undefined>)
  }

  onResponseData(_controller: Dispatcher.DispatchController, chunk: Buffer): void {
    if (!this.#over) this.#handler.onData(chunk)
  }

  onResponseEnd(): void {
    if (this.#over) return
    this.#finish()
    this.#handler.onEnd()
  }

  onResponseError(_controller: Dispatcher.DispatchController | null, error: Error): void {
    if (this.#over) return
    this.#finish()
    this.#handler.onError(this.#link.describe(error), this.begun)
  }

  abort(): void {
    if (this.#over) return
    this.#finish()
    // Not begun yet: onRequestStart will end it before a byte is written.
    this.#controller?.abort(ABORTED)
  }

  pause(): void {
    this.#isPaused = true
    if (!this.#over) this.#controller?.pause()
  }

  resume(): void {
    this.#isPaused = false
    if (!this.#over) this.#controller?.resume()
  }

  onHeadLate(): void {
    if (this.#over) return
    const sent = this.begun
    this.abort()
    const what = `${this.#link.host} did not answer within ${this.#headMs} ms`
    this.#handler.onError(new GatewayError('TIMEOUT', what), sent)
  }

  #finish(): void {
    this.#over = true
    this.#link.inFlight -= 1
    if (this.#headTimer !== null) this.#clearTimer()
  }

  #clearTimer(): void {
    clearTimeout(this.#headTimer!)
    this.#headTimer = null
  }
}

function onHeadLate(run: Run): void {
  run.onHeadLate()
}

class UndiciLink implements Link {
  readonly host: string
  inFlight = 0
  readonly #pool: UndiciPool
  readonly #connectMs: number
  readonly #inFlightMax: number

  constructor(origin: URL, options: LinkOptions) {
    checkLiteralHost(origin.hostname, options.guard)
    this.host = origin.host
    this.#connectMs = options.connectMs
    this.#inFlightMax = options.connectionsMax + LIMITS.upstreamWaitingMax
    const trust = origin.protocol === 'https:' ? createTrust(options.ca, options.caPinned) : null
    const Pool = loadPool()
    this.#pool = new Pool(origin.origin, {
      connections: options.connectionsMax,
      pipelining: 1,
      allowH2: false,
      headersTimeout: 0,
      bodyTimeout: 0,
      keepAliveTimeout: LIMITS.upstreamIdleMs,
      keepAliveMaxTimeout: LIMITS.upstreamIdleMsMax,
      maxHeaderSize: options.headerBytes,
      connect: {
        timeout: options.connectMs,
        lookup: guardedLookup(options.guard),
        // Said here because an environment variable could otherwise say no.
        rejectUnauthorized: true,
        ...(trust === null ? {} : { secureContext: trust }),
      },
    })
  }

  request(request: LinkRequest, handler: LinkHandler): Sending {
    this.inFlight += 1
    const run = new Run(this, handler, request.headMs)
    const { method, path, headers, body } = request
    try {
      checkPath(path)
      linesOf(headers)
      if (this.inFlight > this.#inFlightMax) throw waitingFault(this.host)
      this.#pool.dispatch({ method, path, headers: headers as string[], body }, run)
    } catch (error) {
      run.onResponseError(null, error as Error)
    }
    return run
  }

  async close(graceMs: number): Promise<void> {
    if (this.#pool.closed) {
      if (graceMs === 0) await this.#pool.destroy()
      return
    }
    let timer: NodeJS.Timeout | undefined
    const late = new Promise<void>((resolve) => {
      timer = setTimeout(() => this.#pool.destroy().then(resolve, resolve), graceMs)
    })
    // Whichever is first: with requests still queued, undici's close would wait for ever once destroyed.
    await Promise.race([this.#pool.close(), late])
    clearTimeout(timer)
  }

  describe(error: Error): GatewayError {
    const isLate = (error as NodeJS.ErrnoException).code === 'UND_ERR_CONNECT_TIMEOUT'
    return isLate ? connectFault(this.host, this.#connectMs) : describeFault(error, this.host)
  }
}

export const createLink: CreateLink = (origin, options) => new UndiciLink(origin, options)
