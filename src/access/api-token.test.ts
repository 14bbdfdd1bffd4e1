import assert from 'node:assert/strict'
import { test } from 'node:test'
import { callerId, hashToken, mintToken, sameHash, tokenId } from './api-token.ts'

test('a minted token has our shape, its hash, and is never the same twice', () => {
  const seen = new Set<string>()
  for (let index = 0; index < 500; index += 1) {
    const { id, text, hash } = mintToken()
    assert.match(text, /^mgw_[0-9A-Za-z]{12}_[0-9A-Za-z]{43}$/)
    assert.equal(tokenId(text), id)
    assert.equal(hashToken(text), hash)
    assert.match(hash, /^[0-9a-f]{64}$/)
    seen.add(text)
  }
  assert.equal(seen.size, 500)
})

test('every character of base 62 is drawn', () => {
  const drawn = new Set<string>()
  for (let index = 0; index < 200; index += 1) for (const char of mintToken().text.slice(17)) drawn.add(char)
  assert.equal(drawn.size, 62)
})

const good = mintToken().text
const malformed: [string, string][] = [
  ['empty', ''],
  ['no prefix', good.slice(4)],
  ['another prefix', `mgx${good.slice(3)}`],
  ['prefix in capitals', `MGW${good.slice(3)}`],
  ['one character less', good.slice(0, -1)],
  ['one character more', `${good}a`],
  ['white space behind', `${good} `],
  ['newline behind', `${good}\n`],
  ['white space before', ` ${good}`],
  ['a character outside base 62', `${good.slice(0, -1)}-`],
  ['a letter outside ASCII', `${good.slice(0, -1)}é`],
  ['a full-width digit', `${good.slice(0, -1)}１`],
  ['a NUL', `${good.slice(0, -1)}\0`],
  ['id and secret joined otherwise', good.replace(/_(?=[^_]*$)/, '-')],
  ['huge', `mgw_${'a'.repeat(1_000_000)}`],
]
for (const [name, text] of malformed) {
  test(`not a token: ${name}`, () => assert.equal(tokenId(text), null))
}

test('hashes are compared whole, and a length says no without throwing', () => {
  const one = hashToken('one')
  assert.equal(sameHash(one, hashToken('one')), true)
  assert.equal(sameHash(one, hashToken('two')), false)
  assert.equal(sameHash(one, one.slice(0, 63)), false)
  assert.equal(sameHash(one, ''), false)
})

test('caller ids keep kinds, issuers and subjects apart', () => {
  const ids = [
    callerId('token', 'mcp-gateway', 'a'),
    callerId('jwt', 'mcp-gateway', 'a'),
    callerId('jwt', 'mcp-gatewaya', ''),
    callerId('jwt', 'mcp-gateway","a', ''),
    callerId('jwt', 'mcp-gateway', 'b'),
    callerId('local', '', 'local'),
  ]
  assert.equal(new Set(ids).size, ids.length)
  for (const id of ids) assert.match(id, /^[0-9a-f]{32}$/)
  assert.equal(callerId('jwt', 'x', 'y'), callerId('jwt', 'x', 'y'))
})
