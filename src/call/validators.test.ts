// Schemas and arguments that would keep compiled code busy for minutes or for ever: none of these tests would end.

import assert from 'node:assert/strict'
import { test } from 'node:test'
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
