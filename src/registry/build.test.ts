// From rows to a snapshot: names, owners, overrides, shapes, and what is reused.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { prompt, registryRows, resource, serverRow, template, tool, upstreamRow } from '../../test/fakes/registry.ts'
import type { RegistryRows } from '../ports/feed.ts'
import { createBuilder } from './build.ts'
import type { Scope, Snapshot } from './snapshot.ts'

const DEFAULTS = { validate: 'arguments', callMs: 60_000, callMsMax: 3_600_000, connectMs: 5_000 } as const
const builder = (): { build(rows: RegistryRows): Promise<Snapshot> } => createBuilder(DEFAULTS, () => null)
const build = (rows: RegistryRows): Promise<Snapshot> => builder().build(rows)
const scope = (snapshot: Snapshot, name = ''): Scope => snapshot.scopes.get(name)!
const names = (of: Scope): string[] => of.tools.map(({ exposed }) => exposed)
const json = (bytes: Buffer): Record<string, unknown> => JSON.parse(bytes.toString()) as Record<string, unknown>

test('tools and prompts get the slug, resources keep their URI, all sorted', async () => {
  const snapshot = await build(
    registryRows([
      { upstream: upstreamRow('b', {}, {}, 2), definitions: [tool('z'), tool('a.b'), resource('x://2')] },
      {
        upstream: upstreamRow('a', {}, {}, 1),
        definitions: [tool('q'), prompt('p'), resource('x://1'), template('x://{id}/y')],
      },
    ]),
  )
  const all = scope(snapshot)
  assert.deepEqual(names(all), ['a-q', 'b-a_b', 'b-z'])
  assert.equal(json(all.toolByName.get('b-a_b')!.legacy).name, 'b-a_b')
  assert.equal(all.toolByName.get('b-a_b')!.name, 'a.b')
  assert.deepEqual(
    all.prompts.map(({ exposed }) => exposed),
    ['a-p'],
  )
  assert.deepEqual([...all.resourceByUri.keys()].sort(), ['x://1', 'x://2'])
  assert.equal(all.templates[0]!.template, 'x://{id}/y')
})

test('members that nobody changes stay the bytes that came', async () => {
  const definition = {
    kind: 'tool' as const,
    name: 't',
    json: '{"x-vendor": 12345678901234567890, "name":"t","inputSchema":{ "type":"object" }}',
  }
  const snapshot = await build(registryRows([{ upstream: upstreamRow('u'), definitions: [definition] }]))
  assert.equal(
    scope(snapshot).tools[0]!.modern.toString(),
    '{"x-vendor":12345678901234567890,"name":"u-t","inputSchema":{ "type":"object" }}',
  )
})

test('overrides: rename, title, description, hide, fixed arguments', async () => {
  const schema = {
    type: 'object',
    properties: { a: { type: 'string' }, secret: { type: 'string' } },
    required: ['a', 'secret'],
  }
  const upstream = upstreamRow('u', {
    tools: {
      one: { name: 'uno', title: 'Uno', description: 'changed', fixed: { secret: 's' }, validate: 'off', callMs: 7 },
      two: { hide: true },
    },
  })
  const snapshot = await build(
    registryRows([{ upstream, definitions: [tool('one', { inputSchema: schema }), tool('two')] }]),
  )
  const [one] = scope(snapshot).tools
  assert.deepEqual(names(scope(snapshot)), ['u-uno'])
  const shown = json(one!.modern) as unknown as {
    title: string
    description: string
    inputSchema: { properties: object; required: string[] }
  }
  assert.deepEqual(
    [shown.title, shown.description, Object.keys(shown.inputSchema.properties), shown.inputSchema.required],
    ['Uno', 'changed', ['a'], ['a']],
  )
  assert.deepEqual([one!.name, one!.validate, one!.callMs], ['one', 'off', 7])
  assert.equal(JSON.parse(one!.inputSchema!).required.length, 2, 'the validator sees the whole schema')
})

