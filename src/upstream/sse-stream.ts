// HTTP+SSE (2024-11-05): one stream by GET brings every line of the server, and the endpoint that its first event names
// takes every line of ours, each by a POST of its own. Seen from behind it is a duplex of lines like a process.
// Absent on purpose: redirects, resuming (the calls in flight fail, and whoever asks next opens another), compressed answers.

import { type ErrorCode, GatewayError } from '../core/errors.ts'
import type { Limits } from '../core/limits.ts'
import type { Link, LinkHandler, Sending } from '../http/link.ts'
import { type SseEvent, SseReader } from '../mcp/sse.ts'
import type { Stream, StreamEars } from '../ports/children.ts'
import { named, OtherTransport } from './ask.ts'
import { faultOfHead, type Headers, isType, refusalCode } from './http-head.ts'
import { MAY_BE_OTHER } from './http-peer.ts'
import { Pace } from './pace.ts'

export interface SseServer {
  /** Slug of the upstream, for messages. */
  readonly name: string
  readonly link: Link
  /** Of the stream, as configured. */
  readonly url: string
  /** Of every request, flat. */
  readonly headers: readonly string[]
  readonly limits: Limits
}

/** Bytes on their way past which senders are asked to wait. */
const HIGH_BYTES = 1024 * 1024
/** Lines of a message that are not data: its event's name, its id, and the empty one behind it. */
const LINES_PER_EVENT = 3
/** How lines of our own begin (ask.ts, notices.ts, mcp/jsonrpc.ts): requests with their id, and notifications without. */
const REQUEST = /^\{"jsonrpc":"2\.0","id":("[^"\\]{1,64}"),"method":/
const NOTIFICATION = /^\{"jsonrpc":"2\.0","method":/
const HEAD_BYTES = 128
/** These say that the server has forgotten the stream, whatever it does with it. */
const LOST = new Set([404, 410])
/** The broker's channel, on which a link is greeted. */
const BROKER = 0

interface Queued {
  readonly line: Buffer
  readonly channel: number
}

class SseStream implements Stream, LinkHandler {
  queuedBytes = 0
  readonly #server: SseServer
  readonly #ears: StreamEars
  readonly #opened: () => void
  readonly #refused: (error: Error) => void
  readonly #url: URL
  readonly #reader: SseReader
  readonly #pace: Pace
  readonly #posts = new Set<Sending>()
  /** What waits until the server has taken a notification of the broker's: no request overtakes `initialized`. */
  #behind: Queued[] = []
  #notices = 0
  #sending: Sending | null = null
  #timer: NodeJS.Timeout
  /** Path and query of the endpoint, once it is known. */
  #endpoint: string | null = null
  #lines = 0
  #events = 0
  #holds = 0
  #isFull = false
  #isOver = false

  constructor(server: SseServer, ears: StreamEars, opened: () => void, refused: (error: Error) => void) {
    const { limits } = server
    this.#server = server
    this.#ears = ears
    this.#opened = opened
    this.#refused = refused
    this.#url = new URL(server.url)
    this.#reader = new SseReader(Math.min(limits.upstreamEventBytes, limits.childLineBytes), (event) =>
      this.#onEvent(event),
    )
    this.#pace = new Pace(limits.upstreamLinesBurst, limits.upstreamLinesPerSecond, performance.now())
    this.#timer = setTimeout(() => {
      this.#fail('TIMEOUT', `it did not name its endpoint within ${limits.probeMs} ms`)
    }, limits.probeMs)
  }

  begin(): void {
    const { link, headers } = this.#server
    const path = `${this.#url.pathname}${this.#url.search}`
    const request = { method: 'GET', path, headers: ['accept', 'text/event-stream', ...headers], body: null } as const
    this.#sending = link.request({ ...request, headMs: 0 }, this)
    if (this.#isOver) this.#sending.abort()
  }

  // --- the stream -----------------------------------------------------------------------------------------------------

  onHead(status: number, headers: Headers): void {
    const fault = faultOfHead(status, headers)
    if (fault !== null) {
      this.#fail(fault.code, fault.what)
      return
    }
    const type = headers['content-type'] ?? ''
    if (status === 200 && isType(type, 'text/event-stream')) return
    const isOther = status < 300 || MAY_BE_OTHER.has(status)
    const what = `it answered GET with HTTP ${status}${status < 300 ? ' and no stream of events' : ''}`
    if (isOther) this.#other(what)
    else this.#fail(refusalCode(status), what)
  }

  onData(chunk: Buffer): void {
    if (this.#isOver) return
    try {
      this.#reader.push(chunk)
      const lines = this.#reader.lines - LINES_PER_EVENT * this.#events
      if (lines <= this.#lines) return
      const isTooFast = !this.#pace.take(lines - this.#lines, performance.now())
      this.#lines = lines
      if (isTooFast) this.#fail('UPSTREAM_INVALID', 'it floods its stream')
    } catch (error) {
      if (error instanceof GatewayError) this.#fail(error.code, error.message)
      else throw error
    }
  }

  onEnd(): void {
    if (this.#endpoint === null) this.#other('its stream ended without naming an endpoint')
    else this.#fail('UPSTREAM_UNAVAILABLE', 'its stream has ended')
  }

  onError(error: GatewayError): void {
    this.#fail(error.code, error.message)
  }

  #onEvent({ event, data }: SseEvent): void {
    if (this.#isOver) return
    if (this.#endpoint === null) {
      if (event === 'endpoint') this.#onEndpoint(data.toString('utf8'))
      // Older servers may comment and ping, but whoever begins with a message speaks another way.
      else if (event === 'message') this.#other('its stream does not begin with an endpoint')
      return
    }
    if (event !== 'message' || data.length === 0) return
    this.#events += 1
    this.#ears.onLine(data)
  }

  #onEndpoint(text: string): void {
    const { limits } = this.#server
    const url = text.length <= limits.uriChars && URL.canParse(text, this.#server.url) ? new URL(text, this.#url) : null
    if (url === null) {
      this.#fail('UPSTREAM_INVALID', 'it names an endpoint that is no URL')
      return
    }
    // It is the server's word for where our secrets go.
    if (url.origin !== this.#url.origin) {
      this.#fail('UPSTREAM_INVALID', 'it names an endpoint at another origin, to which nothing is sent')
      return
    }
    clearTimeout(this.#timer)
    this.#endpoint = `${url.pathname}${url.search}`
    this.#opened()
  }

  // --- our lines ------------------------------------------------------------------------------------------------------

  send(line: Buffer, channel: number): boolean {
    if (this.#isOver) return false
    this.queuedBytes += line.length
    if (this.#notices > 0) this.#behind.push({ line, channel })
    else this.#post(line, channel)
    this.#isFull = this.queuedBytes > HIGH_BYTES
    return !this.#isFull
  }

  #post(line: Buffer, channel: number): void {
    const { link, headers, limits } = this.#server
    const head = line.toString('latin1', 0, HEAD_BYTES)
    const id = REQUEST.exec(head)?.[1] ?? null
    const isNotice = channel === BROKER && NOTIFICATION.test(head)
    if (isNotice) this.#notices += 1
    let isDone = false
    const done = (code: ErrorCode | null, what: string): void => {
      if (isDone) return
      isDone = true
      if (sending !== null) this.#posts.delete(sending)
      this.#onPosted(line, isNotice)
      if (code !== null && id !== null && !this.#isOver) this.#ears.onRefused(id, code, what)
    }
    const post = new Post(limits.upstreamErrorBytes, (status, fault) => {
      done(fault?.code ?? null, fault?.what ?? '')
      if (LOST.has(status)) this.#fail('UPSTREAM_UNAVAILABLE', `it no longer knows its stream (HTTP ${status})`)
    })
    let sending: Sending | null = null
    const request = { method: 'POST', path: this.#endpoint!, body: line } as const
    const all = ['accept', 'application/json, text/event-stream', 'content-type', 'application/json', ...headers]
    sending = link.request({ ...request, headers: all, headMs: limits.ssePostMs }, post)
    post.sending = sending
    if (!isDone) this.#posts.add(sending)
  }

  #onPosted(line: Buffer, isNotice: boolean): void {
    this.queuedBytes -= line.length
    if (isNotice) this.#notices -= 1
    if (this.#isOver) return
    const waiting = this.#behind
    this.#behind = []
    for (const queued of waiting) {
      if (this.#notices > 0) this.#behind.push(queued)
      else this.#post(queued.line, queued.channel)
    }
    if (!this.#isFull || this.queuedBytes > HIGH_BYTES) return
    this.#isFull = false
    this.#ears.onDrain()
  }

  hold(): void {
    this.#holds += 1
    if (this.#holds === 1) this.#sending?.pause()
  }

  release(): void {
    if (this.#holds === 0) return
    this.#holds -= 1
    if (this.#holds === 0) this.#sending?.resume()
  }

  // --- the end --------------------------------------------------------------------------------------------------------

  close(): void {
    if (this.#isOver) return
    this.#isOver = true
    clearTimeout(this.#timer)
    this.#sending?.abort()
    for (const post of this.#posts) post.abort()
    this.#posts.clear()
    this.#behind = []
  }

  /** It is no server of this kind. */
  #other(what: string): void {
    if (this.#endpoint !== null) this.#fail('UPSTREAM_INVALID', what)
    else if (!this.#isOver) {
      this.close()
      this.#refused(new OtherTransport(what))
    }
  }

  #fail(code: ErrorCode, what: string): void {
    if (this.#isOver) return
    this.close()
    if (this.#endpoint !== null) this.#ears.onEnd(what)
    else this.#refused(named(this.#server.name, new GatewayError(code, what)))
  }
}

interface PostFault {
  readonly code: ErrorCode
  readonly what: string
}

/** The answer to a line of ours; it says only whether the line was taken. */
class Post implements LinkHandler {
  sending: Sending | null = null
  readonly #bytesMax: number
  readonly #done: (status: number, fault: PostFault | null) => void
  #bytes = 0

  constructor(bytesMax: number, done: (status: number, fault: PostFault | null) => void) {
    this.#bytesMax = bytesMax
    this.#done = done
  }

  onHead(status: number, headers: Headers): void {
    if (status >= 200 && status < 300) this.#done(status, null)
    else {
      const code = LOST.has(status) ? 'UPSTREAM_UNAVAILABLE' : refusalCode(status)
      this.#done(status, faultOfHead(status, headers) ?? { code, what: `it answered HTTP ${status}` })
    }
  }

  /** Read to its end, so that the connection is kept. */
  onData(chunk: Buffer): void {
    this.#bytes += chunk.length
    if (this.#bytes > this.#bytesMax) this.sending?.abort()
  }

  onEnd(): void {}

  onError(error: GatewayError): void {
    this.#done(0, { code: error.code, what: error.message })
  }
}

/**
 * Opens the stream and waits for its endpoint.
 * Errors: OtherTransport, or a GatewayError: UPSTREAM_UNAVAILABLE, UPSTREAM_INVALID, UPSTREAM_REFUSED, UPSTREAM_BUSY, TIMEOUT,
 * ADDRESS_REFUSED.
 */
export function openSse(server: SseServer, ears: StreamEars): Promise<Stream> {
  return new Promise((resolve, reject) => {
    const stream: SseStream = new SseStream(server, ears, () => resolve(stream), reject)
    stream.begin()
  })
}
