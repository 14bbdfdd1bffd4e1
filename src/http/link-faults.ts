// What goes wrong with connections, in our words: the host is named, and no path, no header and no address of ours.

import { GatewayError } from '../core/errors.ts'

const CONNECT_CODES = new Set([
  ...['ECONNREFUSED', 'EHOSTUNREACH', 'ENETUNREACH', 'EADDRNOTAVAIL', 'ETIMEDOUT', 'EACCES', 'EPERM', 'EMFILE'],
])

export function waitingFault(host: string): GatewayError {
  return new GatewayError('UPSTREAM_BUSY', `Too many requests wait for a connection to ${host}`)
}

/** What undici and node say; null is a connection that just ended. */
export function describeFault(error: Error | null, host: string, connectMs: number): GatewayError {
  if (error instanceof GatewayError) return error
  const code = (error as NodeJS.ErrnoException | null)?.code ?? ''
  const say = (text: string): GatewayError => new GatewayError('UPSTREAM_UNAVAILABLE', text)
  if (code === 'UND_ERR_CONNECT_TIMEOUT') return say(`Connecting to ${host} took over ${connectMs} ms`)
  if (code === 'ENOTFOUND' || code === 'EAI_AGAIN') return say(`The name of ${host} cannot be resolved (${code})`)
  if (CONNECT_CODES.has(code)) return say(`Connecting to ${host} failed (${code})`)
  if (/^(ERR_TLS|ERR_SSL|EPROTO|CERT_|DEPTH_ZERO|SELF_SIGNED|UNABLE_TO|HOSTNAME_MISMATCH|INVALID_CA)/.test(code)) {
    return say(`No trusted TLS connection to ${host} (${code})`)
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
  return say(`The connection to ${host} was lost${code === '' ? '' : ` (${code})`}`)
}
