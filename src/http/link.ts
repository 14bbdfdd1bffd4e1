// What an upstream needs of a connection: requests with flat headers and Buffer bodies, answers as they come.
// Two lanes: http/undici-link.ts (undici's Pool.dispatch, complete) and http/fast-link.ts (plain HTTP/1.1, cheaper).
// Absent on purpose: redirects, decompression, proxies from the environment and retries: whoever asks decides on those.

import type { GatewayError } from '../core/errors.ts'

export interface LinkRequest {
  readonly method: 'POST' | 'GET' | 'DELETE'
  /** Path and query. */
  readonly path: string
  /** Flat list of names and values, never changed; Host, Content-Length and Connection are set by the link. */
  readonly headers: readonly string[]
  readonly body: Buffer | null
  /** Until the head of the answer has come, connecting included; 0 means that the caller keeps its own time. */
  readonly headMs: number
}

export interface LinkHandler {
  /** `headers` holds lower-case names; a repeated one keeps its first value. */
  onHead(status: number, headers: Readonly<Record<string, string | undefined>>): void
  onData(chunk: Buffer): void
  onEnd(): void
  /**
   * Once, instead of onEnd. `sent` is false when no byte of the request can have reached the server, so that it may be
   * sent again. Codes: UPSTREAM_UNAVAILABLE, UPSTREAM_INVALID (not HTTP, or over a bound), ADDRESS_REFUSED, TIMEOUT (headMs),
   * UPSTREAM_BUSY (too many wait for a connection).
   */
  onError(error: GatewayError, sent: boolean): void
}

export interface LinkOptions {
  readonly connectionsMax: number
  readonly connectMs: number
  /** Bound of the answer's headers together. */
  readonly headerBytes: number
  /** PEM of one or several CAs, trusted beside the system's, or alone with `caPinned`. */
  readonly ca: string | null
  readonly caPinned: boolean
  /** Refuses addresses: called with every resolved address before it is connected to (http/guard.ts). */
  readonly guard: (address: string) => boolean
}

/** A request under way. */
export interface Sending {
  /** Ends it, and its connection if it has begun; no callback of the handler comes any more. */
  abort(): void
  /** The answer waits at the server until `resume`; what was read before may still come. */
  pause(): void
  resume(): void
  /** Whether bytes of it may have left. */
  readonly begun: boolean
}

export interface Link {
  request(request: LinkRequest, handler: LinkHandler): Sending
  readonly inFlight: number
  /** Takes no more requests; waits for those under way, at most `graceMs`, then ends them. */
  close(graceMs: number): Promise<void>
}

/** Errors: ADDRESS_REFUSED (an origin whose address stands in the URL), INVALID_INPUT (the CA). */
export type CreateLink = (origin: URL, options: LinkOptions) => Link
