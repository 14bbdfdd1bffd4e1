// Whether one address of an upstream is worth trying. After several failures in a row it rests for a time that grows and
// is bounded, then a single request tries it again. Pure: the clock is the caller's. Absent on purpose: rates and windows,
// which need traffic to mean anything.

import { jitter } from '../core/time.ts'

export interface BreakerOptions {
  readonly failuresMax: number
  readonly openMsBase: number
  readonly openMsMax: number
  readonly random: () => number
}

const SPREAD = 0.25

export class Breaker {
  readonly #options: BreakerOptions
  #failures = 0
  #openings = 0
  #openUntilMs = 0
  #isTrying = false
  #triedMs = 0

  constructor(options: BreakerOptions) {
    this.#options = options
  }

  /** Time from which it may be tried, 0 when it is not resting at all. */
  get openUntilMs(): number {
    return this.#openUntilMs
  }

  /** Whether a request may begin now. While half open, that is one request in `openMsBase`; its end must be told. */
  allows(nowMs: number): boolean {
    if (this.#openUntilMs === 0) return true
    return nowMs >= this.#openUntilMs && (!this.#isTrying || nowMs - this.#triedMs >= this.#options.openMsBase)
  }

  begin(nowMs: number): void {
    if (this.#openUntilMs === 0) return
    this.#isTrying = true
    this.#triedMs = nowMs
  }

  succeed(): void {
    if (this.#failures === 0 && this.#openUntilMs === 0) return
    this.#failures = 0
    this.#openings = 0
    this.#openUntilMs = 0
    this.#isTrying = false
  }

  fail(nowMs: number): void {
    this.#failures += 1
    const wasTrial = this.#isTrying
    this.#isTrying = false
    // Late failures of requests that began before it opened must not make it rest longer.
    if (this.#openUntilMs !== 0 && !wasTrial) return
    if (this.#failures < this.#options.failuresMax && !wasTrial) return
    const { openMsBase, openMsMax, random } = this.#options
    const restMs = Math.min(openMsBase * 2 ** this.#openings, openMsMax)
    this.#openings = Math.min(this.#openings + 1, 30)
    this.#openUntilMs = nowMs + jitter(restMs, SPREAD, random())
  }

  /** The request ended without telling anything (it was cancelled). */
  forget(): void {
    this.#isTrying = false
  }
}
