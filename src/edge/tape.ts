// What was said on the event stream of one call, kept so that it can be said again: the last messages, each under an event
// id `c.<name>.<seq>`. The answer's id ends in `.end`: who has seen that has seen everything. Notifications are the
// first to go when there is no room; open questions and the answer stay.

import type { EventStream } from '../http/exchange.ts'
import { SSE_COMMENT, sseEvent } from '../mcp/sse.ts'
import { type CallStream, writeParts } from './call-stream.ts'

export interface TapeLimits {
  readonly tapeEvents: number
  readonly tapeBytes: number
  readonly streamBufferBytes: number
}

export interface TapeDeps {
  readonly limits: TapeLimits
  /** What is said instead of an answer that is too large to be kept. */
  readonly refusal: () => Buffer
  /** Whether so many bytes more may be kept. */
  readonly hasRoom: (bytes: number) => boolean
  /** More or fewer bytes are kept than before. */
  readonly onBytes: (more: number) => void
  readonly onOver: () => void
}

interface Kept {
  readonly seq: number
  readonly event: readonly Buffer[]
  readonly bytes: number
  readonly question: string | null
  readonly isAnswer: boolean
}

/** Some of what came after a point: SSE text, the number of its last event, and how it goes on. */
export interface Pulled {
  readonly bytes: Buffer
  readonly seq: number
  readonly next: 'more' | 'end'
}

export const eventId = (name: string, seq: number, isEnd: boolean): string => `c.${name}.${seq}${isEnd ? '.end' : ''}`

const sizeOf = (parts: readonly Buffer[]): number => parts.reduce((sum, part) => sum + part.length, 0)

export class Tape implements CallStream {
  readonly n: number
  readonly session: string
  readonly #name: string
  readonly #deps: TapeDeps
  #sink: EventStream | null
  #kept: Kept[] = []
  #bytes = 0
  #seq = 0
  #isCleared = false
  #onMore: (() => void) | null = null
  /** Who reads now, by its connection's name; null for the connection on which the call came. */
  reader: string | null = null
  isOver = false
  /** Its session has ended: it is kept no longer than its call. */
  isLast = false
  /** Nobody was there for its answer, and nobody has come for it yet. */
  isUnread = false

  constructor(n: number, session: string, name: string, sink: EventStream, deps: TapeDeps) {
    this.n = n
    this.session = session
    this.#name = name
    this.#sink = sink
    this.#deps = deps
  }

  get seq(): number {
    return this.#seq
  }

  get bytes(): number {
    return this.#bytes
  }

  /** An event without data, so that a client can come back before anything was said (2025-11-25). */
  prime(): void {
    this.#sink?.write(`id: ${eventId(this.#name, 0, false)}\ndata:\n\n`)
  }

  say(message: Buffer, question: string | null): void {
    this.#say([message], question, false)
  }

  settled(question: string): void {
    this.#drop((kept) => kept.question === question)
  }

  answer(parts: readonly Buffer[]): void {
    // Before it is said: whoever waits for it must see that nothing comes after it.
    this.isOver = true
    this.isUnread = this.#sink === null
    this.#say(parts, null, true)
    this.#sink?.end()
    this.#sink = null
    this.#deps.onOver()
  }

  comment(): void {
    this.#sink?.write(SSE_COMMENT)
  }

  /** The connection on which the call came is gone, or has lost its place: the call goes on. */
  leave(isOurs: boolean): void {
    if (isOurs) this.#sink?.end()
    this.#sink = null
  }

  /** What came after `seq`, at most about `bytesMax` of it. */
  after(seq: number, bytesMax: number): Pulled {
    const parts: Buffer[] = []
    let bytes = 0
    let last = seq
    for (const kept of this.#kept) {
      if (kept.seq <= seq) continue
      if (bytes > 0 && bytes + kept.bytes > bytesMax) return { bytes: Buffer.concat(parts), seq: last, next: 'more' }
      parts.push(...kept.event)
      bytes += kept.bytes
      last = kept.seq
    }
    if (this.isOver) this.isUnread = false
    return { bytes: Buffer.concat(parts), seq: this.#seq, next: this.isOver ? 'end' : 'more' }
  }

  /** Calls back once, when there is more to read. Whoever waited before is told too, and finds that it is no longer the reader. */
  wait(onMore: () => void): void {
    this.#wake()
    this.#onMore = onMore
  }

  /** Nothing is kept any more, and nobody hears any more. */
  clear(): void {
    this.#isCleared = true
    this.leave(true)
    this.#drop(() => true)
    this.#wake()
  }

  #wake(): void {
    const onMore = this.#onMore
    this.#onMore = null
    onMore?.()
  }

  #say(parts: readonly Buffer[], question: string | null, isAnswer: boolean): void {
    if (this.#isCleared) return
    this.#seq += 1
    const seq = this.#seq
    const id = eventId(this.#name, seq, isAnswer)
    const event = sseEvent(parts, id)
    if (this.#sink !== null) {
      writeParts(this.#sink, event)
      // A client that does not read is dropped. It may come back: what it has not read is here.
      if (!isAnswer && this.#sink.bufferedBytes > this.#deps.limits.streamBufferBytes) {
        this.#sink.destroy()
        this.#sink = null
      }
    }
    const bytes = sizeOf(event)
    const isKept = bytes <= this.#deps.limits.tapeBytes && this.#deps.hasRoom(bytes)
    const kept = isAnswer && !isKept ? sseEvent([this.#deps.refusal()], id) : event
    if (isKept || isAnswer) this.#keep({ seq, event: kept, bytes: sizeOf(kept), question, isAnswer })
    this.#wake()
  }

  #keep(kept: Kept): void {
    const { tapeEvents, tapeBytes } = this.#deps.limits
    this.#kept.push(kept)
    this.#bytes += kept.bytes
    this.#deps.onBytes(kept.bytes)
    while (this.#kept.length > tapeEvents || this.#bytes > tapeBytes) {
      const notice = this.#kept.findIndex(({ question, isAnswer }) => question === null && !isAnswer)
      // Nothing but questions and an answer: their number is bounded elsewhere, the oldest question goes for its bytes.
      const at = notice >= 0 ? notice : 0
      if (this.#kept[at] === kept) break
      this.#remove(at)
    }
  }

  #drop(which: (kept: Kept) => boolean): void {
    for (let at = this.#kept.length - 1; at >= 0; at -= 1) if (which(this.#kept[at]!)) this.#remove(at)
  }

  #remove(at: number): void {
    const [gone] = this.#kept.splice(at, 1)
    this.#bytes -= gone!.bytes
    this.#deps.onBytes(-gone!.bytes)
  }
}
