// What an upstream needs of a connection: requests with flat headers and Buffer bodies, answers as they come.
// First lane: http/undici-link.ts (undici Pool.dispatch). A faster lane may stand beside it.

import type { Cancel } from '../core/cancel.ts'

export interface LinkRequest {
  readonly method: 'POST' | 'GET' | 'DELETE'
  /** Path and query. */
  readonly path: string
  /** Flat list of names and values; Host, Content-Length and Connection are set by the link. */
  readonly headers: string[]
  readonly body: Buffer | null
  /** Until the head of the answer has come; 0 means none. Streams then live until cancelled. */
  readonly headMs: number
  readonly cancel: Cancel | null
}

export interface LinkHandler {
  /** `headers` holds lower-case names; a repeated one keeps its first value. */
  onHead(status: number, headers: Readonly<Record<string, string>>): void
  onData(chunk: Buffer): void
  onEnd(): void
  /** Once, instead of onEnd. `sent` is false when no byte of the request can have reached the server, so that it may be sent again. */
  onError(error: Error, sent: boolean): void
}

export interface LinkOptions {
  readonly connectionsMax: number
  readonly connectMs: number
  readonly ca: string | null
  readonly caPinned: boolean
  /** Refuses addresses: called with every resolved address before it is connected to (http/guard.ts). */
  readonly guard: (address: string) => boolean
}

export interface Link {
  request(request: LinkRequest, handler: LinkHandler): void
  readonly inFlight: number
  close(): Promise<void>
}

export type CreateLink = (origin: URL, options: LinkOptions) => Link
