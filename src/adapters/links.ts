// Many logical links over one socket between a worker and its primary: length-prefixed frames, and credit per link, so
// that a link whose reader is slow stops alone. A link carries lines; a long line travels in pieces between which the
// other links have their turn.
// A frame is type (1 byte), link number (4), payload length (4), payload. Whoever breaks a rule loses the whole
// connection: both ends are the same program, so a broken rule is a fault or an intruder.

import type { Socket } from 'node:net'
import type { Limits } from '../core/limits.ts'

export const OPEN = 1
export const OPENED = 2
export const REFUSED = 3
const MORE = 4
const LAST = 5
const CREDIT = 6
const CLOSE = 7
/** The request of one line has failed on its own: at most one for each line that came, so that it needs no credit. */
const FAULT = 8

const HEAD_BYTES = 9
const WHY_BYTES_MAX = 2_048
const NO_BYTES = Buffer.alloc(0)
/** Bytes that may wait in the socket itself: more would only take the turn from other links. */
const SOCKET_BYTES = 256 * 1024
/** No piece smaller than this unless it ends its line, so that a line has few: little credit waits for more. */
const PIECE_BYTES_MIN = 4 * 1024

export interface LinkEvents {
  /** Frames that are not about lines: OPEN, OPENED, REFUSED. False when they make no sense. */
  onControl(type: number, number: number, payload: Buffer): boolean
  /** The connection is over; its links have heard onClose. */
  onEnd(why: string): void
}

/** One end of a link. */
export class Link {
  readonly number: number
  /** A whole line; false when no more should come until `release`. */
  onLine: ((line: Buffer) => boolean) | null = null
  /** The queue has become empty after `send` said false. */
  onDrain: (() => void) | null = null
  onFault: ((fault: string) => void) | null = null
  onClose: ((why: string) => void) | null = null
  queuedBytes = 0
  readonly #connection: LinkConnection
  readonly #limits: Limits
  /** Lines to send: `#queue[#head]` is the next one, of which `#offset` bytes have gone. */
  #queue: Buffer[] = []
  #head = 0
  #offset = 0
  /** What the other end lets us send still. */
  #credit = 0
  /** What we let the other end send still, and what it has sent and we have not given back. */
  #granted = 0
  #owed = 0
  #held = false
  #partial: Buffer[] = []
  #partialBytes = 0
  #full = false
  #lastWords: string | null = null

  constructor(number: number, connection: LinkConnection, limits: Limits) {
    this.number = number
    this.#connection = connection
    this.#limits = limits
  }

  /** Lets the other end begin to send. */
  welcome(): void {
    this.#owed += this.#limits.linkWindowBytes
    this.#grant()
  }

