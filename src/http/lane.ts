// What both server lanes (node-exchange.ts, fast-exchange.ts) share, so that they answer, bound and end alike.

import type { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import type { TLSSocket } from 'node:tls'
import { GatewayError } from '../core/errors.ts'
import type { Limits } from '../core/limits.ts'
import type { Exchange, ExchangeHandler } from './exchange.ts'
import { PROBLEM_TYPE, problemText } from './problem.ts'
import { type Proxies, plainAddress } from './proxies.ts'

// Not by import: see node-exchange.ts.
export const { STATUS_CODES } = process.getBuiltinModule('node:http')

export type LaneLimits = Pick<
  Limits,
  | 'headerBytes'
  | 'headerCount'
  | 'headersMs'
  | 'requestMs'
  | 'keepAliveMs'
  | 'connectionsMax'
  | 'lingerMs'
  | 'unreadBodyBytes'
>

/** A connection on which requests can come. */
export interface OpenConnection {
  /** No answer is due on it. */
  readonly isIdle: boolean
  /** It has asked for nothing yet. */
  readonly isFresh: boolean
  /** Answered, but not all of the answer has left. */
  readonly isLeaving: boolean
  closeAfterReply(): void
  destroy(): void
}

/** What all exchanges of one server share. */
export interface Lane {
  readonly handler: ExchangeHandler
  readonly limits: LaneLimits
  readonly proxies: Proxies
  draining: boolean
  readonly open: Set<OpenConnection>
}

export const EMPTY: Buffer = Buffer.alloc(0)
/** Up to here a reply leaves as one string with its head: one write instead of a gathered one, 5 µs less. */
export const JOIN_BYTES_MAX = 12 * 1024
export const EVENT_STREAM: readonly string[] = [
  'Content-Type',
  'text/event-stream',
  'Cache-Control',
  'no-cache, no-transform',
  'X-Accel-Buffering',
  'no',
]

// --- who asks ------------------------------------------------------------------------------------------------------------

export function addressOf({ proxies }: Lane, socket: Socket, headers: Exchange['headers']): string {
  const peer = socket.remoteAddress ?? ''
  return proxies.isTrusted(peer) ? proxies.clientOf(peer, headers['x-forwarded-for']) : plainAddress(peer)
}

export function isSecure({ proxies }: Lane, socket: Socket, headers: Exchange['headers']): boolean {
  const proto = headers['x-forwarded-proto']
  if (proto === undefined || !proxies.isTrusted(socket.remoteAddress ?? '')) {
    return (socket as Partial<TLSSocket>).encrypted === true
  }
  // The last one is what the proxy next to us says.
  const last = proto.slice(proto.lastIndexOf(',') + 1)
  return last.trim().toLowerCase() === 'https'
}

/** Path and query of a request target, which is a path or a URL of our own host. */
export function splitTarget(target: string): { readonly path: string; readonly query: string } {
  const start = target.charCodeAt(0) === 0x2f ? 0 : pathStart(target)
  const question = target.indexOf('?', start)
  if (question >= 0) return { path: target.slice(start, question) || '/', query: target.slice(question + 1) }
  return { path: start === 0 ? target : target.slice(start) || '/', query: '' }
}

/** Where the path of an absolute-form target (`http://host/path`) begins; the host of it was compared before. */
function pathStart(target: string): number {
  const authority = target.indexOf('://')
  if (authority < 0) return 0
  const slash = target.slice(authority + 3).search(/[/?]/)
  return slash < 0 ? target.length : authority + 3 + slash
}

// --- bodies --------------------------------------------------------------------------------------------------------------

/** Copies `chunk` behind the first `used` bytes; doubles the room, so that a body of one-byte chunks stays cheap. */
export function append(store: Buffer, used: number, chunk: Buffer, bytesMax: number): Buffer {
  const needed = used + chunk.length
  let room = store
  if (needed > store.length) {
    room = Buffer.allocUnsafe(Math.max(needed, Math.min(bytesMax, Math.max(16 * 1024, store.length * 2))))
    store.copy(room, 0, 0, used)
  }
  chunk.copy(room, used)
  return room
}

export function tooLarge(bytesMax: number): GatewayError {
  return new GatewayError('TOO_LARGE', `The body is larger than ${bytesMax} bytes`)
}

export function endedEarly(): GatewayError {
  return new GatewayError('INVALID_REQUEST', 'The request ended before its body was complete')
}

export function tooSlow({ headersMs, requestMs }: LaneLimits): GatewayError {
  return new GatewayError(
    'REQUEST_TIMEOUT',
    `Headers must arrive within ${headersMs} ms, bodies within ${requestMs} ms`,
  )
}

// --- last words ----------------------------------------------------------------------------------------------------------

/** Ends a connection, but not by a reset: that would take the last reply away from a client that is still sending. */
export function linger(socket: Duplex, ms: number): void {
  socket.end()
  const timer = setTimeout(() => socket.destroy(), ms)
  socket.once('close', () => clearTimeout(timer))
}

/** A refusal where there is no exchange to answer; the last word on its connection. */
export function refuseRaw(socket: Duplex, error: GatewayError, lingerMs: number): void {
  const { status } = error.entry
  const body = problemText(error)
  const head = `HTTP/1.1 ${status} ${STATUS_CODES[status]}\r\nContent-Type: ${PROBLEM_TYPE}\r\n`
  socket.write(`${head}Content-Length: ${Buffer.byteLength(body)}\r\nConnection: close\r\n\r\n${body}`)
  linger(socket, lingerMs)
}
