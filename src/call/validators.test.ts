// What schemas of strangers judge, and what they may cost. Those that would keep compiled code busy for minutes or for
// ever are in the second half: without their bounds none of those tests would end.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { LIMITS } from '../core/limits.ts'
import type { ToolTarget } from '../registry/snapshot.ts'
import { createLog } from '../telemetry/log.ts'
import { createValidators } from './validators.ts'

const log = createLog({ level: 'silent', format: 'json', write: () => {}, now: () => 0 })
const validators = createValidators(log)
await validators.load()

function check(schema: object, args: object): string | null {
  const inputSchema = JSON.stringify(schema)
  const target = { inputSchema, schemaKey: inputSchema, exposed: 'tool' } as ToolTarget
  const fault = validators.arguments(target, Buffer.from(JSON.stringify(args)), null)
  return fault === null ? null : `${fault.at} ${fault.message}`
}

const DRAFT_07 = 'http://json-schema.org/draft-07/schema#'
const JUDGED: [string, object, object, string | null][] = [
  ['an argument of another type', { properties: { a: { type: 'string' } } }, { a: 1 }, '/a must be string'],
  [
    'a tuple of draft-07',
    { $schema: DRAFT_07, properties: { a: { items: [{ type: 'string' }] } } },
    { a: [1] },
    '/a/0 must be string',
  ],
  [
    'a tuple of 2020-12',
    { properties: { a: { prefixItems: [{ type: 'string' }] } } },
    { a: [1] },
    '/a/0 must be string',
  ],
  [
    'a keyword of 2020-12 in draft-07',
    { $schema: DRAFT_07, properties: { a: { prefixItems: [{ type: 'string' }] } } },
    { a: [1] },
    null,
  ],
  [
    'a dialect that nobody knows, as 2020-12',
    { $schema: 'https://example.com/dialect', properties: { a: { prefixItems: [{ type: 'string' }] } } },
    { a: [1] },
    '/a/0 must be string',
  ],
  ['a format, which is only a remark', { properties: { a: { type: 'string', format: 'email' } } }, { a: 'x' }, null],
  [
    'a reference to a place elsewhere, which is never fetched',
    { properties: { a: { $ref: 'https://example.com/schema' }, b: { type: 'string' } } },
    { a: 1, b: 1 },
    '/b must be string',
  ],
  // Arguments are called what their authors like; what all objects inherit is not sent.
  ['an absent argument "constructor"', { properties: { constructor: { type: 'string' } } }, {}, null],
  ['an absent argument "toString"', { properties: { toString: { type: 'string' } }, minProperties: 0 }, {}, null],
  [
    'a wrong "constructor"',
    { properties: { constructor: { type: 'string' } } },
    { constructor: 1 },
    '/constructor must be string',
  ],
  ['a missing "constructor"', { required: ['constructor'] }, {}, " must have required property 'constructor'"],
  ['what an absent "valueOf" would need', { dependentRequired: { valueOf: ['a'] } }, {}, null],
]
for (const [name, schema, args, fault] of JUDGED) test(`judges ${name}`, () => assert.equal(check(schema, args), fault))

test('__proto__ is an argument like any other, and changes nothing of ours', () => {
  const schema = { additionalProperties: { type: 'string' } }
  assert.match(check(schema, JSON.parse('{"__proto__":1}') as object) ?? '', /must be string/)
  assert.equal(check({ properties: { a: { type: 'string' } } }, JSON.parse('{"__proto__":{"a":1}}') as object), null)
})

test('an $id of one tool means nothing to another', () => {
  const $id = 'https://example.com/same'
  assert.equal(check({ $id, properties: { a: { type: 'string' } } }, { a: 1 }), '/a must be string')
  assert.equal(check({ $id, properties: { a: { type: 'integer' } } }, { a: 1 }), null)
})

/** Validators of their own, and the events that they log. */
async function logged(): Promise<{
  readonly lines: string[]
  check(key: string, schema: string): unknown
  size(): number
}> {
  const lines: string[] = []
  const own = createValidators(
    createLog({ level: 'warn', format: 'json', write: (line) => lines.push(line), now: () => 0 }),
  )
  await own.load()
  return {
    lines,
    check: (key, inputSchema) => {
      const target = { inputSchema, schemaKey: key, exposed: `tool-${key}` } as ToolTarget
      return own.arguments(target, Buffer.from('{"a":1}'), null)
    },
    size: () => own.size,
  }
}

