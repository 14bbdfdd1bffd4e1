// MCP with a child, line by line, both eras: many requests at a time on one channel, told apart by their ids. Ids are the
// strings "<channel>.<number>", and so are the progress tokens, by which the primary finds the channel of an answer.
// Absent on purpose: how lines travel (upstream/children.ts) and answers to what the server asks (the broker's channel gives them).

import type { Params, Reply } from '../core/call.ts'
import type { CancelReason } from '../core/cancel.ts'
import { GatewayError } from '../core/errors.ts'
import type { Limits } from '../core/limits.ts'
import { encodeNotification, type Incoming, readIncoming } from '../mcp/jsonrpc.ts'
import type { Channel } from '../ports/children.ts'
import { type Ask, encodeAsk, NotProcessed, named, type Wire } from './ask.ts'
import { cancelError, cancelNotice } from './notices.ts'
import { Pace } from './pace.ts'
import { flat, Relay } from './relay.ts'

export interface StdioPeerOptions {
  /** Slug of the upstream, for messages. */
  readonly name: string
  readonly wire: Wire
  readonly channel: Channel
  readonly limits: Limits
  /** Several callers use this child: what cannot be tied to one call reaches none. */
  readonly isShared: boolean
  /** A notification that belongs to no call. */
  readonly onNotification?: (method: string, params: Params) => void
  /** What the server asks; only the broker's channel hears it. `id` is raw JSON text. */
  readonly onRequest?: (method: string, id: string, params: Params) => void
  readonly onClose: (why: string) => void
}

interface Waiting {
  readonly ask: Ask
  readonly resolve: (reply: Reply) => void
  readonly reject: (error: Error) => void
  readonly startedMs: number
  timer: NodeJS.Timeout
  /** How many questions wait for the client. */
  waits: number
  relay: Relay | null
  pace: Pace | null
  forgetCancel: (() => void) | null
}

export class StdioPeer {
  /** Set anew once when the handshake has found the era out. */
  wire: Wire
  readonly #options: StdioPeerOptions
  readonly #channel: Channel
  readonly #waiting = new Map<string, Waiting>()
  readonly #closeListeners: ((why: string) => void)[] = []
  #last = 0
  #closed: string | null = null
  #isRetired = false
  #retireTimer: NodeJS.Timeout | undefined
  /** Lines that were not ours, since the beginning. */
  dropped = 0

  constructor(options: StdioPeerOptions) {
    this.#options = options
    this.wire = options.wire
    this.#channel = options.channel
    this.#channel.onLine = (line) => this.#onLine(line)
    this.#channel.onRefused = (id, code, message) => this.#onRefused(id, new GatewayError(code, message))
    this.#channel.onClose = (why) => this.#onClose(why)
  }

  get inFlight(): number {
    return this.#waiting.size
  }

  get closed(): boolean {
    return this.#closed !== null
  }

