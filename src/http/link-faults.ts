// What goes wrong with connections, in our words: the host is named, and no path, no header and no address of ours.

import { GatewayError } from '../core/errors.ts'

const CONNECT_CODES = new Set([
  ...['ECONNREFUSED', 'EHOSTUNREACH', 'ENETUNREACH', 'EADDRNOTAVAIL', 'ETIMEDOUT', 'EACCES', 'EPERM', 'EMFILE'],
])

const unavailable = (text: string): GatewayError => new GatewayError('UPSTREAM_UNAVAILABLE', text)

export function connectFault(host: string, connectMs: number): GatewayError {
  return unavailable(`Connecting to ${host} took over ${connectMs} ms`)
}

export function closedFault(host: string): GatewayError {
  return unavailable(`The connections to ${host} are closed`)
}

export function waitingFault(host: string): GatewayError {
  return new GatewayError('UPSTREAM_BUSY', `Too many requests wait for a connection to ${host}`)
}

/** What undici and node say; null is a connection that just ended. */
export function describeFault(error: Error | null, host: string): GatewayError {
  if (error instanceof GatewayError) return error
  const code = (error as NodeJS.ErrnoException | null)?.code ?? ''
  if (code === 'ENOTFOUND' || code === 'EAI_AGAIN')
    return unavailable(`The name of ${host} cannot be resolved (${code})`)
  if (CONNECT_CODES.has(code)) return unavailable(`Connecting to ${host} failed (${code})`)
  if (/^(ERR_TLS|ERR_SSL|EPROTO|CERT_|DEPTH_ZERO|SELF_SIGNED|UNABLE_TO|HOSTNAME_MISMATCH|INVALID_CA)/.test(code)) {
    return unavailable(`No trusted TLS connection to ${host} (${code})`)
  }
  if (code === 'UND_ERR_HEADERS_OVERFLOW') {
    return new GatewayError('UPSTREAM_INVALID', `The headers of ${host} are too large`)
  }
  if (code === 'UND_ERR_RES_CONTENT_LENGTH_MISMATCH') {
    return new GatewayError('UPSTREAM_INVALID', `${host} broke its Content-Length off`)
  }
  if (error?.name === 'HTTPParserError') {
    return new GatewayError('UPSTREAM_INVALID', `${host} does not speak proper HTTP/1.1`)
  }
  if (code === 'UND_ERR_INVALID_ARG') return new GatewayError('UPSTREAM_INVALID', `Refused to send: ${error?.message}`)
  return unavailable(`The connection to ${host} was lost${code === '' ? '' : ` (${code})`}`)
}
