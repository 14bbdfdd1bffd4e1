// JWTs signed with HS256 by a secret that the configuration names, verified with node:crypto (9 µs; docs/decisions).
// Strict where leniency has been a hole elsewhere: one algorithm, one spelling of base64url, no `crit`, every key once,
// issuer, audience, subject and end all required. Absent on purpose: every other algorithm, `kid` and key URLs (a key is
// never chosen by the token), encryption, and the `operator` right, which no outside issuer can grant.

import { isUtf8 } from 'node:buffer'
import { createHmac, createSecretKey, type KeyObject, timingSafeEqual } from 'node:crypto'
import { GatewayError } from '../core/errors.ts'
import type { Caller, Right } from '../core/policy.ts'
import { JsonFault, scanMembers } from '../mcp/json.ts'
import { callerId } from './api-token.ts'

/** The longest token that is looked at; it fits the header limit with room to spare. */
export const JWT_BYTES_MAX = 8 * 1024
const SECRET_BYTES_MIN = 32
const SKEW_SECONDS = 60
const DEPTH_MAX = 8
const AUDIENCES_MAX = 100
const TEXT_CHARS_MAX = 256
/** The end of year 9999, so that a huge number is a fault rather than a token that never ends. */
const TIME_MAX = 253_402_300_799

export interface JwtOptions {
  /** One or several, so that a secret can be changed without a gap. Each at least 32 bytes. */
  readonly secret: readonly (string | Buffer)[]
  readonly issuer: string
  readonly audience: string
}

/** The caller of a good token. Errors: UNAUTHENTICATED; what is wrong is told only once the signature has been proven. */
export type VerifyJwt = (token: string, nowMs: number) => Caller

const SHAPE = /^[A-Za-z0-9_-]{2,}\.[A-Za-z0-9_-]{2,}\.[A-Za-z0-9_-]{43}$/

/** Whether a text could be a JWT at all. */
export function isJwt(token: string): boolean {
  return token.length <= JWT_BYTES_MAX && SHAPE.test(token)
}

const refuse = (why: string): GatewayError => new GatewayError('UNAUTHENTICATED', why)
const notValid = (): GatewayError => refuse('The token is not valid')

/** Errors: CONFIG_INVALID for a secret that can be guessed, or an empty issuer or audience. */
export function createJwtVerifier(options: JwtOptions): VerifyJwt {
  const { issuer, audience } = options
  const secrets = options.secret.map((secret) => (typeof secret === 'string' ? Buffer.from(secret, 'utf8') : secret))
  if (secrets.length === 0 || secrets.some((secret) => secret.length < SECRET_BYTES_MIN))
    throw new GatewayError('CONFIG_INVALID', `A JWT secret needs at least ${SECRET_BYTES_MIN} bytes`)
  if (issuer === '' || audience === '') throw new GatewayError('CONFIG_INVALID', 'JWTs need an issuer and an audience')
  const keys = secrets.map((secret) => createSecretKey(secret))

  return (token, nowMs) => {
    if (!isJwt(token)) throw notValid()
    const [header, payload, signature] = token.split('.') as [string, string, string]
    checkHeader(readPart(header))
    if (!isSigned(keys, `${header}.${payload}`, signature)) throw notValid()
    return toCaller(readPart(payload), issuer, audience, nowMs)
  }
}

/** A base64url part in its one canonical spelling, holding one JSON object in UTF-8 with every key once. */
function readPart(part: string): Map<string, unknown> {
  const bytes = Buffer.from(part, 'base64url')
  if (bytes.toString('base64url') !== part || !isUtf8(bytes)) throw notValid()
  try {
    const members = scanMembers(bytes, 0, bytes.length, DEPTH_MAX)
    return new Map(members.map(({ key, start, end }) => [key, JSON.parse(bytes.toString('utf8', start, end))]))
  } catch (error) {
    if (error instanceof JsonFault) throw notValid()
    throw error
  }
}

function checkHeader(header: Map<string, unknown>): void {
  if (header.get('alg') !== 'HS256' || header.has('crit')) throw notValid()
  const type = header.get('typ')
  if (type === undefined) return
  if (typeof type !== 'string' || !['jwt', 'at+jwt', 'application/at+jwt'].includes(type.toLowerCase()))
    throw notValid()
}

/** Every key is tried, whichever fits, so that the time does not tell which one is in use. */
function isSigned(keys: readonly KeyObject[], text: string, signature: string): boolean {
  const given = Buffer.from(signature, 'base64url')
  if (given.length !== 32 || given.toString('base64url') !== signature) return false
  let fits = false
  for (const key of keys) {
    if (timingSafeEqual(createHmac('sha256', key).update(text).digest(), given)) fits = true
  }
  return fits
}

function toCaller(claims: Map<string, unknown>, issuer: string, audience: string, nowMs: number): Caller {
  if (claims.get('iss') !== issuer) throw refuse('The token is of another issuer')
  if (!isFor(claims.get('aud'), audience)) throw refuse('The token is for another audience')
  const end = readTime(claims, 'exp')
  if (end === null) throw refuse('The token has no "exp"')
  if (nowMs >= end * 1000) throw refuse('The token has expired')
  const latest = nowMs / 1000 + SKEW_SECONDS
  for (const name of ['nbf', 'iat']) {
    const time = readTime(claims, name)
    if (time !== null && time > latest) throw refuse('The token is not valid yet')
  }
  const subject = claims.get('sub')
  if (typeof subject !== 'string' || subject === '' || subject.length > TEXT_CHARS_MAX)
    throw refuse(`The token needs a "sub" of 1 to ${TEXT_CHARS_MAX} characters`)
  return {
    id: callerId('jwt', issuer, subject),
    issuer,
    subject,
    name: subject,
    rights: readRights(claims.get('scope')),
    expiresMs: Math.floor(end * 1000),
  }
}

function isFor(claim: unknown, audience: string): boolean {
  if (typeof claim === 'string') return claim === audience
  return (
    Array.isArray(claim) &&
    claim.length <= AUDIENCES_MAX &&
    claim.every((entry) => typeof entry === 'string') &&
    claim.includes(audience)
  )
}

function readTime(claims: Map<string, unknown>, name: string): number | null {
  const value = claims.get(name)
  if (value === undefined) return null
  if (typeof value !== 'number' || !(value >= 0 && value <= TIME_MAX))
    throw refuse(`The token's "${name}" is not a time`)
  return value
}

/** Without `scope` a caller may use things; with one it may do exactly what that names. */
function readRights(scope: unknown): Right[] {
  if (scope === undefined) return ['use']
  if (typeof scope !== 'string') throw refuse('The token\'s "scope" is not a text')
  const words = scope.split(' ')
  return (['use', 'admin'] as const).filter((right) => words.includes(right))
}
