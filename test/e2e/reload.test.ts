// Configuration files that change under a running gateway: applied whole or refused whole, without losing a call.

import assert from 'node:assert/strict'
import { mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { type Program, startProgram, waitFor } from '../fakes/process.ts'
import { COMMANDS, eventually, startStateful } from './fixtures.ts'
import { BIN, type RunningGateway, startGateway } from './gateway.ts'

interface Status {
  readonly configuration: {
    readonly files: readonly string[]
    readonly refusedAt: string | null
    readonly faults: readonly { readonly at: string; readonly message: string }[]
    readonly nextStart: readonly string[]
  }
}
interface Upstream {
  readonly slug: string
  readonly origin: string
  readonly originRef: string | null
  readonly state: { readonly state: string }
}
interface Reloaded {
  readonly rows: readonly { readonly name: string; readonly change: string }[]
  readonly settings: readonly { readonly name: string; readonly takesEffect: string }[]
}
type Reply = { result?: { content: { text: string }[]; structuredContent?: object; isError?: boolean }; error?: object }

const folder = mkdtempSync(join(tmpdir(), 'mcp-gateway-reload-'))
const mcpJson = join(folder, 'mcp.json')
const secret = join(folder, 'secret')
const stdio = { command: COMMANDS.stateful.command, args: COMMANDS.stateful.args }
let one: Program & { readonly url: string }
let two: Program & { readonly url: string }

before(
  async () => {
    ;[one, two] = await Promise.all([startStateful(), startStateful()])
  },
  { timeout: 60_000 },
)
after(async () => {
  await Promise.all([one?.stop(), two?.stop()])
  rmSync(folder, { recursive: true, force: true })
})

async function start(t: { after(end: () => unknown): void }, config: object, args: string[] = [], ready = ['state']) {
  const gateway = await startGateway({ yaml: JSON.stringify({ version: 1, ...config }), args, ready })
  t.after(() => gateway.stop())
  const file = join(gateway.data, 'gateway.yaml')
  /** As an editor does it. */
  const write = (next: object | string): void => {
    const text = typeof next === 'string' ? next : JSON.stringify({ version: 1, ...next }, null, 1)
    writeFileSync(`${file}.new`, text)
    renameSync(`${file}.new`, file)
  }
  return { gateway, file, write }
}

async function callTool(gateway: RunningGateway, name: string, args: object = {}): Promise<Reply> {
  const body = { jsonrpc: '2.0', id: 1, method: 'tools/call', params: { name, arguments: args } }
  return (await gateway.api<Reply>('POST', '/rpc', body)).body
}
const textOf = (reply: Reply): string => reply.result?.content[0]?.text ?? JSON.stringify(reply)

async function upstreams(gateway: RunningGateway): Promise<Upstream[]> {
  return (await gateway.api<{ items: Upstream[] }>('GET', '/v1/upstreams')).body.items
}
const untilSlugs = (gateway: RunningGateway, slugs: string[]): Promise<Upstream[]> =>
  eventually(`the upstreams ${slugs}`, async () => {
    const found = await upstreams(gateway)
    const isThere =
      found
        .map(({ slug }) => slug)
        .sort()
        .join() === slugs.sort().join()
    return isThere && found.every(({ state }) => state.state === 'ready') ? found : null
  })
const statusOf = async (gateway: RunningGateway): Promise<Status['configuration']> =>
  (await gateway.api<Status>('GET', '/v1/status')).body.configuration

for (const [kind, before, after] of [
  ['HTTP', () => ({ url: one.url }), () => ({ url: two.url })],
  ['stdio', () => stdio, () => ({ ...stdio, env: { CHANGED: 'yes' } })],
] as const) {
  test(`${kind}: add, change and remove an upstream while slow calls run on what was there before`, {
    timeout: 120_000,
  }, async (t) => {
    const { gateway, write } = await start(t, { upstreams: { state: before() } })
    const slow = (): Promise<Reply> => callTool(gateway, 'state-slow', { steps: 250 })
    const first = slow()
    await new Promise((resolve) => setTimeout(resolve, 500))
    write({ upstreams: { state: before(), more: { url: two.url } } })
    await untilSlugs(gateway, ['state', 'more'])
    write({ upstreams: { state: after(), more: { url: two.url } } })
    await eventually('the change', async () => (gateway.logs().includes('upstream state changed') ? true : null))
    await untilSlugs(gateway, ['state', 'more'])
    const second = slow()
    await new Promise((resolve) => setTimeout(resolve, 500))
    write({ upstreams: { more: { url: two.url } } })
    await untilSlugs(gateway, ['more'])
    assert.ok((await callTool(gateway, 'state-echo', { text: 'x' })).error, 'it is gone for new calls')
    assert.equal(textOf(await first), '250 steps')
    assert.equal(textOf(await second), '250 steps')
  })
}

test('a faulty file is refused whole with its lines, a clash too, and what was there stays', {
  timeout: 120_000,
}, async (t) => {
  const { gateway, file, write } = await start(t, { upstreams: { state: { url: one.url } } })
  const taken = { slug: 'taken', transport: { kind: 'http', urls: [two.url] } }
  assert.equal((await gateway.api('POST', '/v1/upstreams?wait=15s', taken)).status, 201)
  write('version: 1\nupstreams:\n  new: { url: 5 }\n  other: { urk: x }\nserver: { port: no }\n')
  const faults = await eventually('the refusal', async () => {
    const { faults } = await statusOf(gateway)
    return faults.length > 0 ? faults : null
  })
  assert.deepEqual([...new Set(faults.map(({ at }) => at))], [`${file}:3`, `${file}:4`, `${file}:5`])
  assert.match(gateway.logs(), /refused, nothing was changed:\n/)
  await untilSlugs(gateway, ['state', 'taken'])
  write({ upstreams: { state: { url: one.url }, fine: { url: two.url }, taken: { url: two.url } } })
  const refused = await gateway.api<{ code: string; errors: { at: string; message: string }[] }>('POST', '/v1/reload')
  assert.deepEqual([refused.status, refused.body.code], [409, 'CONFIG_REFUSED'])
  assert.equal(refused.body.errors.length, 1)
  assert.match(refused.body.errors[0]!.message, /taken/)
  await untilSlugs(gateway, ['state', 'taken'])
  rmSync(file)
  const gone = await gateway.api<{ errors: { at: string }[] }>('POST', '/v1/reload')
  assert.deepEqual([gone.status, gone.body.errors.map(({ at }) => at)], [409, [file]])
  assert.equal(textOf(await callTool(gateway, 'state-echo', { text: 'still here' })), 'still here')
  write({ upstreams: { fine: { url: two.url } } })
  const rows = await untilSlugs(gateway, ['fine', 'taken'])
  assert.equal((await statusOf(gateway)).refusedAt, null)
  const fine = rows.find(({ slug }) => slug === 'fine')!
  assert.deepEqual([fine.origin, fine.originRef], ['file', `${file}:4`])
  const managed = await gateway.api<{ code: string; detail: string }>('DELETE', '/v1/upstreams/fine')
  assert.deepEqual([managed.status, managed.body.code], [409, 'MANAGED_BY_FILE'])
  assert.ok(managed.body.detail.includes(`${file}:4`))
})

test('settings: some take effect at once in every worker, the others are named', { timeout: 120_000 }, async (t) => {
  const { gateway, write } = await start(t, { upstreams: { state: { url: one.url } } }, ['--workers', '2'])
  const jwt = { secret: { file: secret }, issuer: 'https://login.example', audience: 'gateway' }
  writeFileSync(secret, 'a'.repeat(40))
  const access = { jwt, commandsAllowed: ['uvx'] }
  write({ upstreams: { state: { url: one.url } }, access, limits: { maxInFlight: 7 }, telemetry: { logLevel: 'info' } })
  // The watcher may have been first.
  await gateway.api<Reloaded>('POST', '/v1/reload')
  assert.deepEqual((await statusOf(gateway)).nextStart, ['limits.maxInFlight'])
  const { createHmac } = await import('node:crypto')
  const tokenBy = (key: string): string => {
    const part = (value: object): string => Buffer.from(JSON.stringify(value)).toString('base64url')
    const claims = {
      iss: jwt.issuer,
      aud: 'gateway',
      sub: 'ada',
      exp: Math.floor(Date.now() / 1000) + 600,
      scope: 'use',
    }
    const head = `${part({ alg: 'HS256', typ: 'JWT' })}.${part(claims)}`
    return `${head}.${createHmac('sha256', key).update(head).digest('base64url')}`
  }
  const ask = async (key: string): Promise<number> => {
    const answer = await fetch(`${gateway.url}/version`, {
      headers: { Authorization: `Bearer ${tokenBy(key)}`, Connection: 'close' },
    })
    await answer.arrayBuffer()
    return answer.status
  }
  const untilAll = (what: string, status: number, key: string): Promise<true> =>
    eventually(what, async () => {
      const all = await Promise.all(Array.from({ length: 12 }, () => ask(key)))
      return all.every((found) => found === status) ? true : null
    })
  await untilAll('the secret', 200, 'a'.repeat(40))
  writeFileSync(secret, 'b'.repeat(40))
  await untilAll('the new secret', 200, 'b'.repeat(40))
  await untilAll('the end of the old one', 401, 'a'.repeat(40))
})

test('mcp.json is watched too, and secrets behind references', { timeout: 120_000 }, async (t) => {
  writeFileSync(mcpJson, JSON.stringify({ mcpServers: { state: { url: one.url } } }))
  writeFileSync(secret, 'first-value')
  const reader = { url: one.url, headers: { 'X-Secret': { file: secret } } }
  const { gateway } = await start(
    t,
    { upstreams: { reader } },
    ['--mcp-json', mcpJson, '--workers', '2'],
    ['state', 'reader'],
  )
  const headerSeen = async (): Promise<string> => textOf(await callTool(gateway, 'reader-headers'))
  assert.match(await headerSeen(), /first-value/)
  writeFileSync(secret, 'second-value')
  await eventually('the new secret', async () => ((await headerSeen()).includes('second-value') ? true : null))
  writeFileSync(mcpJson, JSON.stringify({ mcpServers: { state: { url: one.url }, local: stdio } }))
  await untilSlugs(gateway, ['state', 'local', 'reader'])
  writeFileSync(mcpJson, '{"mcpServers": {"state": {"url": 1}}}')
  await eventually('the refusal', async () => ((await statusOf(gateway)).faults.length > 0 ? true : null))
  assert.match((await statusOf(gateway)).faults[0]!.at, /mcp\.json:1$/)
  await untilSlugs(gateway, ['state', 'local', 'reader'])
})

test('SIGHUP reads the files again, also where nobody watches the terminal', { timeout: 60_000 }, async (t) => {
  const { gateway, write } = await start(t, { upstreams: { state: { url: one.url } } })
  write({ upstreams: { state: { url: one.url }, more: { url: two.url } } })
  process.kill(gateway.pid, 'SIGHUP')
  await untilSlugs(gateway, ['state', 'more'])
})

for (const workers of ['1', '4']) {
  test(`50 reloads in a row under calls lose none, with ${workers} workers`, { timeout: 300_000 }, async (t) => {
    const { gateway, write } = await start(
      t,
      { upstreams: { state: stdio, far: { url: one.url } } },
      ['--workers', workers],
      ['state', 'far'],
    )
    let isOver = false
    const lost: string[] = []
    let calls = 0
    const caller = async (tool: string): Promise<void> => {
      while (!isOver) {
        const reply = await callTool(gateway, tool, { text: 'here' })
        calls += 1
        if (textOf(reply) !== 'here') lost.push(textOf(reply))
      }
    }
    const callers = ['state-echo', 'far-echo', 'state-echo', 'far-echo'].map(caller)
    for (let round = 1; round <= 50; round += 1) {
      const far = { url: one.url, headers: { 'X-Round': String(round) } }
      // Every tenth round also the process itself is another.
      const env = { ROUND: String(Math.floor(round / 10)) }
      write({ upstreams: { state: { ...stdio, env }, far, ...(round % 2 === 0 ? {} : { odd: { url: two.url } }) } })
      assert.equal((await gateway.api('POST', '/v1/reload')).status, 200)
    }
    isOver = true
    await Promise.all(callers)
    assert.deepEqual(lost, [])
    assert.ok(calls >= 20, `${calls} calls`)
    await untilSlugs(gateway, ['state', 'far'])
  })
}

test('mcp-gateway reload answers in words', { timeout: 60_000 }, async (t) => {
  const { gateway, file, write } = await start(t, { upstreams: { state: { url: one.url } } })
  const run = async (): Promise<[string, number | string]> => {
    const program = startProgram(process.execPath, [BIN, 'reload', '--data', gateway.data])
    const code = await waitFor(program, 'its end', () =>
      Promise.race([program.ended, new Promise<null>((r) => setTimeout(r, 20, null))]),
    )
    return [program.output(), code]
  }
  write({ upstreams: { state: { url: one.url }, more: { url: two.url } } })
  const [said, code] = await run()
  assert.equal(code, 0)
  assert.match(said, /upstream more added|nothing has changed/)
  write('version: 2\n')
  const [refused, failed] = await run()
  assert.equal(failed, 1)
  assert.ok(refused.startsWith(`${file}:1: `), refused)
})
