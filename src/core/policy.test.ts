import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type ErrorCode, GatewayError } from './errors.ts'
import { type Caller, hasRight, needRight, RIGHTS, type Right, verdict } from './policy.ts'

const callerWith = (...rights: Right[]): Caller => ({
  id: '0'.repeat(32),
  issuer: 'test',
  subject: 'one',
  name: 'one',
  rights,
  expiresMs: null,
})

const NEEDS: [readonly Right[], Right, ErrorCode | null][] = [
  [['use'], 'use', null],
  [['use'], 'admin', 'FORBIDDEN'],
  [['use'], 'operator', 'OPERATOR_ONLY'],
  [[], 'use', 'FORBIDDEN'],
  // No right holds another one.
  [['admin'], 'use', 'FORBIDDEN'],
  [['operator'], 'admin', 'FORBIDDEN'],
  [['operator'], 'use', 'FORBIDDEN'],
  [['use', 'admin'], 'operator', 'OPERATOR_ONLY'],
  [['use', 'admin', 'operator'], 'operator', null],
]
for (const [rights, needed, code] of NEEDS) {
  test(`a caller with [${rights}] ${code === null ? 'has' : 'lacks'} ${needed}`, () => {
    const caller = callerWith(...rights)
    assert.equal(hasRight(caller, needed), code === null)
    if (code === null) needRight(caller, needed)
    else
      assert.throws(
        () => needRight(caller, needed),
        (error) => error instanceof GatewayError && error.code === code,
      )
  })
}

test('a refusal names the right and the token', () => {
  assert.throws(() => needRight(callerWith('use'), 'admin'), /"admin".*"one"/)
})

test('only who may use things sees them', () => {
  const seen = RIGHTS.filter((right) => verdict(callerWith(right)) === 'allowed')
  assert.deepEqual(seen, ['use'])
  assert.equal(verdict(callerWith()), 'hidden')
})
