// The bus: news between the parts of a replica (and, later, between replicas). At most once, in order per sender; it
// only makes things faster or carries what may be lost: the store's `changes` is what nothing may miss.

import type { LogLevel } from '../core/call.ts'
import type { LinkQuestion } from './control.ts'

export type LogLevelSetting = 'debug' | 'info' | 'warn' | 'error' | 'silent'

/** The secrets themselves, the newest first. */
export interface JwtSetting {
  readonly secret: readonly string[]
  readonly issuer: string
  readonly audience: string
}

export interface BusEvents {
  /** A discovery has stored other definitions of these upstreams: the registry is read again at once. */
  definitions: {
    readonly upstreamIds: readonly string[]
    readonly kinds: readonly ('tools' | 'prompts' | 'resources')[]
  }
  /** A client ended its session. */
  sessionEnded: { readonly session: string; readonly expiresMs: number }
  /** logging/setLevel of a session. */
  sessionLevel: { readonly session: string; readonly level: LogLevel }
  /** A token was revoked or its rights changed: verified callers are forgotten. */
  callersChanged: { readonly hashes: readonly string[] | null }
  /** Settings that a reload has changed and that take effect at once. */
  settings: { readonly logLevel: LogLevelSetting; readonly jwt: JwtSetting | null }
  /** notifications/cancelled of a legacy session that did not find its call in this worker. `id` is raw JSON text. */
  cancel: { readonly session: string; readonly id: string }
  /** A resource changed upstream: those who watch it by these names (ports/control) are told. */
  resourceUpdated: { readonly uri: string; readonly holders: readonly string[] }
  /** A client says that its roots have changed. */
  rootsChanged: { readonly session: string }
  /** An upstream asks on a link of its client's, without naming a call. Whoever has such a client takes the question. */
  linkAsked: LinkQuestion
  /** That upstream no longer wants to know. */
  linkUnasked: { readonly id: number }
}

export type Topic = keyof BusEvents

export interface Bus {
  /** Reaches every subscriber of every worker, the sender's own included. Never throws; a full queue drops and counts. */
  publish<T extends Topic>(topic: T, event: BusEvents[T]): void
  subscribe<T extends Topic>(topic: T, handler: (event: BusEvents[T]) => void): () => void
}
