// A child that is a conversation over the network: lines go and come on a stream that its spec opens (sse-stream.ts). It
// runs and ends like a process, so that everything behind it is the same.

import { GatewayError } from '../core/errors.ts'
import type { Limits } from '../core/limits.ts'
import type { Clock } from '../core/time.ts'
import type { Channel, ChildView, Stream, StreamSpec } from '../ports/children.ts'
import type { Log } from '../ports/log.ts'
import { Channels } from './channels.ts'
import type { Running } from './child.ts'

export interface StreamChildOptions {
  readonly id: string
  readonly upstreamId: string
  readonly owner: string
  readonly spec: StreamSpec
  readonly idleMs: number
  readonly limits: Limits
  readonly clock: Clock
  readonly log: Log
  /** Once, at its end; `stopped` when it was asked to end. */
  readonly onEnd: (why: string, stopped: boolean) => void
  readonly onGone: () => void
}

export class StreamChild implements Running {
  readonly id: string
  readonly upstreamId: string
  readonly owner: string
  readonly idleMs: number
  state: 'running' | 'ending' | 'gone' = 'running'
  isRetired = false
  readonly #options: StreamChildOptions
  readonly #startedMs: number
  readonly #channels: Channels
  #stream: Stream | null = null

  private constructor(options: StreamChildOptions) {
    this.id = options.id
    this.upstreamId = options.upstreamId
    this.owner = options.owner
    this.idleMs = options.idleMs
    this.#options = options
    this.#startedMs = options.clock.now()
    const { upstreamId, limits, clock, log } = options
    this.#channels = new Channels({
      ...{ upstreamId, limits, clock, log, noun: 'stream', mark: { child: options.id } },
      queuedBytes: () => this.#stream?.queuedBytes ?? 0,
      write: (line, channel) => this.#stream?.send(line, channel) ?? false,
      hold: () => this.#stream?.hold(),
      release: () => this.#stream?.release(),
    })
  }

  /** Errors: those of the spec's `open`. */
  static async start(options: StreamChildOptions): Promise<StreamChild> {
    const child = new StreamChild(options)
    let ended: string | null = null
    const stream = await options.spec.open({
      onLine: (line) => child.#channels.take(line),
      onRefused: (id, code, message) => child.#channels.refuse(id, code, message),
      onDrain: () => child.#channels.drained(),
      onEnd: (why) => {
        ended = why
        if (child.#stream !== null) child.#end(why, false)
      },
    })
    // It may end with the same bytes that open it.
    if (ended !== null) throw new GatewayError('UPSTREAM_UNAVAILABLE', ended)
    child.#stream = stream
    options.log.info('child.start', { upstream: options.upstreamId, child: options.id })
    return child
  }

  connect(): Channel {
    if (this.state !== 'running') throw new GatewayError('UPSTREAM_UNAVAILABLE', 'The stream has ended')
    return this.#channels.connect()
  }

  get lastUsedMs(): number {
    return this.#channels.lastUsedMs
  }

  get dropped(): number {
    return this.#channels.dropped
  }

  async stop(why: string): Promise<void> {
    this.#end(why, true)
  }

  retire(why: string, graceMs: number): void {
    if (this.isRetired || this.state !== 'running') return
    this.isRetired = true
    this.#channels.retire(graceMs, () => this.#end(why, true))
  }

  view(): ChildView {
    const { id, upstreamId, owner, lastUsedMs, dropped } = this
    const startedMs = this.#startedMs
    return { id, upstreamId, owner, pid: null, startedMs, lastUsedMs, stderr: '', dropped, unset: [] }
  }

  #end(why: string, stopped: boolean): void {
    if (this.state !== 'running') return
    this.state = 'gone'
    this.#stream?.close()
    this.#channels.end(why)
    this.#options.onEnd(why, stopped)
    this.#options.onGone()
  }
}
