// What an upstream may be: the checks that a schema cannot say, and what a patch makes of one without letting anybody
// gain by it what they could not register themselves.

import { X509Certificate } from 'node:crypto'
import { isDeepStrictEqual } from 'node:util'
import { type Fault, GatewayError } from '../core/errors.ts'
import type { HttpTransport, UpstreamRow, UpstreamSpec } from '../core/model.ts'
import { checkUrl } from '../http/guard.ts'
import { isObject, mergePatch } from './merge-patch.ts'
import type { RestContext } from './route.ts'
import { UPSTREAM_INPUT, type UpstreamInput } from './schemas.ts'
import { REDACTED, restoreTransport, strayingSecrets } from './secrets.ts'
import { pointer, refuseFaults, validate } from './validate.ts'

/** The spec of a registration. Errors: INVALID_INPUT, OPERATOR_ONLY, ADDRESS_REFUSED. */
export function newSpec(input: Omit<UpstreamInput, 'slug'>, isOperator: boolean, context: RestContext): UpstreamSpec {
  const { transport, faults } = restoreTransport(input.transport, null)
  refuseFaults([...faults, ...faultsOfSpec({ ...input, transport })])
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
  const isOtherKind = patchedTransport.kind !== undefined && patchedTransport.kind !== stored.transport.kind
  const merged = mergePatch(isOtherKind ? { ...stored, transport: {} } : stored, patch)
  await validate(UPSTREAM_INPUT, merged)
  const { slug = row.slug, ...input } = merged as UpstreamInput
  const { transport, faults } = restoreTransport(input.transport, stored.transport)
  refuseFaults([...faults, ...faultsOfSpec({ ...input, transport })])

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

/** Headers that the link and the protocol set themselves. */
const OWN_HEADERS = new Set([
  ...['host', 'connection', 'content-length', 'transfer-encoding', 'upgrade', 'te', 'trailer', 'keep-alive', 'expect'],
  ...['content-type', 'content-encoding', 'accept', 'accept-encoding', 'last-event-id', 'traceparent', 'tracestate'],
])

/** What a schema cannot say. */
function faultsOfSpec({ transport, callMs, callMsMax }: UpstreamSpec): Fault[] {
  const faults = transport.kind === 'http' ? faultsOfHttp(transport) : []
  if (callMs !== undefined && callMsMax !== undefined && callMs > callMsMax)
    faults.push({ at: '/callMs', message: 'must not be over callMsMax' })
  return faults
}

function faultsOfHttp(transport: HttpTransport): Fault[] {
  const faults: Fault[] = []
  transport.urls.forEach((text, at) => {
    try {
      checkUrl(text)
    } catch (error) {
      if (!(error instanceof GatewayError)) throw error
      faults.push({ at: pointer('transport', 'urls', at), message: error.message })
    }
  })
  const names = Object.keys(transport.headers ?? {})
  const seen = new Set<string>()
  for (const name of names) {
    const at = pointer('transport', 'headers', name)
    const lower = name.toLowerCase()
    const value = transport.headers?.[name]
    if (OWN_HEADERS.has(lower) || /^(?:mcp|proxy|sec)-/.test(lower))
      faults.push({ at, message: 'is a header that the gateway sets itself' })
    if (seen.has(lower)) faults.push({ at, message: 'is there twice' })
    if (typeof value === 'string' && !/^[\t\x20-\x7e\x80-\xff]*$/.test(value))
      faults.push({ at, message: 'has characters that no header can carry' })
    seen.add(lower)
  }
  if (transport.ca !== undefined && !isPem(transport.ca))
    faults.push({ at: '/transport/ca', message: 'must be one or several certificates in PEM, as text' })
  if (transport.caPinned === true && transport.ca === undefined)
    faults.push({ at: '/transport/caPinned', message: 'needs "ca"' })
  return faults
}

function isPem(text: string): boolean {
  const blocks = text.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g) ?? []
  if (blocks.length === 0) return false
  try {
    for (const block of blocks) new X509Certificate(block)
    return true
  } catch {
    return false
  }
}
