// What a caller is told when an upstream fails. The message of a link names hosts, addresses, commands, variables, and the
// last words of a process: that is for those who may see the registry. Everyone else hears which upstream it is and
// what kind of failure; `inspect` and the log have the rest.

import type { Call, Reply } from '../core/call.ts'
import { type ErrorCode, GatewayError } from '../core/errors.ts'
import { hasRight } from '../core/policy.ts'
import type { Outgoing, Upstreams } from '../upstream/upstream.ts'

/** Codes whose messages are made where an upstream is reached. */
const INSIDE: ReadonlySet<ErrorCode> = new Set<ErrorCode>([
  'UPSTREAM_UNAVAILABLE',
  'UPSTREAM_INVALID',
  'ADDRESS_REFUSED',
  'CONFIG_INVALID',
  'INVALID_INPUT',
])

/** Errors: as Upstreams.send. */
export async function sendFor(upstreams: Upstreams, out: Outgoing, call: Call): Promise<Reply> {
  try {
    return await upstreams.send(out, call)
  } catch (error) {
    if (!(error instanceof GatewayError) || !INSIDE.has(error.code) || hasRight(call.caller, 'admin')) throw error
    const { title } = error.entry
    const { retryAfterSeconds } = error.options
    throw new GatewayError(error.code, `${out.upstream.slug}: ${title[0]!.toLowerCase()}${title.slice(1)}`, {
      ...(retryAfterSeconds === undefined ? {} : { retryAfterSeconds }),
      cause: error,
    })
  }
}
