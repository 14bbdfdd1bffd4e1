// A worker's way out: which link a call takes, when a request may be sent again, and what the primary is told.
// Warm calls touch nothing but maps and the link. Absent on purpose: sessions are opened by the primary (broker.ts).

import { asksIn, NO_ASKS } from '../core/asks.ts'
import { type Call, LOG_LEVELS, type LogLevel, type Question, type Reply } from '../core/call.ts'
import { Cancel } from '../core/cancel.ts'
import { type ErrorCode, GatewayError } from '../core/errors.ts'
import type { UpstreamView } from '../core/model.ts'
import type { Bus } from '../ports/bus.ts'
import type { ChildConnector } from '../ports/children.ts'
import type { Control, LinkKey, LinkQuestion, LinkTicket } from '../ports/control.ts'
import type { Log } from '../ports/log.ts'
import { type Ask, createWire, Ids, NotProcessed, named, type Patience, type Wire } from './ask.ts'
import { createHttpPeer, type HttpPeer } from './http-peer.ts'
import { refused } from './inquiry.ts'
import { askHttp } from './mcp-http.ts'
import { StdioPeer } from './mcp-stdio.ts'
import { cancelError } from './notices.ts'
import { createPool, type Pool, type PoolDeps, type Target } from './pool.ts'
import type { Outgoing, Upstreams } from './upstream.ts'

export interface UpstreamsDeps extends PoolDeps {
  readonly control: Pick<
    Control,
    'openLink' | 'staleLink' | 'reportUpstream' | 'takeQuestion' | 'answerQuestion' | 'linksUsed'
  >
  readonly bus: Pick<Bus, 'subscribe'>
  readonly children: ChildConnector
  /** The gateway's version, for clientInfo and User-Agent. */
  readonly version: string
  /** 0 in the primary's process, 1 and up in workers: request ids of one session must not meet. */
  readonly worker: number
  readonly log: Log
}

/** A ticket in use: its HTTP session, or its child. */
interface OpenLink extends LinkOwner {
  readonly ticket: LinkTicket
  readonly wire: Wire
  /** HTTP: the session at its one address; null where any address serves. */
  readonly peer: HttpPeer | null
  readonly target: Target | null
  readonly stdio: StdioPeer | null
  /** Lowest level asked for with logging/setLevel so far. */
  level: LogLevel | null
  levelling: Promise<unknown> | null
  /** Calls of now. */
  inFlight: number
  /** Used since the primary was told last. */
  isUsed: boolean
  idleTells: number
  /** Calls in flight, the newest last; only where its server may ask without naming one. */
  readonly calls: Map<Call, Patience> | null
}

/** One upstream as this worker reaches it. */
interface Entry {
  view: UpstreamView
  /** What a change of must replace the links. */
  readonly key: string
  readonly pool: Pool | null
  /** Of the discovery; null before the first one. */
  wire: Wire | null
  readonly links: Map<string, OpenLink>
  readonly opening: Map<string, Promise<OpenLink>>
  isDown: boolean
  /** Calls that use it. */
  users: number
  /** Once it was replaced: the timer of its last moment. Each has a call still, so there are no more than calls in flight. */
  ending: NodeJS.Timeout | null
  hasEnded: boolean
}

/** After these the address, or the child, is suspect; anything else is an answer. */
const FAILURES: ReadonlySet<ErrorCode> = new Set<ErrorCode>(['UPSTREAM_UNAVAILABLE', 'TIMEOUT'])
const NEUTRAL: ReadonlySet<ErrorCode> = new Set<ErrorCode>(['CANCELLED', 'SHUTTING_DOWN', 'UPSTREAM_BUSY'])

function keyOf({ spec, connectMs }: UpstreamView): string {
  return JSON.stringify([spec.transport, spec.privileged === true, connectMs])
}

export type LinkOwner = Pick<LinkKey, 'owner' | 'asks'>

/** How often within `upstreamSessionIdleMs` the primary is told which sessions are in use … */
const TELLS = 4
/** … and how many at once. */
const TOLD_AT_ONCE = 1_000

const SHARED: LinkOwner = { owner: '', asks: NO_ASKS }

