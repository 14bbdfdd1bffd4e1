// Keeps what is known of every upstream fresh: reads the lists at the start, when the server says that they have changed,
// when its own time to live runs out, else from time to time; tries again what is down. Last known definitions stay.
// Absent on purpose: calls, links (upstream/broker.ts) and the snapshot (registry/).

import { GatewayError } from '../core/errors.ts'
import type { Limits } from '../core/limits.ts'
import type { Definition, DefinitionKind, Discovery, UpstreamRow, UpstreamState } from '../core/model.ts'
import { type Clock, jitter } from '../core/time.ts'
import type { Bus } from '../ports/bus.ts'
import type { Feed, RegistryRows } from '../ports/feed.ts'
import type { Log } from '../ports/log.ts'
import type { Store } from '../ports/store.ts'
import type { Broker, SharedLink } from '../upstream/broker.ts'
import { discover } from '../upstream/discover.ts'
import { type Listening, type NewsKind, newsOf } from '../upstream/listen.ts'

export interface DiscovererDeps {
  readonly store: Pick<Store, 'upstream' | 'definitions' | 'saveDiscovery'>
  readonly broker: Pick<Broker, 'shared' | 'closeUpstream' | 'links' | 'onDoubt' | 'onNews'>
  readonly bus: Pick<Bus, 'publish'>
  readonly clock: Clock
  readonly random: () => number
  readonly log: Log
  readonly limits: Limits
}

export interface Discoverer {
  /** Begins, and from then on follows what the registry's rows say. Returns the way to stop following. */
  follow(feed: Feed): () => void
  /** Reads everything anew at once, the era included. Resolves with the state that it led to. Errors: NOT_FOUND. */
  refresh(id: string): Promise<UpstreamState>
  /** A live call saw the upstream fail, or work again. */
  report(id: string, ok: boolean, code: string | null, message: string | null): void
  state(id: string): UpstreamState
  states(): ReadonlyMap<string, UpstreamState>
  /** Resolves when each of them is ready, down or disabled, at the latest after `ms`. */
  whenSettled(ids: readonly string[], ms: number): Promise<void>
  /** Hears of every change of a state. */
  onState: ((row: UpstreamRow, state: UpstreamState) => void) | null
  close(): Promise<void>
}

interface Watch {
  row: UpstreamRow
  key: string
  state: UpstreamState
  running: Promise<void> | null
  timer: NodeJS.Timeout | null
  /** When the timer rings; 0 for none. */
  dueMs: number
  /** When it last began to read, and when it last looked for the era out of doubt. */
  beganMs: number
  doubtedMs: number
  /** The next reading finds the era out anew. */
  probes: boolean
  listening: Listening | null
  listenFailures: number
  listenTimer: NodeJS.Timeout | null
  isGone: boolean
}

const SPREAD = 0.25
const DAY_MS = 86_400_000

/** What a change of makes the links and the era worthless. */
function keyOf({ slug, spec }: UpstreamRow): string {
  return JSON.stringify([slug, spec.transport, spec.privileged === true, spec.connectMs])
}

const NEWS: Readonly<Record<DefinitionKind, NewsKind>> = {
  tool: 'tools',
  prompt: 'prompts',
  resource: 'resources',
  template: 'resources',
}

/** The kinds of which the two sets differ. */
function changedKinds(before: readonly Definition[], after: readonly Definition[]): NewsKind[] {
  const textOf = (definitions: readonly Definition[], kind: NewsKind): string[] =>
    definitions.filter((one) => NEWS[one.kind] === kind).map((one) => `${one.kind}\n${one.json}`)
  return (['tools', 'prompts', 'resources'] as const).filter((kind) => {
    const [old, fresh] = [textOf(before, kind), textOf(after, kind)]
    return old.length !== fresh.length || old.some((text, at) => text !== fresh[at])
  })
}

class DiscovererOf implements Discoverer {
  onState: Discoverer['onState'] = null
  readonly #deps: DiscovererDeps
  readonly #watches = new Map<string, Watch>()
  readonly #settling = new Set<() => void>()
  /** Those that wait for a place: so many may read at a time. */
  readonly #queue: (() => void)[] = []
  #reading = 0
  #isClosed = false

  constructor(deps: DiscovererDeps) {
    this.#deps = deps
    deps.broker.onNews = (id) => this.#onNews(id)
    deps.broker.onDoubt = (id) => this.#onDoubt(id)
  }

