// What the edge needs of a request and its reply. Two lanes give it: http/node-exchange.ts (node:http, complete) and
// before it http/fast-exchange.ts (node:net, for plain POST requests). The edge cannot tell them apart. A request that asks
// for the WebSocket protocol is an Exchange that can also be taken up (http/upgrade.ts).

export interface EventStream {
  /** Writes bytes of the event stream; false when the client is slow (see `onDrain`). */
  write(chunk: Buffer | string): boolean
  onDrain: (() => void) | null
  end(): void
  /** Drops the connection at once, as if the client had gone: for one that does not read what it is sent. */
  destroy(): void
  readonly bufferedBytes: number
}

/** A connection that carries whole text messages both ways. It is paused at first, so that its listeners can be set. */
export interface MessageSocket {
  /** Sends one text message; false when the client is slow (see `onDrain`). */
  send(bytes: Buffer): boolean
  ping(): void
  /** Says why it ends; the client has `lingerMs` to say so too. */
  close(code: number, reason: string): void
  destroy(): void
  pause(): void
  resume(): void
  readonly bufferedBytes: number
  onMessage: ((bytes: Buffer) => void) | null
  /** The client has answered a ping. */
  onPong: (() => void) | null
  onDrain: (() => void) | null
  /** It is over, whoever ended it; comes once. */
  onClose: (() => void) | null
}

export interface Exchange {
  readonly method: string
  /** Path without query, percent-encoding as sent, never empty. */
  readonly path: string
  readonly query: string
  /** Lower-case names; a repeated header is joined by ", " (node's rule), duplicates of single-value headers refused earlier. */
  readonly headers: Readonly<Record<string, string | undefined>>
  /** The client's address after trusted proxies. */
  readonly address: string
  readonly secure: boolean
  /** Reads the whole body, once. Errors: TOO_LARGE; INVALID_REQUEST when the client went away or was too slow (and has its 408). */
  body(bytesMax: number): Promise<Buffer>
  /** Answers at once. `headers` is a flat list of names and values; Content-Length is set here. */
  reply(status: number, headers: readonly string[], body: Buffer | readonly Buffer[] | string | null): void
  /** Opens a text/event-stream with compression and buffering off. The head leaves with the first write. */
  stream(status: number, headers: readonly string[]): EventStream
  readonly replied: boolean
  /** The client went away before the reply ended; comes at most once. */
  onAbort(listener: () => void): void
  /**
   * Only there where the request asks for a WebSocket: instead of a reply. `protocol` is what is said to be spoken, null
   * for a client that has offered none. Errors: INVALID_REQUEST (the client has gone).
   */
  readonly upgrade?: (protocol: string | null, bytesMax: number) => Promise<MessageSocket>
}

export type ExchangeHandler = (exchange: Exchange) => void
