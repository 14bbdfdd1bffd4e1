// The event stream of one call, once it is open: what comes before the answer, and the answer. Two kinds: one that is gone
// when its connection breaks (here: stateless calls, and transports with a connection of their own), and one that is
// kept for a while and can be resumed (edge/replay.ts).

import type { EventStream } from '../http/exchange.ts'
import { SSE_COMMENT, sseEvent } from '../mcp/sse.ts'

export interface CallStream {
  /** One message to the client; `question` is the raw id of a request of ours, null for anything else. */
  say(message: Buffer, question: string | null): void
  /** The question has been answered or withdrawn: nobody needs to hear it again. */
  settled(question: string): void
  /** The last message; the stream ends. */
  answer(parts: readonly Buffer[]): void
  /** So that nobody takes silence for the end. */
  comment(): void
}

/** Up to here the parts of an event are put together: one chunk instead of several. */
const JOIN_BYTES_MAX = 64 * 1024

/** False when the client is slow. */
export function writeParts(stream: EventStream, parts: readonly Buffer[]): boolean {
  let bytes = 0
  for (const part of parts) bytes += part.length
  if (bytes <= JOIN_BYTES_MAX) return stream.write(Buffer.concat(parts as Buffer[], bytes))
  let isQuick = true
  for (const part of parts) isQuick = stream.write(part)
  return isQuick
}

/** A client that leaves more than `bufferBytesMax` unread is dropped; in the stateless revision that cancels its call. */
export function passingStream(stream: EventStream, bufferBytesMax: number): CallStream {
  return {
    say(message) {
      writeParts(stream, sseEvent([message]))
      if (stream.bufferedBytes > bufferBytesMax) stream.destroy()
    },
    settled() {},
    answer(parts) {
      writeParts(stream, sseEvent(parts))
      stream.end()
    },
    comment: () => void stream.write(SSE_COMMENT),
  }
}