  follow(feed: Feed): () => void {
    const rows = feed.current()
    if (rows !== null) this.#reconcile(rows)
    return feed.onChange((changed) => this.#reconcile(changed))
  }

  async refresh(id: string): Promise<UpstreamState> {
    const row = await this.#deps.store.upstream(id)
    if (row === null) throw new GatewayError('NOT_FOUND', 'There is no such upstream')
    const watch = this.#adopt(row)
    if (row.spec.enabled === false) return watch.state
    // One that runs may have read before whatever made somebody ask.
    await watch.running
    watch.probes = true
    await this.#start(watch)
    return watch.state
  }

  report(id: string, ok: boolean, code: string | null, message: string | null): void {
    const watch = this.#watches.get(id)
    if (watch === undefined) return
    const { log, limits } = this.#deps
    log.debug('upstream.report', { upstream: watch.row.slug, ok, code, message })
    // A call is no health check: it makes us look, and what we see decides.
    if (ok ? watch.state.state === 'down' : watch.state.state === 'ready') this.#soon(watch, limits.newsMsMin)
  }

  state(id: string): UpstreamState {
    return this.#watches.get(id)?.state ?? this.#fresh('connecting')
  }

  states(): ReadonlyMap<string, UpstreamState> {
    return new Map([...this.#watches].map(([id, watch]) => [id, watch.state]))
  }

  whenSettled(ids: readonly string[], ms: number): Promise<void> {
    const isSettled = (): boolean => ids.every((id) => this.state(id).state !== 'connecting')
    return new Promise((resolve) => {
      if (isSettled()) {
        resolve()
        return
      }
      const done = (): void => {
        clearTimeout(timer)
        this.#settling.delete(check)
        resolve()
      }
      const check = (): void => {
        if (isSettled() || this.#isClosed) done()
      }
      const timer = setTimeout(done, ms)
      this.#settling.add(check)
    })
  }

  async close(): Promise<void> {
    this.#isClosed = true
    const running = [...this.#watches.values()].map((watch) => watch.running)
    for (const watch of this.#watches.values()) this.#stop(watch)
    this.#watches.clear()
    for (const next of this.#queue.splice(0)) next()
    for (const check of [...this.#settling]) check()
    await Promise.all(running)
  }

  // --- which upstreams there are --------------------------------------------------------------------------------------

  #reconcile(rows: RegistryRows): void {
    if (this.#isClosed) return
    for (const [id, watch] of this.#watches) {
      if (rows.parts.has(id)) continue
      this.#watches.delete(id)
      this.#stop(watch)
      this.#deps.broker.closeUpstream(id, this.#graceMs(watch.row))
    }
    for (const { upstream } of rows.parts.values()) this.#adopt(upstream)
  }

  #adopt(row: UpstreamRow): Watch {
    const known = this.#watches.get(row.id)
    if (known === undefined) {
      const watch: Watch = {
        ...{ row, key: keyOf(row), state: this.#fresh('connecting'), running: null, timer: null, dueMs: 0 },
        ...{ beganMs: 0, doubtedMs: 0, probes: false, listening: null, listenFailures: 0, listenTimer: null },
        isGone: false,
      }
      this.#watches.set(row.id, watch)
      this.#begin(watch)
      return watch
    }
    // The feed may lag behind what somebody has just handed us.
    if (row === known.row || row.rowVersion < known.row.rowVersion) return known
    const before = known.row
    known.row = row
    const isSame = known.key === keyOf(row) && before.spec.enabled === row.spec.enabled
    if (isSame) {
      if (before.spec.refreshMs !== row.spec.refreshMs && known.state.state === 'ready') this.#scheduleNext(known)
      return known
    }
    known.key = keyOf(row)
    known.probes = true
    this.#unlisten(known)
    this.#deps.broker.closeUpstream(row.id, this.#graceMs(before))
    this.#begin(known)
    return known
  }

  /** Calls under way keep what they began with, within the time that one may take without progress. */
  #graceMs({ spec }: UpstreamRow): number {
    return spec.callMs ?? this.#deps.limits.callMs
  }

  #begin(watch: Watch): void {
    if (watch.row.spec.enabled === false) {
      this.#clear(watch)
      this.#become(watch, this.#fresh('disabled'))
      return
    }
    this.#become(watch, this.#fresh('connecting'))
    void this.#start(watch)
  }

  #stop(watch: Watch): void {
    watch.isGone = true
    this.#clear(watch)
    this.#unlisten(watch)
  }

  #fresh(state: UpstreamState['state']): UpstreamState {
    return { state, sinceMs: this.#deps.clock.now(), code: null, message: null, attempts: 0, nextRetryMs: null }
  }

  #become(watch: Watch, state: UpstreamState): void {
    const before = watch.state
    const isSame = before.state === state.state && before.code === state.code
    watch.state = isSame ? { ...state, sinceMs: before.sinceMs } : state
    for (const check of [...this.#settling]) check()
    this.onState?.(watch.row, watch.state)
  }

  // --- reading --------------------------------------------------------------------------------------------------------

  /** Reads now; a reading that runs already serves. */
  #start(watch: Watch): Promise<void> {
    if (watch.running !== null) return watch.running
    this.#clear(watch)
    const running = this.#read(watch).finally(() => {
      watch.running = null
      // Its row changed meanwhile in a way that makes the reading worthless.
      if (watch.probes && watch.state.state === 'connecting' && !watch.isGone) void this.#start(watch)
    })
    watch.running = running
    return running
  }

  async #read(watch: Watch): Promise<void> {
    await this.#place()
    const { key } = watch
    try {
      if (watch.isGone || watch.row.spec.enabled === false) return
      watch.beganMs = this.#deps.clock.now()
      const probes = this.#mustProbe(watch)
      watch.probes = false
      const link = await this.#deps.broker.shared(watch.row.id, probes)
      await this.#readLists(watch, link)
      if (watch.isGone || watch.key !== key) return
      this.#ready(watch, link)
    } catch (error) {
      if (!watch.isGone && watch.key === key) this.#down(watch, error)
    } finally {
      this.#reading -= 1
      this.#queue.shift()?.()
    }
  }

  async #place(): Promise<void> {
    if (this.#reading >= this.#deps.limits.discoveriesMax) {
      await new Promise<void>((resolve) => this.#queue.push(resolve))
    }
    this.#reading += 1
  }

  #mustProbe({ probes, row: { discovery } }: Watch): boolean {
    return (
      probes || (discovery !== null && this.#deps.clock.now() - discovery.probedMs > this.#deps.limits.probeAgainMs)
    )
  }

  async #readLists(watch: Watch, link: SharedLink): Promise<void> {
    const { store, bus, limits, clock, log } = this.#deps
    const { id, slug } = watch.row
    const known = await store.definitions(id)
    const endMs = clock.now() + limits.discoveryMs
    const ask = async (method: string, params: Buffer) => {
      if (clock.now() >= endMs) {
        throw new GatewayError(
          'UPSTREAM_INVALID',
          `${slug}: its lists take longer than ${limits.discoveryMs} ms to read`,
        )
      }
      return link.ask(method, params, limits.handshakeMs)
    }
    const { definitions, skipped, ttlMs } = await discover(ask, link.greeting, slug, known, limits)
    if (watch.isGone) return
    const { greeting, probedMs, stateful } = link
    const found = { probedMs, discoveredMs: clock.now(), stateful, ttlMs, skipped }
    const discovery: Discovery = { ...greeting, ...(link.isSse ? { sse: true as const } : {}), ...found }
    const hasChanged = await store.saveDiscovery(id, discovery, definitions)
    watch.row = { ...watch.row, discovery }
    const kinds = hasChanged ? changedKinds(known, definitions) : []
    if (kinds.length > 0) bus.publish('definitions', { upstreamIds: [id], kinds })
    if (hasChanged || watch.state.state !== 'ready') {
      const counts = { items: definitions.length, skipped: skipped.length }
      log.info('upstream.discovered', { upstream: slug, era: greeting.era, revision: greeting.revision, ...counts })
    }
  }

  #ready(watch: Watch, link: SharedLink): void {
    this.#become(watch, this.#fresh('ready'))
    this.#scheduleNext(watch)
    this.#listen(watch, link)
  }

  #down(watch: Watch, error: unknown): void {
    const { clock, random, limits, log } = this.#deps
    const attempts = watch.state.attempts + 1
    const waitMs = Math.min(limits.retryMsBase * 2 ** Math.min(attempts - 1, 30), limits.retryMsMax)
    const delayMs = jitter(waitMs, SPREAD, random())
    const isOurs = error instanceof GatewayError
    const code = isOurs ? error.code : 'INTERNAL'
    const message = isOurs ? error.message : 'A fault of the gateway; see its log'
    if (!isOurs) log.error('upstream.fault', { upstream: watch.row.slug, error })
    else if (watch.state.state !== 'down') log.warn('upstream.down', { upstream: watch.row.slug, code, message })
    const nextRetryMs = clock.now() + delayMs
    this.#become(watch, { ...this.#fresh('down'), code, message, attempts, nextRetryMs })
    this.#schedule(watch, delayMs)
  }

