import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { prompt, resource, tool } from '../../test/fakes/registry.ts'
import { type Answered, type RestFixture, startRest } from '../../test/fakes/rest.ts'

let rest: RestFixture
before(async () => {
  rest = await startRest()
  const [first, second] = [await rest.upstream('first'), await rest.upstream('second')]
  await rest.discover(first, [tool('read'), tool('write'), prompt('ask'), resource('file:///a')])
  await rest.discover(second, [tool('read'), tool('list'), prompt('ask'), resource('file:///a')])
})
after(() => rest.close())

const create = (body: object): Promise<Answered> => rest.ask('POST', '/v1/servers', { body })
const patch = (slug: string, body: object): Promise<Answered> =>
  rest.ask('PATCH', `/v1/servers/${slug}`, { body, headers: { 'if-match': '*' } })
const places = (answer: Answered): string[] => answer.body.errors?.map(({ at }: { at: string }) => at)

test('a virtual server has all that it was given, and its endpoint', async () => {
  const body = {
    slug: 'whole',
    title: 'Whole',
    description: 'All of it',
    instructions: 'Read, then write.',
    icons: [{ src: 'https://icons.test/a.png', mimeType: 'image/png', sizes: ['48x48'] }],
    naming: 'prefix',
    members: [
      {
        upstream: 'first',
        tools: ['read*'],
        prompts: [],
        overrides: { read: { title: 'Read', fixed: { path: '/' } } },
      },
    ],
  }
  const answer = await create(body)
  assert.equal(answer.status, 201, answer.text)
  for (const [member, value] of Object.entries(body)) assert.deepEqual(answer.body[member], value, member)
  assert.equal(answer.body.endpoint, 'https://gw.example/servers/whole/mcp')
  assert.deepEqual(answer.body.clashes, [])
})

test('without a slug it gets one of its title, and without a title one all the same', async () => {
  assert.equal((await create({ title: 'Für Büro & Co.', members: [] })).body.slug, 'f-r-b-ro-co')
  assert.equal((await create({ title: 'Für Büro & Co.', members: [] })).body.slug, 'f-r-b-ro-co-2')
  assert.equal((await create({ members: [] })).body.slug, 'server')
})

test('members are stored by id, whether named by slug or id, and answered by slug', async () => {
  const id = (await rest.store.upstream('first'))!.id
  const bySlug = await create({ members: [{ upstream: 'first' }] })
  const byId = await create({ members: [{ upstream: id }] })
  for (const answer of [bySlug, byId]) {
    assert.equal(answer.body.members[0].upstream, 'first')
    assert.equal((await rest.store.virtualServer(answer.body.id))!.spec.members[0]!.upstream, id)
  }
})

const faulty: [string, object, string[]][] = [
  ['no members', {}, ['/members']],
  [
    'a member that is no upstream',
    { members: [{ upstream: 'first' }, { upstream: 'nobody' }] },
    ['/members/1/upstream'],
  ],
  ['a member twice', { members: [{ upstream: 'first' }, { upstream: 'first' }] }, ['/members/1/upstream']],
  ['a naming that is none', { naming: 'flat', members: [] }, ['/naming']],
  ['an icon that runs', { icons: [{ src: 'javascript:alert(1)' }], members: [] }, ['/icons/0/src']],
  ['an icon of a file', { icons: [{ src: 'file:///etc/passwd' }], members: [] }, ['/icons/0/src']],
  ['an unknown member of a member', { members: [{ upstream: 'first', tool: ['x'] }] }, ['/members/0/tool']],
  ['a pattern that is none', { members: [{ upstream: 'first', tools: [''] }] }, ['/members/0/tools/0']],
  [
    'an override of a bad name',
    { members: [{ upstream: 'first', overrides: { read: { name: 'a b' } } }] },
    ['/members/0/overrides/read/name'],
  ],
]
for (const [name, body, at] of faulty) {
  test(`refused with its place: ${name}`, async () => {
    const before = (await rest.store.virtualServers()).length
    const answer = await create(body)
    assert.equal(answer.status, 400, answer.text)
    assert.deepEqual(places(answer), at)
    assert.equal((await rest.store.virtualServers()).length, before)
  })
}

