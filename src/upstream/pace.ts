// How fast a stranger may keep us busy: so many lines at once, and so many a second after that. Reading a line costs about
// a microsecond however empty it is, and a server can send millions; a call's deadline alone would give it all our time.
// Pure: the clock is the caller's.

export class Pace {
  readonly #burst: number
  readonly #perSecond: number
  #left: number
  #sinceMs: number

  constructor(burst: number, perSecond: number, nowMs: number) {
    this.#burst = burst
    this.#perSecond = perSecond
    this.#left = burst
    this.#sinceMs = nowMs
  }

  /** False when that is too much. */
  take(count: number, nowMs: number): boolean {
    if (count > this.#left) {
      this.#left = Math.min(this.#burst, this.#left + ((nowMs - this.#sinceMs) / 1000) * this.#perSecond)
      this.#sinceMs = nowMs
    }
    this.#left -= count
    return this.#left >= 0
  }
}
