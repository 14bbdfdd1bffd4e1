// The primary's stdio children: which one runs for whom, how many there may be, and when one must end. One child
// (pipes, lines, channels, the end of its group) is child.ts.
// If the gateway is killed outright, watchdog.ts ends every group; what a child may use is child-limits.ts and, checked
// every childPollMs here, process-groups.ts.

import { stat, writeFile } from 'node:fs/promises'
import { GatewayError } from '../core/errors.ts'
import type { Limits } from '../core/limits.ts'
import type { Clock } from '../core/time.ts'
import type { Channel, Children, ChildSpec, ChildView } from '../ports/children.ts'
import type { Log } from '../ports/log.ts'
import { Child } from './child.ts'
import { findCommand, findLimitTools, type LimitTools, limitCommand } from './child-limits.ts'
import { measureGroups, sharedMemory } from './process-groups.ts'
import { Tail } from './tail.ts'
import { createWatchdog, type Watchdog } from './watchdog.ts'

export interface ChildrenOptions {
  readonly limits: Limits
  readonly clock: Clock
  readonly log: Log
  /** PATH, HOME, LANG, TZ and TMPDIR of the gateway, as far as they are set: all that children inherit. */
  readonly baseEnv: Readonly<Record<string, string>>
}

/** The kernel takes a child before the gateway when memory runs out. */
const OOM_SCORE = '1000'
/** How many ended children are remembered, for the reason that a late caller is told. */
const ENDED_MAX = 256

interface Wanted {
  readonly upstreamId: string
  readonly child: Promise<Child>
  /** The child, once it runs. */
  running: Child | null
}

