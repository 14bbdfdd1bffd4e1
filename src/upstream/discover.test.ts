// Reading lists to their end, within bounds, from servers that are odd in one item or hostile in all of them.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Reply } from '../core/call.ts'
import { GatewayError } from '../core/errors.ts'
import { LIMITS, type Limits } from '../core/limits.ts'
import type { Definition, Era } from '../core/model.ts'
import { discover, type Found } from './discover.ts'
import type { Greeting } from './handshake.ts'

function greetingOf(capabilities: Record<string, unknown>, era: Era = 'legacy', ttlMs: number | null = null): Greeting {
  const revision = era === 'legacy' ? '2025-11-25' : '2026-07-28'
  return { era, revision, serverInfo: { name: 'n', version: 'v' }, capabilities, ttlMs }
}

type Pages = Record<string, string | ((cursor: unknown, count: number) => string)>

interface Run extends Found {
  readonly asked: string[]
}

async function run(
  pages: Pages,
  greeting = greetingOf({ tools: {} }),
  limits: Partial<Limits> = {},
  known: Definition[] = [],
): Promise<Run> {
  const asked: string[] = []
  const counts = new Map<string, number>()
  const ask = async (method: string, params: Buffer): Promise<Reply> => {
    asked.push(`${method} ${params}`)
    const count = (counts.get(method) ?? 0) + 1
    counts.set(method, count)
    const page = pages[method] ?? 'error -32601'
    const text =
      typeof page === 'string' ? page : page((JSON.parse(params.toString()) as { cursor?: unknown }).cursor, count)
    const code = /^error (-?\d+)$/.exec(text)?.[1]
    return code === undefined ? { result: Buffer.from(text) } : { error: Buffer.from(`{"code":${code},"message":"m"}`) }
  }
  return { ...(await discover(ask, greeting, 'up', known, { ...LIMITS, ...limits })), asked }
}

const tool = (name: string, more = ''): string => `{"name":"${name}","inputSchema":{"type":"object"}${more}}`
const tools = (...items: string[]): Pages => ({ 'tools/list': `{"tools":[${items.join(',')}]}` })
const names = (found: Found): string[] => found.definitions.map(({ kind, name }) => `${kind} ${name}`)
const reasons = (found: Found): string[] => found.skipped.map(({ kind, name, reason }) => `${kind} ${name}: ${reason}`)

test('only what is declared is asked for, and each item is kept as its own text', async () => {
  const found = await run(
    {
      'tools/list': '{"tools":[ {"name" : "a",\n "inputSchema":{"type":"object"},"n":1e2, "x":"\\u0041"} ]}',
      'resources/list': '{"resources":[{"uri":"file:///a"}]}',
      'resources/templates/list': '{"resourceTemplates":[{"uriTemplate":"file:///{x}"}]}',
    },
    greetingOf({ tools: {}, resources: { listChanged: true }, prompts: null, logging: {} }),
  )
  assert.deepEqual(found.definitions, [
    {
      kind: 'tool',
      name: 'a',
      json: '{"name" : "a",  "inputSchema":{"type":"object"},"n":1e2, "x":"\\u0041"}',
    },
    { kind: 'resource', name: 'file:///a', json: '{"uri":"file:///a"}' },
    { kind: 'template', name: 'file:///{x}', json: '{"uriTemplate":"file:///{x}"}' },
  ])
  assert.deepEqual(found.asked, ['tools/list {}', 'resources/list {}', 'resources/templates/list {}'])
  assert.deepEqual([found.skipped, found.ttlMs], [[], null])
})

test('pages are followed to the end by the cursor as it came', async () => {
  const cursors = ['"a\\u0062\\"é"', '""', 'null']
  for (const last of cursors.slice(1)) {
    const found = await run({
      'tools/list': (_cursor, count) =>
        `{"tools":[${tool(`t${count}`)}],"nextCursor":${count < 3 ? `"a\\u0062\\"é${count}"` : last}}`,
    })
    assert.deepEqual(names(found), ['tool t1', 'tool t2', 'tool t3'])
    assert.equal(found.asked[1], 'tools/list {"cursor":"a\\u0062\\"é1"}')
  }
})