test('kept names that clash are reported with who offers them; resources clash under any naming', async () => {
  const members = [{ upstream: 'first' }, { upstream: 'second' }]
  const both = ['first', 'second']
  const file = { kind: 'resource', name: 'file:///a', upstreams: both }
  const keep = (await create({ naming: 'keep', members })).body.clashes
  assert.deepEqual(keep, [
    { kind: 'tool', name: 'read', upstreams: both },
    { kind: 'prompt', name: 'ask', upstreams: both },
    file,
  ])
  assert.deepEqual((await create({ naming: 'prefix', members })).body.clashes, [file])
})

test('what is hidden, renamed or not chosen does not clash, and a new name may', async () => {
  const clashesWith = async (second: object): Promise<object[]> => {
    const { body } = await create({
      naming: 'keep',
      members: [
        { upstream: 'first', prompts: [], resources: [] },
        { upstream: 'second', ...second },
      ],
    })
    return body.clashes
  }
  assert.deepEqual(await clashesWith({ tools: ['list'] }), [])
  assert.deepEqual(await clashesWith({ overrides: { read: { hide: true } } }), [])
  assert.deepEqual(await clashesWith({ overrides: { read: { name: 'read-2' } } }), [])
  assert.deepEqual(await clashesWith({ overrides: { read: { name: 'read-2' }, list: { name: 'write' } } }), [
    { kind: 'tool', name: 'write', upstreams: ['first', 'second'] },
  ])
})

test('a patch replaces lists whole, removes by null, and renames', async () => {
  await create({ slug: 'changing', title: 'C', instructions: 'x', members: [{ upstream: 'first' }] })
  const changed = await patch('changing', { instructions: null, members: [{ upstream: 'second', tools: ['list'] }] })
  assert.equal(changed.status, 200, changed.text)
  assert.equal(changed.body.instructions, null)
  assert.equal(changed.body.title, 'C')
  assert.deepEqual(changed.body.members, [{ upstream: 'second', tools: ['list'] }])
  assert.equal(changed.headers.etag, '"v2"')
  assert.deepEqual(places(await patch('changing', { members: [{ upstream: 'nobody' }] })), ['/members/0/upstream'])
  assert.deepEqual(places(await patch('changing', { members: null })), ['/members'])
  assert.deepEqual(places(await patch('changing', { slug: '-' })), ['/slug'])
  assert.equal((await patch('changing', { slug: 'changed' })).body.endpoint, 'https://gw.example/servers/changed/mcp')
})

test('a member whose upstream a file took away is shown as it is stored, and does not stop other changes', async () => {
  await rest.store.applyFile({
    origin: 'file',
    upstreams: [{ slug: 'passing', spec: { transport: { kind: 'http', urls: ['https://p.test'] } }, origin: 'file' }],
    virtualServers: [],
    tokens: [],
  })
  const { id } = (await rest.store.upstream('passing'))!
  await create({ slug: 'left', members: [{ upstream: 'passing' }] })
  await rest.store.applyFile({ origin: 'file', upstreams: [], virtualServers: [], tokens: [] })
  assert.equal((await rest.ask('GET', '/v1/servers/left')).body.members[0].upstream, id)
  assert.equal((await patch('left', { title: 'Left' })).status, 200)
})

test('the list pages by slug', async () => {
  const { body } = await rest.ask('GET', '/v1/servers?limit=2')
  const slugs = (await rest.store.virtualServers()).map(({ slug }) => slug).sort()
  assert.deepEqual(
    body.items.map(({ slug }: { slug: string }) => slug),
    slugs.slice(0, 2),
  )
  const next = await rest.ask('GET', `/v1/servers?limit=1000&cursor=${encodeURIComponent(body.nextCursor)}`)
  assert.deepEqual(
    next.body.items.map(({ slug }: { slug: string }) => slug),
    slugs.slice(2),
  )
  assert.equal(next.body.nextCursor, null)
})
