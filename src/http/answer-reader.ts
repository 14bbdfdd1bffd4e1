// Reads the HTTP/1.1 answers of one connection, from bytes that are cut wherever they come: RFC 9112 in its strict reading.
// What two readers could take for different messages is refused, never repaired: folded lines, a bare CR or LF, NUL, space
// before a colon, Content-Length twice or beside Transfer-Encoding, codings besides chunked, anything behind a last chunk.
// Absent on purpose: upgrades, decompression, and what trailers and chunk extensions say.

import { GatewayError } from '../core/errors.ts'
import type { LinkHandler } from './link.ts'

// What comes next.
const HEAD = 0
const SIZED_BODY = 1
const BODY_UNTIL_CLOSE = 2
const CHUNK_SIZE = 3
const CHUNK_EXTENSION = 4
const CHUNK_SIZE_LF = 5
const CHUNK = 6
const CHUNK_CR = 7
const CHUNK_LF = 8
const LAST_CR = 9
const LAST_LF = 10
const TRAILER = 11
const DONE = 12
/** Before a request, after an answer, and when nobody wants the rest. */
const NOTHING = 13

const TAB = 0x09
const LF = 0x0a
const CR = 0x0d
const SPACE = 0x20
const SEMICOLON = 0x3b
const CRLF2 = Buffer.from('\r\n\r\n')
const HEX = new Int8Array(256).fill(-1)
for (const digit of '0123456789abcdefABCDEF') HEX[digit.charCodeAt(0)] = Number.parseInt(digit, 16)

/** No control character but the tab, no return and no line feed but at the ends of lines. */
const LINES = /^(?:[\t\x20-\x7e\x80-\xff]*\r\n)+$/
/** What no further byte can mend. */
const NO_LINES = /[^\r]\n|\r[^\n]|[^\t\r\n\x20-\x7e\x80-\xff]/
const NOT_IN_LINE = /[^\t\x20-\x7e\x80-\xff]/
const HEAD_START = 'HTTP/1.'
const STATUS_LINE = /^HTTP\/1\.([01]) ([1-9][0-9]{2})(?: .*)?$/
const TOKEN = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/
/** Both bounds stay exact as a number. */
const CONTENT_LENGTH = /^[0-9]{1,15}$/
const HEX_DIGITS_MAX = 12
const CLOSE = /(?:^|,)[\t ]*close[\t ]*(?:,|$)/i
const TIMEOUT = /(?:^|[,;])[\t ]*timeout=([0-9]{1,6})[\t ]*(?:[,;]|$)/i

/** Of headers, by their spelling on the wire: they are few, and each is checked and made lower case once. */
const names = new Map<string, string>()
const NAMES_MAX = 1_000
const NAME_CHARS_MAX = 64
/** Slices keep the whole string alive that they were cut from: of long heads, values are copied. */
const SLICED_CHARS_MAX = 2_048

type Headers = Record<string, string | undefined>
export type AnswerSink = Pick<LinkHandler, 'onHead' | 'onData'>

export class AnswerReader {
  /** After an answer: whether the connection may carry another. */
  isKept = false
  /** What the server says of how long it keeps an idle connection, or -1. */
  timeoutSeconds = -1
  readonly #host: string
  readonly #headBytesMax: number
  #sink: AnswerSink | null = null
  #state = NOTHING
  /** A head or trailer whose end has not come. */
  #pending: Buffer | null = null
  /** Bytes of heads, trailers and chunk extensions that this answer may still have. */
  #headBytesLeft = 0
  /** Of the body or chunk. */
  #left = 0
  #digits = 0
  // Of the head:
  #isOld = false
  #headers: Headers = {}
  #length: string | null = null
  #coding: string | null = null

  /** `headBytesMax` bounds all that is not body. */
  constructor(host: string, headBytesMax: number) {
    this.#host = host
    this.#headBytesMax = headBytesMax
  }

  /** What comes next is the answer for `sink`. */
  begin(sink: AnswerSink): void {
    this.#sink = sink
    this.#state = HEAD
    this.#headBytesLeft = this.#headBytesMax
    this.isKept = true
    this.timeoutSeconds = -1
  }

  /** Hands nothing on any more. */
  stop(): void {
    this.#state = NOTHING
    this.#sink = null
    this.#pending = null
  }

