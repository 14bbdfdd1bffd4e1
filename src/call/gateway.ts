// What the middle of the data plane is made of: handed in by app.ts, the same object for every call.

import type { Call } from '../core/call.ts'
import type { Sealer } from '../mcp/seal.ts'
import type { Control } from '../ports/control.ts'
import type { Holder } from '../registry/holder.ts'
import type { Upstreams } from '../upstream/upstream.ts'
import type { PageCache } from './page-cache.ts'
import type { Parks } from './park.ts'
import type { Hooks } from './run-hooks.ts'
import type { Validators } from './validators.ts'

export interface Gateway {
  readonly registry: Holder
  /** Throws FORBIDDEN with the named rule. */
  readonly authorize: (call: Call) => void
  readonly hooks: Hooks
  readonly upstreams: Upstreams
  readonly validators: Validators
  readonly pages: PageCache
  readonly sealer: Sealer
  readonly parks: Parks
  readonly watch: Control['watch']
  /** True under --open: lists then are the same for everybody. */
  readonly open: boolean
  readonly version: string
}
