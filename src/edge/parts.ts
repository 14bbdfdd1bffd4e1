// What the files of the edge share while a request is served: made once by edge.ts.

import type { Call } from '../core/call.ts'
import type { Limits } from '../core/limits.ts'
import type { Caller } from '../core/policy.ts'
import type { Clock } from '../core/time.ts'
import type { Exchange } from '../http/exchange.ts'
import type { Log } from '../telemetry/log.ts'
import type { Calls } from './calls.ts'
import type { Gate } from './gate.ts'
import type { Listeners } from './listeners.ts'
import type { Asking } from './posted-call.ts'
import type { Questions } from './questions.ts'
import type { Replay } from './replay.ts'
import type { Bus, Sessions } from './session.ts'

export interface EdgeParts {
  readonly limits: Limits
  readonly log: Log
  readonly bus: Bus
  readonly clock: Clock
  readonly authenticate: (authorization: string | undefined, exchange: Exchange) => Caller | Promise<Caller>
  readonly isDraining: () => boolean
  readonly gate: Gate
  readonly calls: Calls
  readonly sessions: Sessions
  readonly listeners: Listeners
  readonly asking: Asking
  readonly questions: Questions
  readonly replay: Replay
  /** A name by which a stream of this worker watches resources. */
  readonly newHolder: () => string
  readonly watch: (call: Call, holder: string, uri: string) => Promise<void>
  readonly unwatch: (holder: string) => void
}
