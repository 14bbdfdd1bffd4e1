// The middle of the data plane with an upstream that is a function: what goes out, what comes back, what is refused.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { CALLER, makeCall, makeGateway, resultText } from '../../test/fakes/call.ts'
import { prompt, registryRows, resource, serverRow, template, tool, upstreamRow } from '../../test/fakes/registry.ts'
import type { Call, Reply } from '../core/call.ts'
import { type ErrorCode, GatewayError } from '../core/errors.ts'
import type { Right } from '../core/policy.ts'
import type { RegistryRows } from '../ports/feed.ts'
import type { Outgoing } from '../upstream/upstream.ts'
import { createDispatch } from './dispatch.ts'

const schema = { type: 'object', properties: { text: { type: 'string' }, n: { type: 'integer' } }, required: ['text'] }
const ROWS = registryRows([
  {
    upstream: upstreamRow('old', { tools: { fixed: { fixed: { key: 'ours' } } } }),
    definitions: [
      tool('echo', { inputSchema: schema }),
      tool('fixed'),
      prompt('hi'),
      resource('a://1'),
      template('a://{x}/y'),
    ],
  },
  {
    upstream: upstreamRow('new', {}, { era: 'modern', revision: '2026-07-28', capabilities: { tools: {} } }),
    definitions: [tool('echo')],
  },
])
const OK: Reply = { result: Buffer.from('{"content":[]}') }

interface Rig {
  run(call: Call): Promise<string>
  sent: Outgoing[]
}

async function rig(rows: RegistryRows = ROWS, answer: () => Reply = () => OK): Promise<Rig> {
  const sent: Outgoing[] = []
  const gateway = await makeGateway(rows, (out) => {
    sent.push(out)
    return answer()
  })
  const dispatch = createDispatch(gateway)
  return {
    sent,
    async run(call) {
      try {
        return resultText(await dispatch(call))
      } catch (error) {
        if (error instanceof GatewayError) return error.code
        throw error
      }
    },
  }
}

const MODERN = { era: 'modern', revision: '2026-07-28' } as const

test('a tool call goes out under its own name with the very bytes of its arguments', async () => {
  const { run, sent } = await rig()
  const args = '{ "text":"x", "n":2, "big":12345678901234567890 }'
  assert.equal(
    await run(makeCall('tools/call', `{"name":"old-echo","arguments":${args},"_meta":{"progressToken":1}}`)),
    '{"content":[]}',
  )
  assert.equal(sent[0]!.params.toString(), `{"name":"echo","arguments":${args}}`)
  assert.deepEqual([sent[0]!.upstream.slug, sent[0]!.method, sent[0]!.name], ['old', 'tools/call', 'echo'])
})

test('fixed arguments are set by us, whatever the caller sends', async () => {
  const { run, sent } = await rig()
  await run(makeCall('tools/call', { name: 'old-fixed', arguments: { key: 'theirs', a: 1 } }))
  await run(makeCall('tools/call', { name: 'old-fixed' }))
  assert.deepEqual(
    sent.map(({ params }) => JSON.parse(params.toString()).arguments),
    [{ a: 1, key: 'ours' }, { key: 'ours' }],
  )
})

test('arguments that do not fit: a tool result for new revisions, an error for older ones', async () => {
  const { run, sent } = await rig()
  const params = { name: 'old-echo', arguments: { text: 7 } }
  const told = JSON.parse(await run(makeCall('tools/call', params)))
  assert.ok(told.isError && told.content[0].text.includes('/text'))
  assert.equal(JSON.parse(await run(makeCall('tools/call', params, MODERN))).resultType, 'complete')
  assert.equal(await run(makeCall('tools/call', params, { revision: '2025-06-18' })), 'INVALID_ARGUMENTS')
  assert.equal(await run(makeCall('tools/call', { name: 'old-echo', arguments: [] })), 'INVALID_PARAMS')
  assert.equal(sent.length, 0)
})

