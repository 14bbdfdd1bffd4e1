// Lines out of a child's output. The bytes are hostile: a line has a bound, a flood is read in slices so that nothing
// else of the process waits for it, and whoever cannot take more may hold the stream (the child then blocks).

import type { Readable } from 'node:stream'

export interface LineOptions {
  readonly lineBytes: number
  /** Longest time in one go before everything else has its turn. */
  readonly sliceMs: number
  /** A line without its end (`\n` or `\r\n`), never empty; valid only until the handler returns or as long as it is referenced. */
  readonly onLine: (line: Buffer) => void
  /** A line went over its bound; nothing comes after it. */
  readonly onTooLong: () => void
}

const NEWLINE = 0x0a
const RETURN = 0x0d
const FIRST_BYTES = 64 * 1024

export class LineReader {
  readonly #stream: Readable
  readonly #options: LineOptions
  /** The beginning of a line whose end has not come; grows by doubling, so that single bytes cost no objects. */
  #partial: Buffer = Buffer.alloc(0)
  #partialBytes = 0
  /** What was read and not yet looked at, because the stream is held. */
  #rest: Buffer | null = null
  #holds = 0
  #dead = false

  constructor(stream: Readable, options: LineOptions) {
    this.#stream = stream
    this.#options = options
    stream.on('data', (chunk: Buffer) => this.#take(chunk))
    stream.on('end', () => this.#end())
    stream.on('error', () => {})
  }

  /** The stream waits until as many releases have come as holds. */
  hold(): void {
    this.#holds += 1
    if (this.#holds === 1) this.#stream.pause()
  }

  release(): void {
    this.#holds -= 1
    if (this.#holds > 0) return
    const rest = this.#rest
    this.#rest = null
    if (rest !== null) this.#take(rest)
    if (this.#holds === 0) this.#stream.resume()
  }

  #take(chunk: Buffer): void {
    const until = performance.now() + this.#options.sliceMs
    let from = 0
    let lines = 0
    while (from < chunk.length) {
      if (this.#dead) return
      if (this.#holds > 0) {
        this.#rest = chunk.subarray(from)
        return
      }
      const newline = chunk.indexOf(NEWLINE, from)
      if (newline < 0) {
        this.#keep(chunk, from)
        return
      }
      this.#line(chunk, from, newline)
      from = newline + 1
      lines += 1
      if ((lines & 31) === 0 && performance.now() > until) {
        this.hold()
        setImmediate(() => this.release())
      }
    }
  }

  #line(chunk: Buffer, from: number, end: number): void {
    if (this.#partialBytes + end - from > this.#options.lineBytes) {
      this.#tooLong()
      return
    }
    let line: Buffer
    if (this.#partialBytes === 0) line = chunk.subarray(from, end)
    else {
      this.#append(chunk, from, end)
      line = this.#partial.subarray(0, this.#partialBytes)
      this.#partial = Buffer.alloc(0)
      this.#partialBytes = 0
    }
    if (line[line.length - 1] === RETURN) line = line.subarray(0, -1)
    if (line.length > 0) this.#options.onLine(line)
  }

  #keep(chunk: Buffer, from: number): void {
    if (this.#partialBytes + chunk.length - from > this.#options.lineBytes) this.#tooLong()
    else this.#append(chunk, from, chunk.length)
  }

  #append(chunk: Buffer, from: number, end: number): void {
    const wanted = this.#partialBytes + end - from
    if (wanted > this.#partial.length) {
      const grown = Buffer.allocUnsafeSlow(Math.max(wanted, 2 * this.#partial.length, FIRST_BYTES))
      this.#partial.copy(grown, 0, 0, this.#partialBytes)
      this.#partial = grown
    }
    chunk.copy(this.#partial, this.#partialBytes, from, end)
    this.#partialBytes = wanted
  }

  #tooLong(): void {
    this.#dead = true
    this.#partial = Buffer.alloc(0)
    this.#partialBytes = 0
    this.#options.onTooLong()
  }

  /** A last line without its end still counts. */
  #end(): void {
    if (!this.#dead && this.#partialBytes > 0) this.#line(Buffer.alloc(0), 0, 0)
  }
}
