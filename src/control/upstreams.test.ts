import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { CA_PEM, OTHER_CA_PEM } from '../../test/fakes/certificates.ts'
import { prompt, resource, template, tool } from '../../test/fakes/registry.ts'
import { type Answered, type RestFixture, startRest } from '../../test/fakes/rest.ts'

let rest: RestFixture
before(async () => {
  rest = await startRest({
    commandsAllowed: ['uvx', 'API_KEY= npx -y @scope/*'],
    networksAllowed: ['10.1.0.0/16', '127.0.0.2/32'],
  })
})
after(() => rest.close())

type As = 'operator' | 'admin'
const http = (urls: string | string[], more: object = {}) => ({
  kind: 'http',
  urls: typeof urls === 'string' ? [urls] : urls,
  ...more,
})
const stdio = (command: string, args: string[] = [], more: object = {}) => ({ kind: 'stdio', command, args, ...more })
const register = (transport: object, as: As = 'admin', more: object = {}): Promise<Answered> =>
  rest.ask('POST', '/v1/upstreams', { as, body: { transport, ...more } })
const patch = (slug: string, body: object, as: As = 'admin', ifMatch = '*'): Promise<Answered> =>
  rest.ask('PATCH', `/v1/upstreams/${slug}`, { as, body, headers: { 'if-match': ifMatch } })
/** What the store holds of the upstream that an answer is about. */
const stored = async (answer: Answered) => (await rest.store.upstream(answer.body.id))!

test('a registration is answered at once as connecting, and is in the store', async () => {
  const answer = await register(http('https://one.example/mcp'), 'admin', { slug: 'one', title: 'One', callMs: 5_000 })
  assert.equal(answer.status, 201)
  assert.equal(answer.headers.location, `/v1/upstreams/${answer.body.id}`)
  assert.equal(answer.headers.etag, '"v1"')
  assert.equal(answer.body.state.state, 'connecting')
  assert.equal(answer.body.discovery, null)
  assert.deepEqual((await stored(answer)).spec, {
    title: 'One',
    callMs: 5_000,
    transport: { kind: 'http', urls: ['https://one.example/mcp'] },
  })
  assert.deepEqual((await rest.ask('GET', '/v1/upstreams/one')).body, answer.body)
})

const slugs: [object, As, string][] = [
  [http('https://mcp.linear.app/mcp'), 'admin', 'linear'],
  [http('https://mcp.linear.app/sse'), 'admin', 'linear-2'],
  [http('https://api.example/mcp'), 'admin', 'api'],
  [http('http://10.9.8.7:8080/mcp'), 'operator', '10-9-8-7'],
  [stdio('npx', ['-y', '@modelcontextprotocol/server-everything@1.2.3']), 'operator', 'everything'],
  [stdio('uvx', ['mcp-server-time', '--local']), 'operator', 'time'],
  [stdio('node', ['/srv/tools/demo.ts']), 'operator', 'demo'],
  [stdio('/usr/local/bin/github-mcp-server', ['stdio']), 'operator', 'github'],
  [stdio('docker', ['run', '-i', '--rm', 'ghcr.io/acme/fetch-mcp']), 'operator', 'fetch'],
  [stdio('x'.repeat(60)), 'operator', 'x'.repeat(24)],
  [stdio('x'.repeat(60)), 'operator', `${'x'.repeat(22)}-2`],
]
for (const [transport, as, slug] of slugs) {
  test(`without a slug it becomes ${slug}`, async () => {
    assert.equal((await register(transport, as)).body.slug, slug)
  })
}

test('registrations without slug at the same time all get one of their own', async () => {
  const answers = await Promise.all(Array.from({ length: 8 }, () => register(http('https://same.test/mcp'))))
  assert.deepEqual(
    answers.map(({ status }) => status),
    Array(8).fill(201),
  )
  assert.equal(new Set(answers.map(({ body }) => body.slug)).size, 8)
})

