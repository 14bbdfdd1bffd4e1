// One stdio child: a process group, its three pipes, and the channels of those who talk to it. Started without a shell.
// Everything from the child is hostile: lines have a bound, lines that are no message are dropped and counted, a flood
// is throttled, and input that it does not read is queued up to a bound.
// Absent on purpose: MCP itself (the holder of a channel speaks it) and restarts (the owner decides).

import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import type { Readable, Writable } from 'node:stream'
import { setTimeout as wait } from 'node:timers/promises'
import { GatewayError } from '../core/errors.ts'
import type { Limits } from '../core/limits.ts'
import type { Clock } from '../core/time.ts'
import { JsonFault } from '../mcp/json.ts'
import type { Channel, ChildSpec, ChildView } from '../ports/children.ts'
import type { Log } from '../ports/log.ts'
import type { LimitedCommand } from './child-limits.ts'
import { routeLine } from './line-route.ts'
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
/** A line that nobody asked for costs more than its bytes. */
const NOISE_LINE_BYTES = 256
/** One that says it is somebody's may be an answer, of whatever size: only how many there are is counted. */
const LINE_BYTES = 200

export interface ChildOptions {
  readonly id: string
  readonly upstreamId: string
  readonly owner: string
  readonly spec: ChildSpec
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

class ChildChannel implements Channel {
  readonly n: number
  readonly child: Child
  onLine: ((line: Buffer) => void) | null = null
  onDrain: (() => void) | null = null
  onClose: ((why: string) => void) | null = null
  paused = false
  waitsForDrain = false

  constructor(n: number, child: Child) {
    this.n = n
    this.child = child
  }

  send(line: Buffer): boolean {
    return this.child.send(this, line)
  }

  pause(): void {
    if (this.paused || !this.child.has(this)) return
    this.paused = true
    this.child.hold()
  }

  resume(): void {
    if (!this.paused) return
    this.paused = false
    this.child.release()
  }

  close(): void {
    this.child.remove(this)
  }
}

export class Child {
  readonly id: string
  readonly upstreamId: string
  readonly owner: string
  readonly spec: ChildSpec
  readonly pid: number
  readonly startedMs: number
  readonly idleMs: number
  lastUsedMs: number
  dropped = 0
  /** Running until it is asked to end or ends; then its place in the group may last a little. */
  state: 'running' | 'ending' | 'gone' = 'running'
  isRetired = false
  readonly gone: Promise<void>

  readonly #options: ChildOptions
  readonly #process: ChildProcess
  readonly #stdin: Writable
  readonly #lines: LineReader
  readonly #stderr: Tail
  readonly #channels = new Map<number, ChildChannel>()
  #nextChannel = 0
  #started = false
  /** Set when somebody asked for the end, and why. */
  #stopWhy: string | null = null
  /** Why to end as soon as there is no channel. */
  #leaving: string | null = null
  #killed: string | null = null
  #killAt = 0
  #noiseSecond = 0
  #noiseBytes = 0
  #quiet = false
  readonly #timers = new Set<NodeJS.Timeout>()

