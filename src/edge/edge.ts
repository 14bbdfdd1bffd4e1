// The way in: every request of a worker passes here, in one order. Is it for us and from where it may come (Host, Origin),
// what is it for (path and method), who calls (headers alone), is there room (gate), and only then is its body read.
// Absent on purpose: what is asked and answered (call/), the REST API (handed in), stdio in front (cli/stdio-bridge.ts).

import type { Call, Reply } from '../core/call.ts'
import { GatewayError } from '../core/errors.ts'
import type { Limits } from '../core/limits.ts'
import type { Caller } from '../core/policy.ts'
import type { Clock } from '../core/time.ts'
import type { Exchange, ExchangeHandler } from '../http/exchange.ts'
import type { Sealer } from '../mcp/seal.ts'
import type { Hop } from '../ports/hop.ts'
import type { Log } from '../telemetry/log.ts'
import { Calls } from './calls.ts'
import { Gate } from './gate.ts'
import { type Readiness, replyHealth, replyReady } from './health.ts'
import { createLegacySse } from './legacy-sse.ts'
import { Listeners, type ListKind, type ListMarks } from './listeners.ts'
import { createDoor, isPreflight, replyPreflight, SharedExchange } from './origin.ts'
import type { EdgeParts } from './parts.ts'
import type { Asking } from './posted-call.ts'
import { Questions } from './questions.ts'
import { Replay } from './replay.ts'
import { replyProblem, replyRefusal, toGatewayError } from './reply.ts'
import { newRequestId } from './request-id.ts'
import { isEndpointPlace, METHODS, type Place, type Route, routeOf } from './router.ts'
import { rpc } from './rpc.ts'
import { type Bus, Sessions } from './session.ts'
import { end, listen, post } from './streamable.ts'
import { authorizationOf, openWebSocket } from './websocket.ts'

export interface EdgeDeps {
  /** From the Authorization header, before the body is read. Errors: UNAUTHENTICATED with its challenge, STORE_UNAVAILABLE, OVERLOADED. */
  readonly authenticate: (authorization: string | undefined, exchange: Exchange) => Caller | Promise<Caller>
  /** Answers every method of a request. Errors: any GatewayError. */
  readonly dispatch: (call: Call) => Promise<Reply>
  /** Whether this slug or id is a virtual server that the caller may see. */
  readonly scopeExists: (scope: string, caller: Caller) => boolean
  /** What the lists of an endpoint look like now: changes when one of them does, and is the same in every worker. */
  readonly marksOf: (scope: string) => ListMarks
  readonly ready: () => Readiness
  readonly sealer: Sealer
  readonly hop: Hop
  readonly bus: Bus
  /** A stream named `holder` hears of changes of this resource from now on. Errors: any GatewayError. */
  readonly watch: (call: Call, holder: string, uri: string) => Promise<void>
  readonly unwatch: (holder: string) => void
  /** Makes the end of a session last and known to all workers. Errors: RATE_LIMITED, TOO_MANY, STORE_UNAVAILABLE. */
  readonly endSession: (session: string, callerId: string, expiresMs: number) => Promise<void>
  /** Ends a session whose id was never given to anybody: one of a connection. */
  readonly leaveSession: (session: string) => void
  /** Every path that is not an endpoint of ours, unknown ones too; authenticates by itself. */
  readonly rest: ExchangeHandler
  readonly limits: Limits
  readonly log: Log
  readonly clock: Clock
  readonly publicUrl: string
  readonly hosts: readonly string[]
  readonly origins: readonly string[]
  /** Started without tokens. */
  readonly open: boolean
}

export interface EdgeStats {
  /** Calls that are worked on, and those that wait to be. */
  readonly inFlight: number
  readonly queued: number
  /** Open streams, and connections of HTTP+SSE and WebSocket. */
  readonly streams: number
  /** Sessions that this worker keeps open in memory. */
  readonly sessions: number
  /** Questions that wait for clients of older revisions. */
  readonly questions: number
  /** Streams of calls that can be resumed, and what is kept of them. */
  readonly tapes: number
  readonly tapeBytes: number
  /** Connections that read the rest of such a stream. */
  readonly resumes: number
  /** Answers that nobody was there to hear and nobody has come for yet. */
  readonly unread: number
}

export interface Edge {
  readonly handler: ExchangeHandler
  /** The session is over: for those that the store knows at start; later ones come by the bus. */
  markEnded(session: string, expiresMs: number): void
  /** Lists have changed and can be read anew: `kindsOf` says which ones of an endpoint ('' for everything). */
  announce(kindsOf: (scope: string) => readonly ListKind[]): void
  /**
   * Ends the streams, and connections when their calls are answered; their clients open new ones, for a moment here too:
   * to be called again when none can come any more. The server lane says `Connection: close` meanwhile.
   */
  drain(): void
  /** Waits until no call is in flight, at most `ms`; whether that came true. */
  idle(ms: number): Promise<boolean>
  /** Cancels what is still in flight. */
  close(): void
  stats(): EdgeStats
}

/** The keep-alive timer ticks this often within `keepAliveCommentMs`: nobody waits longer for a comment than that. */
const TICKS = 3

