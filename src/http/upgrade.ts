// A request for the WebSocket protocol: an Exchange that is answered as plain HTTP, or taken up as a MessageSocket. Who
// may do so is the edge's affair; the frames are the library's, which is loaded by the first one that is taken up.
// Absent on purpose: compression of frames (memory for each socket, and a side channel), binary messages, HTTP/2.

import type { IncomingMessage } from 'node:http'
import type { Socket } from 'node:net'
import type { WebSocket } from 'ws'
import { GatewayError } from '../core/errors.ts'
import type { EventStream, Exchange, MessageSocket } from './exchange.ts'
import { addressOf, EMPTY, isSecure, type Lane, linger, STATUS_CODES, splitTarget } from './lane.ts'

const KEY = /^[A-Za-z0-9+/]{22}==$/
/** Close codes of RFC 6455, 7.4.1. */
const UNSUPPORTED_DATA = 1003

/** One that the library would take up. Anything near to it goes on as the plain request that it also is. */
export function asksForWebSocket({ method, headers, httpVersion }: IncomingMessage): boolean {
  return (
    method === 'GET' &&
    httpVersion === '1.1' &&
    headers.upgrade?.toLowerCase() === 'websocket' &&
    headers['sec-websocket-version'] === '13' &&
    KEY.test(headers['sec-websocket-key'] ?? '') &&
    // A body before the frames: where it would end, two parties could read differently.
    headers['transfer-encoding'] === undefined &&
    (headers['content-length'] ?? '0') === '0'
  )
}

export class UpgradeExchange implements Exchange {
  readonly method = 'GET'
  readonly path: string
  readonly query: string
  readonly headers: Readonly<Record<string, string | undefined>>
  replied = false
  readonly #lane: Lane
  readonly #request: IncomingMessage
  readonly #socket: Socket
  readonly #head: Buffer
  readonly upgrade = (protocol: string | null, bytesMax: number): Promise<MessageSocket> =>
    this.#upgrade(protocol, bytesMax)

  constructor(lane: Lane, request: IncomingMessage, socket: Socket, head: Buffer) {
    this.#lane = lane
    this.#request = request
    this.#socket = socket
    this.#head = head
    this.headers = request.headers as Readonly<Record<string, string | undefined>>
    const { path, query } = splitTarget(request.url!)
    this.path = path
    this.query = query
  }

  get address(): string {
    return addressOf(this.#lane, this.#socket, this.headers)
  }

  get secure(): boolean {
    return isSecure(this.#lane, this.#socket, this.headers)
  }

  async body(): Promise<Buffer> {
    return EMPTY
  }

  /** The last word on its connection: what the client has sent behind its request is not HTTP. */
  reply(status: number, headers: readonly string[], body: Buffer | readonly Buffer[] | string | null): void {
    if (this.replied) return
    this.replied = true
    const bytes =
      body === null || typeof body === 'string'
        ? Buffer.from(body ?? '')
        : Buffer.concat(Array.isArray(body) ? (body as Buffer[]) : [body as Buffer])
    let head = `HTTP/1.1 ${status} ${STATUS_CODES[status]}\r\n`
    for (let at = 0; at < headers.length; at += 2) head += `${headers[at]}: ${headers[at + 1]}\r\n`
    this.#socket.write(`${head}Content-Length: ${bytes.length}\r\nConnection: close\r\n\r\n`)
    this.#socket.write(bytes)
    linger(this.#socket, this.#lane.limits.lingerMs)
    // Read and dropped, or its end would not be seen.
    this.#socket.resume()
  }

  stream(): EventStream {
    throw new Error('a request for a WebSocket has no event stream')
  }

  onAbort(listener: () => void): void {
    this.#socket.once('close', listener)
  }

  async #upgrade(protocol: string | null, bytesMax: number): Promise<MessageSocket> {
    const { WebSocketServer } = await import('ws')
    const socket = this.#socket
    if (this.replied || socket.destroyed) throw gone()
    const server = new WebSocketServer({
      noServer: true,
      clientTracking: false,
      perMessageDeflate: false,
      maxPayload: bytesMax,
      handleProtocols: () => protocol ?? false,
      // Not in the types yet.
      ...{ closeTimeout: this.#lane.limits.lingerMs },
    })
    return new Promise((resolve, reject) => {
      // The library takes up, refuses (a header that it cannot read), or only destroys a socket that is half closed.
      const onClose = (): void => reject(gone())
      socket.once('close', onClose)
      server.on('wsClientError', (error) => reject(new GatewayError('INVALID_REQUEST', error.message)))
      server.handleUpgrade(this.#request, socket, this.#head, (taken) => {
        socket.off('close', onClose)
        this.replied = true
        resolve(new Messages(taken, socket))
      })
    })
  }
}

function gone(): GatewayError {
  return new GatewayError('INVALID_REQUEST', 'The client went away before the WebSocket was open')
}

class Messages implements MessageSocket {
  onMessage: ((bytes: Buffer) => void) | null = null
  onPong: (() => void) | null = null
  onDrain: (() => void) | null = null
  onClose: (() => void) | null = null
  readonly #socket: WebSocket
  readonly #raw: Socket

  constructor(socket: WebSocket, raw: Socket) {
    this.#socket = socket
    this.#raw = raw
    socket.pause()
    // Buffers are what the library gives as long as nobody asks for another form.
    socket.on('message', (data, isBinary) => {
      if (isBinary) this.close(UNSUPPORTED_DATA, 'Messages are text')
      else if (socket.readyState === socket.OPEN) this.onMessage?.(data as Buffer)
    })
    socket.on('pong', () => this.onPong?.())
    // The library has said why (1002, 1007, 1009) and ends the connection: it comes as 'close' too.
    socket.on('error', () => {})
    socket.on('close', () => this.onClose?.())
    raw.on('drain', () => this.onDrain?.())
  }

  send(bytes: Buffer): boolean {
    if (this.#socket.readyState !== this.#socket.OPEN) return false
    this.#socket.send(bytes, { binary: false })
    return !this.#raw.writableNeedDrain
  }

  ping(): void {
    if (this.#socket.readyState === this.#socket.OPEN) this.#socket.ping()
  }

  close(code: number, reason: string): void {
    // Its answer must be read.
    this.#socket.resume()
    this.#socket.close(code, reason)
  }

  destroy(): void {
    this.#socket.terminate()
  }

  pause(): void {
    this.#socket.pause()
  }

  resume(): void {
    this.#socket.resume()
  }

  get bufferedBytes(): number {
    return this.#socket.bufferedAmount
  }
}