  /**
   * Takes the first `end` bytes, which the caller may overwrite afterwards; true when they end the answer.
   * Errors: UPSTREAM_INVALID, UPSTREAM_UNAVAILABLE (another protocol), and whatever the sink throws.
   */
  push(bytes: Buffer, end: number): boolean {
    let at = 0
    while (at < end && this.#state < DONE) {
      if (this.#state === HEAD || this.#state === TRAILER) at = this.#readLines(bytes, at, end)
      else if (this.#state === BODY_UNTIL_CLOSE) at = this.#hand(bytes, at, end)
      else if (this.#state === SIZED_BODY || this.#state === CHUNK) {
        const to = Math.min(end, at + this.#left)
        this.#left -= to - at
        if (this.#left === 0) this.#state = this.#state === CHUNK ? CHUNK_CR : DONE
        at = this.#hand(bytes, at, to)
      } else at = this.#readChunkMark(bytes, at)
    }
    return this.#state === DONE && this.#finish(at === end)
  }

  /** The server has closed the connection; true when that ends the answer. */
  end(): boolean {
    return this.#state === BODY_UNTIL_CLOSE && this.#finish(false)
  }

  #finish(isAll: boolean): true {
    if (!isAll) this.isKept = false
    this.stop()
    return true
  }

  #hand(bytes: Buffer, at: number, end: number): number {
    const chunk = Buffer.allocUnsafe(end - at)
    bytes.copy(chunk, 0, at, end)
    this.#sink!.onData(chunk)
    return end
  }

  // --- chunks ---------------------------------------------------------------------------------------------------------

  #readChunkMark(bytes: Buffer, at: number): number {
    const byte = bytes[at]!
    switch (this.#state) {
      case CHUNK_SIZE:
        if (HEX[byte]! >= 0 && this.#digits < HEX_DIGITS_MAX) {
          this.#left = this.#left * 16 + HEX[byte]!
          this.#digits += 1
        } else if (this.#digits > 0 && byte === CR) this.#state = CHUNK_SIZE_LF
        else if (this.#digits > 0 && byte === SEMICOLON) this.#state = CHUNK_EXTENSION
        else throw this.#fault('the size of a chunk')
        break
      case CHUNK_EXTENSION:
        if (byte === CR) this.#state = CHUNK_SIZE_LF
        else if (NOT_IN_LINE.test(String.fromCharCode(byte))) throw this.#fault('a chunk extension')
        this.#headBytesLeft -= 1
        if (this.#headBytesLeft < 0) throw this.#tooLarge()
        break
      case CHUNK_SIZE_LF:
        if (byte !== LF) throw this.#fault('the size of a chunk')
        this.#state = this.#left === 0 ? LAST_CR : CHUNK
        break
      case CHUNK_CR:
        if (byte !== CR) throw this.#fault('the end of a chunk')
        this.#state = CHUNK_LF
        break
      case CHUNK_LF:
        if (byte !== LF) throw this.#fault('the end of a chunk')
        this.#beginChunk()
        break
      case LAST_CR:
        if (byte !== CR) {
          this.#state = TRAILER
          return at
        }
        this.#state = LAST_LF
        break
      default:
        if (byte !== LF) throw this.#fault('the end of the chunks')
        this.#state = DONE
    }
    return at + 1
  }

  #beginChunk(): void {
    this.#state = CHUNK_SIZE
    this.#left = 0
    this.#digits = 0
  }

  // --- heads and trailers ---------------------------------------------------------------------------------------------

  #readLines(bytes: Buffer, at: number, end: number): number {
    const before = this.#pending === null ? 0 : this.#pending.length
    const block = this.#pending === null ? bytes : Buffer.concat([this.#pending, bytes.subarray(at, end)])
    const [from, to] = this.#pending === null ? [at, end] : [0, block.length]
    const found = block.indexOf(CRLF2, Math.max(from, before - 3))
    const isWhole = found >= 0 && found + 4 <= to
    const length = (isWhole ? found + 4 : to) - from
    if (length > this.#headBytesLeft) throw this.#tooLarge()
    if (!isWhole) {
      this.#checkBegun(block.toString('latin1', from, to), before)
      this.#pending = before === 0 ? Buffer.from(block.subarray(from, to)) : block
      return end
    }
    this.#pending = null
    this.#headBytesLeft -= length
    const text = block.toString('latin1', from, found + 2)
    if (!LINES.test(text)) throw this.#fault('a control character')
    if (this.#state === HEAD) this.#onHead(text)
    else this.#onTrailer(text)
    return at + length - before
  }

  /** Says at once what the end of a head cannot mend: nobody should wait for it. The first bytes have been looked at. */
  #checkBegun(text: string, bytesSeen: number): void {
    const isStart = this.#state === TRAILER || HEAD_START.startsWith(text.slice(0, HEAD_START.length))
    if (!isStart) throw this.#fault('the status line')
    if (NO_LINES.test(text.slice(Math.max(0, bytesSeen - 1)))) throw this.#fault('a control character')
  }

  #onHead(text: string): void {
    const end = text.indexOf('\r')
    const line = STATUS_LINE.exec(text.slice(0, end))
    if (line === null) throw this.#fault('the status line')
    this.#isOld = line[1] === '0'
    this.#headers = { __proto__: null } as unknown as Headers
    this.#length = null
    this.#coding = null
    this.#readFields(text, end + 2)
    this.#beginBody(Number(line[2]))
  }

  /** Looked at, so that its end is where it seems to be; nobody needs what it says. */
  #onTrailer(text: string): void {
    this.#readFields(text, 0)
    this.#state = DONE
  }

  /** `text` ends with the CRLF of its last line. */
  #readFields(text: string, from: number): void {
    for (let at = from; at < text.length; ) {
      const end = text.indexOf('\r', at)
      const colon = text.indexOf(':', at)
      if (colon < 0 || colon > end) throw this.#fault('a header without a colon')
      const name = this.#nameOf(text.slice(at, colon))
      const value = trimmed(text, colon + 1, end)
      if (this.#state === HEAD) this.#take(name, text.length > SLICED_CHARS_MAX ? copyOf(value) : value)
      else if (name === 'content-length' || name === 'transfer-encoding') throw this.#fault(`${name} behind the body`)
      at = end + 2
    }
  }

  /** Folded lines and space before the colon end here, too. */
  #nameOf(spelling: string): string {
    const known = names.get(spelling)
    if (known !== undefined) return known
    if (!TOKEN.test(spelling)) throw this.#fault('the name of a header')
    const name = spelling.toLowerCase()
    if (names.size < NAMES_MAX && name.length <= NAME_CHARS_MAX) names.set(copyOf(spelling), name)
    return name
  }

