// Sealed texts: only what we sealed, for the purpose we sealed it for, in its one spelling.

import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { test } from 'node:test'
import { createSealer } from './seal.ts'

const key = (id: number): { id: number; key: Buffer } => ({ id, key: randomBytes(32) })

test('what was sealed opens, and nothing else does', () => {
  const old = key(1)
  const sealer = createSealer([old])
  const text = sealer.seal('session', Buffer.from('plain'))
  assert.equal(sealer.open('session', text)?.toString(), 'plain')
  assert.notEqual(sealer.seal('session', Buffer.from('plain')), text)
  assert.equal(sealer.open('cursor', text), null)
  assert.equal(createSealer([key(1)]).open('session', text), null)
  assert.equal(
    createSealer([key(2), old])
      .open('session', text)
      ?.toString(),
    'plain',
  )
  for (const wrong of ['', 'AA', text.slice(1), `${text}A`, `${text}=`, `${text} `, text.toUpperCase(), 'é'])
    assert.equal(sealer.open('session', wrong), null)
  for (let at = 0; at < text.length; at += 1) {
    const other = text[at] === 'A' ? 'B' : 'A'
    assert.equal(sealer.open('session', text.slice(0, at) + other + text.slice(at + 1)), null)
  }
})

test('a MAC holds for its purpose and its text', () => {
  const sealer = createSealer([key(1)])
  const mac = sealer.mac('cursor', Buffer.from('a'))
  assert.ok(sealer.checkMac('cursor', Buffer.from('a'), mac))
  assert.ok(!sealer.checkMac('cursor', Buffer.from('b'), mac))
  assert.ok(!sealer.checkMac('other', Buffer.from('a'), mac))
  assert.ok(!sealer.checkMac('cursor', Buffer.from('a'), mac.subarray(1)))
})

test('the last character of a sealed text has one spelling, though its spare bits say nothing', () => {
  const sealer = createSealer([key(1)])
  const digits = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_'
  // 29 bytes more than the plain text: with one or two bytes behind a group of three, bits are left over.
  for (const plain of ['', 'a', 'ab', 'abc']) {
    const text = sealer.seal('session', Buffer.from(plain))
    const others = [...digits].map((digit) => text.slice(0, -1) + digit).filter((other) => other !== text)
    for (const other of others) assert.equal(sealer.open('session', other), null)
    assert.equal(sealer.open('session', text)?.toString(), plain)
  }
})

test('a MAC is what it was: cursors that clients hold outlive a release', () => {
  const sealer = createSealer([{ id: 1, key: Buffer.alloc(32, 7) }])
  assert.equal(sealer.mac('cursor', Buffer.from('a')).toString('hex'), '21ffa070055fa58bf85ce30581df89de')
})
