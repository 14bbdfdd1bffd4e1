// The streams on which clients hear what nobody asked for: that lists or resources have changed. Those of sessions (GET,
// older revisions) and of subscriptions/listen (2026-07-28), which hear only what they named, under their tag.
// One stream per session and worker; a second one takes the place of the first. A client that lost its network cannot
// close its old stream, and refusing the new one would leave it deaf until TCP gives up.
// A slow reader costs three bits and the URIs of what has changed: what is to be said is kept as flags, not as bytes, until
// its socket has drained.
// The event ids of a session's stream say what its client has seen: a mark for each list, and the time. Whoever comes
// again with one, at any worker, is told what differs now; no stream has to be kept for that, nor its worker to live.
// Absent on purpose: requests to the client, which come on the streams of calls.

import type { Call, Session } from '../core/call.ts'
import { GatewayError } from '../core/errors.ts'
import type { Limits } from '../core/limits.ts'
import type { Caller } from '../core/policy.ts'
import type { Clock } from '../core/time.ts'
import type { EventStream, Exchange } from '../http/exchange.ts'
import { encodeNotification, encodeResult } from '../mcp/jsonrpc.ts'
import { SSE_COMMENT, sseEvent } from '../mcp/sse.ts'
import { overloaded } from './gate.ts'
import { RecentUpdates } from './recent-updates.ts'
import { sessionHolder } from './session.ts'

export type ListKind = 'tools' | 'prompts' | 'resources'

/** A text for each list of an endpoint, in the order of KINDS, that changes when the list does: base64url. */
export type ListMarks = readonly [tools: string, prompts: string, resources: string]

export interface ListenersDeps {
  readonly clock: Clock
  readonly limits: Pick<Limits, 'maxStreams' | 'sliceMs' | 'tapeMs' | 'watchesMax'>
  readonly authenticate: (authorization: string | undefined, exchange: Exchange) => Caller | Promise<Caller>
  /** What the lists of an endpoint look like now. */
  readonly marksOf: (scope: string) => ListMarks
  /** Ends what a stream watches. */
  readonly unwatch: (holder: string) => void
}

/** What a subscription hears. */
export interface Wanted {
  readonly holder: string
  readonly kinds: readonly ListKind[]
  readonly uris: readonly string[]
}

interface Listener {
  /** Unique in this worker. */
  readonly key: string
  /** By which it watches resources. */
  readonly holder: string
  readonly scope: string
  readonly callerId: string
  readonly expiresMs: number
  /** Bits of NOTICES that it wants. */
  readonly wants: number
  /** Of subscriptions/listen: its request's id, raw JSON text, by which all that it hears is tagged. */
  readonly tag: string | null
  readonly exchange: Exchange
  readonly stream: EventStream
  caller: Caller
  /** Bits of NOTICES that wait to be sent. */
  pending: number
  /** Resources that have changed and are still to be told of: never more than it watches. */
  readonly updated: Set<string>
  quietTicks: number
  isSlow: boolean
}

const KINDS: readonly ListKind[] = ['tools', 'prompts', 'resources']
const ALL_KINDS = (1 << KINDS.length) - 1
const TAG = 'io.modelcontextprotocol/subscriptionId'

/** One event; `members` is JSON text of members of `params`, '' for none. */
function notice(method: string, members: string, tag: string | null): Buffer {
  const meta = tag === null ? '' : `"_meta":{"${TAG}":${tag}}`
  const text = [members, meta].filter((part) => part !== '').join(',')
  return Buffer.concat(sseEvent([encodeNotification(method, text === '' ? null : Buffer.from(`{${text}}`))]))
}

const NOTICES = KINDS.map((kind) => notice(`notifications/${kind}/list_changed`, '', null))
const OPEN = Buffer.from(': open\n')
/** Whose clients can take an event without data, by which they get an id before anything has happened. */
const PRIMED_REVISION = '2025-11-25'
const EVENT_ID = /^l\.([\w-]{1,16})\.([\w-]{1,16})\.([\w-]{1,16})\.([0-9a-z]{1,10})$/
/** Clocks of workers on different machines differ; what is told twice does no harm. */
const CLOCK_MARGIN_MS = 2_000
/** A socket that took nothing for this many keep-alive times has no reader any more. */
const SLOW_TIMES_MAX = 4

export class Listeners {
  readonly #deps: ListenersDeps
  readonly #byKey = new Map<string, Listener>()
  readonly #byHolder = new Map<string, Listener>()
  readonly #due = new Set<Listener>()
  readonly #recent: RecentUpdates
  #isFlushing = false
  #isChecking = false
  #mustCheckAgain = false

  constructor(deps: ListenersDeps) {
    this.#deps = deps
    this.#recent = new RecentUpdates(deps.clock, deps.limits.tapeMs, deps.limits.watchesMax)
  }

  get size(): number {
    return this.#byKey.size
  }