  #take(name: string, value: string): void {
    switch (name) {
      case 'content-length':
        if (this.#length !== null) throw this.#fault('Content-Length given twice')
        this.#length = value
        break
      case 'transfer-encoding':
        this.#coding = this.#coding === null ? value.toLowerCase() : `${this.#coding}, ${value}`
        break
      case 'connection':
        if (CLOSE.test(value)) this.isKept = false
        break
      case 'keep-alive':
        this.timeoutSeconds = Number(TIMEOUT.exec(value)?.[1] ?? -1)
    }
    if (this.#headers[name] === undefined) this.#headers[name] = value
  }

  #beginBody(status: number): void {
    if (status === 101) {
      throw new GatewayError('UPSTREAM_UNAVAILABLE', `${this.#host} changes the protocol though it was not asked to`)
    }
    if (this.#isOld) this.isKept = false
    const isFramed = this.#length !== null || this.#coding !== null
    if (this.#length !== null && this.#coding !== null) throw this.#fault('Content-Length beside Transfer-Encoding')
    if (this.#length !== null && !CONTENT_LENGTH.test(this.#length)) throw this.#fault('the Content-Length')
    if (this.#coding !== null && (this.#coding !== 'chunked' || this.#isOld)) throw this.#fault('the Transfer-Encoding')
    if (status < 200) {
      if (isFramed) throw this.#fault('an interim answer with a body')
      return
    }
    this.#left = Number(this.#length)
    if (status === 204 || status === 304) {
      // Legal with a length only for 304; whether a body follows after all is anybody's guess.
      if (this.#left > 0 || this.#coding !== null) this.isKept = false
      this.#state = DONE
    } else if (this.#coding !== null) this.#beginChunk()
    else if (this.#length !== null) this.#state = this.#left === 0 ? DONE : SIZED_BODY
    else {
      this.#state = BODY_UNTIL_CLOSE
      this.isKept = false
    }
    this.#sink!.onHead(status, this.#headers)
  }

  #tooLarge(): GatewayError {
    return new GatewayError('UPSTREAM_INVALID', `The headers of ${this.#host} are too large`)
  }

  #fault(what: string): GatewayError {
    return new GatewayError('UPSTREAM_INVALID', `${this.#host} does not speak proper HTTP/1.1 (${what})`)
  }
}

const isBlank = (code: number): boolean => code === SPACE || code === TAB

/** Not by trim(), which takes a no-break space for a blank. */
function trimmed(text: string, start: number, end: number): string {
  let from = start
  let to = end
  while (from < to && isBlank(text.charCodeAt(from))) from += 1
  while (to > from && isBlank(text.charCodeAt(to - 1))) to -= 1
  return text.slice(from, to)
}

function copyOf(text: string): string {
  return Buffer.from(text, 'latin1').toString('latin1')
}
