// A clock that stands still until it is moved.

import type { Clock } from '../../src/core/time.ts'

export interface FakeClock extends Clock {
  nowMs: number
  forward(ms: number): void
}

export function createFakeClock(nowMs = 1_800_000_000_000): FakeClock {
  return {
    nowMs,
    now() {
      return this.nowMs
    },
    forward(ms) {
      this.nowMs += ms
    },
  }
}
