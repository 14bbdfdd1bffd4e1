// The primary's children: which one runs for whom, how many there may be, and when one must end. A child is a process of a
// stdio upstream (child.ts, started by processes.ts) or a stream of an HTTP+SSE one (stream-child.ts).

import { GatewayError } from '../core/errors.ts'
import type { Channel, Children, ChildSpec, ChildView } from '../ports/children.ts'
import { Child, type Running } from './child.ts'
import { Processes, type ProcessesOptions, type StartOptions } from './processes.ts'
import { StreamChild } from './stream-child.ts'
import { Tail } from './tail.ts'

export interface ChildrenOptions extends ProcessesOptions {
  /** Hears what processes write on their error output. */
  readonly onStderr?: (chunk: Buffer, childId: string) => void
}

type Kind = ChildSpec['kind']

/** How many ended children are remembered, for the reason that a late caller is told. */
const ENDED_MAX = 256

interface Wanted {
  readonly upstreamId: string
  readonly kind: Kind
  readonly child: Promise<Running>
  /** The child, once it runs. */
  running: Running | null
}

const NOUN: Readonly<Record<Kind, string>> = { process: 'process', stream: 'stream' }

const kindOf = (child: Running): Kind => (child instanceof Child ? 'process' : 'stream')

function keyOf(upstreamId: string, owner: string): string {
  return `${upstreamId}\n${owner}`
}

/** Adds to a map that forgets its oldest entry past `max`. */
function remember<T>(map: Map<string, T>, key: string, value: T, max: number): void {
  map.delete(key)
  map.set(key, value)
  if (map.size > max) map.delete(map.keys().next().value!)
}

class ChildrenOf implements Children {
  onExit: Children['onExit'] = null
  readonly #options: ChildrenOptions
  readonly #processes: Processes
  /** All that there may be: running and ending ones. */
  readonly #children = new Map<string, Running>()
  /** The one child of an upstream and owner, from the wish for it to its end. */
  readonly #wanted = new Map<string, Wanted>()
  readonly #ended = new Map<string, string>()
  readonly #stderr = new Map<string, Tail>()
  #nextId = 1
  #sweepTimer: NodeJS.Timeout | null = null
  #closed = false

  constructor(options: ChildrenOptions) {
    this.#options = options
    this.#processes = new Processes(options)
  }

  async spawn(
    upstreamId: string,
    owner: string,
    spec: ChildSpec,
    childrenMax: number,
    idleMs: number,
  ): Promise<string> {
    const key = keyOf(upstreamId, owner)
    const wanted = this.#wanted.get(key)
    if (wanted !== undefined) return (await wanted.child).id
    this.#checkRoom(upstreamId, spec.kind, childrenMax)
    const child = this.#start(key, upstreamId, owner, spec, idleMs)
    const fresh: Wanted = { upstreamId, kind: spec.kind, child, running: null }
    this.#wanted.set(key, fresh)
    try {
      fresh.running = await child
      if (fresh.running.state !== 'running') this.#wanted.delete(key)
      return fresh.running.id
    } catch (error) {
      this.#wanted.delete(key)
      throw error
    }
  }

