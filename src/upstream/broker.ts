// The primary's side of links: opens sessions with upstreams, and children for stdio and HTTP+SSE ones, once per (upstream,
// owner), and hands out tickets by which any worker may use them. It keeps the transport and the era that a server was
// found to speak.
// Absent on purpose: calls of clients (send.ts), spawning (children.ts), lists and state (control/discover.ts).

import { ASKS, NO_ASKS } from '../core/asks.ts'
import type { Params, Reply } from '../core/call.ts'
import { type ErrorCode, GatewayError } from '../core/errors.ts'
import type { Era, HttpTransport, Revision, Secret, StdioTransport, UpstreamRow } from '../core/model.ts'
import { encodeNotification } from '../mcp/jsonrpc.ts'
import type { Bus } from '../ports/bus.ts'
import type { Children, ProcessSpec, StreamEars } from '../ports/children.ts'
import type { LinkKey, LinkTicket } from '../ports/control.ts'
import type { Log } from '../ports/log.ts'
import { type Ask, BROKER_CLASS, createWire, Ids, NotProcessed, named, OtherTransport, type Wire } from './ask.ts'
import { createEar, type Ear } from './ear.ts'
import { type Greeting, greetHttp, greetStdio, noServer } from './handshake.ts'
import { createHttpPeer, endSession, type HttpPeer, plainHeaders, post } from './http-peer.ts'
import { type AskingLink, LinkInquiries } from './link-inquiries.ts'
import { type ListenHandlers, type Listening, listenAsk, listenHttp, type NewsKind, newsKind } from './listen.ts'
import { askHttp } from './mcp-http.ts'
import { StdioPeer } from './mcp-stdio.ts'
import { createPool, type Pool, type PoolDeps, type Target } from './pool.ts'
import { Restarts } from './restarts.ts'
import { openSse } from './sse-stream.ts'

export interface BrokerDeps extends PoolDeps {
  readonly children: Children
  readonly bus: Pick<Bus, 'publish' | 'subscribe'>
  /** The row as it is now; null when it is gone. Asked whenever a link is opened, never on the path of a warm call. */
  readonly upstream: (id: string) => Promise<UpstreamRow | null>
  readonly version: string
  /** The installation's own id, by which loops of gateways show. */
  readonly gatewayId: string
  readonly log: Log
}

/** The shared link as the control plane uses it. */
export interface SharedLink {
  readonly greeting: Greeting
  /** When the era was found out. */
  readonly probedMs: number
  /** The server keeps state per link: it minted a session id, or it is a child. */
  readonly stateful: boolean
  /** It speaks HTTP+SSE. */
  readonly isSse: boolean
  /** Errors: as Upstreams.send. `params` is JSON text. */
  ask(method: string, params: Buffer, callMs: number): Promise<Reply>
  /** Opens its stream of news; what comes without one (a child may just say it) goes to `onNews` of the broker. */
  listen(kinds: readonly NewsKind[], handlers: ListenHandlers): Listening
}

/** What `inspect` shows of a link; never a session id. */
export interface LinkView {
  readonly upstreamId: string
  readonly owner: string
  readonly era: Era
  readonly revision: Revision
  readonly url: string | null
  readonly childId: string | null
  readonly openedMs: number
}

export interface Broker {
  /** Errors: UPSTREAM_UNAVAILABLE, UPSTREAM_BUSY, UPSTREAM_REFUSED, UPSTREAM_INVALID, TIMEOUT, NOT_FOUND. */
  openLink(key: LinkKey): Promise<LinkTicket>
  /** `generation` 0 with the owner '' is an upstream used without a link. */
  staleLink(key: LinkKey, generation: number, why: 'session' | 'era' | 'closed'): void
  /** `probe`: the era is found out anew. Errors: as openLink. */
  shared(upstreamId: string, probe: boolean): Promise<SharedLink>
  /** Asks the server of this link to tell of changes of a resource, or no longer. Errors: as openLink, UPSTREAM_REFUSED. */
  subscribe(key: LinkKey, uri: string, on: boolean): Promise<void>
  /** A link is gone, and with it what was subscribed on it. */
  onLost: ((key: LinkKey) => void) | null
  /** A server says that a resource has changed. */
  onUpdated: ((key: LinkKey, uri: string) => void) | null
  /** Keeps a stream of a newer server open that tells of these resources; `uris` is asked each time it is opened. */
  hearOf(upstreamId: string, uris: () => readonly string[]): Ear
  /** A worker can put this question to a client: true for the first one that says so, who has to answer it. */
  takeQuestion(id: number): boolean
  answerQuestion(id: number, reply: Reply): void
  /** Calls have used these; sessions that no call uses for `upstreamSessionIdleMs` are ended. */
  linksUsed(keys: readonly LinkKey[]): void
  closeOwner(owner: string): void
  /** Nothing of it is used for a new link; what is open ends after `graceMs`, so that calls under way come to their end. */
  closeUpstream(upstreamId: string, graceMs?: number): void
  links(upstreamId?: string): LinkView[]
  /** A server behaves as one of another era: its lists and its era should be looked at again. */
  onDoubt: ((upstreamId: string) => void) | null
  /** A child said without being asked that a list has changed. */
  onNews: ((upstreamId: string, kind: NewsKind) => void) | null
  close(): Promise<void>
}

