// The `params` of a request: scanned once, decoded only where somebody asks.

import type { Member, Params } from '../core/call.ts'
import { LIMITS } from '../core/limits.ts'
import { find, scanMembers } from './json.ts'

const EMPTY_OBJECT = Buffer.from('{}')
const RESERVED = 'io.modelcontextprotocol/'
const OWN_META = new Set(['progressToken', 'traceparent', 'tracestate', 'baggage'])
const NO_MEMBERS: readonly Member[] = []

class ScannedParams implements Params {
  readonly bytes: Buffer
  readonly members: readonly Member[]
  #meta: readonly Member[] | null = null

  constructor(bytes: Buffer, members: readonly Member[]) {
    this.bytes = bytes
    this.members = members
  }

  get #metaMembers(): readonly Member[] {
    if (this.#meta === null) {
      const meta = find(this.members, '_meta')
      const isObject = meta !== null && this.bytes[meta.start] === 0x7b
      this.#meta = isObject ? scanMembers(this.bytes, meta.start, meta.end, LIMITS.jsonDepth) : NO_MEMBERS
    }
    return this.#meta
  }

  raw(key: string): Buffer | null {
    const member = find(this.members, key)
    return member === null ? null : this.bytes.subarray(member.start, member.end)
  }

  value(key: string): unknown {
    const member = find(this.members, key)
    return member === null ? undefined : JSON.parse(this.bytes.toString('utf8', member.start, member.end))
  }

  metaRaw(key: string): Buffer | null {
    const member = find(this.#metaMembers, key)
    return member === null ? null : this.bytes.subarray(member.start, member.end)
  }

  metaValue(key: string): unknown {
    const member = find(this.#metaMembers, key)
    return member === null ? undefined : JSON.parse(this.bytes.toString('utf8', member.start, member.end))
  }

  vendorMeta(): readonly (readonly [key: string, raw: Buffer])[] {
    return this.#metaMembers
      .filter((member) => !member.key.startsWith(RESERVED) && !OWN_META.has(member.key))
      .map((member) => [member.key, this.bytes.subarray(member.start, member.end)] as const)
  }
}

export const EMPTY_PARAMS: Params = new ScannedParams(EMPTY_OBJECT, NO_MEMBERS)

/** Reads the text of one `params` object. Errors: JsonFault. */
export function readParams(bytes: Buffer): Params {
  const params = new ScannedParams(bytes, scanMembers(bytes, 0, bytes.length, LIMITS.jsonDepth))
  // Scanned now, so that a duplicate key in `_meta` is refused at the border and not in the middle of a call.
  params.metaRaw('progressToken')
  return params
}