test('lists without end stop at their bounds and say so', async () => {
  const endless: Pages = {
    'tools/list': (_cursor, count) => `{"tools":[${tool(`t${count}`)}],"nextCursor":"${count}"}`,
  }
  const pages = await run(endless, undefined, { listPagesMax: 5 })
  assert.deepEqual(
    [pages.definitions.length, pages.asked.length, reasons(pages)],
    [5, 5, ['tool *: the list has more than 5 pages; the rest is left out']],
  )
  const items = await run(endless, undefined, { listItemsMax: 4 })
  assert.deepEqual(
    [items.definitions.length, reasons(items)],
    [4, ['tool *: the list has more than 4 items; the rest is left out']],
  )
  const circle = await run({
    'tools/list': (_cursor, count) => `{"tools":[${tool(`t${count}`)}],"nextCursor":"${count % 2}"}`,
  })
  assert.deepEqual(
    [circle.asked.length, reasons(circle)],
    [3, ['tool *: a cursor came twice; what follows is left out']],
  )
  const bytes = await run(tools(tool('a'), tool('b'), tool('c')), undefined, { definitionsBytes: 90 })
  assert.deepEqual(names(bytes), ['tool a', 'tool b'])
  assert.match(reasons(bytes)[0]!, /^tool c: all lists together are larger/)
})

test('an odd item is skipped and reported, the others stay', async () => {
  const table: [string, RegExp][] = [
    ['5', /^tool \?: it is no proper object/],
    ['"x"', /^tool \?: it is no proper object/],
    ['{"inputSchema":{}}', /^tool \?: its name is missing/],
    ['{"name":7,"inputSchema":{}}', /^tool \?: its name is missing or no string/],
    ['{"name":"","inputSchema":{}}', /^tool \?: its name is missing/],
    [tool('x'.repeat(300)), /its name is longer than 256/],
    [tool('a\\u0000b'), /^tool a\?b: its name holds control characters/],
    [tool('two', ',"name":"three"'), /^tool two: it is no proper object: duplicate key "name"/],
    ['{"name":"n"}', /^tool n: its inputSchema is missing/],
    ['{"name":"n","inputSchema":[]}', /^tool n: its inputSchema is missing/],
    ['{"name":"n","inputSchema":{"type":"array"}}', /^tool n: its inputSchema is not of type object/],
    [tool('n', ',"outputSchema":[]'), /^tool n: its outputSchema is no object/],
    [tool('big', `,"description":"${'x'.repeat(3_000)}"`), /^tool big: it is larger than 2000 bytes/],
    [tool('a'), /^tool a: the name came before/],
  ]
  for (const [item, reason] of table) {
    const found = await run(tools(tool('a'), item, tool('z')), undefined, { definitionBytes: 2_000 })
    assert.deepEqual(names(found), ['tool a', 'tool z'], item.slice(0, 80))
    assert.match(reasons(found)[0] ?? '', reason)
    assert.equal(found.skipped.length, 1)
  }
})

test('a name in a resource list and its description may be anything; a tool named like a member of Object too', async () => {
  const found = await run(tools(tool('__proto__'), tool('constructor'), tool('naïve tool/§')))
  assert.deepEqual(names(found), ['tool __proto__', 'tool constructor', 'tool naïve tool/§'])
})

test('reports have a bound of their own', async () => {
  const found = await run(tools(...Array.from({ length: 500 }, () => '5')))
  assert.equal(found.skipped.length, 200)
})

const header = (schema: string): string => `{"name":"h","inputSchema":${schema}}`

