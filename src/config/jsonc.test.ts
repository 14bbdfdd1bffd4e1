import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { LIMITS } from '../core/limits.ts'
import { readJsonc } from './jsonc.ts'
import { DocumentFault, type Located, plainValue } from './located.ts'

const read = (text: string, faults: string[] = []): Located =>
  readJsonc(text, (line, message) => faults.push(`${line}: ${message}`))

const GOOD: [name: string, text: string, value: unknown][] = [
  ['nothing but a value', ' 12 ', 12],
  ['all kinds', '{"a":[1,-2.5e3,true,false,null,"x"],"b":{}}', { a: [1, -2500, true, false, null, 'x'], b: {} }],
  ['comments', '// a\n{/* b\n */"a"/**/:1 // c\n}\n/* d */', { a: 1 }],
  ['what only looks like a comment', '{"a":"http://x/*y*/"}', { a: 'http://x/*y*/' }],
  ['trailing commas', '{"a":[1,2,],"b":{"c":1,},}', { a: [1, 2], b: { c: 1 } }],
  ['escapes', '"\\u00e9\\ud83d\\ude00\\n\\"\\/"', 'é😀\n"/'],
  ['a byte order mark', '\ufeff{"a":1}', { a: 1 }],
  ['tabs and carriage returns', '{\r\n\t"a":\t1\r\n}', { a: 1 }],
  ['a long string', JSON.stringify('\u0000é'.repeat(100_000)), '\u0000é'.repeat(100_000)],
  ['an empty list and map', '[[],{}]', [[], {}]],
]

for (const [name, text, value] of GOOD) {
  test(`reads ${name}`, () => {
    const faults: string[] = []
    assert.deepEqual(plainValue(read(text, faults)), value)
    assert.deepEqual(faults, [])
  })
}

const BAD: [name: string, text: string, line: number, message: RegExp][] = [
  ['nothing', '', 1, /a value is expected here, not the end of the file/],
  ['two values', '{}\n{}', 2, /the end is expected here, not "{"/],
  ['a key without quotes', '{\n  a: 1}', 2, /a key in double quotes is expected here, not "a"/],
  ['single quotes', "{'a': 1}", 1, /a key in double quotes/],
  ['a missing comma', '{"a":1\n"b":2}', 2, /"," or "}" is expected here/],
  ['a missing colon', '{"a" 1}', 1, /":" is expected/],
  ['two commas', '[1,,2]', 1, /a value is expected here, not ","/],
  ['a comma alone', '[,]', 1, /a value is expected/],
  ['a missing bracket', '[1,\n2', 2, /"," or "\]" is expected here, not the end/],
  ['a raw newline in a string', '["a\nb"]', 1, /does not end in its line/],
  ['a bad escape', '["\\x"]', 1, /an escape that JSON has not/],
  ['a comment without end', '{\n/* x', 2, /a comment does not end/],
  ['a number with a leading zero', '[01]', 1, /"," or "]" is expected here, not "1"/],
  ['NaN', '[NaN]', 1, /not "N"/],
  ['deep nesting', '['.repeat(LIMITS.configDepth + 2), 1, /nested deeper than/],
  ['very deep nesting', '{"a":'.repeat(200_000), 1, /nested deeper than/],
  ['many values', `[${'1,'.repeat(LIMITS.configNodes)}]`, 1, /more than 100000 values/],
  ['a long string without end', `["${'a'.repeat(1_000_000)}`, 1, /does not end/],
  ['many open comments', '/* '.repeat(300_000), 1, /a comment does not end/],
]

for (const [name, text, line, message] of BAD) {
  test(`refuses ${name}`, () => {
    assert.throws(
      () => read(text),
      (error) => error instanceof DocumentFault && error.line === line && message.test(error.message),
    )
  })
}

test('a key that stands twice is a fault with both lines, and the first one stays', () => {
  const faults: string[] = []
  const value = plainValue(read('{"a":1,\n"b":{"c":1,\n"c":2},\n"a":3}', faults))
  assert.deepEqual(value, { a: 1, b: { c: 1 } })
  assert.deepEqual(faults, ['3: the key "c" stands in line 2 already', '4: the key "a" stands in line 1 already'])
})

test('__proto__ is a key like any other', () => {
  const value = plainValue(read('{"__proto__":{"polluted":1}}')) as object
  assert.deepEqual(Object.keys(value), ['__proto__'])
  assert.equal(Object.getPrototypeOf(value), Object.prototype)
})

test('every value knows its line', () => {
  const at = read('{\n"a": [\n1,\n2],\n"b":\n{}}')
  assert.ok(at.kind === 'map')
  const a = at.entries.get('a')!
  assert.ok(a.value.kind === 'list')
  assert.deepEqual([a.line, a.value.line, a.value.items.map(({ line }) => line)], [2, 2, [3, 4]])
  assert.deepEqual([at.entries.get('b')!.line, at.entries.get('b')!.value.line], [5, 6])
})

test('whatever JSON.stringify writes is read as JSON.parse reads it', () => {
  fc.assert(
    fc.property(fc.jsonValue({ maxDepth: 5 }), fc.constantFrom(0, 2, '\t'), (value, indent) => {
      const text = JSON.stringify(value, null, indent)
      assert.deepEqual(plainValue(read(text)), JSON.parse(text))
    }),
  )
})

test('a text is refused or read as JSON.parse reads it, where it has neither comments nor trailing commas', () => {
  const char = fc.constantFrom(...'{}[]",:0123456789eE+-.\\u tfnulrase\n')
  fc.assert(
    fc.property(fc.string({ unit: char, maxLength: 40 }), (text) => {
      const strict = attempt(() => JSON.parse(text))
      const faults: string[] = []
      const ours = attempt(() => plainValue(read(text, faults)))
      if (strict.ok && faults.length === 0) assert.deepEqual(ours, strict)
      else if (ours.ok && faults.length === 0) assert.match(text, /,\s*[\]}]/)
    }),
    { numRuns: 2_000 },
  )
})

function attempt(body: () => unknown): { ok: boolean; value?: unknown } {
  try {
    return { ok: true, value: body() }
  } catch {
    return { ok: false }
  }
}
