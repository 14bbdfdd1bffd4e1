// bin/mcp-gateway.cjs in a folder of its own with a stand-in dist/, on this Node and on one that says it is old.

import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'

const source = join(import.meta.dirname, '..', '..', 'bin', 'mcp-gateway.cjs')
const rooms: string[] = []
after(() => {
  for (const room of rooms) rmSync(room, { recursive: true, force: true })
})

/** What the stand-in of dist/main.js does: says what it was given, then ends as its first argument tells. */
const MAIN = `
export function main(words) {
  console.log(JSON.stringify({ words, pid: process.pid, version: process.versions.node }))
  if (words[0] === 'exit') process.exitCode = Number(words[1])
  if (words[0] === 'wait') {
    const timer = setTimeout(() => {}, 30_000)
    process.on('SIGTERM', () => { console.log('SIGTERM'); clearTimeout(timer); process.exitCode = 7 })
    console.log('waiting')
  }
  if (words[0] === 'die') process.kill(process.pid, 'SIGKILL')
}`

function makeRoom(options: { dist: boolean; ownNode: boolean }): string {
  const room = mkdtempSync(join(tmpdir(), 'mcp-gateway-bin-'))
  rooms.push(room)
  mkdirSync(join(room, 'bin'))
  copyFileSync(source, join(room, 'bin', 'mcp-gateway.cjs'))
  writeFileSync(join(room, 'package.json'), '{"type":"module"}')
  // In front of the launcher: this Node says that it is an old one, without execve, as old ones are.
  writeFileSync(
    join(room, 'old.cjs'),
    `Object.defineProperty(process, 'versions', { value: { ...process.versions, node: '20.1.0' } }); process.execve = undefined`,
  )
  if (options.dist) {
    mkdirSync(join(room, 'dist'))
    writeFileSync(join(room, 'dist', 'main.js'), MAIN)
  }
  if (options.ownNode) {
    const folder = join(room, 'node_modules', `node-${process.platform}-${process.arch}`, 'bin')
    mkdirSync(folder, { recursive: true })
    symlinkSync(process.execPath, join(folder, 'node'))
  }
  return room
}

function start(room: string, old: boolean, words: string[]) {
  const args = [...(old ? ['--require', join(room, 'old.cjs')] : []), join(room, 'bin', 'mcp-gateway.cjs'), ...words]
  const child = spawn(process.execPath, args, { env: { ...process.env, XDG_CACHE_HOME: join(room, 'cache') } })
  const texts = { out: '', err: '' }
  child.stdout.on('data', (part) => (texts.out += part))
  child.stderr.on('data', (part) => (texts.err += part))
  const ended = once(child, 'close').then(([code, signal]) => ({ code, signal, ...texts }))
  return { child, texts, ended }
}

test('on a good Node everything happens in one process', async () => {
  const { child, ended } = start(makeRoom({ dist: true, ownNode: false }), false, ['exit', '4', '--x'])
  const { code, out, err } = await ended
  assert.equal(code, 4, err)
  assert.deepEqual(JSON.parse(out), { words: ['exit', '4', '--x'], pid: child.pid, version: process.versions.node })
})

test('on an old Node the own one takes over: arguments, exit code and signals pass through', async () => {
  const room = makeRoom({ dist: true, ownNode: true })
  const exit = await start(room, true, ['exit', '3']).ended
  assert.equal(exit.code, 3, exit.err)
  assert.deepEqual(JSON.parse(exit.out).words, ['exit', '3'])
  const killed = await start(room, true, ['die']).ended
  assert.equal(killed.signal, 'SIGKILL')
  const waiting = start(room, true, ['wait'])
  while (!waiting.texts.out.includes('waiting')) await once(waiting.child.stdout, 'data')
  waiting.child.kill('SIGTERM')
  const { code, out } = await waiting.ended
  assert.equal(code, 7)
  assert.match(out, /SIGTERM/)
})

test('on an old Node without an own one it says what is needed', async () => {
  const { code, out, err } = await start(makeRoom({ dist: true, ownNode: false }), true, ['up']).ended
  assert.deepEqual([code, out], [1, ''])
  assert.match(err, /Node\.js 24\.12 or newer is needed; this is 20\.1\.0\n.*nvm install 24/)
})

test('without dist/ it says how to make it', async () => {
  const { code, err } = await start(makeRoom({ dist: false, ownNode: false }), false, ['up']).ended
  assert.equal(code, 1)
  assert.match(err, /dist\/ is missing\n.*npm run prepare/)
})

test('it is written for a Node of long ago', () => {
  const code = readFileSync(source, 'utf8').replace(/^\s*(\/\/|\/\*\*).*$/gm, '')
  assert.doesNotMatch(code, /node:|\?\?|\?\.[a-z]|\|\|=/)
})