const UNUSABLE = '{"type":"no such type"}'

test('a schema that cannot be used refuses nothing, and is named once', async () => {
  const { lines, check } = await logged()
  for (let call = 0; call < 3; call += 1) assert.equal(check('one', UNUSABLE), null)
  assert.equal(lines.length, 1)
  const { event, tool } = JSON.parse(lines[0]!) as { event: string; tool: string }
  assert.deepEqual([event, tool], ['schema_not_usable', 'tool-one'])
})

test('as many checks are kept as the bound says, and the longest unused one goes first', async () => {
  const { lines, check, size } = await logged()
  check('one', UNUSABLE)
  for (let n = 1; n < LIMITS.validatorCacheItems; n += 1) check(`n${n}`, 'true')
  assert.equal(size(), LIMITS.validatorCacheItems)
  check('one', UNUSABLE)
  check('more', 'true')
  check('one', UNUSABLE)
  assert.deepEqual([size(), lines.length], [LIMITS.validatorCacheItems, 1])
  for (let n = 1; n <= LIMITS.validatorCacheItems; n += 1) check(`m${n}`, 'true')
  check('one', UNUSABLE)
  assert.deepEqual([size(), lines.length], [LIMITS.validatorCacheItems, 2])
})

test('together their schemas are not longer than the bound says', async () => {
  const { lines, check, size } = await logged()
  const text = 'x'.repeat(LIMITS.validatorCacheBytes / 2)
  for (const key of ['one', 'other', 'one']) check(key, text)
  assert.deepEqual([size(), lines.length], [1, 3])
})

/** The two say it in other words. */
const isCompiled = (rest: object): boolean =>
  check({ additionalProperties: false, ...rest }, { a: 1 }) === ' must NOT have additional properties'
const BOUNDS: [string, object, object][] = [
  [
    'schemaNodes',
    // The root and `properties` are nodes too.
    { properties: Object.fromEntries(Array.from({ length: LIMITS.schemaNodes - 2 }, (_, n) => [`p${n}`, {}])) },
    { properties: Object.fromEntries(Array.from({ length: LIMITS.schemaNodes - 1 }, (_, n) => [`p${n}`, {}])) },
  ],
  ['schemaDepth', { examples: nested(LIMITS.schemaDepth - 1) }, { examples: nested(LIMITS.schemaDepth) }],
  [
    'schemaBytes',
    { title: 'x'.repeat(LIMITS.schemaBytes - '{"additionalProperties":false,"title":""}'.length) },
    { title: 'x'.repeat(LIMITS.schemaBytes - '{"additionalProperties":false,"title":""}'.length + 1) },
  ],
]
for (const [name, within, beyond] of BOUNDS) {
  test(`a schema up to ${name} is compiled, one beyond is interpreted`, () =>
    assert.deepEqual([isCompiled(within), isCompiled(beyond)], [true, false]))
}

test('a schema with unevaluated parts is compiled only where it is short', () => {
  const properties = (count: number): object =>
    Object.fromEntries(Array.from({ length: count }, (_, n) => [`p${n}`, {}]))
  const judged = (count: number): string | null =>
    check({ unevaluatedProperties: false, properties: properties(count) }, { a: 1 })
  assert.deepEqual([judged(10), judged(LIMITS.schemaNodes / 2)], [' must NOT have unevaluated properties', null])
})

test('a schema whose code nests too deeply for the engine is interpreted', () => {
  const names = Array.from({ length: LIMITS.schemaNodes - 10 }, (_, n) => `p${n}`)
  const all = Object.fromEntries(names.map((name) => [name, { type: 'string' }]))
  // In the first the engine finds out, in the second the compiler.
  for (const schema of [{ properties: all }, { patternProperties: all, additionalProperties: false }]) {
    for (let call = 0; call < 2; call += 1) assert.equal(check(schema, { p7: 1 }), '/p7 must be string')
    assert.equal(check(schema, { p7: 'x' }), null)
  }
})

function nested(levels: number): unknown[] {
  return levels === 1 ? [] : [nested(levels - 1)]
}