test('x-mcp-header of modern servers: only on arguments that properties alone reach', async () => {
  const modern = greetingOf({ tools: {} }, 'modern')
  const good = [
    '{"properties":{"a":{"type":"string","x-mcp-header":"A"},"o":{"properties":{"b":{"type":"integer","x-mcp-header":"B"}}}}}',
    '{"properties":{"x-mcp-header":{"type":"string"}}}',
    '{"properties":{"a":{"type":"string","default":{"x-mcp-header":"no"},"enum":[{"x-mcp-header":5}]}}}',
  ]
  for (const schema of good) assert.deepEqual(names(await run(tools(header(schema)), modern)), ['tool h'], schema)
  const bad: [string, RegExp][] = [
    ['{"properties":{"a":{"type":"string","x-mcp-header":""}}}', /no header name/],
    ['{"properties":{"a":{"type":"string","x-mcp-header":"a b"}}}', /no header name/],
    ['{"properties":{"a":{"type":"string","x-mcp-header":"a\\r\\nb"}}}', /no header name/],
    ['{"properties":{"a":{"type":"string","x-mcp-header":5}}}', /no header name/],
    ['{"properties":{"a":{"type":"number","x-mcp-header":"A"}}}', /not on a string/],
    ['{"properties":{"a":{"type":["string","null"],"x-mcp-header":"A"}}}', /not on a string/],
    [
      '{"properties":{"a":{"type":"string","x-mcp-header":"A"},"b":{"type":"string","x-mcp-header":"a"}}}',
      /stands twice/,
    ],
    ['{"properties":{"a":{"items":{"type":"string","x-mcp-header":"A"}}}}', /not reachable/],
    ['{"anyOf":[{"properties":{"a":{"type":"string","x-mcp-header":"A"}}}]}', /not reachable/],
    ['{"$defs":{"a":{"type":"string","x-mcp-header":"A"}}}', /not reachable/],
    ['{"additionalProperties":{"type":"string","x-mcp-header":"A"}}', /not reachable/],
    ['{"type":"object","x-mcp-header":"A"}', /not reachable/],
    [`{"not":${'{"not":'.repeat(70)}{"x-mcp-header":"A"}${'}'.repeat(70)}}`, /nested too deeply/],
  ]
  for (const [schema, reason] of bad) {
    const found = await run(tools(header(schema)), modern)
    assert.deepEqual(names(found), [], schema)
    assert.match(reasons(found)[0]!, reason, schema)
    assert.deepEqual(names(await run(tools(header(schema)))), ['tool h'], 'older servers mean nothing by it')
  }
})

test('a list that fails keeps what was known; when all fail, so does the discovery', async () => {
  const known: Definition[] = [
    { kind: 'tool', name: 'old', json: tool('old') },
    { kind: 'prompt', name: 'p', json: '{"name":"p"}' },
  ]
  const both = greetingOf({ tools: {}, prompts: {} })
  const prompts = '{"prompts":[{"name":"q"}]}'
  const broken = [
    'error -32603',
    '{}',
    '{"tools":5}',
    '{"tools":[],"nextCursor":5}',
    '{"tools":[1,}',
    '{"tools":[],"tools":[]}',
    `{"tools":[],"nextCursor":"${'x'.repeat(70_000)}"}`,
  ]
  for (const page of broken) {
    const found = await run({ 'tools/list': page, 'prompts/list': prompts }, both, {}, known)
    assert.deepEqual(names(found), ['tool old', 'prompt q'], page.slice(0, 50))
    assert.match(reasons(found)[0]!, /^tool \*: up: tools\/list: .*; what was known before stays$/)
    await assert.rejects(run({ 'tools/list': page }), { code: 'UPSTREAM_INVALID' })
  }
  const half = await run(
    {
      'tools/list': (_, count) => (count === 1 ? `{"tools":[${tool('a')}],"nextCursor":"1"}` : 'error -1'),
      'prompts/list': prompts,
    },
    both,
  )
  assert.deepEqual(names(half), ['tool a', 'prompt q'], 'nothing known before: what came stays')
})

test('a capability without its method is an empty list, for templates not even worth a word', async () => {
  const found = await run({}, greetingOf({ tools: {}, resources: {} }))
  assert.deepEqual(
    [names(found), reasons(found)],
    [
      [],
      [
        'tool *: the server declares tools but has no tools/list',
        'resource *: the server declares resources but has no resources/list',
      ],
    ],
  )
})

test('failures of the link pass through', async () => {
  const fault = new GatewayError('TIMEOUT')
  await assert.rejects(
    discover(() => Promise.reject(fault), greetingOf({ tools: {} }), 'up', [], LIMITS),
    (error) => error === fault,
  )
})

test('the shortest time to live of a modern server counts', async () => {
  const pages: Pages = { 'tools/list': '{"tools":[],"ttlMs":400}', 'prompts/list': '{"prompts":[],"ttlMs":900}' }
  const capabilities = { tools: {}, prompts: {} }
  assert.equal((await run(pages, greetingOf(capabilities, 'modern', 700))).ttlMs, 400)
  assert.equal((await run(pages, greetingOf(capabilities, 'modern', 100))).ttlMs, 400)
  assert.equal((await run(tools(), greetingOf(capabilities, 'modern', 100))).ttlMs, 100)
  assert.equal((await run(pages, greetingOf(capabilities, 'legacy'))).ttlMs, null)
  for (const bad of ['-5', '"x"', 'null', '1e999']) {
    assert.equal(
      (await run({ 'tools/list': `{"tools":[],"ttlMs":${bad}}` }, greetingOf({ tools: {} }, 'modern'))).ttlMs,
      null,
      bad,
    )
  }
})
