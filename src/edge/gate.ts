// How many calls this worker works on at once. Up to `maxInFlight` enter at once; a few wait for a moment; the rest is
// refused while it is cheap to do so, before a body is read. Absent on purpose: rates per caller.

import { GatewayError } from '../core/errors.ts'
import type { Limits } from '../core/limits.ts'

interface Waiter {
  readonly admit: () => void
  readonly refuse: (error: GatewayError) => void
  readonly timer: NodeJS.Timeout
}

export function overloaded(what: string): GatewayError {
  return new GatewayError('OVERLOADED', what, { retryAfterSeconds: 1 })
}

export class Gate {
  readonly #limits: Pick<Limits, 'maxInFlight' | 'maxQueued' | 'queueMs'>
  readonly #waiting = new Set<Waiter>()
  #inFlight = 0
  #closed = false
  readonly #whenEmpty = new Set<() => void>()

  constructor(limits: Pick<Limits, 'maxInFlight' | 'maxQueued' | 'queueMs'>) {
    this.#limits = limits
  }

  get inFlight(): number {
    return this.#inFlight
  }

  get queued(): number {
    return this.#waiting.size
  }

  /** Null when the call is in, else a promise. Errors: OVERLOADED, SHUTTING_DOWN. */
  enter(): Promise<void> | null {
    if (this.#closed) throw new GatewayError('SHUTTING_DOWN')
    if (this.#inFlight < this.#limits.maxInFlight) {
      this.#inFlight += 1
      return null
    }
    return this.#wait()
  }

  /** Further calls of a batch that is in already. They are few (`batchItems`), and waiting for them could wait for itself. */
  widen(calls: number): void {
    this.#inFlight += calls
  }

  leave(calls = 1): void {
    this.#inFlight -= calls
    while (this.#waiting.size > 0 && this.#inFlight < this.#limits.maxInFlight) {
      const [next] = this.#waiting
      this.#waiting.delete(next!)
      clearTimeout(next!.timer)
      this.#inFlight += 1
      next!.admit()
    }
    if (this.#inFlight === 0 && this.#whenEmpty.size > 0) for (const resolve of this.#whenEmpty) resolve()
  }

  /** Waits until nothing is in flight, at most `ms`; whether that came true. */
  async empty(ms: number): Promise<boolean> {
    if (this.#inFlight === 0) return true
    const { promise, resolve } = Promise.withResolvers<void>()
    this.#whenEmpty.add(resolve)
    const timer = setTimeout(resolve, ms)
    await promise
    clearTimeout(timer)
    this.#whenEmpty.delete(resolve)
    return this.#inFlight === 0
  }

  /** Nobody enters any more; those that wait are refused. */
  close(): void {
    this.#closed = true
    for (const waiter of this.#waiting) {
      clearTimeout(waiter.timer)
      waiter.refuse(new GatewayError('SHUTTING_DOWN'))
    }
    this.#waiting.clear()
  }

  #wait(): Promise<void> {
    const { maxInFlight, maxQueued, queueMs } = this.#limits
    if (this.#waiting.size >= maxQueued) {
      throw overloaded(`${maxInFlight} calls are in flight and ${maxQueued} wait`)
    }
    return new Promise((admit, refuse) => {
      const waiter: Waiter = {
        admit,
        refuse,
        timer: setTimeout(() => {
          this.#waiting.delete(waiter)
          refuse(overloaded(`${maxInFlight} calls are in flight, and none ended within ${queueMs} ms`))
        }, queueMs),
      }
      this.#waiting.add(waiter)
    })
  }
}