test('?wait= answers when it is ready, with what was discovered and skipped', async () => {
  const waiting = rest.ask('POST', '/v1/upstreams?wait=20s', {
    body: { slug: 'slow', transport: http('https://s.test') },
  })
  let row = await rest.store.upstream('slow')
  for (let turn = 0; row === null && turn < 1_000; turn += 1) {
    await new Promise((resolve) => setTimeout(resolve, 1))
    row = await rest.store.upstream('slow')
  }
  assert.ok(row)
  const skipped = [{ kind: 'tool' as const, name: 'odd', reason: 'no inputSchema' }]
  await rest.discover(row, [tool('a'), tool('b'), prompt('p'), resource('r:1'), template('t:{x}')], { skipped })
  const answer = await waiting
  assert.equal(answer.status, 201)
  assert.equal(answer.body.state.state, 'ready')
  assert.deepEqual(answer.body.discovery.counts, { tools: 2, prompts: 1, resources: 1, templates: 1 })
  assert.deepEqual(answer.body.discovery.skipped, skipped)
  assert.deepEqual(rest.discoverer.waited.at(-1), { ids: [row.id], ms: 20_000 })
})

test('?wait= ends by itself when nothing is settled', async () => {
  const answer = await rest.ask('POST', '/v1/upstreams?wait=10ms', { body: { transport: http('https://dead.test') } })
  assert.equal(answer.status, 201)
  assert.equal(answer.body.state.state, 'connecting')
})

for (const wait of ['61s', '2m', '1h', 'soon', '-1s', '', '1e3', '99999999s']) {
  test(`?wait=${wait} is refused, and nothing is registered`, async () => {
    const before = (await rest.store.upstreams()).length
    const answer = await rest.ask('POST', `/v1/upstreams?wait=${wait}`, { body: { transport: http('https://w.test') } })
    assert.equal(answer.status, 400)
    assert.equal(answer.body.errors[0].at, '?wait')
    assert.equal((await rest.store.upstreams()).length, before)
  })
}

