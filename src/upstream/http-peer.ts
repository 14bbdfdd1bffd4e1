// How an HTTP upstream is addressed: the connection, the session and the headers of every request on it; and the small
// messages of ours that wait for no answer. Absent on purpose: requests that do (mcp-http.ts).

import type { Limits } from '../core/limits.ts'
import type { Link, LinkHandler } from '../http/link.ts'
import { encodeHeaderValue } from '../mcp/classify.ts'
import type { Ask, Ids, Wire } from './ask.ts'

export interface HttpPeer {
  /** Slug of the upstream, for messages. */
  readonly name: string
  readonly wire: Wire
  readonly link: Link
  /** Path and query of the endpoint. */
  readonly path: string
  readonly sessionId: string | null
  /** Headers of every request on this session: a first hop's, without trace. */
  readonly headers: readonly string[]
  readonly ids: Ids
  readonly limits: Limits
}

export interface HttpPeerOptions extends Omit<HttpPeer, 'headers'> {
  readonly version: string
  /** What the upstream's configuration adds, secrets resolved. */
  readonly staticHeaders: readonly string[]
}

/** How a server says that it does not know this kind of request: reason to try another transport. */
export const MAY_BE_OTHER: ReadonlySet<number> = new Set([400, 404, 405])

const HOPS = 'x-mcp-gateway-hops'
/** Where in `headers` the value of HOPS stands. */
const HOPS_AT = 5

export function createHttpPeer({ version, staticHeaders, ...peer }: HttpPeerOptions): HttpPeer {
  const headers = ['accept', 'application/json, text/event-stream', 'content-type', 'application/json']
  headers.push(HOPS, '1', 'mcp-protocol-version', peer.wire.revision)
  if (peer.sessionId !== null) headers.push('mcp-session-id', peer.sessionId)
  return { ...peer, headers: [...headers, ...plainHeaders(version, staticHeaders)] }
}

/** What goes with every request, whatever it is: what the configuration adds, and who we are. */
export function plainHeaders(version: string, staticHeaders: readonly string[]): readonly string[] {
  const isAgentGiven = staticHeaders.some((text, at) => at % 2 === 0 && text.toLowerCase() === 'user-agent')
  return isAgentGiven ? staticHeaders : ['user-agent', `mcp-gateway/${version}`, ...staticHeaders]
}

/** The same peer before a session: `initialize` carries neither version nor session. */
export function withoutVersion(peer: HttpPeer): HttpPeer {
  const at = peer.headers.indexOf('mcp-protocol-version')
  return { ...peer, headers: [...peer.headers.slice(0, at), ...peer.headers.slice(at + 2)] }
}

/** Headers of one request: with trace and hops, and in the modern era with what mirrors its body. */
export function headersOf(peer: HttpPeer, ask: Ask): readonly string[] {
  const { call } = ask
  const isModern = peer.wire.era === 'modern'
  if (!isModern && (call === null || (call.hops === 0 && call.trace === null))) return peer.headers
  const headers = peer.headers.slice()
  if (call !== null) {
    headers[HOPS_AT] = String(call.hops + 1)
    if (call.trace !== null) {
      headers.push('traceparent', call.trace.traceparent)
      if (call.trace.tracestate !== null) headers.push('tracestate', call.trace.tracestate)
      if (call.trace.baggage !== null) headers.push('baggage', call.trace.baggage)
    }
  }
  if (isModern) {
    headers.push('mcp-method', ask.method)
    if (ask.name !== null) headers.push('mcp-name', encodeHeaderValue(ask.name))
    for (const text of ask.paramHeaders) headers.push(text)
  }
  return headers
}

// --- messages that wait for no answer ---------------------------------------------------------------------------------

/** How many notices are under way per link; more are dropped, since an upstream that takes none must not make them pile up. */
const notices = new WeakMap<Link, number>()

/** Sends something that has no answer and forgets it. `done` says whether the upstream took it. */
function tell(peer: HttpPeer, method: 'POST' | 'DELETE', body: Buffer | null, done: (taken: boolean) => void): void {
  const underWay = notices.get(peer.link) ?? 0
  if (underWay >= peer.limits.upstreamNoticesMax) {
    done(false)
    return
  }
  notices.set(peer.link, underWay + 1)
  let bytes = 0
  let status = 0
  let isOver = false
  const end = (): void => {
    if (isOver) return
    isOver = true
    clearTimeout(timer)
    notices.set(peer.link, (notices.get(peer.link) ?? 1) - 1)
    done(status >= 200 && status < 300)
  }
  const stop = (): void => {
    sending.abort()
    end()
  }
  const timer = setTimeout(stop, peer.limits.upstreamNoticeMs)
  const handler: LinkHandler = {
    onHead: (code) => {
      status = code
    },
    onData: (chunk) => {
      bytes += chunk.length
      if (bytes > peer.limits.upstreamErrorBytes) stop()
    },
    onEnd: end,
    onError: end,
  }
  const sending = peer.link.request({ method, path: peer.path, headers: peer.headers, body, headMs: 0 }, handler)
}

/** Posts a notification or an answer of ours. */
export function post(peer: HttpPeer, body: Buffer, done: (taken: boolean) => void = () => {}): void {
  tell(peer, 'POST', body, done)
}

/** Tells an older server that its session is over; many do not care. */
export function endSession(peer: HttpPeer, done: () => void = () => {}): void {
  tell(peer, 'DELETE', null, done)
}
