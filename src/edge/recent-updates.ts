// Which watched resources have changed lately, by who watches them: for sessions whose stream broke, so that they can be
// told when it is resumed, at whatever worker. Every worker hears all news of resources by the bus and keeps its own copy.

import type { Clock } from '../core/time.ts'

interface Recent {
  /** When each resource changed last. */
  readonly atMs: Map<string, number>
  lastMs: number
}

export class RecentUpdates {
  readonly #clock: Clock
  readonly #keptMs: number
  readonly #max: number
  /** The one whose last news is oldest comes first. */
  readonly #byHolder = new Map<string, Recent>()
  #count = 0

  /** News are kept for `keptMs`; of more than `max` the oldest go. */
  constructor(clock: Clock, keptMs: number, max: number) {
    this.#clock = clock
    this.#keptMs = keptMs
    this.#max = max
  }

  get size(): number {
    return this.#count
  }

  note(holder: string, uri: string): void {
    const nowMs = this.#clock.now()
    const recent = this.#byHolder.get(holder) ?? { atMs: new Map<string, number>(), lastMs: nowMs }
    this.#count += recent.atMs.has(uri) ? 0 : 1
    recent.atMs.set(uri, nowMs)
    recent.lastMs = nowMs
    this.#byHolder.delete(holder)
    this.#byHolder.set(holder, recent)
    while (this.#count > this.#max) this.forget(this.#byHolder.keys().next().value!)
  }

  since(holder: string, ms: number): string[] {
    const recent = this.#byHolder.get(holder)
    return recent === undefined ? [] : [...recent.atMs].filter(([, atMs]) => atMs >= ms).map(([uri]) => uri)
  }

  forget(holder: string): void {
    this.#count -= this.#byHolder.get(holder)?.atMs.size ?? 0
    this.#byHolder.delete(holder)
  }

  tick(): void {
    const beforeMs = this.#clock.now() - this.#keptMs
    for (const [holder, { lastMs }] of this.#byHolder) {
      if (lastMs > beforeMs) break
      this.forget(holder)
    }
  }
}