test('a tool may have the name of anything that objects inherit', async () => {
  const inputSchema = { type: 'object', properties: { toString: { type: 'string' } } }
  const upstream = upstreamRow('u', { tools: { other: { fixed: { a: 1 } }, constructor: { fixed: { b: 1 } } } })
  const snapshot = await build(
    registryRows([{ upstream, definitions: [tool('valueOf'), tool('constructor', { inputSchema })] }]),
  )
  assert.deepEqual(names(scope(snapshot)), ['u-constructor', 'u-valueOf'])
  const shown = json(scope(snapshot).toolByName.get('u-constructor')!.modern).inputSchema as { properties: object }
  assert.deepEqual(Object.keys(shown.properties), ['toString'])
})

test('a virtual server: chosen things, kept names, its own overrides', async () => {
  const parts = [
    {
      upstream: upstreamRow('a'),
      definitions: [tool('get_x'), tool('get_y'), tool('set_x'), prompt('p'), resource('r://1')],
    },
    { upstream: upstreamRow('b'), definitions: [tool('b1')] },
  ]
  const server = serverRow('v', {
    title: 'V',
    naming: 'keep',
    members: [{ upstream: 'a', tools: ['get_*'], prompts: [], overrides: { get_y: { name: 'y' } } }],
  })
  const snapshot = await build(registryRows(parts, [server]))
  const own = scope(snapshot, 'v')
  assert.equal(own, scope(snapshot, 'id-v'))
  assert.deepEqual(names(own), ['get_x', 'y'])
  assert.deepEqual([own.prompts.length, own.resources.length, own.title], [0, 1, 'V'])
  assert.deepEqual(names(scope(snapshot)), ['a-get_x', 'a-get_y', 'a-set_x', 'b-b1'], 'the rest is as before')
})

test('the first owner of a name keeps it, also against an older upstream that offers it later', async () => {
  const server = serverRow('v', { naming: 'keep', members: [{ upstream: 'old' }, { upstream: 'new' }] })
  const late = [
    { upstream: upstreamRow('old', {}, {}, 1), definitions: [tool('x', {}, 90)] },
    { upstream: upstreamRow('new', {}, {}, 5), definitions: [tool('x', {}, 10)] },
  ]
  const snapshot = await build(registryRows(late, [server]))
  assert.equal(scope(snapshot, 'v').toolByName.get('x')!.upstream.slug, 'new')
  assert.deepEqual(scope(snapshot, 'v').shadowed, [{ kind: 'tool', name: 'x', upstream: 'old', owner: 'new' }])
})

test('older clients get a non-object outputSchema wrapped', async () => {
  const definition = tool('t', { outputSchema: { type: 'array', items: { type: 'integer' } } })
  const snapshot = await build(registryRows([{ upstream: upstreamRow('u'), definitions: [definition] }]))
  const [target] = scope(snapshot).tools
  assert.equal(target!.wrapped, true)
  assert.deepEqual(json(target!.legacy).outputSchema, {
    type: 'object',
    properties: { result: { type: 'array', items: { type: 'integer' } } },
    required: ['result'],
  })
  assert.deepEqual((json(target!.modern).outputSchema as { type: string }).type, 'array')
})

test('what did not change is not encoded again, and a disabled upstream is not there', async () => {
  const keep = builder()
  const a = { upstream: upstreamRow('a'), definitions: [tool('x')] }
  const b = { upstream: upstreamRow('b'), definitions: [tool('y')] }
  const servers = [serverRow('v', { members: [{ upstream: 'a' }] })]
  const first = await keep.build({ ...registryRows([a, b], servers), virtualServers: servers })
  const refreshed = { ...a, upstream: { ...a.upstream, discovery: { ...a.upstream.discovery!, discoveredMs: 99 } } }
  const same = await keep.build({ ...registryRows([refreshed, b], [], 2), virtualServers: servers })
  assert.equal(same, first, 'only the date of discovery moved')
  const changed = {
    upstream: { ...b.upstream, rowVersion: 2, spec: { ...b.upstream.spec, enabled: false } },
    definitions: b.definitions,
  }
  const second = await keep.build({ ...registryRows([refreshed, changed], [], 3), virtualServers: servers })
  assert.deepEqual(names(scope(second)), ['a-x'])
  assert.equal(scope(second).tools[0], scope(first).tools[0])
  assert.equal(second.definitionVersion, 3)
})