export function createEdge(deps: EdgeDeps): Edge {
  const { limits, log, bus } = deps
  const door = createDoor(deps)
  const listeners = new Listeners(deps)
  const replay = new Replay(deps)
  const onEnded = (key: string): void => {
    listeners.end(key)
    replay.end(key)
  }
  const sessions = new Sessions({ ...deps, onEnded })
  const calls = new Calls(deps.dispatch, log)
  const gate = new Gate(limits)
  const questions = new Questions(deps)
  // A call that waits for its client is bounded by `parkedMax`, and must not take the place of one that works.
  const asking: Asking = { questions, onWaiting: (isWaiting) => (isWaiting ? gate.leave() : gate.widen(1)) }
  const { worker, boot } = deps.hop.here
  let streams = 0
  const newHolder = (): string => {
    streams += 1
    return `w${worker}.${boot}.${streams}`
  }
  const { watch, unwatch, clock, authenticate } = deps
  let isDraining = false
  let isClosed = false
  const parts: EdgeParts = {
    ...{ limits, log, bus, clock, authenticate, gate, calls, sessions, listeners, questions, replay, asking },
    ...{ newHolder, watch, unwatch, isDraining: () => isDraining },
  }
  const sse = createLegacySse(parts, deps)

  const timer = setInterval(
    () => {
      calls.tick(TICKS)
      listeners.tick(TICKS)
      replay.tick()
    },
    Math.max(1, Math.floor(limits.keepAliveCommentMs / TICKS)),
  )
  timer.unref()
  const unsubscribe = [
    bus.subscribe('cancel', ({ session, id }) => {
      calls.cancel(session, Buffer.from(id))
    }),
    bus.subscribe('resourceUpdated', ({ holders, uri }) => listeners.updated(holders, uri)),
    // A moment later: the authenticator hears the same news and forgets its callers first.
    bus.subscribe('callersChanged', () => {
      setImmediate(() => void listeners.check())
    }),
  ]

  function refuse(exchange: Exchange, place: Place, thrown: unknown): void {
    const requestId = newRequestId()
    const error = toGatewayError(thrown, requestId, log)
    if (isEndpointPlace(place)) replyRefusal(exchange, null, error, requestId)
    else replyProblem(exchange, error, requestId)
  }

  /** Not even the refusal could be sent: nothing may end the process. */
  const onFault = (error: unknown): void => log.error('edge.fault', { error })

  /** An endpoint's request whose method is one of METHODS. */
  async function serve(exchange: Exchange, { place, scope }: Route): Promise<void> {
    try {
      const authorization = place === 'ws' ? authorizationOf(exchange) : exchange.headers.authorization
      const known = deps.authenticate(authorization, exchange)
      const caller = known instanceof Promise ? await known : known
      if (scope !== '' && !deps.scopeExists(scope, caller)) {
        throw new GatewayError('NOT_FOUND', `There is no virtual server "${scope}"`)
      }
      if (exchange.method === 'POST') {
        const turn = gate.enter()
        if (turn !== null) await turn
        try {
          if (place === 'mcp') await post(parts, exchange, scope, caller)
          else if (place === 'messages') await sse.post(exchange, scope, caller)
          else await rpc(parts, exchange, scope, caller)
        } finally {
          gate.leave()
        }
      } else if (exchange.method === 'DELETE') await end(parts, exchange, scope, caller)
      else if (isClosed) throw new GatewayError('SHUTTING_DOWN', undefined, { retryAfterSeconds: 1 })
      else if (place === 'sse') sse.open(exchange, scope, caller)
      else if (place === 'ws') await openWebSocket(parts, exchange, scope, caller)
      else await listen(parts, exchange, scope, caller)
    } catch (thrown) {
      refuse(exchange, place, thrown)
    }
  }

  function handle(exchange: Exchange, route: Route): void {
    if (route.place === 'rest') {
      deps.rest(exchange)
      return
    }
    const methods = METHODS[route.place]
    if (exchange.method === 'OPTIONS') {
      exchange.reply(204, ['Allow', methods.join(', ')], null)
    } else if (!methods.includes(exchange.method)) {
      const headers = { Allow: methods.join(', ') }
      throw new GatewayError('METHOD_NOT_ALLOWED', `${exchange.method} is not allowed here`, { headers })
    } else if (route.place === 'health') replyHealth(exchange)
    else if (route.place === 'ready') replyReady(exchange, deps.ready())
    else serve(exchange, route).catch(onFault)
  }

  function handler(given: Exchange): void {
    const route = routeOf(given.path)
    let exchange = given
    try {
      // Probes come by whatever name and address they find.
      const origin = route.place === 'health' || route.place === 'ready' ? null : door.check(given)
      if (route.place === 'ws') door.checkSocket(given, origin)
      else if (origin !== null) exchange = new SharedExchange(given, origin)
      if (origin !== null && isPreflight(given)) replyPreflight(exchange)
      else handle(exchange, route)
    } catch (thrown) {
      refuse(exchange, route.place, thrown)
    }
  }

  return {
    handler,
    markEnded: (session, expiresMs) => sessions.markEnded(session, expiresMs),
    announce: (kindsOf) => listeners.announce(kindsOf),
    drain: () => {
      isDraining = true
      listeners.endAll()
      replay.endReaders()
    },
    idle: (ms) => gate.empty(ms),
    close: () => {
      isDraining = true
      isClosed = true
      clearInterval(timer)
      for (const leave of unsubscribe) leave()
      gate.close()
      listeners.endAll()
      sessions.close()
      calls.cancelAll('shutdown')
      replay.close()
    },
    stats: () => ({
      inFlight: gate.inFlight,
      queued: gate.queued,
      streams: listeners.size,
      sessions: sessions.size,
      questions: questions.size,
      tapes: replay.size,
      tapeBytes: replay.bytes,
      resumes: replay.resumes,
      unread: replay.unread,
    }),
  }
}