  /** `lastEventId`: the stream goes on where another one of the session broke. Errors: OVERLOADED, INVALID_PARAMS. */
  open(session: Session, caller: Caller, exchange: Exchange, lastEventId: string | null = null): void {
    const [, tools, prompts, resources, time] = EVENT_ID.exec(lastEventId ?? '') ?? []
    if (lastEventId !== null && time === undefined)
      throw new GatewayError('INVALID_PARAMS', 'Last-Event-ID is not one of ours')
    const before = this.#byKey.get(session.key)
    if (before === undefined) this.#needRoom()
    else this.#end(before)
    const { key, scope, callerId, expiresMs } = session
    const about = { key, scope, callerId, expiresMs, holder: sessionHolder(key), wants: ALL_KINDS, tag: null }
    const listener = this.#add({ ...about, caller, exchange })
    const isPrimed = session.revision === PRIMED_REVISION && lastEventId === null
    this.#write(listener, isPrimed ? Buffer.concat([OPEN, Buffer.from(`${this.#idOf(scope)}data:\n\n`)]) : OPEN)
    if (time === undefined) return
    const marks = this.#deps.marksOf(scope)
    for (const [at, mark] of [tools, prompts, resources].entries()) if (mark !== marks[at]) listener.pending |= 1 << at
    const sinceMs = Number.parseInt(time, 36) - CLOCK_MARGIN_MS
    for (const uri of this.#recent.since(listener.holder, sinceMs)) listener.updated.add(uri)
    this.#due.add(listener)
    this.#flushSoon()
  }

  /** The line of an event after which a client of this endpoint has seen what there is now. */
  #idOf(scope: string): string {
    return `id: l.${this.#deps.marksOf(scope).join('.')}.${this.#deps.clock.now().toString(36)}\n`
  }

  /**
   * A connection without a session yet (edge/wire.ts), or that will never have one: kept alive, counted, and ended like a
   * stream, but told of nothing. Errors: OVERLOADED.
   */
  hold(about: Pick<Listener, 'holder' | 'scope' | 'caller' | 'expiresMs' | 'exchange'>): void {
    this.#needRoom()
    this.#add({ ...about, key: about.holder, callerId: about.caller.id, wants: 0, tag: null })
  }

  /** It goes on as the stream of its session. */
  release(holder: string): void {
    const listener = this.#byHolder.get(holder)
    if (listener !== undefined) this.#forget(listener)
  }

  /**
   * Answers subscriptions/listen; `uris` are watched already by this holder. The stream begins with what is honoured.
   * Errors: OVERLOADED.
   */
  subscribe(call: Call, id: Buffer, exchange: Exchange, wanted: Wanted): void {
    this.#needRoom()
    const tag = id.toString('utf8')
    let wants = 0
    for (const kind of wanted.kinds) wants |= 1 << KINDS.indexOf(kind)
    const { holder, kinds, uris } = wanted
    const about = { key: holder, holder, scope: call.scope, callerId: call.caller.id, wants, tag }
    const listener = this.#add({ ...about, expiresMs: Number.POSITIVE_INFINITY, caller: call.caller, exchange })
    const lists = kinds.map((kind) => `"${kind}ListChanged":true`)
    const resources = uris.length === 0 ? [] : [`"resourceSubscriptions":${JSON.stringify(uris)}`]
    const members = `"notifications":{${[...lists, ...resources].join(',')}}`
    this.#write(listener, notice('notifications/subscriptions/acknowledged', members, tag))
  }

