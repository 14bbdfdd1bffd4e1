// The Streamable HTTP transport of every revision on one endpoint: POST for messages (both eras), GET and DELETE for the
// streams and ends of sessions (up to 2025-11-25). Each POST is classified once, by its body; what follows is its era's.
// Absent on purpose: how a broken stream goes on (replay.ts, listeners.ts).

import { negotiate } from '../call/hello.ts'
import { LOG_LEVELS, type LogLevel, type Session } from '../core/call.ts'
import { GatewayError } from '../core/errors.ts'
import type { Caller } from '../core/policy.ts'
import type { Exchange } from '../http/exchange.ts'
import {
  type Classified,
  classify,
  clientView,
  isModern,
  isRevision,
  META,
  unsupportedVersion,
} from '../mcp/classify.ts'
import { isRequestId, type Message, readBody } from '../mcp/jsonrpc.ts'
import { sseEvent } from '../mcp/sse.ts'
import { answerAll } from './batch.ts'
import { type Accepted, acceptedOf, hopsOf, needJsonBody } from './headers.ts'
import type { EdgeParts } from './parts.ts'
import { PostedCall } from './posted-call.ts'
import { isCallEventId } from './replay.ts'
import { JSON_HEADERS, NO_HEADERS, replyRefusal, SSE_HEADERS, toGatewayError } from './reply.ts'
import { newRequestId } from './request-id.ts'
import { subscribe } from './subscriptions.ts'

const BATCH_REVISION = '2025-03-26'

/** What a connection (edge/wire.ts) knows of itself, where a request of HTTP has its headers. */
export interface Carried {
  /** The session that initialize has begun on it. */
  readonly session: Session | null
  /** `initialize` has come. Errors: INVALID_REQUEST (a second one). */
  greet(): void
  /** Its outcome; null where it was refused, so that it may come again. */
  greeted(session: Session | null, caller: Caller): void
  /** The client no longer wants the answer to the request with this id, raw JSON text. */
  cancel(id: Buffer): void
}

/** One message, as far as its transport says. */
export interface Posted {
  readonly edge: EdgeParts
  readonly exchange: Exchange
  readonly scope: string
  readonly caller: Caller
  readonly accepted: Accepted
  readonly hops: number
  /** Null for streamable HTTP, where headers speak for every message. */
  readonly carried: Carried | null
}

/** Errors are answered here: with the request's id where one is known. */
export async function post(edge: EdgeParts, exchange: Exchange, scope: string, caller: Caller): Promise<void> {
  let id: Buffer | null = null
  try {
    const { headers } = exchange
    const accepted = acceptedOf(headers)
    needJsonBody(headers)
    const hops = hopsOf(headers, edge.limits)
    const posted: Posted = { edge, exchange, scope, caller, accepted, hops, carried: null }
    const message = readBody(await exchange.body(edge.limits.bodyBytes))
    if (Array.isArray(message)) return await postBatch(posted, message)
    id = message.id
    await postMessage(posted, message)
  } catch (thrown) {
    const requestId = newRequestId()
    replyRefusal(exchange, id, toGatewayError(thrown, requestId, edge.log), requestId)
  }
}

/** Errors, thrown or rejected: any GatewayError, before the call is handled. */
export function postMessage(posted: Posted, message: Message): Promise<void> {
  const classified = classify(posted.exchange.headers, message, posted.carried === null)
  if (classified.era === 'modern') return postModern(posted, message, classified)
  return isInitialize(message) ? initialize(posted, message, classified) : postLegacy(posted, message, classified)
}

async function postModern(posted: Posted, message: Message, classified: Classified): Promise<void> {
  const { edge, exchange, carried } = posted
  // Over HTTP this revision cancels by closing the connection: no notification of a client asks for anything.
  if (message.kind !== 'request') {
    if (carried !== null && message.method === 'notifications/cancelled') cancelOn(carried, message)
    return exchange.reply(202, NO_HEADERS, null)
  }
  const call = new PostedCall(exchange, {
    message,
    classified,
    scope: posted.scope,
    caller: posted.caller,
    session: null,
    client: classified.client,
    revision: classified.revision,
    logLevel: classified.logLevel,
    hops: posted.hops,
    accepted: posted.accepted,
    bufferBytesMax: edge.limits.streamBufferBytes,
    hasMirror: carried === null,
  })
  if (message.method === 'subscriptions/listen') return subscribe(edge, exchange, call)
  exchange.onAbort(() => call.cancel.cancel('disconnect'))
  const { status, headers, parts } = await edge.calls.handle(call)
  call.answer(status, headers, parts)
}