  // --- when to read again ---------------------------------------------------------------------------------------------

  #scheduleNext(watch: Watch): void {
    const { limits, random } = this.#deps
    const { discovery, spec } = watch.row
    const ttlMs = discovery?.ttlMs ?? 0
    // Nought says only that nothing may be cached, which is what careful servers say of everything.
    const wantedMs = ttlMs > 0 ? ttlMs : (spec.refreshMs ?? limits.refreshMs)
    const everyMs = Math.min(Math.max(wantedMs, limits.refreshMsMin), DAY_MS)
    this.#schedule(watch, jitter(everyMs, SPREAD, random()))
  }

  #schedule(watch: Watch, ms: number): void {
    this.#clear(watch)
    // By the clock of the timers: the wall clock jumps when a laptop wakes up.
    watch.dueMs = performance.now() + ms
    watch.timer = setTimeout(() => this.#onTimer(watch), ms)
  }

  #clear(watch: Watch): void {
    if (watch.timer !== null) clearTimeout(watch.timer)
    watch.timer = null
    watch.dueMs = 0
  }

  #onTimer(watch: Watch): void {
    watch.timer = null
    watch.dueMs = 0
    const { row, state } = watch
    // A program that nobody uses is not started only to be asked what it offers.
    const isIdle = row.spec.transport.kind === 'stdio' && this.#deps.broker.links(row.id).length === 0
    if (state.state === 'ready' && isIdle) this.#scheduleNext(watch)
    else void this.#start(watch)
  }

  /** Reads shortly, together with what else comes in that time, and not sooner than `gapMs` after the last reading. */
  #soon(watch: Watch, gapMs: number): void {
    const { clock, limits } = this.#deps
    if (watch.row.spec.enabled === false) return
    const nowMs = clock.now()
    const delayMs = Math.max(limits.newsQuietMs, watch.beganMs + gapMs - nowMs)
    if (watch.timer !== null && watch.dueMs <= performance.now() + delayMs) return
    this.#schedule(watch, delayMs)
  }

  #onNews(id: string): void {
    const watch = this.#watches.get(id)
    if (watch !== undefined) this.#soon(watch, this.#deps.limits.newsMsMin)
  }

  #onDoubt(id: string): void {
    const watch = this.#watches.get(id)
    if (watch === undefined) return
    const { clock, limits } = this.#deps
    const nowMs = clock.now()
    // At once the first time; a server that contradicts itself all the time is not asked all the time.
    if (nowMs - watch.doubtedMs < limits.refreshMsMin) return
    watch.doubtedMs = nowMs
    watch.probes = true
    this.#soon(watch, 0)
  }

  // --- news -----------------------------------------------------------------------------------------------------------

  #listen(watch: Watch, link: SharedLink): void {
    const kinds = newsOf(link.greeting)
    if (kinds.length === 0 || watch.listening !== null || watch.listenTimer !== null) return
    const isAgain = watch.listenFailures > 0
    const listening = link.listen(kinds, {
      onOpen: () => {
        watch.listenFailures = 0
        // What was said while nobody listened is lost.
        if (isAgain) this.#onNews(watch.row.id)
      },
      onNews: () => this.#onNews(watch.row.id),
      onEnd: (isOffered, why) => {
        watch.listening = null
        if (isOffered && !watch.isGone) this.#listenAgain(watch, why)
      },
    })
    watch.listening = listening
  }

  #listenAgain(watch: Watch, why: string): void {
    const { limits, random, log } = this.#deps
    log.debug('upstream.news.end', { upstream: watch.row.slug, why })
    // A child that has ended is not started for its news.
    if (watch.row.spec.transport.kind === 'stdio') return
    const waitMs = Math.min(limits.retryMsBase * 2 ** Math.min(watch.listenFailures, 30), limits.retryMsMax)
    watch.listenFailures += 1
    watch.listenTimer = setTimeout(() => void this.#relisten(watch), jitter(waitMs, SPREAD, random()))
  }

  async #relisten(watch: Watch): Promise<void> {
    watch.listenTimer = null
    // One that is down is read when it is back, and listened to then.
    if (watch.isGone || watch.state.state !== 'ready') return
    try {
      this.#listen(watch, await this.#deps.broker.shared(watch.row.id, false))
    } catch (error) {
      this.#listenAgain(watch, String(error))
    }
  }

  #unlisten(watch: Watch): void {
    if (watch.listenTimer !== null) clearTimeout(watch.listenTimer)
    watch.listenTimer = null
    watch.listening?.close()
    watch.listening = null
    watch.listenFailures = 0
  }
}

export function createDiscoverer(deps: DiscovererDeps): Discoverer {
  return new DiscovererOf(deps)
}
