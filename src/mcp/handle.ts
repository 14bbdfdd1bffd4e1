// Handles: names of things that live in one worker's memory (a question, a parked call, a stream, an endpoint of SSE), as
// they go out to clients. Sealed, bound to the caller and to an end, and naming the worker that holds the thing, so that
// any other one knows whom to ask. A handle is not authentication: the request that brings it needs its token too.

import type { Place } from '../core/place.ts'
import type { Sealer } from './seal.ts'

export interface Handle extends Place {
  /** What the worker knows the thing by. */
  readonly n: number
  /** 32 hex digits. */
  readonly callerId: string
  readonly expiresMs: number
  /** Whatever else must come back unchanged. */
  readonly rest: Buffer
}

export type HandlePurpose = 'question' | 'park' | 'stream' | 'endpoint'

const FORMAT = 1
const FIXED_BYTES = 1 + 4 + 4 + 6 + 16 + 6

/** base64url, 88 characters and 4/3 of `rest`. */
export function sealHandle(sealer: Sealer, purpose: HandlePurpose, handle: Handle): string {
  const fixed = Buffer.alloc(FIXED_BYTES)
  fixed[0] = FORMAT
  fixed.writeUInt32BE(handle.worker, 1)
  fixed.writeUInt32BE(handle.boot, 5)
  fixed.writeUIntBE(handle.n, 9, 6)
  fixed.write(handle.callerId, 15, 16, 'hex')
  fixed.writeUIntBE(handle.expiresMs, 31, 6)
  return sealer.seal(`handle/${purpose}`, Buffer.concat([fixed, handle.rest]))
}

/** Null for what is not ours, of another purpose, of another caller, or past its end. */
export function openHandle(
  sealer: Sealer,
  purpose: HandlePurpose,
  text: string,
  callerId: string,
  nowMs: number,
): Handle | null {
  const plain = sealer.open(`handle/${purpose}`, text)
  if (plain === null || plain[0] !== FORMAT || plain.length < FIXED_BYTES) return null
  const handle: Handle = {
    worker: plain.readUInt32BE(1),
    boot: plain.readUInt32BE(5),
    n: plain.readUIntBE(9, 6),
    callerId: plain.toString('hex', 15, 31),
    expiresMs: plain.readUIntBE(31, 6),
    rest: plain.subarray(FIXED_BYTES),
  }
  return handle.callerId === callerId && handle.expiresMs > nowMs ? handle : null
}
