// Reads HTTP/1.1 responses off a keep-alive connection for the load generator: Content-Length, chunked or empty bodies.
// Absent on purpose: anything that a server of this bench never sends (1xx, trailers with names, bodies until close).

const CRLF2 = Buffer.from('\r\n\r\n')
const CRLF = Buffer.from('\r\n')
const LENGTH = /\r\ncontent-length: *(\d+)/i
const CHUNKED = /\r\ntransfer-encoding: *chunked/i

export interface Response {
  readonly status: number
  readonly head: string
  readonly body: Buffer
  /** performance.now() when the first byte came. */
  readonly firstByteMs: number
}

export class ResponseReader {
  #onResponse: (response: Response) => void
  #parts: Buffer[] = []
  #bytes = 0
  /** Bytes that must be there before it is worth looking again. */
  #wanted = 0
  #firstByteMs = 0
  #status = 0
  #head = ''
  #headBytes = 0
  #chunked = false
  #chunkAt = 0
  #body: Buffer[] = []

  constructor(onResponse: (response: Response) => void) {
    this.#onResponse = onResponse
  }

  /** Throws on bytes that are no response. */
  push(chunk: Buffer): void {
    if (this.#bytes === 0) this.#firstByteMs = performance.now()
    this.#parts.push(chunk)
    this.#bytes += chunk.length
    while (this.#bytes > 0 && this.#bytes >= this.#wanted) {
      const data = this.#parts.length === 1 ? this.#parts[0]! : Buffer.concat(this.#parts)
      this.#parts = [data]
      const used = this.#read(data)
      if (used < 0) return
      this.#parts = used === data.length ? [] : [data.subarray(used)]
      this.#bytes -= used
      this.#reset()
    }
  }

  #reset(): void {
    this.#wanted = 0
    this.#headBytes = 0
    this.#chunked = false
    this.#body = []
  }

  /** Bytes of the whole response at the head of `data`, or -1 when it is not all there. */
  #read(data: Buffer): number {
    if (this.#headBytes === 0) {
      const end = data.indexOf(CRLF2)
      if (end < 0) {
        if (data.length > 65_536) throw new Error('a response head of over 64 KiB')
        this.#wanted = data.length + 1
        return -1
      }
      this.#head = data.toString('latin1', 0, end)
      if (!this.#head.startsWith('HTTP/1.1 ')) throw new Error(`no HTTP response: ${this.#head.slice(0, 40)}`)
      this.#status = Number(this.#head.slice(9, 12))
      this.#headBytes = end + 4
      this.#chunkAt = end + 4
      const length = LENGTH.exec(this.#head)
      this.#chunked = length === null && CHUNKED.test(this.#head)
      if (!this.#chunked) this.#wanted = this.#headBytes + Number(length?.[1] ?? 0)
    }
    if (this.#chunked) return this.#readChunks(data)
    if (data.length < this.#wanted) return -1
    const used = this.#wanted
    this.#emit(data.subarray(this.#headBytes, used))
    return used
  }

  #readChunks(data: Buffer): number {
    for (;;) {
      const end = data.indexOf(CRLF, this.#chunkAt)
      if (end < 0) break
      const length = Number.parseInt(data.toString('latin1', this.#chunkAt, end), 16)
      if (Number.isNaN(length)) throw new Error('a chunk without a length')
      const next = end + 2 + length + 2
      if (data.length < next) break
      if (length === 0) {
        this.#emit(this.#body.length === 1 ? this.#body[0]! : Buffer.concat(this.#body))
        return next
      }
      // Copied: `data` is joined again when more comes.
      this.#body.push(Buffer.from(data.subarray(end + 2, end + 2 + length)))
      this.#chunkAt = next
    }
    this.#wanted = data.length + 1
    return -1
  }

  #emit(body: Buffer): void {
    this.#onResponse({ status: this.#status, head: this.#head, body, firstByteMs: this.#firstByteMs })
  }
}

export function headerOf(head: string, name: string): string | null {
  return new RegExp(`\r\n${name}: *([^\r]*)`, 'i').exec(head)?.[1] ?? null
}
