// What a route of the REST API is, what its handler gets, and what the whole API needs of the rest of the gateway.

import type { Authenticate } from '../access/authenticate.ts'
import type { Caller, Right } from '../core/policy.ts'
import type { Clock } from '../core/time.ts'
import type { Sealer } from '../mcp/seal.ts'
import type { Bus } from '../ports/bus.ts'
import type { Children } from '../ports/children.ts'
import type { Feed } from '../ports/feed.ts'
import type { Log } from '../ports/log.ts'
import type { Store } from '../ports/store.ts'
import type { Snapshot } from '../registry/snapshot.ts'
import type { Configuration } from './configuration.ts'
import type { Discoverer } from './discover.ts'
import type { Privilege } from './privilege.ts'
import type { Schema } from './schemas.ts'

/** As much of the discoverer (discover.ts) as the API asks for. */
export type Discovering = Pick<Discoverer, 'state' | 'refresh' | 'whenSettled'>

export interface RestConfig {
  readonly commandsAllowed: readonly string[]
  readonly networksAllowed: readonly string[]
  /** Origin under which clients reach the gateway, without a slash at its end. */
  readonly publicUrl: string
}

export interface RestDeps {
  readonly store: Store
  readonly discoverer: Discovering
  readonly feed: Pick<Feed, 'current'>
  readonly snapshot: () => Snapshot | null
  readonly authenticate: Authenticate
  readonly children: Pick<Children, 'list' | 'stderr'>
  /** Rows were written: follow the store now rather than at the next poll. Discovery, links and children follow the feed. */
  readonly changed: () => Promise<unknown>
  readonly bus: Pick<Bus, 'publish'>
  readonly sealer: Sealer
  readonly config: RestConfig
  readonly configuration: Pick<Configuration, 'view' | 'reload'>
  readonly clock: Clock
  readonly log: Log
  readonly version: string
  readonly workers: () => number
  readonly ready: () => boolean
}

/** What handlers get: the deps and what is made of them once. */
export interface RestContext extends RestDeps {
  readonly privilege: Privilege
  readonly startedMs: number
}

export type Query = Readonly<Record<string, string | undefined>>

export interface RestRequest {
  /** Decoded parts of the path, by the names in the route's template. */
  readonly path: Readonly<Record<string, string>>
  /** Checked against the route's table of query parameters. */
  readonly query: Query
  /** Proven to fit the route's `body`, or null where it has none. */
  readonly body: unknown
  readonly caller: Caller
  /** The header as sent, or null; see precondition.ts. */
  readonly ifMatch: string | null
  /** False under the unversioned alias of the path, which forgives a missing If-Match. */
  readonly versioned: boolean
}

export interface Answer {
  readonly status: number
  /** What JSON.stringify makes JSON of; absent for 204. */
  readonly body?: unknown
  /** With its quotes. */
  readonly etag?: string
  /** False where the answer holds live state beside what the tag stands for: it is then never 304. */
  readonly revalidates?: boolean
  /** Flat list of names and values. */
  readonly headers?: readonly string[]
}

export interface QueryParameter {
  readonly description: string
  readonly schema: Schema
}

export interface Route {
  readonly method: 'GET' | 'POST' | 'PATCH' | 'DELETE'
  /** `{name}` stands for one segment. Paths under /v1 are also served without it, and `gateways` for `upstreams`. */
  readonly path: string
  /** `token` is any token, a right that right. What needs none is answered at the edge. */
  readonly permission: 'token' | Right
  readonly summary: string
  readonly query?: Readonly<Record<string, QueryParameter>>
  readonly body?: Schema
  /** Good statuses and what they answer; null for no body. */
  readonly answers: Readonly<Record<number, Schema | null>>
  readonly handle: (request: RestRequest, context: RestContext) => Answer | Promise<Answer>
}
