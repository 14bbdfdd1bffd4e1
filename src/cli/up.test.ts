import assert from 'node:assert/strict'
import { test } from 'node:test'
import { GatewayError } from '../core/errors.ts'
import { run } from './program.ts'
import type { Running, Start, UpFlags, UpstreamSummary } from './up.ts'

const NOW = 1_000_000

async function up(words: string[], start: Start): Promise<{ exit: number; out: string; err: string }> {
  let out = ''
  let err = ''
  const exit = await run(
    ['up', ...words],
    {
      terminal: {
        out: (text) => (out += text),
        err: (text) => (err += text),
        columns: null,
        colour: false,
        live: false,
      },
      surroundings: { url: null, token: null, dataDirectory: '', workingDirectory: '', proxyVariables: [] },
      version: '1.2.3',
      typed: 'mcp-gateway',
      now: () => NOW,
    },
    start,
  )
  return { exit, out, err }
}

function running(upstreams: readonly UpstreamSummary[], token: string | null = 'mgw_a_b', exit = 0): Running {
  const settled = Promise.resolve(upstreams)
  return {
    url: 'http://127.0.0.1:4444',
    token,
    settled,
    stop: async () => {},
    reload: async () => {},
    onReload: () => {},
    restart: async () => null,
    observe: () => {},
    stopped: settled.then(() => new Promise((resolve) => setImmediate(resolve, exit))),
  }
}

const upstream = (slug: string, more: Partial<UpstreamSummary> = {}): UpstreamSummary => ({
  ...{
    slug,
    state: 'ready',
    revision: '2026-07-28',
    tools: 3,
    prompts: 1,
    resources: 0,
    message: null,
    nextRetryMs: null,
  },
  ...more,
})

test('says where it is at once, then how the upstreams are, and one line that calls a tool', async () => {
  const down = { state: 'down', revision: null, message: 'connect ECONNREFUSED\n\u001b[2J', nextRetryMs: NOW + 2_000 }
  const { exit, out } = await up(['--demo'], async () => running([upstream('demo'), upstream('weather', down)]))
  assert.equal(exit, 0)
  assert.equal(
    out,
    `mcp-gateway 1.2.3

  endpoint  http://127.0.0.1:4444/mcp
  token     mgw_a_b

  ready  demo     2026-07-28  3 tools, 1 prompt
  down   weather  connect ECONNREFUSED \\u001b[2J; next try in 2 s

Try it:
  curl -s http://127.0.0.1:4444/rpc -H 'Authorization: Bearer mgw_a_b' -H 'Content-Type: application/json' -d '{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"demo-add","arguments":{"a":2,"b":3}}}'

Connect a client: mcp-gateway client cursor (or vscode, claude-code …). Stop: Ctrl-C.
`,
  )
})

test('--json prints one object per line', async () => {
  const { out } = await up(['--json', '--open', '--demo'], async () => running([upstream('notes')], null))
  const [listening, settled] = out
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line))
  assert.deepEqual(
    [listening.event, listening.endpoint, listening.token],
    ['listening', 'http://127.0.0.1:4444/mcp', null],
  )
  assert.equal(settled.event, 'settled')
  assert.equal(settled.upstreams[0].slug, 'notes')
  assert.match(settled.curl, /^curl -s \S+\/rpc -H 'Content-Type: application\/json' -d '.*notes-remember/)
})

test('a line that calls a tool is printed only for the demo upstreams themselves', async () => {
  const { out } = await up([], async () => running([upstream('demo')]))
  assert.match(out, /^ {2}curl .*"method":"tools\/list"/m)
})

test('hands every flag on', async () => {
  let given: UpFlags | null = null
  const words = '--data d --host h --port 0 --workers auto --config c --mcp-json m --public-url p --log-level warn'
  await up([...words.split(' '), '--ready-timeout', '1s', '--open'], async (flags) => {
    given = flags
    return running([])
  })
  assert.deepEqual(given, {
    ...{ data: 'd', host: 'h', port: '0', workers: 'auto', config: 'c', mcpJson: 'm', publicUrl: 'p' },
    ...{ logLevel: 'warn', readyTimeout: '1s', open: true },
  })
})

test('a gateway that ends by a failure makes the command fail', async () => {
  assert.equal((await up([], async () => running([], null, 1))).exit, 1)
})

test('prints every fault of a configuration with its place', async () => {
  const faults = [
    { at: 'gateway.yaml:3', message: 'unknown key "prot"' },
    { at: 'gateway.yaml:8', message: 'not a URL' },
  ]
  const { exit, out, err } = await up([], () => {
    throw new GatewayError('CONFIG_INVALID', 'two faults', { faults })
  })
  assert.equal(exit, 2)
  assert.equal(out, '')
  assert.match(
    err,
    /^gateway\.yaml:3: unknown key "prot"\ngateway\.yaml:8: not a URL\nCONFIG_INVALID {2}2 to correct\n$/,
  )
})

test('names the port that is taken and what to do', async () => {
  const { exit, err } = await up([], () => {
    throw Object.assign(new Error('listen EADDRINUSE'), { code: 'EADDRINUSE', port: 4444 })
  })
  assert.equal(exit, 1)
  assert.match(
    err,
    /^PORT_TAKEN {2}Port 4444 is taken.*\n {2}Stop that, or use another port: mcp-gateway up --port 4445\n$/,
  )
})
