import assert from 'node:assert/strict'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { type Answers, type Asked, startFakeGateway } from '../../test/fakes/fake-gateway.ts'
import type { Surroundings } from './gateway.ts'
import { run } from './program.ts'
import type { Start } from './up.ts'

const NOW = Date.parse('2026-11-22T12:00:00.000Z')
const room = mkdtempSync(join(tmpdir(), 'mcp-gateway-cli-'))
after(() => rmSync(room, { recursive: true, force: true }))

interface Ran {
  readonly exit: number
  readonly out: string
  readonly err: string
}

const noStart: Start = () => assert.fail('nothing is started here')

async function cli(
  words: readonly string[],
  surroundings: Partial<Surroundings> = {},
  columns: number | null = null,
): Promise<Ran> {
  let out = ''
  let err = ''
  const exit = await run(
    words,
    {
      terminal: { out: (text) => (out += text), err: (text) => (err += text), columns, colour: false, live: false },
      surroundings: {
        url: null,
        token: null,
        dataDirectory: join(room, 'nothing-here'),
        workingDirectory: room,
        proxyVariables: [],
        ...surroundings,
      },
      version: '1.2.3',
      typed: 'mcp-gateway',
      now: () => NOW,
    },
    noStart,
  )
  return { exit, out, err }
}

async function against(
  answers: Answers,
  words: readonly string[],
  columns: number | null = null,
): Promise<Ran & { asked: Asked[] }> {
  const gateway = await startFakeGateway(answers)
  try {
    const [command, ...rest] = words
    const all = [...command!.split(' '), '--url', gateway.url, '--token', 'secret', ...rest]
    return { ...(await cli(all, {}, columns)), asked: gateway.asked }
  } finally {
    await gateway.close()
  }
}

const ready = {
  id: 'u1',
  slug: 'weather',
  transport: { kind: 'http', urls: ['https://weather.example/mcp'] },
  state: { state: 'ready' },
  discovery: { era: 'modern', revision: '2026-07-28', counts: { tools: 2, prompts: 1, resources: 0, templates: 0 } },
  version: 7,
}
const down = {
  id: 'u2',
  slug: 'files',
  transport: { kind: 'stdio', command: 'npx', args: ['-y', 'a b'] },
  state: {
    state: 'down',
    code: 'UPSTREAM_UNAVAILABLE',
    message: 'files: exited with 1\n\u001b[31mboom',
    nextRetryAt: '2026-11-22T12:00:12.000Z',
  },
  discovery: null,
}

test('list shows a table and the trouble below it, with nothing that could steer a terminal', async () => {
  const { exit, out } = await against({ 'GET /v1/upstreams': { body: { items: [ready, down], nextCursor: null } } }, [
    'list',
  ])
  assert.equal(exit, 0)
  assert.equal(
    out,
    [
      'UPSTREAM  STATE  REVISION    TOOLS  PROMPTS  RESOURCES  AT',
      'weather   ready  2026-07-28      2        1          0  https://weather.example/mcp',
      "files     down   -               -        -          -  npx -y 'a b'",
      '',
      'files UPSTREAM_UNAVAILABLE exited with 1 \\u001b[31mboom; next try in 12 s',
      '',
    ].join('\n'),
  )
})

const STATUS = (more: object) => ({
  body: {
    configuration: {
      files: ['gateway.yaml'],
      ...{ appliedAt: '2026-11-22T11:00:00.000Z', refusedAt: null, faults: [], nextStart: [], ...more },
    },
  },
})

test('list and doctor say that the configuration files were refused, or wait for the next start', async () => {
  const answers = { 'GET /v1/upstreams': { body: { items: [] } }, 'GET /health': { body: {} } }
  const faults = [
    { at: 'gateway.yaml:3', message: 'upstreams.a.\u001burl must be a URL' },
    { at: 'mcp.json:1', message: 'is empty' },
  ]
  const refused = { ...answers, 'GET /v1/status': STATUS({ refusedAt: '2026-11-22T11:30:00.000Z', faults }) }
  const listed = await against(refused, ['list'])
  assert.match(listed.out, /refused; what was applied before is in force:\ngateway\.yaml:3: upstreams\.a\.\\u001burl/)
  assert.match(listed.out, /\nmcp\.json:1: is empty\n/)
  const examined = await against(refused, ['doctor'])
  assert.match(examined.out, /fail {2}files +refused at 2026-11-22T11:30:00\.000Z: gateway\.yaml:3: .* and 1 more;/)
  assert.equal(examined.exit, 1)
  const waits = await against({ ...answers, 'GET /v1/status': STATUS({ nextStart: ['server.port'] }) }, ['doctor'])
  assert.match(waits.out, /note {2}files +server\.port changed since the start/)
  const fine = await against({ ...answers, 'GET /v1/status': STATUS({}) }, ['doctor'])
  assert.match(fine.out, /ok {4}files +gateway\.yaml, read at 2026-11-22T11:00:00\.000Z/)
  assert.doesNotMatch((await against({ ...answers, 'GET /v1/status': STATUS({}) }, ['list'])).out, /refused/)
})

