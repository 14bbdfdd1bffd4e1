import assert from 'node:assert/strict'
import { createHmac } from 'node:crypto'
import { test } from 'node:test'
import { createFakeBus } from '../../test/fakes/bus.ts'
import { createFakeClock } from '../../test/fakes/clock.ts'
import { type ErrorCode, GatewayError } from '../core/errors.ts'
import { LIMITS } from '../core/limits.ts'
import type { Caller } from '../core/policy.ts'
import { callerId, hashToken, mintToken } from './api-token.ts'
import { type AuthenticatorOptions, createAuthenticator, LOCAL_CALLER } from './authenticate.ts'

const ANNA: Caller = {
  id: callerId('token', 'mcp-gateway', 'anna'),
  issuer: 'mcp-gateway',
  subject: 'anna',
  name: 'anna',
  rights: ['use'],
  expiresMs: null,
}
const JWT = {
  secret: ['a secret of more than thirty-two bytes!'],
  issuer: 'https://issuer.example',
  audience: 'gateway',
}

/** A primary that knows one token, counts the questions, and can be away or slow. */
function start(changes: Partial<AuthenticatorOptions> = {}) {
  const clock = createFakeClock()
  const bus = createFakeBus()
  const { text, hash } = mintToken()
  const primary = {
    callers: new Map<string, Caller>([[hash, ANNA]]),
    asked: 0,
    fault: null as Error | null,
    gate: null as Promise<void> | null,
    async caller(asked: string): Promise<Caller | null> {
      primary.asked += 1
      const answer = primary.callers.get(asked) ?? null
      await primary.gate
      if (primary.fault !== null) throw primary.fault
      return answer
    },
  }
  const authenticator = createAuthenticator({
    control: primary,
    jwt: null,
    clock,
    limits: LIMITS,
    open: false,
    bus,
    ...changes,
  })
  return { clock, bus, primary, text, hash, bearer: `Bearer ${text}`, ...authenticator }
}

/** The code of a refusal, thrown or rejected, and its challenge. */
async function refusal(action: () => Caller | Promise<Caller>): Promise<{ code: ErrorCode; challenge: string | null }> {
  try {
    await action()
  } catch (error) {
    assert.ok(error instanceof GatewayError, String(error))
    return { code: error.code, challenge: error.options.headers?.['www-authenticate'] ?? null }
  }
  return assert.fail('it was let in')
}

test('a cold token asks the primary once; a warm one is answered without a promise', async () => {
  const { authenticate, bearer, primary } = start()
  assert.deepEqual(await authenticate(bearer), ANNA)
  assert.equal(authenticate(bearer), ANNA)
  assert.equal(primary.asked, 1)
})

test('many requests with one cold token are one question', async () => {
  const { authenticate, bearer, primary } = start()
  const callers = await Promise.all(Array.from({ length: 50 }, () => authenticate(bearer)))
  assert.ok(callers.every((caller) => caller === ANNA))
  assert.equal(primary.asked, 1)
})

test('after 30 s the primary is asked again', async () => {
  const { authenticate, bearer, primary, clock } = start()
  await authenticate(bearer)
  clock.forward(LIMITS.callerCacheMs - 1)
  assert.equal(authenticate(bearer), ANNA)
  clock.forward(1)
  await authenticate(bearer)
  assert.equal(primary.asked, 2)
})

test('a cached caller ends with its token, not 30 s later', async () => {
  const { authenticate, bearer, primary, hash, clock } = start()
  primary.callers.set(hash, { ...ANNA, expiresMs: clock.now() + 5_000 })
  await authenticate(bearer)
  clock.forward(5_000)
  primary.callers.delete(hash)
  assert.equal((await refusal(() => authenticate(bearer))).code, 'UNAUTHENTICATED')
})

const headers: [string, string | undefined, string | null][] = [
  ['nothing', undefined, 'Bearer realm="mcp-gateway"'],
  ['an empty header', '', 'Bearer realm="mcp-gateway", error="invalid_token"'],
  ['Basic', 'Basic dXNlcjpwYXNz', null],
  ['a bare token', mintToken().text, null],
  ['two tokens', `Bearer ${mintToken().text} ${mintToken().text}`, null],
  ['two headers joined', `Bearer ${mintToken().text}, Bearer ${mintToken().text}`, null],
  ['no token behind Bearer', 'Bearer ', null],
  ['a letter outside ASCII', 'Bearer mgw_é', null],
  ['an unknown token', `Bearer ${mintToken().text}`, 'Bearer realm="mcp-gateway", error="invalid_token"'],
  [
    'a JWT where none is configured',
    'Bearer eyJhbGciOiJIUzI1NiJ9.e30.AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA',
    null,
  ],
  ['huge', `Bearer ${'a'.repeat(1_000_000)}`, null],
]
for (const [name, header, challenge] of headers) {
  test(`401 with a challenge: ${name}`, async () => {
    const { authenticate } = start()
    const refused = await refusal(() => authenticate(header))
    assert.equal(refused.code, 'UNAUTHENTICATED')
    assert.match(refused.challenge ?? '', /^Bearer realm="mcp-gateway"/)
    if (challenge !== null) assert.equal(refused.challenge, challenge)
  })
}

