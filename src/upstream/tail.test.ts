import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Tail } from './tail.ts'

test('the tail keeps the last bytes, whatever the chunks', () => {
  for (const size of [1, 3, 10, 64, 1000]) {
    const tail = new Tail(64)
    const whole = Array.from({ length: 5000 }, (_, index) => String(index % 10)).join('')
    for (let at = 0; at < whole.length; at += size) tail.append(Buffer.from(whole.slice(at, at + size)))
    assert.equal(tail.text(), whole.slice(-64))
  }
  assert.equal(new Tail(64).text(), '')
})

test('what a terminal would obey is taken out', () => {
  const tail = new Tail(1000)
  tail.append(Buffer.from('\u001b[31mred\u001b[0m\ttab\nbell\u0007\u001b]0;title\u009b2J\r\nend'))
  assert.equal(tail.text(), 'red\ttab\nbell]0;title2J\nend')
})

test('the last words are the last lines that say something', () => {
  const tail = new Tail(1000)
  tail.append(Buffer.from('one\n\ntwo\n  three\n\nfour\n\n'))
  assert.equal(tail.lastWords(100), 'two | three | four')
  assert.equal(tail.lastWords(4), 'four')
})
