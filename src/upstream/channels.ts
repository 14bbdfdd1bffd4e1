// The channels of one child, whatever it is: who talks to it, to whom its lines belong, and how much of what nobody waits
// for it may say in a second. Everything from the child is hostile: lines that are no message are dropped and counted, a
// flood is throttled, and input that it does not take is queued up to a bound.
// Absent on purpose: how lines come and go (child.ts, stream-child.ts) and MCP itself (the holder of a channel speaks it).

import { type ErrorCode, GatewayError } from '../core/errors.ts'
import type { Limits } from '../core/limits.ts'
import type { Clock } from '../core/time.ts'
import { JsonFault } from '../mcp/json.ts'
import type { Channel } from '../ports/children.ts'
import type { Log } from '../ports/log.ts'
import { channelOf, routeLine } from './line-route.ts'

/** A line that nobody asked for costs more than its bytes. */
const NOISE_LINE_BYTES = 256
/** One that says it is somebody's may be an answer, of whatever size: only how many there are is counted. */
const LINE_BYTES = 200

export interface ChannelsOptions {
  readonly upstreamId: string
  /** What the child is called: "process" or "stream". */
  readonly noun: string
  /** What tells it from others, for the log. */
  readonly mark: Readonly<Record<string, string | number>>
  readonly limits: Limits
  readonly clock: Clock
  readonly log: Log
  readonly queuedBytes: () => number
  /** False when the child's input is full: `drained` is called when it is not any more. */
  readonly write: (line: Buffer, channel: number) => boolean
  /** The child's output waits until as many releases have come as holds. */
  readonly hold: () => void
  readonly release: () => void
}

class ChildChannel implements Channel {
  readonly n: number
  onLine: Channel['onLine'] = null
  onRefused: Channel['onRefused'] = null
  onDrain: Channel['onDrain'] = null
  onClose: Channel['onClose'] = null
  paused = false
  waitsForDrain = false
  readonly #channels: Channels

  constructor(n: number, channels: Channels) {
    this.n = n
    this.#channels = channels
  }

  send(line: Buffer): boolean {
    return this.#channels.send(this, line)
  }

  pause(): void {
    this.#channels.pause(this)
  }

  resume(): void {
    this.#channels.resume(this)
  }

  close(): void {
    this.#channels.remove(this)
  }
}

export class Channels {
  lastUsedMs: number
  dropped = 0
  readonly #options: ChannelsOptions
  readonly #channels = new Map<number, ChildChannel>()
  #next = 0
  #noiseSecond = 0
  #noiseBytes = 0
  #quiet: NodeJS.Timeout | null = null
  #leaving: (() => void) | null = null
  readonly #retiring: NodeJS.Timeout[] = []

  constructor(options: ChannelsOptions) {
    this.#options = options
    this.lastUsedMs = options.clock.now()
  }