test('an interpreted check ends after its steps, and refuses nothing then', () => {
  const schema = { title: 'x'.repeat(LIMITS.schemaBytes), properties: { list: { items: { type: 'string' } } } }
  const list = (length: number): object => ({ list: [...Array<string>(length).fill('a'), 1] })
  assert.equal(check(schema, list(LIMITS.schemaSteps / 10)), `/list/${LIMITS.schemaSteps / 10} must be string`)
  assert.equal(check(schema, list(LIMITS.schemaSteps * 2)), null)
})

test('the compiler is loaded once, and whoever needs it meanwhile waits for the same', async () => {
  const own = createValidators(log)
  const loading = own.load()
  assert.ok(loading !== null && own.load() === loading)
  await loading
  assert.equal(own.load(), null)
})

/** Each of `names` refers twice to the next one. */
function doubling(prefix: string, count: number): Record<string, object> {
  const twice = (n: number): object[] => [{ $ref: `#/${prefix}/n${n}` }, { $ref: `#/${prefix}/n${n}` }]
  const named = Array.from({ length: count }, (_, n) => [`n${n}`, n + 1 < count ? { allOf: twice(n + 1) } : true])
  return Object.fromEntries(named) as Record<string, object>
}

test('a schema whose references double at each step ends', () => {
  const root = { allOf: [{ $ref: '#/$defs/n0' }] }
  assert.equal(check({ ...root, $defs: doubling('$defs', 60) }, {}), null)
  // What it says at once is still judged.
  assert.equal(check({ required: ['a'], ...root, $defs: doubling('$defs', 61) }, {}) !== null, true)
  // Under an $id of its own `#` means another place; so do anchors and names of documents.
  const inner = { $id: 'https://a.example/inner', ...root, $defs: doubling('$defs', 60) }
  assert.equal(check({ allOf: [inner] }, {}), null)
  assert.equal(check({ $defs: { inner }, $ref: 'https://a.example/inner' }, {}), null)
})

test('a schema that refers to itself is bounded by the nesting of its arguments, and judges them', () => {
  const node = { type: 'object', properties: { left: { $ref: '#' }, right: { $ref: '#' }, n: { type: 'integer' } } }
  assert.equal(check(node, { left: { right: { n: 1 } } }), null)
  assert.equal(check(node, { left: { right: { n: 'x' } } }), '/left/right/n must be integer')
  const both = { anyOf: [{ properties: { a: { $ref: '#' } }, required: ['b'] }, { properties: { a: { $ref: '#' } } }] }
  let deep: object = {}
  for (let level = 0; level < 60; level += 1) deep = { a: deep }
  assert.equal(check(both, deep), null)
})

test('uniqueItems is judged in the time that the items take to read', () => {
  const schema = { properties: { list: { type: 'array', uniqueItems: true } } }
  const list = Array.from({ length: 20_000 }, (_, n) => [n])
  assert.equal(check(schema, { list }), null)
  assert.equal(check(schema, { list: [...list.slice(0, 15_000), [7]] }), '/list must not have equal items')
  assert.match(check(schema, { list: [1, 2, 1] }) ?? '', /^\/list /)
})

test('many values against a wide schema', () => {
  const anyOf = Array.from({ length: 400 }, (_, n) => ({ required: [`p${n}`] }))
  const items = { type: 'object', anyOf: [...anyOf, { required: ['z'] }] }
  const rows = Array.from({ length: 300_000 }, () => ({ z: 1 }))
  assert.equal(check({ properties: { rows: { type: 'array', items } } }, { rows }), null)
})

test('patterns are compiled when they are needed, and not beyond their bound', () => {
  const huge = Object.fromEntries(Array.from({ length: 500 }, (_, n) => [`p${n}`, { pattern: `(a{0,30}){0,3${n}}b` }]))
  assert.equal(check({ properties: huge }, {}), null)
  const args = Object.fromEntries(Object.keys(huge).map((name) => [name, 'aab']))
  assert.equal(check({ properties: huge }, args), null)
  const slow = { properties: { text: { type: 'string', pattern: '([a-z]{1,500})[0-9]\\b' }, n: { type: 'integer' } } }
  assert.equal(check(slow, { text: 'ab'.repeat(500_000) }), null)
  // One pattern that cannot be judged says nothing about the rest.
  assert.equal(check(slow, { text: 'ab'.repeat(500_000), n: 'x' }), '/n must be integer')
})
