// What the data plane asks of its replica's primary. With one worker these are plain function calls; with several they
// are process messages (adapters/control-workers.ts). Nothing here is on the path of a warm call.

import type { Question, Reply } from '../core/call.ts'
import type { Era, Revision } from '../core/model.ts'
import type { Caller } from '../core/policy.ts'

/** Whose link: '' for the shared one, else a caller id or a session key. */
export interface LinkKey {
  readonly upstreamId: string
  readonly owner: string
  /** What the owner's client can be asked, as the upstream is told when the link is opened: bits of core/asks.ts. */
  readonly asks: number
}

/** A question of an upstream that came on a link and names no call: one worker puts it to a client of that link. */
export interface LinkQuestion {
  /** Names it until it is answered or withdrawn. */
  readonly id: number
  readonly key: LinkKey
  readonly question: Question
}

/** A conversation with an upstream that the primary opened and any worker may use. */
export interface LinkTicket {
  readonly era: Era
  readonly revision: Revision
  /** Rises with every re-opening of the same key; names the ticket when it has gone stale. */
  readonly generation: number
  /** HTTP: the session id that the upstream minted, or null for a session-less server. */
  readonly sessionId: string | null
  /** HTTP: the one URL of the upstream that knows the session; null means any. */
  readonly url: string | null
  /** stdio: which child to connect to. */
  readonly childId: string | null
  /** Whether the server declared `logging`. */
  readonly logging: boolean
}

/** By what name a session watches resources, whichever worker has its stream. */
export const sessionHolder = (session: string): string => `s${session}`

export interface Control {
  /** The caller of an API token by the token's SHA-256 (hex); null when there is no such token or it has expired. */
  caller(tokenHash: string): Promise<Caller | null>
  /** The one link of this key in the whole installation: opened if need be, single flight. Errors: UPSTREAM_UNAVAILABLE, UPSTREAM_BUSY, UPSTREAM_REFUSED, UPSTREAM_INVALID. */
  openLink(key: LinkKey): Promise<LinkTicket>
  /** The upstream no longer knows this ticket's session, or it contradicted its era: the next openLink opens a new one. */
  staleLink(key: LinkKey, generation: number, why: 'session' | 'era' | 'closed'): void
  /** Ends a session: tombstone, then its links. Errors: RATE_LIMITED, TOO_MANY. */
  endSession(session: string, callerId: string, expiresMs: number): Promise<void>
  /** The same for a session whose id nobody outside has: there is nothing to keep of it, so nothing is counted. */
  leaveSession(session: string): void
  /**
   * Somebody wants to know of changes of a resource: a session or a stream, by a name of its own. A name that begins with
   * `w` ends with its worker. Errors: TOO_MANY, and what the upstream says to it.
   */
  watch(holder: string, key: LinkKey, uri: string, on: boolean): Promise<void>
  /** All that it watches. */
  unwatch(holder: string): void
  /** This worker can put that question to a client: true for the first one that says so, which then answers it. */
  takeQuestion(id: number): Promise<boolean>
  answerQuestion(id: number, reply: Reply): void
  /** Sessions with upstreams that calls of this worker have used since it said so last; what nobody uses is ended. */
  linksUsed(keys: readonly LinkKey[]): void
  /** A live call saw the upstream fail or work again: health of the whole replica. */
  reportUpstream(upstreamId: string, ok: boolean, code: string | null, message: string | null): void
}
