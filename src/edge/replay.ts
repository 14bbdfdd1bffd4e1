// Streams that can be resumed (revisions 2025-03-26 to 2025-11-25, basic/transports, "Resumability and Redelivery"). The
// stream of a session's call is a tape (edge/tape.ts) in the worker that runs the call; a client whose connection broke
// gets the rest of it by GET with Last-Event-ID, at any worker: that one pulls from the owner, a piece at a time, so that
// a slow client holds up nobody. The id seals place, caller, session and the call's own id: where the owner is gone, the
// client still gets an error for that call, and no call is lost in silence.
// Absent on purpose: ids of GET streams, which say what their client has seen and need no memory (edge/listeners.ts).

import { randomBytes } from 'node:crypto'
import { asBuffer } from '../core/bytes.ts'
import type { Session } from '../core/call.ts'
import { Cancel } from '../core/cancel.ts'
import { GatewayError } from '../core/errors.ts'
import type { Limits } from '../core/limits.ts'
import type { Clock } from '../core/time.ts'
import type { EventStream, Exchange } from '../http/exchange.ts'
import { type Handle, openHandle, sealHandle } from '../mcp/handle.ts'
import type { Sealer } from '../mcp/seal.ts'
import { SSE_COMMENT, sseEvent } from '../mcp/sse.ts'
import type { Hop } from '../ports/hop.ts'
import { type CallStream, passingStream } from './call-stream.ts'
import { overloaded } from './gate.ts'
import { encodeRefusal, NO_HEADERS } from './reply.ts'
import { newRequestId } from './request-id.ts'
import { eventId, type Pulled, Tape } from './tape.ts'

export interface ReplayDeps {
  readonly sealer: Sealer
  readonly hop: Hop
  readonly clock: Clock
  readonly limits: Pick<
    Limits,
    | 'tapeEvents'
    | 'tapeBytes'
    | 'tapesBytes'
    | 'tapesMax'
    | 'tapeMs'
    | 'resumesMax'
    | 'streamBufferBytes'
    | 'keepAliveCommentMs'
  >
}

interface Pull {
  readonly n: number
  readonly session: string
  readonly after: number
  /** The connection that wants to read; the newest one does. */
  readonly reader: string
  /** Answered at once, so that refusals still have a status, and takes the place of whoever read before. */
  readonly isFirst: boolean
}

interface Resumed {
  readonly name: string
  readonly handle: Handle
  readonly seq: number
  readonly isEnd: boolean
  /** Raw JSON text; null where it was too long to be kept in event ids. */
  readonly id: Buffer | null
}

const EVENT_ID = /^c\.([A-Za-z0-9_-]{1,512})\.(0|[1-9]\d{0,9})(\.end)?$/
const SESSION_BYTES = 16
/** It stands in each event of the stream. */
const ID_BYTES_MAX = 96
const PRIMED_REVISION = '2025-11-25'
const OPEN = ': open\n'
/** A socket that took nothing for this many keep-alive times has no reader any more. */
const SLOW_TIMES_MAX = 4

/** Whether a Last-Event-ID is one of the stream of a call. */
export const isCallEventId = (text: string): boolean => text.startsWith('c.')

function lost(): GatewayError {
  return new GatewayError('OWNER_LOST', 'What came next on this stream is no longer kept')
}

export class Replay {
  readonly #deps: ReplayDeps
  readonly #tapes = new Map<number, Tape>()
  readonly #ofSession = new Map<string, Set<Tape>>()
  /** Those whose call is over, the oldest first, and until when they are kept. */
  readonly #over = new Map<Tape, number>()
  /** Connections here that read streams of calls, wherever those are. */
  readonly #readers = new Map<EventStream, Cancel>()
  #last = 0
  #bytes = 0
  #resumes = 0