/** Whose link this call uses; '' is the shared one, on which nobody can be asked. */
export function ownerOf(view: UpstreamView, call: Call): LinkOwner {
  if (view.discovery?.era === 'modern' && view.spec.transport.kind !== 'stdio') return askingOwner(view, call)
  if (view.isolation === 'shared') return SHARED
  const { session, client, caller } = call
  // A modern child is told with each request what it may ask.
  const asks =
    view.discovery?.era === 'modern' ? NO_ASKS : asksIn(view.discovery?.revision ?? '2025-11-25', client.asks)
  // By what the client has declared, whether or not this very call can be asked: it finds its state again in all of them.
  if (session === null) return { owner: caller.id, asks }
  const isChosen = view.spec.isolation !== undefined && view.spec.isolation !== 'auto'
  // What a server may ask the client is declared when a session is opened: clients that can answer get one of their own.
  const isOwn = view.isolation === 'session' || (!isChosen && client.asks !== NO_ASKS)
  return { owner: isOwn ? session.key : caller.id, asks }
}

/**
 * Many modern servers serve older clients too, and some of their tools ask only those: a client that can be asked gets a
 * link of its own, on which the server is greeted in the older way first (broker.ts). Everyone else needs none.
 */
function askingOwner(view: UpstreamView, { session, client, ask }: Call): LinkOwner {
  if (session === null || client.asks === NO_ASKS || ask === null || view.spec.isolation === 'shared') return SHARED
  return { owner: session.key, asks: asksIn('2025-11-25', client.asks) }
}

const linkName = ({ owner, asks }: LinkOwner): string => (asks === NO_ASKS ? owner : `${owner}+${asks}`)

/** A link may take longer to open than a call may wait; it is there for the next one then. */
function inTime<T>(opening: Promise<T>, { callMs, call }: Ask): Promise<T> {
  return new Promise((resolve, reject) => {
    const late = (): void => reject(new GatewayError('TIMEOUT', `No link to the upstream within ${callMs} ms`))
    const timer = setTimeout(late, callMs)
    const forget = call!.cancel.onCancel((reason) => reject(cancelError(reason, callMs)))
    const done = (): void => {
      clearTimeout(timer)
      forget()
    }
    opening.finally(done).then(resolve, reject)
  })
}

class UpstreamLinks implements Upstreams {
  readonly #deps: UpstreamsDeps
  readonly #ids: Ids
  readonly #entries = new Map<string, Entry>()
  /** Those that were replaced, until their last call has ended … */
  readonly #ending = new Set<Entry>()
  /** … and their pools, until the last bytes have come. */
  readonly #closing = new Set<Pool>()
  /** What upstreams are now; null before anybody has said so. */
  #views: ReadonlyMap<string, UpstreamView> | null = null
  /** Questions of servers that name no call, which a call of ours has taken. */
  readonly #asked = new Map<number, Cancel>()
  readonly #unsubscribe: readonly (() => void)[]
  readonly #usedTimer: NodeJS.Timeout
  #isClosed = false