test('reload says what has changed, or every fault', async () => {
  const reload = (answer: object, ...more: string[]) => against({ 'POST /v1/reload': answer }, ['reload', ...more])
  const rows = [
    { kind: 'upstream', name: 'a', change: 'added' },
    { kind: 'server', name: 'b', change: 'removed' },
  ]
  const settings = [
    { name: 'telemetry.logLevel', takesEffect: 'at once' },
    { name: 'server.port', takesEffect: 'next start' },
  ]
  const body = { files: ['gateway.yaml', 'mcp.json'], rows, settings }
  const changed = await reload({ body })
  assert.equal(
    changed.out,
    `gateway.yaml, mcp.json applied
  + upstream a added
  - virtual server b removed
  ~ telemetry.logLevel in force
  ! server.port changed: takes effect at the next start
`,
  )
  assert.deepEqual(JSON.parse((await reload({ body }, '--json')).out), body)
  const same = await reload({ body: { files: ['gateway.yaml'], rows: [], settings: [] } })
  assert.match(same.out, /nothing has changed/)
  const none = await reload({ body: { files: [], rows: [], settings: [] } })
  assert.match(none.out, /without --config and --mcp-json/)
  const errors = [{ at: 'gateway.yaml:2', message: 'is wrong' }]
  const problem = { code: 'CONFIG_REFUSED', detail: 'Nothing of it was applied', errors }
  const refused = await reload({ status: 409, body: problem })
  assert.equal(refused.exit, 1)
  assert.match(refused.err, /^gateway\.yaml:2: is wrong\nCONFIG_REFUSED {2}1 to correct; nothing was changed\n/)
  assert.equal((await reload({ status: 403, body: { code: 'FORBIDDEN', detail: 'no' } })).exit, 4)
})

test('list follows cursors and prints JSON', async () => {
  const { out, asked } = await against(
    {
      'GET /v1/upstreams': { body: { items: [ready], nextCursor: 'a/b' } },
      'GET /v1/upstreams?cursor=a%2Fb': { body: { items: [down] } },
    },
    ['list', '--json'],
  )
  assert.deepEqual(JSON.parse(out), [ready, down])
  assert.equal(asked[0]!.headers.authorization, 'Bearer secret')
})

test('tools passes its filters and cuts only for a terminal', async () => {
  const answers: Answers = {
    'GET /v1/tools': {
      body: {
        items: [
          {
            name: 'weather-forecast',
            upstream: 'weather',
            description: 'Tells the weather of the coming days, hour by hour, for one place.',
            inputSchema: { properties: { days: {}, city: {} }, required: ['city'] },
          },
        ],
      },
    },
  }
  const whole = await against(answers, ['tools', '--upstream', 'weather', '-q', 'rain & sun'])
  assert.equal(whole.asked[0]!.path, '/v1/tools?upstream=weather&q=rain+%26+sun')
  assert.match(
    whole.out,
    /^weather-forecast {2}city days\? {2}Tells the weather of the coming days, hour by hour, for one place\.$/m,
  )
  const narrow = await against(answers, ['tools'], 60)
  assert.match(narrow.out, /Tells the weather of the comi…$/m)
  assert.equal(Math.max(...narrow.out.split('\n').map((line) => line.length)), 60)
})