const faulty: [string, object, string[]][] = [
  ['no transport', {}, ['/transport']],
  ['no kind', { transport: { urls: ['https://a.test'] } }, ['/transport/kind']],
  ['an unknown kind', { transport: { kind: 'websocket', urls: ['https://a.test'] } }, ['/transport/kind']],
  ['no URL', { transport: http([]) }, ['/transport/urls']],
  [
    'too many URLs',
    { transport: http(Array.from({ length: 17 }, (_, at) => `https://${at}.test`)) },
    ['/transport/urls'],
  ],
  ['a URL twice', { transport: http(['https://a.test', 'https://a.test']) }, ['/transport/urls']],
  ['a URL that is none', { transport: http(['https://a.test', 'nonsense']) }, ['/transport/urls/1']],
  ['ftp', { transport: http('ftp://a.test') }, ['/transport/urls/0']],
  ['file', { transport: http('file:///etc/passwd') }, ['/transport/urls/0']],
  ['credentials in the URL', { transport: http('https://user:pass@a.test') }, ['/transport/urls/0']],
  ['a fragment', { transport: http('https://a.test/#x') }, ['/transport/urls/0']],
  ['members of the other kind', { transport: http('https://a.test', { command: 'sh' }) }, ['/transport/command']],
  [
    'a header name that is none',
    { transport: http('https://a.test', { headers: { 'a b': 'x' } }) },
    ['/transport/headers/a b'],
  ],
  [
    'a header that is ours',
    { transport: http('https://a.test', { headers: { Host: 'x' } }) },
    ['/transport/headers/Host'],
  ],
  [
    'a protocol header',
    { transport: http('https://a.test', { headers: { 'Mcp-Session-Id': 'x' } }) },
    ['/transport/headers/Mcp-Session-Id'],
  ],
  [
    'a line break in a header',
    { transport: http('https://a.test', { headers: { a: 'x\r\nb: y' } }) },
    ['/transport/headers/a'],
  ],
  [
    'a header twice',
    { transport: http('https://a.test', { headers: { 'X-A': '1', 'x-a': '2' } }) },
    ['/transport/headers/x-a'],
  ],
  [
    'a secret that is none',
    { transport: http('https://a.test', { headers: { a: { env: 'X', file: '/x' } } }) },
    ['/transport/headers/a'],
  ],
  [
    'a name of the environment that is none',
    { transport: http('https://a.test', { headers: { a: { env: 'A=B' } } }) },
    ['/transport/headers/a'],
  ],
  [
    'the placeholder where nothing is stored',
    { transport: http('https://a.test', { headers: { a: '[redacted]' } }) },
    ['/transport/headers/a'],
  ],
  ['the placeholder in a URL', { transport: http('https://a.test?k=[redacted]') }, ['/transport/urls/0']],
  ['a CA that is a path', { transport: http('https://a.test', { ca: '/etc/ssl/ca.pem' }) }, ['/transport/ca']],
  [
    'a CA that only looks like one',
    { transport: http('https://a.test', { ca: '-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----' }) },
    ['/transport/ca'],
  ],
  ['caPinned without ca', { transport: http('https://a.test', { caPinned: true }) }, ['/transport/caPinned']],
  ['an empty command', { transport: stdio('') }, ['/transport/command']],
  ['a NUL in a command', { transport: stdio('a\0b') }, ['/transport/command']],
  ['a NUL in an argument', { transport: stdio('a', ['b\0']) }, ['/transport/args/0']],
  ['arguments as one text', { transport: { kind: 'stdio', command: 'a', args: '-x' } }, ['/transport/args']],
  ['a variable name that is none', { transport: stdio('a', [], { env: { 'A=B': 'x' } }) }, ['/transport/env/A=B']],
  ['a relative directory', { transport: stdio('a', [], { cwd: 'x' }) }, ['/transport/cwd']],
  ['a bad slug', { slug: 'No Good', transport: http('https://a.test') }, ['/slug']],
  ['a slug too long', { slug: 'a'.repeat(25), transport: http('https://a.test') }, ['/slug']],
  ['an isolation that is none', { isolation: 'none', transport: http('https://a.test') }, ['/isolation']],
  ['a refresh too often', { refreshMs: 14_999, transport: http('https://a.test') }, ['/refreshMs']],
  ['callMs over callMsMax', { callMs: 2_000, callMsMax: 1_000, transport: http('https://a.test') }, ['/callMs']],
  ['what only the gateway sets', { privileged: true, transport: http('https://a.test') }, ['/privileged']],
  ['an override that is none', { tools: { x: { nme: 'y' } }, transport: http('https://a.test') }, ['/tools/x/nme']],
  [
    'names with / and ~',
    { tools: { 'a/b~c': { callMs: 0 } }, transport: http('https://a.test') },
    ['/tools/a~1b~0c/callMs'],
  ],
  [
    'several at once',
    { slug: 'A', title: 1, transport: http(['https://a.test', 2 as unknown as string]) },
    ['/slug', '/title', '/transport/urls/1'],
  ],
]
for (const [name, body, places] of faulty) {
  test(`refused with its place, and nothing is registered: ${name}`, async () => {
    const before = (await rest.store.upstreams()).length
    const answer = await rest.ask('POST', '/v1/upstreams', { as: 'operator', body })
    assert.equal(answer.status, 400, answer.text)
    assert.equal(answer.body.code, 'INVALID_INPUT')
    assert.deepEqual(answer.body.errors.map(({ at }: { at: string }) => at).sort(), places)
    assert.equal((await rest.store.upstreams()).length, before)
  })
}

test('a CA is taken as PEM and checked to be one', async () => {
  const made = await register(http('https://ca.test', { ca: `# ours\n${CA_PEM}\n${OTHER_CA_PEM}\n`, caPinned: true }))
  assert.equal(made.status, 201, made.text)
  assert.equal(made.body.transport.caPinned, true)
})

