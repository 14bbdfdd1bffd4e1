// Attacks that need the whole gateway with its workers: what was taken away stays away in every process, and strangers
// cost nothing. Faster attacks stand beside what they attack; docs/security.md says which.

import assert from 'node:assert/strict'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { request } from 'node:http'
import { connect } from 'node:net'
import { after, before, test } from 'node:test'
import { until } from '../fakes/processes.ts'
import { type RunningGateway, startGateway } from './gateway.ts'

const WORKERS = 3
const hasProc = process.platform === 'linux'

let gateway: RunningGateway

before(async () => {
  gateway = await startGateway({ args: ['--workers', String(WORKERS), '--demo'], ready: ['demo'] })
})
after(async () => gateway?.stop())

const INITIALIZE = {
  ...{ jsonrpc: '2.0', id: 1, method: 'initialize' },
  params: { protocolVersion: '2025-11-25', capabilities: {}, clientInfo: { name: 'attacker', version: '1' } },
}
const LIST = { jsonrpc: '2.0', id: 2, method: 'tools/list' }

interface Answered {
  readonly status: number
  readonly session: string
}

/** Each on a connection of its own, so that the kernel may give it to any worker: fetch may use one again. */
function post(token: string, body: unknown, session = '', path = '/mcp', method = 'POST'): Promise<Answered> {
  const headers = {
    Authorization: `Bearer ${token}`,
    Accept: 'application/json, text/event-stream',
    ...(body === undefined ? {} : { 'Content-Type': 'application/json' }),
    ...(session === '' ? {} : { 'Mcp-Session-Id': session }),
  }
  return new Promise((resolve, reject) => {
    const sent = request(`${gateway.url}${path}`, { method, headers, agent: false, timeout: 30_000 }, (answer) => {
      answer.resume()
      answer.on('end', () => {
        resolve({ status: answer.statusCode!, session: String(answer.headers['mcp-session-id'] ?? '') })
      })
    })
    sent.on('timeout', () => sent.destroy(new Error('no answer within 30 s')))
    sent.on('error', reject)
    sent.end(body === undefined ? undefined : JSON.stringify(body))
  })
}

const many = <T>(count: number, run: () => Promise<T>): Promise<T[]> => Promise.all(Array.from({ length: count }, run))

test('a revoked token is refused by every worker that knew it', async () => {
  const token = await gateway.newToken('to be revoked')
  const { session } = await post(token, INITIALIZE)
  for (const { status } of await many(30, () => post(token, LIST, session))) assert.equal(status, 200)
  const stream = await fetch(`${gateway.url}/mcp`, {
    headers: { Authorization: `Bearer ${token}`, Accept: 'text/event-stream', 'Mcp-Session-Id': session },
  })
  assert.equal(stream.status, 200)
  assert.equal((await gateway.api('DELETE', '/v1/tokens/to%20be%20revoked')).status, 204)
  await until('30 refusals in a row', async () =>
    (await many(30, () => post(token, LIST, session))).every(({ status }) => status === 401),
  )
  // Its stream has ended too.
  for await (const _ of stream.body!);
})

test('a session that ended while a worker was starting is unknown to it', { skip: !hasProc }, async () => {
  const { session } = await post(gateway.token, INITIALIZE)
  const [victim, ...others] = workers()
  process.kill(victim!, 'SIGKILL')
  const fresh = (): number | undefined => workers().find((pid) => pid !== victim && !others.includes(pid))
  await until('a new worker process', () => fresh() !== undefined)
  const ended = await post(gateway.token, undefined, session, '/mcp', 'DELETE')
  assert.equal(ended.status, 204)
  // Only the new one can answer while the others sleep.
  for (const pid of others) process.kill(pid, 'SIGSTOP')
  try {
    // A signal arrives when it does; until then one of them may still take a connection with it into its sleep.
    await until('the others to sleep', () => others.every((pid) => stateOf(pid) === 'T'))
    for (const { status } of await many(5, () => post(gateway.token, LIST, session))) assert.equal(status, 404)
  } finally {
    for (const pid of others) process.kill(pid, 'SIGCONT')
  }
})

test('of strangers no body is read, on no path', async () => {
  for (const path of ['/mcp', '/rpc', '/v1/upstreams', '/v1/tokens']) {
    const { hostname, port } = new URL(gateway.url)
    const head = `POST ${path} HTTP/1.1\r\nHost: ${hostname}\r\nContent-Type: application/json\r\nContent-Length: 900000\r\n`
    const socket = connect(Number(port), hostname, () => socket.write(`${head}Authorization: Bearer none\r\n\r\n`))
    // The body never comes: an answer can only be from someone who does not wait for it.
    const [first] = (await once(socket, 'data')) as [Buffer]
    socket.destroy()
    assert.match(first.toString('latin1'), /^HTTP\/1\.1 401 /, path)
  }
})

/** T for a process that was stopped. */
function stateOf(pid: number): string | undefined {
  return /\) (\S)/.exec(readFileSync(`/proc/${pid}/stat`, 'latin1'))?.[1]
}

/** Pids of the worker processes that run now. */
function workers(): number[] {
  const children = readFileSync(`/proc/${gateway.pid}/task/${gateway.pid}/children`, 'latin1')
  return children
    .trim()
    .split(' ')
    .map(Number)
    .filter((pid) => {
      try {
        return /worker\.[jt]s/.test(readFileSync(`/proc/${pid}/cmdline`, 'latin1'))
      } catch {
        return false
      }
    })
}
