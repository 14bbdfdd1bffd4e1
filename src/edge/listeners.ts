// The GET streams of sessions (older revisions): what the server says unasked, today that lists have changed.
// One stream per session and worker; a second one takes the place of the first. A client that lost its network cannot
// close its old stream, and refusing the new one would leave it deaf until TCP gives up.
// A slow reader costs three bits: what is to be said is kept as flags, not as bytes, until its socket has drained.
// Absent on purpose: event ids and resumption (a client that reconnects lists anew), and requests to the client.

import type { Session } from '../core/call.ts'
import { GatewayError } from '../core/errors.ts'
import type { Limits } from '../core/limits.ts'
import type { Caller } from '../core/policy.ts'
import type { Clock } from '../core/time.ts'
import type { EventStream, Exchange } from '../http/exchange.ts'
import { encodeNotification } from '../mcp/jsonrpc.ts'
import { SSE_COMMENT, sseEvent } from '../mcp/sse.ts'
import { overloaded } from './gate.ts'

export type ListKind = 'tools' | 'prompts' | 'resources'

export interface ListenersDeps {
  readonly clock: Clock
  readonly limits: Pick<Limits, 'maxStreams' | 'sliceMs'>
  readonly authenticate: (authorization: string | undefined, exchange: Exchange) => Caller | Promise<Caller>
}

interface Listener {
  readonly session: Session
  readonly exchange: Exchange
  readonly stream: EventStream
  caller: Caller
  /** Bits of NOTICES that wait to be sent. */
  pending: number
  quietTicks: number
  isSlow: boolean
}

const KINDS: readonly ListKind[] = ['tools', 'prompts', 'resources']
const NOTICES = KINDS.map((kind) =>
  Buffer.concat(sseEvent([encodeNotification(`notifications/${kind}/list_changed`, null)])),
)
const OPEN = Buffer.from(': open\n\n')
/** A socket that took nothing for this many keep-alive times has no reader any more. */
const SLOW_TIMES_MAX = 4

export class Listeners {
  readonly #deps: ListenersDeps
  readonly #bySession = new Map<string, Listener>()
  readonly #due = new Set<Listener>()
  #isFlushing = false
  #isChecking = false
  #mustCheckAgain = false

  constructor(deps: ListenersDeps) {
    this.#deps = deps
  }

  get size(): number {
    return this.#bySession.size
  }

  /** Errors: OVERLOADED. */
  open(session: Session, caller: Caller, exchange: Exchange): void {
    const before = this.#bySession.get(session.key)
    if (before === undefined && this.#bySession.size >= this.#deps.limits.maxStreams) {
      throw overloaded(`${this.#deps.limits.maxStreams} streams are open`)
    }
    if (before !== undefined) this.#end(before)
    const stream = exchange.stream(200, [])
    const listener: Listener = { session, exchange, stream, caller, pending: 0, quietTicks: 0, isSlow: false }
    this.#bySession.set(session.key, listener)
    exchange.onAbort(() => this.#forget(listener))
    stream.onDrain = () => {
      listener.isSlow = false
      if (listener.pending === 0) return
      this.#due.add(listener)
      this.#flushSoon()
    }
    this.#write(listener, OPEN)
  }

  /** The session has ended. */
  end(key: string): void {
    const listener = this.#bySession.get(key)
    if (listener !== undefined) this.#end(listener)
  }

  endAll(): void {
    for (const listener of this.#bySession.values()) this.#end(listener)
  }

  /** Lists have changed: `kindsOf` says which ones of an endpoint, and is asked once for each endpoint that has listeners. */
  announce(kindsOf: (scope: string) => readonly ListKind[]): void {
    const bitsOf = new Map<string, number>()
    for (const listener of this.#bySession.values()) {
      const { scope } = listener.session
      let bits = bitsOf.get(scope)
      if (bits === undefined) {
        bits = 0
        for (const kind of kindsOf(scope)) bits |= 1 << KINDS.indexOf(kind)
        bitsOf.set(scope, bits)
      }
      if (bits === 0) continue
      listener.pending |= bits
      this.#due.add(listener)
    }
    this.#flushSoon()
  }

  tick(quietTicksMax: number): void {
    const nowMs = this.#deps.clock.now()
    for (const listener of this.#bySession.values()) {
      const { caller, session, stream } = listener
      if (session.expiresMs <= nowMs || (caller.expiresMs !== null && caller.expiresMs <= nowMs)) {
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
      for (const listener of [...this.#bySession.values()]) {
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
      const { exchange, session } = listener
      listener.caller = await this.#deps.authenticate(exchange.headers.authorization, exchange)
      return listener.caller.id === session.callerId
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
      const { pending } = listener
      listener.pending = 0
      this.#write(listener, Buffer.concat(NOTICES.filter((_, at) => (pending & (1 << at)) !== 0)))
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
    listener.stream.end()
  }

  #forget(listener: Listener): void {
    const { key } = listener.session
    if (this.#bySession.get(key) === listener) this.#bySession.delete(key)
    this.#due.delete(listener)
  }
}