test('faults are bounded, and their messages do not repeat a secret', async () => {
  const headers = Object.fromEntries(Array.from({ length: 200 }, (_, at) => [`h${at}`, { secret: 'hunter2' }]))
  const answer = await register(http('https://a.test', { headers }))
  assert.equal(answer.status, 400)
  assert.ok(answer.body.errors.length <= 50)
  assert.ok(!answer.text.includes('hunter2'))
})

// --- what only an operator may do

const env = (variables: object) => ({ env: variables })
const privileged: [string, object][] = [
  ['a command', stdio('sh', ['-c', 'id'])],
  ['an allowed line with one argument more', stdio('npx', ['-y', '@scope/a', '--eval'])],
  ['an allowed line with another first argument', stdio('npx', ['--eval', '@scope/a'])],
  ['an allowed line with another package', stdio('npx', ['-y', '@other/a'])],
  ...['@scope/a@npm:other', '@scope/a@https://evil.example/x.tgz', '@scope/a@evil/x', '@scope/../x', '@scope/a b'].map(
    (name): [string, object] => [`an allowed line for ${name}`, stdio('npx', ['-y', name])],
  ),
  ['an allowed line by another path', stdio('./npx', ['-y', '@scope/a'])],
  ['an allowed line with a variable more', stdio('npx', ['-y', '@scope/a'], env({ LD_PRELOAD: '/tmp/x.so' }))],
  ['an allowed command in a directory', stdio('uvx', ['x'], { cwd: '/tmp' })],
  ['an allowed command with other limits', stdio('uvx', ['x'], { processes: 10_000 })],
  ['an allowed command with a variable of the gateway', stdio('uvx', ['x'], env({ A: { env: 'SECRET' } }))],
  ['a header from the environment', http('https://a.test', { headers: { a: { env: 'SECRET' } } })],
  ['a header from a file', http('https://a.test', { headers: { a: { file: '/etc/passwd' } } })],
  ['loopback', http('http://127.0.0.1:8080/mcp')],
  ['loopback, short', http('http://127.1/mcp')],
  ['loopback, as a number', http('http://2130706433/mcp')],
  ['loopback, octal', http('http://0177.0.0.1/mcp')],
  ['loopback, IPv6', http('http://[::1]/mcp')],
  ['loopback, mapped', http('http://[::ffff:127.0.0.1]/mcp')],
  ['localhost', http('http://localhost:3000/mcp')],
  ['LOCALHOST with a dot', http('http://LOCALHOST.:3000/mcp')],
  ['a name under localhost', http('http://a.localhost/mcp')],
  ['private 10/8', http('http://10.2.0.1/mcp')],
  ['private 192.168/16', http('http://192.168.1.1/mcp')],
  ['private 172.16/12', http('http://172.16.0.1/mcp')],
  ['link-local', http('http://169.254.1.1/mcp')],
  ['unique local IPv6', http('http://[fd12::1]/mcp')],
  ['the second of two URLs', http(['https://a.test', 'http://10.2.0.1'])],
]
for (const [name, transport] of privileged) {
  test(`only an operator may register: ${name}`, async () => {
    const before = (await rest.store.upstreams()).length
    const refused = await register(transport, 'admin')
    assert.equal(refused.status, 403, refused.text)
    assert.equal(refused.body.code, 'OPERATOR_ONLY')
    assert.equal((await rest.store.upstreams()).length, before)
    const made = await register(transport, 'operator')
    assert.equal(made.status, 201, made.text)
    assert.equal(made.body.privileged, true)
    assert.equal((await stored(made)).spec.privileged, true)
  })
}

