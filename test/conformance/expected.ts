// Scored scenarios that pass directly and may fail through the gateway, each with the reason. An entry that passes is
// stale and fails the run, so this list can only shrink.

import type { SuiteRevision } from './suite.ts'

export interface Expected {
  readonly revision: SuiteRevision
  /** Which forms of the fixture: what an upstream speaks decides how the gateway speaks to it. */
  readonly upstreams: readonly ('dual' | 'legacy' | 'modern')[]
  readonly scenario: string
  /** The checks that may fail, by their ids; any other one is lost. */
  readonly checks: readonly string[]
  readonly reason: string
}

/** A server that speaks 2026-07-28 alone: its tool that sends a request of its own cannot run there, whoever calls it. */
const NO_REQUESTS =
  'basic/patterns: "Servers MUST NOT initiate JSON-RPC requests"; the tool asks by such a request only'
/** A server that speaks 2025-11-25 alone says nothing of its questions but their content. */
const NO_KEYS =
  'basic/patterns/mrtr: "Keys are server-assigned string identifiers"; a request of 2025-11-25 has none, ours are q1, q2 …'
const NO_REFUSAL =
  'a server of 2025-11-25 has no such error (-32021 came with 2026-07-28) and runs the tool; what it would have asked nobody else knows'

const asked = (scenario: string, ...checks: string[]): Expected => ({
  ...{ revision: '2025-11-25', upstreams: ['modern'], scenario, checks, reason: NO_REQUESTS },
})
const stateless = (scenario: string, reason: string, ...checks: string[]): Expected => ({
  ...{ revision: '2026-07-28', upstreams: ['legacy'], scenario, checks, reason },
})

/** Where both sides speak the same revision nothing is excepted. */
export const EXPECTED: readonly Expected[] = [
  asked('tools-call-sampling', 'tools-call-sampling'),
  asked('tools-call-elicitation', 'tools-call-elicitation'),
  asked('elicitation-sep1034-defaults', 'elicitation-sep1034-general'),
  asked('elicitation-sep1330-enums', 'elicitation-sep1330-general'),
  stateless(
    'server-stateless',
    NO_REFUSAL,
    'sep-2575-server-rejects-undeclared-capability',
    'sep-2575-missing-capability-http-400',
  ),
  stateless('input-required-result-capability-check', NO_REFUSAL, 'sep-2322-respect-client-capabilities'),
  stateless('input-required-result-basic-elicitation', NO_KEYS, 'sep-2322-elicitation-incomplete'),
]