/** One upstream as its row describes it. */
interface Behind {
  readonly row: UpstreamRow
  readonly key: string
  readonly pool: Pool | null
  era: Era | null
  /** It was found to speak HTTP+SSE, which is tried first then. */
  isSse: boolean
  probedMs: number
  /** It was greeted in the older way for a client that can be asked, and knows only the newer one. */
  isModernOnly: boolean
  /** A child that met server/discover with silence is greeted in the older way next time. */
  isSilent: boolean
}

interface Opened {
  readonly key: LinkKey
  readonly behind: Behind
  readonly ticket: LinkTicket
  readonly greeting: Greeting
  readonly probedMs: number
  readonly wire: Wire
  readonly openedMs: number
  /** HTTP: the session and its address; null where any address serves. */
  readonly peer: HttpPeer | null
  readonly target: Target | null
  readonly stdio: StdioPeer | null
  /** The stream on which a server asks what names no call. */
  ear: Ear | null
  /** As far as workers have told. */
  usedMs: number
}

const CLOSE_MS = 2_000
/** How often within its time it is looked whether a session is idle. */
const LOOKS = 4
/** How often a link is opened whose upstream is changed meanwhile. */
const OPENINGS_MAX = 20

function mapKey({ upstreamId, owner, asks }: LinkKey): string {
  return `${upstreamId}\n${owner}\n${asks}`
}

/** Children have one text for their owner: there is a child for each kind of client that an owner has. */
const childOwner = ({ owner, asks }: LinkKey): string => (asks === NO_ASKS ? owner : `${owner}+${asks}`)

function keyOfChild(upstreamId: string, text: string): LinkKey {
  const [owner = '', asks = '0'] = text.split('+')
  return { upstreamId, owner, asks: Number(asks) }
}

function rowKey({ spec, slug }: UpstreamRow): string {
  return JSON.stringify([slug, spec.transport, spec.privileged === true, spec.connectMs])
}

/** New sessions are spread by how many there are: idle ones are load to come, and streams of news none. */
const pinned = (target: Target): number => target.sessions

function unavailable(name: string, what: string, options = {}): GatewayError {
  return named(name, new GatewayError('UPSTREAM_UNAVAILABLE', what, options))
}

class BrokerOf implements Broker {
  onDoubt: Broker['onDoubt'] = null
  onNews: Broker['onNews'] = null
  onLost: Broker['onLost'] = null
  onUpdated: Broker['onUpdated'] = null
  readonly #deps: BrokerDeps
  readonly #ids = new Ids(BROKER_CLASS)
  readonly #behind = new Map<string, Behind>()
  /** By age: the oldest is closed when there are too many. */
  readonly #opened = new Map<string, Opened>()
  readonly #byOwner = new Map<string, Set<string>>()
  readonly #opening = new Map<string, Promise<Opened>>()
  readonly #restarts: Restarts
  readonly #inquiries: LinkInquiries
  readonly #unsubscribe: () => void
  readonly #ending = new Set<Promise<void>>()
  /** Ends what was replaced, at once: calls under way are still waited for. */
  readonly #retired = new Set<() => void>()
  readonly #idleTimer: NodeJS.Timeout
  #generation = 0
  #isClosed = false

  constructor(deps: BrokerDeps) {
    this.#deps = deps
    this.#restarts = new Restarts(deps)
    this.#inquiries = new LinkInquiries(deps)
    this.#idleTimer = setInterval(() => this.#endIdle(), deps.limits.upstreamSessionIdleMs / LOOKS)
    this.#idleTimer.unref()
    this.#unsubscribe = deps.bus.subscribe('rootsChanged', ({ session }) => this.#tellRoots(session))
    deps.children.onExit = (childId, upstreamId, owner, why, ranMs) =>
      this.#onExit(childId, keyOfChild(upstreamId, owner), why, ranMs)
  }

