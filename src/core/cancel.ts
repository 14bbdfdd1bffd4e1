// One call's cancellation: a flag and a short list of listeners. An AbortController does the same for 2–5 µs more per
// call, which is why the call path has this one. Absent on purpose: time-outs (the upstream link owns the deadline).

export type CancelReason = 'client' | 'disconnect' | 'deadline' | 'shutdown'

export class Cancel {
  reason: CancelReason | null = null
  #listeners: ((reason: CancelReason) => void)[] | null = null

  get cancelled(): boolean {
    return this.reason !== null
  }

  /** Runs every listener once; later calls change nothing. */
  cancel(reason: CancelReason): void {
    if (this.reason !== null) return
    this.reason = reason
    const listeners = this.#listeners
    this.#listeners = null
    if (listeners) for (const listener of listeners) listener(reason)
  }

  /** Calls `listener` on cancellation, at once if it has happened. Returns a function that removes it. */
  onCancel(listener: (reason: CancelReason) => void): () => void {
    if (this.reason !== null) {
      listener(this.reason)
      return () => {}
    }
    this.#listeners ??= []
    this.#listeners.push(listener)
    return () => {
      const at = this.#listeners?.indexOf(listener) ?? -1
      if (at >= 0) this.#listeners!.splice(at, 1)
    }
  }
}
