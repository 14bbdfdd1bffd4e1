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

/** A server that speaks 2026-07-28 alone: its tool that sends a request of its own cannot run there, whoever calls it. */
const NO_REQUESTS =
  'basic/patterns: "Servers MUST NOT initiate JSON-RPC requests"; the tool asks by such a request only'
/** A server that speaks 2025-11-25 alone says nothing of its questions but their content. */
const NO_KEYS =
  'basic/patterns/mrtr: "Keys are server-assigned string identifiers"; a request of 2025-11-25 has none, ours are q1, q2 …'
const NO_REFUSAL =
  'basic/index: -32021 is of 2026-07-28; a server of 2025-11-25 runs the tool without asking, and nobody else knows what it would ask'

const asked = (scenario: string): Expected => ({
  ...{ revision: '2025-11-25', upstreams: ['modern'], scenario, reason: NO_REQUESTS },
})
const stateless = (scenario: string, reason: string): Expected => ({
  ...{ revision: '2026-07-28', upstreams: ['legacy'], scenario, reason },
})

/** Where both sides speak the same revision nothing is excepted. */
export const EXPECTED: readonly Expected[] = [
  asked('tools-call-sampling'),
  asked('tools-call-elicitation'),
  asked('elicitation-sep1034-defaults'),
  asked('elicitation-sep1330-enums'),
  stateless('server-stateless', NO_REFUSAL),
  stateless('input-required-result-capability-check', NO_REFUSAL),
  stateless('input-required-result-basic-elicitation', NO_KEYS),
]
