// The strict reader against JSON.parse: the same texts are JSON for both, but for duplicate keys and depth.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { closingBracket, JsonFault, scanItems, scanMembers, skipValue } from './json.ts'

const members = (text: string, depth = 64): { key: string; value: string }[] => {
  const bytes = Buffer.from(text)
  return scanMembers(bytes, 0, bytes.length, depth).map(({ key, start, end }) => ({
    key,
    value: bytes.toString('utf8', start, end),
  }))
}

const refused = (text: string, depth = 64): void => {
  assert.throws(() => members(text, depth), JsonFault, text)
}

test('members of an object lie where they lie', () => {
  assert.deepEqual(members('{}'), [])
  assert.deepEqual(members(' {\n"a" : 1 , "b":[1,{"c":"}"}] }\r\n'), [
    { key: 'a', value: '1' },
    { key: 'b', value: '[1,{"c":"}"}]' },
  ])
  assert.deepEqual(members('{"\\u0069d":"x\\"y"}'), [{ key: 'id', value: '"x\\"y"' }])
  assert.deepEqual(
    members('{"n":-0.5e+10,"t":true,"f":false,"z":null}').map(({ value }) => value),
    ['-0.5e+10', 'true', 'false', 'null'],
  )
  assert.deepEqual(members('{"ключ":"значение"}'), [{ key: 'ключ', value: '"значение"' }])
})

test('a key that stands twice is refused, however it is written', () => {
  for (const text of ['{"id":1,"id":2}', '{"id":1,"\\u0069d":2}', '{"i\\u0064":1,"id":2}', '{"":1,"":2}']) refused(text)
  const many = Array.from({ length: 40 }, (_, index) => `"k${index}":${index}`)
  assert.equal(members(`{${many.join(',')}}`).length, 40)
  refused(`{${many.join(',')},"k3":0}`)
})

test('what JSON.parse refuses is refused', () => {
  const texts = [
    '',
    ' ',
    '{',
    '}',
    '{"a"}',
    '{"a":}',
    '{"a":1,}',
    '{,}',
    '{a:1}',
    "{'a':1}",
    '{"a":01}',
    '{"a":1.}',
    '{"a":.5}',
    '{"a":+1}',
    '{"a":1e}',
    '{"a":-}',
    '{"a":tru}',
    '{"a":nulll}',
    '{"a":"\\x"}',
    '{"a":"\\u12g4"}',
    '{"a":"\n"}',
    '{"a":"\t"}',
    '{"a":"',
    '{"a":[1,]}',
    '{"a":[1 2]}',
    '{"a":{}',
    '{"a":1}}',
    '{"a":1}{',
    '[]',
    '1',
    '"a"',
    'null',
    '{"a":NaN}',
    '{"a":Infinity}',
    '{"a":1}//',
    '\u00a0{}',
    '{"a":"\\',
  ]
  for (const text of texts) {
    refused(text)
    if (!['[]', '1', '"a"', 'null'].includes(text)) assert.throws(() => JSON.parse(text), SyntaxError, text)
  }
})

test('depth is bounded and costs no stack', () => {
  assert.equal(members(`{"a":${'['.repeat(62)}${']'.repeat(62)}}`, 64).length, 1)
  for (const depth of [66, 100_000]) {
    assert.throws(
      () => members(`{"a":${'['.repeat(depth)}${']'.repeat(depth)}}`, 64),
      (error: JsonFault) => error.deep,
    )
  }
})

test('items of an array', () => {
  const bytes = Buffer.from(' [ {"a":1} ,2, "x" ] ')
  assert.deepEqual(
    scanItems(bytes, 0, bytes.length, 8).map(({ start, end }) => bytes.toString('utf8', start, end)),
    ['{"a":1}', '2', '"x"'],
  )
  for (const text of ['[1,]', '[', '[1 2]', '[1]]', '{}']) {
    const wrong = Buffer.from(text)
    assert.throws(() => scanItems(wrong, 0, wrong.length, 8), JsonFault)
  }
})

test('any JSON value is walked to its end, any broken one is refused as JSON.parse refuses it', () => {
  fc.assert(
    fc.property(fc.json({ maxDepth: 6 }), fc.nat(), fc.nat(255), (text, place, byte) => {
      const bytes = Buffer.from(text)
      assert.equal(skipValue(bytes, 0, bytes.length, 64), bytes.length)
      const broken = Buffer.from(bytes)
      broken[place % broken.length] = byte % 0x80
      const broken8 = broken.toString('latin1')
      const judge = (run: () => unknown): boolean => {
        try {
          run()
          return true
        } catch {
          return false
        }
      }
      const whole = Buffer.concat([Buffer.from('['), broken, Buffer.from(']')])
      const ours = judge(() => scanItems(whole, 0, whole.length, 64))
      // latin1 keeps bytes apart from each other, so that JSON.parse sees the same text.
      assert.equal(
        ours,
        judge(() => JSON.parse(`[${broken8}]`)),
        JSON.stringify(broken8),
      )
    }),
    { numRuns: 3_000 },
  )
})

test('the bracket that closes a value is where the value ends, whatever follows', () => {
  const long = fc.string({ minLength: 0, maxLength: 400, unit: fc.constantFrom('a', '"', '\\', '{', ']', 'é', '\n') })
  fc.assert(
    fc.property(fc.json({ maxDepth: 5 }), long, fc.string(), (inner, text, tail) => {
      const value = Buffer.from(JSON.stringify({ text, inner: JSON.parse(inner) as unknown, again: [text] }))
      const bytes = Buffer.concat([Buffer.from(' '), value, Buffer.from(tail)])
      assert.equal(closingBracket(bytes, 1, bytes.length), 1 + value.length)
      assert.equal(closingBracket(bytes, 1, value.length), -1, 'one byte short')
    }),
    { numRuns: 500 },
  )
})

test('long strings, which are searched and not walked, are judged like short ones', () => {
  const long = 'x'.repeat(10_000)
  for (const at of [0, 1, 4_094, 4_095, 4_096, 4_097, 8_191, 9_999]) {
    for (const inner of [
      '',
      '\\n',
      '\\"',
      '\\\\',
      '\\u00e9',
      'é',
      '\n',
      '\0',
      '\x1f',
      '\x7f',
      '\\x',
      '\\u00g0',
      '"',
      '","a":"',
    ]) {
      const text = `{"a":"${long.slice(0, at)}${inner}${long.slice(at)}","b":1}`
      let isJson = true
      try {
        JSON.parse(text)
      } catch {
        isJson = false
      }
      const bytes = Buffer.from(text)
      const read = (): string[] => scanMembers(bytes, 0, bytes.length, 8).map(({ key }) => key)
      if (isJson && inner !== '","a":"') assert.deepEqual(read(), ['a', 'b'], `${JSON.stringify(inner)} at ${at}`)
      else assert.throws(read, JsonFault, `${JSON.stringify(inner)} at ${at}`)
    }
  }
})

test('the outline of a long string sees which quotes are escaped', () => {
  const long = 'x'.repeat(200)
  for (const [inner, isWhole] of [
    ['\\"}', true],
    ['\\\\\\"}', true],
    ['\\\\', true],
    // Here the string ends, and what follows is outside.
    ['\\\\"}', false],
    ['"}', false],
  ] as const) {
    const text = Buffer.from(`{"a":"${long}${inner}"}`)
    assert.equal(closingBracket(text, 0, text.length) === text.length, isWhole, inner)
  }
})