test('the scheme is read without its case, and spaces around are allowed', async () => {
  const { authenticate, text } = start()
  for (const header of [`bearer ${text}`, `BEARER   ${text}`, `Bearer ${text}  `])
    assert.equal(await authenticate(header), ANNA)
})

test('the challenge names the metadata of the resource where there is one', async () => {
  const { authenticate } = start({ resourceMetadataUrl: 'https://gw.example/.well-known/oauth-protected-resource' })
  assert.equal(
    (await refusal(() => authenticate(undefined))).challenge,
    'Bearer realm="mcp-gateway", resource_metadata="https://gw.example/.well-known/oauth-protected-resource"',
  )
})

test('a revoked token is out with the news, not 30 s later', async () => {
  const { authenticate, bearer, primary, hash, bus } = start()
  await authenticate(bearer)
  primary.callers.delete(hash)
  assert.equal(authenticate(bearer), ANNA)
  bus.publish('callersChanged', { hashes: [hash] })
  assert.equal((await refusal(() => authenticate(bearer))).code, 'UNAUTHENTICATED')
})

test('news of everything forgets everyone; news of another token nobody', async () => {
  const { authenticate, bearer, primary, bus } = start()
  await authenticate(bearer)
  bus.publish('callersChanged', { hashes: [hashToken('another')] })
  assert.equal(authenticate(bearer), ANNA)
  bus.publish('callersChanged', { hashes: null })
  await authenticate(bearer)
  assert.equal(primary.asked, 2)
})

test('an answer that was under way when the token was revoked is not kept, and the question is put again', async () => {
  const { authenticate, bearer, primary, hash, bus } = start()
  let open = (): void => {}
  primary.gate = new Promise((resolve) => {
    open = resolve
  })
  const waiting = refusal(() => authenticate(bearer))
  primary.callers.delete(hash)
  bus.publish('callersChanged', { hashes: [hash] })
  open()
  assert.equal((await waiting).code, 'UNAUTHENTICATED')
  assert.equal(primary.asked, 2)
})

test('while tokens change all the time an answer is used at last, but not kept', async () => {
  const { authenticate, bearer, primary, bus } = start()
  const { caller } = primary
  primary.caller = (asked) => {
    bus.publish('callersChanged', { hashes: ['0'.repeat(64)] })
    return caller(asked)
  }
  assert.equal(await authenticate(bearer), ANNA)
  const { asked } = primary
  primary.caller = caller
  assert.equal(await authenticate(bearer), ANNA)
  assert.equal(primary.asked, asked + 1)
})

test('a caller whose time is over is none, also where the primary has not noticed', async () => {
  const { authenticate, bearer, primary, hash, clock } = start()
  primary.callers.set(hash, { ...ANNA, expiresMs: clock.now() })
  assert.equal((await refusal(() => authenticate(bearer))).code, 'UNAUTHENTICATED')
  primary.callers.set(hash, { ...ANNA, expiresMs: clock.now() + LIMITS.strangerCacheMs + 1 })
  clock.forward(LIMITS.strangerCacheMs)
  assert.equal((await authenticate(bearer)).name, 'anna')
})

test('a stranger is not looked up twice within some seconds, and is known at once when news come', async () => {
  const { authenticate, primary, clock, bus } = start()
  const late = mintToken()
  const header = `Bearer ${late.text}`
  await refusal(() => authenticate(header))
  await refusal(() => authenticate(header))
  assert.equal(primary.asked, 1)
  clock.forward(LIMITS.strangerCacheMs)
  await refusal(() => authenticate(header))
  assert.equal(primary.asked, 2)
  primary.callers.set(late.hash, ANNA)
  bus.publish('callersChanged', { hashes: [late.hash] })
  assert.equal(await authenticate(header), ANNA)
})

test('a flood of invalid tokens pushes no valid caller out, and leaves no more behind than its bound', async () => {
  const limits = { ...LIMITS, callerCacheItems: 10, strangerCacheItems: 100 }
  const { authenticate, bearer, primary } = start({ limits })
  const tokens = Array.from(
    { length: 5_000 },
    (_, index) => `Bearer mgw_${String(index).padStart(12, '0')}_${'a'.repeat(43)}`,
  )
  await authenticate(bearer)
  for (const token of tokens) assert.equal((await refusal(() => authenticate(token))).code, 'UNAUTHENTICATED')
  assert.equal(authenticate(bearer), ANNA, 'still warm')
  assert.equal(primary.asked, 1 + tokens.length)
  for (const token of tokens.slice(-100)) await refusal(() => authenticate(token))
  assert.equal(primary.asked, 1 + tokens.length, 'the last hundred are remembered')
  await refusal(() => authenticate(tokens[0]))
  assert.equal(primary.asked, 2 + tokens.length, 'the first is not')
})

