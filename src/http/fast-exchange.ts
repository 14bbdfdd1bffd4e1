// The fast server lane: Exchange over node:net alone, for the forms that nearly all calls and streams have (head.ts).
// Anything else, at any border between messages, hands the connection with its unread bytes to node:http for good; so
// nothing is refused here but what came too slowly. Less CPU because it does less: no parser object, no streams, no timer
// per request; one sweep counts everybody's time (docs/decisions/0003-http-lanes.md has the numbers).
// Absent on purpose: TLS, chunked request bodies, requests served at the same time on one connection.

import type { Socket } from 'node:net'
import type { EventStream, Exchange } from './exchange.ts'
import { HEAD_END, type Head, mayBeHead, readHead } from './head.ts'
import {
  addressOf,
  append,
  EMPTY,
  EVENT_STREAM,
  endedEarly,
  isSecure,
  JOIN_BYTES_MAX,
  type Lane,
  linger,
  type OpenConnection,
  refuseRaw,
  STATUS_CODES,
  tooLarge,
  tooSlow,
} from './lane.ts'

export interface FastLaneOptions {
  readonly lane: Lane
  readonly isFastPath: (path: string) => boolean
  /** Lets node:http read the socket from now on; what was not served stands unread in it. */
  readonly handOver: (socket: Socket) => void
}

export interface FastLane {
  accept(socket: Socket): void
  close(): void
}

/** A head in more pieces than this is not worth putting together here. */
const HEAD_PIECES_MAX = 4
const SWEEP_MS_MAX = 1_000
const SWEEP_MS_MIN = 10
/** What may stand in the value of a header, as node:http sees it. */
const VALUE = /^[\t\x20-\x7e\x80-\xff]*$/

/** What the connections of one lane share. Waits are counted in ticks of the sweep: a request reads no clock. */
class Shared {
  readonly lane: Lane
  readonly isFastPath: (path: string) => boolean
  readonly handOver: (socket: Socket) => void
  readonly connections = new Set<FastConnection>()
  readonly headersTicks: number
  readonly requestTicks: number
  readonly keepAliveTicks: number
  readonly timer: NodeJS.Timeout
  tick = 0
  /** The end of every head, of a reply that keeps its connection and of one that is its last. */
  keepAlive = ''
  lastReply = ''

  constructor({ lane, isFastPath, handOver }: FastLaneOptions) {
    this.lane = lane
    this.isFastPath = isFastPath
    this.handOver = handOver
    const { headersMs, requestMs, keepAliveMs } = lane.limits
    const shortest = Math.min(headersMs, requestMs, keepAliveMs)
    const sweepMs = Math.max(SWEEP_MS_MIN, Math.min(SWEEP_MS_MAX, Math.floor(shortest / 4)))
    this.headersTicks = Math.ceil(headersMs / sweepMs)
    this.requestTicks = Math.ceil(Math.max(requestMs, headersMs) / sweepMs)
    this.keepAliveTicks = Math.ceil(keepAliveMs / sweepMs)
    this.#writeDate()
    this.timer = setInterval(() => this.#sweep(), sweepMs)
    this.timer.unref()
  }

  #sweep(): void {
    this.tick += 1
    this.#writeDate()
    for (const connection of this.connections) connection.checkTime()
  }

  #writeDate(): void {
    const date = `Date: ${new Date().toUTCString()}\r\n`
    const seconds = Math.floor(this.lane.limits.keepAliveMs / 1000)
    this.keepAlive = `${date}Connection: keep-alive\r\nKeep-Alive: timeout=${seconds}\r\n\r\n`
    this.lastReply = `${date}Connection: close\r\n\r\n`
  }
}

// --- one connection ------------------------------------------------------------------------------------------------------

