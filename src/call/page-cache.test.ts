import assert from 'node:assert/strict'
import { test } from 'node:test'
import { createPageCache } from './page-cache.ts'

test('pages are kept up to their bytes, and the longest unused one goes first', () => {
  const cache = createPageCache(3 * 1_200)
  for (const key of ['a', 'b', 'c']) cache.set(key, Buffer.alloc(1_000))
  assert.equal(cache.size, 3)
  cache.get('a')
  cache.set('d', Buffer.alloc(1_000))
  assert.deepEqual(
    ['a', 'b', 'c', 'd'].filter((key) => cache.has(key)),
    ['a', 'c', 'd'],
  )
})

test('a page over the bound is not kept and pushes nobody out', () => {
  const cache = createPageCache(2_000)
  cache.set('a', Buffer.alloc(100))
  cache.set('b', Buffer.alloc(2_000))
  assert.deepEqual([cache.has('a'), cache.has('b')], [true, false])
})

test('many empty pages cost something too', () => {
  const cache = createPageCache(10_000)
  for (let n = 0; n < 1_000; n += 1) cache.set(String(n), Buffer.alloc(0))
  assert.ok(cache.size <= 50, String(cache.size))
})