  constructor(deps: UpstreamsDeps) {
    this.#deps = deps
    this.#ids = new Ids(deps.worker)
    this.#usedTimer = setInterval(() => this.#tellUsed(), deps.limits.upstreamSessionIdleMs / TELLS)
    this.#usedTimer.unref()
    this.#unsubscribe = [
      deps.bus.subscribe('linkAsked', (asked) => this.#onLinkAsked(asked)),
      deps.bus.subscribe('linkUnasked', ({ id }) => this.#asked.get(id)?.cancel('client')),
    ]
  }

  async send(out: Outgoing, call: Call): Promise<Reply> {
    const { hopsMax } = this.#deps.limits
    if (call.hops >= hopsMax) {
      throw new GatewayError('LOOP_DETECTED', `The request has passed ${call.hops} gateways; the limit is ${hopsMax}`)
    }
    const view = out.upstream
    const ask: Ask = {
      method: out.method,
      params: out.params,
      name: out.name,
      paramHeaders: out.paramHeaders,
      callMs: out.callMs,
      callMsMax: view.callMsMax,
      call,
    }
    const entry = this.#entry(view)
    entry.users += 1
    try {
      // Only a server that keeps state per link needs one of its own, or one that may ask.
      const owner = ownerOf(view, call)
      const reply =
        entry.pool !== null && view.discovery !== null && !view.discovery.stateful && owner.asks === NO_ASKS
          ? await this.#askAny(entry, entry.pool, entry.wire!, ask)
          : await this.#askLinked(entry, ask, owner)
      if (entry.isDown) this.#report(entry, null)
      return reply
    } catch (error) {
      if (error instanceof GatewayError) this.#report(entry, error)
      throw error
    } finally {
      entry.users -= 1
      if (entry.users === 0 && entry.ending !== null) this.#end(entry)
    }
  }

  upstreamsChanged(views: ReadonlyMap<string, UpstreamView>): void {
    this.#views = views
    for (const [id, entry] of this.#entries) {
      const view = views.get(id)
      if (view === undefined || keyOf(view) !== entry.key) {
        this.#entries.delete(id)
        this.#retire(entry)
      } else this.#update(entry, view)
    }
  }

  async close(): Promise<void> {
    this.#isClosed = true
    clearInterval(this.#usedTimer)
    for (const leave of this.#unsubscribe) leave()
    for (const entry of [...this.#entries.values(), ...this.#ending]) this.#end(entry, 0)
    this.#entries.clear()
    await Promise.all([...this.#closing].map((pool) => pool.close(0)))
  }

  // --- upstreams ------------------------------------------------------------------------------------------------------

  #entry(view: UpstreamView): Entry {
    const known = this.#entries.get(view.id)
    if (known?.view === view) return known
    const key = keyOf(view)
    if (known?.key === key) return this.#update(known, view)
    if (this.#isClosed) throw new GatewayError('SHUTTING_DOWN')
    const { transport, privileged } = view.spec
    const options = { isPrivileged: privileged === true, connectMs: view.connectMs }
    let pool: Pool | null = null
    try {
      pool = transport.kind === 'stdio' ? null : createPool(transport, options, this.#deps)
    } catch (error) {
      throw error instanceof GatewayError ? named(view.slug, error) : error
    }
    const entry: Entry = {
      view,
      key,
      pool,
      wire: null,
      links: new Map(),
      opening: new Map(),
      isDown: false,
      users: 0,
      ending: null,
      hasEnded: false,
    }
    const current = this.#views?.get(view.id)
    if (this.#views === null || (current !== undefined && keyOf(current) === key)) {
      if (known !== undefined) this.#retire(known)
      this.#entries.set(view.id, entry)
    } else this.#retire(entry) // A call that began before the upstream was changed: nobody else needs it.
    return this.#update(entry, view)
  }

  #update(entry: Entry, view: UpstreamView): Entry {
    entry.view = view
    const { discovery } = view
    if (discovery !== null && (entry.wire?.era !== discovery.era || entry.wire.revision !== discovery.revision)) {
      entry.wire = createWire(discovery.era, discovery.revision, this.#deps.version)
    }
    return entry
  }

  /** Ends with its last call, within the longest time that one may take without progress. */
  #retire(entry: Entry): void {
    entry.ending = setTimeout(() => this.#end(entry, 0), entry.view.callMs)
    this.#ending.add(entry)
    // A turn later: whoever has just got it counts only now.
    setImmediate(() => {
      if (entry.users === 0) this.#end(entry)
    })
  }

  #end(entry: Entry, graceMs = entry.view.callMs): void {
    clearTimeout(entry.ending ?? undefined)
    this.#ending.delete(entry)
    if (entry.hasEnded) return
    entry.hasEnded = true
    for (const link of entry.links.values()) link.stdio?.retire(graceMs)
    entry.links.clear()
    const { pool } = entry
    if (pool === null) return
    this.#closing.add(pool)
    void pool.close(graceMs).finally(() => this.#closing.delete(pool))
  }

  /** The primary hears of changes only: the first failure, and the first success after one. */
  #report(entry: Entry, error: GatewayError | null): void {
    if (error === null) entry.isDown = false
    else {
      const isUpstreams = error.code.startsWith('UPSTREAM_') || error.code === 'TIMEOUT'
      if (!isUpstreams || entry.isDown || error.code === 'UPSTREAM_BUSY') return
      entry.isDown = true
    }
    this.#deps.control.reportUpstream(entry.view.id, error === null, error?.code ?? null, error?.message ?? null)
  }

  // --- without a link -------------------------------------------------------------------------------------------------

  async #askAny(entry: Entry, pool: Pool, wire: Wire, ask: Ask): Promise<Reply> {
    const { slug } = entry.view
    let tried: Set<Target> | null = null
    let failure: GatewayError | null = null
    for (;;) {
      const target = pool.pick(tried)
      if (target === null) throw failure ?? pool.resting(slug)
      if (target.peer?.wire !== wire) target.peer = this.#peer(entry, pool, target, wire, null)
      try {
        return await this.#askTarget(entry, target, target.peer, ask)
      } catch (error) {
        if (!(error instanceof NotProcessed)) throw error
        if (error.why !== 'unsent') {
          this.#deps.control.staleLink({ upstreamId: entry.view.id, owner: '', asks: NO_ASKS }, 0, 'era')
          throw error.error
        }
        // Nothing has left: another address may have it.
        failure = error.error
        tried ??= new Set()
        tried.add(target)
      }
    }
  }

  #peer(entry: Entry, pool: Pool, target: Target, wire: Wire, sessionId: string | null): HttpPeer {
    return createHttpPeer({
      name: entry.view.slug,
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

  /** Tells the breaker how it went. */
  async #askTarget(entry: Entry, target: Target, peer: HttpPeer, ask: Ask): Promise<Reply> {
    const { upstreamConnectionsMax } = this.#deps.limits
    if (target.link.inFlight >= upstreamConnectionsMax) {
      target.breaker.forget()
      throw new GatewayError('UPSTREAM_BUSY', `${peer.name}: ${upstreamConnectionsMax} requests are under way already`)
    }
    try {
      const reply = await askHttp(peer, ask)
      target.breaker.succeed()
      return reply
    } catch (error) {
      const { code, options } = error instanceof NotProcessed ? error.error : (error as GatewayError)
      if (error instanceof NotProcessed && error.why !== 'unsent') target.breaker.succeed()
      // Some request's own fault, and there is no other address that might do better: it must not cost everyone the upstream.
      else if (options.data?.upstreamStatus === 500 && entry.pool!.targets.length === 1) target.breaker.succeed()
      else if (FAILURES.has(code)) target.breaker.fail(this.#deps.clock.now())
      else if (NEUTRAL.has(code)) target.breaker.forget()
      else target.breaker.succeed()
      throw error
    }
  }

  // --- questions that name no call ------------------------------------------------------------------------------------

  /**
   * Puts it to the newest call in flight on that very link, if one is here and no other worker was quicker. Whose question
   * it is cannot be known: calls of which nobody is asked anything go first, here and in all workers, since each call that
   * asks waits for an answer and one that nobody is asked for would end by its deadline.
   */
  #onLinkAsked({ id, key, question }: LinkQuestion): void {
    const find = (): [Call, Patience] | undefined => {
      const calls = this.#entries.get(key.upstreamId)?.links.get(linkName(key))?.calls ?? []
      const able = [...calls].reverse().filter(([call]) => call.ask !== null)
      return able.sort(([, one], [, other]) => one.asked - other.asked)[0]
    }
    const first = find()
    if (first === undefined) return
    if (first[1].asked === 0) {
      void this.#put(id, question, ...first)
      return
    }
    setTimeout(() => {
      const later = find()
      if (later !== undefined) void this.#put(id, question, ...later)
    }, this.#deps.limits.questionClaimMs / 2).unref()
  }

  async #put(id: number, question: Question, call: Call, patience: Patience): Promise<void> {
    const { control, log } = this.#deps
    const cancel = new Cancel()
    this.#asked.set(id, cancel)
    patience.asked += 1
    try {
      if (!(await control.takeQuestion(id))) return
      patience.standStill(true)
      try {
        control.answerQuestion(id, await call.ask!(question, cancel))
      } catch (error) {
        control.answerQuestion(id, refused(error))
      } finally {
        patience.standStill(false)
      }
    } catch (error) {
      log.debug('question.lost', { error })
    } finally {
      patience.asked -= 1
      this.#asked.delete(id)
    }
  }

  // --- sessions in use ------------------------------------------------------------------------------------------------

  /** A session that nobody uses is ended by the primary, and forgotten here a little later. */
  #tellUsed(): void {
    let used: LinkKey[] = []
    const tell = (): void => {
      if (used.length > 0) this.#deps.control.linksUsed(used)
      used = []
    }
    for (const [upstreamId, { links }] of this.#entries) {
      for (const [name, link] of links) {
        if (link.owner === '' || link.stdio !== null) continue
        if (link.isUsed || link.inFlight > 0) {
          used.push({ upstreamId, owner: link.owner, asks: link.asks })
          link.isUsed = false
          link.idleTells = 0
        } else {
          link.idleTells += 1
          if (link.idleTells > 2 * TELLS) links.delete(name)
        }
        if (used.length === TOLD_AT_ONCE) tell()
      }
    }
    tell()
  }

  // --- by a link ------------------------------------------------------------------------------------------------------

  async #askLinked(entry: Entry, ask: Ask, owner: LinkOwner): Promise<Reply> {
    for (let attempt = 1; ; attempt += 1) {
      const link = this.#cached(entry, owner) ?? (await inTime(this.#open(entry, owner), ask))
      link.inFlight += 1
      link.isUsed = true
      try {
        if (link.ticket.logging) await this.#setLevel(link, ask.call!)
        return link.calls === null
          ? await this.#askLink(entry, link, ask)
          : await this.#askTracked(entry, link, ask, link.calls)
      } catch (error) {
        if (!(error instanceof NotProcessed)) throw error
        const isGone = this.#lose(entry, link, error.why)
        // The upstream has not seen it, or refused it unread: once more on a new link is safe.
        if (!isGone || attempt === 2 || error.why === 'era') throw error.error
      } finally {
        link.inFlight -= 1
      }
    }
  }

  /** The call can be found while it waits, by what its server asks without naming it. */
  async #askTracked(entry: Entry, link: OpenLink, ask: Ask, calls: Map<Call, Patience>): Promise<Reply> {
    const patience: Patience = { standStill: () => {}, asked: 0 }
    calls.set(ask.call!, patience)
    try {
      return await this.#askLink(entry, link, { ...ask, patience })
    } finally {
      calls.delete(ask.call!)
    }
  }

  #askLink(entry: Entry, link: OpenLink, ask: Ask): Promise<Reply> {
    if (link.stdio !== null) return link.stdio.ask(ask)
    const { peer, target } = link
    if (peer === null || target === null) return this.#askAny(entry, entry.pool!, link.wire, ask)
    const { breaker } = target
    const nowMs = this.#deps.clock.now()
    if (!breaker.allows(nowMs)) {
      return Promise.reject(new NotProcessed('unsent', entry.pool!.resting(entry.view.slug)))
    }
    breaker.begin(nowMs)
    return this.#askTarget(entry, target, peer, ask)
  }

  /** Forgets a link that no longer serves; false when it is kept, because its address may just be out of reach. */
  #lose(entry: Entry, link: OpenLink, why: NotProcessed['why']): boolean {
    const isOneAddress = entry.pool !== null && entry.pool.targets.length === 1
    const isResting = link.target !== null && link.target.breaker.openUntilMs !== 0
    if (why === 'unsent' && link.target !== null && (isOneAddress || !isResting)) return false
    if (entry.links.get(linkName(link)) === link) entry.links.delete(linkName(link))
    const reason = why === 'unsent' ? 'closed' : why
    this.#deps.control.staleLink(
      { upstreamId: entry.view.id, owner: link.owner, asks: link.asks },
      link.ticket.generation,
      reason,
    )
    return true
  }

  #open(entry: Entry, owner: LinkOwner): Promise<OpenLink> {
    const name = linkName(owner)
    const known = entry.opening.get(name)
    if (known !== undefined) return known
    const opening = this.#openNow(entry, owner).finally(() => entry.opening.delete(name))
    entry.opening.set(name, opening)
    return opening
  }

