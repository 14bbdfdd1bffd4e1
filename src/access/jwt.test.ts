import assert from 'node:assert/strict'
import { createHmac, createSign, generateKeyPairSync } from 'node:crypto'
import { test } from 'node:test'
import { GatewayError } from '../core/errors.ts'
import { createJwtVerifier, JWT_BYTES_MAX } from './jwt.ts'

const NOW = 1_800_000_000
const SECRET = 'a secret of more than thirty-two bytes!'
const OLDER = Buffer.alloc(32, 7)
const HEADER = { alg: 'HS256', typ: 'JWT' }
const CLAIMS = { iss: 'https://issuer.example', aud: 'https://gateway.example', sub: 'anna', exp: NOW + 600 }
const verify = createJwtVerifier({ secret: [SECRET, OLDER], issuer: CLAIMS.iss, audience: CLAIMS.aud })

const encode = (part: unknown): string =>
  (Buffer.isBuffer(part) ? part : Buffer.from(typeof part === 'string' ? part : JSON.stringify(part))).toString(
    'base64url',
  )
const signed = (text: string, secret: string | Buffer = SECRET, algorithm = 'sha256'): string =>
  `${text}.${createHmac(algorithm, secret).update(text).digest('base64url')}`
/** A token of any header and payload (objects, raw text or bytes), rightly signed. */
const token = (header: unknown, payload: unknown, secret?: string | Buffer): string =>
  signed(`${encode(header)}.${encode(payload)}`, secret)
const claims = (changes: Record<string, unknown>): string => token(HEADER, { ...CLAIMS, ...changes })

const accepted: [string, string, { rights?: string[]; subject?: string; expiresMs?: number }][] = [
  ['the plain form', token(HEADER, CLAIMS), { rights: ['use'], subject: 'anna', expiresMs: (NOW + 600) * 1000 }],
  ['the older secret', token(HEADER, CLAIMS, OLDER), {}],
  ['no typ', token({ alg: 'HS256' }, CLAIMS), {}],
  ['typ at+jwt', token({ alg: 'HS256', typ: 'at+JWT' }, CLAIMS), {}],
  ['a kid is not looked at', token({ ...HEADER, kid: '../../../dev/null' }, CLAIMS), {}],
  ['a kid of another type is not looked at', token({ ...HEADER, kid: { $gt: '' } }, CLAIMS), {}],
  ['jwk and jku are not looked at', token({ ...HEADER, jwk: { kty: 'oct', k: 'AA' }, jku: 'http://evil' }, CLAIMS), {}],
  ['an audience among several', claims({ aud: ['https://other.example', CLAIMS.aud] }), {}],
  ['nbf and iat inside the skew', claims({ nbf: NOW + 60, iat: NOW + 60 }), {}],
  ['a fractional end', claims({ exp: NOW + 0.5 }), { expiresMs: NOW * 1000 + 500 }],
  ['scope use', claims({ scope: 'use' }), { rights: ['use'] }],
  ['scope admin alone gives no use', claims({ scope: 'admin' }), { rights: ['admin'] }],
  ['scope with others', claims({ scope: 'openid admin use profile' }), { rights: ['use', 'admin'] }],
  ['scope operator is never granted', claims({ scope: 'operator use' }), { rights: ['use'] }],
  ['scope without any of ours', claims({ scope: 'openid' }), { rights: [] }],
  ['scope empty', claims({ scope: '' }), { rights: [] }],
  ['a subject outside ASCII', claims({ sub: 'Ünal 🙂' }), { subject: 'Ünal 🙂' }],
]
for (const [name, text, expected] of accepted) {
  test(`accepted: ${name}`, () => {
    const caller = verify(text, NOW * 1000)
    assert.equal(caller.issuer, CLAIMS.iss)
    if (expected.rights) assert.deepEqual(caller.rights, expected.rights)
    if (expected.subject) assert.equal(caller.subject, expected.subject)
    if (expected.expiresMs) assert.equal(caller.expiresMs, expected.expiresMs)
  })
}