/** Inside a session. A client that goes away has not cancelled anything: the call goes on. */
async function postLegacy(posted: Posted, message: Message, classified: Classified): Promise<void> {
  const { edge, exchange } = posted
  // Legacy by its form only: a modern client that cancels says no version.
  if (posted.carried?.session === null && message.method === 'notifications/cancelled') {
    cancelOn(posted.carried, message)
    return exchange.reply(202, NO_HEADERS, null)
  }
  const session = sessionFor(posted)
  if (message.kind !== 'request') {
    take(posted, session, message)
    return exchange.reply(202, NO_HEADERS, null)
  }
  const call = legacyCall(posted, session, message, classified, posted.accepted)
  const { status, headers, parts } = await edge.calls.handle(call)
  call.answer(status, headers, parts)
}

function legacyCall(
  posted: Posted,
  session: Session,
  message: Message,
  classified: Classified,
  accepted: Accepted | null,
): PostedCall {
  const { edge } = posted
  if (message.method === 'logging/setLevel') noteLevel(edge, session, message)
  const call = new PostedCall(posted.exchange, {
    message,
    classified,
    scope: posted.scope,
    caller: posted.caller,
    session,
    client: session.client,
    revision: session.revision,
    logLevel: edge.sessions.level(session),
    hops: posted.hops,
    accepted,
    bufferBytesMax: edge.limits.streamBufferBytes,
    asking: edge.asking,
    // A connection of the client's own ends with its session: there is nothing to come back to.
    ...(posted.carried === null ? { replay: edge.replay } : null),
  })
  // On a connection the session goes with the client, and with it whatever it waited for.
  if (posted.carried !== null) posted.exchange.onAbort(() => call.cancel.cancel('client'))
  return call
}

const isInitialize = ({ kind, method }: Message): boolean => method === 'initialize' && kind === 'request'

/** Begins a session, where the handshake succeeds. A session id that comes with it is an old one and of no interest. */
async function initialize(posted: Posted, message: Message, classified: Classified): Promise<void> {
  const { edge, exchange, scope, caller, carried } = posted
  carried?.greet()
  const requested = message.params.value('protocolVersion')
  const revision = typeof requested === 'string' ? negotiate(requested) : classified.revision
  const client = clientView(message.params.value('clientInfo'), message.params.value('capabilities'), null)
  const call = new PostedCall(exchange, {
    message,
    classified,
    scope,
    caller,
    session: null,
    client,
    revision,
    logLevel: null,
    hops: posted.hops,
    // Nothing can come before this answer: its head carries the session id.
    accepted: { json: posted.accepted.json, stream: false },
    bufferBytesMax: 0,
  })
  const { ok, status, headers, parts } = await edge.calls.handle(call)
  const session = ok ? edge.sessions.begin(caller, scope, revision, client) : null
  if (session === null) call.answer(status, headers, parts)
  else call.answer(status, ['Mcp-Session-Id', session.id], parts)
  carried?.greeted(session, caller)
}

/** Only 2025-03-26 has batches. The answer to one is one array, never a stream of events. */
export async function postBatch(posted: Posted, messages: readonly Message[]): Promise<void> {
  const { edge, exchange, accepted } = posted
  const isCarried = posted.carried !== null
  const header = exchange.headers['mcp-protocol-version']
  const isLegacy =
    (header === undefined || !isModern(header)) && messages.every(({ params }) => params.metaRaw(META.version) === null)
  if (!isLegacy) throw new GatewayError('INVALID_REQUEST', 'The stateless revisions have no batches')
  if (header !== undefined && !isRevision(header)) throw unsupportedVersion(header)
  const session = sessionFor(posted)
  if (session.revision !== BATCH_REVISION) {
    const why = `Only revision ${BATCH_REVISION} has batches; this session speaks ${session.revision}`
    throw new GatewayError('INVALID_REQUEST', why)
  }
  if (messages.some(isInitialize)) throw new GatewayError('INVALID_REQUEST', 'initialize must not stand in a batch')
  for (const message of messages) if (message.kind !== 'request') take(posted, session, message)
  const requests = messages.filter(({ kind }) => kind === 'request')
  if (requests.length === 0) return exchange.reply(202, NO_HEADERS, null)
  const body = await answerAll(edge, requests, (message) =>
    legacyCall(posted, session, message, classify(exchange.headers, message, !isCarried), null),
  )
  if (accepted.json) exchange.reply(200, JSON_HEADERS, body)
  else exchange.reply(200, SSE_HEADERS, sseEvent(body))
}

