// What makes a retry the same request as the one before: everything but its id, its metadata and what it adds.

import { createHash } from 'node:crypto'
import type { Call } from '../core/call.ts'
import { isRecord } from '../mcp/classify.ts'

export const DIGEST_BYTES = 16
const ADDED: ReadonlySet<string> = new Set(['_meta', 'requestState', 'inputResponses'])

function sorted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sorted)
  if (!isRecord(value)) return value
  // Pairs, since an object would put keys that look like numbers first, and know "__proto__".
  return Object.keys(value)
    .sort()
    .map((key) => [key, sorted(value[key])])
}

/** Of endpoint, method and params, whatever the order of their members. */
export function digestOf(call: Call): Buffer {
  const params = call.params.members
    .filter(({ key }) => !ADDED.has(key))
    .map(({ key }) => [key, sorted(call.params.value(key))] as const)
    .sort(([one], [other]) => (one < other ? -1 : 1))
  return hashOf([call.scope, call.method, params])
}

/** Of what a request is about, without its arguments. */
export function subjectOf(call: Call): Buffer {
  return hashOf([call.scope, call.method, call.params.value('name') ?? call.params.value('uri') ?? null])
}

function hashOf(value: unknown): Buffer {
  return createHash('sha256').update(JSON.stringify(value)).digest().subarray(0, DIGEST_BYTES)
}