  /**
   * Sends one request and waits for its answer. `wire` is another than the peer's while the era is being found out.
   * Errors: NotProcessed (the channel was closed before), or a GatewayError: UPSTREAM_UNAVAILABLE, UPSTREAM_INVALID,
   * UPSTREAM_BUSY, TIMEOUT, CANCELLED, SHUTTING_DOWN.
   */
  ask(ask: Ask, wire: Wire = this.wire): Promise<Reply> {
    return new Promise((resolve, reject) => {
      const { name, limits } = this.#options
      if (this.#closed !== null) {
        reject(new NotProcessed('unsent', named(name, new GatewayError('UPSTREAM_UNAVAILABLE', this.#closed))))
        return
      }
      if (this.#waiting.size >= limits.upstreamConnectionsMax) {
        reject(new GatewayError('UPSTREAM_BUSY', `${name}: ${limits.upstreamConnectionsMax} calls are waiting already`))
        return
      }
      const cancelled = ask.call?.cancel.reason ?? null
      if (cancelled !== null) {
        reject(cancelError(cancelled, ask.callMs))
        return
      }
      this.#last += 1
      const id = `"${this.#channel.n}.${this.#last}"`
      const timer = setTimeout(onDeadline, ask.callMs, this, id)
      const startedMs = performance.now()
      const waiting: Waiting = {
        ask,
        resolve,
        reject,
        startedMs,
        timer,
        waits: 0,
        relay: null,
        pace: null,
        forgetCancel: null,
      }
      this.#waiting.set(id, waiting)
      // A channel that is full queues up to its bound and then closes: nothing to do here.
      this.#channel.send(flat(encodeAsk(id, ask, wire)))
      if (ask.patience !== undefined) ask.patience.standStill = (isWaiting) => this.#standStill(id, isWaiting)
      if (ask.call !== null) waiting.forgetCancel = ask.call.cancel.onCancel((reason) => this.#cancel(id, reason))
    })
  }

  notify(method: string, params: Buffer | null): void {
    if (this.#closed === null) this.#channel.send(encodeNotification(method, params))
  }

  /** Calls `listener` at the end of the channel, at once if it has come. */
  onceClosed(listener: (why: string) => void): void {
    if (this.#closed !== null) listener(this.#closed)
    else this.#closeListeners.push(listener)
  }

  /** Sends one whole message of ours. */
  send(message: Buffer): void {
    if (this.#closed === null) this.#channel.send(message)
  }

  /** Closes as soon as nothing is under way, at the latest after `graceMs`. */
  retire(graceMs: number): void {
    this.#isRetired = true
    if (this.#waiting.size === 0) this.close()
    else this.#retireTimer = setTimeout(() => this.close(), graceMs)
  }

  /** Calls under way fail. */
  close(): void {
    if (this.#closed !== null) return
    this.#channel.onLine = null
    this.#channel.onRefused = null
    this.#channel.onClose = null
    this.#channel.close()
    this.#onClose('The link was closed')
  }

  // --- what the server says -------------------------------------------------------------------------------------------

  #onLine(line: Buffer): void {
    let incoming: Incoming
    try {
      incoming = readIncoming(line)
    } catch {
      this.dropped += 1
      return
    }
    if (incoming.kind === 'reply') {
      const waiting = this.#waiting.get(incoming.id)
      if (waiting === undefined) this.dropped += 1
      else this.#take(incoming.id, waiting).resolve(incoming.reply)
    } else if (incoming.id !== null) this.#options.onRequest?.(incoming.method, incoming.id, incoming.params)
    else this.#onNotification(incoming.method, incoming.params)
  }

  #onRefused(id: string, error: GatewayError): void {
    const waiting = this.#waiting.get(id)
    if (waiting !== undefined) this.#take(id, waiting).reject(named(this.#options.name, error))
  }

  #onNotification(method: string, params: Params): void {
    const token = params.raw('progressToken')?.toString('utf8')
    if (token === undefined && method !== 'notifications/message') {
      this.#options.onNotification?.(method, params)
      return
    }
    const id = token ?? this.#listener()
    const waiting = id === undefined ? undefined : this.#waiting.get(id)
    const call = waiting?.ask.call ?? null
    if (waiting === undefined || call === null || id === undefined) {
      this.dropped += 1
      return
    }
    waiting.relay ??= new Relay(call, id)
    const outcome = waiting.relay.take(method, params)
    if (!this.#isPaced(waiting)) this.#giveUp(id, waiting)
    else if (outcome === 'progress') this.#moveDeadline(id, waiting)
    else if (outcome === 'dropped') this.dropped += 1
  }

  #isPaced(waiting: Waiting): boolean {
    const { upstreamLinesBurst, upstreamLinesPerSecond } = this.#options.limits
    waiting.pace ??= new Pace(upstreamLinesBurst, upstreamLinesPerSecond, waiting.startedMs)
    return waiting.pace.take(1, performance.now())
  }

  #giveUp(id: string, waiting: Waiting): void {
    this.#take(id, waiting)
    this.#stop(id, waiting, 'it floods its call')
    const error = new GatewayError('UPSTREAM_INVALID', 'it floods its call with notifications')
    waiting.reject(named(this.#options.name, error))
  }

  /** Log messages on stdio name no request: on a link of one caller they go to its newest call that wants any. */
  #listener(): string | undefined {
    if (this.#options.isShared) return undefined
    let newest: string | undefined
    for (const [id, { ask }] of this.#waiting) if (ask.call !== null && ask.call.logLevel !== null) newest = id
    return newest
  }

  #onClose(why: string): void {
    if (this.#closed !== null) return
    this.#closed = why
    clearTimeout(this.#retireTimer)
    const error = named(this.#options.name, new GatewayError('UPSTREAM_UNAVAILABLE', why))
    for (const [id, waiting] of [...this.#waiting]) this.#take(id, waiting).reject(error)
    this.#options.onClose(why)
    for (const listener of this.#closeListeners.splice(0)) listener(why)
  }

  // --- the end of a request -------------------------------------------------------------------------------------------

  #take(id: string, waiting: Waiting): Waiting {
    this.#waiting.delete(id)
    clearTimeout(waiting.timer)
    waiting.forgetCancel?.()
    if (this.#isRetired && this.#waiting.size === 0) this.close()
    return waiting
  }

  /** While the client is asked its time does not run. */
  #standStill(id: string, isWaiting: boolean): void {
    const waiting = this.#waiting.get(id)
    if (waiting === undefined) return
    waiting.waits += isWaiting ? 1 : -1
    clearTimeout(waiting.timer)
    if (waiting.waits === 0) waiting.timer = setTimeout(onDeadline, waiting.ask.callMs, this, id)
  }

  #moveDeadline(id: string, waiting: Waiting): void {
    if (waiting.waits > 0) return
    const leftMs = waiting.ask.callMsMax - (performance.now() - waiting.startedMs)
    if (leftMs >= waiting.ask.callMs) {
      waiting.timer.refresh()
      return
    }
    clearTimeout(waiting.timer)
    waiting.timer = setTimeout(onDeadline, Math.max(leftMs, 0), this, id)
  }

  onDeadline(id: string): void {
    const waiting = this.#waiting.get(id)
    if (waiting === undefined) return
    this.#take(id, waiting)
    this.#stop(id, waiting, 'it did not answer in time')
    waiting.reject(named(this.#options.name, new GatewayError('TIMEOUT', `No answer within ${waiting.ask.callMs} ms`)))
  }

  #cancel(id: string, reason: CancelReason): void {
    const waiting = this.#waiting.get(id)
    if (waiting === undefined) return
    this.#take(id, waiting)
    this.#stop(id, waiting, 'the client has cancelled the request')
    waiting.reject(cancelError(reason, waiting.ask.callMs))
  }

  #stop(id: string, { ask }: Waiting, why: string): void {
    // The specification forbids to cancel initialize.
    if (ask.method !== 'initialize') this.send(cancelNotice(id, why))
  }
}

function onDeadline(peer: StdioPeer, id: string): void {
  peer.onDeadline(id)
}
