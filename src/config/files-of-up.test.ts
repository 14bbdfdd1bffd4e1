import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { filesOfUp } from './files-of-up.ts'

test('each load reads anew; files that are missing are faults beside those of the others', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'mcp-gateway-files-'))
  t.after(() => rmSync(folder, { recursive: true, force: true }))
  const [config, mcpJson, secret] = ['gateway.yaml', 'mcp.json', 'secret'].map((name) => join(folder, name)) as [
    string,
    string,
    string,
  ]
  const files = filesOfUp({ flags: { config, mcpJson }, env: {}, workingDirectory: folder, terminal: false })
  assert.deepEqual(files.paths, [config, mcpJson])
  assert.deepEqual(
    (await files.load()).faults.map(({ at }) => at),
    [config, mcpJson],
  )
  writeFileSync(config, 'version: 1\nupstreams: { a: { url: 5 } }\n')
  assert.deepEqual(
    (await files.load()).faults.map(({ at }) => at),
    [mcpJson, `${config}:2`],
  )
  writeFileSync(
    config,
    `version: 1\nupstreams: { a: { url: 'https://a.example', headers: { Authorization: { file: secret } } } }\n`,
  )
  writeFileSync(mcpJson, '{"mcpServers":{"b":{"command":"b"}}}')
  const { rows, faults, referred, settings } = await files.load()
  assert.deepEqual(faults, [])
  assert.deepEqual(
    rows.upstreams.map(({ slug }) => slug),
    ['a', 'b'],
  )
  assert.deepEqual(referred, [secret])
  assert.deepEqual(settings.get('server.port'), { value: 4444, at: 'defaults' })
})