  #needRoom(): void {
    if (this.#byKey.size >= this.#deps.limits.maxStreams) {
      throw overloaded(`${this.#deps.limits.maxStreams} streams are open`)
    }
  }

  #add(about: Omit<Listener, 'stream' | 'pending' | 'updated' | 'quietTicks' | 'isSlow'>): Listener {
    const stream = about.exchange.stream(200, [])
    const listener: Listener = { ...about, stream, pending: 0, updated: new Set(), quietTicks: 0, isSlow: false }
    this.#byKey.set(listener.key, listener)
    this.#byHolder.set(listener.holder, listener)
    about.exchange.onAbort(() => this.#forget(listener))
    stream.onDrain = () => {
      listener.isSlow = false
      if (listener.pending === 0 && listener.updated.size === 0) return
      this.#due.add(listener)
      this.#flushSoon()
    }
    return listener
  }

  /** A resource has changed that these watch. */
  updated(holders: readonly string[], uri: string): void {
    for (const holder of holders) {
      // A subscription (w…) is its stream, and cannot be resumed.
      if (!holder.startsWith('w')) this.#recent.note(holder, uri)
      const listener = this.#byHolder.get(holder)
      if (listener === undefined) continue
      listener.updated.add(uri)
      this.#due.add(listener)
    }
    this.#flushSoon()
  }

  /** The session has ended. */
  end(key: string): void {
    const listener = this.#byKey.get(key)
    if (listener !== undefined) this.#end(listener)
    this.#recent.forget(sessionHolder(key))
  }

  endAll(): void {
    for (const listener of this.#byKey.values()) this.#end(listener)
  }

  /** Lists have changed: `kindsOf` says which ones of an endpoint, and is asked once for each endpoint that has listeners. */
  announce(kindsOf: (scope: string) => readonly ListKind[]): void {
    const bitsOf = new Map<string, number>()
    for (const listener of this.#byKey.values()) {
      const { scope } = listener
      let bits = bitsOf.get(scope)
      if (bits === undefined) {
        bits = 0
        for (const kind of kindsOf(scope)) bits |= 1 << KINDS.indexOf(kind)
        bitsOf.set(scope, bits)
      }
      if ((bits & listener.wants) === 0) continue
      listener.pending |= bits & listener.wants
      this.#due.add(listener)
    }
    this.#flushSoon()
  }

  tick(quietTicksMax: number): void {
    const nowMs = this.#deps.clock.now()
    this.#recent.tick()
    for (const listener of this.#byKey.values()) {
      const { caller, expiresMs, stream } = listener
      if (expiresMs <= nowMs || (caller.expiresMs !== null && caller.expiresMs <= nowMs)) {
        this.#end(listener)
        continue
      }
      listener.quietTicks += 1
      if (listener.isSlow && listener.quietTicks >= quietTicksMax * SLOW_TIMES_MAX) {
        this.#forget(listener)
        stream.destroy()
      } else if (!listener.isSlow && listener.quietTicks >= quietTicksMax) this.#write(listener, SSE_COMMENT)
    }
  }

  /** Tokens have changed: who may no longer call may no longer listen. */
  async check(): Promise<void> {
    this.#mustCheckAgain = true
    if (this.#isChecking) return
    this.#isChecking = true
    while (this.#mustCheckAgain) {
      this.#mustCheckAgain = false
      let untilMs = performance.now() + this.#deps.limits.sliceMs
      for (const listener of [...this.#byKey.values()]) {
        if (performance.now() > untilMs) {
          await new Promise(setImmediate)
          untilMs = performance.now() + this.#deps.limits.sliceMs
        }
        if (!(await this.#mayListen(listener))) this.#end(listener)
      }
    }
    this.#isChecking = false
  }

  async #mayListen(listener: Listener): Promise<boolean> {
    try {
      const { exchange, callerId } = listener
      listener.caller = await this.#deps.authenticate(exchange.headers.authorization, exchange)
      return listener.caller.id === callerId
    } catch (error) {
      // While nothing can be said of a token its stream goes on, as its calls do.
      return error instanceof GatewayError && error.code !== 'UNAUTHENTICATED'
    }
  }

  #flushSoon(): void {
    if (this.#isFlushing || this.#due.size === 0) return
    this.#isFlushing = true
    setImmediate(() => this.#flush())
  }

  /** In slices: thousands of streams must not hold up the calls. */
  #flush(): void {
    this.#isFlushing = false
    const untilMs = performance.now() + this.#deps.limits.sliceMs
    for (const listener of this.#due) {
      this.#due.delete(listener)
      if (listener.isSlow) continue
      const { pending, tag, updated } = listener
      const uris = [...updated]
      listener.pending = 0
      updated.clear()
      const parts = NOTICES.flatMap((plain, at) => {
        if ((pending & (1 << at)) === 0) return []
        return [tag === null ? plain : notice(`notifications/${KINDS[at]}/list_changed`, '', tag)]
      })
      for (const uri of uris) parts.push(notice('notifications/resources/updated', `"uri":${JSON.stringify(uri)}`, tag))
      // The last one alone has an id: who got only some of them hears all again.
      if (tag === null) parts.splice(-1, 0, Buffer.from(this.#idOf(listener.scope)))
      if (uris.length > 0 || pending !== 0) this.#write(listener, Buffer.concat(parts))
      if (performance.now() > untilMs) break
    }
    this.#flushSoon()
  }

  #write(listener: Listener, bytes: Buffer): void {
    listener.quietTicks = 0
    if (!listener.stream.write(bytes)) listener.isSlow = true
  }

  #end(listener: Listener): void {
    this.#forget(listener)
    const { tag, stream } = listener
    // The graceful end of a subscription is the answer to its request.
    if (tag !== null) {
      const result = Buffer.from(`{"resultType":"complete","_meta":{"${TAG}":${tag}}}`)
      stream.write(Buffer.concat(sseEvent(encodeResult(Buffer.from(tag), result))))
    }
    stream.end()
  }

  #forget(listener: Listener): void {
    const { key, holder, tag } = listener
    if (this.#byKey.get(key) === listener) this.#byKey.delete(key)
    if (this.#byHolder.get(holder) === listener) this.#byHolder.delete(holder)
    this.#due.delete(listener)
    // A session watches on without a stream; a subscription is its stream.
    if (tag !== null) this.#deps.unwatch(holder)
  }
}