const allowed: [string, object][] = [
  ['a public URL', http('https://public.test/mcp', { headers: { authorization: 'Bearer x' } })],
  ['a public address', http('http://93.184.215.14/mcp')],
  ['a network that is listed', http('http://10.1.2.3/mcp')],
  ['a listed command with anything', stdio('uvx', ['--with', 'x', 'y'], env({ TOKEN: 'x' }))],
  ['a listed line', stdio('npx', ['-y', '@scope/a'])],
  ['a listed line with its variable', stdio('npx', ['-y', '@scope/a-b@1.0'], env({ API_KEY: 'x' }))],
]
for (const [name, transport] of allowed) {
  test(`an administrator may register: ${name}`, async () => {
    const made = await register(transport, 'admin')
    assert.equal(made.status, 201, made.text)
    assert.equal(made.body.privileged, false)
    assert.equal((await stored(made)).spec.privileged, undefined)
  })
}

for (const address of ['169.254.169.254', '0.0.0.0', '[ff02::1]', '100.100.100.200']) {
  test(`nobody may register ${address}`, async () => {
    const answer = await register(http(`http://${address}/mcp`), 'operator')
    assert.equal(answer.status, 403)
    assert.equal(answer.body.code, 'ADDRESS_REFUSED')
  })
}

test("an administrator may change an operator's upstream, but not move it", async () => {
  const { body } = await register(http('http://127.0.0.1:9/mcp', { headers: { a: 's3cret' } }), 'operator', {
    slug: 'ops',
  })
  const titled = await patch(body.slug, { title: 'Ops', enabled: false })
  assert.equal(titled.status, 200)
  assert.equal(titled.body.privileged, true, 'and it stays what it is')
  assert.deepEqual(titled.body.transport, body.transport)
  for (const transport of [
    { urls: ['https://evil.test/mcp'] },
    { urls: ['http://127.0.0.1:10/mcp'] },
    { headers: { a: 'other' } },
    { headers: { a: null } },
    { headers: null },
    stdio('uvx', ['x']),
  ]) {
    const refused = await patch(body.slug, { transport })
    assert.equal(refused.body.code, 'OPERATOR_ONLY', JSON.stringify(transport))
  }
  // What is sent back as it was answered moves nothing.
  assert.equal((await patch(body.slug, { transport: body.transport })).status, 200)
  assert.deepEqual(
    (await stored({ body } as Answered)).spec.transport,
    http('http://127.0.0.1:9/mcp', { headers: { a: 's3cret' } }),
  )
})

test('an operator who moves an upstream makes it privileged; one who only renames it does not', async () => {
  const { body } = await register(http('https://plain.test/mcp'), 'admin')
  assert.equal((await patch(body.slug, { title: 'T' }, 'operator')).body.privileged, false)
  assert.equal((await patch(body.slug, { transport: { urls: ['http://10.9.9.9/mcp'] } })).body.code, 'OPERATOR_ONLY')
  const moved = await patch(body.slug, { transport: { urls: ['http://10.9.9.9/mcp'] } }, 'operator')
  assert.equal(moved.body.privileged, true)
})

// --- secrets

test('no answer holds a literal secret; references are shown', async () => {
  const secrets = {
    headers: { authorization: 'Bearer s3cret-1', 'x-key': { env: 'KEY_NAME' }, 'x-file': { file: '/run/k' } },
  }
  const made = await register(http('https://sec.test/mcp?api_key=s3cret-2&debug', secrets), 'operator', { slug: 'sec' })
  const child = await register(stdio('uvx', ['a'], env({ TOKEN: 's3cret-3', OTHER: { env: 'KEY_NAME' } })), 'operator')
  const texts = [made.text, child.text, (await rest.ask('GET', '/v1/upstreams?limit=1000')).text]
  texts.push((await rest.ask('GET', '/v1/upstreams/sec')).text, (await patch('sec', { title: 'x' })).text)
  for (const text of texts) assert.ok(!text.includes('s3cret'), text)
  assert.deepEqual(made.body.transport, {
    kind: 'http',
    urls: ['https://sec.test/mcp?api_key=[redacted]&debug'],
    headers: { authorization: '[redacted]', 'x-key': { env: 'KEY_NAME' }, 'x-file': { file: '/run/k' } },
  })
  assert.deepEqual(child.body.transport.env, { TOKEN: '[redacted]', OTHER: { env: 'KEY_NAME' } })
  assert.ok(!JSON.stringify(rest.logged).includes('s3cret'))
})

