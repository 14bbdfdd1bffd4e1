// What an upstream may be: the checks that a schema cannot say, and what a patch makes of one without letting anybody
// gain by it what they could not register themselves.

import { isDeepStrictEqual } from 'node:util'
import { GatewayError } from '../core/errors.ts'
import type { UpstreamRow, UpstreamSpec } from '../core/model.ts'
import { faultsOfUpstream } from '../core/upstream-rules.ts'
import { isObject, mergePatch } from './merge-patch.ts'
import type { RestContext } from './route.ts'
import { UPSTREAM_INPUT, type UpstreamInput } from './schemas.ts'
import { REDACTED, restoreTransport, strayingSecrets } from './secrets.ts'
import { refuseFaults, validate } from './validate.ts'

/** The spec of a registration. Errors: INVALID_INPUT, OPERATOR_ONLY, ADDRESS_REFUSED. */
export function newSpec(input: Omit<UpstreamInput, 'slug'>, isOperator: boolean, context: RestContext): UpstreamSpec {
  const { transport, faults } = restoreTransport(input.transport, null)
  refuseFaults([...faults, ...faultsOfUpstream({ ...input, transport })])
  context.privilege.check(transport, isOperator)
  return isOperator ? { ...input, transport, privileged: true } : { ...input, transport }
}

/** What a merge patch makes of an upstream. Errors: INVALID_INPUT, OPERATOR_ONLY, ADDRESS_REFUSED. */
export async function patchSpec(
  row: UpstreamRow,
  patch: Readonly<Record<string, unknown>>,
  isOperator: boolean,
  context: RestContext,
): Promise<{ slug: string; spec: UpstreamSpec }> {
  const { privileged, ...stored } = row.spec
  const patchedTransport = isObject(patch.transport) ? patch.transport : {}
  // A transport of another kind has nothing in common with the old one: it is replaced, not merged into it.
  const { kind } = patchedTransport
  const isOtherKind = kind !== undefined && (kind === 'stdio') !== (stored.transport.kind === 'stdio')
  const merged = mergePatch(isOtherKind ? { ...stored, transport: {} } : stored, patch)
  await validate(UPSTREAM_INPUT, merged)
  const { slug = row.slug, ...input } = merged as UpstreamInput
  const { transport, faults } = restoreTransport(input.transport, stored.transport)
  refuseFaults([...faults, ...faultsOfUpstream({ ...input, transport })])

  if (isDeepStrictEqual(transport, stored.transport)) return { slug, spec: { ...input, transport, privileged } }
  if (privileged === true && !isOperator)
    throw new GatewayError('OPERATOR_ONLY', 'An operator registered this upstream: only an operator may move it')
  context.privilege.check(transport, isOperator)
  if (!isOperator) refuseFaults(strayingSecrets(transport, stored.transport, secretsGiven(patchedTransport)))
  return { slug, spec: isOperator ? { ...input, transport, privileged: true } : { ...input, transport } }
}

/** Names of headers and variables whose values a patch carries in clear. */
function secretsGiven(transport: Readonly<Record<string, unknown>>): Set<string> {
  const secrets = [transport.headers, transport.env].flatMap((value) => (isObject(value) ? Object.entries(value) : []))
  return new Set(secrets.filter(([, value]) => value !== REDACTED && value !== null).map(([name]) => name))
}
