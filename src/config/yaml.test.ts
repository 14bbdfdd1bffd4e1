import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { DocumentFault, type Located, plainValue } from './located.ts'
import { readYaml } from './yaml.ts'

const read = (text: string, faults: string[] = []): Located =>
  readYaml(text, (line, message) => faults.push(`${line}: ${message}`))

const GOOD: [name: string, text: string, value: unknown][] = [
  ['maps and lists', 'a:\n  - 1\n  - b: c\nd: {e: [f]}\n', { a: [1, { b: 'c' }], d: { e: ['f'] } }],
  [
    'words that older YAML took for booleans',
    'a: off\nb: yes\nc: on\nd: true',
    { a: 'off', b: 'yes', c: 'on', d: true },
  ],
  ['dates as texts', 'a: 2027-01-31', { a: '2027-01-31' }],
  ['JSON', '{"a":\t[1, "\\u00e9"]}', { a: [1, 'é'] }],
  ['an empty value', 'a:\nb: ~', { a: null, b: null }],
  ['an anchor', 'a: &x {b: 1}\nc: *x\nd: [*x]', { a: { b: 1 }, c: { b: 1 }, d: [{ b: 1 }] }],
  ['an anchor given twice', 'a: &x 1\nb: *x\nc: &x 2\nd: *x', { a: 1, b: 1, c: 2, d: 2 }],
  ['keys that are numbers', '1.10: a', { '1.10': 'a' }],
  ['long texts', 'a: |\n  one\n  two\n', { a: 'one\ntwo\n' }],
  ['nothing', '', null],
  ['__proto__', '__proto__: {a: 1}', JSON.parse('{"__proto__":{"a":1}}')],
]

for (const [name, text, value] of GOOD) {
  test(`reads ${name}`, () => {
    const faults: string[] = []
    assert.deepEqual(plainValue(read(text, faults)), value)
    assert.deepEqual(faults, [])
  })
}

test('the text of a number is kept', () => {
  const at = read('a: 1.10')
  const value = at.kind === 'map' ? at.entries.get('a')!.value : at
  assert.ok(value.kind === 'scalar')
  assert.deepEqual([value.value, value.text], [1.1, '1.10'])
})

test('a map or list begins in the line of its key', () => {
  const at = read('a:\n\n  b: 1\nc:\n- d\n')
  assert.ok(at.kind === 'map')
  const [a, c] = [at.entries.get('a')!, at.entries.get('c')!]
  assert.deepEqual([a.line, a.value.line, c.line, c.value.line], [1, 1, 4, 4])
  assert.equal(c.value.kind === 'list' && c.value.items[0]!.line, 5)
})

test('a key that stands twice is a fault with both lines', () => {
  const faults: string[] = []
  assert.deepEqual(plainValue(read('a: 1\nb:\n  c: 1\n  c: 2\na: 3', faults)), { a: 1, b: { c: 1 } })
  assert.deepEqual(faults.sort(), [
    '4: the key "c" stands in line 3 already',
    '5: the key "a" stands in line 1 already',
  ])
})

const laughs = ['a0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol, lol]']
for (let at = 1; at < 10; at++) laughs.push(`a${at}: &a${at} [${`*a${at - 1}, `.repeat(10).slice(0, -2)}]`)

const BAD: [name: string, text: string, line: number, message: RegExp][] = [
  ['a tag', 'a: 1\nb: !!js/function x', 2, /tag/i],
  ['a tag of our own', 'a: !secret x', 1, /tag/i],
  ['two documents', 'a: 1\n---\nb: 2', 2, /document/i],
  ['wrong indentation', 'a:\n  b: 1\n c: 2', 3, /./],
  ['a map as a key', '? {a: 1}\n: b', 1, /a key must be a text/],
  ['an unknown anchor', 'a: 1\nb: *x', 2, /anchor|alias/i],
  ['billion laughs', laughs.join('\n'), 1, /more than 100000 values|nested deeper/],
  ['an anchor inside itself', 'a: &x\n  b: *x', 1, /nested deeper|more than/],
  ['deep lists', '['.repeat(50_000), 1, /./],
  ['deep maps', '{a: '.repeat(30_000), 1, /./],
  ['deep dashes', '- '.repeat(50_000), 1, /./],
  ['deep indentation', Array.from({ length: 500 }, (_, at) => `${' '.repeat(at)}a:`).join('\n'), 1, /nested deeper/],
  ['many quotes', '"'.repeat(30_000), 1, /./],
  ['many anchors', '&a '.repeat(20_000), 1, /./],
  ['many aliases', `a: &a 1\nb: [${'*a,'.repeat(100_000)}]`, 2, /more than 100000 values/],
]

for (const [name, text, line, message] of BAD) {
  test(`refuses ${name}`, () => {
    assert.throws(
      () => read(text),
      (error) => {
        if (!(error instanceof DocumentFault)) throw error
        assert.match(error.message, message)
        // A bomb is named where it goes off.
        if (line > 1) assert.equal(error.line, line)
        return true
      },
    )
  })
}

test('whatever JSON.stringify writes is read as JSON.parse reads it', () => {
  fc.assert(
    fc.property(fc.jsonValue({ maxDepth: 4 }), (value) => {
      const text = JSON.stringify(value)
      assert.deepEqual(plainValue(read(text)), JSON.parse(text))
    }),
  )
})
