// Streamable HTTP towards upstreams, both eras: one POST per request, its answer as JSON or as an event stream.
// Hot path: no AbortController, no URL, one object per call, headers made once per session.
// Absent on purpose: redirects, resuming a broken stream (the call fails), compressed answers (we ask for none).

import type { Params, Reply } from '../core/call.ts'
import type { CancelReason } from '../core/cancel.ts'
import { GatewayError } from '../core/errors.ts'
import type { LinkHandler, Sending } from '../http/link.ts'
import { type Incoming, readIncoming, readReply } from '../mcp/jsonrpc.ts'
import { type SseEvent, SseReader } from '../mcp/sse.ts'
import { type Ask, encodeAsk, NotProcessed, named } from './ask.ts'
import { faultOfHead, isType, quoted, refusalCode, TOO_LARGE } from './http-head.ts'
import { type HttpPeer, headersOf, post } from './http-peer.ts'
import { Inquiry } from './inquiry.ts'
import { cancelError, cancelNotice } from './notices.ts'
import { Pace } from './pace.ts'
import { Relay } from './relay.ts'

const EMPTY = Buffer.alloc(0)

type Body = 'none' | 'json' | 'stream' | 'refusal'

/** Codes by which a server of the other era, or of other versions, refuses us; none of them is about the request itself. */
const CONTRADICTS_LEGACY = new Set([-32020, -32021, -32022])
const CONTRADICTS_MODERN = new Set([-32000, -32001, -32022, -32600])

class HttpAsk implements LinkHandler {
  readonly #peer: HttpPeer
  readonly #ask: Ask
  readonly #id: string
  readonly #resolve: (reply: Reply) => void
  readonly #reject: (error: Error) => void
  #sending: Sending | null = null
  #timer: NodeJS.Timeout
  readonly #startedMs = performance.now()
  #forgetCancel: (() => void) | null = null
  #settled = false
  #status = 0
  #body: Body = 'none'
  #retryAfter: string | undefined
  /** The body so far: the first chunk as it came, which is mostly all, else a buffer of ours that grows by doubling. */
  #buffer: Buffer = EMPTY
  #bytes = 0
  #reader: SseReader | null = null
  #pace: Pace | null = null
  /** Lines of the stream that have been counted. */
  #lines = 0
  #relay: Relay | null = null
  #dropped = 0
  #inquiry: Inquiry | null = null
  /** How many wait for the client. */
  #waits = 0
  /** The last thing on the stream that was not ours, for the message when nothing better comes. */
  #fault = ''
  /** What the server minted, of an `initialize` only. */
  sessionId: string | null = null

  constructor(peer: HttpPeer, ask: Ask, resolve: (reply: Reply) => void, reject: (error: Error) => void) {
    this.#peer = peer
    this.#ask = ask
    this.#id = String(peer.ids.next())
    this.#resolve = resolve
    this.#reject = reject
    this.#timer = setTimeout(onDeadline, ask.callMs, this)
  }

