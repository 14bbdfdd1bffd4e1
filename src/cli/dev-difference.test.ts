import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type DefinitionShape, definitionChanges, partsThatDiffer } from './dev-difference.ts'

const tool = (name: string, more: object = {}): DefinitionShape => ({
  kind: 'tool',
  name,
  json: JSON.stringify({ name, description: 'd', inputSchema: { type: 'object', properties: {} }, ...more }),
})

test('what came, what went, and which part of the others differs', () => {
  const before = [tool('same'), tool('gone'), tool('told', {}), { kind: 'prompt' as const, name: 'same', json: '{}' }]
  const after = [tool('new'), tool('same'), tool('told', { description: 'other', title: 'T' }), before[3]!]
  assert.deepEqual(definitionChanges(before, after), [
    { kind: 'tool', name: 'new', change: 'added', parts: [] },
    { kind: 'tool', name: 'told', change: 'changed', parts: ['description', 'title added'] },
    { kind: 'tool', name: 'gone', change: 'removed', parts: [] },
  ])
  assert.deepEqual(definitionChanges(after, after), [])
})

for (const [before, after, parts] of [
  [{ a: 1 }, { a: 1 }, []],
  [{ a: 1, b: { c: 2 } }, { b: { c: 2 }, a: 1 }, []],
  [{ a: { b: { c: 1 } } }, { a: { b: { c: 2 } } }, ['a.b.c']],
  [{ a: { b: [1, 2] } }, { a: { b: [1] } }, ['a.b']],
  [{ a: { b: 1, c: 2 } }, { a: { c: 2, d: 3 } }, ['a.b removed', 'a.d added']],
  [{ a: null }, { a: {} }, ['a']],
  [1, { a: 1 }, ['everything']],
  [
    {},
    Object.fromEntries('abcdefgh'.split('').map((key) => [key, 1])),
    [...['a added', 'b added', 'c added', 'd added', 'e added', 'f added', 'and 2 more']],
  ],
] as const) {
  test(`${JSON.stringify(before)} and ${JSON.stringify(after)}`, () => {
    assert.deepEqual(partsThatDiffer(before, after), parts)
  })
}