/** A message that wants no answer. Unknown notifications are none of our business; answers to questions that we never asked neither. */
function take({ edge, caller, carried }: Posted, session: Session, message: Message): void {
  if (message.kind === 'response') {
    edge.questions.answered(session, caller, message.id!, message.bytes)
    return
  }
  if (message.method === 'notifications/roots/list_changed') edge.bus.publish('rootsChanged', { session: session.key })
  if (message.method !== 'notifications/cancelled') return
  if (carried !== null) {
    cancelOn(carried, message)
    return
  }
  const id = message.params.raw('requestId')
  // What no request can be called is not looked for, and not told to every worker: it may be megabytes.
  if (id === null || !isRequestId(id) || edge.calls.cancel(session.key, id)) return
  edge.bus.publish('cancel', { session: session.key, id: id.toString('utf8') })
}

function cancelOn(carried: Carried, message: Message): void {
  const id = message.params.raw('requestId')
  if (id !== null && isRequestId(id)) carried.cancel(id)
}

/** The level holds from the next call on; whether it is one at all is what the answer says. */
function noteLevel(edge: EdgeParts, session: Session, message: Message): void {
  const level = message.params.value('level')
  if ((LOG_LEVELS as readonly unknown[]).includes(level)) edge.sessions.setLevel(session, level as LogLevel)
}

/** Errors: SESSION_REQUIRED, SESSION_NOT_FOUND. */
function sessionFor({ edge, exchange, scope, caller, carried }: Posted): Session {
  if (carried === null) return sessionOf(edge, exchange, scope, caller)
  if (carried.session === null) throw new GatewayError('SESSION_REQUIRED', 'initialize must come first')
  return edge.sessions.open(carried.session.id, caller, scope)
}

/** Errors: SESSION_REQUIRED, SESSION_NOT_FOUND. */
function sessionOf(edge: EdgeParts, exchange: Exchange, scope: string, caller: Caller): Session {
  const id = exchange.headers['mcp-session-id']
  if (id === undefined) throw new GatewayError('SESSION_REQUIRED')
  return edge.sessions.open(id, caller, scope)
}

/** GET and DELETE are of sessions only. Errors: METHOD_NOT_ALLOWED, UNSUPPORTED_VERSION. */
function needSessionEra(exchange: Exchange): void {
  const header = exchange.headers['mcp-protocol-version']
  if (header === undefined || (isRevision(header) && !isModern(header))) return
  if (!isModern(header)) throw unsupportedVersion(header)
  throw new GatewayError('METHOD_NOT_ALLOWED', `${header} has POST only`, { headers: { Allow: 'POST, OPTIONS' } })
}

/** The session's own stream, or the rest of a call's. Errors are thrown: there is no id to answer to. */
export async function listen(edge: EdgeParts, exchange: Exchange, scope: string, caller: Caller): Promise<void> {
  needSessionEra(exchange)
  if (!acceptedOf(exchange.headers).stream) {
    throw new GatewayError('NOT_ACCEPTABLE', 'A GET is answered by an event stream: accept text/event-stream')
  }
  const session = sessionOf(edge, exchange, scope, caller)
  const lastEventId = exchange.headers['last-event-id'] ?? null
  if (lastEventId !== null && isCallEventId(lastEventId)) await edge.replay.resume(session, exchange, lastEventId)
  else edge.listeners.open(session, caller, exchange, lastEventId)
}

export async function end(edge: EdgeParts, exchange: Exchange, scope: string, caller: Caller): Promise<void> {
  needSessionEra(exchange)
  await edge.sessions.end(sessionOf(edge, exchange, scope, caller))
  exchange.reply(204, NO_HEADERS, null)
}
