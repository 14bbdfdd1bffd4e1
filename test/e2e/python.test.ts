// The official Python SDK on both sides: as a client of the gateway in both of its modes, and a Python server that the
// gateway runs as a stdio child.

import assert from 'node:assert/strict'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { type Program, startProgram } from '../fakes/process.ts'
import { pythonPart } from '../parts.ts'
import { COMMANDS, startStateful } from './fixtures.ts'
import { type RunningGateway, startGateway } from './gateway.ts'
import { comparable, connectPeer, essence, type Json, textOf } from './peers.ts'

const SCRIPT = join(import.meta.dirname, 'python_client.py')
const part = pythonPart()
const skip = 'missing' in part ? part.missing : false
const python = 'path' in part ? part.path : ''
let upstream: Program & { readonly url: string }
let gateway: RunningGateway

before(
  async () => {
    if (skip !== false) return
    upstream = await startStateful()
    const time = COMMANDS.time(python)
    gateway = await startGateway({
      yaml: JSON.stringify({
        version: 1,
        upstreams: { state: { url: upstream.url }, time: { command: time.command, args: time.args } },
        virtualServers: { plain: { naming: 'keep', members: [{ upstream: 'state' }] } },
      }),
      ready: ['state', 'time'],
    })
  },
  { timeout: 90_000 },
)

after(async () => {
  await gateway?.stop()
  await upstream?.stop()
})

async function told(url: string, token: string, mode: 'legacy' | 'auto'): Promise<Json> {
  const program = startProgram(python, [SCRIPT, url, token, mode])
  const timer = setTimeout(() => void program.stop('SIGKILL'), 60_000)
  const code = await program.ended
  clearTimeout(timer)
  const line = program
    .output()
    .split('\n')
    .find((one) => one.startsWith('{"protocolVersion"'))
  assert.ok(code === 0 && line !== undefined, `the client ended with ${code}:\n${program.output()}`)
  return JSON.parse(line) as Json
}

for (const mode of ['legacy', 'auto'] as const)
  test(`the Python SDK in ${mode} mode is told the same directly and through the gateway`, { skip }, async () => {
    const direct = await told(upstream.url, '', mode)
    const token = await gateway.newToken(`python ${mode}`)
    const through = await told(`${gateway.url}/servers/plain/mcp`, token, mode)
    assert.equal(through.protocolVersion, mode === 'auto' ? '2026-07-28' : '2025-11-25')
    assert.equal(through.cancelled, 1)
    assert.equal(through.unknown, -32602)
    // The upstream sends every level; the level that the session asked for is kept by the gateway.
    if (mode === 'legacy')
      assert.deepEqual(through.logs, [
        ['warning', 'a line of warning'],
        ['error', 'a line of error'],
      ])
    const sse = await told(`${gateway.url}/servers/plain/sse`, await gateway.newToken(`python sse ${mode}`), mode)
    for (const key of ['protocolVersion', 'unknown', 'logs']) {
      delete direct[key]
      // By its own transport and by that of 2024-11-05.
      assert.deepEqual(sse[key], through[key])
      delete sse[key]
      delete through[key]
    }
    assert.deepEqual(essence(through), essence(direct))
    assert.deepEqual(essence(sse), essence(direct))
  })

test('a Python server by stdio says through the gateway what it says directly', { skip }, async () => {
  for (const kind of ['sdk 1.x', 'sdk 2.x auto'] as const) {
    const direct = await connectPeer(kind, COMMANDS.time(python))
    const peer = await connectPeer(kind, { url: `${gateway.url}/mcp`, token: gateway.token })
    try {
      const own = (await peer.tools()).filter((tool) => String(tool.name).startsWith('time-'))
      const renamed = own.map((tool) => ({ ...tool, name: String(tool.name).slice('time-'.length) }))
      assert.deepEqual(comparable(renamed, peer, direct), comparable(await direct.tools(), peer, direct))
      const args = { source_timezone: 'UTC', time: '12:30', target_timezone: 'Asia/Tokyo' }
      const hours = (result: Json): unknown =>
        (JSON.parse(textOf(result)) as { time_difference: string }).time_difference
      assert.equal(hours(await peer.call('time-convert_time', args)), '+9.0h')
      assert.equal(hours(await direct.call('convert_time', args)), '+9.0h')
      const bad = { timezone: 'Nowhere/Land' }
      assert.deepEqual(
        essence(await peer.call('time-get_current_time', bad)),
        essence(await direct.call('get_current_time', bad)),
      )
    } finally {
      await Promise.all([direct.close(), peer.close()])
    }
  }
})