const calls: [name: string, answer: object, exit: number, out: string | RegExp, err: string | RegExp][] = [
  ['text', { result: { content: [{ type: 'text', text: 'a\nb' }] } }, 0, 'a\nb\n', ''],
  [
    'several kinds',
    {
      result: {
        content: [
          { type: 'text', text: 'see' },
          { type: 'image', mimeType: 'image/png', data: 'AAAA' },
          { type: 'resource_link', uri: 'file:///x', name: 'x' },
          { type: 'resource', resource: { uri: 'demo://y', text: 'why' } },
        ],
      },
    },
    0,
    'see\n[image image/png, 3 bytes; --json has it]\n[link file:///x x]\n[demo://y]\nwhy\n',
    '',
  ],
  ['structured only', { result: { content: [], structuredContent: { sum: 5 } } }, 0, '{\n  "sum": 5\n}\n', ''],
  [
    'isError',
    { result: { content: [{ type: 'text', text: 'no such city' }], isError: true } },
    1,
    'no such city\n',
    /^TOOL_FAILED/,
  ],
  [
    'refused by the gateway',
    {
      error: { code: -31013, message: 'weather did not answer in 60 s', data: { code: 'TIMEOUT', hint: 'Try again.' } },
    },
    1,
    '',
    'TIMEOUT  weather did not answer in 60 s\n  Try again.\n',
  ],
  [
    'forbidden',
    { error: { code: -31002, message: 'no', data: { code: 'FORBIDDEN' } } },
    4,
    '',
    /^FORBIDDEN {2}no\n {2}Ask an administrator/,
  ],
  ['error of the upstream', { error: { code: -32000, message: 'odd' } }, 1, '', 'JSON-RPC -32000  odd\n'],
  ['nothing that is JSON-RPC', [1], 1, '', /^NOT_A_GATEWAY/],
]
for (const [name, answer, exit, out, err] of calls) {
  test(`call: ${name}`, async () => {
    const body = Array.isArray(answer) ? answer : { jsonrpc: '2.0', id: 1, ...answer }
    const ran = await against({ 'POST /rpc': { body } }, ['call', 'weather-forecast', '{"city":"Bern"}'])
    assert.deepEqual(ran.asked[0]!.body, {
      jsonrpc: '2.0',
      id: 1,
      method: 'tools/call',
      params: { name: 'weather-forecast', arguments: { city: 'Bern' } },
    })
    assert.equal(ran.exit, exit)
    if (typeof out === 'string') assert.equal(ran.out, out)
    else assert.match(ran.out, out)
    if (typeof err === 'string') assert.equal(ran.err, err)
    else assert.match(ran.err, err)
  })
}

test('call: --json prints the result, --raw the whole answer', async () => {
  const result = { content: [{ type: 'text', text: 'sun' }] }
  const answers: Answers = { 'POST /rpc': { body: { jsonrpc: '2.0', id: 1, result } } }
  assert.deepEqual(JSON.parse((await against(answers, ['call', 't', '--json'])).out), result)
  assert.equal(
    (await against(answers, ['call', 't', '--raw'])).out,
    `${JSON.stringify({ jsonrpc: '2.0', id: 1, result })}\n`,
  )
})

test('a terminal is shown no escape sequence of a tool, a pipe gets the bytes', async () => {
  const answers: Answers = {
    'POST /rpc': {
      body: { jsonrpc: '2.0', id: 1, result: { content: [{ type: 'text', text: 'a\u001b]0;x\u0007\tb\n' }] } },
    },
  }
  assert.equal((await against(answers, ['call', 't'], 80)).out, 'a\\u001b]0;x\\u0007\tb\n\n')
  assert.equal((await against(answers, ['call', 't'])).out, 'a\u001b]0;x\u0007\tb\n\n')
})

test('add sends a URL with secrets left to the gateway, and says what it speaks', async () => {
  const ran = await against({ 'POST /v1/upstreams': { status: 201, body: ready } }, [
    'add',
    'https://weather.example/mcp',
    '--slug',
    'weather',
    '--header',
    'Authorization=env:WEATHER',
    '--header',
    'X-Plain=a=b',
  ])
  assert.equal(ran.exit, 0)
  assert.equal(ran.asked[0]!.path, '/v1/upstreams?wait=15000ms')
  assert.deepEqual(ran.asked[0]!.body, {
    slug: 'weather',
    transport: {
      kind: 'http',
      urls: ['https://weather.example/mcp'],
      headers: { Authorization: { env: 'WEATHER' }, 'X-Plain': 'a=b' },
    },
  })
  assert.match(ran.out, /Added weather .*\nIt speaks 2026-07-28: 2 tools, 1 prompt\./)
})

