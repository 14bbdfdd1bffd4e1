import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { GatewayError } from '../core/errors.ts'
import type { Secret } from '../core/model.ts'
import { createSecretResolver, resolveSecret } from './secrets.ts'

const files: Record<string, string> = { '/s': 'from file\n', '/crlf': 'a\r\n', '/two': 'a\n\n', '/empty': '\n' }
const sources = {
  env: { NAME: 'from env', EMPTY: '' },
  readFile: (path: string): string => {
    const text = files[path]
    if (text === undefined) throw new Error(`no such file: ${path}`)
    return text
  },
}

for (const [secret, text] of [
  ['literal', 'literal'],
  [{ env: 'NAME' }, 'from env'],
  [{ env: 'NAME', prefix: 'Bearer ' }, 'Bearer from env'],
  [{ file: '/s' }, 'from file'],
  [{ file: '/s', prefix: 'Basic ' }, 'Basic from file'],
  [{ file: '/crlf' }, 'a'],
  [{ file: '/two' }, 'a\n'],
] as [Secret, string][]) {
  test(`${JSON.stringify(secret)} is ${JSON.stringify(text)}`, () => assert.equal(resolveSecret(secret, sources), text))
}

for (const [secret, message] of [
  [{ env: 'MISSING' }, /variable MISSING is not set/],
  [{ env: 'EMPTY' }, /variable EMPTY is not set/],
  [{ env: 'constructor' }, /constructor is not set/],
  [{ file: '/missing' }, /cannot be read: no such file: \/missing/],
  [{ file: '/empty' }, /file \/empty of a secret is empty/],
] as [Secret, RegExp][]) {
  test(`${JSON.stringify(secret)} is CONFIG_INVALID`, () => {
    assert.throws(
      () => resolveSecret(secret, sources),
      (error: GatewayError) => error.code === 'CONFIG_INVALID' && message.test(error.message),
    )
  })
}

test('the resolver of links reads the environment that it was given', () => {
  assert.equal(createSecretResolver({ A: 'b' })({ env: 'A' }), 'b')
})
