import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { createInterface } from 'node:readline'
import { PassThrough } from 'node:stream'
import { test } from 'node:test'
import { LIMITS } from '../core/limits.ts'
import { IN_FLIGHT_MAX, StdioBridge } from './stdio-bridge.ts'

interface Asked {
  readonly method: string | undefined
  readonly headers: IncomingMessage['headers']
  readonly body: { id?: unknown; method?: string; params?: Record<string, unknown> }
}

interface Heard {
  readonly id?: unknown
  readonly method?: string
  readonly result?: unknown
  readonly error?: { readonly data: { readonly code: string } }
}

type Answer = (asked: Asked, response: ServerResponse) => void

/** A bridge to an endpoint that answers as told: `say` a line, `hear` the next one. */
async function withBridge(
  answer: Answer,
  work: (bridge: { say(message: unknown): void; hear(): Promise<Heard> }, asked: Asked[]) => Promise<void>,
): Promise<void> {
  const asked: Asked[] = []
  const server = createServer(async (request, response) => {
    let text = ''
    for await (const chunk of request) text += chunk
    const one = { method: request.method, headers: request.headers, body: text === '' ? {} : JSON.parse(text) }
    asked.push(one)
    answer(one, response)
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const endpoint = `http://127.0.0.1:${(server.address() as AddressInfo).port}/mcp`
  const [input, output] = [new PassThrough(), new PassThrough()]
  const bridge = new StdioBridge({ endpoint, token: 'mgw_t', input, output, log: () => {} })
  const ran = bridge.run()
  const lines = createInterface({ input: output })[Symbol.asyncIterator]()
  const say = (message: unknown): void =>
    void input.write(`${typeof message === 'string' ? message : JSON.stringify(message)}\n`)
  try {
    await work({ say, hear: async () => JSON.parse((await lines.next()).value as string) }, asked)
  } finally {
    await bridge.close()
    await ran.catch(() => {})
    server.closeAllConnections()
    server.close()
  }
}

function json(response: ServerResponse, status: number, body: unknown, headers: Record<string, string> = {}): void {
  response.writeHead(status, { 'content-type': 'application/json', ...headers }).end(JSON.stringify(body))
}

const result = (id: unknown, value: object = {}) => ({ jsonrpc: '2.0', id, result: value })
const GREETING = { jsonrpc: '2.0', id: 0, method: 'initialize', params: { protocolVersion: '2025-11-25' } }
const MODERN = { 'io.modelcontextprotocol/protocolVersion': '2026-07-28' }

test('a session that is lost is begun again once, unseen, and what was refused for it is sent again', async () => {
  let sessions = 0
  const answer: Answer = ({ method, headers, body }, response) => {
    if (method !== 'POST') return void response.writeHead(405).end()
    if (body.method === 'initialize') {
      sessions += 1
      return json(response, 200, result(body.id, { protocolVersion: '2025-11-25' }), {
        'mcp-session-id': `s${sessions}`,
      })
    }
    if (body.id === undefined) return void response.writeHead(202).end()
    const isLost = headers['mcp-session-id'] === 's1'
    json(
      response,
      isLost ? 404 : 200,
      isLost ? { jsonrpc: '2.0', id: null, error: { code: -32001, message: 'gone' } } : result(body.id),
    )
  }
  await withBridge(answer, async ({ say, hear }, asked) => {
    say(GREETING)
    assert.equal((await hear()).id, 0)
    for (const id of [1, 2, 3]) say({ jsonrpc: '2.0', id, method: 'ping' })
    const heard = [await hear(), await hear(), await hear()]
    assert.deepEqual(heard.map(({ id, result }) => [id, result]).sort(), [
      [1, {}],
      [2, {}],
      [3, {}],
    ])
    assert.equal(sessions, 2)
    assert.ok(asked.every(({ headers }) => headers.authorization === 'Bearer mgw_t'))
  })
})

test('2026-07-28: headers mirror the body, a cancelled request is closed and says nothing', async () => {
  let closed: () => void = () => {}
  const gone = new Promise<void>((resolve) => {
    closed = resolve
  })
  const answer: Answer = ({ body }, response) => {
    if (body.params?.name === 'slow')
      return void response
        .on('close', closed)
        .writeHead(200, { 'content-type': 'text/event-stream' })
        .write(`data: {"jsonrpc":"2.0",\ndata: "method":"x"}\n\n`)
    json(response, 200, result(body.id))
  }
  await withBridge(answer, async ({ say, hear }, asked) => {
    say({ jsonrpc: '2.0', id: 'a', method: 'tools/call', params: { name: 'slow', _meta: MODERN } })
    assert.equal((await hear()).method, 'x')
    say({ jsonrpc: '2.0', method: 'notifications/cancelled', params: { requestId: 'a', _meta: MODERN } })
    await gone
    say({ jsonrpc: '2.0', id: 'b', method: 'tools/call', params: { name: 'grüße', _meta: MODERN } })
    assert.equal((await hear()).id, 'b')
    const { headers } = asked[1]!
    assert.deepEqual(
      [headers['mcp-protocol-version'], headers['mcp-method'], headers['mcp-name']],
      ['2026-07-28', 'tools/call', `=?base64?${Buffer.from('grüße').toString('base64')}?=`],
    )
  })
})

test('an answer that is lost, a stranger that answers, a long line and too many requests are typed errors', async () => {
  const answer: Answer = ({ body }, response) => {
    if (body.method === 'lost')
      return void response.writeHead(200, { 'content-type': 'text/event-stream' }).end(': x\n\n')
    if (body.method === 'stranger') return void response.writeHead(200).end('<html>')
  }
  await withBridge(answer, async ({ say, hear }) => {
    const code = async (): Promise<unknown[]> => {
      const { id, error } = await hear()
      return [id, error?.data.code]
    }
    say({ jsonrpc: '2.0', id: 1, method: 'lost' })
    assert.deepEqual(await code(), [1, 'UPSTREAM_UNAVAILABLE'])
    say({ jsonrpc: '2.0', id: 2, method: 'stranger' })
    assert.deepEqual(await code(), [2, 'UPSTREAM_INVALID'])
    say('x'.repeat(LIMITS.bodyBytes + 1))
    assert.deepEqual(await code(), [null, 'TOO_LARGE'])
    for (let id = 0; id <= IN_FLIGHT_MAX; id += 1) say({ jsonrpc: '2.0', id, method: 'hang' })
    assert.deepEqual(await code(), [IN_FLIGHT_MAX, 'OVERLOADED'])
  })
})
