import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { test } from 'node:test'
import { uuid7 } from './uuid.ts'

test('uuid7 gives the example of RFC 9562, appendix A.6', () => {
  const random = Buffer.from('0cc318c4dc0c0c07398f', 'hex')
  assert.equal(uuid7(0x017f22e279b0, random), '017f22e2-79b0-7cc3-98c4-dc0c0c07398f')
})

test('uuid7 sets version and variant whatever the random bytes are', () => {
  for (const fill of [0x00, 0xff, null]) {
    const random = fill === null ? randomBytes(10) : Buffer.alloc(10, fill)
    assert.match(
      uuid7(1_700_000_000_000, random),
      /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/,
    )
  }
})

test('uuid7 sorts by time', () => {
  const ids = [1, 255, 256, 1_700_000_000_000, 2 ** 48 - 1].map((ms) => uuid7(ms, randomBytes(10)))
  assert.deepEqual([...ids].sort(), ids)
})
