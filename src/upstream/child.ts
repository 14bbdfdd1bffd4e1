// A child that is a process: a group of its own with three pipes, started without a shell; its lines have a bound.
// Absent on purpose: who talks to it (channels.ts), MCP itself, and restarts (the owner decides).

import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import type { Readable, Writable } from 'node:stream'
import { setTimeout as wait } from 'node:timers/promises'
import { GatewayError } from '../core/errors.ts'
import type { Limits } from '../core/limits.ts'
import type { Clock } from '../core/time.ts'
import type { Channel, ChildView, ProcessSpec } from '../ports/children.ts'
import type { Log } from '../ports/log.ts'
import { Channels, oneLine } from './channels.ts'
import type { LimitedCommand } from './child-limits.ts'
import { LineReader } from './lines.ts'
import { measureGroups } from './process-groups.ts'
import { Tail } from './tail.ts'

const NEWLINE = Buffer.from('\n')
/** How often the end of a process group is looked for. */
const END_POLL_MS = 25
const ZOMBIE_POLLS = 8
/** For the last output of a process that has exited: its pipes may be held open by what it left behind. */
const LAST_OUTPUT_MS = 500
const LAST_WORDS_CHARS = 300

export interface ChildOptions {
  readonly id: string
  readonly upstreamId: string
  readonly owner: string
  readonly spec: ProcessSpec
  readonly command: LimitedCommand
  readonly env: Readonly<Record<string, string>>
  readonly idleMs: number
  readonly limits: Limits
  readonly clock: Clock
  readonly log: Log
  /** Where stderr goes besides the child's own ring. */
  readonly onStderr: (chunk: Buffer) => void
  /** The first line came, or the child ended: it no longer counts as starting. */
  readonly onStarted: () => void
  /** Comes once, when the leader has exited and no channel is left; `stopped` when it was asked to end. */
  readonly onEnd: (why: string, stopped: boolean) => void
  /** Comes once, when nothing of the group is left. */
  readonly onGone: () => void
}

/** Something that runs for one owner: a process, or a stream (stream-child.ts). */
export interface Running {
  readonly id: string
  readonly upstreamId: string
  readonly owner: string
  readonly idleMs: number
  readonly lastUsedMs: number
  readonly dropped: number
  /** Running until it is asked to end or ends; then its place may last a little. */
  readonly state: 'running' | 'ending' | 'gone'
  /** Errors: UPSTREAM_UNAVAILABLE, UPSTREAM_BUSY. */
  connect(): Channel
  /** Resolves when nothing of it is left. */
  stop(why: string): Promise<void>
  /** It ends when nobody talks to it any more, at the latest after `graceMs`. */
  retire(why: string, graceMs: number): void
  readonly isRetired: boolean
  view(): ChildView
}

export class Child implements Running {
  readonly id: string
  readonly upstreamId: string
  readonly owner: string
  readonly spec: ProcessSpec
  readonly pid: number
  readonly startedMs: number
  readonly idleMs: number
  state: 'running' | 'ending' | 'gone' = 'running'
  isRetired = false
  readonly gone: Promise<void>

  readonly #options: ChildOptions
  readonly #process: ChildProcess
  readonly #stdin: Writable
  readonly #lines: LineReader
  readonly #stderr: Tail
  readonly #channels: Channels
  #started = false
  /** Set when somebody asked for the end, and why. */
  #stopWhy: string | null = null
  #killed: string | null = null
  #killAt = 0
  readonly #timers = new Set<NodeJS.Timeout>()

