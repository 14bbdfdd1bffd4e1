// Which lists a swap changed, as the clients of an endpoint must be told.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { prompt, registryRows, resource, serverRow, template, tool, upstreamRow } from '../../test/fakes/registry.ts'
import type { UpstreamSpec } from '../core/model.ts'
import type { RegistryRows } from '../ports/feed.ts'
import { createBuilder } from './build.ts'
import { changedLists, type ListMarks, marksOf } from './changes.ts'

const DEFAULTS = { validate: 'arguments', callMs: 60_000, callMsMax: 3_600_000, connectMs: 5_000 } as const
type Spec = Partial<UpstreamSpec>

const one = (definitions = [tool('a'), prompt('p'), resource('x://1')], spec: Spec = {}) => ({
  upstream: { ...upstreamRow('one', spec, {}, 1), rowVersion: JSON.stringify(spec).length },
  definitions,
})
const two = (definitions = [tool('b')]) => ({ upstream: upstreamRow('two', {}, {}, 2), definitions })
const server = serverRow('only-two', { members: [{ upstream: 'two' }] })

async function changed(before: RegistryRows, after: RegistryRows): Promise<[all: string[], team: string[]]> {
  const builder = createBuilder(DEFAULTS, () => null)
  const [old, now] = [await builder.build(before), await builder.build(after)]
  const of = (scope: string): string[] => changedLists(old.scopes.get(scope), now.scopes.get(scope))
  return [of(''), of('only-two')]
}

const rows = (...parts: Parameters<typeof registryRows>[0]): RegistryRows => registryRows(parts, [server])

const CASES: readonly [what: string, before: RegistryRows, after: RegistryRows, all: string[], team: string[]][] = [
  ['nothing', rows(one(), two()), rows(one(), two()), [], []],
  ['an upstream that came', rows(one()), rows(one(), two()), ['tools'], ['tools']],
  ['an upstream that went', rows(one(), two()), rows(two()), ['tools', 'prompts', 'resources'], []],
  ['a tool more', rows(one(), two()), rows(one(), two([tool('b'), tool('c')])), ['tools'], ['tools']],
  [
    'a tool that is described anew',
    rows(one(), two()),
    rows(one(), two([tool('b', { description: 'new' })])),
    ['tools'],
    ['tools'],
  ],
  [
    'a template more',
    rows(one(), two()),
    rows(one(), two([tool('b'), template('x://{y}')])),
    ['resources'],
    ['resources'],
  ],
  ['a deadline, which no list shows', rows(one(), two()), rows(one(undefined, { callMs: 7 }), two()), [], []],
  [
    'a tool hidden by its override',
    rows(one(), two()),
    rows(one(undefined, { tools: { a: { hide: true } } }), two()),
    ['tools'],
    [],
  ],
]

for (const [what, before, after, all, team] of CASES)
  test(what, async () => assert.deepEqual(await changed(before, after), [all, team]))

test('an endpoint that came or went', async () => {
  const { scopes } = await createBuilder(DEFAULTS, () => null).build(rows(two()))
  assert.deepEqual(changedLists(undefined, scopes.get('only-two')), ['tools'])
  assert.deepEqual(changedLists(scopes.get('only-two'), undefined), ['tools'])
})

test('a mark changes with its list alone, and is the same wherever the same rows are built', async () => {
  const marks = async (state: RegistryRows): Promise<ListMarks> => {
    const { scopes } = await createBuilder(DEFAULTS, () => null).build(state)
    return marksOf(scopes.get(''))
  }
  const before = await marks(rows(one(), two()))
  assert.deepEqual(await marks(rows(one(), two())), before)
  for (const mark of before) assert.match(mark, /^[\w-]{8}$/)
  const differs = async (state: RegistryRows): Promise<boolean[]> =>
    (await marks(state)).map((mark, at) => mark !== before[at])
  assert.deepEqual(await differs(rows(one(), two([tool('c')]))), [true, false, false])
  assert.deepEqual(await differs(rows(one([tool('a'), prompt('q'), resource('x://1')]), two())), [false, true, false])
  const withTemplate = [tool('a'), prompt('p'), resource('x://1'), template('x://{a}')]
  assert.deepEqual(await differs(rows(one(withTemplate), two())), [false, false, true])
  assert.deepEqual(marksOf(undefined), marksOf(undefined))
})
