// An error of the catalogue as problem+json (RFC 9457): the form of every refusal outside of JSON-RPC, from the lane's own
// "bad request" to the REST API. Absent on purpose: stacks and causes, which stay in the log.

import type { GatewayError } from '../core/errors.ts'

export const PROBLEM_TYPE = 'application/problem+json'

/** JSON text. `requestId` is what the log line of this refusal carries, where there is one. */
export function problemText(error: GatewayError, requestId?: string): string {
  const { title, status, hint } = error.entry
  return JSON.stringify({
    type: 'about:blank',
    title,
    status,
    detail: error.message,
    code: error.code,
    hint,
    requestId,
    errors: error.options.faults,
    ...error.options.data,
  })
}
