// The door apart from HTTP: what it remembers must not let anyone else in. Over the wire it is tested in edge.test.ts.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Exchange } from '../http/exchange.ts'
import { createDoor, type DoorOptions } from './origin.ts'

const doorOf = (options: Partial<DoorOptions>) => {
  const door = createDoor({ publicUrl: 'http://127.0.0.1:4444', hosts: [], origins: [], open: false, ...options })
  return (host: string, origin?: string): string | null =>
    door.check({ headers: { host, ...(origin === undefined ? {} : { origin }) } } as unknown as Exchange)
}

test('without tokens a star opens nothing', () => {
  const closed = doorOf({ open: false, hosts: ['*'], origins: ['*'] })
  assert.equal(closed('evil.example', 'https://other.example'), 'https://other.example')
  const open = doorOf({ open: true, hosts: ['*'], origins: ['*'] })
  assert.throws(() => open('evil.example'), { code: 'HOST_REFUSED' })
  assert.throws(() => open('127.0.0.1:4444', 'https://other.example'), { code: 'ORIGIN_REFUSED' })
  assert.equal(open('127.0.0.1:4444', 'http://localhost:5173'), null)
})

test('a page of one name of ours is a stranger at another one, however often it came by its own', () => {
  const check = doorOf({ hosts: ['a.example', 'b.example'] })
  for (let time = 0; time < 3; time += 1) {
    assert.equal(check('a.example', 'https://a.example'), null)
    assert.throws(() => check('b.example', 'https://a.example'), { code: 'ORIGIN_REFUSED' })
  }
})

test('only a listed page may read the answer', () => {
  const check = doorOf({ origins: ['https://app.example/'] })
  assert.equal(check('127.0.0.1', 'https://app.example'), 'https://app.example')
  assert.equal(check('127.0.0.1', 'http://127.0.0.1'), null)
  for (const origin of ['null', 'https://app.example.evil', 'https://app.example:444', 'file://', 'http://a/b', ''])
    assert.throws(() => check('127.0.0.1', origin), { code: 'ORIGIN_REFUSED' }, origin)
})
