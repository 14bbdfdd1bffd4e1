// Scored scenarios that pass directly and may fail through the gateway, each with the reason. An entry that passes is
// stale and fails the run, so this list can only shrink.

import type { SuiteRevision } from './suite.ts'

export interface Expected {
  readonly revision: SuiteRevision
  /** Which forms of the fixture: what an upstream speaks decides how the gateway speaks to it. */
  readonly upstreams: readonly ('dual' | 'legacy' | 'modern')[]
  readonly scenario: string
  readonly reason: string
}

/** Nothing at present. */
export const EXPECTED: readonly Expected[] = []
