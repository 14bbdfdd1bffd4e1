// The way from one worker to another, for what lives in one worker's memory and is asked for at another: the answer to a
// question, the retry of a parked call, the rest of a stream. Once per request, never further: the other side either has
// the thing or says OWNER_LOST. Absent on purpose: other replicas (their adapter comes with them).

import type { Cancel } from '../core/cancel.ts'
import type { Place } from '../core/place.ts'

/** Each part of the program that is reached by hops has one name, and its own kinds of bodies. Plain data and Buffers. */
export type HopPart = 'answer' | 'resume' | 'replay' | 'endpoint'

export interface Hopped {
  /** Says something before the answer. */
  readonly note: (note: unknown) => void
  /** Whoever asked is gone, or no longer wants to know. */
  readonly cancel: Cancel
}

export type HopHandler = (body: unknown, hopped: Hopped) => unknown | Promise<unknown>

export interface Hop {
  readonly here: Place
  /**
   * Asks the worker at `to`, itself too. Notes come in order, before the answer.
   * Errors: OWNER_LOST (that worker is gone, or does not answer), whatever GatewayError its handler threw, CANCELLED.
   */
  ask(to: Place, part: HopPart, body: unknown, onNote?: (note: unknown) => void, cancel?: Cancel): Promise<unknown>
  /** One handler for each part. */
  serve(part: HopPart, handler: HopHandler): void
}
