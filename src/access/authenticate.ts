// Who calls, from the Authorization header alone, before a body is read. A caller who is known is answered at once and
// without a promise; a cold API token costs one question to the primary, however many requests bring it.
// Caches are keyed by the SHA-256 of the token's text, never by the text. Strangers are remembered in a cache of their
// own, shortly, so that a flood of invalid tokens pushes nobody out.
// Absent on purpose: cookies, Basic, tokens in query parameters.

import { LRUCache } from 'lru-cache'
import { GatewayError } from '../core/errors.ts'
import type { Limits } from '../core/limits.ts'
import type { Caller } from '../core/policy.ts'
import type { Clock } from '../core/time.ts'
import type { Bus } from '../ports/bus.ts'
import type { Control } from '../ports/control.ts'
import { callerId, hashToken, tokenId } from './api-token.ts'
import { createJwtVerifier, isJwt, type JwtOptions } from './jwt.ts'

export interface AuthenticatorOptions {
  readonly control: Pick<Control, 'caller'>
  readonly jwt: JwtOptions | null
  readonly clock: Clock
  readonly limits: Pick<
    Limits,
    | 'callerCacheItems'
    | 'callerCacheMs'
    | 'strangerCacheItems'
    | 'strangerCacheMs'
    | 'callerLookupsMax'
    | 'callerLookupMs'
    | 'staleCallerMs'
  >
  /** Started with --open: who sends no token may use and administer, but is no operator. */
  readonly open: boolean
  readonly bus: Pick<Bus, 'subscribe'>
  /** Where the protected resource's metadata lies (RFC 9728), once there is an authorization server. */
  readonly resourceMetadataUrl?: string
}

/** Errors, thrown or rejected: UNAUTHENTICATED; STORE_UNAVAILABLE and OVERLOADED when nothing can be said of the token. */
export type Authenticate = (authorization: string | undefined) => Caller | Promise<Caller>

export interface Authenticator {
  readonly authenticate: Authenticate
  /** From now on; callers who are known by the secrets before are looked at again. */
  setJwt(jwt: JwtOptions | null): void
  close(): void
}

/** Nobody's token: --open on a loopback address. Commands, files and private addresses stay with the operator's token. */
export const LOCAL_CALLER: Caller = {
  id: callerId('local', '', 'local'),
  issuer: 'local',
  subject: 'local',
  name: 'local',
  rights: ['use', 'admin'],
  expiresMs: null,
}

interface Known {
  readonly caller: Caller
  /** When an answer was last had from the store; an outage is bridged from here. */
  readonly verifiedMs: number
  /** Until then nobody is asked again. */
  freshUntilMs: number
}

/** After a failed question the store is left alone for this long, while known callers go on. */
const ASK_AGAIN_MS = 1_000
/** How often one question is put again because tokens changed while it was under way. */
const REPEATS_MAX = 3
const BEARER = /^bearer +([!-~]+) *$/i