test('add sends a command as it stands behind the dashes, and fails when it is down', async () => {
  const ran = await against({ 'POST /v1/upstreams': { status: 201, body: down } }, [
    ...['add', '--wait', '0', '--env', 'KEY=env:KEY', '--cwd', '/srv', '--', 'npx', '-y', '--slug'],
  ])
  assert.equal(ran.exit, 1)
  assert.equal(ran.asked[0]!.path, '/v1/upstreams')
  assert.deepEqual(ran.asked[0]!.body, {
    transport: { kind: 'stdio', command: 'npx', args: ['-y', '--slug'], env: { KEY: { env: 'KEY' } }, cwd: '/srv' },
  })
  assert.match(ran.err, /^UPSTREAM_UNAVAILABLE {2}files is added but does not work yet: exited/)
})

const wrong: [name: string, words: string[], err: RegExp][] = [
  ['no such command', ['inspct'], /unknown command 'inspct'\n {2}Did you mean inspect\?/],
  ['no such option', ['list', '--nope'], /unknown option '--nope'/],
  ['a missing argument', ['remove'], /missing required argument 'slug'/],
  ['arguments that are no object', ['call', 't', '[1]'], /not a JSON object/],
  ['a URL without its scheme', ['add', 'localhost:3000/mcp'], /not an http or https URL/],
  ['an env for a URL', ['add', 'http://x/', '--env', 'A=B'], /--env is for a command/],
  ['a header without a value', ['add', 'http://x/', '--header', 'Authorization'], /NAME=VALUE/],
  ['an unknown right', ['token', 'create', 'x', '--right', 'root'], /"root" is not a right/],
  ['an unknown time', ['token', 'create', 'x', '--expires', 'soon'], /--expires soon/],
  ['an unknown client', ['client', 'emacs'], /"emacs" is not a client/],
  ['a URL of another kind', ['list', '--url', 'ftp://x'], /not an http or https URL/],
]
for (const [name, words, err] of wrong) {
  test(`usage: ${name}`, async () => {
    const ran = await cli(words, { url: 'http://127.0.0.1:9' })
    assert.equal(ran.exit, 2, ran.err)
    assert.match(ran.err, err)
    assert.ok(ran.err.trimEnd().split('\n').length <= 3, ran.err)
    assert.equal(ran.out, '')
  })
}

const refusals: [status: number, body: unknown, exit: number, err: RegExp][] = [
  [
    401,
    { code: 'UNAUTHENTICATED', title: 'A valid token is needed' },
    4,
    /^UNAUTHENTICATED {2}.*\n {2}The gateway does not know this token/,
  ],
  [
    403,
    { code: 'OPERATOR_ONLY', detail: 'Only an operator may start commands' },
    4,
    /^OPERATOR_ONLY {2}Only an operator may start/,
  ],
  [
    409,
    { code: 'CONFLICT', detail: 'taken', errors: [{ pointer: '/slug', message: 'is taken' }] },
    1,
    /^CONFLICT {2}taken; \/slug is taken/,
  ],
  [502, '<html>Bad gateway</html>', 1, /^NOT_A_GATEWAY .*HTTP 502/],
  [200, '<html>Hello</html>', 1, /^NOT_A_GATEWAY/],
]
for (const [status, body, exit, err] of refusals) {
  test(`a refusal of ${status} exits ${exit}: ${String(err)}`, async () => {
    const ran = await against({ 'GET /v1/upstreams': { status, body } }, ['list'])
    assert.equal(ran.exit, exit)
    assert.match(ran.err, err)
    const asJson = await against({ 'GET /v1/upstreams': { status, body } }, ['list', '--json'])
    assert.equal(typeof JSON.parse(asJson.err).error.code, 'string')
  })
}

test('no gateway: exit 3 with what to do', async () => {
  const none = await cli(['list'])
  assert.equal(none.exit, 3)
  assert.match(none.err, /^NOT_REACHABLE {2}No gateway is running here/)
  const closed = await startFakeGateway({})
  await closed.close()
  const ran = await cli(['list', '--url', closed.url])
  assert.equal(ran.exit, 3)
  assert.match(ran.err, /ECONNREFUSED/)
})

