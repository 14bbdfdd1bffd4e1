// The README is true: its links lead somewhere, its commands and flags exist, its gateway.yaml has no fault.

import assert from 'node:assert/strict'
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { CLIENTS } from '../src/cli/client.ts'
import { COMMAND_NAMES, createProgram } from '../src/cli/program.ts'
import { loadConfig } from '../src/config/load.ts'

const root = join(import.meta.dirname, '..')
const readme = readFileSync(join(root, 'README.md'), 'utf8')
const blocks = (language: string): string[] =>
  [...readme.matchAll(new RegExp(`^\`\`\`${language}\n([\\s\\S]*?)^\`\`\``, 'gm'))].map((match) => match[1]!)

test('every link leads to a file of the repository', () => {
  const links = [...readme.matchAll(/\]\(([^)]+)\)/g)].map((match) => match[1]!)
  assert.ok(links.length >= 5)
  assert.deepEqual(
    links.filter((link) => !existsSync(join(root, link))),
    [],
  )
})

test('every command and every flag exists', async () => {
  const program = await createProgram(
    {
      terminal: { out: () => {}, err: () => {}, columns: null, colour: false, live: false },
      surroundings: { url: null, token: null, dataDirectory: '', workingDirectory: '', proxyVariables: [] },
      ...{ version: '', typed: '', now: () => 0 },
    },
    () => Promise.reject(new Error('nothing is started here')),
    COMMAND_NAMES,
  )
  const lines = blocks('sh').flatMap((block) => block.split('\n').filter((line) => line.startsWith('mcp-gateway ')))
  assert.ok(lines.length >= 10)
  for (const line of lines) {
    const words = line.split(/\s+/).slice(1)
    const own = words.includes('--') ? words.slice(0, words.indexOf('--')) : words
    if (own[0] === '--help') continue
    let command = program.commands.find((one) => one.name() === own[0])
    assert.ok(command, line)
    command = command.commands.find((one) => one.name() === own[1]) ?? command
    for (const flag of own.filter((word) => word.startsWith('--'))) {
      assert.ok(
        command.options.some((option) => option.long === flag),
        `${flag} in: ${line}`,
      )
    }
  }
})

test('its clients and commands are all of them', () => {
  for (const name of [...Object.keys(CLIENTS), ...COMMAND_NAMES]) {
    assert.match(readme, new RegExp(`\\b${name}\\b`), `the README does not name ${name}`)
  }
})

test('its gateway.yaml has no fault', async () => {
  const [yaml] = blocks('yaml')
  assert.ok(yaml)
  const { faults, rows } = await loadConfig({
    flags: {},
    env: { GITHUB_AUTHORIZATION: 'Bearer x' },
    file: { path: 'gateway.yaml', text: yaml },
    workingDirectory: root,
  })
  assert.deepEqual(faults, [])
  assert.deepEqual([rows.upstreams.length, rows.virtualServers.length], [2, 1])
})