test('x-mcp-header annotations are found through properties only', async () => {
  const inputSchema = {
    type: 'object',
    properties: {
      region: { type: 'string', 'x-mcp-header': 'Region' },
      deep: { type: 'object', properties: { n: { type: 'integer', 'x-mcp-header': 'N' } } },
      list: { type: 'array', items: { type: 'string', 'x-mcp-header': 'No' } },
      evil: { type: 'string', 'x-mcp-header': 'a: b\r\nAuthorization: x' },
      empty: { type: 'string', 'x-mcp-header': '' },
    },
  }
  const snapshot = await build(
    registryRows([{ upstream: upstreamRow('u'), definitions: [tool('t', { inputSchema })] }]),
  )
  assert.deepEqual(scope(snapshot).tools[0]!.paramHeaders, [
    { path: ['region'], header: 'region', type: 'string' },
    { path: ['deep', 'n'], header: 'n', type: 'integer' },
  ])
})

test('of two that came at the same time the upstream that was registered first owns the name', async () => {
  const part = (slug: string, createdMs: number) => ({
    upstream: upstreamRow(slug, {}, {}, createdMs),
    definitions: [resource('x://1'), { ...resource('x://2'), seenMs: 5 }],
  })
  const snapshot = await build(registryRows([part('late', 2), part('early', 1)]))
  const owners = scope(snapshot).resources.map(({ uri, upstream }) => `${uri} ${upstream.slug}`)
  assert.deepEqual(owners, ['x://1 early', 'x://2 early'])
  assert.deepEqual(
    scope(snapshot).shadowed.map(({ name, upstream }) => `${name} ${upstream}`),
    ['x://1 late', 'x://2 late'],
  )
})

test('a member shows the resources and templates that it names, and no others', async () => {
  const definitions = [resource('a://1'), resource('b://1'), template('a://{x}/y'), template('b://{x}/y')]
  const server = serverRow('v', { members: [{ upstream: 'u', resources: ['a://*'] }] })
  const shown = scope(await build(registryRows([{ upstream: upstreamRow('u'), definitions }], [server])), 'v')
  assert.deepEqual(
    [
      shown.resources.map(({ uri }) => uri),
      shown.templates.map((one) => one.template),
      [...shown.resourceByUri.keys()],
    ],
    [['a://1'], ['a://{x}/y'], ['a://1']],
  )
})

test('a server that keeps state is shared by nobody unless it is said', async () => {
  const isolationOf = async (stateful: boolean, isolation?: 'auto' | 'shared' | 'session') => {
    const spec = isolation === undefined ? {} : { isolation }
    const rows = registryRows([{ upstream: upstreamRow('u', spec, { stateful }), definitions: [] }])
    return (await build(rows)).upstreams.get('id-u')!.isolation
  }
  assert.deepEqual(
    [await isolationOf(true), await isolationOf(false), await isolationOf(true, 'auto')],
    ['caller', 'shared', 'caller'],
  )
  assert.deepEqual([await isolationOf(true, 'shared'), await isolationOf(false, 'session')], ['shared', 'session'])
})

test('tools whose names all objects inherit are not changed by what they inherit', async () => {
  const definitions = ['constructor', 'toString', '__proto__'].map((name) => tool(name))
  const upstream = upstreamRow('u', { tools: { other: { hide: true } } })
  const server = serverRow('v', { naming: 'keep', members: [{ upstream: 'u', overrides: { other: { hide: true } } }] })
  const snapshot = await build(registryRows([{ upstream, definitions }], [server]))
  assert.deepEqual(names(scope(snapshot)), ['u-__proto__', 'u-constructor', 'u-toString'])
  assert.deepEqual(names(scope(snapshot, 'v')), ['__proto__', 'constructor', 'toString'])
})
