// The networks of a simulation: from clients to workers (Exchange), from workers to servers (Link), and between the primary
// and its workers (Messages). Each connection keeps its order, as TCP does; different ones overtake each other. Any of them
// may be slow, and any may break.

import { GatewayError } from '../../src/core/errors.ts'
import type { EventStream, Exchange, ExchangeHandler } from '../../src/http/exchange.ts'
import type { Link, LinkHandler, LinkRequest, Sending } from '../../src/http/link.ts'
import type { Messages, Part } from '../../src/ports/messages.ts'
import type { Random } from '../fuzz/random.ts'
import type { VirtualTime } from './time.ts'

export interface Net {
  readonly time: VirtualTime
  readonly random: Random
}

/** One direction of one connection: what goes in comes out later, in its order, until it is cut. */
export class Pipe {
  readonly #net: Net
  readonly #slowMs: number
  #lastMs = 0
  #isCut = false

  constructor(net: Net, slowMs: number) {
    this.#net = net
    this.#slowMs = slowMs
  }

  send(arrive: () => void): void {
    const { time, random } = this.#net
    // Mostly quick, now and then very late.
    const ms = random.chance(0.05) ? random.int(this.#slowMs * 20) : random.int(this.#slowMs)
    this.#lastMs = Math.max(this.#lastMs, time.nowMs + ms)
    time.at(this.#lastMs, () => {
      if (!this.#isCut) arrive()
    })
  }

  cut(): void {
    this.#isCut = true
  }
}

// --- clients ---------------------------------------------------------------------------------------------------------------

export interface Posting {
  readonly method: 'POST' | 'GET' | 'DELETE'
  readonly path: string
  readonly headers: Readonly<Record<string, string>>
  readonly body?: string | null
}

export interface ClientSide {
  /** The head of an answer that is no stream, with all of its body. */
  onReply(status: number, headers: Readonly<Record<string, string>>, body: string): void
  onEvent(text: string): void
  /** The end of a stream, or the loss of the connection before any answer. */
  onEnd(isWhole: boolean): void
}

/** A request on a connection of its own. */
export class Connection implements Exchange {
  readonly method: string
  readonly path: string
  readonly query: string
  readonly headers: Exchange['headers']
  readonly address = '127.0.0.1'
  readonly secure = false
  replied = false
  /** What its client is told of the event ids on its stream. */
  onEventId: (eventId: string) => void = () => {}
  /** Of its answer, once that has been written. */
  status = 0
  /** The whole answer is on its way: whoever goes away now is not seen to. */
  isAnswered = false
  isOver = false
  /** When its client went away, or 0. */
  abortedMs = 0
  readonly #body: Buffer
  readonly #client: ClientSide
  readonly #there: Pipe
  readonly #back: Pipe
  readonly #net: Net
  readonly #onClose: () => void
  #aborters: (() => void)[] = []

  constructor(net: Net, posting: Posting, client: ClientSide, onClose: () => void) {
    this.method = posting.method
    const [path, query = ''] = posting.path.split('?') as [string, string?]
    this.path = path
    this.query = query
    const headers = { host: '127.0.0.1:4444', 'content-type': 'application/json', ...posting.headers }
    this.headers = { accept: 'application/json, text/event-stream', ...headers }
    this.#body = Buffer.from(posting.body ?? '')
    this.#client = client
    this.#net = net
    this.#there = new Pipe(net, 20)
    this.#back = new Pipe(net, 20)
    this.#onClose = onClose
  }

  start(handler: ExchangeHandler): void {
    this.#there.send(() => handler(this))
  }

  /** The client goes away: the gateway hears of it later, or the network takes both ends at once. */
  abort(): void {
    if (this.isOver) return
    this.abortedMs = this.#net.time.nowMs
    this.#finish(false)
    this.#there.send(() => {
      for (const aborter of this.#aborters.splice(0)) aborter()
    })
  }

  /** The worker is gone. */
  lose(): void {
    this.#there.cut()
    this.#aborters = []
    if (!this.isOver) this.#back.send(() => this.#finish(false))
  }

  body(): Promise<Buffer> {
    return Promise.resolve(this.#body)
  }

  reply(status: number, headers: readonly string[], body: Buffer | readonly Buffer[] | string | null): void {
    if (this.replied) throw new Error('answered twice')
    this.replied = true
    this.isAnswered = true
    this.status = status
    const text = Array.isArray(body) ? Buffer.concat(body as Buffer[]).toString() : String(body ?? '')
    const named = recordOf(headers)
    const isStream = named['content-type']?.startsWith('text/event-stream') === true
    this.#back.send(() => {
      if (this.isOver) return
      if (isStream) this.#client.onEvent(text)
      else this.#client.onReply(status, named, text)
      this.#finish(true)
    })
  }

  stream(): EventStream {
    this.replied = true
    let isEnded = false
    const end = (isWhole: boolean): void => {
      if (isEnded) return
      isEnded = true
      this.isAnswered = true
      this.#back.send(() => this.#finish(isWhole))
    }
    return {
      write: (chunk) => {
        const text = chunk.toString()
        if (!isEnded) this.#back.send(() => void (this.isOver || this.#client.onEvent(text)))
        return true
      },
      onDrain: null,
      end: () => end(true),
      destroy: () => {
        end(false)
        this.#net.time.after(0, () => {
          for (const aborter of this.#aborters.splice(0)) aborter()
        })
      },
      bufferedBytes: 0,
    }
  }

  onAbort(listener: () => void): void {
    this.#aborters.push(listener)
  }

  #finish(isWhole: boolean): void {
    if (this.isOver) return
    this.isOver = true
    this.#onClose()
    this.#client.onEnd(isWhole)
  }
}