const plain = token(HEADER, CLAIMS)
const [header, payload, signature] = plain.split('.') as [string, string, string]
const { publicKey, privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 })
const publicPem = publicKey.export({ type: 'spki', format: 'pem' }).toString()
const rsaText = `${encode({ alg: 'RS256', typ: 'JWT' })}.${encode(CLAIMS)}`
/** The same value in its other spelling: the unused last bits of base64url set. */
const otherSpelling = (part: string): string => {
  const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_'
  return part.slice(0, -1) + alphabet[alphabet.indexOf(part.at(-1)!) + 1]!
}

const refused: [string, string][] = [
  ['empty', ''],
  ['two parts', `${header}.${payload}`],
  ['four parts', `${plain}.${signature}`],
  ['an empty signature', `${header}.${payload}.`],
  ['a signature cut', plain.slice(0, -1)],
  ['a signature changed', `${header}.${payload}.${'A'.repeat(43)}`],
  ['a signature in its other spelling', `${header}.${payload}.${otherSpelling(signature)}`],
  ['padding', `${header}.${payload}.${signature}=`],
  ['base64 with + and /', `${header}.${payload}.${signature.slice(0, -2)}+/`],
  ['another secret', token(HEADER, CLAIMS, 'another secret of more than 32 bytes!!')],
  ['a payload changed', `${header}.${encode({ ...CLAIMS, sub: 'root' })}.${signature}`],
  ['white space inside', `${header}.${payload} .${signature}`],
  ['a newline behind', `${plain}\n`],
  ['huge', token(HEADER, { ...CLAIMS, junk: 'x'.repeat(JWT_BYTES_MAX) })],
  ['alg none without signature', `${encode({ alg: 'none' })}.${payload}.`],
  ['alg none with a good MAC', token({ alg: 'none' }, CLAIMS)],
  ['alg None', token({ alg: 'None' }, CLAIMS)],
  ['alg hs256', token({ alg: 'hs256' }, CLAIMS)],
  ['alg absent', token({ typ: 'JWT' }, CLAIMS)],
  ['alg a list', token({ alg: ['HS256'] }, CLAIMS)],
  ['alg null', token({ alg: null }, CLAIMS)],
  ['alg HS512', signed(`${encode({ alg: 'HS512' })}.${payload}`, SECRET, 'sha512')],
  ['alg RS256, really signed', `${rsaText}.${createSign('sha256').update(rsaText).sign(privateKey, 'base64url')}`],
  ['alg RS256, public key as the HMAC secret', token({ alg: 'RS256' }, CLAIMS, publicPem)],
  ['alg HS256, public key as the HMAC secret', token(HEADER, CLAIMS, publicPem)],
  ['typ of something else', token({ alg: 'HS256', typ: 'JWE' }, CLAIMS)],
  ['typ not a text', token({ alg: 'HS256', typ: 1 }, CLAIMS)],
  ['crit', token({ ...HEADER, crit: ['exp'], exp: 1 }, CLAIMS)],
  ['crit empty', token({ ...HEADER, crit: [] }, CLAIMS)],
  ['header not an object', token([HEADER], CLAIMS)],
  ['header with alg twice', token('{"alg":"none","alg":"HS256"}', CLAIMS)],
  ['header with alg twice, once escaped', token('{"alg":"HS256","\\u0061lg":"none"}', CLAIMS)],
  ['header not JSON', token('alg=HS256', CLAIMS)],
  ['header not UTF-8', token(Buffer.from([0x7b, 0x22, 0xff, 0x22, 0x3a, 0x31, 0x7d]), CLAIMS)],
  ['header in its other spelling', signed(`${otherSpelling(encode('{"alg":"HS256"} '))}.${payload}`)],
  ['payload not JSON', token(HEADER, 'sub=anna')],
  ['payload not an object', token(HEADER, '"anna"')],
  ['payload not UTF-8', token(HEADER, Buffer.from(JSON.stringify(CLAIMS).replace('anna', 'ann\u00ff'), 'latin1'))],
  ['payload with sub twice', token(HEADER, JSON.stringify(CLAIMS).replace('{', '{"sub":"root",'))],
  ['payload nested too deeply', token(HEADER, { ...CLAIMS, deep: JSON.parse('['.repeat(50) + ']'.repeat(50)) })],
  ['another issuer', claims({ iss: 'https://evil.example' })],
  ['an issuer with a slash more', claims({ iss: `${CLAIMS.iss}/` })],
  ['a list of issuers', claims({ iss: [CLAIMS.iss] })],
  ['no issuer', claims({ iss: undefined })],
  ['another audience', claims({ aud: 'https://other.example' })],
  ['a part of the audience', claims({ aud: CLAIMS.aud.slice(0, -1) })],
  ['no audience', claims({ aud: undefined })],
  ['an empty list of audiences', claims({ aud: [] })],
  ['a list with something else inside', claims({ aud: [CLAIMS.aud, 1] })],
  ['too many audiences', claims({ aud: Array(101).fill(CLAIMS.aud) })],
  ['an object as audience', claims({ aud: { [CLAIMS.aud]: true } })],
  ['no exp', claims({ exp: undefined })],
  ['exp now', claims({ exp: NOW })],
  ['exp inside the skew', claims({ exp: NOW - 1 })],
  ['exp as text', claims({ exp: String(NOW + 600) })],
  ['exp null', claims({ exp: null })],
  ['exp beyond any date', token(HEADER, JSON.stringify(CLAIMS).replace(`${CLAIMS.exp}`, '1e300'))],
  ['exp endless', token(HEADER, JSON.stringify(CLAIMS).replace(`${CLAIMS.exp}`, '1e999'))],
  ['exp negative', claims({ exp: -1 })],
  ['nbf beyond the skew', claims({ nbf: NOW + 61 })],
  ['nbf as text', claims({ nbf: '0' })],
  ['iat beyond the skew', claims({ iat: NOW + 61 })],
  ['no sub', claims({ sub: undefined })],
  ['sub empty', claims({ sub: '' })],
  ['sub a number', claims({ sub: 1 })],
  ['sub too long', claims({ sub: 'x'.repeat(257) })],
  ['scope a list', claims({ scope: ['admin'] })],
]
for (const [name, text] of refused) {
  test(`refused: ${name}`, () => {
    assert.throws(
      () => verify(text, NOW * 1000),
      (error) => error instanceof GatewayError && error.code === 'UNAUTHENTICATED' && !error.message.includes(SECRET),
    )
  })
}

