import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { prompt, resource, template, tool } from '../../test/fakes/registry.ts'
import { type Answered, type RestFixture, startRest } from '../../test/fakes/rest.ts'

let rest: RestFixture
before(async () => {
  rest = await startRest()
  const files = await rest.upstream('files', {
    spec: { tools: { write: { name: 'put', title: 'Put', fixed: { dir: '/' } }, secret: { hide: true } } },
  })
  const notes = await rest.upstream('notes')
  await rest.store.insertVirtualServer({
    slug: 'reader',
    spec: { naming: 'keep', members: [{ upstream: files.id, tools: ['read*'], prompts: [] }] },
    origin: 'api',
  })
  const inputSchema = { type: 'object', properties: { dir: { type: 'string' }, text: { type: 'string' } } }
  await rest.discover(files, [
    tool('read', { outputSchema: { type: 'object' }, annotations: { readOnlyHint: true }, _meta: { 'x/y': 1 } }),
    tool('write', { inputSchema }),
    tool('secret'),
    tool('Größe'),
    prompt('sum'),
    resource('file:///b'),
    template('file:///{name}'),
  ])
  // An upstream that would pose as another one.
  await rest.discover(notes, [tool('read', { upstream: 'files', upstreamName: 'x' }), resource('note:1')])
})
after(() => rest.close())

const names = async (path: string): Promise<string[]> => {
  const answer = await rest.ask('GET', path, { as: 'use' })
  assert.equal(answer.status, 200, answer.text)
  return answer.body.items.map(({ name, uri, uriTemplate }: Record<string, string>) => uri ?? uriTemplate ?? name)
}

test('tools are listed by the names to call them by, in order, without the hidden ones', async () => {
  assert.deepEqual(await names('/v1/tools'), ['files-Gr__e', 'files-put', 'files-read', 'notes-read'])
})

test('a tool is what clients see, with where it comes from', async () => {
  const { items } = (await rest.ask('GET', '/v1/tools?upstream=files', { as: 'use' })).body
  assert.deepEqual(items[2], {
    name: 'files-read',
    description: 'does read',
    inputSchema: { type: 'object' },
    outputSchema: { type: 'object' },
    annotations: { readOnlyHint: true },
    _meta: { 'x/y': 1 },
    upstream: 'files',
    upstreamName: 'read',
  })
  const [, put] = items
  assert.equal(put.title, 'Put')
  assert.equal(put.upstreamName, 'write')
  assert.deepEqual(put.inputSchema.properties, { text: { type: 'string' } }, 'without what the gateway sets itself')
})

test('an upstream cannot say that its tool is of another', async () => {
  const { items } = (await rest.ask('GET', '/v1/tools?upstream=notes', { as: 'use' })).body
  assert.equal(items[0].upstream, 'notes')
  assert.equal(items[0].upstreamName, 'read')
})

const filters: [string, string[]][] = [
  ['/v1/tools?q=READ', ['files-read', 'notes-read']],
  ['/v1/tools?q=does%20write', ['files-put']],
  ['/v1/tools?q=gr%C3%B6%C3%9Fe', ['files-Gr__e']],
  ['/v1/tools?q=inputSchema', []],
  ['/v1/tools?upstream=notes&q=read', ['notes-read']],
  ['/v1/tools?server=reader', ['read']],
  ['/v1/prompts', ['files-sum']],
  ['/v1/prompts?server=reader', []],
  ['/v1/resources', ['file:///b', 'note:1', 'file:///{name}']],
  ['/v1/resources?upstream=files', ['file:///b', 'file:///{name}']],
  ['/v1/resources?q=note', ['note:1']],
]
for (const [path, expected] of filters) {
  test(`GET ${path}`, async () => assert.deepEqual(await names(path), expected))
}

test('an upstream or server that is not there is said to be so, not an empty list', async () => {
  for (const query of ['upstream=nobody', 'server=nobody', 'server=reader&upstream=nobody'])
    assert.equal((await rest.ask('GET', `/v1/tools?${query}`)).body.code, 'NOT_FOUND', query)
  for (const query of ['upstream=', 'server=', 'q='])
    assert.equal((await rest.ask('GET', `/v1/tools?${query}`)).body.code, 'INVALID_INPUT', query)
})

test('pages go through filters, and a cursor fits only its own list', async () => {
  const page = (query: string): Promise<Answered> => rest.ask('GET', `/v1/resources?${query}`, { as: 'use' })
  const seen: string[] = []
  let cursor = ''
  let pages = 0
  do {
    const { body } = await page(`limit=1${cursor === '' ? '' : `&cursor=${encodeURIComponent(cursor)}`}`)
    seen.push(...body.items.map(({ uri, uriTemplate }: Record<string, string>) => uri ?? uriTemplate))
    cursor = body.nextCursor ?? ''
    pages += 1
  } while (cursor !== '')
  assert.deepEqual(seen, ['file:///b', 'note:1', 'file:///{name}'])
  assert.equal(pages, 3, 'no empty page at the end')
  const { nextCursor } = (await page('limit=1')).body
  for (const query of ['upstream=files', 'q=note', 'server=reader'])
    assert.equal((await page(`${query}&cursor=${nextCursor}`)).body.code, 'INVALID_CURSOR', query)
})

test('until a snapshot is there nothing is called empty', async () => {
  const early = await startRest({}, { snapshot: () => null })
  const answer = await early.ask('GET', '/v1/tools', { as: 'use' })
  await early.close()
  assert.equal(answer.body.code, 'UPSTREAM_NOT_READY')
  assert.equal(answer.status, 503)
})