  private constructor(process: ChildProcess, options: ChildOptions) {
    this.id = options.id
    this.upstreamId = options.upstreamId
    this.owner = options.owner
    this.spec = options.spec
    this.idleMs = options.idleMs
    this.pid = process.pid!
    this.startedMs = options.clock.now()
    this.lastUsedMs = this.startedMs
    this.#options = options
    this.#process = process
    this.#stdin = process.stdin!
    this.#stderr = new Tail(options.limits.childStderrBytes)
    this.#stdin.on('error', () => {})
    this.#stdin.on('drain', () => this.#drained())
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
    if (this.#channels.size >= this.#options.limits.childChannels) {
      throw new GatewayError('UPSTREAM_BUSY', `The process has ${this.#channels.size} channels, which is the limit`)
    }
    const channel = new ChildChannel(this.#nextChannel, this)
    this.#nextChannel += 1
    this.#channels.set(channel.n, channel)
    return channel
  }

  has(channel: ChildChannel): boolean {
    return this.#channels.get(channel.n) === channel
  }

  remove(channel: ChildChannel): void {
    if (!this.has(channel)) return
    channel.resume()
    this.#channels.delete(channel.n)
    if (this.#leaving !== null && this.#channels.size === 0) void this.stop(this.#leaving)
  }

  hold(): void {
    this.#lines.hold()
  }

  release(): void {
    this.#lines.release()
  }

  send(channel: ChildChannel, given: Buffer): boolean {
    if (!this.has(channel)) return false
    this.lastUsedMs = this.#options.clock.now()
    if (this.#stdin.writableLength > this.#options.limits.childQueueBytes) {
      this.#closeChannel(channel, 'the process does not read its input')
      return false
    }
    this.#stdin.cork()
    this.#stdin.write(oneLine(given))
    this.#stdin.write(NEWLINE)
    this.#stdin.uncork()
    channel.waitsForDrain = this.#stdin.writableNeedDrain
    return !channel.waitsForDrain
  }

  #drained(): void {
    for (const channel of [...this.#channels.values()]) {
      if (!channel.waitsForDrain) continue
      channel.waitsForDrain = false
      channel.onDrain?.()
    }
  }

  #closeChannel(channel: ChildChannel, why: string): void {
    this.remove(channel)
    channel.onClose?.(why)
  }

  // --- what the child says

  #line(line: Buffer): void {
    this.#hasStarted()
    try {
      routeLine(line, (route, message) => {
        // News and questions are no use: a child that only talks to itself may be idle.
        if (typeof route === 'number') this.lastUsedMs = this.#options.clock.now()
        if (route === 'all') {
          for (const channel of [...this.#channels.values()]) channel.onLine?.(message)
          this.#charge(message.length + NOISE_LINE_BYTES)
          return
        }
        const channel = this.#channels.get(route === 'broker' ? 0 : route)
        if (channel === undefined) {
          this.#drop(message)
          return
        }
        channel.onLine?.(message)
        this.#charge(route === 'broker' ? message.length + NOISE_LINE_BYTES : LINE_BYTES)
      })
    } catch (error) {
      // Banners and debug prints: many servers write them here instead of to stderr.
      if (error instanceof JsonFault) this.#drop(line)
      else this.#options.log.error('child.line', { upstream: this.upstreamId, pid: this.pid, error })
    }
  }

  #drop(line: Buffer): void {
    this.dropped += 1
    const { log, upstreamId } = this.#options
    if (log.enabled('debug')) {
      log.debug('child.dropped', { upstream: upstreamId, pid: this.pid, line: line.toString('utf8', 0, 200) })
    }
    this.#charge(line.length + NOISE_LINE_BYTES)
  }

  /** Output past its share of this second waits for the next one. */
  #charge(bytes: number): void {
    const waitMs = this.#noise(bytes)
    if (waitMs === 0 || this.#quiet) return
    this.#quiet = true
    this.hold()
    this.#after(waitMs, () => {
      this.#quiet = false
      this.release()
    })
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
    const waitMs = this.#noise(chunk.length)
    if (waitMs === 0) return
    stream.pause()
    this.#after(waitMs, () => stream.resume())
  }

  /** What nobody waits for may cost so many bytes a second; past that its stream waits for the next second. */
  #noise(bytes: number): number {
    const now = performance.now()
    const second = Math.floor(now / 1000)
    if (second !== this.#noiseSecond) {
      this.#noiseSecond = second
      this.#noiseBytes = 0
    }
    this.#noiseBytes += bytes
    return this.#noiseBytes <= this.#options.limits.childNoiseBytes ? 0 : Math.ceil((second + 1) * 1000 - now)
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
    this.#closeAll(why)
    this.#stdin.end()
    const { childTermMs, childStopMs } = this.#options.limits
    this.#killAt = performance.now() + childStopMs
    this.#after(Math.min(childTermMs, childStopMs), () => this.#signal('SIGTERM'))
    this.#after(childStopMs, () => this.#signal('SIGKILL'))
    return this.gone
  }

  /** Ends when nobody talks to it any more; whoever has just been told of it still gets through. */
  retire(why: string, graceMs: number): void {
    if (this.isRetired || this.state !== 'running') return
    this.isRetired = true
    this.#after(Math.min(this.#options.limits.childRetireMs, graceMs), () => {
      if (this.#channels.size === 0) void this.stop(why)
      else this.#leaving = why
    })
    this.#after(graceMs, () => void this.stop(why))
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

  #closeAll(why: string): void {
    for (const channel of [...this.#channels.values()]) this.#closeChannel(channel, why)
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
    this.#closeAll(why)
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

/**
 * The line without raw line breaks. A client may lay its JSON out over several lines, and such a break would end our
 * line inside it and let the rest pass for a message of its own. In proven JSON they are white space only.
 */
function oneLine(line: Buffer): Buffer {
  if (!line.includes(0x0a) && !line.includes(0x0d)) return line
  const copy = Buffer.from(line)
  for (let at = 0; at < copy.length; at += 1) {
    if (copy[at] === 0x0a || copy[at] === 0x0d) copy[at] = 0x20
  }
  return copy
}
