// `mcp-gateway wrap` around the reference server, with the official SDKs as HTTP clients.

import assert from 'node:assert/strict'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { type Program, startProgram, waitFor } from '../fakes/process.ts'
import { COMMANDS } from './fixtures.ts'
import { connectPeer, PEER_KINDS, textOf } from './peers.ts'

const MAIN = join(import.meta.dirname, '..', '..', 'src', 'main.ts')
const { command, args } = COMMANDS.everything
let wrap: Program
let said: { endpoint: string; token: string; pid: number }

before(
  async () => {
    wrap = startProgram(process.execPath, [MAIN, 'wrap', '--port', '0', '--json', '--', command, ...args])
    said = await waitFor(wrap, 'the endpoint', () => {
      const line = wrap
        .output()
        .split('\n')
        .find((one) => one.startsWith('{"event":"listening"'))
      return line === undefined ? null : JSON.parse(line)
    })
  },
  { timeout: 60_000 },
)

after(() => wrap?.stop())

for (const kind of PEER_KINDS) {
  test(`${kind}: the server's own names, and its answers`, { timeout: 60_000 }, async () => {
    const peer = await connectPeer(kind, { url: said.endpoint, token: said.token })
    try {
      assert.ok((await peer.tools()).some(({ name }) => name === 'echo'))
      assert.match(textOf(await peer.call('echo', { message: 'wrapped' })), /wrapped/)
    } finally {
      await peer.close()
    }
  })
}

test('asks for its token, and ends with 0 on SIGTERM', { timeout: 30_000 }, async () => {
  const answer = await fetch(said.endpoint, {
    method: 'POST',
    body: '{}',
    headers: { 'content-type': 'application/json' },
  })
  await answer.arrayBuffer()
  assert.equal(answer.status, 401)
  await wrap.stop('SIGTERM')
  assert.equal(await wrap.ended, 0)
})
