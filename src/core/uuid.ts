// Our ids: UUID version 7 (RFC 9562, 5.7) as lower-case text, so that rows sort by the time they were made.
// Pure: time and random bytes are handed in.

/** `nowMs` fills the first 48 bits, `random` (10 bytes) the rest but version and variant. */
export function uuid7(nowMs: number, random: Uint8Array): string {
  const bytes = Buffer.alloc(16)
  bytes.writeUIntBE(nowMs, 0, 6)
  bytes.set(random.subarray(0, 10), 6)
  bytes[6] = 0x70 | (bytes[6]! & 0x0f)
  bytes[8] = 0x80 | (bytes[8]! & 0x3f)
  const hex = bytes.toString('hex')
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`
}