export function createAuthenticator(options: AuthenticatorOptions): Authenticator {
  const { control, clock, limits, open } = options
  let verifyJwt = options.jwt === null ? null : createJwtVerifier(options.jwt)
  const known = new LRUCache<string, Known>({ max: limits.callerCacheItems })
  const strangers = new LRUCache<string, number>({ max: limits.strangerCacheItems })
  const lookups = new Map<string, Promise<Caller>>()
  /** Rises with every change of tokens: an answer to a question asked before it is not believed. */
  let generation = 0

  const challenge = (sent: boolean): Readonly<Record<string, string>> => {
    const parts = ['realm="mcp-gateway"']
    if (sent) parts.push('error="invalid_token"')
    if (options.resourceMetadataUrl !== undefined) parts.push(`resource_metadata="${options.resourceMetadataUrl}"`)
    return { 'www-authenticate': `Bearer ${parts.join(', ')}` }
  }
  const NO_TOKEN = challenge(false)
  const BAD_TOKEN = challenge(true)
  const unauthenticated = (message: string): GatewayError =>
    new GatewayError('UNAUTHENTICATED', message, { headers: BAD_TOKEN })

  const unsubscribe = options.bus.subscribe('callersChanged', ({ hashes }) => {
    generation += 1
    if (hashes === null) {
      known.clear()
      strangers.clear()
      return
    }
    for (const hash of hashes) {
      known.delete(hash)
      strangers.delete(hash)
    }
  })

  const remember = (hash: string, caller: Caller): void => {
    const nowMs = clock.now()
    known.set(hash, { caller, verifiedMs: nowMs, freshUntilMs: nowMs + limits.callerCacheMs })
  }

  const stale = (hash: string): Caller | null => {
    const entry = known.get(hash)
    const nowMs = clock.now()
    if (entry === undefined || nowMs - entry.verifiedMs > limits.staleCallerMs || isOver(entry.caller, nowMs))
      return null
    entry.freshUntilMs = nowMs + ASK_AGAIN_MS
    return entry.caller
  }

  const ask = async (hash: string): Promise<Caller> => {
    for (let repeat = 0; ; repeat += 1) {
      const before = generation
      let caller: Caller | null
      try {
        caller = await within(limits.callerLookupMs, control.caller(hash))
      } catch (error) {
        // Of a caller that was verified lately an outage changes nothing; of anyone else nothing is known, which is not
        // the same as "invalid".
        const still = stale(hash)
        if (still !== null) return still
        if (error instanceof GatewayError && error.code !== 'INTERNAL') throw error
        throw new GatewayError('STORE_UNAVAILABLE', undefined, { retryAfterSeconds: 1, cause: error })
      }
      if (before !== generation && repeat < REPEATS_MAX) continue
      if (caller === null || isOver(caller, clock.now())) {
        known.delete(hash)
        strangers.set(hash, clock.now() + limits.strangerCacheMs)
        throw unauthenticated('The token is unknown, revoked or expired')
      }
      if (before === generation) remember(hash, caller)
      return caller
    }
  }

  const lookup = (hash: string): Promise<Caller> => {
    const running = lookups.get(hash)
    if (running !== undefined) return running
    if (lookups.size >= limits.callerLookupsMax) {
      const still = stale(hash)
      if (still !== null) return Promise.resolve(still)
      throw new GatewayError('OVERLOADED', 'Too many unknown tokens at once', { retryAfterSeconds: 1 })
    }
    const started = ask(hash).finally(() => lookups.delete(hash))
    lookups.set(hash, started)
    return started
  }

  const fromJwt = (token: string, hash: string): Caller => {
    try {
      const caller = verifyJwt!(token, clock.now())
      remember(hash, caller)
      return caller
    } catch (error) {
      if (error instanceof GatewayError && error.code === 'UNAUTHENTICATED') throw unauthenticated(error.message)
      throw error
    }
  }

  return {
    authenticate(authorization) {
      if (authorization === undefined) {
        if (open) return LOCAL_CALLER
        throw new GatewayError('UNAUTHENTICATED', undefined, { headers: NO_TOKEN })
      }
      const token = BEARER.exec(authorization)?.[1]
      const isOurs = token !== undefined && tokenId(token) !== null
      if (!isOurs && (verifyJwt === null || token === undefined || !isJwt(token))) {
        // Where no token is needed, one that cannot be ours harms nobody: clients often send whatever they have.
        if (open) return LOCAL_CALLER
        throw unauthenticated('The token is not valid')
      }
      const hash = hashToken(token)
      const nowMs = clock.now()
      const entry = known.get(hash)
      if (entry !== undefined && nowMs < entry.freshUntilMs && !isOver(entry.caller, nowMs)) return entry.caller
      if (!isOurs) return fromJwt(token, hash)
      const strangeUntilMs = strangers.get(hash)
      if (strangeUntilMs !== undefined && nowMs < strangeUntilMs)
        throw unauthenticated('The token is unknown, revoked or expired')
      return lookup(hash)
    },
    setJwt(jwt) {
      verifyJwt = jwt === null ? null : createJwtVerifier(jwt)
      generation += 1
      known.clear()
      strangers.clear()
    },
    close() {
      unsubscribe()
      known.clear()
      strangers.clear()
    },
  }
}

function isOver(caller: Caller, nowMs: number): boolean {
  return caller.expiresMs !== null && caller.expiresMs <= nowMs
}

/** The promise, or STORE_UNAVAILABLE after `ms`: a question that hangs must not hold requests for ever. */
async function within<T>(ms: number, promise: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new GatewayError('STORE_UNAVAILABLE', undefined, { retryAfterSeconds: 1 })), ms)
  })
  try {
    return await Promise.race([promise, late])
  } finally {
    clearTimeout(timer)
  }
}