test('questions at once are bounded; a known caller goes on above the bound', async () => {
  const { authenticate, bearer, primary, clock } = start({ limits: { ...LIMITS, callerLookupsMax: 10 } })
  await authenticate(bearer)
  clock.forward(LIMITS.callerCacheMs)
  let open = (): void => {}
  primary.gate = new Promise((resolve) => {
    open = resolve
  })
  const waiting = Array.from({ length: 10 }, () => refusal(() => authenticate(`Bearer ${mintToken().text}`)))
  assert.equal((await refusal(() => authenticate(`Bearer ${mintToken().text}`))).code, 'OVERLOADED')
  assert.equal(await authenticate(bearer), ANNA)
  open()
  for (const { code } of await Promise.all(waiting)) assert.equal(code, 'UNAUTHENTICATED')
})

test('while the store is away a verified caller goes on for its time, and a stranger is not called invalid', async () => {
  const { authenticate, bearer, primary, clock } = start()
  await authenticate(bearer)
  primary.fault = new GatewayError('STORE_UNAVAILABLE')
  clock.forward(LIMITS.callerCacheMs)
  assert.equal(await authenticate(bearer), ANNA)
  const asked = primary.asked
  assert.equal(authenticate(bearer), ANNA)
  assert.equal(primary.asked, asked, 'the store is left alone for a moment')
  assert.equal((await refusal(() => authenticate(`Bearer ${mintToken().text}`))).code, 'STORE_UNAVAILABLE')
  clock.forward(LIMITS.staleCallerMs - LIMITS.callerCacheMs)
  assert.equal(await authenticate(bearer), ANNA)
  clock.forward(1_001)
  assert.equal((await refusal(() => authenticate(bearer))).code, 'STORE_UNAVAILABLE')
  primary.fault = null
  assert.equal(await authenticate(bearer), ANNA)
})

test('an outage never carries a caller past the end of its token, nor one that was revoked', async () => {
  const { authenticate, bearer, primary, hash, clock, bus } = start()
  primary.callers.set(hash, { ...ANNA, expiresMs: clock.now() + 60_000 })
  await authenticate(bearer)
  primary.fault = new GatewayError('STORE_UNAVAILABLE')
  clock.forward(60_000)
  assert.equal((await refusal(() => authenticate(bearer))).code, 'STORE_UNAVAILABLE')
  primary.fault = null
  primary.callers.set(hash, ANNA)
  await authenticate(bearer)
  primary.fault = new GatewayError('STORE_UNAVAILABLE')
  bus.publish('callersChanged', { hashes: [hash] })
  assert.equal((await refusal(() => authenticate(bearer))).code, 'STORE_UNAVAILABLE')
})

test('staleCallerMs 0 fails closed', async () => {
  const { authenticate, bearer, primary, clock } = start({ limits: { ...LIMITS, staleCallerMs: 0 } })
  await authenticate(bearer)
  primary.fault = new Error('socket closed')
  clock.forward(LIMITS.callerCacheMs)
  assert.equal((await refusal(() => authenticate(bearer))).code, 'STORE_UNAVAILABLE')
})

test('a primary that does not answer is an outage', async () => {
  const { authenticate, bearer, primary } = start({ limits: { ...LIMITS, callerLookupMs: 5 } })
  primary.gate = new Promise(() => {})
  assert.equal((await refusal(() => authenticate(bearer))).code, 'STORE_UNAVAILABLE')
})

test('--open: no token is the local caller without the operator right; a token of ours must be good', async () => {
  const { authenticate, bearer, primary } = start({ open: true })
  assert.equal(authenticate(undefined), LOCAL_CALLER)
  assert.deepEqual(LOCAL_CALLER.rights, ['use', 'admin'])
  assert.equal(authenticate('Bearer whatever'), LOCAL_CALLER)
  assert.equal(primary.asked, 0)
  assert.equal(await authenticate(bearer), ANNA)
  assert.equal((await refusal(() => authenticate(`Bearer ${mintToken().text}`))).code, 'UNAUTHENTICATED')
})

test('a JWT is verified here, kept for 30 s, never longer than its end, and needs no primary', async () => {
  const { authenticate, primary, clock } = start({ jwt: JWT })
  const sign = (claims: object): string => {
    const encode = (part: object): string => Buffer.from(JSON.stringify(part)).toString('base64url')
    const text = `${encode({ alg: 'HS256' })}.${encode(claims)}`
    return `Bearer ${text}.${createHmac('sha256', JWT.secret[0]!).update(text).digest('base64url')}`
  }
  const header = sign({ iss: JWT.issuer, aud: JWT.audience, sub: 'bob', exp: clock.now() / 1000 + 45 })
  const first = await authenticate(header)
  assert.equal(first.subject, 'bob')
  assert.equal(authenticate(header), first, 'kept')
  clock.forward(30_000)
  assert.notEqual(authenticate(header), first, 'verified again')
  clock.forward(15_000)
  const refused = await refusal(() => authenticate(header))
  assert.deepEqual(refused, {
    code: 'UNAUTHENTICATED',
    challenge: 'Bearer realm="mcp-gateway", error="invalid_token"',
  })
  assert.equal(primary.asked, 0)
})

test('close stops listening', () => {
  const { bus, close } = start()
  close()
  bus.publish('callersChanged', { hashes: null })
})