test('what was answered can be sent back: placeholders keep what is stored', async () => {
  const transport = http('https://back.test/mcp?k=one', { headers: { a: 'two', b: 'three' } })
  const made = await register(transport, 'admin', { slug: 'back' })
  const answered = made.body.transport
  const changed = await patch('back', {
    transport: { ...answered, headers: { ...answered.headers, b: 'four', c: 'five' } },
  })
  assert.equal(changed.status, 200, changed.text)
  assert.deepEqual((await stored(made)).spec.transport, {
    ...transport,
    headers: { a: 'two', b: 'four', c: 'five' },
  })
  const gone = await patch('back', { transport: { headers: { z: '[redacted]' } } })
  assert.deepEqual(
    gone.body.errors.map(({ at }: { at: string }) => at),
    ['/transport/headers/z'],
  )
})

test('whoever moves an upstream to another origin must send its secrets again', async () => {
  const made = await register(http('https://bank.test/mcp', { headers: { a: 'one', b: 'two' } }), 'admin', {
    slug: 'bank',
  })
  const places = (answer: Answered): string[] => answer.body.errors?.map(({ at }: { at: string }) => at)
  for (const urls of [
    ['https://evil.test/mcp'],
    ['https://bank.test/mcp', 'https://evil.test/mcp'],
    ['http://bank.test/mcp'],
  ]) {
    assert.deepEqual(places(await patch('bank', { transport: { urls } })), [
      '/transport/headers/a',
      '/transport/headers/b',
    ])
    const kept = { urls, headers: { a: '[redacted]', b: 'two' } }
    assert.deepEqual(places(await patch('bank', { transport: kept })), ['/transport/headers/a'])
  }
  assert.equal((await patch('bank', { transport: { urls: ['https://bank.test/v2/mcp'] } })).status, 200, 'same origin')
  const known = { urls: ['https://new.test/mcp'], headers: { a: 'one', b: null } }
  assert.equal((await patch('bank', { transport: known })).status, 200)
  assert.deepEqual((await stored(made)).spec.transport, http('https://new.test/mcp', { headers: { a: 'one' } }))
  const child = await register(stdio('uvx', ['a'], env({ TOKEN: 'x' })), 'admin', { slug: 'child' })
  assert.equal(child.status, 201)
  assert.deepEqual(places(await patch('child', { transport: { args: ['evil'] } })), ['/transport/env/TOKEN'])
})

// --- changes

test('a patch changes what it names, null removes, and what it makes must still be an upstream', async () => {
  await register(http('https://p.test/mcp'), 'admin', {
    slug: 'patchy',
    title: 'P',
    tools: { x: { hide: true, title: 'X' } },
  })
  const changed = await patch('patchy', {
    title: null,
    validate: 'both',
    tools: { x: { title: null }, y: { name: 'why' } },
  })
  assert.equal(changed.status, 200, changed.text)
  assert.equal(changed.body.title, null)
  assert.equal(changed.body.validate, 'both')
  assert.deepEqual(changed.body.tools, { x: { hide: true }, y: { name: 'why' } })
  assert.equal(changed.headers.etag, '"v2"')
  assert.equal((await patch('patchy', { transport: null })).body.errors[0].at, '/transport')
  assert.equal((await patch('patchy', { transport: { urls: null } })).body.errors[0].at, '/transport/urls')
  assert.equal((await patch('patchy', { id: 'x' })).body.errors[0].at, '/id')
  const other = await patch('patchy', { slug: 'renamed' })
  assert.equal(other.body.slug, 'renamed')
  assert.equal((await rest.ask('GET', '/v1/upstreams/patchy')).status, 404)
})

