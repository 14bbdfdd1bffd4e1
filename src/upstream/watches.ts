// Which resources somebody wants to hear of, and from which upstream: counted by holder (a session, or a stream of a
// worker), so that each upstream is asked once per link and resource, and told when nobody cares any more. What was
// subscribed on a link that is lost is subscribed anew. Lives in the primary.

import { GatewayError } from '../core/errors.ts'
import type { Limits } from '../core/limits.ts'
import { jitter } from '../core/time.ts'
import type { Bus } from '../ports/bus.ts'
import type { LinkKey } from '../ports/control.ts'
import type { Log } from '../ports/log.ts'
import type { Broker } from './broker.ts'
import type { Ear } from './ear.ts'

export interface WatchesDeps {
  readonly broker: Pick<Broker, 'subscribe' | 'hearOf' | 'onLost' | 'onUpdated'>
  readonly bus: Pick<Bus, 'publish'>
  /** Whether the upstream is spoken to in the newer way; null when it is not known. */
  readonly isModern: (upstreamId: string) => Promise<boolean | null>
  readonly limits: Pick<Limits, 'watchesMax' | 'watchesPerHolder' | 'newsQuietMs' | 'retryMsBase' | 'retryMsMax'>
  readonly random: () => number
  readonly log: Log
}

interface Watch {
  readonly key: LinkKey
  readonly uri: string
  readonly holders: Set<string>
  readonly isModern: boolean
  retry: NodeJS.Timeout | undefined
  failures: number
}

/** The one stream of a newer upstream. */
interface Feed {
  readonly uris: Set<string>
  ear: Ear | null
  timer: NodeJS.Timeout | undefined
}

/** Holders that are told by one message. */
const AT_ONCE = 1_000

const linkOf = ({ upstreamId, owner, asks }: LinkKey): string => `${upstreamId}\n${owner}\n${asks}`

export class Watches {
  readonly #deps: WatchesDeps
  /** By link and URI. */
  readonly #watches = new Map<string, Watch>()
  readonly #ofHolder = new Map<string, Set<string>>()
  readonly #feeds = new Map<string, Feed>()
  #count = 0
  #isClosed = false

  constructor(deps: WatchesDeps) {
    this.#deps = deps
    deps.broker.onLost = (key) => this.#onLost(key)
    deps.broker.onUpdated = (key, uri) => this.#onUpdated(key, uri)
  }

  /** How many holders wait for how many resources. */
  get size(): number {
    return this.#count
  }

  /** Errors: TOO_MANY, and what the upstream says to it. */
  async watch(holder: string, key: LinkKey, uri: string, on: boolean): Promise<void> {
    const name = `${linkOf(key)}\n${uri}`
    if (!on) {
      this.#leave(holder, name)
      return
    }
    const own = this.#ofHolder.get(holder)
    if (own?.has(name) === true) return
    const { limits, isModern } = this.#deps
    if (this.#count >= limits.watchesMax || (own?.size ?? 0) >= limits.watchesPerHolder)
      throw new GatewayError('TOO_MANY', 'Too many resources are watched already')
    const modern = (await isModern(key.upstreamId)) === true
    if (this.#isClosed) throw new GatewayError('SHUTTING_DOWN')
    let watch = this.#watches.get(name)
    const isFirst = watch === undefined
    watch ??= { key, uri, holders: new Set(), isModern: modern, retry: undefined, failures: 0 }
    this.#watches.set(name, watch)
    if (!watch.holders.has(holder)) this.#count += 1
    watch.holders.add(holder)
    this.#ofHolder.set(holder, (this.#ofHolder.get(holder) ?? new Set()).add(name))
    if (!isFirst) return
    if (modern) {
      this.#feed(key.upstreamId).uris.add(uri)
      this.#openSoon(key.upstreamId)
      return
    }
    try {
      await this.#deps.broker.subscribe(key, uri, true)
    } catch (error) {
      for (const each of [...watch.holders]) this.#leave(each, name)
      throw error
    }
  }

  unwatch(holder: string): void {
    for (const name of [...(this.#ofHolder.get(holder) ?? [])]) this.#leave(holder, name)
  }

  close(): void {
    this.#isClosed = true
    for (const { retry } of this.#watches.values()) clearTimeout(retry)
    for (const { ear, timer } of this.#feeds.values()) {
      clearTimeout(timer)
      ear?.close()
    }
    this.#watches.clear()
    this.#feeds.clear()
  }

  #leave(holder: string, name: string): void {
    const own = this.#ofHolder.get(holder)
    own?.delete(name)
    if (own?.size === 0) this.#ofHolder.delete(holder)
    const watch = this.#watches.get(name)
    if (watch === undefined || !watch.holders.delete(holder)) return
    this.#count -= 1
    if (watch.holders.size > 0) return
    this.#watches.delete(name)
    clearTimeout(watch.retry)
    const { key, uri } = watch
    if (watch.isModern) {
      this.#feed(key.upstreamId).uris.delete(uri)
      this.#openSoon(key.upstreamId)
    } else
      this.#deps.broker.subscribe(key, uri, false).catch((error: unknown) => {
        this.#deps.log.debug('watch.end', { uri, error })
      })
  }

  // --- what upstreams say -------------------------------------------------------------------------------------------------

  #onUpdated(key: LinkKey, uri: string): void {
    const watch = this.#watches.get(`${linkOf(key)}\n${uri}`)
    if (watch === undefined) return
    const holders = [...watch.holders]
    for (let at = 0; at < holders.length; at += AT_ONCE)
      this.#deps.bus.publish('resourceUpdated', { uri, holders: holders.slice(at, at + AT_ONCE) })
  }

  /** Whoever watches is told once, since something may have changed meanwhile, and the subscription is made anew. */
  #onLost(key: LinkKey): void {
    if (this.#isClosed) return
    const link = linkOf(key)
    for (const watch of this.#watches.values())
      if (!watch.isModern && linkOf(watch.key) === link) this.#renewLater(watch)
  }

  #renewLater(watch: Watch): void {
    const { limits, random, broker } = this.#deps
    clearTimeout(watch.retry)
    const ms = Math.min(limits.retryMsMax, limits.retryMsBase * 2 ** Math.min(watch.failures, 16))
    watch.retry = setTimeout(
      () => {
        broker.subscribe(watch.key, watch.uri, true).then(
          () => {
            watch.failures = 0
            this.#onUpdated(watch.key, watch.uri)
          },
          () => {
            watch.failures += 1
            if (!this.#isClosed && watch.holders.size > 0) this.#renewLater(watch)
          },
        )
      },
      jitter(ms, 0.25, random()),
    )
    watch.retry.unref()
  }

  // --- newer upstreams: one stream, whose filter is fixed when it is opened ---------------------------------------------------

  #feed(upstreamId: string): Feed {
    const known = this.#feeds.get(upstreamId)
    if (known !== undefined) return known
    const feed: Feed = { uris: new Set(), ear: null, timer: undefined }
    this.#feeds.set(upstreamId, feed)
    return feed
  }

  #openSoon(upstreamId: string): void {
    const feed = this.#feed(upstreamId)
    clearTimeout(feed.timer)
    feed.timer = setTimeout(() => {
      feed.ear?.close()
      feed.ear = null
      if (feed.uris.size === 0) this.#feeds.delete(upstreamId)
      else feed.ear = this.#deps.broker.hearOf(upstreamId, () => [...feed.uris])
    }, this.#deps.limits.newsQuietMs)
    feed.timer.unref()
  }
}