function recordOf(flat: readonly string[]): Record<string, string> {
  const record: Record<string, string> = {}
  for (let at = 0; at < flat.length; at += 2) record[flat[at]!.toLowerCase()] = flat[at + 1]!
  return record
}

// --- servers ---------------------------------------------------------------------------------------------------------------

/** How a server answers one request: a head, then data, then an end; or it breaks the connection. */
export interface Answering {
  head(status: number, headers: Readonly<Record<string, string>>): void
  data(text: string): void
  end(): void
  break(): void
}

export interface SimServer {
  handle(request: LinkRequest, headers: Readonly<Record<string, string>>, answering: Answering): { onGone: () => void }
}

export class SimLink implements Link {
  readonly #net: Net
  readonly #server: () => SimServer | null
  readonly #sendings = new Set<{ lose(): void }>()
  #isClosed = false

  constructor(net: Net, server: () => SimServer | null) {
    this.#net = net
    this.#server = server
  }

  get inFlight(): number {
    return this.#sendings.size
  }

  request(request: LinkRequest, handler: LinkHandler): Sending {
    const there = new Pipe(this.#net, 10)
    const back = new Pipe(this.#net, 10)
    let begun = false
    let isOver = false
    let gone: (() => void) | null = null
    const finish = (): boolean => {
      if (isOver) return false
      isOver = true
      this.#sendings.delete(sending)
      return true
    }
    const fail = (what: string, sent: boolean): void => {
      back.send(() => {
        if (finish()) handler.onError(new GatewayError('UPSTREAM_UNAVAILABLE', what), sent)
      })
    }
    const sending = {
      abort: () => {
        if (!finish()) return
        there.send(() => gone?.())
      },
      pause: () => {},
      resume: () => {},
      get begun() {
        return begun
      },
      /** Our own side is gone: nothing is told to it, the server sees the end. */
      lose: () => {
        if (finish()) there.send(() => gone?.())
      },
    }
    this.#sendings.add(sending)
    if (this.#isClosed) {
      fail('closed', false)
      return sending
    }
    there.send(() => {
      const server = this.#server()
      if (server === null || isOver) {
        if (!isOver) fail('connection refused', false)
        return
      }
      begun = true
      const arrive = (run: () => void): void => back.send(() => void (isOver || run()))
      const answering: Answering = {
        head: (status, headers) => arrive(() => handler.onHead(status, headers)),
        data: (text) => arrive(() => handler.onData(Buffer.from(text))),
        end: () => arrive(() => void (finish() && handler.onEnd())),
        break: () => fail('connection lost', true),
      }
      gone = server.handle(request, recordOf(request.headers), answering).onGone
    })
    return sending
  }

  /** The worker is gone. */
  lose(): void {
    this.#isClosed = true
    for (const sending of [...this.#sendings]) sending.lose()
  }

  async close(): Promise<void> {
    this.lose()
  }
}

// --- processes -------------------------------------------------------------------------------------------------------------

interface End extends Messages {
  arrive(part: Part, body: unknown): void
  close(): void
}

function createEnd(net: Net): End & { other: End | null } {
  const listeners = new Map<Part, Set<(body: unknown) => void>>()
  const closers = new Set<() => void>()
  const pipe = new Pipe(net, 3)
  let isClosed = false
  let backlog = 0
  const end: End & { other: End | null } = {
    other: null,
    get backlog() {
      return backlog
    },
    send(part, body) {
      if (isClosed) return
      const copy = cloneOf(body)
      backlog += 1
      pipe.send(() => {
        backlog -= 1
        end.other!.arrive(part, copy)
      })
    },
    on(part, listener) {
      const known = listeners.get(part) ?? new Set()
      listeners.set(part, known)
      known.add(listener)
      return () => known.delete(listener)
    },
    onClose(listener) {
      if (isClosed) listener()
      else closers.add(listener)
      return () => closers.delete(listener)
    },
    arrive(part, body) {
      if (!isClosed) for (const listener of listeners.get(part) ?? []) listener(body)
    },
    close() {
      if (isClosed) return
      isClosed = true
      pipe.cut()
      for (const closer of [...closers]) closer()
    },
  }
  return end
}

/** As between processes, where a Buffer stays one. */
function cloneOf(body: unknown): unknown {
  if (Buffer.isBuffer(body)) return Buffer.from(body)
  if (Array.isArray(body)) return body.map(cloneOf)
  if (typeof body !== 'object' || body === null) return body
  return Object.fromEntries(Object.entries(body).map(([key, value]) => [key, cloneOf(value)]))
}

export interface Channel {
  readonly primary: Messages
  readonly worker: Messages
  /** The worker is gone: the primary hears of it a moment later. */
  break(): void
}

export function createChannel(net: Net): Channel {
  const primary = createEnd(net)
  const worker = createEnd(net)
  primary.other = worker
  worker.other = primary
  return {
    primary,
    worker,
    break() {
      worker.close()
      net.time.after(net.random.int(5), () => primary.close())
    },
  }
}
