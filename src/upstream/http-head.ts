// What the head of an upstream's HTTP answer says, for all who ask upstreams over HTTP.

import type { ErrorCode } from '../core/errors.ts'

export type Headers = Readonly<Record<string, string | undefined>>

export interface HeadFault {
  readonly code: 'UPSTREAM_INVALID' | 'UPSTREAM_REFUSED'
  readonly what: string
}

/** What is wrong with an answer before its body is looked at; other refusals than of credentials are not judged here. */
export function faultOfHead(status: number, headers: Headers): HeadFault | null {
  const encoding = headers['content-encoding']
  if (encoding !== undefined && encoding.toLowerCase() !== 'identity') {
    return { code: 'UPSTREAM_INVALID', what: 'it compressed the answer though it was not asked to' }
  }
  if (status >= 300 && status < 400) {
    const where = hostOf(headers.location)
    return {
      code: 'UPSTREAM_INVALID',
      what: `it redirects (HTTP ${status}) to ${where}; redirects are not followed`,
    }
  }
  if (status === 401 || status === 403) return { code: 'UPSTREAM_REFUSED', what: `it answered HTTP ${status}` }
  return null
}

/** Statuses that speak of the size of what was sent. */
export const TOO_LARGE = new Set([413, 414, 431])

export function refusalCode(status: number): ErrorCode {
  if (TOO_LARGE.has(status)) return 'TOO_LARGE'
  if (status === 429) return 'UPSTREAM_BUSY'
  return status < 500 && status !== 408 ? 'UPSTREAM_INVALID' : 'UPSTREAM_UNAVAILABLE'
}

export function isType(header: string, type: string): boolean {
  if (header === type) return true
  const end = header.indexOf(';')
  return (end < 0 ? header : header.slice(0, end)).trim().toLowerCase() === type
}

/** Of foreign text, something that may stand in a message of ours. */
export function quoted(text: string): string {
  return `"${text.slice(0, 60).replace(/[^\x20-\x7e]/g, '?')}"`
}

function hostOf(location: string | undefined): string {
  if (location === undefined || !URL.canParse(location)) return 'another path'
  return quoted(new URL(location).host)
}