  async openLink(key: LinkKey): Promise<LinkTicket> {
    const opened = await this.#link(key)
    opened.usedMs = this.#deps.clock.now()
    return opened.ticket
  }

  linksUsed(keys: readonly LinkKey[]): void {
    const nowMs = this.#deps.clock.now()
    for (const key of keys) {
      const opened = this.#opened.get(mapKey(key))
      if (opened !== undefined) opened.usedMs = nowMs
    }
  }

  /** Clients forget their sessions without a word. A worker that still has such a link hears from its server, and opens another. */
  #endIdle(): void {
    const sinceMs = this.#deps.clock.now() - this.#deps.limits.upstreamSessionIdleMs
    for (const opened of [...this.#opened.values()])
      if (opened.key.owner !== '' && opened.peer !== null && opened.usedMs < sinceMs) this.#end(opened, true)
  }

  staleLink(key: LinkKey, generation: number, why: 'session' | 'era' | 'closed'): void {
    const opened = this.#opened.get(mapKey(key))
    if (why === 'era') {
      const behind = this.#behind.get(key.upstreamId)
      if (behind !== undefined) behind.era = null
      this.onDoubt?.(key.upstreamId)
    }
    if (opened === undefined || opened.ticket.generation !== generation) return
    // A worker may lose its end of a child that lives on: the same child serves it again.
    if (why === 'closed' && opened.stdio !== null && !opened.stdio.closed) return
    this.#end(opened, why !== 'session')
  }

  async shared(upstreamId: string, probe: boolean): Promise<SharedLink> {
    const key = { upstreamId, owner: '', asks: NO_ASKS }
    if (probe) {
      const behind = this.#behind.get(upstreamId)
      if (behind !== undefined) {
        behind.era = null
        behind.isSse = false
      }
      const before = this.#opened.get(mapKey(key))
      if (before !== undefined) this.#end(before, true)
    }
    const opened = await this.#link(key, probe)
    return {
      greeting: opened.greeting,
      probedMs: opened.probedMs,
      stateful: opened.stdio !== null || opened.ticket.sessionId !== null,
      isSse: opened.stdio !== null && opened.behind.pool !== null,
      ask: (method, params, callMs) => this.#ask(opened, method, params, callMs),
      listen: (kinds, handlers) => this.#listen(opened, kinds, handlers),
    }
  }

  async subscribe(key: LinkKey, uri: string, on: boolean): Promise<void> {
    const opened = await this.#link(key)
    this.#hear(opened, true)
    await opened.ear?.ready
    const params = Buffer.from(JSON.stringify({ uri }))
    const method = on ? 'resources/subscribe' : 'resources/unsubscribe'
    const reply = await this.#ask(opened, method, params, this.#deps.limits.watchMs)
    if ('error' in reply)
      throw named(opened.behind.row.slug, new GatewayError('UPSTREAM_REFUSED', `it refused ${method}`))
  }

  hearOf(upstreamId: string, uris: () => readonly string[]): Ear {
    const key = { upstreamId, owner: '', asks: NO_ASKS }
    return createEar(this.#deps, (handlers) => {
      let listening: Listening | null = null
      let isClosed = false
      this.#link(key).then(
        (opened) => {
          if (!isClosed) listening = this.#listen(opened, [], { ...handlers, onNews: () => {} }, uris())
        },
        (error: Error) => handlers.onEnd(true, error.message),
      )
      return {
        close: () => {
          isClosed = true
          listening?.close()
        },
      }
    })
  }

  takeQuestion(id: number): boolean {
    return this.#inquiries.claim(id)
  }

  answerQuestion(id: number, reply: Reply): void {
    this.#inquiries.answer(id, reply)
  }

  closeOwner(owner: string): void {
    for (const key of [...(this.#byOwner.get(owner) ?? [])]) this.#end(this.#opened.get(key)!, true)
  }

  closeUpstream(upstreamId: string, graceMs = 0): void {
    const opened = [...this.#opened.values()].filter(({ key }) => key.upstreamId === upstreamId)
    const pool = this.#behind.get(upstreamId)?.pool ?? null
    this.#behind.delete(upstreamId)
    // Whatever made its processes fail may be mended by what has changed.
    this.#restarts.forget(`${upstreamId}\n`)
    const end = (): void => {
      this.#retired.delete(end)
      clearTimeout(timer)
      for (const one of opened) this.#end(one, true)
      if (pool !== null) this.#later(pool.close(CLOSE_MS))
    }
    let timer: NodeJS.Timeout | undefined
    if (graceMs === 0) {
      end()
      return
    }
    for (const { key, stdio, ticket } of opened) {
      // Whoever opens a link from now on gets a new one.
      this.#forget(this.#opened.get(mapKey(key))!)
      stdio?.close()
      if (ticket.childId !== null) this.#deps.children.retire(ticket.childId, graceMs)
    }
    timer = setTimeout(end, graceMs)
    this.#retired.add(end)
    if (this.#retired.size > this.#deps.limits.upstreamRetiredMax) [...this.#retired][0]!()
  }

  links(upstreamId?: string): LinkView[] {
    return [...this.#opened.values()]
      .filter(({ key }) => upstreamId === undefined || key.upstreamId === upstreamId)
      .map(({ key, ticket, openedMs }) => ({
        ...key,
        ...{ era: ticket.era, revision: ticket.revision, url: ticket.url, childId: ticket.childId, openedMs },
      }))
  }

  async close(): Promise<void> {
    this.#isClosed = true
    clearInterval(this.#idleTimer)
    this.#unsubscribe()
    for (const end of [...this.#retired]) end()
    for (const id of [...this.#behind.keys()]) this.closeUpstream(id)
    await Promise.all(this.#ending)
  }

  // --- opening --------------------------------------------------------------------------------------------------------

  #link(key: LinkKey, probe = false): Promise<Opened> {
    const at = mapKey(key)
    const opened = this.#opened.get(at)
    if (opened !== undefined) return Promise.resolve(opened)
    const underWay = this.#opening.get(at)
    if (underWay !== undefined) return underWay
    if (key.owner !== '' && !this.#hasRoom(key.upstreamId)) {
      return Promise.reject(new GatewayError('UPSTREAM_BUSY', 'Too many links are being opened; try again'))
    }
    const opening = this.#open(key, at, probe).finally(() => this.#opening.delete(at))
    this.#opening.set(at, opening)
    return opening
  }

  /** Shared links need none: there is one for each upstream, and discovery waits for it. */
  #hasRoom(upstreamId: string): boolean {
    const { openingMax, openingPerUpstream } = this.#deps.limits
    if (this.#opening.size >= openingMax) return false
    if (this.#opening.size < openingPerUpstream) return true
    let ofUpstream = 0
    for (const at of this.#opening.keys()) if (at.startsWith(`${upstreamId}\n`)) ofUpstream += 1
    return ofUpstream < openingPerUpstream
  }

  async #open(key: LinkKey, at: string, probe: boolean, attempt = 1): Promise<Opened> {
    if (this.#isClosed) throw new GatewayError('SHUTTING_DOWN')
    const row = await this.#deps.upstream(key.upstreamId)
    if (row === null) throw new GatewayError('NOT_FOUND', 'There is no such upstream any more')
    if (row.spec.enabled === false) throw unavailable(row.slug, 'it is switched off')
    const behind = this.#know(row, probe)
    const { transport } = row.spec
    const opened =
      transport.kind === 'stdio'
        ? await this.#openStdio(behind, key, at, transport)
        : await this.#openUrl(behind, behind.pool!, key, at, transport)
    if (this.#isClosed || this.#behind.get(row.id) !== behind) {
      this.#end(opened, true)
      if (attempt < OPENINGS_MAX) return this.#open(key, at, probe, attempt + 1)
      throw unavailable(row.slug, 'it was changed while a link was being opened')
    }
    if (key.asks === NO_ASKS) behind.era = opened.greeting.era
    else behind.isModernOnly = opened.greeting.era === 'modern'
    this.#keep(at, opened)
    this.#hear(opened)
    // What a server asks on a stream that is not there yet is lost, and its call would wait for nothing.
    if (opened.ear !== null) await opened.ear.ready
    return opened
  }

  /** What we know of a row, made anew when it is reached otherwise than before. */
  #know(row: UpstreamRow, probe: boolean): Behind {
    const key = rowKey(row)
    const known = this.#behind.get(row.id)
    if (known !== undefined && known.key === key) return known
    if (known !== undefined) this.closeUpstream(row.id, row.spec.callMs ?? this.#deps.limits.callMs)
    const { transport, privileged, connectMs } = row.spec
    const options = { isPrivileged: privileged === true, connectMs: connectMs ?? this.#deps.limits.connectMs }
    let pool: Pool | null
    try {
      pool = transport.kind === 'stdio' ? null : createPool(transport, options, this.#deps)
    } catch (error) {
      throw error instanceof GatewayError ? named(row.slug, error) : error
    }
    const { discovery } = row
    const isTrusted = discovery !== null && !probe
    const behind = {
      row,
      key,
      pool,
      era: isTrusted ? discovery.era : null,
      isSse: isTrusted && discovery.sse === true,
      probedMs: discovery?.probedMs ?? 0,
      isModernOnly: false,
      isSilent: false,
    }
    this.#behind.set(row.id, behind)
    return behind
  }

  #keep(at: string, opened: Opened): void {
    this.#opened.set(at, opened)
    if (opened.target !== null) opened.target.sessions += 1
    const { owner } = opened.key
    const ofOwner = this.#byOwner.get(owner) ?? new Set()
    this.#byOwner.set(owner, ofOwner.add(at))
    if (this.#opened.size <= this.#deps.limits.upstreamSessionsMax) return
    for (const oldest of this.#opened.values()) {
      // A shared link serves everyone.
      if (oldest.key.owner === '') continue
      this.#end(oldest, true)
      return
    }
  }

  #ticket(greeting: Greeting, rest: Pick<LinkTicket, 'sessionId' | 'url' | 'childId'>): LinkTicket {
    this.#generation += 1
    const logging = greeting.era === 'legacy' && typeof greeting.capabilities.logging === 'object'
    return { era: greeting.era, revision: greeting.revision, generation: this.#generation, logging, ...rest }
  }

  /** When the era was found out: now, unless it was known before and has been met again. */
  #probed(behind: Behind, greeting: Greeting, { asks }: LinkKey): number {
    if (behind.era !== greeting.era && asks === NO_ASKS) behind.probedMs = this.#deps.clock.now()
    return behind.probedMs
  }

  // --- HTTP -----------------------------------------------------------------------------------------------------------

  /** By the transport that the server was found to speak, else by whichever it does not refuse. */
  async #openUrl(
    behind: Behind,
    pool: Pool,
    key: LinkKey,
    at: string,
    { kind }: Pick<HttpTransport, 'kind'>,
  ): Promise<Opened> {
    const sse = (): Promise<Opened> => this.#openSse(behind, pool, key, at)
    const http = (): Promise<Opened> => this.#openHttp(behind, pool, key)
    const ways = kind === 'sse' ? [sse] : behind.isSse ? [sse, http] : [http, sse]
    const refusals: string[] = []
    for (const way of ways) {
      try {
        const opened = await way()
        behind.isSse = way === sse
        return opened
      } catch (error) {
        if (!(error instanceof OtherTransport)) throw error
        refusals.push(error.message)
      }
    }
    throw noServer(behind.row.slug, refusals.join('; '))
  }

  #openHttp(behind: Behind, pool: Pool, key: LinkKey): Promise<Opened> {
    const { version, gatewayId, limits, clock } = this.#deps
    return this.#overTargets(behind.row.slug, pool, async (target) => {
      const makePeer = (wire: Wire, sessionId: string | null): HttpPeer =>
        this.#peer(behind, pool, target, wire, sessionId)
      const { greeting, sessionId } = await greetHttp(makePeer, {
        name: behind.row.slug,
        version,
        gatewayId,
        // A newer server may know the older way too, and ask in that way only.
        era: key.asks === NO_ASKS || behind.isModernOnly ? behind.era : 'legacy',
        asks: key.asks,
        limits,
      })
      const wire = createWire(greeting.era, greeting.revision, version)
      const isPinned = sessionId !== null
      return {
        ...{ key, behind, greeting, wire, stdio: null, openedMs: clock.now(), ear: null, usedMs: clock.now() },
        probedMs: this.#probed(behind, greeting, key),
        ticket: this.#ticket(greeting, { sessionId, url: isPinned ? target.url : null, childId: null }),
        peer: isPinned ? makePeer(wire, sessionId) : null,
        target: isPinned ? target : null,
      }
    })
  }

  /** A stream is a child at one address. */
  #openSse(behind: Behind, pool: Pool, key: LinkKey, at: string): Promise<Opened> {
    const { children, version, limits } = this.#deps
    const { row } = behind
    this.#restarts.check(at, row.slug, 'stream')
    const idleMs = key.owner === '' ? 0 : this.#idleMs(row, limits.childIdleMs)
    return this.#overTargets(row.slug, pool, async (target) => {
      const server = {
        ...{ name: row.slug, link: target.link, url: target.url, limits },
        headers: plainHeaders(version, pool.headers),
      }
      const spawn = (): Promise<string> => {
        const spec = { kind: 'stream', open: (ears: StreamEars) => openSse(server, ears) } as const
        return children.spawn(row.id, childOwner(key), spec, limits.sseStreamsPerUpstream, idleMs)
      }
      // Only older servers speak this way.
      return { ...(await this.#openChild(behind, key, at, 'legacy', spawn)), target }
    })
  }

  async #overTargets(name: string, pool: Pool, open: (target: Target) => Promise<Opened>): Promise<Opened> {
    const tried = new Set<Target>()
    let failure: GatewayError | null = null
    for (;;) {
      // A link that is asked for is tried even where all addresses rest: this is how they are found well again.
      const target = pool.pick(tried, pinned) ?? pool.targets.find((other) => !tried.has(other)) ?? null
      if (target === null) throw failure ?? pool.resting(name)
      tried.add(target)
      try {
        const opened = await open(target)
        target.breaker.succeed()
        return opened
      } catch (error) {
        if (error instanceof OtherTransport) {
          target.breaker.succeed()
          throw error
        }
        failure = this.#judge(target, error)
        if (!(error instanceof NotProcessed) && !RETRIED.has(failure.code)) throw failure
      }
    }
  }

  #peer(behind: Behind, pool: Pool, target: Target, wire: Wire, sessionId: string | null): HttpPeer {
    return createHttpPeer({
      name: behind.row.slug,
      wire,
      link: target.link,
      path: target.path,
      sessionId,
      ids: this.#ids,
      limits: this.#deps.limits,
      version: this.#deps.version,
      staticHeaders: pool.headers,
    })
  }

  /** Tells the breaker, and makes one kind of error of two. */
  #judge(target: Target, thrown: unknown): GatewayError {
    const error = thrown instanceof NotProcessed ? thrown.error : (thrown as GatewayError)
    if (error.code === 'UPSTREAM_UNAVAILABLE' || error.code === 'TIMEOUT') target.breaker.fail(this.#deps.clock.now())
    else target.breaker.succeed()
    return error
  }

  // --- children -------------------------------------------------------------------------------------------------------

  #openStdio(behind: Behind, key: LinkKey, at: string, transport: StdioTransport): Promise<Opened> {
    const { children, limits } = this.#deps
    const { row } = behind
    this.#restarts.check(at, row.slug, 'process')
    const spec = this.#processSpec(row.slug, transport)
    const childrenMax = transport.childrenMax ?? limits.childrenPerUpstream
    const idleMs = this.#idleMs(row, transport.idleMs ?? limits.childIdleMs)
    const spawn = (): Promise<string> => children.spawn(row.id, childOwner(key), spec, childrenMax, idleMs)
    return this.#openChild(behind, key, at, behind.era ?? (behind.isSilent ? 'legacy' : null), spawn)
  }

  /** Errors: as openLink; OtherTransport. */
  async #openChild(
    behind: Behind,
    key: LinkKey,
    at: string,
    era: Era | null,
    spawn: () => Promise<string>,
  ): Promise<Opened> {
    const { children, version, gatewayId, limits, clock } = this.#deps
    const { row } = behind
    let childId = ''
    let ended = ''
    const start = async (): Promise<StdioPeer> => {
      childId = await spawn()
      const channel = await children.connect(childId)
      const peer: StdioPeer = new StdioPeer({
        ...{ name: row.slug, channel, limits, isShared: key.owner === '' },
        // Until the handshake has found it out; its own requests name theirs.
        wire: createWire('legacy', '2025-11-25', version),
        onNotification: (method, params) => {
          const kind = newsKind(method)
          if (kind !== null) this.onNews?.(row.id, kind)
          else this.#onSaid(key, at, method, params)
        },
        onRequest: (method, id, params) => {
          if (peer.wire.era === 'legacy')
            this.#inquiries.take({ at, key, send: (message) => peer.send(message) }, method, id, params)
        },
        onClose: (why) => {
          ended = why
          const opened = this.#opened.get(at)
          if (opened?.stdio === peer) this.#forget(opened)
        },
      })
      return peer
    }
    const stop = async (peer: StdioPeer): Promise<void> => {
      peer.close()
      await children.stop(childId)
    }
    try {
      const { greeting, peer } = await greetStdio(
        { start, stop },
        { name: row.slug, version, gatewayId, era, asks: key.asks, limits },
      )
      if (peer.closed) throw unavailable(row.slug, ended)
      return {
        ...{ key, behind, greeting, wire: peer.wire, stdio: peer, openedMs: clock.now(), peer: null, target: null },
        ...{ ear: null, usedMs: clock.now() },
        probedMs: this.#probed(behind, greeting, key),
        ticket: this.#ticket(greeting, { sessionId: null, url: null, childId }),
      }
    } catch (thrown) {
      if (thrown instanceof OtherTransport) throw thrown
      const error = thrown instanceof NotProcessed ? thrown.error : (thrown as GatewayError)
      behind.isSilent = error.code === 'TIMEOUT' && !behind.isSilent
      // A gateway that is full says nothing against the child; an address that cannot be reached is its breaker's affair.
      if (error.code !== 'UPSTREAM_BUSY' && (behind.pool === null || childId !== '')) this.#restarts.failed(at)
      throw error
    }
  }

  #processSpec(name: string, transport: StdioTransport): ProcessSpec {
    const { limits, resolveSecret } = this.#deps
    const resolve = (variable: string, secret: Secret): string => {
      const value = resolveSecret(secret)
      if (!value.includes('\0')) return value
      throw named(name, new GatewayError('CONFIG_INVALID', `The variable ${variable} holds a zero byte`))
    }
    const env = Object.entries(transport.env ?? {}).map(([variable, secret]) => [variable, resolve(variable, secret)])
    return {
      kind: 'process',
      command: transport.command,
      args: transport.args ?? [],
      env: Object.fromEntries(env) as Record<string, string>,
      cwd: transport.cwd ?? null,
      memoryBytes: transport.memoryBytes ?? limits.childMemoryBytes,
      cpuSeconds: transport.cpuSeconds ?? limits.childCpuSeconds,
      openFiles: transport.openFiles ?? limits.childOpenFiles,
      processes: transport.processes ?? limits.childProcesses,
    }
  }

  /** A child that works on one silent call is not idle. */
  #idleMs({ spec }: UpstreamRow, idleMs: number): number {
    if (idleMs === 0) return 0
    const callMs = Object.values(spec.tools ?? {}).map((tool) => tool.callMs ?? 0)
    return Math.max(idleMs, 1_000 + Math.max(spec.callMs ?? this.#deps.limits.callMs, ...callMs))
  }

  #onExit(childId: string, key: LinkKey, why: string, ranMs: number): void {
    const at = mapKey(key)
    const behind = this.#behind.get(key.upstreamId)
    this.#deps.log.warn('child.ended', { upstream: behind?.row.slug, why })
    const opened = this.#opened.get(at)
    if (opened?.ticket.childId === childId) this.#forget(opened)
    // A stream that stood for a while ends for many reasons, of which most say nothing about the next one.
    const isFault = behind === undefined || behind.pool === null || ranMs < this.#deps.limits.childStartMs
    // One that ends during its handshake is counted by whoever greets it.
    if (isFault && !this.#opening.has(at)) this.#restarts.failed(at)
  }

  // --- use ------------------------------------------------------------------------------------------------------------

  async #ask(opened: Opened, method: string, params: Buffer, callMs: number): Promise<Reply> {
    const ask: Ask = { method, params, name: null, paramHeaders: [], callMs, callMsMax: callMs, call: null }
    try {
      if (opened.stdio !== null) return await opened.stdio.ask(ask)
      if (opened.peer !== null && opened.target !== null) return await this.#askTarget(opened.target, opened.peer, ask)
      return await this.#askAny(opened, ask)
    } catch (error) {
      if (!(error instanceof NotProcessed)) throw error
      const why = error.why === 'unsent' ? 'closed' : error.why
      this.staleLink(opened.key, opened.ticket.generation, why)
      throw error.error
    }
  }

  async #askAny(opened: Opened, ask: Ask): Promise<Reply> {
    const pool = opened.behind.pool!
    const tried = new Set<Target>()
    for (;;) {
      const target = pool.pick(tried) ?? pool.targets.find((other) => !tried.has(other))!
      tried.add(target)
      try {
        return await this.#askTarget(target, this.#peer(opened.behind, pool, target, opened.wire, null), ask)
      } catch (error) {
        if (!(error instanceof NotProcessed) || error.why !== 'unsent' || tried.size === pool.targets.length)
          throw error
      }
    }
  }

  async #askTarget(target: Target, peer: HttpPeer, ask: Ask): Promise<Reply> {
    try {
      const reply = await askHttp(peer, ask)
      target.breaker.succeed()
      return reply
    } catch (error) {
      this.#judge(target, error)
      throw error
    }
  }

  #listen(opened: Opened, kinds: readonly NewsKind[], given: ListenHandlers, uris: readonly string[] = []): Listening {
    const { stdio, behind } = opened
    const at = mapKey(opened.key)
    const onNotification: ListenHandlers['onNotification'] = (method, params) =>
      this.#onSaid(opened.key, at, method, params)
    const handlers: ListenHandlers = { ...given, onNotification }
    if (stdio === null) {
      const pool = behind.pool!
      const target = opened.target ?? pool.pick(null) ?? pool.targets[0]!
      return listenHttp(opened.peer ?? this.#peer(behind, pool, target, opened.wire, null), kinds, handlers, uris)
    }
    handlers.onOpen()
    let isOver = false
    const end = (isOffered: boolean, why: string): void => {
      if (isOver) return
      isOver = true
      handlers.onEnd(isOffered, why)
    }
    if (opened.wire.era === 'modern') {
      stdio.ask(listenAsk(kinds, uris)).then(
        (reply) => end('result' in reply, 'the server ended the subscription'),
        (error: Error) => end(true, error.message),
      )
    }
    // An older child says its news unasked; the end of its link is the end of the stream.
    else stdio.onceClosed((why) => end(true, why))
    return {
      close: () => {
        isOver = true
      },
    }
  }

  // --- what servers ask without naming a call --------------------------------------------------------------------------

  /** Opens the stream of a session whose client can be asked; a server that has none asks on the streams of its calls. */
  #hear(opened: Opened, isWanted = opened.key.asks !== NO_ASKS): void {
    const { key, peer, wire } = opened
    // The shared link of an upstream has the stream of its news (control/discover.ts): a session has one stream.
    if (peer === null || !isWanted || wire.era === 'modern' || opened.ear !== null || key.owner === '') return
    const link: AskingLink = { at: mapKey(key), key, send: (message) => post(peer, message) }
    opened.ear = createEar(this.#deps, (handlers) =>
      listenHttp(peer, [], {
        ...handlers,
        onRequest: (method, id, params) => this.#inquiries.take(link, method, id, params),
        onNotification: (method, params) => this.#onSaid(key, link.at, method, params),
        onNews: (kind) => this.onNews?.(key.upstreamId, kind),
      }),
    )
  }

  #onSaid(key: LinkKey, at: string, method: string, params: Params): void {
    if (method === 'notifications/cancelled') this.#inquiries.withdraw(at, params)
    else if (method === 'notifications/resources/updated') {
      const uri = params.value('uri')
      if (typeof uri === 'string') this.onUpdated?.(key, uri)
    }
  }

  #tellRoots(session: string): void {
    const message = encodeNotification('notifications/roots/list_changed', null)
    for (const at of this.#byOwner.get(session) ?? []) {
      const { key, stdio, peer } = this.#opened.get(at)!
      if ((key.asks & ASKS.rootsChanged) === 0) continue
      if (stdio !== null) stdio.send(message)
      else if (peer !== null) post(peer, message)
    }
  }

  // --- the end of links -----------------------------------------------------------------------------------------------

  #forget(opened: Opened): void {
    const at = mapKey(opened.key)
    if (this.#opened.get(at) !== opened) return
    this.#opened.delete(at)
    opened.ear?.close()
    this.onLost?.(opened.key)
    this.#inquiries.endLink(at)
    if (opened.target !== null) opened.target.sessions -= 1
    const ofOwner = this.#byOwner.get(opened.key.owner)
    ofOwner?.delete(at)
    if (ofOwner?.size === 0) this.#byOwner.delete(opened.key.owner)
  }

  /** `tell`: the server still knows the session. */
  #end(opened: Opened, tell: boolean): void {
    this.#forget(opened)
    if (opened.peer !== null && tell) {
      const { peer } = opened
      this.#later(new Promise<void>((resolve) => endSession(peer, resolve)))
    }
    if (opened.stdio === null) return
    opened.stdio.close()
    this.#later(this.#deps.children.stop(opened.ticket.childId!))
  }

  #later(work: Promise<void>): void {
    const done = work
      .catch((error: unknown) => this.#deps.log.warn('link.close', { error }))
      .finally(() => this.#ending.delete(done))
    this.#ending.add(done)
  }
}

/** After these another address of the same upstream may do better. */
const RETRIED: ReadonlySet<ErrorCode> = new Set<ErrorCode>(['UPSTREAM_UNAVAILABLE', 'TIMEOUT'])

export function createBroker(deps: BrokerDeps): Broker {
  return new BrokerOf(deps)
}