  constructor(deps: ReplayDeps) {
    this.#deps = deps
    deps.hop.serve('replay', (body, { cancel }) => this.#pull(body as Pull, cancel))
  }

  /** Calls whose streams can be resumed, those that are over included. */
  get size(): number {
    return this.#tapes.size
  }

  get bytes(): number {
    return this.#bytes
  }

  /** Connections that read the stream of a call that came by another one. */
  get resumes(): number {
    return this.#resumes
  }

  /** Answers that nobody was there to hear and nobody has come for yet. */
  get unread(): number {
    let unread = 0
    for (const tape of this.#over.keys()) if (tape.isUnread) unread += 1
    return unread
  }

  /** Opens the stream of a call. `id` is the raw JSON text of its request's id. */
  open(session: Session, id: Buffer, exchange: Exchange): CallStream {
    const { limits, sealer, hop } = this.#deps
    const stream = exchange.stream(200, NO_HEADERS)
    this.#makeRoom(0)
    if (this.#tapes.size >= limits.tapesMax) return passingStream(stream, limits.streamBufferBytes)
    this.#last += 1
    const n = this.#last
    const { key, callerId, expiresMs } = session
    const rest = Buffer.concat([Buffer.from(key, 'hex'), id.length <= ID_BYTES_MAX ? id : Buffer.alloc(0)])
    const name = sealHandle(sealer, 'stream', { ...hop.here, n, callerId, expiresMs, rest })
    const tape = new Tape(n, key, name, stream, {
      limits,
      refusal: () => encodeRefusal(id, lost(), newRequestId()),
      hasRoom: (bytes) => {
        this.#makeRoom(bytes)
        return this.#bytes + bytes <= limits.tapesBytes
      },
      onBytes: (more) => {
        this.#bytes += more
      },
      onOver: () => this.#ended(tape),
    })
    this.#tapes.set(n, tape)
    const others = this.#ofSession.get(key)
    if (others === undefined) this.#ofSession.set(key, new Set([tape]))
    else others.add(tape)
    exchange.onAbort(() => {
      if (tape.reader === null) tape.leave(false)
    })
    if (session.revision === PRIMED_REVISION) tape.prime()
    return tape
  }

  /**
   * Answers a GET whose Last-Event-ID is one of a call: the rest of its stream, or 204 where there is none.
   * Errors: INVALID_PARAMS (not an id of this session), OVERLOADED, OWNER_LOST where the call's own id is not known.
   */
  async resume(session: Session, exchange: Exchange, lastEventId: string): Promise<void> {
    const resumed = this.#read(session, lastEventId)
    if (resumed.isEnd) return exchange.reply(204, NO_HEADERS, null)
    if (this.#resumes >= this.#deps.limits.resumesMax)
      throw overloaded(`${this.#deps.limits.resumesMax} streams are being resumed`)
    const reader = randomBytes(8).toString('hex')
    const gone = new Cancel()
    exchange.onAbort(() => gone.cancel('disconnect'))
    this.#resumes += 1
    try {
      const first = await this.#ask(resumed, resumed.seq, reader, true, gone)
      if (first.next === 'end' && first.bytes.length === 0) return exchange.reply(204, NO_HEADERS, null)
      const stream = exchange.stream(200, NO_HEADERS)
      stream.write(OPEN)
      this.#readers.set(stream, gone)
      try {
        await this.#follow(resumed, first, reader, stream, gone)
      } finally {
        this.#readers.delete(stream)
      }
    } catch (error) {
      if (!gone.cancelled) this.#tellLost(resumed, exchange, error)
    } finally {
      this.#resumes -= 1
    }
  }

  /** The session is over, and nobody can come back: calls that still run are answered where they are heard now. */
  end(session: string): void {
    for (const tape of this.#ofSession.get(session) ?? []) {
      tape.isLast = true
      this.#forgetLast(tape)
    }
  }

  tick(): void {
    const nowMs = this.#deps.clock.now()
    for (const [tape, untilMs] of this.#over) {
      if (untilMs > nowMs) break
      this.#forget(tape)
    }
  }

  /** Connections that resumed a stream end: their clients resume it elsewhere. */
  endReaders(): void {
    for (const [stream, gone] of this.#readers) {
      gone.cancel('shutdown')
      stream.end()
    }
  }

  /** Calls that are cut off just now still say so where they are heard. */
  close(): void {
    this.endReaders()
    for (const session of [...this.#ofSession.keys()]) this.end(session)
  }

  // --- the worker that has the connection ---------------------------------------------------------------------------------

  #read(session: Session, lastEventId: string): Resumed {
    const { sealer, clock } = this.#deps
    const [, name, seq, end] = EVENT_ID.exec(lastEventId) ?? []
    const handle = name === undefined ? null : openHandle(sealer, 'stream', name, session.callerId, clock.now())
    if (handle === null || handle.rest.toString('hex', 0, SESSION_BYTES) !== session.key)
      throw new GatewayError('INVALID_PARAMS', 'Last-Event-ID is not one of this session')
    const id = handle.rest.length === SESSION_BYTES ? null : handle.rest.subarray(SESSION_BYTES)
    return { name: name!, handle, seq: Number(seq), isEnd: end !== undefined, id }
  }

  async #ask(
    { handle, ...resumed }: Resumed,
    after: number,
    reader: string,
    isFirst: boolean,
    gone: Cancel,
  ): Promise<Pulled> {
    const { rest, n } = handle
    const pull: Pull = { n, session: rest.toString('hex', 0, SESSION_BYTES), after, reader, isFirst }
    const pulled = (await this.#deps.hop.ask(handle, 'replay', pull, undefined, gone)) as Pulled
    return { ...resumed, ...pulled, bytes: asBuffer(pulled.bytes) }
  }

  async #follow(resumed: Resumed, first: Pulled, reader: string, stream: EventStream, gone: Cancel): Promise<void> {
    let pulled = first
    for (;;) {
      const isQuick = stream.write(pulled.bytes.length > 0 ? pulled.bytes : SSE_COMMENT)
      if (pulled.next === 'end') break
      if (!isQuick) await this.#drained(stream, gone)
      try {
        pulled = await this.#ask(resumed, pulled.seq, reader, false, gone)
      } catch (error) {
        if (gone.cancelled) return
        this.#sayLost(resumed, pulled.seq, stream, error)
        break
      }
    }
    stream.end()
  }

  /** Resolves when the client reads again. Errors: CANCELLED when it does not, or is gone. */
  async #drained(stream: EventStream, gone: Cancel): Promise<void> {
    if (gone.cancelled) throw new GatewayError('CANCELLED')
    return new Promise((resolve, reject) => {
      const settle = (isDrained: boolean): void => {
        clearTimeout(timer)
        forget()
        stream.onDrain = null
        if (isDrained) resolve()
        else {
          stream.destroy()
          gone.cancel('disconnect')
          reject(new GatewayError('CANCELLED'))
        }
      }
      const timer = setTimeout(() => settle(false), this.#deps.limits.keepAliveCommentMs * SLOW_TIMES_MAX)
      timer.unref()
      const forget = gone.onCancel(() => settle(false))
      stream.onDrain = () => settle(true)
    })
  }

  #tellLost(resumed: Resumed, exchange: Exchange, error: unknown): void {
    if (!(error instanceof GatewayError) || error.code !== 'OWNER_LOST' || resumed.id === null) throw error
    const stream = exchange.stream(200, NO_HEADERS)
    this.#sayLost(resumed, resumed.seq, stream, error)
    stream.end()
  }

  /** The answer to a call that is lost. Its event is the last one, so that nobody comes again for more. */
  #sayLost({ id, name }: Resumed, seq: number, stream: EventStream, error: unknown): void {
    if (id === null) return
    const known = error instanceof GatewayError ? error : new GatewayError('OWNER_LOST')
    stream.write(Buffer.concat(sseEvent([encodeRefusal(id, known, newRequestId())], eventId(name, seq + 1, true))))
  }

  // --- the worker that has the call -----------------------------------------------------------------------------------------

  #pull({ n, session, after, reader, isFirst }: Pull, cancel: Cancel): Pulled | Promise<Pulled> {
    const { streamBufferBytes, keepAliveCommentMs } = this.#deps.limits
    const tape = this.#tapes.get(n)
    if (tape === undefined || tape.session !== session) throw lost()
    if (after > tape.seq) throw new GatewayError('INVALID_PARAMS', 'Last-Event-ID is of an event that never was')
    if (isFirst) {
      tape.leave(true)
      tape.reader = reader
    }
    const replaced: Pulled = { bytes: Buffer.alloc(0), seq: after, next: 'end' }
    const now = (): Pulled => {
      if (tape.reader !== reader) return replaced
      const pulled = tape.after(after, streamBufferBytes)
      this.#forgetLast(tape)
      return pulled
    }
    const pulled = now()
    if (isFirst) {
      // Whoever waited finds that it is no longer the reader.
      tape.wait(() => {})
      return pulled
    }
    if (pulled.bytes.length > 0 || pulled.next === 'end') return pulled
    return new Promise((resolve) => {
      const settle = (): void => {
        clearTimeout(timer)
        forget()
        resolve(now())
      }
      const timer = setTimeout(settle, keepAliveCommentMs)
      timer.unref()
      const forget = cancel.onCancel(settle)
      tape.wait(settle)
    })
  }

  #ended(tape: Tape): void {
    if (!this.#tapes.has(tape.n)) return
    this.#over.set(tape, this.#deps.clock.now() + this.#deps.limits.tapeMs)
    this.#forgetLast(tape)
  }

  /** Of a session that has ended nothing is kept, but for a reader that comes for the end just now. */
  #forgetLast(tape: Tape): void {
    if (tape.isLast && tape.isOver && (tape.reader === null || !tape.isUnread)) this.#forget(tape)
  }

  /** Those of calls that are over make room for others, the oldest first. */
  #makeRoom(bytes: number): void {
    const { tapesMax, tapesBytes } = this.#deps.limits
    for (const tape of this.#over.keys()) {
      if (this.#tapes.size < tapesMax && this.#bytes + bytes <= tapesBytes) break
      this.#forget(tape)
    }
  }

  #forget(tape: Tape): void {
    this.#tapes.delete(tape.n)
    this.#over.delete(tape)
    const others = this.#ofSession.get(tape.session)
    others?.delete(tape)
    if (others?.size === 0) this.#ofSession.delete(tape.session)
    tape.clear()
  }
}