test('what is wrong with the claims is told only when the signature is good', () => {
  const late = claims({ exp: NOW - 10 })
  assert.throws(() => verify(late, NOW * 1000), /expired/)
  assert.throws(() => verify(`${late.slice(0, -43)}${'A'.repeat(43)}`, NOW * 1000), /The token is not valid$/)
})

test('the same issuer and subject is the same caller, whatever the token', () => {
  const one = verify(plain, NOW * 1000)
  assert.equal(verify(claims({ exp: NOW + 1, scope: 'admin' }), NOW * 1000).id, one.id)
  assert.notEqual(verify(claims({ sub: 'anna ' }), NOW * 1000).id, one.id)
})

const misconfigured: [string, { secret: (string | Buffer)[]; issuer: string; audience: string }][] = [
  ['no secret', { secret: [], issuer: 'i', audience: 'a' }],
  ['a short secret', { secret: [SECRET, 'short'], issuer: 'i', audience: 'a' }],
  ['no issuer', { secret: [SECRET], issuer: '', audience: 'a' }],
  ['no audience', { secret: [SECRET], issuer: 'i', audience: '' }],
]
for (const [name, options] of misconfigured) {
  test(`a configuration with ${name} does not start`, () => {
    assert.throws(() => createJwtVerifier(options), { code: 'CONFIG_INVALID' })
  })
}
