// WebSocket in front: one JSON-RPC message in each text frame, both eras. What the messages mean is edge/wire.ts; the
// frames are http/upgrade.ts. Host, Origin and token are checked before the handshake, and refused as plain HTTP; the
// token again with each message, so that it can be revoked in the middle.
// Pages and the global WebSocket cannot set headers: they bring the token as a further subprotocol, `bearer.TOKEN`, which
// is never answered. It is not taken from the URL, which ends up in logs and histories.
// Absent on purpose: binary messages, compression, resumption (whoever connects anew begins anew).

import { GatewayError } from '../core/errors.ts'
import type { Caller } from '../core/policy.ts'
import type { Exchange, MessageSocket } from '../http/exchange.ts'
import { hopsOf } from './headers.ts'
import type { EdgeParts } from './parts.ts'
import { encodeRefusal, toGatewayError } from './reply.ts'
import { newRequestId } from './request-id.ts'
import { Wire, type WireEnd } from './wire.ts'

const PROTOCOL = 'mcp'
const BEARER = 'bearer.'
/** Close codes of RFC 6455, 7.4.1, and their reasons. */
const CLOSES: Readonly<Record<WireEnd, readonly [code: number, reason: string]>> = {
  shutdown: [1001, 'SHUTTING_DOWN: connect again'],
  over: [1008, 'UNAUTHENTICATED: the token or the session is no longer valid'],
}

const protocolsOf = (exchange: Exchange): string[] =>
  (exchange.headers['sec-websocket-protocol'] ?? '')
    .split(',')
    .map((name) => name.trim())
    .filter((name) => name !== '')

/** The Authorization header, or what the token among the subprotocols says in its place. Errors: INVALID_REQUEST (two tokens). */
export function authorizationOf(exchange: Exchange): string | undefined {
  const { authorization } = exchange.headers
  const tokens = protocolsOf(exchange).filter((name) => name.startsWith(BEARER))
  if (tokens.length === 0) return authorization
  if (tokens.length > 1 || authorization !== undefined)
    throw new GatewayError('INVALID_REQUEST', 'More than one token: send a header, or one subprotocol "bearer.TOKEN"')
  return `Bearer ${tokens[0]!.slice(BEARER.length)}`
}

/** Errors, before the handshake: UPGRADE_REQUIRED, INVALID_REQUEST, LOOP_DETECTED, OVERLOADED. */
export async function openWebSocket(edge: EdgeParts, exchange: Exchange, scope: string, caller: Caller): Promise<void> {
  const { limits, clock, log } = edge
  if (exchange.upgrade === undefined) {
    const headers = { Upgrade: 'websocket', 'Sec-WebSocket-Version': '13' }
    throw new GatewayError('UPGRADE_REQUIRED', undefined, { headers })
  }
  const offered = protocolsOf(exchange)
  if (offered.length > 0 && !offered.includes(PROTOCOL))
    throw new GatewayError('INVALID_REQUEST', `Of the subprotocols offered none is "${PROTOCOL}"`)
  const hops = hopsOf(exchange.headers, limits)
  const authorization = authorizationOf(exchange)
  let socket: MessageSocket | null = null
  let pings = 0
  let unread = 0
  let isSlow = false
  let ended = null as WireEnd | null
  /** Messages whose token is being looked up. */
  let waiting = 0

  const wire = new Wire(edge, exchange, authorization, scope, {
    send: (parts) => {
      isSlow = socket?.send(parts.length === 1 ? parts[0]! : Buffer.concat(parts as Buffer[])) === false
      return !isSlow
    },
    keepAlive: () => {
      if (socket === null) return true
      // One that reads, if slowly, is alive.
      if (socket.bufferedBytes < unread) pings = 0
      unread = socket.bufferedBytes
      pings += 1
      if (pings > limits.wirePingsMax) socket.destroy()
      else socket.ping()
      return !isSlow
    },
    end: (why) => {
      ended = why
      socket?.close(...CLOSES[why])
    },
    destroy: () => socket?.destroy(),
    get bufferedBytes() {
      return socket?.bufferedBytes ?? 0
    },
  })

  /** Reads on, unless the client does not read, or what it has sent must wait. */
  const readOn = (): void => {
    if (waiting > 0 || socket!.bufferedBytes > limits.streamBufferBytes) socket!.pause()
    else socket!.resume()
  }

  async function identify(): Promise<Caller> {
    const known = edge.authenticate(authorization, exchange)
    if (!(known instanceof Promise)) return known
    waiting += 1
    readOn()
    try {
      return await known
    } finally {
      waiting -= 1
      readOn()
    }
  }

  async function take(bytes: Buffer): Promise<void> {
    try {
      const now = await identify()
      if (now.id !== caller.id) throw new GatewayError('UNAUTHENTICATED')
      await wire.receive(bytes, now, hops)
    } catch (thrown) {
      const requestId = newRequestId()
      const error = toGatewayError(thrown, requestId, log)
      if (error.code === 'UNAUTHENTICATED') socket!.close(...CLOSES.over)
      else socket!.send(encodeRefusal(null, error, requestId))
    }
    readOn()
  }

  wire.open(caller, clock.now() + limits.sessionAgeMs)
  try {
    socket = await exchange.upgrade(offered.length === 0 ? null : PROTOCOL, limits.bodyBytes)
  } catch (thrown) {
    wire.gone()
    throw thrown
  }
  socket.onPong = () => {
    pings = 0
  }
  socket.onDrain = () => {
    isSlow = false
    wire.drained()
    readOn()
  }
  socket.onClose = () => wire.gone()
  socket.onMessage = (bytes) => {
    pings = 0
    take(bytes).catch((error: unknown) => log.error('edge.fault', { error }))
  }
  // In the middle of the handshake.
  if (ended !== null) socket.close(...CLOSES[ended])
  else socket.resume()
}
