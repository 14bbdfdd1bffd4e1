// What the call path knows of upstreams: one function. Behind it: links, pools, breakers, eras, HTTP and stdio.

import type { Call, Reply } from '../core/call.ts'
import type { UpstreamView } from '../core/model.ts'

/** A request as it goes to the upstream, before its era's envelope and `_meta`. */
export interface Outgoing {
  readonly upstream: UpstreamView
  readonly method: string
  /** JSON text of `params` with the upstream's own names and without `_meta`. */
  readonly params: Buffer
  /** What Mcp-Name carries to a modern upstream: tool or prompt name, or resource URI; null where the method has none. */
  readonly name: string | null
  /** Mcp-Param-* headers recomputed for the upstream: flat names and encoded values. */
  readonly paramHeaders: readonly string[]
  /** Deadline in ms, reset by progress up to `upstream.callMsMax`. */
  readonly callMs: number
}

export interface Upstreams {
  /**
   * Sends one request and waits for its answer. `result` is proven JSON of the upstream's own era (see bridge.ts for
   * what follows). Notifications of the call go to `call.notify` while it waits.
   * Errors: UPSTREAM_UNAVAILABLE, UPSTREAM_BUSY, UPSTREAM_REFUSED, UPSTREAM_INVALID, TIMEOUT, CANCELLED, LOOP_DETECTED, OWNER_LOST.
   */
  send(out: Outgoing, call: Call): Promise<Reply>
  /** The registry has changed: links of upstreams that are gone or reached otherwise now end after their calls. */
  upstreamsChanged(views: ReadonlyMap<string, UpstreamView>): void
  close(): Promise<void>
}