  private constructor(process: ChildProcess, options: ChildOptions) {
    this.id = options.id
    this.upstreamId = options.upstreamId
    this.owner = options.owner
    this.spec = options.spec
    this.idleMs = options.idleMs
    this.pid = process.pid!
    this.startedMs = options.clock.now()
    this.#options = options
    this.#process = process
    this.#stdin = process.stdin!
    this.#stderr = new Tail(options.limits.childStderrBytes)
    this.#stdin.on('error', () => {})
    this.#stdin.on('drain', () => this.#channels.drained())
    const { upstreamId, limits, clock, log } = options
    this.#channels = new Channels({
      ...{ upstreamId, limits, clock, log, noun: 'process', mark: { pid: this.pid } },
      queuedBytes: () => this.#stdin.writableLength,
      write: (line) => this.#write(line),
      hold: () => this.#lines.hold(),
      release: () => this.#lines.release(),
    })
    this.#lines = new LineReader(process.stdout!, {
      lineBytes: options.limits.childLineBytes,
      sliceMs: options.limits.sliceMs,
      onLine: (line) => this.#line(line),
      onTooLong: () => this.kill(`The process sent a line of more than ${options.limits.childLineBytes} bytes`),
    })
    process.stderr!.on('data', (chunk: Buffer) => this.#complain(chunk, process.stderr!))
    process.stderr!.on('error', () => {})
    this.#after(options.limits.childStartMs, () => this.#hasStarted())
    this.gone = this.#watch()
  }

  /** Errors: UPSTREAM_UNAVAILABLE. */
  static async start(options: ChildOptions): Promise<Child> {
    const { command, spec } = options
    let process: ChildProcess
    try {
      process = spawn(command.file, command.args, {
        cwd: spec.cwd ?? undefined,
        env: options.env,
        stdio: ['pipe', 'pipe', 'pipe'],
        // Its own session and process group, so that the whole of it can be stopped.
        detached: true,
      })
      // A child that can be made has its number at once and cannot fail later.
      if (process.pid === undefined) await once(process, 'spawn')
    } catch (error) {
      throw new GatewayError('UPSTREAM_UNAVAILABLE', `The command did not start: ${(error as Error).message}`)
    }
    process.on('error', () => {})
    return new Child(process, options)
  }

  // --- channels

  connect(): Channel {
    if (this.state !== 'running') throw new GatewayError('UPSTREAM_UNAVAILABLE', 'The process has ended')
    return this.#channels.connect()
  }

  get lastUsedMs(): number {
    return this.#channels.lastUsedMs
  }

  get dropped(): number {
    return this.#channels.dropped
  }

  #write(line: Buffer): boolean {
    this.#stdin.cork()
    this.#stdin.write(oneLine(line))
    this.#stdin.write(NEWLINE)
    this.#stdin.uncork()
    return !this.#stdin.writableNeedDrain
  }

  // --- what the child says

  #line(line: Buffer): void {
    this.#hasStarted()
    this.#channels.take(line)
  }

  #complain(chunk: Buffer, stream: Readable): void {
    const { log, onStderr, upstreamId } = this.#options
    this.#stderr.append(chunk)
    onStderr(chunk)
    if (log.enabled('debug')) {
      // A line that falls into two chunks makes two entries: not worth a buffer.
      for (const line of chunk.toString('utf8').split('\n')) {
        if (line !== '') log.debug('child.stderr', { upstream: upstreamId, pid: this.pid, line: line.slice(0, 2_000) })
      }
    }
    const waitMs = this.#channels.noise(chunk.length)
    if (waitMs === 0) return
    stream.pause()
    this.#after(waitMs, () => stream.resume())
  }

  #hasStarted(): void {
    if (this.#started) return
    this.#started = true
    this.#options.onStarted()
  }

  // --- the end

  /** Input closed, then SIGTERM, then SIGKILL to the whole group; resolves when nothing of it is left. */
  stop(why: string): Promise<void> {
    if (this.state !== 'running') return this.gone
    this.state = 'ending'
    this.#stopWhy = why
    this.#channels.closeAll(why)
    this.#stdin.end()
    const { childTermMs, childStopMs } = this.#options.limits
    this.#killAt = performance.now() + childStopMs
    this.#after(Math.min(childTermMs, childStopMs), () => this.#signal('SIGTERM'))
    this.#after(childStopMs, () => this.#signal('SIGKILL'))
    return this.gone
  }

  retire(why: string, graceMs: number): void {
    if (this.isRetired || this.state !== 'running') return
    this.isRetired = true
    this.#channels.retire(graceMs, () => void this.stop(why))
  }

  /** Ends the whole group at once, as an end that nobody asked for. */
  kill(why: string): void {
    if (this.state !== 'running') return
    this.state = 'ending'
    this.#killed = why
    this.#signal('SIGKILL')
  }

  view(): ChildView {
    return {
      id: this.id,
      upstreamId: this.upstreamId,
      owner: this.owner,
      pid: this.state === 'gone' ? null : this.pid,
      startedMs: this.startedMs,
      lastUsedMs: this.lastUsedMs,
      stderr: this.#stderr.text(),
      dropped: this.dropped,
      unset: this.#options.command.unset,
    }
  }

  async #watch(): Promise<void> {
    const outputEnd = new Promise<void>((resolve) => this.#process.stdout!.once('close', () => resolve()))
    const [code, signal] = await new Promise<[number | null, NodeJS.Signals | null]>((resolve) => {
      this.#process.once('exit', (exitCode, exitSignal) => resolve([exitCode, exitSignal]))
    })
    const exitedAt = performance.now()
    this.#hasStarted()
    // What it left behind has no leader and no reader: nothing to wait for. SIGTERM now, SIGKILL soon.
    this.#signal('SIGTERM')
    await Promise.race([outputEnd, wait(LAST_OUTPUT_MS)])
    const stopped = this.#stopWhy !== null
    const why = this.#stopWhy ?? this.#killed ?? this.#describe(code, signal)
    this.state = 'ending'
    this.#channels.end(why)
    this.#options.onEnd(why, stopped)
    this.#process.stdin!.destroy()
    this.#process.stdout!.destroy()
    this.#process.stderr!.destroy()
    await this.#reap(Math.max(this.#killAt, exitedAt + this.#options.limits.childTermMs))
    this.state = 'gone'
    for (const timer of this.#timers) clearTimeout(timer)
    this.#timers.clear()
    this.#options.onGone()
  }

  /** Waits for the end of the processes that the leader left, and ends them at `killAt`. */
  async #reap(killAt: number): Promise<void> {
    let killed = false
    for (let polls = 1; this.#signal(0); polls += 1) {
      const now = performance.now()
      if (!killed && now >= killAt) {
        killed = true
        this.#signal('SIGKILL')
      }
      // Zombies count as alive for kill(2), and in a container without an init nobody takes them away: ask /proc too.
      const living =
        polls % ZOMBIE_POLLS === 0 ? await measureGroups(new Set([this.pid]), this.#options.limits.sliceMs) : null
      if (living !== null && !living.has(this.pid)) return
      if (now >= killAt + LAST_OUTPUT_MS) {
        this.#options.log.warn('child.remains', { upstream: this.upstreamId, group: this.pid })
        return
      }
      await wait(END_POLL_MS)
    }
  }

  #describe(code: number | null, signal: NodeJS.Signals | null): string {
    const cause = signal === 'SIGXCPU' ? ` after ${this.spec.cpuSeconds} s of CPU, its limit` : ''
    const end = signal === null ? `The process exited with code ${code}` : `The process was ended by ${signal}${cause}`
    const words = this.#stderr.lastWords(LAST_WORDS_CHARS)
    return words === '' ? end : `${end}: ${words}`
  }

  /** False when nothing of the group is left. */
  #signal(signal: NodeJS.Signals | 0): boolean {
    try {
      process.kill(-this.pid, signal)
      return true
    } catch (error) {
      // EPERM: something in the group has changed its user; it is there, and it is not ours to end.
      return (error as NodeJS.ErrnoException).code === 'EPERM'
    }
  }

  #after(ms: number, action: () => void): void {
    const timer = setTimeout(() => {
      this.#timers.delete(timer)
      action()
    }, ms)
    this.#timers.add(timer)
  }
}
