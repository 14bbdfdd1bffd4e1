// What the tests of the lanes to upstreams share: both lanes, plain servers in front of which they are put, and one way to
// send a request and see all that came of it.

import assert from 'node:assert/strict'
import type { Server } from 'node:http'
import { type AddressInfo, createServer as createTcpServer, type Socket } from 'node:net'
import { type TestContext, test } from 'node:test'
import type { GatewayError } from '../../src/core/errors.ts'
import { LIMITS } from '../../src/core/limits.ts'
import { createFastLink } from '../../src/http/fast-link.ts'
import { createGuard } from '../../src/http/guard.ts'
import type { CreateLink, Link, LinkOptions, LinkRequest } from '../../src/http/link.ts'
import { createLink as createUndiciLink } from '../../src/http/undici-link.ts'

export const LANES: readonly [name: string, createLink: CreateLink][] = [
  ['undici', createUndiciLink],
  ['fast', createFastLink],
]

/** One test, once with each lane. */
export function laneTest(name: string, run: (t: TestContext, createLink: CreateLink) => Promise<void>): void {
  for (const [lane, createLink] of LANES) test(`${lane}: ${name}`, (t) => run(t, createLink))
}

export const OPTIONS: LinkOptions = {
  connectionsMax: 8,
  connectMs: 2_000,
  headerBytes: LIMITS.upstreamHeaderBytes,
  ca: null,
  caPinned: false,
  guard: createGuard({ allowPrivate: true, networks: [] }),
}

export const POST: LinkRequest = { method: 'POST', path: '/mcp', headers: [], body: Buffer.from('{}'), headMs: 0 }

export async function listen(t: TestContext, server: Server | ReturnType<typeof createTcpServer>): Promise<number> {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.after(() => {
    server.close()
    if ('closeAllConnections' in server) server.closeAllConnections()
  })
  return (server.address() as AddressInfo).port
}

/** In front of a server that does with every connection what `on` says. */
export async function rawLink(
  t: TestContext,
  createLink: CreateLink,
  on: (socket: Socket, count: number) => void,
  options: Partial<LinkOptions> = {},
): Promise<Link> {
  let count = 0
  const sockets = new Set<Socket>()
  const server = createTcpServer({ noDelay: true }, (socket) => {
    sockets.add(socket)
    socket.on('close', () => sockets.delete(socket))
    socket.on('error', () => {})
    count += 1
    on(socket, count)
  })
  const port = await listen(t, server)
  t.after(() => {
    for (const socket of sockets) socket.destroy()
  })
  const link = createLink(new URL(`http://127.0.0.1:${port}`), { ...OPTIONS, ...options })
  t.after(() => link.close(0))
  return link
}

export type Outcome =
  | { status: number; headers: Readonly<Record<string, string | undefined>>; body: string }
  | { error: GatewayError; sent: boolean; status: number }

/** `body` of the outcome is Latin-1 where the test says so, to compare bytes. */
export function send(
  link: Link,
  request: Partial<LinkRequest> = {},
  { onHead, encoding = 'utf8' }: { onHead?: () => void; encoding?: BufferEncoding } = {},
): Promise<Outcome> {
  return new Promise((resolve) => {
    let status = 0
    let headers: Readonly<Record<string, string | undefined>> = {}
    const chunks: Buffer[] = []
    link.request(
      { ...POST, ...request },
      {
        onHead: (code, given) => {
          status = code
          headers = given
          onHead?.()
        },
        onData: (chunk) => chunks.push(chunk),
        onEnd: () => resolve({ status, headers, body: Buffer.concat(chunks).toString(encoding) }),
        onError: (error, sent) => resolve({ error, sent, status }),
      },
    )
  })
}

export async function succeeds(outcome: Promise<Outcome>): Promise<{ status: number; body: string }> {
  const got = await outcome
  assert.ok('body' in got, 'error' in got ? got.error.message : '')
  return { status: got.status, body: got.body }
}

export async function fails(outcome: Promise<Outcome>): Promise<{ code: string; message: string; sent: boolean }> {
  const got = await outcome
  assert.ok('error' in got, JSON.stringify(got))
  return { code: got.error.code, message: got.error.message, sent: got.sent }
}
