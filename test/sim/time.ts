// Virtual time: every timer, immediate and clock of the process is ours while a simulation runs, and each step is one
// event, the earliest. Nothing waits, so that ten minutes of patience cost nothing, and a seed replays exactly.

import type { Random } from '../fuzz/random.ts'

interface Event {
  atMs: number
  readonly order: number
  readonly run: () => void
  cancelled: boolean
}

const real = {
  setTimeout: globalThis.setTimeout,
  clearTimeout: globalThis.clearTimeout,
  setInterval: globalThis.setInterval,
  clearInterval: globalThis.clearInterval,
  setImmediate: globalThis.setImmediate,
  clearImmediate: globalThis.clearImmediate,
  dateNow: Date.now,
  performanceNow: performance.now,
  random: Math.random,
}

/** Lets every promise that can settle do so. */
const settle = (): Promise<void> => new Promise((resolve) => void real.setImmediate(resolve))

/** What setTimeout gives back in Node, as far as anybody here uses it. */
class Timer {
  #event: Event | null = null
  readonly #time: VirtualTime
  readonly #ms: number
  readonly #repeats: boolean
  readonly #run: () => void

  constructor(time: VirtualTime, ms: number, repeats: boolean, run: () => void) {
    this.#time = time
    this.#ms = Math.max(1, Math.floor(ms) || 1)
    this.#repeats = repeats
    this.#run = run
    this.refresh()
  }

  refresh(): this {
    this.close()
    this.#event = this.#time.at(this.#time.nowMs + this.#ms, () => {
      this.#event = null
      this.#run()
      if (this.#repeats) this.refresh()
    })
    return this
  }

  close(): this {
    if (this.#event !== null) this.#event.cancelled = true
    this.#event = null
    return this
  }

  ref(): this {
    return this
  }

  unref(): this {
    return this
  }

  hasRef(): boolean {
    return true
  }

  [Symbol.toPrimitive](): number {
    return 0
  }
}

export class VirtualTime {
  nowMs = 1_800_000_000_000
  #order = 0
  /** A binary heap by time, then by order. */
  readonly #heap: Event[] = []

  get waiting(): number {
    return this.#heap.length
  }

  at(atMs: number, run: () => void): Event {
    this.#order += 1
    const event: Event = { atMs, order: this.#order, run, cancelled: false }
    const heap = this.#heap
    let at = heap.push(event) - 1
    while (at > 0) {
      const parent = (at - 1) >> 1
      if (!isBefore(event, heap[parent]!)) break
      heap[at] = heap[parent]!
      at = parent
    }
    heap[at] = event
    return event
  }

  after(ms: number, run: () => void): Event {
    return this.at(this.nowMs + ms, run)
  }

  /** The next event, and everything that follows from it without waiting. False when nothing waits any more. */
  async step(untilMs = Number.POSITIVE_INFINITY): Promise<boolean> {
    for (;;) {
      const next = this.#heap[0]
      if (next === undefined || next.atMs > untilMs) return false
      this.#pop()
      if (next.cancelled) continue
      this.nowMs = Math.max(this.nowMs, next.atMs)
      next.run()
      await settle()
      return true
    }
  }

  /** `random` takes the place of Math.random. Keys and nonces stay truly random: nothing may depend on them. */
  install(random: Random): () => void {
    const timer =
      (repeats: boolean) =>
      (run: (...args: unknown[]) => void, ms?: number, ...args: unknown[]) =>
        new Timer(this, ms ?? 1, repeats, () => run(...args))
    const clear = (given: unknown): void => void (given instanceof Timer && given.close())
    const startMs = this.nowMs
    Object.assign(globalThis, {
      setTimeout: timer(false),
      setInterval: timer(true),
      clearTimeout: clear,
      clearInterval: clear,
      setImmediate: (run: (...args: unknown[]) => void, ...args: unknown[]) => this.at(this.nowMs, () => run(...args)),
      clearImmediate: (event: Event | undefined) => {
        if (event !== undefined) event.cancelled = true
      },
    })
    Date.now = () => this.nowMs
    performance.now = () => this.nowMs - startMs
    Math.random = () => random.int(2 ** 30) / 2 ** 30
    return () => {
      const { dateNow, performanceNow, random: mathRandom, ...timers } = real
      Object.assign(globalThis, timers)
      Date.now = dateNow
      performance.now = performanceNow
      Math.random = mathRandom
    }
  }

  #pop(): void {
    const heap = this.#heap
    const last = heap.pop()!
    if (heap.length === 0) return
    let at = 0
    for (;;) {
      let child = at * 2 + 1
      if (child >= heap.length) break
      if (child + 1 < heap.length && isBefore(heap[child + 1]!, heap[child]!)) child += 1
      if (!isBefore(heap[child]!, last)) break
      heap[at] = heap[child]!
      at = child
    }
    heap[at] = last
  }
}

function isBefore(one: Event, other: Event): boolean {
  return one.atMs < other.atMs || (one.atMs === other.atMs && one.order < other.order)
}
