// A connection on which the messages of both sides go as they come: a WebSocket, or the stream of HTTP+SSE with what is
// posted to its endpoint. Each message that comes in gets an Exchange of its own, whose reply and whose stream write
// messages to the connection instead of an HTTP answer: so calls, questions, cancellation and subscriptions are those of
// edge/streamable.ts, which cannot tell the difference but for the headers that are not there (Carried).
// Both eras may speak on one connection: the older one by initialize, its session living and ending with the connection;
// the newer one by the `_meta` of each request.
// Absent on purpose: bytes and frames (edge/legacy-sse.ts, edge/websocket.ts), and a way to take a session elsewhere.

import type { Session } from '../core/call.ts'
import { GatewayError } from '../core/errors.ts'
import type { Caller } from '../core/policy.ts'
import type { EventStream, Exchange } from '../http/exchange.ts'
import { type Message, readBody } from '../mcp/jsonrpc.ts'
import { SSE_COMMENT, SseReader } from '../mcp/sse.ts'
import { overloaded } from './gate.ts'
import type { Accepted } from './headers.ts'
import type { EdgeParts } from './parts.ts'
import { replyRefusal, toGatewayError } from './reply.ts'
import { newRequestId } from './request-id.ts'
import { type Carried, type Posted, postBatch, postMessage } from './streamable.ts'

/** What a transport does for its wire. */
export interface Line {
  /** Sends one message, given in parts; false when the client is slow. */
  send(parts: readonly Buffer[]): boolean
  /** Says something that is no message, so that nobody takes the silence for the end; false when the client is slow. */
  keepAlive(): boolean
  /** Ends the connection in order: of a worker that stops, or of a caller or session that is no more. */
  end(why: WireEnd): void
  destroy(): void
  readonly bufferedBytes: number
}

export type WireEnd = 'shutdown' | 'over'

const ACCEPTED: Accepted = { json: true, stream: true }
const EMPTY = Buffer.alloc(0)

/** The same for every spelling of an id. */
function idKey(id: Buffer): string {
  const text = id.toString('utf8')
  return text.includes('\\') ? JSON.stringify(JSON.parse(text)) : text
}

export class Wire implements Carried {
  session: Session | null = null
  readonly #edge: EdgeParts
  readonly #scope: string
  readonly #line: Line
  readonly #headers: Exchange['headers']
  readonly #from: Exchange
  /** By which it is known to the listeners as long as it has no session. */
  readonly #holder: string
  /** Its stream is the connection itself. */
  readonly #whole: WireExchange
  /** Requests without an answer, by their ids. */
  readonly #open = new Map<string, WireExchange>()
  #batches = 0
  #hasGreeted = false
  #end: WireEnd | null = null
  #isGone = false

  /** `from` is the request that has opened the connection, `authorization` what it has brought. */
  constructor(edge: EdgeParts, from: Exchange, authorization: string | undefined, scope: string, line: Line) {
    this.#edge = edge
    this.#from = from
    this.#scope = scope
    this.#line = line
    this.#holder = edge.newHolder()
    // What the opening request says of a protocol, a method or a trace is not said of each message.
    this.#headers = { authorization }
    this.#whole = this.#exchange(() => this.#finish())
  }

  /** From now on it is kept alive, watched and counted. Errors: OVERLOADED. */
  open(caller: Caller, expiresMs: number): void {
    const exchange = this.#whole
    this.#edge.listeners.hold({ holder: this.#holder, scope: this.#scope, caller, expiresMs, exchange })
  }

