// When a child that failed may be started again: 1 s after the first failure, then later each time. The restart itself
// happens when somebody next asks for the link; until then everyone is told how long it takes.

import { GatewayError } from '../core/errors.ts'
import type { Limits } from '../core/limits.ts'
import { type Clock, jitter } from '../core/time.ts'

interface Rest {
  failures: number
  lastMs: number
  nextMs: number
}

const SPREAD = 0.25
const RESTS_MAX = 10_000

export class Restarts {
  readonly #deps: { readonly clock: Clock; readonly random: () => number; readonly limits: Limits }
  readonly #rests = new Map<string, Rest>()

  constructor(deps: { readonly clock: Clock; readonly random: () => number; readonly limits: Limits }) {
    this.#deps = deps
  }

  /** Errors: UPSTREAM_UNAVAILABLE while it is too early. `name` is the upstream's, `noun` the child's, for the message. */
  check(key: string, name: string, noun: string): void {
    const waitMs = (this.#rests.get(key)?.nextMs ?? 0) - this.#deps.clock.now()
    if (waitMs <= 0) return
    const retryAfterSeconds = Math.ceil(waitMs / 1000)
    const what = `${name}: its ${noun} has ended; it is started again in ${retryAfterSeconds} s`
    throw new GatewayError('UPSTREAM_UNAVAILABLE', what, { retryAfterSeconds })
  }

  failed(key: string): void {
    const { clock, limits, random } = this.#deps
    const nowMs = clock.now()
    const rest = this.#rests.get(key) ?? { failures: 0, lastMs: 0, nextMs: 0 }
    // Long after the last one it is no series any more.
    if (nowMs - rest.lastMs > 2 * limits.childRestartMsMax) rest.failures = 0
    const waitMs = Math.min(limits.retryMsBase * 2 ** Math.min(rest.failures, 30), limits.childRestartMsMax)
    rest.failures += 1
    rest.lastMs = nowMs
    rest.nextMs = nowMs + jitter(waitMs, SPREAD, random())
    this.#rests.delete(key)
    this.#rests.set(key, rest)
    if (this.#rests.size > RESTS_MAX) this.#rests.delete(this.#rests.keys().next().value!)
  }

  /** Of all keys that begin so. */
  forget(prefix: string): void {
    for (const key of [...this.#rests.keys()]) if (key.startsWith(prefix)) this.#rests.delete(key)
  }
}
