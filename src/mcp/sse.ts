// Server-sent events (WHATWG HTML, section 9.2): a bounded reader and a writer. A message that spans lines is written as
// several `data:` lines, so that no newline inside a JSON text can begin a field of ours.

import { GatewayError } from '../core/errors.ts'

export interface SseEvent {
  readonly event: string
  readonly data: Buffer
  readonly id: string | null
  readonly retryMs: number | null
}

const LF = 0x0a
const CR = 0x0d
const DATA = Buffer.from('data:')
const EMPTY = Buffer.alloc(0)
const BOM = Buffer.from([0xef, 0xbb, 0xbf])
/** What a line counts beside its bytes: a flood of empty ones must find its bound too. */
const LINE_COST = 16

export class SseReader {
  readonly #bytesMax: number
  readonly #onEvent: (event: SseEvent) => void
  /** The line whose end has not come. */
  #partial: Buffer = EMPTY
  #partialBytes = 0
  #afterCr = false
  #data: Buffer[] = []
  #dataBytes = 0
  #event = ''
  #id: string | null = null
  #retryMs: number | null = null
  #begun = false
  /** Lines so far that were not data: of comments, other fields, and the empty ones between events. */
  lines = 0

  /** `bytesMax` bounds one event, its unfinished line included. Errors of `push`: UPSTREAM_INVALID. */
  constructor(bytesMax: number, onEvent: (event: SseEvent) => void) {
    this.#bytesMax = bytesMax
    this.#onEvent = onEvent
  }

  push(chunk: Buffer): void {
    let bytes = chunk
    if (!this.#begun) {
      bytes = this.#partialBytes === 0 ? chunk : Buffer.concat([this.#take(), chunk])
      if (bytes.length < 3 && BOM.subarray(0, bytes.length).equals(bytes)) {
        this.#keep(bytes, 0)
        return
      }
      this.#begun = true
      if (bytes.length >= 3 && bytes.compare(BOM, 0, 3, 0, 3) === 0) bytes = bytes.subarray(3)
    }
    // The second half of a CR LF that was cut in two.
    let from = this.#afterCr && bytes[0] === LF ? 1 : 0
    if (bytes.length > 0) this.#afterCr = false
    // A lone CR ends a line too; looked for only where there is one at all.
    let nextCr = bytes.indexOf(CR, from)
    let nextLf = bytes.indexOf(LF, from)
    for (;;) {
      if (nextCr >= 0 && nextCr < from) nextCr = bytes.indexOf(CR, from)
      if (nextLf >= 0 && nextLf < from) nextLf = bytes.indexOf(LF, from)
      const isCr = nextCr >= 0 && (nextLf < 0 || nextCr < nextLf)
      const end = isCr ? nextCr : nextLf
      if (end < 0) break
      if (this.#partialBytes === 0) this.#line(bytes, from, end)
      else {
        this.#keep(bytes.subarray(0, end), from)
        const line = this.#take()
        this.#line(line, 0, line.length)
      }
      this.#afterCr = isCr && end === bytes.length - 1
      from = isCr && bytes[end + 1] === LF ? end + 2 : end + 1
    }
    if (from < bytes.length) this.#keep(bytes, from)
  }

  /** The stream has ended: a last event without its blank line is dropped, as the standard says. */
  end(): void {
    this.#take()
    this.#data = []
  }

  /** Adds what follows `from` to the unfinished line. It grows by doubling, so that no byte is copied again and again. */
  #keep(bytes: Buffer, from: number): void {
    const wanted = this.#partialBytes + bytes.length - from
    if (wanted + this.#dataBytes > this.#bytesMax) this.#tooLarge()
    if (wanted > this.#partial.length) {
      const grown = Buffer.allocUnsafe(Math.max(wanted, this.#partial.length * 2))
      this.#partial.copy(grown, 0, 0, this.#partialBytes)
      this.#partial = grown
    }
    bytes.copy(this.#partial, this.#partialBytes, from)
    this.#partialBytes = wanted
  }

  #take(): Buffer {
    const line = this.#partial.subarray(0, this.#partialBytes)
    this.#partial = EMPTY
    this.#partialBytes = 0
    return line
  }

  #tooLarge(): never {
    throw new GatewayError(
      'UPSTREAM_INVALID',
      `An event of the upstream's stream is larger than ${this.#bytesMax} bytes`,
    )
  }

  #line(bytes: Buffer, from: number, end: number): void {
    if (from === end) {
      this.lines += 1
      this.#dispatch()
      return
    }
    if (end - from >= 5 && bytes.compare(DATA, 0, 5, from, from + 5) === 0) {
      const start = bytes[from + 5] === 0x20 && from + 5 < end ? from + 6 : from + 5
      this.#addData(bytes.subarray(start, end))
      return
    }
    this.lines += 1
    if (bytes[from] === 0x3a) return
    const text = bytes.toString('utf8', from, end)
    const colon = text.indexOf(':')
    const field = colon < 0 ? text : text.slice(0, colon)
    const value = colon < 0 ? '' : text.slice(text[colon + 1] === ' ' ? colon + 2 : colon + 1)
    if (field === 'event') this.#event = value
    else if (field === 'id' && !value.includes('\0')) this.#id = value
    else if (field === 'retry' && /^\d{1,9}$/.test(value)) this.#retryMs = Number(value)
    else if (field === 'data') this.#addData(EMPTY)
  }

  #addData(part: Buffer): void {
    this.#dataBytes += part.length + LINE_COST
    if (this.#dataBytes > this.#bytesMax) this.#tooLarge()
    this.#data.push(part)
  }

  #dispatch(): void {
    const parts = this.#data
    const event = this.#event
    this.#event = ''
    if (parts.length === 0) return
    this.#data = []
    this.#dataBytes = 0
    let data = parts[0]!
    if (parts.length > 1) {
      const joined: Buffer[] = [data]
      for (const part of parts.slice(1)) joined.push(NEWLINE, part)
      data = Buffer.concat(joined)
    }
    this.#onEvent({ event: event === '' ? 'message' : event, data, id: this.#id, retryMs: this.#retryMs })
  }
}

const NEWLINE = Buffer.from('\n')
const EVENT_HEAD = Buffer.from('event: message\ndata: ')
const NEXT_DATA = Buffer.from('\ndata: ')
const EVENT_END = Buffer.from('\n\n')

/**
 * A comment: keeps the connection open, no event for the client. No empty line follows: after an event with an id some
 * clients (httpx-sse) take each empty line for another, empty event.
 */
export const SSE_COMMENT = Buffer.from(': keep-alive\n')

/** One event that carries the message of `parts`. */
export function sseEvent(parts: readonly Buffer[], id?: string): Buffer[] {
  const out: Buffer[] = id === undefined ? [EVENT_HEAD] : [Buffer.from(`id: ${id}\n`), EVENT_HEAD]
  for (const part of parts) {
    if (!part.includes(LF) && !part.includes(CR)) {
      out.push(part)
      continue
    }
    // Outside of strings a newline of JSON is white space, and inside it cannot stand: breaking there changes nothing.
    let from = 0
    for (let at = 0; at < part.length; at += 1) {
      if (part[at] !== LF && part[at] !== CR) continue
      out.push(part.subarray(from, at), NEXT_DATA)
      from = at + 1
    }
    out.push(part.subarray(from))
  }
  out.push(EVENT_END)
  return out
}
