// What a request's own headers say, before its body is read.

import { GatewayError } from '../core/errors.ts'
import type { Limits } from '../core/limits.ts'
import type { Exchange } from '../http/exchange.ts'

type Headers = Exchange['headers']

export interface Accepted {
  readonly json: boolean
  readonly stream: boolean
}

const JSON_ONLY: Accepted = { json: true, stream: false }
/** Accept headers are few: each spelling is read once, up to this many. */
const KNOWN_MAX = 256
const KNOWN_CHARS_MAX = 256
const known = new Map<string, Accepted>()

function readAccept(header: string): Accepted {
  let json = false
  let stream = false
  let any = false
  for (const item of header.toLowerCase().split(',')) {
    const [type = '', ...parameters] = item.split(';').map((part) => part.trim())
    if (parameters.some((parameter) => /^q=0(?:\.0{0,3})?$/.test(parameter))) continue
    if (type === 'application/json' || type === 'application/*') json = true
    else if (type === 'text/event-stream' || type === 'text/*') stream = true
    else if (type === '*/*') any = true
  }
  // Who names nothing gets plain JSON: a script would not know what to do with a stream.
  return any && !stream ? JSON_ONLY : { json: json || any, stream }
}

/** Errors: NOT_ACCEPTABLE. */
export function acceptedOf(headers: Headers): Accepted {
  const header = headers.accept
  if (header === undefined) return JSON_ONLY
  let accepted = known.get(header)
  if (accepted === undefined) {
    accepted = readAccept(header)
    if (known.size < KNOWN_MAX && header.length <= KNOWN_CHARS_MAX) known.set(header, accepted)
  }
  if (!accepted.json && !accepted.stream) throw new GatewayError('NOT_ACCEPTABLE')
  return accepted
}

/** Errors: UNSUPPORTED_MEDIA_TYPE. Also keeps out what a page may send to another site without asking it first. */
export function needJsonBody(headers: Headers): void {
  const type = headers['content-type']
  const isJson = type === 'application/json' || /^application\/json[ \t]*(?:;|$)/i.test(type ?? '')
  if (!isJson) {
    throw new GatewayError(
      'UNSUPPORTED_MEDIA_TYPE',
      type === undefined ? 'The header Content-Type is missing' : `The Content-Type ${type.slice(0, 100)} is not JSON`,
    )
  }
  const coding = headers['content-encoding']
  if (coding !== undefined && coding !== 'identity') {
    throw new GatewayError('UNSUPPORTED_MEDIA_TYPE', 'The body must not be compressed')
  }
}

/** How many gateways the request has passed. What cannot be read counts as the limit: it goes no further. Errors: LOOP_DETECTED. */
export function hopsOf(headers: Headers, { hopsMax }: Pick<Limits, 'hopsMax'>): number {
  const header = headers['x-mcp-gateway-hops']
  if (header === undefined) return 0
  const hops = /^\d{1,3}$/.test(header) ? Number(header) : hopsMax
  if (hops > hopsMax) throw new GatewayError('LOOP_DETECTED', `The request has passed ${hops} gateways`)
  return hops
}