test('a data directory names the gateway; its token goes nowhere else', async () => {
  const answers: Answers = { 'GET /v1/upstreams': { body: { items: [] } } }
  const own = await startFakeGateway(answers)
  const foreign = await startFakeGateway(answers)
  const data = join(room, '.data')
  mkdirSync(data)
  writeFileSync(join(data, 'gateway.json'), JSON.stringify({ pid: 1, url: own.url }))
  writeFileSync(join(data, 'token'), 'operator\n')
  const bearer = async (words: string[], surroundings: Partial<Surroundings> = {}): Promise<(string | undefined)[]> => {
    const before = own.asked.length + foreign.asked.length
    assert.equal((await cli(['list', ...words], surroundings)).exit, 0)
    // The upstreams, and whether the configuration files were refused.
    assert.equal(own.asked.length + foreign.asked.length, before + 2)
    return [own, foreign].map((one) => one.asked.splice(0).at(-1)?.headers.authorization)
  }
  try {
    const there = { dataDirectory: join(room, 'elsewhere') }
    assert.deepEqual(await bearer([], there), ['Bearer operator', undefined], './.data is found')
    assert.deepEqual(await bearer([], { workingDirectory: '/', dataDirectory: data }), ['Bearer operator', undefined])
    assert.deepEqual(await bearer(['--data', data], { url: foreign.url, token: 'x' }), ['Bearer operator', undefined])
    assert.deepEqual(await bearer(['--url', own.url]), ['Bearer operator', undefined])
    assert.deepEqual(await bearer(['--token', 'mine']), ['Bearer mine', undefined])
    const away = await cli(['list', '--url', foreign.url])
    assert.equal(away.exit, 0)
    assert.equal(foreign.asked.at(-1)!.headers.authorization, undefined)
    foreign.asked.length = 0
  } finally {
    rmSync(data, { recursive: true })
    await own.close()
    await foreign.close()
  }
})

test('token create prints the text alone on standard output', async () => {
  const made = { id: 't1', name: 'ci', rights: ['use', 'admin'], token: 'mgw_abc' }
  const ran = await against({ 'POST /v1/tokens': { status: 201, body: made } }, [
    'token create',
    'ci',
    '--right',
    'use',
    '--right',
    'admin',
    '--expires',
    '30d',
  ])
  assert.equal(ran.exit, 0)
  assert.equal(ran.out, 'mgw_abc\n')
  assert.deepEqual(ran.asked[0]!.body, { name: 'ci', rights: ['use', 'admin'], expiresAt: '2026-12-22T12:00:00.000Z' })
})

test('client makes a token of its own from a data directory, and uses a named one as it is', async () => {
  const gateway = await startFakeGateway({
    'GET /v1/tokens': { body: { items: [{ name: 'cursor' }] } },
    'POST /v1/tokens': ({ body }) => ({ status: 201, body: { id: 't', ...(body as object), token: 'mgw_new' } }),
    'GET /v1/servers/research': { body: { slug: 'research' } },
  })
  const data = join(room, 'client-data')
  mkdirSync(data)
  writeFileSync(join(data, 'gateway.json'), JSON.stringify({ pid: 1, url: gateway.url }))
  writeFileSync(join(data, 'token'), 'operator')
  try {
    const own = await cli(['client', 'cursor', '--server', 'research', '--data', data])
    assert.deepEqual(JSON.parse(own.out), {
      mcpServers: {
        gateway: { url: `${gateway.url}/servers/research/mcp`, headers: { Authorization: 'Bearer mgw_new' } },
      },
    })
    assert.match(own.err, /new token "cursor-2" may use tools/)
    assert.ok(!own.out.includes('operator'))
    assert.deepEqual(gateway.asked.find(({ method }) => method === 'POST')!.body, { name: 'cursor-2', rights: ['use'] })
    const older = await cli(['client', 'vscode', '--sse', '--server', 'research', '--data', data, '--token', 'mine'])
    assert.deepEqual(JSON.parse(older.out), {
      servers: {
        gateway: {
          ...{ type: 'sse', url: `${gateway.url}/servers/research/sse` },
          headers: { Authorization: 'Bearer mine' },
        },
      },
    })
    const given = await cli(['client', 'codex', '--data', data, '--token', 'mine'])
    assert.match(
      given.out,
      /^\[mcp_servers\.gateway\]\nurl = ".*\/mcp"\nhttp_headers = \{ "Authorization" = "Bearer mine" \}\n$/,
    )
  } finally {
    await gateway.close()
  }
})

test('remove names the version that it saw', async () => {
  const ran = await against(
    { 'GET /v1/upstreams/weather': { body: ready }, 'DELETE /v1/upstreams/weather': { status: 204 } },
    ['remove', 'weather'],
  )
  assert.equal(ran.exit, 0, ran.err)
  assert.equal(ran.asked[1]!.headers['if-match'], '"v7"')
  assert.equal(ran.out, 'Removed weather.\n')
})

