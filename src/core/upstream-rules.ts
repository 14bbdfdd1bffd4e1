// What an upstream may be, beyond what a schema can say: rules that the REST API and the configuration file share.

import { X509Certificate } from 'node:crypto'
import type { Fault } from './errors.ts'
import type { HttpTransport, UpstreamSpec } from './model.ts'

const URL_CHARS_MAX = 2048

/** Headers that the link and the protocol set themselves. */
const OWN_HEADERS = new Set([
  ...['host', 'connection', 'content-length', 'transfer-encoding', 'upgrade', 'te', 'trailer', 'keep-alive', 'expect'],
  ...['content-type', 'content-encoding', 'accept', 'accept-encoding', 'last-event-id', 'traceparent', 'tracestate'],
])

export function isOwnHeader(name: string): boolean {
  const lower = name.toLowerCase()
  return OWN_HEADERS.has(lower) || /^(?:mcp|proxy|sec)-/.test(lower)
}

/** Why this is no URL of an upstream, as the end of a sentence, or null. */
export function faultOfUrl(text: string): string | null {
  if (text.length > URL_CHARS_MAX) return `is longer than ${URL_CHARS_MAX} characters`
  const url = URL.canParse(text) ? new URL(text) : null
  if (url === null) return 'cannot be read'
  if (url.protocol !== 'http:' && url.protocol !== 'https:') return 'must begin with http:// or https://'
  if (url.username !== '' || url.password !== '') return 'must not carry credentials: use headers'
  if (url.hash !== '') return 'must not have a fragment'
  if (url.port === '0') return 'must not name port 0'
  return null
}

/** Every fault, at its JSON pointer. */
export function faultsOfUpstream({ transport, callMs, callMsMax }: UpstreamSpec): Fault[] {
  const faults = transport.kind !== 'stdio' ? faultsOfHttp(transport) : []
  if (callMs !== undefined && callMsMax !== undefined && callMs > callMsMax)
    faults.push({ at: '/callMs', message: 'must not be over callMsMax' })
  return faults
}

function faultsOfHttp(transport: HttpTransport): Fault[] {
  const faults: Fault[] = []
  for (const [at, text] of transport.urls.entries()) {
    const why = faultOfUrl(text)
    if (why !== null) faults.push({ at: `/transport/urls/${at}`, message: why })
  }
  const seen = new Set<string>()
  for (const [name, value] of Object.entries(transport.headers ?? {})) {
    const at = `/transport/headers/${name.replaceAll('~', '~0').replaceAll('/', '~1')}`
    const lower = name.toLowerCase()
    if (isOwnHeader(name)) faults.push({ at, message: 'is a header that the gateway sets itself' })
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
