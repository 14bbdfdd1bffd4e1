// Entity tags: `"v<row version>"`. If-Match may come in its weak form, since NGINX weakens tags when it compresses.

import { GatewayError } from '../core/errors.ts'
import type { RestRequest } from './route.ts'

export function etagOf(rowVersion: number): string {
  return `"v${rowVersion}"`
}

/** The tags of a list header, without their weakness; null where it is `*`. */
function readTags(header: string): string[] | null {
  if (header.trim() === '*') return null
  return header.split(',').map((tag) => tag.trim().replace(/^W\//, ''))
}

export function matchesTag(header: string, etag: string): boolean {
  return readTags(header)?.includes(etag.replace(/^W\//, '')) ?? true
}

/**
 * The version that the store must still find: the one that was read, whatever the header says, so that no write is ever
 * made over one that it has not seen. Errors: PRECONDITION_REQUIRED without If-Match under /v1, PRECONDITION_FAILED where
 * it names another version.
 */
export function expectedVersion(request: RestRequest, rowVersion: number): number {
  if (request.ifMatch === null) {
    if (request.versioned) throw new GatewayError('PRECONDITION_REQUIRED')
    return rowVersion
  }
  if (matchesTag(request.ifMatch, etagOf(rowVersion))) return rowVersion
  throw new GatewayError('PRECONDITION_FAILED', `It is at ${etagOf(rowVersion)} now`)
}