test('a transport of another kind replaces the old one', async () => {
  await register(http('https://k.test/mcp', { headers: { a: 'x' } }), 'operator', { slug: 'kind' })
  const changed = await patch('kind', { transport: { kind: 'stdio', command: 'tool' } }, 'operator')
  assert.deepEqual(changed.body.transport, { kind: 'stdio', command: 'tool' })
})

test('of two changes of the same version one wins', async () => {
  await register(http('https://race.test/mcp'), 'admin', { slug: 'race' })
  const answers = await Promise.all(['a', 'b', 'c'].map((title) => patch('race', { title }, 'admin', '"v1"')))
  assert.deepEqual(answers.map(({ status }) => status).sort(), [200, 412, 412])
})

test('an upstream that a virtual server uses is not removed', async () => {
  const { body } = await register(http('https://used.test/mcp'), 'admin', { slug: 'used' })
  const server = await rest.ask('POST', '/v1/servers', { body: { slug: 'user', members: [{ upstream: 'used' }] } })
  const refused = await rest.ask('DELETE', '/v1/upstreams/used', { headers: { 'if-match': '*' } })
  assert.equal(refused.body.code, 'CONFLICT')
  assert.match(refused.body.detail, /user/)
  assert.equal((await patch('used', { slug: 'used-2' })).status, 200, 'a member is known by its id')
  assert.equal((await rest.ask('GET', '/v1/servers/user')).body.members[0].upstream, 'used-2')
  await rest.ask('DELETE', `/v1/servers/${server.body.id}`, { headers: { 'if-match': '*' } })
  assert.equal((await rest.ask('DELETE', `/v1/upstreams/${body.id}`, { headers: { 'if-match': '"v2"' } })).status, 204)
})

test('a slug that a file names as a member is not changed', async () => {
  await register(http('https://named.test/mcp'), 'admin', { slug: 'named' })
  const spec = { members: [{ upstream: 'named' }] }
  await rest.store.insertVirtualServer({ slug: 'by-file', spec, origin: 'file', originRef: 'gateway.yaml:9' })
  assert.equal((await patch('named', { slug: 'unnamed' })).body.code, 'CONFLICT')
})

// --- state and views

test('the state is the one of now; the row of a disabled upstream says disabled', async () => {
  const { body } = await register(http('https://st.test/mcp'), 'admin', { slug: 'stately' })
  const nextRetryMs = rest.clock.now() + 4_000
  rest.discoverer.set(body.id, 'down', { code: 'UPSTREAM_UNAVAILABLE', message: 'refused', attempts: 3, nextRetryMs })
  const { state } = (await rest.ask('GET', '/v1/upstreams/stately')).body
  assert.deepEqual(state, {
    state: 'down',
    since: new Date(rest.clock.now()).toISOString(),
    code: 'UPSTREAM_UNAVAILABLE',
    message: 'refused',
    attempts: 3,
    nextRetryAt: new Date(nextRetryMs).toISOString(),
  })
  assert.equal((await patch('stately', { enabled: false })).body.state.state, 'disabled')
  const refused = await rest.ask('POST', '/v1/upstreams/stately/refresh')
  assert.equal(refused.body.code, 'CONFLICT')
})

test('refresh asks the discoverer, and waits for it when asked to', async () => {
  const { body } = await register(http('https://re.test/mcp'), 'admin', { slug: 'again' })
  const at = rest.discoverer.refreshed.length
  assert.equal((await rest.ask('POST', '/v1/upstreams/again/refresh')).status, 202)
  const row = (await rest.store.upstream('again'))!
  await rest.discover(row, [tool('new')])
  const waited = await rest.ask('POST', '/v1/upstreams/again/refresh?wait=5s')
  assert.equal(waited.status, 200)
  assert.deepEqual(waited.body.discovery.counts, { tools: 1, prompts: 0, resources: 0, templates: 0 })
  assert.deepEqual(rest.discoverer.refreshed.slice(at), [body.id, body.id])
})