  /**
   * Takes one message of the client, or a batch. Requests are answered on the connection, refusals of them too. Resolves
   * when it is taken, not when it is answered: null, or why a message that has no answer was not taken.
   * Errors: PARSE_ERROR, INVALID_REQUEST, TOO_DEEP (nobody can say whom to answer), INVALID_REQUEST (the id is in use).
   */
  async receive(bytes: Buffer, caller: Caller, hops: number): Promise<GatewayError | null> {
    const read = readBody(bytes)
    const isBatch = Array.isArray(read)
    const exchange = this.#exchange(() => {})
    const posted: Posted = {
      ...{ edge: this.#edge, exchange, scope: this.#scope, caller, accepted: ACCEPTED, hops, carried: this },
    }
    if (!isBatch && read.kind !== 'request') return this.#take(posted, read)
    const id = isBatch ? null : read.id
    const key = id === null ? `batch ${++this.#batches}` : idKey(id)
    if (this.#open.has(key)) throw new GatewayError('INVALID_REQUEST', 'A request with this id has no answer yet')
    try {
      if (this.#end !== null) throw new GatewayError('SHUTTING_DOWN', undefined, { retryAfterSeconds: 1 })
      const { wireCallsMax } = this.#edge.limits
      if (this.#open.size >= wireCallsMax)
        throw overloaded(`${wireCallsMax} requests of this connection have no answer yet`)
      this.#open.set(key, exchange)
      exchange.onOver = () => {
        this.#open.delete(key)
        if (this.#open.size === 0 && this.#end === 'shutdown') this.#line.end(this.#end)
      }
      const turn = this.#edge.gate.enter()
      if (turn !== null) await turn
    } catch (thrown) {
      this.#refuse(exchange, id, thrown)
      return null
    }
    this.#answer(posted, read, id).catch((error: unknown) => this.#edge.log.error('edge.fault', { error }))
    return null
  }

  async #take(posted: Posted, message: Message): Promise<GatewayError | null> {
    try {
      await postMessage(posted, message)
      return null
    } catch (thrown) {
      return toGatewayError(thrown, newRequestId(), this.#edge.log)
    }
  }

  async #answer(posted: Posted, read: Message | Message[], id: Buffer | null): Promise<void> {
    try {
      if (this.#isGone) return
      if (Array.isArray(read)) await postBatch(posted, read)
      else await postMessage(posted, read)
    } catch (thrown) {
      this.#refuse(posted.exchange, id, thrown)
    } finally {
      this.#edge.gate.leave()
    }
  }

  #refuse(exchange: Exchange, id: Buffer | null, thrown: unknown): void {
    const requestId = newRequestId()
    replyRefusal(exchange, id, toGatewayError(thrown, requestId, this.#edge.log), requestId)
  }

  greet(): void {
    if (this.#hasGreeted) throw new GatewayError('INVALID_REQUEST', 'This connection has its session already')
    this.#hasGreeted = true
  }

  greeted(session: Session | null, caller: Caller): void {
    this.#hasGreeted = session !== null
    if (session === null) return
    this.session = session
    if (this.#isGone) {
      this.#edge.sessions.leave(session)
      return
    }
    const { listeners } = this.#edge
    listeners.release(this.#holder)
    listeners.open(session, caller, this.#whole)
  }

  cancel(id: Buffer): void {
    const exchange = this.#open.get(idKey(id))
    if (exchange !== undefined) exchange.abort()
    // One of a batch.
    else if (this.session !== null) this.#edge.calls.cancel(this.session.key, id)
  }

  /** The client reads again. */
  drained(): void {
    this.#whole.onDrain?.()
    for (const exchange of this.#open.values()) exchange.onDrain?.()
  }

  /** The connection is over, whoever has ended it: and with it its session, as if that had been deleted. */
  gone(): void {
    if (this.#isGone) return
    this.#isGone = true
    this.#whole.abort()
    for (const exchange of [...this.#open.values()]) exchange.abort()
    if (this.session !== null) this.#edge.sessions.leave(this.session)
  }

  /** A worker that stops lets the requests be answered that have come; a caller or session that is no more ends at once. */
  #finish(): void {
    if (this.#isGone || this.#end !== null) return
    this.#end = this.#edge.isDraining() ? 'shutdown' : 'over'
    if (this.#end === 'over' || this.#open.size === 0) this.#line.end(this.#end)
  }

  #exchange(onEnd: () => void): WireExchange {
    return new WireExchange(this.#from, this.#headers, this.#line, this.#edge.limits.wireUnreadBytes, onEnd)
  }
}

/** One message of the client: what answers it goes to the connection as messages. */
class WireExchange implements Exchange, EventStream {
  readonly method = 'POST'
  readonly path: string
  readonly query = ''
  readonly headers: Exchange['headers']
  readonly address: string
  readonly secure: boolean
  replied = false
  onDrain: (() => void) | null = null
  /** There will be no further message of it. */
  onOver: (() => void) | null = null
  readonly #line: Line
  readonly #unreadBytesMax: number
  readonly #onEnd: () => void
  #listeners: (() => void)[] = []
  #reader: SseReader | null = null
  #isAborted = false
  #isOver = false

  constructor(from: Exchange, headers: Exchange['headers'], line: Line, unreadBytesMax: number, onEnd: () => void) {
    this.path = from.path
    this.headers = headers
    this.address = from.address
    this.secure = from.secure
    this.#line = line
    this.#unreadBytesMax = unreadBytesMax
    this.#onEnd = onEnd
  }

  async body(): Promise<Buffer> {
    return EMPTY
  }

  /** The message in `body`; a status and headers have nowhere to go. */
  reply(_status: number, _headers: readonly string[], body: Buffer | readonly Buffer[] | string | null): void {
    if (this.replied) return
    this.replied = true
    if (body !== null && !this.#isOver) {
      if (typeof body === 'string') this.#send([Buffer.from(body)])
      else this.#send(Array.isArray(body) ? (body as Buffer[]) : [body as Buffer])
    }
    this.#over()
  }

  stream(): EventStream {
    this.replied = true
    return this
  }

  /** Several listeners, all of which hear of it. */
  onAbort(listener: () => void): void {
    if (this.#isAborted) listener()
    else this.#listeners.push(listener)
  }

  /** The client no longer wants it. What cannot be cancelled (nobody listens) is answered all the same. */
  abort(): void {
    if (this.#isAborted || this.#listeners.length === 0) return
    this.#isAborted = true
    // Before it is over: a call that ends withdraws its questions first.
    for (const listener of this.#listeners) listener()
    this.#over()
  }

  // --- the stream: bytes of events, as the edge writes them everywhere, read back into messages

  write(chunk: Buffer | string): boolean {
    if (this.#isOver) return false
    if (chunk === SSE_COMMENT) return this.#line.keepAlive()
    let isFast = true
    this.#reader ??= new SseReader(Number.POSITIVE_INFINITY, ({ data }) => {
      if (data.length > 0) isFast = this.#send([data])
    })
    this.#reader.push(typeof chunk === 'string' ? Buffer.from(chunk) : chunk)
    return isFast
  }

  end(): void {
    this.#over()
    this.#onEnd()
  }

  destroy(): void {
    this.#line.destroy()
  }

  /** Bytes of one message among many cannot be told apart: the bound is the connection's. */
  get bufferedBytes(): number {
    return 0
  }

  #send(parts: readonly Buffer[]): boolean {
    const isFast = this.#line.send(parts)
    if (this.#line.bufferedBytes > this.#unreadBytesMax) this.#line.destroy()
    return isFast
  }

  #over(): void {
    if (this.#isOver) return
    this.#isOver = true
    this.onOver?.()
  }
}