  start(): void {
    const { call } = this.#ask
    if (call !== null) {
      if (call.cancel.reason !== null) {
        this.#cancelled(call.cancel.reason)
        return
      }
      this.#forgetCancel = call.cancel.onCancel((reason) => this.#cancelled(reason))
      const { patience } = this.#ask
      if (patience !== undefined) patience.standStill = (isWaiting) => this.#standStill(isWaiting)
    }
    this.#sending = this.#peer.link.request(
      {
        method: 'POST',
        path: this.#peer.path,
        headers: headersOf(this.#peer, this.#ask),
        body: encodeAsk(this.#id, this.#ask, this.#peer.wire),
        headMs: 0,
      },
      this,
    )
    // The link may have failed at once; and a settled ask must not leave a request behind.
    if (this.#settled) this.#sending.abort()
  }

  // --- the answer as it comes ---------------------------------------------------------------------------------------

  onHead(status: number, headers: Readonly<Record<string, string | undefined>>): void {
    this.#status = status
    const fault = faultOfHead(status, headers)
    if (fault !== null) {
      this.#fail(fault.code, fault.what)
      return
    }
    if (status >= 200 && status < 300) {
      this.#onSuccess(status, headers)
      return
    }
    this.#retryAfter = headers['retry-after']
    this.#body = 'refusal'
  }

  #onSuccess(status: number, headers: Readonly<Record<string, string | undefined>>): void {
    if (this.#ask.method === 'initialize') {
      const sessionId = headers['mcp-session-id'] ?? null
      if (sessionId !== null && !isSessionId(sessionId, this.#peer.limits.upstreamSessionIdBytes)) {
        this.#fail('UPSTREAM_INVALID', 'its session id is not visible ASCII of a bounded length')
        return
      }
      this.sessionId = sessionId
    }
    const type = headers['content-type'] ?? ''
    if (isType(type, 'application/json')) this.#body = 'json'
    else if (isType(type, 'text/event-stream')) {
      this.#body = 'stream'
      this.#reader = new SseReader(this.#peer.limits.upstreamEventBytes, (event) => this.#onEvent(event))
    } else if (status === 202 || status === 204)
      this.#fail('UPSTREAM_INVALID', `it answered a request with HTTP ${status}`)
    else this.#fail('UPSTREAM_INVALID', `it answered with the content type ${quoted(type)}`)
  }

  onData(chunk: Buffer): void {
    if (this.#body === 'stream') {
      if (this.#settled) return
      try {
        this.#reader!.push(chunk)
        this.#checkPace(this.#reader!.lines)
      } catch (error) {
        this.#end(error as Error)
      }
      return
    }
    if (this.#settled) return
    const { upstreamBodyBytes, upstreamErrorBytes } = this.#peer.limits
    const bytes = this.#bytes + chunk.length
    if (this.#body === 'json' && bytes > upstreamBodyBytes) {
      this.#fail('UPSTREAM_INVALID', `its answer is larger than ${upstreamBodyBytes} bytes`)
    } else if (this.#body === 'refusal' && bytes > upstreamErrorBytes) this.#refuse(null)
    else this.#keep(chunk, bytes)
  }

  /** A body may come a byte at a time: millions of small buffers would cost a hundred times its size. */
  #keep(chunk: Buffer, bytes: number): void {
    if (this.#bytes === 0) this.#buffer = chunk
    else {
      // The first chunk has no room behind it, so that the first copy is always made.
      if (bytes > this.#buffer.length) {
        const grown = Buffer.allocUnsafe(Math.max(bytes, this.#buffer.length * 2))
        this.#buffer.copy(grown, 0, 0, this.#bytes)
        this.#buffer = grown
      }
      chunk.copy(this.#buffer, this.#bytes)
    }
    this.#bytes = bytes
  }

  onEnd(): void {
    this.#sending = null
    if (this.#settled) {
      clearTimeout(this.#timer)
      return
    }
    if (this.#body === 'stream') {
      const why = this.#fault === '' ? '' : ` (${this.#fault})`
      this.#fail('UPSTREAM_INVALID', `its stream ended before the answer${why}`)
      return
    }
    const bytes = this.#buffer.length === this.#bytes ? this.#buffer : this.#buffer.subarray(0, this.#bytes)
    if (this.#body === 'refusal') {
      this.#refuse(bytes)
      return
    }
    try {
      this.#answer(readReply(bytes, this.#id))
    } catch (error) {
      this.#end(error as Error)
    }
  }

  onError(error: GatewayError, sent: boolean): void {
    this.#sending = null
    if (this.#settled) {
      clearTimeout(this.#timer)
      return
    }
    this.#end(sent ? error : new NotProcessed('unsent', named(this.#peer.name, error)))
  }

  // --- an event stream ----------------------------------------------------------------------------------------------

  #onEvent(event: SseEvent): void {
    // An event without data only says that the stream may be resumed from here.
    if (this.#settled || event.event !== 'message' || event.data.length === 0) return
    let incoming: Incoming
    try {
      incoming = readIncoming(event.data)
    } catch (error) {
      this.#drop((error as Error).message)
      return
    }
    if (incoming.kind === 'reply') {
      if (incoming.id === this.#id) {
        this.#answer(incoming.reply)
        return
      }
      this.#drop('an answer to a foreign id')
      return
    }
    if (incoming.kind === 'request') {
      this.#onRequest(incoming.method, incoming.id!, incoming.params)
      return
    }
    const { call } = this.#ask
    if (incoming.method === 'notifications/cancelled' && this.#inquiry !== null) {
      const id = incoming.params.raw('requestId')
      if (id !== null) this.#inquiry.withdraw(id.toString('utf8'))
      return
    }
    if (call === null || call.notify === null) {
      this.#drop(`a notification ${quoted(incoming.method)}`)
      return
    }
    this.#relay ??= new Relay(call, this.#id)
    const outcome = this.#relay.take(incoming.method, incoming.params)
    if (outcome === 'progress') this.#moveDeadline()
    else if (outcome === 'dropped') this.#drop(`a notification ${quoted(incoming.method)}`)
  }

  /** The upstream asks in the middle of the call: it gets an answer, so that it does not wait for ever. */
  #onRequest(method: string, id: string, params: Params): void {
    if (this.#peer.wire.era === 'modern') {
      this.#drop(`a request ${quoted(method)}`)
      return
    }
    this.#inquiry ??= new Inquiry(this.#ask.call, this.#peer.limits, {
      send: (message) => post(this.#peer, message),
      onWaiting: (isWaiting) => this.#standStill(isWaiting),
    })
    if (!this.#inquiry.take(method, id, params)) this.#fail('UPSTREAM_INVALID', 'it asks too much in one call')
  }

  /** While the client is asked its time does not run. */
  #standStill(isWaiting: boolean): void {
    this.#waits += isWaiting ? 1 : -1
    if (this.#settled) return
    clearTimeout(this.#timer)
    if (this.#waits === 0) this.#timer = setTimeout(onDeadline, this.#ask.callMs, this)
  }

  #checkPace(lines: number): void {
    if (this.#settled || lines === this.#lines) return
    const { upstreamLinesBurst, upstreamLinesPerSecond } = this.#peer.limits
    this.#pace ??= new Pace(upstreamLinesBurst, upstreamLinesPerSecond, this.#startedMs)
    const isTooFast = !this.#pace.take(lines - this.#lines, performance.now())
    this.#lines = lines
    if (isTooFast) this.#fail('UPSTREAM_INVALID', 'it floods its stream')
  }

  #drop(what: string): void {
    this.#fault = what
    this.#dropped += 1
    if (this.#dropped > this.#peer.limits.upstreamDroppedMax) {
      this.#fail('UPSTREAM_INVALID', `its stream is full of what nobody asked for (last: ${what})`)
    }
  }

  // --- time -----------------------------------------------------------------------------------------------------------

  #moveDeadline(): void {
    if (this.#settled || this.#waits > 0) return
    const leftMs = this.#ask.callMsMax - (performance.now() - this.#startedMs)
    if (leftMs >= this.#ask.callMs) {
      this.#timer.refresh()
      return
    }
    clearTimeout(this.#timer)
    this.#timer = setTimeout(onDeadline, Math.max(leftMs, 0), this)
  }

  onDeadline(): void {
    if (this.#settled) {
      // The answer is long there, but the upstream keeps its stream open: it loses the connection.
      this.#sending?.abort()
      return
    }
    this.#stop('it did not answer in time')
    this.#end(new GatewayError('TIMEOUT', `No answer within ${this.#ask.callMs} ms`))
  }

  #cancelled(reason: CancelReason): void {
    if (this.#settled) return
    this.#stop('the client has cancelled the request')
    this.#end(cancelError(reason, this.#ask.callMs))
  }

  /** A modern upstream knows by the end of the stream; an older one has to be told. */
  #stop(why: string): void {
    if (this.#peer.wire.era === 'modern' || this.#ask.method === 'initialize' || this.#sending?.begun !== true) return
    post(this.#peer, cancelNotice(this.#id, why))
  }

  // --- the end --------------------------------------------------------------------------------------------------------

  #answer(reply: Reply): void {
    this.#settled = true
    this.#forgetCancel?.()
    this.#inquiry?.end()
    clearTimeout(this.#timer)
    // A stream usually ends with its answer; one that does not keeps its connection only for a moment.
    if (this.#sending !== null && this.#body === 'stream') {
      this.#timer = setTimeout(onDeadline, this.#peer.limits.upstreamLingerMs, this)
    }
    this.#resolve(reply)
  }

  #fail(code: 'UPSTREAM_INVALID' | 'UPSTREAM_REFUSED' | 'UPSTREAM_UNAVAILABLE' | 'UPSTREAM_BUSY', what: string): void {
    this.#end(new GatewayError(code, what))
  }

  #end(error: Error): void {
    if (this.#settled) return
    this.#settled = true
    this.#forgetCancel?.()
    this.#inquiry?.end()
    clearTimeout(this.#timer)
    this.#sending?.abort()
    this.#reject(error instanceof GatewayError ? named(this.#peer.name, error) : error)
  }

  /** `bytes` is the body of a 4xx or 5xx answer, or null where it was too long to be one of ours. */
  #refuse(bytes: Buffer | null): void {
    const status = this.#status
    const what = `it answered HTTP ${status}`
    const reply = bytes === null ? null : errorReply(bytes)
    const isOurs = reply !== null && reply.id === this.#id
    if (this.#peer.sessionId !== null && isLostSession(status, reply?.code ?? null)) {
      this.#end(new NotProcessed('session', this.#named('UPSTREAM_UNAVAILABLE', `it no longer knows our session`)))
      return
    }
    if (status >= 400 && status < 500 && status !== 408 && status !== 429) {
      const codes = this.#peer.wire.era === 'legacy' ? CONTRADICTS_LEGACY : CONTRADICTS_MODERN
      const contradicts = reply !== null && codes.has(reply.code)
      // Where a session stands the era is settled, and a request that is too large says nothing of it: else a caller could
      // end with one bad request a session that others share.
      const isUnheard = !isOurs && this.#peer.sessionId === null && !TOO_LARGE.has(status)
      if (contradicts || isUnheard) {
        const message = reply === null ? what : `${what} and the error ${reply.code}`
        this.#end(new NotProcessed('era', this.#named('UPSTREAM_INVALID', message), reply?.error ?? null, status))
        return
      }
    }
    if (isOurs) {
      this.#answer({ error: reply.error })
      return
    }
    const retryAfterSeconds = Number.parseInt(this.#retryAfter ?? '', 10)
    const options = retryAfterSeconds > 0 && retryAfterSeconds < 86_400 ? { retryAfterSeconds } : {}
    this.#end(new GatewayError(refusalCode(status), what, { ...options, data: { upstreamStatus: status } }))
  }

  #named(code: 'UPSTREAM_INVALID' | 'UPSTREAM_UNAVAILABLE', what: string): GatewayError {
    return named(this.#peer.name, new GatewayError(code, what))
  }
}

function onDeadline(ask: HttpAsk): void {
  ask.onDeadline()
}

/**
 * Sends one request and waits for its answer.
 * Errors: NotProcessed, or a GatewayError: UPSTREAM_UNAVAILABLE, UPSTREAM_INVALID, UPSTREAM_REFUSED, UPSTREAM_BUSY,
 * TIMEOUT, CANCELLED, SHUTTING_DOWN, ADDRESS_REFUSED.
 */
export function askHttp(peer: HttpPeer, ask: Ask): Promise<Reply> {
  return new Promise((resolve, reject) => new HttpAsk(peer, ask, resolve, reject).start())
}

/** The same for `initialize`, with the session id that the server minted, or null. */
export async function openHttp(peer: HttpPeer, ask: Ask): Promise<{ reply: Reply; sessionId: string | null }> {
  let sent: HttpAsk | null = null
  const reply = await new Promise<Reply>((resolve, reject) => {
    sent = new HttpAsk(peer, ask, resolve, reject)
    sent.start()
  })
  return { reply, sessionId: (sent as HttpAsk | null)?.sessionId ?? null }
}

// --- small readers ----------------------------------------------------------------------------------------------------

export function isSessionId(text: string, bytesMax: number): boolean {
  return text.length > 0 && text.length <= bytesMax && /^[\x21-\x7e]+$/.test(text)
}

/** 404 is the specification's word for it; the SDK's own examples say 400 with these codes. */
function isLostSession(status: number, code: number | null): boolean {
  return status === 404 || (status === 400 && (code === -32000 || code === -32001))
}

/** A JSON-RPC error in the body of a refusal. Its id may be null: many servers refuse before they read it. */
function errorReply(bytes: Buffer): { id: string; code: number; error: Buffer } | null {
  let incoming: Incoming
  try {
    incoming = readIncoming(bytes)
  } catch {
    return null
  }
  if (incoming.kind !== 'reply' || !('error' in incoming.reply)) return null
  const { code } = JSON.parse(incoming.reply.error.toString('utf8')) as { code: number }
  return { id: incoming.id, code, error: incoming.reply.error }
}