test('a refresh that takes longer than the wait goes on by itself', async () => {
  await register(http('https://long.test/mcp'), 'admin', { slug: 'long' })
  const { refresh } = rest.discoverer
  rest.discoverer.refresh = () => new Promise(() => {})
  const answer = await rest.ask('POST', '/v1/upstreams/long/refresh?wait=5ms')
  rest.discoverer.refresh = refresh
  assert.equal(answer.status, 200)
  assert.equal(answer.body.state.state, 'connecting')
})

test('include= adds standard error, processes and shadowed names', async () => {
  const first = await rest.upstream('first-in')
  await rest.discover(first, [resource('shared:1')])
  rest.clock.forward(1)
  const row = await rest.upstream('looked-at')
  await rest.discover(row, [resource('shared:1')])
  rest.children.push({
    id: 'child-1',
    upstreamId: row.id,
    owner: '0123456789abcdef',
    pid: 42,
    startedMs: rest.clock.now(),
    lastUsedMs: rest.clock.now(),
    stderr: 'warming up\n',
    dropped: 2,
    unset: ['memory: no cgroup'],
  })
  const plain = (await rest.ask('GET', '/v1/upstreams/looked-at')).body
  for (const member of ['stderr', 'children', 'shadowed']) assert.equal(member in plain, false)
  const { body } = await rest.ask('GET', '/v1/upstreams/looked-at?include=stderr,children,shadowed')
  assert.equal(body.stderr, 'warming up\n')
  assert.equal(body.children[0].pid, 42)
  assert.equal(body.children[0].owner, '01234567', 'no whole id of a caller or session')
  assert.deepEqual(body.shadowed, [{ kind: 'resource', name: 'shared:1', upstream: 'looked-at', owner: 'first-in' }])
  for (const bad of ['all', 'stderr,', 'stderr,stderr,stderr,stderr'])
    assert.equal((await rest.ask('GET', `/v1/upstreams/looked-at?include=${bad}`)).body.errors[0].at, '?include')
})

test('pages: every item once, in order, whatever is added or removed meanwhile', async () => {
  const all = (await rest.store.upstreams()).map(({ slug }) => slug).sort()
  const seen: string[] = []
  let cursor: string | null = null
  do {
    const next: string = cursor === null ? '' : `&cursor=${encodeURIComponent(cursor)}`
    const { body } = await rest.ask('GET', `/v1/upstreams?limit=7${next}`)
    assert.ok(body.items.length <= 7)
    seen.push(...body.items.map(({ slug }: { slug: string }) => slug))
    cursor = body.nextCursor
    // Both lie before the cursor: an offset would now repeat one or leave one out.
    if (seen.length === 14) await rest.upstream('000')
    if (seen.length === 21) await rest.ask('DELETE', `/v1/upstreams/${seen[0]}`, { headers: { 'if-match': '*' } })
  } while (cursor !== null)
  assert.deepEqual(seen, all)
})

test('a cursor of another list, of another filter, or made up, is refused', async () => {
  const { nextCursor } = (await rest.ask('GET', '/v1/upstreams?limit=1')).body
  assert.equal((await rest.ask('GET', `/v1/tokens?limit=1&cursor=${nextCursor}`)).body.code, 'INVALID_CURSOR')
  for (const cursor of ['x', 'e30', `${nextCursor}A`, nextCursor.slice(0, -2), '%00'])
    assert.equal((await rest.ask('GET', `/v1/upstreams?cursor=${cursor}`)).body.code, 'INVALID_CURSOR', cursor)
  for (const limit of ['0', '1001', '-1', '1.5', 'x', '', '1e2', '0x10', '9'.repeat(20)])
    assert.equal((await rest.ask('GET', `/v1/upstreams?limit=${limit}`)).body.errors[0].at, '?limit', limit)
})