class FastConnection implements OpenConnection {
  readonly shared: Shared
  readonly socket: Socket
  /** The one that is served. It is over when all of its body has come in and all of its answer has left. */
  #exchange: FastExchange | null = null
  #isAnswerOut = false
  /** Bytes of its body that have not come in. */
  #bodyLeft = 0
  /** What has come in behind it. */
  #unread: Buffer = EMPTY
  #pieces = 0
  #served = 0
  /** The tick at which the wait that is going on began: for a head, for a body, for the next request. */
  #since: number
  #isServing = false
  #isPaused = false
  /** Nothing more is answered: a refusal has been written, or the last reply, or the client has ended its side. */
  #isClosing = false
  /** The head of the message before and what it says: clients repeat themselves, and reading it costs 3 µs. */
  #headText = ''
  #head: Head | null = null
  readonly #onData = (chunk: Buffer): void => this.#take(chunk)
  readonly #onEnd = (): void => this.#ended()
  readonly #onClose = (): void => this.#closed()

  constructor(shared: Shared, socket: Socket) {
    this.shared = shared
    this.socket = socket
    this.#since = shared.tick
    shared.connections.add(this)
    shared.lane.open.add(this)
    socket.on('data', this.#onData)
    socket.on('end', this.#onEnd)
    socket.on('close', this.#onClose)
    // What it tells comes again as 'close'.
    socket.on('error', ignore)
  }

  get isIdle(): boolean {
    return this.#exchange === null && this.#unread.length === 0
  }

  get isFresh(): boolean {
    return this.#served === 0
  }

  get isLeaving(): boolean {
    return this.#exchange?.isAnswered === true && !this.#isAnswerOut
  }

  /** Whether the reply that is about to be written is the last one. */
  get isLastReply(): boolean {
    const { lane } = this.shared
    return lane.draining || this.#head!.isLast || this.#bodyLeft > lane.limits.unreadBodyBytes
  }

  closeAfterReply(): void {
    this.#isClosing = true
    this.socket.destroySoon()
  }

  destroy(): void {
    this.socket.destroy()
  }

  pause(): void {
    this.#isPaused = true
    this.socket.pause()
  }

  resume(): void {
    if (!this.#isPaused || this.#isUnreadFull) return
    this.#isPaused = false
    this.socket.resume()
  }

  /** Enough has come in behind the request that is served. */
  get #isUnreadFull(): boolean {
    return this.#unread.length > this.shared.lane.limits.headerBytes
  }

  /** The answer has been written. */
  answered(isLast: boolean): void {
    const { socket } = this
    const { limits } = this.shared.lane
    if (socket.destroyed) return
    if (isLast) {
      this.#isClosing = true
      if (this.#bodyLeft > 0) linger(socket, limits.lingerMs)
      else socket.destroySoon()
    }
    if (socket.writableLength === 0) {
      this.#answerOut()
      return
    }
    // A client that stops reading before its reply's end must not hold it for ever, nor ask for more meanwhile.
    const giveUp = (): void => this.destroy()
    socket.setTimeout(limits.requestMs, giveUp)
    if (socket.writableEnded) return
    socket.write('', () => {
      socket.setTimeout(0, giveUp)
      this.#answerOut()
    })
  }

  /** Called by the sweep. */
  checkTime(): void {
    if (this.#isClosing) return
    const { tick, headersTicks, requestTicks, keepAliveTicks } = this.shared
    const waited = tick - this.#since
    if (this.#exchange === null) {
      if (this.#served > 0 && this.#unread.length === 0) {
        if (waited > keepAliveTicks) this.destroy()
      } else if (waited > headersTicks) this.#refuseSlow()
    } else if (this.#bodyLeft > 0 && waited > requestTicks) {
      if (this.#exchange.replied) this.destroy()
      else this.#refuseSlow()
    }
  }

  #refuseSlow(): void {
    this.#isClosing = true
    this.#exchange?.giveUp()
    this.resume()
    const { limits } = this.shared.lane
    refuseRaw(this.socket, tooSlow(limits), limits.lingerMs)
  }

  #take(chunk: Buffer): void {
    if (this.#isClosing) return
    let rest = chunk
    if (this.#bodyLeft > 0) {
      const part = chunk.length <= this.#bodyLeft ? chunk : chunk.subarray(0, this.#bodyLeft)
      rest = chunk.subarray(part.length)
      this.#bodyLeft -= part.length
      this.#exchange!.receive(part)
    }
    if (rest.length > 0) this.#unread = this.#unread.length === 0 ? rest : Buffer.concat([this.#unread, rest])
    this.#serve()
    if (!this.#isClosing && this.#isUnreadFull) this.pause()
  }

  #answerOut(): void {
    this.#isAnswerOut = true
    if (!this.#isServing) this.#serve()
  }

  /** Serves what has come in whole, one after the other. */
  #serve(): void {
    this.#isServing = true
    while (!this.#isClosing && !this.socket.destroyed) {
      if (this.#exchange !== null) {
        if (!this.#isAnswerOut || this.#bodyLeft > 0) break
        this.#exchange = null
        this.#since = this.shared.tick
        this.#pieces = 0
      }
      if (this.#unread.length === 0 || !this.#begin()) break
    }
    this.#isServing = false
    if (!this.#isClosing && this.#bodyLeft === 0) this.resume()
  }

  /** False when there is nothing to serve, yet or ever. */
  #begin(): boolean {
    const { lane, tick, isFastPath } = this.shared
    const { headerBytes, headerCount } = lane.limits
    const bytes = this.#unread
    const text = bytes.toString('latin1', 0, headerBytes)
    const end = text.indexOf(HEAD_END)
    if (this.#pieces === 0) this.#since = tick
    if (end < 0) {
      this.#pieces += 1
      if (!mayBeHead(text) || this.#pieces >= HEAD_PIECES_MAX || bytes.length >= headerBytes) this.#handOver()
      return false
    }
    if (text.slice(0, end) !== this.#headText) {
      // Not a part of `text`, which would be kept as long as this.
      const headText = bytes.toString('latin1', 0, end)
      const head = readHead(headText, headerCount)
      if (head === null || !isFastPath(head.path)) {
        this.#handOver()
        return false
      }
      this.#headText = headText
      this.#head = head
    }
    const head = this.#head!
    const start = end + HEAD_END.length
    const next = start + head.length
    this.#bodyLeft = Math.max(0, next - bytes.length)
    this.#unread = next < bytes.length ? bytes.subarray(next) : EMPTY
    this.#isAnswerOut = false
    this.#served += 1
    this.#exchange = new FastExchange(this, head, bytes.subarray(start, Math.min(next, bytes.length)))
    lane.handler(this.#exchange)
    return true
  }

  #handOver(): void {
    const { socket, shared } = this
    this.#isClosing = true
    this.#detach()
    socket.off('data', this.#onData)
    socket.off('end', this.#onEnd)
    socket.off('close', this.#onClose)
    socket.off('error', ignore)
    // Paused, or what is put back would be handed out to nobody.
    socket.pause()
    socket.unshift(this.#unread)
    this.#unread = EMPTY
    shared.handOver(socket)
    socket.resume()
  }

  /** The client sends nothing more. As node:http does it, this ends our side too: half a connection is of no use to us. */
  #ended(): void {
    if (this.#isClosing) return
    this.#isClosing = true
    const isCut = this.#exchange === null ? this.#unread.length > 0 : this.#bodyLeft > 0 && !this.#exchange.isAnswered
    if (isCut) this.destroy()
    else this.socket.end()
  }

  #closed(): void {
    this.#isClosing = true
    this.#detach()
    this.#exchange?.gone()
  }

  #detach(): void {
    this.shared.connections.delete(this)
    this.shared.lane.open.delete(this)
  }
}

const ignore = (): void => {}

// --- one request ---------------------------------------------------------------------------------------------------------

interface BodyReader {
  readonly resolve: (body: Buffer) => void
  readonly reject: (error: Error) => void
}

class FastExchange implements Exchange {
  readonly method: Head['method']
  readonly query = ''
  readonly path: string
  readonly headers: Readonly<Record<string, string | undefined>>
  replied = false
  /** The answer has been written to its end. */
  isAnswered = false
  readonly #connection: FastConnection
  readonly #length: number
  /** The first `#received` bytes of it are the body as far as it has come in. */
  #store: Buffer
  #received: number
  #reader: BodyReader | null = null
  #onAbort: (() => void) | null = null

  constructor(connection: FastConnection, head: Head, first: Buffer) {
    this.method = head.method
    this.path = head.path
    this.headers = head.headers
    this.#connection = connection
    this.#length = head.length
    this.#store = first
    this.#received = first.length
  }

  get address(): string {
    return addressOf(this.#connection.shared.lane, this.#connection.socket, this.headers)
  }

  get secure(): boolean {
    return isSecure(this.#connection.shared.lane, this.#connection.socket, this.headers)
  }

  body(bytesMax: number): Promise<Buffer> {
    if (this.#length > bytesMax) return Promise.reject(tooLarge(bytesMax))
    if (this.#received === this.#length) return Promise.resolve(this.#store)
    if (this.replied || this.#connection.socket.destroyed) return Promise.reject(endedEarly())
    this.#connection.resume()
    return new Promise((resolve, reject) => {
      this.#reader = { resolve, reject }
    })
  }

  /** More of the body, never more than there is of it. */
  receive(part: Buffer): void {
    // Nobody will ask for it.
    if (this.replied && this.#reader === null) return
    this.#store = append(this.#store, this.#received, part, this.#length)
    this.#received += part.length
    if (this.#received === this.#length) {
      this.#store = this.#store.subarray(0, this.#length)
      this.#reader?.resolve(this.#store)
      this.#reader = null
    } else if (this.#reader === null && this.#received >= this.#connection.shared.lane.limits.unreadBodyBytes) {
      this.#connection.pause()
    }
  }

  reply(status: number, headers: readonly string[], body: Buffer | readonly Buffer[] | string | null): void {
    if (!this.#begin()) return
    this.#onAbort = null
    const { socket, isLastReply: isLast } = this.#connection
    if (body === null) {
      const hasNoLength = status === 204 || status === 304
      socket.write(this.#head(status, headers, hasNoLength ? '' : lengthLine(0), isLast), 'latin1')
    } else {
      let length = 0
      const parts =
        typeof body === 'string' ? [Buffer.from(body)] : Buffer.isBuffer(body) ? [body] : (body as readonly Buffer[])
      for (const part of parts) length += part.length
      let text = this.#head(status, headers, lengthLine(length), isLast)
      if (length <= JOIN_BYTES_MAX) {
        // Latin-1 is bytes as they are: head and body leave as one string, without a gathered write.
        for (const part of parts) text += part.toString('latin1')
        socket.write(text, 'latin1')
      } else {
        socket.cork()
        socket.write(text, 'latin1')
        for (const part of parts) socket.write(part)
        socket.uncork()
      }
    }
    this.answered(isLast)
  }

  stream(status: number, headers: readonly string[]): EventStream {
    const isOpen = this.#begin()
    const isLast = isOpen && this.#connection.isLastReply
    const head = isOpen ? this.#head(status, [...headers, ...EVENT_STREAM], CHUNKED, isLast) : null
    return new FastStream(this, this.#connection, head, isLast)
  }

  onAbort(listener: () => void): void {
    if (this.isAnswered) return
    if (this.#connection.socket.destroyed) listener()
    else this.#onAbort = listener
  }

  /** The answer has been written to its end. */
  answered(isLast: boolean): void {
    this.#onAbort = null
    this.isAnswered = true
    this.#connection.answered(isLast)
  }

  /** It was too slow, and has been told so. */
  giveUp(): void {
    this.replied = true
    this.#reader?.reject(endedEarly())
    this.#reader = null
  }

  /** The connection is gone. */
  gone(): void {
    this.#reader?.reject(endedEarly())
    this.#reader = null
    const listener = this.#onAbort
    this.#onAbort = null
    listener?.()
  }

  /** False when there is no one to answer to. */
  #begin(): boolean {
    if (this.replied) return false
    this.replied = true
    const { socket } = this.#connection
    if (socket.destroyed || socket.writableEnded) return false
    // Whatever is left of the body is read and dropped.
    this.#connection.resume()
    return true
  }

  #head(status: number, headers: readonly string[], framing: string, isLast: boolean): string {
    const { shared } = this.#connection
    let text = `HTTP/1.1 ${status} ${STATUS_CODES[status] ?? ''}\r\n`
    for (let at = 0; at < headers.length; at += 2) {
      const value = headers[at + 1]!
      if (!VALUE.test(value))
        throw new TypeError(`The value of the header ${headers[at]} has characters that must not be`)
      text += `${headers[at]}: ${value}\r\n`
    }
    return text + framing + (isLast ? shared.lastReply : shared.keepAlive)
  }
}

const CHUNKED = 'Transfer-Encoding: chunked\r\n'
const lengthLine = (length: number): string => `Content-Length: ${length}\r\n`

class FastStream implements EventStream {
  onDrain: (() => void) | null = null
  readonly #exchange: FastExchange
  readonly #connection: FastConnection
  readonly #socket: Socket
  readonly #onSocketDrain = (): void => this.onDrain?.()
  /** Until it has left, with the first write. */
  #head: string
  #isOpen: boolean
  readonly #isLast: boolean

  /** `head` is null where there is no one to write to. */
  constructor(exchange: FastExchange, connection: FastConnection, head: string | null, isLast: boolean) {
    this.#exchange = exchange
    this.#connection = connection
    this.#socket = connection.socket
    this.#head = head ?? ''
    this.#isOpen = head !== null
    this.#isLast = isLast
    this.#socket.on('drain', this.#onSocketDrain)
  }

  write(chunk: Buffer | string): boolean {
    const bytes = typeof chunk === 'string' ? Buffer.from(chunk) : chunk
    const socket = this.#socket
    if (!this.#isOpen || socket.destroyed || socket.writableEnded) return false
    // A chunk of no bytes would be the end.
    if (bytes.length === 0) return !socket.writableNeedDrain
    // What is written in one turn leaves together.
    if (socket.writableCorked === 0) {
      socket.cork()
      process.nextTick(uncork, socket)
    }
    const start = `${this.#head}${bytes.length.toString(16)}\r\n`
    this.#head = ''
    if (bytes.length <= JOIN_BYTES_MAX) {
      return socket.write(`${start}${bytes.toString('latin1')}\r\n`, 'latin1')
    }
    socket.write(start, 'latin1')
    socket.write(bytes)
    return socket.write('\r\n', 'latin1')
  }

  end(): void {
    if (!this.#isOpen) return
    this.#isOpen = false
    this.#socket.off('drain', this.#onSocketDrain)
    const { destroyed, writableEnded } = this.#socket
    if (!destroyed && !writableEnded) {
      this.#socket.write(`${this.#head}0\r\n\r\n`, 'latin1')
      while (this.#socket.writableCorked > 0) this.#socket.uncork()
    }
    this.#exchange.answered(this.#isLast || this.#connection.shared.lane.draining)
  }

  destroy(): void {
    // Once it has ended, the connection is another request's.
    if (this.#isOpen) this.#socket.destroy()
  }

  get bufferedBytes(): number {
    return this.#socket.writableLength
  }
}

const uncork = (socket: Socket): void => socket.uncork()

// --- the lane ------------------------------------------------------------------------------------------------------------

export function createFastLane(options: FastLaneOptions): FastLane {
  const shared = new Shared(options)
  return {
    accept: (socket) => {
      new FastConnection(shared, socket)
    },
    close: () => clearInterval(shared.timer),
  }
}