  async #openNow(entry: Entry, owner: LinkOwner): Promise<OpenLink> {
    const key: LinkKey = { upstreamId: entry.view.id, ...owner }
    for (let attempt = 1; ; attempt += 1) {
      const ticket = await this.#deps.control.openLink(key)
      try {
        const link = await this.#use(entry, owner, ticket)
        // It may have been replaced while we waited; then its link ends with the calls that it has still.
        if (entry.hasEnded) link.stdio?.retire(0)
        else this.#keep(entry, link)
        return link
      } catch (error) {
        // The child has ended since: the primary starts another.
        this.#deps.control.staleLink(key, ticket.generation, 'closed')
        if (attempt === 2) throw error
      }
    }
  }

  async #use(entry: Entry, owner: LinkOwner, ticket: LinkTicket): Promise<OpenLink> {
    const { version, limits, children } = this.#deps
    const wire = createWire(ticket.era, ticket.revision, version)
    const calls = owner.asks === NO_ASKS ? null : new Map<Call, Patience>()
    const common = {
      ...owner,
      ticket,
      wire,
      level: null,
      levelling: null,
      calls,
      inFlight: 0,
      isUsed: true,
      idleTells: 0,
    }
    if (ticket.childId === null) {
      const { pool } = entry
      const target = ticket.url === null ? null : (pool?.at(ticket.url) ?? null)
      const peer = pool === null || target === null ? null : this.#peer(entry, pool, target, wire, ticket.sessionId)
      return { ...common, peer, target, stdio: null }
    }
    const channel = await children.connect(ticket.childId)
    const name = entry.view.slug
    const link: OpenLink = {
      ...common,
      peer: null,
      target: null,
      stdio: new StdioPeer({
        ...{ name, wire, channel, limits },
        isShared: owner.owner === '',
        onClose: () => {
          if (entry.links.get(linkName(owner)) === link) entry.links.delete(linkName(owner))
        },
      }),
    }
    return link
  }

  #cached(entry: Entry, owner: LinkOwner): OpenLink | undefined {
    const name = linkName(owner)
    const link = entry.links.get(name)
    // The order tells who used his last; it matters only where somebody may have to go soon.
    if (link !== undefined && entry.links.size * 2 > this.#deps.limits.upstreamLinksMax) {
      entry.links.delete(name)
      entry.links.set(name, link)
    }
    return link
  }

  #keep(entry: Entry, link: OpenLink): void {
    entry.links.set(linkName(link), link)
    if (entry.links.size <= this.#deps.limits.upstreamLinksMax) return
    const [owner, oldest] = entry.links.entries().next().value!
    entry.links.delete(owner)
    oldest.stdio?.retire(entry.view.callMs)
  }

  /** Older servers keep one level per link: it is set to the lowest that anyone on it wants, and each call filters. */
  async #setLevel(link: OpenLink, call: Call): Promise<void> {
    const wanted = call.notify === null ? null : call.logLevel
    if (wanted === null || link.wire.era === 'modern') return
    if (link.level === null || LOG_LEVELS.indexOf(wanted) < LOG_LEVELS.indexOf(link.level)) {
      link.level = wanted
      const params = Buffer.from(JSON.stringify({ level: wanted }))
      link.levelling = this.#setup(link, 'logging/setLevel', params)
    }
    await link.levelling
  }

  async #setup(link: OpenLink, method: string, params: Buffer): Promise<void> {
    const callMs = this.#deps.limits.probeMs
    const ask = { method, params, name: null, paramHeaders: [], callMs, callMsMax: callMs, call: null }
    try {
      if (link.stdio !== null) await link.stdio.ask(ask)
      else if (link.peer !== null) await askHttp(link.peer, ask)
    } catch (error) {
      // Log messages are a convenience: the call goes on, and says itself what is wrong with the link.
      this.#deps.log.debug('upstream.setup', { method, error })
    }
    link.levelling = null
  }
}

export function createUpstreams(deps: UpstreamsDeps): Upstreams {
  return new UpstreamLinks(deps)
}
