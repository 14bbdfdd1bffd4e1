// The forwarder between two real servers: one on TCP as a worker's, one on a Unix socket as the primary's.

import assert from 'node:assert/strict'
import { once } from 'node:events'
import { mkdtempSync } from 'node:fs'
import { createServer, request as httpRequest, type IncomingMessage, type Server } from 'node:http'
import { type AddressInfo, connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { LIMITS } from '../core/limits.ts'
import { createForwarder } from './forward.ts'
import { createNodeServer } from './node-exchange.ts'

const socketPath = join(mkdtempSync(join(tmpdir(), 'mcp-gateway-forward-')), 'primary.sock')
let primary: Server | null = createServer((request, response) => {
  const chunks: Buffer[] = []
  request.on('data', (chunk: Buffer) => chunks.push(chunk))
  request.on('end', () => {
    if (request.url === '/large') response.end(Buffer.alloc(5_000))
    else if (request.url === '/early') response.socket?.destroy()
    else {
      response.setHeader('ETag', '"v1"')
      response.statusCode = request.method === 'DELETE' ? 204 : 201
      response.end(
        request.method === 'DELETE'
          ? ''
          : `${request.method} ${request.url} ${request.headers.authorization} ${Buffer.concat(chunks)}`,
      )
    }
  })
})
await new Promise<void>((resolve) => primary!.listen(socketPath, resolve))
const forwarder = createForwarder({
  ...{ socketPath, bodyBytes: 1_000, answerBytes: 4_000, answerMs: 2_000, waitingMax: 2 },
  mayRead: async ({ headers }) => headers.authorization === 'Bearer t',
})
const worker = createNodeServer({
  handler: forwarder.handler,
  limits: LIMITS,
  trustedProxies: [],
  log: { warn: () => {} },
})
await new Promise<void>((resolve) => worker.server.listen(0, '127.0.0.1', resolve))
const { port } = worker.server.address() as AddressInfo
after(async () => {
  forwarder.close()
  await worker.close()
  primary?.close()
})

function ask(
  method: string,
  path: string,
  body = '',
  token = 't',
): Promise<{ status: number; etag: string | undefined; text: string }> {
  return new Promise((resolve, reject) => {
    const sent = httpRequest(
      { host: '127.0.0.1', port, method, path, agent: false, headers: { authorization: `Bearer ${token}` } },
      (response: IncomingMessage) => {
        let text = ''
        response.on('data', (chunk) => {
          text += chunk
        })
        response.on('end', () => resolve({ status: response.statusCode!, etag: response.headers.etag, text }))
      },
    )
    sent.on('error', reject)
    sent.end(body)
  })
}

test('method, path, query, headers and body go there; status, headers and body come back', async () => {
  assert.deepEqual(await ask('POST', '/v1/x?a=b', '{}'), {
    status: 201,
    etag: '"v1"',
    text: 'POST /v1/x?a=b Bearer t {}',
  })
  assert.deepEqual(await ask('DELETE', '/v1/x'), { status: 204, etag: '"v1"', text: '' })
  assert.equal((await ask('HEAD', '/v1/x')).status, 201)
})

test('of a caller who may not, no body is read: the primary refuses by the head alone', async () => {
  assert.equal((await ask('POST', '/v1/x', '{}', 'other')).text, 'POST /v1/x Bearer other ')
  // Announced and never sent: an answer can only come from someone who does not wait for it.
  const head = 'POST /v1/x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 900\r\n\r\n'
  const socket = connect(port, '127.0.0.1', () => socket.write(head))
  const [first] = (await once(socket, 'data')) as [Buffer]
  socket.destroy()
  assert.match(first.toString(), /^HTTP\/1\.1 201 /)
})

test('bounds and faults are typed', async () => {
  const code = async (method: string, path: string, body?: string): Promise<string> => {
    const { status, text } = await ask(method, path, body)
    return `${status} ${(JSON.parse(text) as { code: string }).code}`
  }
  assert.equal(await code('POST', '/v1/x', 'x'.repeat(2_000)), '413 TOO_LARGE')
  assert.equal(await code('GET', '/large'), '503 STORE_UNAVAILABLE')
  assert.equal(await code('GET', '/early'), '503 STORE_UNAVAILABLE')
  primary!.close()
  primary!.closeAllConnections()
  primary = null
  assert.equal(await code('GET', '/v1/x'), '503 STORE_UNAVAILABLE')
})