interface Waiter {
  readonly start: () => void
  readonly timer: NodeJS.Timeout
}

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
  onExit: ((childId: string, upstreamId: string, owner: string, why: string) => void) | null = null
  readonly #options: ChildrenOptions
  readonly #watchdog: Watchdog
  /** Every process group that there may be: starting, running and ending ones. */
  readonly #children = new Map<string, Child>()
  /** The one child of an upstream and owner, from the wish for it to its end. */
  readonly #wanted = new Map<string, Wanted>()
  readonly #ended = new Map<string, string>()
  readonly #stderr = new Map<string, Tail>()
  readonly #waiters: Waiter[] = []
  #starting = 0
  #nextId = 1
  #tools: Promise<LimitTools> | null = null
  #sweepTimer: NodeJS.Timeout | null = null
  #closed = false

  constructor(options: ChildrenOptions) {
    this.#options = options
    this.#watchdog = createWatchdog({ log: options.log, path: options.baseEnv.PATH ?? '' })
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
    this.#checkRoom(upstreamId, childrenMax)
    const child = this.#start(key, upstreamId, owner, spec, idleMs)
    const fresh: Wanted = { upstreamId, child, running: null }
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

  #checkRoom(upstreamId: string, childrenMax: number): void {
    if (this.#closed) throw new GatewayError('SHUTTING_DOWN')
    let ofUpstream = 0
    for (const wanted of this.#wanted.values()) if (wanted.upstreamId === upstreamId) ofUpstream += 1
    if (ofUpstream >= childrenMax) {
      throw new GatewayError('UPSTREAM_BUSY', `The upstream has ${ofUpstream} processes, which is its limit`)
    }
    // Ending and replaced ones count here: they are processes still.
    let ending = 0
    for (const child of this.#children.values()) if (child.state !== 'running' || child.isRetired) ending += 1
    if (this.#wanted.size + ending >= this.#options.limits.childrenMax) {
      throw new GatewayError(
        'UPSTREAM_BUSY',
        `The gateway has ${this.#options.limits.childrenMax} processes, which is its limit`,
      )
    }
  }

  async #start(key: string, upstreamId: string, owner: string, spec: ChildSpec, idleMs: number): Promise<Child> {
    const { limits, clock, log } = this.#options
    await this.#turn()
    let isStarting = true
    const startedOrEnded = (): void => {
      if (!isStarting) return
      isStarting = false
      this.#starting -= 1
      this.#nextTurn()
    }
    try {
      const env = { ...this.#options.baseEnv, ...spec.env }
      await checkSpec(spec, env.PATH ?? '')
      this.#tools ??= findLimitTools(this.#options.baseEnv.PATH ?? '')
      const tools = await this.#tools
      if (this.#closed) throw new GatewayError('SHUTTING_DOWN')
      const id = `child-${this.#nextId}`
      this.#nextId += 1
      const child = await Child.start({
        ...{ id, upstreamId, owner, spec, env, idleMs, limits, clock, log },
        command: limitCommand(spec, tools),
        onStderr: (chunk) => this.#tail(upstreamId).append(chunk),
        onStarted: startedOrEnded,
        onEnd: (why, stopped) => this.#onEnd(key, child, why, stopped),
        onGone: () => this.#onGone(child),
      })
      this.#watchdog.add(child.pid)
      this.#children.set(id, child)
      this.#sweepLater()
      log.info('child.start', { upstream: upstreamId, pid: child.pid, command: spec.command })
      // May fail where /proc is absent or read-only; nothing depends on it.
      writeFile(`/proc/${child.pid}/oom_score_adj`, OOM_SCORE).catch(() => {})
      return child
    } catch (error) {
      startedOrEnded()
      throw error
    }
  }

  /** At most childrenSpawning start at once: an npx or uvx takes a whole core for seconds. */
  async #turn(): Promise<void> {
    const { limits } = this.#options
    if (this.#starting < limits.childrenSpawning) {
      this.#starting += 1
      return
    }
    await new Promise<void>((resolve, reject) => {
      const waiter: Waiter = {
        start: () => {
          clearTimeout(waiter.timer)
          if (this.#closed) reject(new GatewayError('SHUTTING_DOWN'))
          else {
            this.#starting += 1
            resolve()
          }
        },
        timer: setTimeout(() => {
          this.#waiters.splice(this.#waiters.indexOf(waiter), 1)
          reject(new GatewayError('UPSTREAM_BUSY', `${limits.childrenSpawning} other processes are starting`))
        }, limits.childSpawnWaitMs),
      }
      this.#waiters.push(waiter)
    })
  }

  #nextTurn(): void {
    if (this.#starting < this.#options.limits.childrenSpawning) this.#waiters.shift()?.start()
  }

  async connect(childId: string): Promise<Channel> {
    const child = this.#children.get(childId)
    if (child === undefined || child.state !== 'running') {
      throw new GatewayError('UPSTREAM_UNAVAILABLE', this.#ended.get(childId) ?? 'The process has ended')
    }
    return child.connect()
  }

  async stop(childId: string): Promise<void> {
    const child = this.#children.get(childId)
    if (child !== undefined) await this.#stop(child, 'The process was stopped')
  }

  retire(childId: string, graceMs: number): void {
    const child = this.#children.get(childId)
    if (child === undefined) return
    this.#forget(keyOf(child.upstreamId, child.owner), child)
    child.retire('The process was replaced', graceMs)
  }

  #stop(child: Child, why: string): Promise<void> {
    // From now on the same owner gets a new child.
    this.#forget(keyOf(child.upstreamId, child.owner), child)
    return child.stop(why)
  }

  #forget(key: string, child: Child): void {
    if (this.#wanted.get(key)?.running === child) this.#wanted.delete(key)
  }

  #onEnd(key: string, child: Child, why: string, stopped: boolean): void {
    this.#forget(key, child)
    remember(this.#ended, child.id, why, ENDED_MAX)
    const { log } = this.#options
    const fields = { upstream: child.upstreamId, pid: child.pid, why, dropped: child.dropped }
    if (stopped) {
      log.info('child.stop', fields)
      return
    }
    log.warn('child.exit', fields)
    this.onExit?.(child.id, child.upstreamId, child.owner, why)
  }

  #onGone(child: Child): void {
    this.#watchdog.remove(child.pid)
    this.#children.delete(child.id)
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
        void this.#stop(child, `The process was idle for ${Math.round(idleMs / 1000)} s`)
      }
    }
    const uses = await measureGroups(new Set(running.map((child) => child.pid)), this.#options.limits.sliceMs)
    for (const child of running) {
      const use = uses?.get(child.pid)
      if (use === undefined) continue
      const { memoryBytes, processes } = child.spec
      if (processes > 0 && use.processes > processes) {
        child.kill(`The process had ${use.processes} processes; its limit is ${processes}`)
      } else if (memoryBytes > 0 && use.memoryBytes > memoryBytes) {
        const bytes = await sharedMemory(use)
        if (bytes > memoryBytes) {
          child.kill(`The process used ${mebibytes(bytes)} of memory; its limit is ${mebibytes(memoryBytes)}`)
        }
      }
    }
    this.#sweepTimer = null
    if (this.#children.size > 0) this.#sweepLater(performance.now() - begun)
  }

  async close(): Promise<void> {
    this.#closed = true
    if (this.#sweepTimer !== null) clearTimeout(this.#sweepTimer)
    for (const waiter of this.#waiters.splice(0)) waiter.start()
    await Promise.allSettled([...this.#wanted.values()].map((wanted) => wanted.child))
    await Promise.all([...this.#children.values()].map((child) => this.#stop(child, 'The gateway is stopping')))
    this.#watchdog.close()
  }
}

function mebibytes(bytes: number): string {
  return `${Math.round(bytes / 1024 ** 2)} MiB`
}

/** Says what is wrong with the command itself, which the child's exit code would not. */
async function checkSpec(spec: ChildSpec, path: string): Promise<void> {
  const cwd = spec.cwd ?? process.cwd()
  if (spec.cwd !== null && !(await stat(spec.cwd).catch(() => null))?.isDirectory()) {
    throw new GatewayError('UPSTREAM_UNAVAILABLE', `There is no directory ${JSON.stringify(spec.cwd)} (cwd)`)
  }
  if ((await findCommand(spec.command, path, cwd)) !== null) return
  const where = spec.command.includes('/') ? 'is no executable file' : 'is not on PATH'
  throw new GatewayError('UPSTREAM_UNAVAILABLE', `The command ${JSON.stringify(spec.command)} ${where}`)
}

export function createChildren(options: ChildrenOptions): Children {
  return new ChildrenOf(options)
}