  /** Queues a line; false when it has to wait, and then onDrain comes. */
  send(line: Buffer): boolean {
    if (this.#lastWords !== null || !this.#connection.has(this)) return false
    this.#queue.push(line)
    this.queuedBytes += line.length + HEAD_BYTES
    this.#connection.pump(this)
    if (this.queuedBytes > 0) this.#full = true
    return !this.#full
  }

  /** Ends the link when everything queued has been sent. */
  finish(why: string): void {
    if (this.#lastWords !== null || !this.#connection.has(this)) return
    this.#lastWords = why
    if (this.#isEmpty) this.close(why)
  }

  get #isEmpty(): boolean {
    return this.#head === this.#queue.length
  }

  /** Ends the link at both ends; this end hears no onClose. */
  close(why: string): void {
    if (!this.#connection.has(this)) return
    this.#connection.write(CLOSE, this.number, Buffer.from(why).subarray(0, WHY_BYTES_MAX))
    this.#connection.forget(this)
  }

  fault(text: string): void {
    if (!this.#connection.has(this)) return
    this.#connection.write(FAULT, this.number, Buffer.from(text).subarray(0, WHY_BYTES_MAX))
  }

  release(): void {
    this.#held = false
    this.#grant()
  }

  #grant(): void {
    if (this.#held || this.#owed < this.#limits.linkWindowBytes / 2) return
    const payload = Buffer.allocUnsafe(4)
    payload.writeUInt32BE(this.#owed)
    this.#granted += this.#owed
    this.#owed = 0
    this.#connection.write(CREDIT, this.number, payload)
  }

  get canSend(): boolean {
    const line = this.#queue[this.#head]
    if (line === undefined) return false
    return this.#credit >= Math.min(line.length - this.#offset, PIECE_BYTES_MIN) + HEAD_BYTES
  }

  /** The next piece goes to the socket; only while `canSend`. */
  sendPiece(): void {
    const line = this.#queue[this.#head]!
    const size = Math.min(line.length - this.#offset, this.#limits.linkFrameBytes, this.#credit - HEAD_BYTES)
    const piece = line.subarray(this.#offset, this.#offset + size)
    this.#offset += size
    this.#credit -= size + HEAD_BYTES
    this.queuedBytes -= size
    const isLast = this.#offset === line.length
    if (isLast) {
      this.#offset = 0
      this.#head += 1
      // Not shift(): on a long queue it moves everything each time.
      if (this.#isEmpty || this.#head === 1_024) {
        this.#queue = this.#queue.slice(this.#head)
        this.#head = 0
      }
      this.queuedBytes -= HEAD_BYTES
    }
    this.#connection.write(isLast ? LAST : MORE, this.number, piece)
  }

  /** After pieces were sent: tells who waits for an empty queue. */
  sent(): void {
    if (!this.#isEmpty) return
    if (this.#lastWords !== null) this.close(this.#lastWords)
    else if (this.#full) {
      this.#full = false
      this.onDrain?.()
    }
  }

  /** A frame of this link came; false when it breaks a rule. */
  take(type: number, payload: Buffer): boolean {
    if (type === CREDIT) {
      if (payload.length !== 4) return false
      this.#credit += payload.readUInt32BE()
      if (this.#credit > this.#limits.linkWindowBytes) return false
      this.#connection.pump(this)
      return true
    }
    if (type === CLOSE) {
      this.#connection.forget(this)
      this.onClose?.(payload.toString('utf8'))
      return true
    }
    if (type === FAULT) {
      this.onFault?.(payload.toString('utf8'))
      return true
    }
    const bytes = payload.length + HEAD_BYTES
    this.#granted -= bytes
    if (this.#granted < 0 || (type === MORE && payload.length < PIECE_BYTES_MIN)) return false
    this.#owed += bytes
    this.#assemble(type, payload)
    this.#grant()
    return true
  }

  #assemble(type: number, payload: Buffer): void {
    this.#partialBytes += payload.length
    if (this.#partialBytes > this.#limits.childLineBytes) {
      const why = `a line of more than ${this.#limits.childLineBytes} bytes`
      this.close(why)
      this.onClose?.(why)
      return
    }
    if (type === MORE) {
      this.#partial.push(payload)
      return
    }
    const line = this.#partial.length === 0 ? payload : Buffer.concat([...this.#partial, payload], this.#partialBytes)
    this.#partial = []
    this.#partialBytes = 0
    if (this.onLine !== null && !this.onLine(line)) this.#held = true
  }
}

export class LinkConnection {
  readonly links = new Map<number, Link>()
  readonly #socket: Socket
  readonly #limits: Limits
  readonly #events: LinkEvents
  /** Links with something to send and credit for it, in the order of their turns. */
  readonly #ready = new Set<Link>()
  #rest: Buffer = NO_BYTES
  #pumping = false
  #over = false

  constructor(socket: Socket, limits: Limits, events: LinkEvents) {
    this.#socket = socket
    this.#limits = limits
    this.#events = events
    socket.on('data', (chunk: Buffer) => this.#read(chunk))
    socket.on('drain', () => this.pump(null))
    socket.on('error', () => {})
    socket.on('close', () => this.end('the connection between worker and primary broke'))
  }

  add(number: number): Link {
    const link = new Link(number, this, this.#limits)
    this.links.set(number, link)
    return link
  }

  has(link: Link): boolean {
    return this.links.get(link.number) === link
  }

  forget(link: Link): void {
    this.links.delete(link.number)
    this.#ready.delete(link)
  }

  end(why: string): void {
    if (this.#over) return
    this.#over = true
    this.#socket.destroy()
    const links = [...this.links.values()]
    this.links.clear()
    this.#ready.clear()
    for (const link of links) link.onClose?.(why)
    this.#events.onEnd(why)
  }

  write(type: number, number: number, payload: Buffer): void {
    if (this.#over) return
    const head = Buffer.allocUnsafe(HEAD_BYTES)
    head[0] = type
    head.writeUInt32BE(number, 1)
    head.writeUInt32BE(payload.length, 5)
    this.#socket.cork()
    this.#socket.write(head)
    if (payload.length > 0) this.#socket.write(payload)
    this.#socket.uncork()
  }

  /** Sends what credit and socket allow, a piece of each link in turn. */
  pump(link: Link | null): void {
    if (link?.canSend) this.#ready.add(link)
    // A listener of `sent` may send again and come here: it only adds its link.
    if (this.#pumping) return
    this.#pumping = true
    for (const next of this.#ready) {
      if (this.#over || this.#socket.writableLength > SOCKET_BYTES) break
      this.#ready.delete(next)
      next.sendPiece()
      if (next.canSend) this.#ready.add(next)
      else next.sent()
    }
    this.#pumping = false
  }

  #read(chunk: Buffer): void {
    const bytes = this.#rest.length === 0 ? chunk : Buffer.concat([this.#rest, chunk])
    let at = 0
    while (bytes.length - at >= HEAD_BYTES) {
      const size = bytes.readUInt32BE(at + 5)
      if (size > this.#limits.linkFrameBytes) {
        this.end(`a frame of ${size} bytes`)
        return
      }
      const end = at + HEAD_BYTES + size
      if (bytes.length < end) break
      if (!this.#take(bytes[at]!, bytes.readUInt32BE(at + 1), bytes.subarray(at + HEAD_BYTES, end))) {
        this.end(`a frame of type ${bytes[at]} that breaks the rules`)
        return
      }
      if (this.#over) return
      at = end
    }
    this.#rest = bytes.subarray(at)
  }

  #take(type: number, number: number, payload: Buffer): boolean {
    if (type < MORE) return this.#events.onControl(type, number, payload)
    if (type > FAULT) return false
    // Frames that were under way when we closed the link.
    return this.links.get(number)?.take(type, payload) ?? true
  }
}