  #checkRoom(upstreamId: string, kind: Kind, childrenMax: number): void {
    if (this.#closed) throw new GatewayError('SHUTTING_DOWN')
    const noun = kind === 'process' ? 'processes' : 'streams'
    let ofUpstream = 0
    let inAll = 0
    for (const wanted of this.#wanted.values()) {
      if (wanted.kind !== kind) continue
      inAll += 1
      if (wanted.upstreamId === upstreamId) ofUpstream += 1
    }
    if (ofUpstream >= childrenMax) {
      throw new GatewayError('UPSTREAM_BUSY', `The upstream has ${ofUpstream} ${noun}, which is its limit`)
    }
    // Ending and replaced ones count here: they are processes still.
    for (const child of this.#children.values())
      if (kindOf(child) === kind && (child.state !== 'running' || child.isRetired)) inAll += 1
    const { limits } = this.#options
    const max = kind === 'process' ? limits.childrenMax : limits.sseStreamsMax
    if (inAll >= max) throw new GatewayError('UPSTREAM_BUSY', `The gateway has ${max} ${noun}, which is its limit`)
  }

  async #start(key: string, upstreamId: string, owner: string, spec: ChildSpec, idleMs: number): Promise<Running> {
    const id = `child-${this.#nextId}`
    this.#nextId += 1
    const child: Running = await this.#run(spec, {
      ...{ id, upstreamId, owner, idleMs },
      onEnd: (why, stopped) => this.#onEnd(key, child, why, stopped),
      onGone: () => this.#children.delete(id),
    })
    if (child.state === 'gone') return child
    this.#children.set(id, child)
    this.#sweepLater()
    return child
  }

  #run(spec: ChildSpec, whose: Pick<StartOptions, 'id' | 'upstreamId' | 'owner' | 'idleMs' | 'onEnd' | 'onGone'>) {
    if (spec.kind === 'stream') return StreamChild.start({ ...this.#options, ...whose, spec })
    const onStderr = (chunk: Buffer): void => {
      this.#tail(whose.upstreamId).append(chunk)
      this.#options.onStderr?.(chunk, whose.id)
    }
    return this.#processes.start({ ...whose, spec, onStderr })
  }

  async connect(childId: string): Promise<Channel> {
    const child = this.#children.get(childId)
    if (child === undefined || child.state !== 'running') {
      throw new GatewayError('UPSTREAM_UNAVAILABLE', this.#ended.get(childId) ?? 'It has ended')
    }
    return child.connect()
  }

  async stop(childId: string): Promise<void> {
    const child = this.#children.get(childId)
    if (child !== undefined) await this.#stop(child, 'was stopped')
  }

  retire(childId: string, graceMs: number): void {
    const child = this.#children.get(childId)
    if (child === undefined) return
    this.#forget(keyOf(child.upstreamId, child.owner), child)
    child.retire(`The ${NOUN[kindOf(child)]} was replaced`, graceMs)
  }

  #stop(child: Running, what: string): Promise<void> {
    // From now on the same owner gets a new child.
    this.#forget(keyOf(child.upstreamId, child.owner), child)
    return child.stop(`The ${NOUN[kindOf(child)]} ${what}`)
  }

  #forget(key: string, child: Running): void {
    if (this.#wanted.get(key)?.running === child) this.#wanted.delete(key)
  }

  #onEnd(key: string, child: Running, why: string, stopped: boolean): void {
    this.#forget(key, child)
    remember(this.#ended, child.id, why, ENDED_MAX)
    const { log } = this.#options
    const { pid, startedMs } = child.view()
    const fields = { upstream: child.upstreamId, pid, why, dropped: child.dropped }
    if (stopped) {
      log.info('child.stop', fields)
      return
    }
    log.warn('child.exit', fields)
    this.onExit?.(child.id, child.upstreamId, child.owner, why, this.#options.clock.now() - startedMs)
  }

  list(upstreamId?: string): ChildView[] {
    return [...this.#children.values()]
      .filter((child) => upstreamId === undefined || child.upstreamId === upstreamId)
      .map((child) => child.view())
  }

  stderr(upstreamId: string): string {
    return this.#stderr.get(upstreamId)?.text() ?? ''
  }

  #tail(upstreamId: string): Tail {
    const { childStderrBytes, childStderrUpstreams } = this.#options.limits
    let tail = this.#stderr.get(upstreamId)
    if (tail === undefined) {
      tail = new Tail(childStderrBytes)
      remember(this.#stderr, upstreamId, tail, childStderrUpstreams)
    }
    return tail
  }

  // --- idle children and children over their limits

  #sweepLater(lastMs = 0): void {
    if (this.#sweepTimer !== null || this.#closed) return
    // A sweep reads a file per process of the machine: never more than one hundredth of the time.
    this.#sweepTimer = setTimeout(() => void this.#sweep(), Math.max(this.#options.limits.childPollMs, 100 * lastMs))
    this.#sweepTimer.unref()
  }

  async #sweep(): Promise<void> {
    const begun = performance.now()
    const running = [...this.#children.values()].filter((child) => child.state === 'running')
    for (const child of running) {
      const idleMs = this.#options.clock.now() - child.lastUsedMs
      if (child.idleMs > 0 && idleMs >= child.idleMs) {
        void this.#stop(child, `was idle for ${Math.round(idleMs / 1000)} s`)
      }
    }
    await this.#processes.check(running.filter((child) => child instanceof Child))
    this.#sweepTimer = null
    if (this.#children.size > 0) this.#sweepLater(performance.now() - begun)
  }

  async close(): Promise<void> {
    this.#closed = true
    if (this.#sweepTimer !== null) clearTimeout(this.#sweepTimer)
    this.#processes.refuseAll()
    await Promise.allSettled([...this.#wanted.values()].map((wanted) => wanted.child))
    const last = 'ends, since the gateway is stopping'
    await Promise.all([...this.#children.values()].map((child) => this.#stop(child, last)))
    this.#processes.close()
  }
}

export function createChildren(options: ChildrenOptions): Children {
  return new ChildrenOf(options)
}