test('unknown names, methods of another era, wrong params', async () => {
  const { run } = await rig()
  const cases: [Call, string][] = [
    [makeCall('tools/call', { name: 'old-none' }), 'NOT_FOUND'],
    [makeCall('tools/call', { name: 7 }), 'INVALID_PARAMS'],
    [makeCall('tools/call'), 'INVALID_PARAMS'],
    [makeCall('prompts/get', { name: 'hi' }), 'NOT_FOUND'],
    [makeCall('tools/list', undefined, { scope: 'no-such-server' }), 'NOT_FOUND'],
    [makeCall('server/discover'), 'METHOD_NOT_FOUND'],
    [makeCall('initialize', {}, MODERN), 'METHOD_NOT_FOUND'],
    [makeCall('ping', {}, MODERN), 'METHOD_NOT_FOUND'],
    [makeCall('constructor'), 'METHOD_NOT_FOUND'],
    [makeCall('tools/list', { cursor: 'AAAA' }), 'INVALID_CURSOR'],
    [makeCall('tools/list', { cursor: 7 }), 'INVALID_CURSOR'],
    [makeCall('logging/setLevel', { level: 'loud' }), 'INVALID_PARAMS'],
    [makeCall('initialize', { protocolVersion: 7 }), 'INVALID_PARAMS'],
    [makeCall('completion/complete', { ref: 'x', argument: {} }), 'INVALID_PARAMS'],
    [
      makeCall('completion/complete', {
        ref: { type: 'ref/prompt', name: 'none' },
        argument: { name: 'a', value: '' },
      }),
      'NOT_FOUND',
    ],
    [makeCall('tools/list', undefined, { caller: { ...CALLER, rights: ['admin'] } }), 'FORBIDDEN'],
    [makeCall('tools/call', { name: 'old-echo' }, { caller: { ...CALLER, rights: [] } }), 'NOT_FOUND'],
  ]
  for (const [call, code] of cases) assert.equal(await run(call), code, `${call.method} ${call.params.bytes}`)
})

test('lists: older shape, newer shape with its caching hints, the same bytes the second time', async () => {
  const { run } = await rig()
  const older = JSON.parse(await run(makeCall('tools/list')))
  assert.deepEqual(
    older.tools.map(({ name }: { name: string }) => name),
    ['new-echo', 'old-echo', 'old-fixed'],
  )
  assert.deepEqual(Object.keys(older), ['tools'])
  const newer = JSON.parse(await run(makeCall('tools/list', {}, MODERN)))
  assert.deepEqual([newer.resultType, newer.cacheScope, typeof newer.ttlMs], ['complete', 'private', 'number'])
  assert.equal(JSON.parse(await run(makeCall('resources/templates/list'))).resourceTemplates.length, 1)
  assert.deepEqual(JSON.parse(await run(makeCall('resources/list'))).resources[0].uri, 'a://1')
})

test('a list of more than a page goes on where it ended, for this list only', async () => {
  const definitions = Array.from({ length: 2_500 }, (_, index) => tool(`t${String(index).padStart(4, '0')}`))
  const { run } = await rig(
    registryRows([{ upstream: upstreamRow('u'), definitions }], [serverRow('v', { members: [{ upstream: 'u' }] })]),
  )
  const seen: string[] = []
  let cursor: string | undefined
  let pages = 0
  do {
    const page = JSON.parse(await run(makeCall('tools/list', cursor === undefined ? {} : { cursor })))
    seen.push(...page.tools.map(({ name }: { name: string }) => name))
    cursor = page.nextCursor
    pages += 1
    if (pages === 1) {
      assert.equal(await run(makeCall('prompts/list', { cursor })), 'INVALID_CURSOR')
      assert.equal(await run(makeCall('tools/list', { cursor }, { scope: 'v' })), 'INVALID_CURSOR')
      const changed = `${cursor!.slice(0, -2)}${cursor!.endsWith('A') ? 'BB' : 'AA'}`
      assert.equal(await run(makeCall('tools/list', { cursor: changed })), 'INVALID_CURSOR')
    }
  } while (cursor !== undefined)
  assert.deepEqual([pages, seen.length, new Set(seen).size], [3, 2_500, 2_500])
})

test('nothing known of any upstream is not an empty list', async () => {
  const row = upstreamRow('u', {}, null)
  const rows = registryRows([{ upstream: row, definitions: [] }])
  const { run } = await rig(rows)
  assert.equal(await run(makeCall('tools/list')), 'UPSTREAM_NOT_READY')
  assert.equal(
    JSON.parse(await (await rig(registryRows([]))).run(makeCall('tools/list'))).tools.length,
    0,
    'no upstream at all is one',
  )
})

