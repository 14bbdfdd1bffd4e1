// News from an upstream: a stream on which it says that one of its lists has changed. An older server offers it by GET
// (or does not: then 405), a modern one answers subscriptions/listen with it.
// Absent on purpose: resource updates, resuming a stream; when it breaks, the lists are read again (control/discover.ts).

import type { Params } from '../core/call.ts'
import type { GatewayError } from '../core/errors.ts'
import type { LinkHandler, Sending } from '../http/link.ts'
import { isRecord } from '../mcp/classify.ts'
import { type Incoming, readIncoming } from '../mcp/jsonrpc.ts'
import { type SseEvent, SseReader } from '../mcp/sse.ts'
import { type Ask, encodeAsk } from './ask.ts'
import type { Greeting } from './handshake.ts'
import { type HttpPeer, headersOf, post } from './http-peer.ts'
import { answerTo } from './notices.ts'
import { Pace } from './pace.ts'

export type NewsKind = 'tools' | 'prompts' | 'resources'

export interface ListenHandlers {
  /** The stream stands. */
  readonly onOpen: () => void
  readonly onNews: (kind: NewsKind) => void
  /** Once, at its end. `isOffered` is false when the server has no such stream. */
  readonly onEnd: (isOffered: boolean, why: string) => void
  /** What an older server asks on its stream; without it only pings are answered. `id` is raw JSON text. */
  readonly onRequest?: (method: string, id: string, params: Params) => void
  /** What it says there besides news. */
  readonly onNotification?: (method: string, params: Params) => void
}

export interface Listening {
  close(): void
}

const KINDS: readonly NewsKind[] = ['tools', 'prompts', 'resources']

/** Whether, and of which lists, the server promises news. */
export function newsOf(greeting: Greeting): NewsKind[] {
  return KINDS.filter((kind) => {
    const capability = greeting.capabilities[kind]
    return isRecord(capability) && capability.listChanged === true
  })
}

export function newsKind(method: string): NewsKind | null {
  return KINDS.find((kind) => method === `notifications/${kind}/list_changed`) ?? null
}

/** The longest time that a timer can take; the stream ends otherwise. */
const FOR_EVER_MS = 2 ** 31 - 1

/** The one request that stays open on a modern server. */
export function listenAsk(kinds: readonly NewsKind[], uris: readonly string[] = []): Ask {
  const notifications: Record<string, unknown> = Object.fromEntries(kinds.map((kind) => [`${kind}ListChanged`, true]))
  if (uris.length > 0) notifications.resourceSubscriptions = uris
  return {
    method: 'subscriptions/listen',
    params: Buffer.from(JSON.stringify({ notifications })),
    name: null,
    paramHeaders: [],
    callMs: FOR_EVER_MS,
    callMsMax: FOR_EVER_MS,
    call: null,
  }
}

/** Opens the stream of a server that is spoken to over HTTP. */
export function listenHttp(
  peer: HttpPeer,
  kinds: readonly NewsKind[],
  handlers: ListenHandlers,
  uris: readonly string[] = [],
): Listening {
  const stream = new HttpListening(peer, handlers)
  stream.start(kinds, uris)
  return stream
}

class HttpListening implements LinkHandler, Listening {
  readonly #peer: HttpPeer
  readonly #handlers: ListenHandlers
  readonly #id: string
  #sending: Sending | null = null
  #reader: SseReader | null = null
  readonly #pace: Pace
  /** Lines of the stream that have been counted. */
  #lines = 0
  #isOver = false

  constructor(peer: HttpPeer, handlers: ListenHandlers) {
    this.#peer = peer
    this.#handlers = handlers
    this.#id = String(peer.ids.next())
    const { upstreamLinesBurst, upstreamLinesPerSecond } = peer.limits
    this.#pace = new Pace(upstreamLinesBurst, upstreamLinesPerSecond, performance.now())
  }

  start(kinds: readonly NewsKind[], uris: readonly string[]): void {
    const peer = this.#peer
    const headMs = peer.limits.probeMs
    if (peer.wire.era === 'modern') {
      const ask = listenAsk(kinds, uris)
      const body = encodeAsk(this.#id, ask, peer.wire)
      this.#begin(
        peer.link.request({ method: 'POST', path: peer.path, headers: headersOf(peer, ask), body, headMs }, this),
      )
      return
    }
    const headers = peer.headers.map((text, at) => (at === 1 ? 'text/event-stream' : text))
    // A GET has no body: without the content type, which stands second.
    headers.splice(2, 2)
    this.#begin(peer.link.request({ method: 'GET', path: peer.path, headers, body: null, headMs }, this))
  }

  #begin(sending: Sending): void {
    this.#sending = sending
    if (this.#isOver) sending.abort()
  }

  close(): void {
    this.#isOver = true
    this.#sending?.abort()
  }

  onHead(status: number, headers: Readonly<Record<string, string | undefined>>): void {
    const type = (headers['content-type'] ?? '').split(';')[0]!.trim().toLowerCase()
    if (status === 200 && type === 'text/event-stream') {
      this.#reader = new SseReader(this.#peer.limits.upstreamEventBytes, (event) => this.#onEvent(event))
      this.#handlers.onOpen()
      return
    }
    // A server that fails may offer it later; one that says no does not offer it.
    this.#end(status >= 500 || status === 408 || status === 429, `HTTP ${status}`)
  }

  onData(chunk: Buffer): void {
    if (this.#isOver || this.#reader === null) return
    try {
      this.#reader.push(chunk)
      const { lines } = this.#reader
      if (!this.#pace.take(lines - this.#lines, performance.now())) this.#end(true, 'the server floods its stream')
      this.#lines = lines
    } catch (error) {
      this.#end(true, (error as Error).message)
    }
  }

  onEnd(): void {
    this.#end(true, 'the server ended the stream')
  }

  onError(error: GatewayError): void {
    this.#end(true, error.message)
  }

  #onEvent(event: SseEvent): void {
    if (this.#isOver || event.event !== 'message' || event.data.length === 0) return
    let incoming: Incoming
    try {
      incoming = readIncoming(event.data)
    } catch {
      return
    }
    if (incoming.kind === 'reply') {
      // The graceful end of a modern stream, or a refusal inside HTTP 200.
      if (incoming.id === this.#id) this.#end('result' in incoming.reply, 'the server ended the subscription')
      return
    }
    if (incoming.id !== null) {
      if (this.#peer.wire.era === 'modern') return
      const { onRequest } = this.#handlers
      if (onRequest === undefined) post(this.#peer, answerTo(incoming.method, incoming.id))
      else onRequest(incoming.method, incoming.id, incoming.params)
      return
    }
    const kind = newsKind(incoming.method)
    if (kind !== null) this.#handlers.onNews(kind)
    else this.#handlers.onNotification?.(incoming.method, incoming.params)
  }

  #end(isOffered: boolean, why: string): void {
    if (this.#isOver) return
    this.#isOver = true
    this.#sending?.abort()
    this.#handlers.onEnd(isOffered, why)
  }
}