test('inspect shows state, what was skipped and shadowed, processes and standard error', async () => {
  const { out, asked } = await against(
    {
      'GET /v1/upstreams/files': {
        body: {
          ...down,
          discovery: {
            ...ready.discovery,
            skipped: [{ kind: 'tool', name: 'bad', reason: 'inputSchema is no object' }],
          },
          shadowed: [{ kind: 'resource', name: 'demo://x', owner: 'weather' }],
          children: [
            {
              ...{ pid: 42, owner: 'shared', dropped: 3, unset: ['memory: no cgroup'] },
              ...{ startedAt: '2026-11-22T11:57:00.000Z', lastUsedAt: '2026-11-22T11:59:58.000Z' },
            },
          ],
          stderr: 'starting\u001b[2J\n\n',
        },
      },
    },
    ['inspect', 'files'],
  )
  assert.equal(asked[0]!.path, '/v1/upstreams/files?include=stderr,children,shadowed')
  for (const expected of [
    /^trouble +UPSTREAM_UNAVAILABLE exited with 1 \\u001b\[31mboom; next try in 12 s$/m,
    /^tool +bad +inputSchema is no object$/m,
    /^resource +demo:\/\/x +weather$/m,
    /^ 42 {2}shared {2}3 min ago {2}2 s ago +3 {2}memory: no cgroup$/m,
    /^ {2}starting\\u001b\[2J$/m,
  ]) {
    assert.match(out, expected)
  }
})

test('doctor says what is wrong with each upstream and fails', async () => {
  const ran = await against(
    {
      'GET /health': { body: { status: 'ok' }, headers: { date: new Date(NOW).toUTCString() } },
      'GET /v1/upstreams': { body: { items: [ready, down] } },
    },
    ['doctor'],
  )
  assert.equal(ran.exit, 1)
  assert.match(ran.out, /^ok +gateway +answers at/m)
  assert.match(ran.out, /^ok +clock/m)
  assert.match(ran.out, /^ok +token +accepted/m)
  assert.match(ran.out, /^ok +weather +ready, 2 tools, 1 prompt/m)
  assert.match(ran.out, /^fail +files +down: UPSTREAM_UNAVAILABLE/m)
})

test('doctor tells a clock that is off, a token that is refused and a proxy that is not used', async () => {
  const gateway = await startFakeGateway({
    'GET /health': { body: {}, headers: { date: new Date(NOW - 300_000).toUTCString() } },
    'GET /v1/upstreams': { status: 401, body: { code: 'UNAUTHENTICATED', detail: 'unknown token' } },
  })
  const ran = await cli(['doctor', '--json', '--url', gateway.url, '--token', 'x'], { proxyVariables: ['HTTP_PROXY'] })
  await gateway.close()
  const findings = JSON.parse(ran.out) as { about: string; verdict: string }[]
  const verdict = (about: string): string | undefined => findings.find((finding) => finding.about === about)?.verdict
  assert.deepEqual([verdict('clock'), verdict('token'), verdict('proxy')], ['fail', 'fail', 'note'])
  assert.equal(ran.exit, 1)
})

test('doctor without a gateway names who holds the port', async () => {
  const taken = await startFakeGateway({})
  const port = new URL(taken.url).port
  const ran = await cli(['doctor', '--port', port])
  await taken.close()
  assert.equal(ran.exit, 1)
  assert.match(ran.out, new RegExp(`^fail +port +${port} is taken by `, 'm'))
  if (process.platform === 'linux') assert.match(ran.out, new RegExp(`\\(pid ${process.pid}\\)`))
})

test('help shows eight commands, help all every one', async () => {
  const names = (text: string): string[] => [...text.matchAll(/^ {2}([a-z]+) {2,}\S/gm)].map((match) => match[1]!)
  const first = await cli(['--help'])
  assert.equal(first.exit, 0)
  assert.deepEqual(names(first.out), ['up', 'add', 'list', 'tools', 'call', 'inspect', 'client', 'doctor'])
  const all = await cli(['help', 'all'])
  assert.deepEqual(names(all.out), [...names(first.out), 'dev', 'remove', 'reload', 'token', 'stdio', 'wrap'])
  assert.match((await cli(['help', 'call'])).out, /Usage: mcp-gateway call/)
  assert.equal((await cli(['help', 'nope'])).exit, 2)
  assert.equal((await cli([])).out, first.out)
  assert.equal((await cli(['--version'])).out, '1.2.3\n')
})