test('results cross the eras', async () => {
  const cases: [string, object, () => string, string][] = [
    ['old-echo', MODERN, () => '{"content":[]}', '{"resultType":"complete","content":[]}'],
    ['old-echo', MODERN, () => '{}', '{"resultType":"complete"}'],
    [
      'old-echo',
      MODERN,
      () => '{"resultType":"input_required","content":[]}',
      '{"resultType":"complete","content":[]}',
    ],
    ['old-echo', MODERN, () => '{"result\\u0054ype":"task","content":[]}', '{"resultType":"complete","content":[]}'],
    ['new-echo', MODERN, () => '{"resultType":"complete","content":[]}', '{"resultType":"complete","content":[]}'],
    ['new-echo', {}, () => '{"resultType":"complete","content":[]}', '{"resultType":"complete","content":[]}'],
    ['new-echo', {}, () => '{"resultType":"input_required","requestState":"x"}', 'UNSUPPORTED_BY_UPSTREAM'],
    [
      'new-echo',
      {},
      () => '{"resultType":"complete","content":[{"type":"text","text":"\\"input_required\\""}]}',
      '{"resultType":"complete","content":[{"type":"text","text":"\\"input_required\\""}]}',
    ],
  ]
  for (const [name, over, answer, wanted] of cases) {
    const { run } = await rig(ROWS, () => ({ result: Buffer.from(answer()) }))
    assert.equal(await run(makeCall('tools/call', { name, arguments: { text: 'x' } }, over)), wanted)
  }
  const { run } = await rig(ROWS, () => ({
    error: Buffer.from('{"code":-32002,"message":"gone","data":{"uri":"a://1"}}'),
  }))
  assert.equal(JSON.parse(await run(makeCall('resources/read', { uri: 'a://1' }, MODERN))).code, -32602)
  assert.equal(JSON.parse(await run(makeCall('resources/read', { uri: 'a://1' }))).code, -32002)
})

test('resources: listed, by template, unlisted where only one upstream can be meant', async () => {
  const { run, sent } = await rig()
  for (const uri of ['a://1', 'a://7/y', 'b://unlisted']) await run(makeCall('resources/read', { uri }))
  assert.deepEqual(
    sent.map(({ upstream, name }) => [upstream.slug, name]),
    [
      ['old', 'a://1'],
      ['old', 'a://7/y'],
      ['old', 'b://unlisted'],
    ],
  )
  const both = registryRows([
    { upstream: upstreamRow('a'), definitions: [] },
    { upstream: upstreamRow('b'), definitions: [] },
  ])
  assert.equal(await (await rig(both)).run(makeCall('resources/read', { uri: 'x://y' })), 'NOT_FOUND')
})

test('completion goes to the owner of the reference, under its own name', async () => {
  const { run, sent } = await rig()
  await run(
    makeCall('completion/complete', {
      ref: { type: 'ref/prompt', name: 'old-hi' },
      argument: { name: 'a', value: 'x' },
    }),
  )
  await run(
    makeCall('completion/complete', {
      ref: { type: 'ref/resource', uri: 'a://{x}/y' },
      argument: { name: 'x', value: '' },
    }),
  )
  assert.deepEqual(
    sent.map(({ params }) => JSON.parse(params.toString()).ref),
    [
      { type: 'ref/prompt', name: 'hi' },
      { type: 'ref/resource', uri: 'a://{x}/y' },
    ],
  )
})

test('initialize and server/discover say what the scope is', async () => {
  const server = serverRow('v', {
    title: 'V',
    instructions: 'Use it.',
    icons: [{ src: 'https://example.com/i.png' }],
    members: [{ upstream: 'new' }],
  })
  const { run } = await rig({ ...ROWS, virtualServers: [server] })
  const hello = { protocolVersion: '2025-06-18', capabilities: {}, clientInfo: { name: 'c', version: '1' } }
  const legacy = JSON.parse(await run(makeCall('initialize', hello, { scope: 'v' })))
  assert.deepEqual(
    [legacy.protocolVersion, legacy.instructions, legacy.serverInfo.title, legacy.serverInfo.icons.length],
    ['2025-06-18', 'Use it.', 'V', 1],
  )
  assert.deepEqual(Object.keys(legacy.capabilities), ['tools'])
  assert.equal(
    JSON.parse(await run(makeCall('initialize', { ...hello, protocolVersion: '2099-01-01' }))).protocolVersion,
    '2025-11-25',
  )
  const modern = JSON.parse(await run(makeCall('server/discover', {}, { ...MODERN, scope: 'v' })))
  assert.equal(modern.instructions, 'Use it.')
  assert.ok(modern.supportedVersions.includes('2026-07-28'))
  assert.equal(modern._meta['io.modelcontextprotocol/serverInfo'].title, 'V')
})