  /** Errors: UPSTREAM_BUSY. */
  connect(): Channel {
    const { limits, noun } = this.#options
    if (this.#channels.size >= limits.childChannels) {
      throw new GatewayError('UPSTREAM_BUSY', `The ${noun} has ${this.#channels.size} channels, which is the limit`)
    }
    const channel = new ChildChannel(this.#next, this)
    this.#next += 1
    this.#channels.set(channel.n, channel)
    return channel
  }

  closeAll(why: string): void {
    for (const channel of [...this.#channels.values()]) this.#close(channel, why)
  }

  /** Calls `end` when nobody talks to the child any more; whoever has just been told of it still gets through. */
  retire(graceMs: number, end: () => void): void {
    const soon = (): void => {
      this.#leaving = end
      this.#leaveIfEmpty()
    }
    this.#retiring.push(
      setTimeout(soon, Math.min(this.#options.limits.childRetireMs, graceMs)),
      setTimeout(end, graceMs),
    )
  }

  #leaveIfEmpty(): void {
    if (this.#channels.size === 0) this.#leaving?.()
  }

  /** Nothing comes any more. */
  end(why: string): void {
    this.#leaving = null
    this.closeAll(why)
    for (const timer of this.#retiring) clearTimeout(timer)
    if (this.#quiet !== null) clearTimeout(this.#quiet)
    this.#quiet = null
  }

  // --- told by channels -----------------------------------------------------------------------------------------------

  remove(channel: ChildChannel): void {
    if (!this.#has(channel)) return
    this.resume(channel)
    this.#channels.delete(channel.n)
    this.#leaveIfEmpty()
  }

  pause(channel: ChildChannel): void {
    if (channel.paused || !this.#has(channel)) return
    channel.paused = true
    this.#options.hold()
  }

  resume(channel: ChildChannel): void {
    if (!channel.paused) return
    channel.paused = false
    this.#options.release()
  }

  send(channel: ChildChannel, line: Buffer): boolean {
    if (!this.#has(channel)) return false
    const { clock, limits, noun, queuedBytes, write } = this.#options
    this.lastUsedMs = clock.now()
    if (queuedBytes() > limits.childQueueBytes) {
      this.#close(channel, `the ${noun} does not read its input`)
      return false
    }
    channel.waitsForDrain = !write(line, channel.n)
    return !channel.waitsForDrain
  }

  #has(channel: ChildChannel): boolean {
    return this.#channels.get(channel.n) === channel
  }

  #close(channel: ChildChannel, why: string): void {
    this.remove(channel)
    channel.onClose?.(why)
  }

  // --- told by the child ----------------------------------------------------------------------------------------------

  drained(): void {
    for (const channel of [...this.#channels.values()]) {
      if (!channel.waitsForDrain) continue
      channel.waitsForDrain = false
      channel.onDrain?.()
    }
  }

  /** A line that the child has said. */
  take(line: Buffer): void {
    const { clock, log, upstreamId, mark } = this.#options
    try {
      routeLine(line, (route, message) => {
        // News and questions are no use: a child that only talks to itself may be idle.
        if (typeof route === 'number') this.lastUsedMs = clock.now()
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
      else log.error('child.line', { upstream: upstreamId, ...mark, error })
    }
  }

  /** The request with this id (raw JSON text) has failed on its own. */
  refuse(id: string, code: ErrorCode, message: string): void {
    const channel = channelOf(id)
    if (channel !== null) this.#channels.get(channel)?.onRefused?.(id, code, message)
  }

  #drop(line: Buffer): void {
    this.dropped += 1
    const { log, upstreamId, mark } = this.#options
    if (log.enabled('debug')) {
      log.debug('child.dropped', { upstream: upstreamId, ...mark, line: line.toString('utf8', 0, 200) })
    }
    this.#charge(line.length + NOISE_LINE_BYTES)
  }

  /** Output past its share of this second waits for the next one. */
  #charge(bytes: number): void {
    const waitMs = this.noise(bytes)
    if (waitMs === 0 || this.#quiet !== null) return
    this.#options.hold()
    this.#quiet = setTimeout(() => {
      this.#quiet = null
      this.#options.release()
    }, waitMs)
  }

  /** What nobody waits for may cost so many bytes a second; past that it waits for the next second: how long. */
  noise(bytes: number): number {
    const now = performance.now()
    const second = Math.floor(now / 1000)
    if (second !== this.#noiseSecond) {
      this.#noiseSecond = second
      this.#noiseBytes = 0
    }
    this.#noiseBytes += bytes
    return this.#noiseBytes <= this.#options.limits.childNoiseBytes ? 0 : Math.ceil((second + 1) * 1000 - now)
  }
}

/**
 * The line without raw line breaks. A client may lay its JSON out over several lines, and such a break would end our
 * line inside it and let the rest pass for a message of its own. In proven JSON they are white space only.
 */
export function oneLine(line: Buffer): Buffer {
  if (!line.includes(0x0a) && !line.includes(0x0d)) return line
  const copy = Buffer.from(line)
  for (let at = 0; at < copy.length; at += 1) {
    if (copy[at] === 0x0a || copy[at] === 0x0d) copy[at] = 0x20
  }
  return copy
}
