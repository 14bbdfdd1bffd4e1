// MCP Inspector's command line as a client of the gateway: the tool that people debug their servers with.

import assert from 'node:assert/strict'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { type Program, startProgram } from '../fakes/process.ts'
import { startStateful } from './fixtures.ts'
import { type RunningGateway, startGateway } from './gateway.ts'
import type { Json } from './peers.ts'

const INSPECTOR = join(
  ...[import.meta.dirname, '..', '..', 'node_modules', '@modelcontextprotocol', 'inspector'],
  ...['clients', 'launcher', 'build', 'index.js'],
)
let upstream: Program & { readonly url: string }
let gateway: RunningGateway

before(
  async () => {
    upstream = await startStateful()
    gateway = await startGateway({
      yaml: JSON.stringify({ version: 1, upstreams: { state: { url: upstream.url } } }),
      ready: ['state'],
    })
  },
  { timeout: 60_000 },
)

after(async () => {
  await gateway?.stop()
  await upstream?.stop()
})

async function inspect(...args: string[]): Promise<{ code: number | string; output: string }> {
  const program = startProgram(
    process.execPath,
    [INSPECTOR, '--cli', `${gateway.url}/mcp`, '--transport', 'http', ...args],
    { env: { HOME: gateway.data, XDG_CONFIG_HOME: gateway.data } },
  )
  const timer = setTimeout(() => void program.stop('SIGKILL'), 60_000)
  const code = await program.ended
  clearTimeout(timer)
  return { code, output: program.output() }
}

async function asked(...args: string[]): Promise<Json> {
  const { code, output } = await inspect('--header', `Authorization: Bearer ${gateway.token}`, ...args)
  assert.equal(code, 0, output)
  return JSON.parse(output.slice(output.indexOf('{'))) as Json
}

test('lists the tools', async () => {
  const { tools } = (await asked('--method', 'tools/list')) as { tools: Json[] }
  assert.ok(tools.some((tool) => tool.name === 'state-echo'))
})

test('calls a tool', async () => {
  const result = await asked('--method', 'tools/call', '--tool-name', 'state-echo', '--tool-arg', 'text=hello')
  assert.deepEqual(result.content, [{ type: 'text', text: 'hello' }])
})

test('reads a resource and gets a prompt', async () => {
  const { contents } = (await asked('--method', 'resources/read', '--uri', 'stateful://motto')) as { contents: Json[] }
  assert.equal(contents[0]?.text, 'Count on me.')
  const prompt = ['--prompt-name', 'state-greet', '--prompt-args', 'name=Ada']
  const { messages } = (await asked('--method', 'prompts/get', ...prompt)) as { messages: Json[] }
  assert.deepEqual(messages[0]?.content, { type: 'text', text: 'Good day, Ada' })
})

test('without a token it is refused', async () => {
  const { code, output } = await inspect('--method', 'tools/list')
  assert.notEqual(code, 0)
  assert.match(output, /401|[Uu]nauthorized|UNAUTHENTICATED|auth_required/)
})
