// Whom a link trusts: the system's CAs, those and an extra bundle, or (pinned) a bundle alone.
// Absent on purpose: any way to switch the check of certificates off.

import { X509Certificate } from 'node:crypto'
import { createSecureContext, getCACertificates, type SecureContext } from 'node:tls'
import { GatewayError } from '../core/errors.ts'

const BLOCK = /-----BEGIN CERTIFICATE-----[A-Za-z0-9+/=\s]+?-----END CERTIFICATE-----/g
const PEM_CHARS_MAX = 1024 * 1024

/** The certificates of a PEM bundle, each proven readable. Errors: INVALID_INPUT. */
export function readCertificates(pem: string): string[] {
  const refuse = (why: string): GatewayError => new GatewayError('INVALID_INPUT', `The CA bundle ${why}`)
  if (pem.length > PEM_CHARS_MAX) throw refuse('is larger than 1 MiB')
  const blocks = pem.match(BLOCK) ?? []
  if (blocks.length === 0) throw refuse('holds no PEM certificate')
  blocks.forEach((block, index) => {
    try {
      new X509Certificate(block)
    } catch {
      throw refuse(`holds a certificate that cannot be read (number ${index + 1})`)
    }
  })
  return blocks
}

/** Built once per link: reading the system's CAs costs milliseconds. Null means the system's own. Errors: INVALID_INPUT. */
export function createTrust(ca: string | null, caPinned: boolean): SecureContext | null {
  if (ca === null) return null
  const own = readCertificates(ca)
  return createSecureContext({ ca: caPinned ? own : [...getCACertificates('default'), ...own] })
}
