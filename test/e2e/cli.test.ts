// The published command from end to end, as a user of a fresh machine types it.

import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { type Program, startProgram } from '../fakes/process.ts'
import { COMMANDS, startStateful } from './fixtures.ts'
import { BIN, type RunningGateway, startGateway } from './gateway.ts'

let upstream: Program & { readonly url: string }
let gateway: RunningGateway

before(
  async () => {
    upstream = await startStateful()
    gateway = await startGateway()
  },
  { timeout: 60_000 },
)

after(async () => {
  await gateway?.stop()
  await upstream?.stop()
})

interface Said {
  readonly code: number | string
  readonly output: string
}

async function typed(args: readonly string[], env: Readonly<Record<string, string>> = {}): Promise<Said> {
  const program = startProgram(process.execPath, [BIN, ...args], { env: { NO_COLOR: '1', ...env } })
  const timer = setTimeout(() => void program.stop('SIGKILL'), 60_000)
  const code = await program.ended
  clearTimeout(timer)
  return { code, output: program.output() }
}

/** The words with the data directory named behind the command's own name. */
function at(...words: string[]): string[] {
  const name = words[0] === 'token' ? 2 : 1
  return [...words.slice(0, name), '--data', gateway.data, ...words.slice(name)]
}

async function good(...args: string[]): Promise<string> {
  const { code, output } = await typed(at(...args))
  assert.equal(code, 0, `${args.join(' ')}: ${output}`)
  return output
}

test('adds upstreams by URL and by command, lists, calls, inspects and removes them', async () => {
  await good('add', '--slug', 'web', upstream.url)
  await good('add', '--slug', 'child', '--', COMMANDS.stateful.command, ...COMMANDS.stateful.args)
  const list = JSON.parse(await good('list', '--json')) as { slug: string }[] | { items: { slug: string }[] }
  const items = Array.isArray(list) ? list : list.items
  assert.deepEqual(items.map((item) => item.slug).sort(), ['child', 'web'])
  const table = await good('tools')
  assert.match(table, /web-echo/)
  assert.match(table, /child-echo/)
  assert.match(await good('call', 'web-echo', '{"text":"by hand"}'), /by hand/)
  assert.match(await good('call', 'child-echo', '{"text":"by hand"}'), /by hand/)
  assert.match(await good('inspect', 'child'), /stateful-fixture/)
  await good('remove', 'child')
  assert.doesNotMatch(await good('list'), /child/)
})

test('says a failing tool and a missing one by its exit code', async () => {
  const failing = await typed(at('call', 'web-fail'))
  assert.equal(failing.code, 1)
  assert.match(failing.output, /this failed on purpose/)
  assert.equal((await typed(at('call', 'no-such-tool'))).code, 1)
  assert.equal((await typed(at('call', 'web-echo', '{"text":'))).code, 2)
  assert.equal((await typed(['call', '--no-such-option'])).code, 2)
})

test('tokens: made, used, listed and revoked', async () => {
  const made = JSON.parse(await good('token', 'create', 'agent', '--json')) as { token: string }
  assert.match(made.token, /^mgw_/)
  const withToken = ['--url', gateway.url, '--token', made.token]
  assert.equal((await typed(['tools', ...withToken])).code, 0)
  assert.equal((await typed(['add', ...withToken, '--', 'true'])).code, 4)
  assert.match(await good('token', 'list'), /agent/)
  await good('token', 'revoke', 'agent')
  assert.equal((await typed(['tools', ...withToken])).code, 4)
})

test('prints what connects a client, and that JSON holds the endpoint and a token', async () => {
  for (const client of ['claude', 'cursor', 'vscode']) {
    const printed = await good('client', client)
    assert.ok(printed.includes(`${gateway.url}/mcp`), printed)
  }
})

test('doctor finds nothing wrong', async () => {
  await good('doctor')
})

test('without a gateway it says so', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'mcp-nothing-'))
  try {
    const { code, output } = await typed(['list', '--data', folder])
    assert.equal(code, 3)
    assert.ok(output.trim().split('\n').length <= 3, output)
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
})

describe('up', () => {
  test("starts from a client's own mcp.json as it is", { timeout: 60_000 }, async () => {
    const folder = mkdtempSync(join(tmpdir(), 'mcp-json-'))
    const file = join(folder, 'mcp.json')
    const { command, args } = COMMANDS.stateful
    writeFileSync(
      file,
      JSON.stringify({ mcpServers: { Local: { command, args }, remote: { type: 'http', url: upstream.url } } }),
    )
    const second = await startGateway({ args: ['--mcp-json', file], ready: ['local', 'remote'] })
    try {
      const { code, output } = await typed(['call', '--data', second.data, 'local-echo', '{"text":"from mcp.json"}'])
      assert.equal(code, 0, output)
      assert.match(output, /from mcp\.json/)
    } finally {
      await second.stop()
      rmSync(folder, { recursive: true, force: true })
    }
  })

  test('names every fault of a configuration at once, by line', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'mcp-faults-'))
    const file = join(folder, 'gateway.yaml')
    writeFileSync(
      file,
      'version: 1\nserver:\n  prot: 4444\nupstreams:\n  one:\n    url: not a url\n  two:\n    comand: x\n',
    )
    try {
      const { code, output } = await typed(['up', '--data', folder, '--config', file, '--port', '0'])
      assert.equal(code, 2, output)
      for (const line of [3, 6, 7]) assert.match(output, new RegExp(`gateway\\.yaml:${line}\\b`), output)
    } finally {
      rmSync(folder, { recursive: true, force: true })
    }
  })

  test('a second gateway on the same data directory is refused with the pid of the first', async () => {
    const { code, output } = await typed(['up', '--data', gateway.data, '--port', '0'])
    assert.notEqual(code, 0)
    assert.match(output, new RegExp(String(gateway.pid)))
  })

  test('--open is refused on any address but loopback', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'mcp-open-'))
    try {
      const { code, output } = await typed(['up', '--data', folder, '--open', '--host', '0.0.0.0', '--port', '0'])
      assert.equal(code, 2, output)
    } finally {
      rmSync(folder, { recursive: true, force: true })
    }
  })

  test('keeps its registry, token and address over a restart', { timeout: 60_000 }, async () => {
    const data = mkdtempSync(join(tmpdir(), 'mcp-again-'))
    try {
      const first = await startGateway({ data })
      const transport = { kind: 'http', urls: [upstream.url] }
      assert.equal((await first.api('POST', '/v1/upstreams?wait=15s', { slug: 'kept', transport })).status, 201)
      await first.stop()
      const second = await startGateway({ data, ready: ['kept'] })
      try {
        assert.equal(second.token, first.token)
        const { output } = await typed(['call', '--data', data, 'kept-echo', '{"text":"still known"}'])
        assert.match(output, /still known/)
      } finally {
        await second.stop()
      }
    } finally {
      rmSync(data, { recursive: true, force: true })
    }
  })
})