test('Mcp-Param headers: checked on the way in, made anew on the way out', async () => {
  const inputSchema = {
    type: 'object',
    properties: { region: { type: 'string', 'x-mcp-header': 'Region' }, n: { type: 'integer', 'x-mcp-header': 'N' } },
  }
  const rows = registryRows([
    {
      upstream: upstreamRow('u', {}, { era: 'modern', revision: '2026-07-28' }),
      definitions: [tool('t', { inputSchema })],
    },
  ])
  const { run, sent } = await rig(rows)
  const call = (args: object, paramHeaders: Record<string, string>): Promise<string> =>
    run(makeCall('tools/call', { name: 'u-t', arguments: args }, { ...MODERN, paramHeaders }))
  assert.equal(
    await call(
      { region: 'é', n: 42 },
      { 'mcp-param-region': '=?base64?w6k=?=', 'mcp-param-n': '42.0', 'mcp-param-other': 'o' },
    ),
    '{"content":[]}',
  )
  assert.deepEqual(sent[0]!.paramHeaders, [
    'mcp-param-region',
    '=?base64?w6k=?=',
    'mcp-param-n',
    '42',
    'mcp-param-other',
    'o',
  ])
  assert.equal(await call({ region: 'x' }, {}), 'HEADER_MISMATCH')
  assert.equal(await call({ region: 'x' }, { 'mcp-param-region': 'y' }), 'HEADER_MISMATCH')
  assert.equal(await call({}, { 'mcp-param-region': 'y' }), 'HEADER_MISMATCH')
  assert.equal(await call({}, {}), '{"content":[]}')
})

test('results are checked where the tool wants it', async () => {
  const outputSchema = { type: 'object', properties: { n: { type: 'integer' } }, required: ['n'] }
  const rows = registryRows([
    { upstream: upstreamRow('u', { validate: 'both' }), definitions: [tool('t', { outputSchema })] },
  ])
  const answered = async (result: object, over: object = {}): Promise<string> =>
    (await rig(rows, () => ({ result: Buffer.from(JSON.stringify(result)) }))).run(
      makeCall('tools/call', { name: 'u-t' }, over),
    )
  assert.equal(JSON.parse(await answered({ content: [], structuredContent: { n: 1 } })).structuredContent.n, 1)
  assert.equal(JSON.parse(await answered({ content: [], structuredContent: { n: 'x' } })).isError, true)
  assert.equal(JSON.parse(await answered({ content: [] })).isError, true)
  assert.equal(JSON.parse(await answered({ content: [], isError: true })).content.length, 0)
  assert.equal(await answered({ content: [] }, { revision: '2025-06-18' }), 'INVALID_RESULT')
})

test('who may not see the registry hears which upstream failed and how, and nothing of its inside', async () => {
  const secret = 'Connecting to 10.1.2.3:8080 failed; the process exited with code 1: password=hunter2'
  let code: ErrorCode = 'UPSTREAM_UNAVAILABLE'
  const gateway = await makeGateway(ROWS, () => {
    throw new GatewayError(code, `old: ${secret}`, { retryAfterSeconds: 7, data: { inner: secret } })
  })
  const dispatch = createDispatch(gateway)
  const told = async (rights: Right[], method: string, params: object): Promise<GatewayError> => {
    const error = await dispatch(makeCall(method, params, { caller: { ...CALLER, rights } })).catch((thrown) => thrown)
    assert.ok(error instanceof GatewayError)
    return error
  }
  const asked: [string, object][] = [
    ['tools/call', { name: 'old-echo', arguments: { text: 'a' } }],
    ['prompts/get', { name: 'old-hi' }],
    ['resources/read', { uri: 'a://1' }],
  ]
  for (const inside of ['UPSTREAM_UNAVAILABLE', 'UPSTREAM_INVALID', 'ADDRESS_REFUSED', 'CONFIG_INVALID'] as const) {
    code = inside
    for (const [method, params] of asked) {
      const error = await told(['use'], method, params)
      assert.equal(error.code, inside)
      assert.match(error.message, /^old: [a-z][^:]+$/)
      assert.deepEqual([error.options.retryAfterSeconds, error.options.data], [7, undefined])
      assert.match((await told(['use', 'admin'], method, params)).message, /hunter2/)
    }
  }
})
