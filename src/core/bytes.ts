// Bytes that came from another process or thread: a Buffer may arrive as the plain bytes that it is.

import type { Reply } from './call.ts'

export function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
}

export function replyInBuffers(reply: Reply): Reply {
  if ('error' in reply) return { error: asBuffer(reply.error) }
  return Array.isArray(reply.result)
    ? { result: (reply.result as Uint8Array[]).map(asBuffer) }
    : { result: asBuffer(reply.result as Uint8Array) }
}
