// The interpreter against Ajv: for the schemas that both know, both say the same; hostile ones end.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Ajv2020 } from 'ajv/dist/2020.js'
import fc from 'fast-check'
import { interpretSchema } from './schema-interpreter.ts'

const STEPS = 100_000
const word = fc.constantFrom('a', 'b', 'c', 'd')
const leaf = fc.oneof(
  fc.constantFrom<object>(
    { type: 'string' },
    { type: 'integer' },
    { type: ['null', 'boolean'] },
    { minimum: 2 },
    { exclusiveMaximum: 3 },
    { multipleOf: 0.5 },
    { minLength: 2 },
    { maxLength: 1 },
    { pattern: '^a+$' },
    { enum: [1, 'a', null] },
    { const: { a: 1 } },
    { minItems: 1 },
    { maxItems: 1 },
    { uniqueItems: true },
    { minProperties: 1 },
    { maxProperties: 1 },
  ),
  fc.boolean(),
)
const schemas = fc.letrec<{ schema: object | boolean }>((tie) => ({
  schema: fc.oneof(
    { depthSize: 'small', withCrossShrink: true },
    leaf,
    fc.record(
      {
        properties: fc.dictionary(word, tie('schema')),
        required: fc.uniqueArray(word, { maxLength: 2 }),
        additionalProperties: tie('schema'),
      },
      { requiredKeys: [] },
    ),
    fc.record(
      { patternProperties: fc.record({ '^[ab]': tie('schema') }), propertyNames: tie('schema') },
      { requiredKeys: [] },
    ),
    fc.record(
      {
        items: tie('schema'),
        prefixItems: fc.array(tie('schema'), { minLength: 1, maxLength: 2 }),
      },
      { requiredKeys: [] },
    ),
    fc.record({ allOf: fc.array(tie('schema'), { minLength: 1, maxLength: 2 }) }),
    fc.record({ anyOf: fc.array(tie('schema'), { minLength: 1, maxLength: 2 }) }),
    fc.record({ oneOf: fc.array(tie('schema'), { minLength: 1, maxLength: 2 }) }),
    fc.record({ not: tie('schema') }),
    // biome-ignore lint/suspicious/noThenProperty: a keyword of JSON Schema
    fc.record({ if: tie('schema'), then: tie('schema'), else: tie('schema') }, { requiredKeys: ['if'] }),
  ),
})).schema
const values = fc.jsonValue({ maxDepth: 3, stringUnit: fc.constantFrom('a', 'b', 'c') })

test('the interpreter agrees with Ajv', () => {
  fc.assert(
    fc.property(schemas, values, (schema, value) => {
      const ajv = new Ajv2020({ strict: false, validateSchema: false, logger: false })
      // Numbers near the ones in the schemas; the two differ in how they round the very small ones.
      const plain: unknown = JSON.parse(JSON.stringify(value), (_key, item) =>
        typeof item === 'number' ? Math.round((Math.trunc(item) % 6) / 2) || 0 : item,
      )
      assert.equal(
        interpretSchema(schema, plain, STEPS) === null,
        ajv.validate(schema, plain),
        JSON.stringify([schema, plain]),
      )
    }),
    { numRuns: 1_500 },
  )
})

test('contains', () => {
  assert.equal(interpretSchema({ contains: { type: 'string' } }, [1, 'a'], STEPS), null)
  for (const value of [[], [1]])
    assert.deepEqual(interpretSchema({ contains: { type: 'string' } }, value, STEPS), {
      at: '',
      message: 'must contain a fitting item',
    })
})

test('local references are followed, remote ones are not', () => {
  const schema = {
    $defs: { 'a/b': { type: 'string' } },
    properties: { x: { $ref: '#/$defs/a~1b' }, y: { $ref: 'https://example.com/s' } },
  }
  assert.equal(interpretSchema(schema, { x: 'a', y: 1 }, STEPS), null)
  assert.deepEqual(interpretSchema(schema, { x: 1 }, STEPS), { at: '/x', message: 'must be string' })
})

test('a schema that never ends is left after its steps, and the value passes', () => {
  assert.equal(interpretSchema({ $ref: '#' }, 1, STEPS), null)
  assert.equal(interpretSchema({ allOf: [{ $ref: '#' }, { $ref: '#' }] }, 1, STEPS), null)
  const wide = {
    anyOf: Array.from({ length: 1_000 }, () => ({
      items: { anyOf: Array.from({ length: 1_000 }, () => ({ const: 1 })) },
    })),
  }
  assert.equal(
    interpretSchema(
      wide,
      Array.from({ length: 1_000 }, () => 2),
      STEPS,
    ),
    null,
  )
})

test('what a keyword looks at costs steps too: none of these takes longer than its steps', () => {
  const many = Array.from({ length: 100_000 }, (_, n) => `n${n}`)
  const cases: readonly (readonly [string, object, unknown])[] = [
    ['required', { items: { required: many.map(() => 'a') } }, many.map(() => ({ a: 1 }))],
    ['enum', { items: { enum: many } }, many.map(() => 0)],
    ['type', { items: { type: many.map(() => 'null') } }, many],
    ['const', { allOf: many.map(() => ({ $ref: '#/$defs/big' })), $defs: { big: { const: many } } }, [...many]],
    ['uniqueItems', { allOf: many.map(() => ({ uniqueItems: true })) }, many],
    [
      'patternProperties',
      { patternProperties: Object.fromEntries(many.map((name) => [`^${name}(a|b)*$`, false])) },
      Object.fromEntries(many.slice(0, 1_000).map((name) => [`x${name}`, 1])),
    ],
    ['pattern', { items: { pattern: '([a-z]{1,400})[0-9]$' } }, many.map(() => `${'a'.repeat(50)}1`)],
    ['minLength', { allOf: many.map(() => ({ minLength: 1 })) }, 'x'.repeat(1_000_000)],
  ]
  for (const [name, schema, value] of cases) assert.equal(interpretSchema(schema, value, STEPS), null, name)
})

test('words of Object.prototype and broken references are unknown, not faults of ours', () => {
  for (const type of ['__proto__', 'constructor', 'hasOwnProperty', 'toString', 7, null])
    assert.equal(interpretSchema({ type }, 1, STEPS), null)
  assert.equal(interpretSchema({ $ref: '#/%' }, 1, STEPS), null)
  assert.equal(interpretSchema({ $ref: '#/__proto__/constructor' }, 1, STEPS), null)
  assert.deepEqual(interpretSchema({ $defs: { '%': false }, $ref: '#/$defs/%' }, 1, STEPS)?.message, 'is not allowed')
})

test('uniqueItems by value, whatever the order of keys; lengths in characters', () => {
  const same = [
    { a: 1, b: [2] },
    { b: [2], a: 1 },
  ]
  assert.equal(interpretSchema({ uniqueItems: true }, same, STEPS)?.message, 'must not have equal items')
  assert.equal(interpretSchema({ uniqueItems: true }, ['1', 1, [1], { a: 1 }, null, 'null'], STEPS), null)
  assert.equal(interpretSchema({ maxLength: 2 }, '\u{1f600}\u{1f600}', STEPS), null)
  assert.equal(interpretSchema({ maxLength: 1 }, '\ud83d\ud83d', STEPS)?.at, '')
})
