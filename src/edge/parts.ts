// What the files of the edge share while a request is served: made once by edge.ts.

import type { Call } from '../core/call.ts'
import type { Limits } from '../core/limits.ts'
import type { Log } from '../telemetry/log.ts'
import type { Calls } from './calls.ts'
import type { Gate } from './gate.ts'
import type { Listeners } from './listeners.ts'
import type { Asking } from './posted-call.ts'
import type { Questions } from './questions.ts'
import type { Bus, Sessions } from './session.ts'

export interface EdgeParts {
  readonly limits: Limits
  readonly log: Log
  readonly bus: Bus
  readonly gate: Gate
  readonly calls: Calls
  readonly sessions: Sessions
  readonly listeners: Listeners
  readonly asking: Asking
  readonly questions: Questions
  /** A name by which a stream of this worker watches resources. */
  readonly newHolder: () => string
  readonly watch: (call: Call, holder: string, uri: string) => Promise<void>
  readonly unwatch: (holder: string) => void
}
