// How processes of stdio upstreams are started, a few at a time, and which of them use more than they may. If the gateway
// is killed outright, watchdog.ts ends every group; what a child may use is child-limits.ts and, checked every
// childPollMs, process-groups.ts. Absent on purpose: whose they are (children.ts).

import { stat, writeFile } from 'node:fs/promises'
import { GatewayError } from '../core/errors.ts'
import type { Limits } from '../core/limits.ts'
import type { Clock } from '../core/time.ts'
import type { ProcessSpec } from '../ports/children.ts'
import type { Log } from '../ports/log.ts'
import { Child, type ChildOptions } from './child.ts'
import { findCommand, findLimitTools, type LimitTools, limitCommand } from './child-limits.ts'
import { measureGroups, sharedMemory } from './process-groups.ts'
import { createWatchdog, type Watchdog } from './watchdog.ts'

export interface ProcessesOptions {
  readonly limits: Limits
  readonly clock: Clock
  readonly log: Log
  /** PATH, HOME, LANG, TZ and TMPDIR of the gateway, as far as they are set: all that children inherit. */
  readonly baseEnv: Readonly<Record<string, string>>
}

export type StartOptions = Pick<
  ChildOptions,
  'id' | 'upstreamId' | 'owner' | 'spec' | 'idleMs' | 'onStderr' | 'onEnd' | 'onGone'
>

/** The kernel takes a child before the gateway when memory runs out. */
const OOM_SCORE = '1000'

interface Waiter {
  readonly start: () => void
  readonly timer: NodeJS.Timeout
}

export class Processes {
  readonly #options: ProcessesOptions
  readonly #watchdog: Watchdog
  readonly #waiters: Waiter[] = []
  #starting = 0
  #tools: Promise<LimitTools> | null = null
  #isClosed = false

  constructor(options: ProcessesOptions) {
    this.#options = options
    this.#watchdog = createWatchdog({ log: options.log, path: options.baseEnv.PATH ?? '' })
  }

  /** Errors: UPSTREAM_UNAVAILABLE, UPSTREAM_BUSY, SHUTTING_DOWN. */
  async start({ onGone, ...options }: StartOptions): Promise<Child> {
    const { limits, clock, log, baseEnv } = this.#options
    const { spec, upstreamId } = options
    await this.#turn()
    let isStarting = true
    const startedOrEnded = (): void => {
      if (!isStarting) return
      isStarting = false
      this.#starting -= 1
      this.#nextTurn()
    }
    try {
      const env = { ...baseEnv, ...spec.env }
      await checkSpec(spec, env.PATH ?? '')
      this.#tools ??= findLimitTools(baseEnv.PATH ?? '')
      const tools = await this.#tools
      if (this.#isClosed) throw new GatewayError('SHUTTING_DOWN')
      const child = await Child.start({
        ...{ ...options, env, limits, clock, log },
        command: limitCommand(spec, tools),
        onStarted: startedOrEnded,
        onGone: () => {
          this.#watchdog.remove(child.pid)
          onGone()
        },
      })
      this.#watchdog.add(child.pid)
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
          if (this.#isClosed) reject(new GatewayError('SHUTTING_DOWN'))
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

  /** Ends those that use more than they may. */
  async check(running: readonly Child[]): Promise<void> {
    if (running.length === 0) return
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
  }

  /** Whoever waits for a turn is told that there will be none. */
  refuseAll(): void {
    this.#isClosed = true
    for (const waiter of this.#waiters.splice(0)) waiter.start()
  }

  /** After the last one is gone. */
  close(): void {
    this.#watchdog.close()
  }
}

function mebibytes(bytes: number): string {
  return `${Math.round(bytes / 1024 ** 2)} MiB`
}

/** Says what is wrong with the command itself, which the child's exit code would not. */
async function checkSpec(spec: ProcessSpec, path: string): Promise<void> {
  const cwd = spec.cwd ?? process.cwd()
  if (spec.cwd !== null && !(await stat(spec.cwd).catch(() => null))?.isDirectory()) {
    throw new GatewayError('UPSTREAM_UNAVAILABLE', `There is no directory ${JSON.stringify(spec.cwd)} (cwd)`)
  }
  if ((await findCommand(spec.command, path, cwd)) !== null) return
  const where = spec.command.includes('/') ? 'is no executable file' : 'is not on PATH'
  throw new GatewayError('UPSTREAM_UNAVAILABLE', `The command ${JSON.stringify(spec.command)} ${where}`)
}
