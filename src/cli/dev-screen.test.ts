import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Cli } from './command.ts'
import { DevScreen } from './dev-screen.ts'
import type { Observed } from './up.ts'

const NOW = new Date(2026, 10, 22, 12, 0, 0).getTime()

function setUp(columns: number | null = null) {
  let out = ''
  const cli: Cli = {
    terminal: { out: (text) => (out += text), err: () => {}, columns, colour: false, live: false },
    surroundings: { url: null, token: null, dataDirectory: '', workingDirectory: '/work', proxyVariables: [] },
    ...{ version: '1.2.3', typed: 'mcp-gateway', now: () => NOW },
  }
  const screen = new DevScreen(cli, 'dev', undefined)
  const said = (): string[] => {
    const lines = out.split('\n').slice(0, -1)
    out = ''
    return lines
  }
  return { screen, said }
}

const tool = (name: string, description: string) => ({
  ...{ kind: 'tool' as const, name, json: JSON.stringify({ name, description }) },
})
const ready = (...definitions: ReturnType<typeof tool>[]): Observed => ({
  ...{ slug: 'dev', state: 'ready', revision: '2025-11-25', tools: definitions.length, prompts: 0, resources: 0 },
  ...{ message: null, nextRetryMs: null, definitions },
})
const down = (message: string): Observed => ({ ...ready(), state: 'down', message })
const stderr = (screen: DevScreen, text: string, processId = 'child-1'): void =>
  screen.onStderr(Buffer.from(text), processId)

test('how it starts, and what its definitions have become after each change', () => {
  const { screen, said } = setUp()
  screen.head('http://127.0.0.1:5', 'mgw_t', ['/work/src'], { files: ['/work/src/a.ts'], isCut: false })
  assert.deepEqual(said(), [
    'mcp-gateway 1.2.3 dev',
    '',
    '  endpoint  http://127.0.0.1:5/servers/dev/mcp',
    '  token     mgw_t',
    '  client    {"mcpServers":{"dev":{"type":"http","url":"http://127.0.0.1:5/servers/dev/mcp","headers":{"Authorization":"Bearer mgw_t"}}}}',
    '  watches   src (1 file)',
    '',
  ])
  screen.observed(ready(tool('a', 'A'), tool('b', 'B')))
  assert.deepEqual(said(), ['12:00:00  ready    2025-11-25, 2 tools', `${' '.repeat(19)}a, b`])
  screen.observed(ready(tool('a', 'A'), tool('b', 'B')))
  assert.deepEqual(said(), [])
  screen.changed(['/work/src/a.ts', '/work/src/b.ts', '/work/x', '/work/y'])
  screen.starting()
  screen.observed(ready(tool('a', 'other'), tool('c', 'C')))
  assert.deepEqual(said(), [
    '12:00:00  changed  src/a.ts, src/b.ts, x and 1 more',
    '12:00:00  ready    2025-11-25, 2 tools',
    `${' '.repeat(19)}~ tool a description`,
    `${' '.repeat(19)}+ tool c`,
    `${' '.repeat(19)}- tool b`,
  ])
  screen.starting()
  screen.observed(ready(tool('a', 'other'), tool('c', 'C')))
  assert.deepEqual(said(), ['12:00:00  ready    2025-11-25, 2 tools, as before'])
})

test('a server that cannot start says why once, however often it is tried', () => {
  const { screen, said } = setUp()
  screen.starting()
  stderr(screen, 'first li')
  stderr(screen, 'ne\n\n\tat x')
  stderr(screen, 'first line\n\tat x\n', 'child-2')
  screen.observed(down('dev: The process exited with code 1: at x'))
  assert.deepEqual(said(), [
    '12:00:00  stderr   first line',
    '12:00:00  stderr       at x',
    '12:00:00  down     The process exited with code 1',
    `${' '.repeat(19)}waiting for a change`,
  ])
  stderr(screen, 'first line\n', 'child-3')
  screen.observed(down('dev: The process exited with code 1: at x'))
  assert.deepEqual(said(), [])
  screen.observed(ready())
  stderr(screen, 'first line\nfirst line\n', 'child-4')
  assert.equal(said().length, 3, 'once it runs everything is shown')
})

test('calls: tool, arguments, outcome and time, safe for a terminal and cut to its width', () => {
  const { screen, said } = setUp()
  const call = {
    method: 'tools/call',
    name: 'add',
    arguments: '{"a": 1}',
    outcome: 'ok',
    message: null,
    ms: 3.21,
  } as const
  screen.onCall(call)
  screen.onCall({ ...call, arguments: '', outcome: 'failed', message: 'no\n\u001b[2Jway', ms: 1_234 })
  screen.onCall({ ...call, method: 'resources/read', name: 'x:y', arguments: '', outcome: 'asks', ms: 61_000 })
  screen.onCall({ ...call, arguments: `{"text":"${'x'.repeat(200)}"}` })
  const lines = said()
  assert.deepEqual(lines.slice(0, 3), [
    '12:00:00  call     add {"a": 1}  ok  3.2 ms',
    '12:00:00  call     add  failed  1234 ms  no \\u001b[2Jway',
    '12:00:00  call     resources/read x:y  asks the client  61 s',
  ])
  assert.match(lines[3]!, /x… {2}ok {2}3\.2 ms$/)
  const narrow = setUp(40)
  narrow.screen.onCall({ ...call, outcome: 'failed', message: 'x'.repeat(100) })
  assert.equal([...narrow.said()[0]!].length, 40)
})
