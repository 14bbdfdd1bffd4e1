// `mcp-gateway dev` around a real SDK server whose file is edited while it runs, with a real client.

import assert from 'node:assert/strict'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { type Program, startProgram, waitFor } from '../fakes/process.ts'
import { eventually, startStateful } from './fixtures.ts'
import { BIN } from './gateway.ts'
import { connectPeer, textOf } from './peers.ts'

const folder = mkdtempSync(join(import.meta.dirname, '..', '..', 'node_modules', '.dev-test-'))
after(() => rmSync(folder, { recursive: true, force: true }))

const SERVER = `
import { McpServer } from '@modelcontextprotocol/sdk/server/mcp.js'
import { StdioServerTransport } from '@modelcontextprotocol/sdk/server/stdio.js'
import { z } from 'zod'
const server = new McpServer({ name: 'mine', version: '1.0.0' })
server.registerTool('greet', { description: 'Greets', inputSchema: { who: z.string() } }, ({ who }) => ({
  content: [{ type: 'text', text: 'Hello ' + who }],
}))
console.error('the server is up')
await server.connect(new StdioServerTransport())
`

async function startDev(t: { after(end: () => unknown): void }, words: string[]) {
  const dev = startProgram(process.execPath, [BIN, 'dev', ...words], { cwd: folder })
  t.after(() => dev.stop())
  const found = await waitFor(dev, 'the endpoint', () => /endpoint +(\S+)\n.*token +(\S+)/.exec(dev.output()))
  await says(dev, /ready {4}\S+, /)
  return { dev, url: found[1]!, token: found[2]! }
}

/** Waits for a line, and returns what was printed before it. */
const says = (dev: Program, what: RegExp): Promise<string> =>
  waitFor(dev, String(what), () => (what.test(dev.output()) ? dev.output() : null), 40_000)

test('a server is started anew with its file; its changes, calls and faults are shown', {
  timeout: 180_000,
}, async (t) => {
  const file = join(folder, 'server.mjs')
  writeFileSync(file, SERVER)
  const { dev, url, token } = await startDev(t, ['--', process.execPath, 'server.mjs'])
  assert.match(dev.output(), /watches +\. \(1 file\)/)
  assert.match(dev.output(), /stderr {3}the server is up/)
  const peer = await connectPeer('sdk 1.x', { url, token })
  t.after(() => peer.close().catch(() => {}))
  assert.equal(textOf(await peer.call('greet', { who: 'Ada' })), 'Hello Ada')
  await says(dev, /call {5}greet \{"who":"Ada"\} {2}ok {2}[\d.]+ ms\n/)

  const edited = SERVER.replace("'Greets'", "'Greets somebody'")
    .replace('who: z.string()', 'who: z.string(), loud: z.boolean().optional()')
    .replace("'Hello '", "'Goodbye '")
  writeFileSync(file, edited)
  await says(dev, /changed {2}server\.mjs\n/)
  // A call that comes meanwhile waits for the new server.
  const meanwhile = peer.call('greet', { who: 'Alan' })
  await says(dev, /~ tool greet description, inputSchema\.properties\.loud added\n/)
  assert.match(textOf(await meanwhile), /^(?:Hello|Goodbye) Alan$/)
  assert.equal(textOf(await peer.call('greet', { who: 'Ada' })), 'Goodbye Ada')

  writeFileSync(file, `${edited}\nthis is no JavaScript\n`)
  await says(dev, /stderr.*SyntaxError/)
  await says(dev, /down {5}The process exited with code 1\n +waiting for a change\n/)
  const faults = dev.output().match(/SyntaxError/g)!.length
  await assert.rejects(peer.call('greet', { who: 'nobody' }))
  await says(dev, /call.*refused.*UPSTREAM_UNAVAILABLE/)
  writeFileSync(file, edited.replace("'greet'", "'hail'"))
  await says(dev, /\+ tool hail\n +- tool greet\n/)
  const after = dev.output().replace(/call.*\n/g, '')
  assert.equal(after.match(/SyntaxError/g)!.length, faults, 'it says so once')
  await eventually('the new tool', async () => ((await peer.tools()).some(({ name }) => name === 'hail') ? true : null))
  assert.equal(textOf(await peer.call('hail', { who: 'Ada' })), 'Goodbye Ada')
  await dev.stop('SIGINT')
  assert.equal(await dev.ended, 0)
  assert.equal(readFileSync(file, 'utf8').includes('hail'), true)
})

test('a server over HTTP that adds a tool while it runs', { timeout: 90_000 }, async (t) => {
  const upstream = await startStateful()
  t.after(() => upstream.stop())
  const { dev, url, token } = await startDev(t, ['--http', upstream.url])
  const peer = await connectPeer('sdk 1.x', { url, token })
  t.after(() => peer.close().catch(() => {}))
  await peer.call('grow', { name: 'sprout' })
  await says(dev, /call {5}grow \{"name":"sprout"\} {2}ok/)
  await says(dev, /\+ tool sprout\n/)
})

test('what it cannot run, it says', { timeout: 60_000 }, async (t) => {
  const folderOfNothing = mkdtempSync(join(tmpdir(), 'mcp-gateway-dev-'))
  t.after(() => rmSync(folderOfNothing, { recursive: true, force: true }))
  const dev = startProgram(process.execPath, [BIN, 'dev', '--', 'no-such-command'], { cwd: folderOfNothing })
  t.after(() => dev.stop())
  await says(dev, /down {5}.*no-such-command/)
  const none = startProgram(process.execPath, [BIN, 'dev'])
  assert.equal(await none.ended, 2)
  assert.match(none.output(), /Name the command that starts the server/)
})
