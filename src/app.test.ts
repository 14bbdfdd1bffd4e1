// A whole gateway in this process: what its start and its end leave behind, and whom its first token lets in.

import assert from 'node:assert/strict'
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { Agent, type IncomingHttpHeaders, request } from 'node:http'
import { type AddressInfo, createServer, type Server } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { connect } from 'node:tls'
import { CA_PEM, OTHER_CERT_PEM, OTHER_KEY_PEM, SERVER_CERT_PEM, SERVER_KEY_PEM } from '../test/fakes/certificates.ts'
import { createTalk } from '../test/fakes/mcp-talk.ts'
import { until } from '../test/fakes/processes.ts'
import { createRawUpstream, json, result } from '../test/fakes/raw-upstream.ts'
import { createScripted } from '../test/fakes/scripted-mcp.ts'
import { type Running, startGateway } from './app.ts'
import { loadConfig } from './config/load.ts'
import { GatewayError } from './core/errors.ts'
import type { Limits } from './core/limits.ts'
import { type Log, SILENT } from './ports/log.ts'

function makeFolder(t: TestContext): string {
  const folder = mkdtempSync(join(tmpdir(), 'mcp-gateway-app-'))
  t.after(() => rmSync(folder, { recursive: true, force: true }))
  return folder
}

interface Flags {
  readonly open?: boolean
  readonly port?: number
  readonly workers?: number
}

interface Further {
  /** In place of what the loader would allow. */
  readonly host?: string
  readonly env?: Readonly<Record<string, string>>
  readonly limits?: Partial<Limits>
  readonly log?: Log
}

async function start(data: string, flags: Flags = {}, { host, env = {}, limits, log }: Further = {}): Promise<Running> {
  const loaded = await loadConfig({ flags: { port: 0, data, ...flags }, env, workingDirectory: data })
  assert.deepEqual(loaded.faults, [])
  const server = { ...loaded.config.server, ...(host === undefined ? {} : { host }) }
  return startGateway({
    config: { ...loaded.config, server, limits: { ...loaded.config.limits, drainMs: 1, ...limits } },
    rows: loaded.rows,
    demo: false,
    readyMs: 0,
    version: '0.0.0',
    log: log ?? SILENT,
  })
}

/** Starts a gateway that is stopped when the test ends, if it has not been before. */
async function started(t: TestContext, data: string, flags: Flags = {}, further: Further = {}): Promise<Running> {
  const running = await start(data, flags, further)
  t.after(() => running.stop())
  return running
}

async function statusOf(url: string, path: string, token: string | null, init: RequestInit = {}): Promise<number> {
  const headers: Record<string, string> = token === null ? {} : { Authorization: `Bearer ${token}` }
  const answer = await fetch(`${url}${path}`, { ...init, headers: { ...headers, ...init.headers } })
  await answer.arrayBuffer()
  return answer.status
}

async function revoke(running: Running, name: string): Promise<number> {
  return statusOf(running.url, `/v1/tokens/${name}`, running.token, { method: 'DELETE', headers: { 'If-Match': '*' } })
}

test('the first token stays the same, is made anew where its file is lost, and once revoked stays revoked', async (t) => {
  const data = makeFolder(t)
  const file = join(data, 'token')
  let running = await started(t, data)
  const first = running.token!
  assert.equal(readFileSync(file, 'utf8').trim(), first)
  assert.equal(await statusOf(running.url, '/v1/upstreams', first), 200)
  await running.stop()

  running = await started(t, data)
  assert.equal(running.token, first)
  await running.stop()

  rmSync(file)
  running = await started(t, data)
  const second = running.token!
  assert.notEqual(second, first)
  assert.equal(readFileSync(file, 'utf8').trim(), second)
  // Whoever has the old one may go on: it was lost, not revoked.
  assert.equal(await statusOf(running.url, '/v1/upstreams', first), 200)
  assert.equal(await revoke(running, 'first'), 204)
  assert.equal(await statusOf(running.url, '/v1/upstreams', first), 401)
  await running.stop()

  writeFileSync(file, first)
  running = await started(t, data)
  const third = running.token!
  assert.ok(third !== first && third !== second)
  assert.deepEqual(
    [await statusOf(running.url, '/v1/upstreams', first), await statusOf(running.url, '/v1/upstreams', third)],
    [401, 200],
  )
})

test('--open needs no token, makes none, and is refused where others can reach it', async (t) => {
  const data = makeFolder(t)
  for (const host of ['0.0.0.0', '::', '192.0.2.1', 'example.com']) {
    await assert.rejects(
      start(join(data, 'none'), { open: true }, { host }),
      (error) => error instanceof GatewayError && error.code === 'CONFIG_INVALID' && error.message.includes(host),
    )
  }
  assert.equal(existsSync(join(data, 'none')), false)
  const running = await started(t, data, { open: true })
  assert.deepEqual([running.token, existsSync(join(data, 'token'))], [null, false])
  assert.equal(await statusOf(running.url, '/v1/upstreams', null), 200)
})

function listenAt(host: string, port: number): Promise<Server> {
  return new Promise((resolve, reject) => {
    const server = createServer()
    server.once('error', reject)
    server.listen(port, host, () => resolve(server))
  })
}

function portOf(server: Server): number {
  return (server.address() as AddressInfo).port
}

/** Nobody holds the data directory or the port, and no note says so. */
async function assertFree(t: TestContext, data: string, port: number): Promise<void> {
  assert.equal(existsSync(join(data, 'gateway.json')), false)
  const running = await started(t, data, { port })
  assert.equal(await statusOf(running.url, '/v1/upstreams', running.token), 200)
  await running.stop()
}

test('a start that finds its port taken leaves nothing behind', async (t) => {
  const data = makeFolder(t)
  const other = await listenAt('127.0.0.1', 0)
  const port = portOf(other)
  await assert.rejects(start(data, { port }), { code: 'EADDRINUSE' })
  await new Promise((resolve) => other.close(resolve))
  await assertFree(t, data, port)
})

test('a start that cannot open its store leaves nothing behind', async (t) => {
  const data = makeFolder(t)
  const probe = await listenAt('127.0.0.1', 0)
  const port = portOf(probe)
  await new Promise((resolve) => probe.close(resolve))
  const file = join(data, 'gateway.db')
  writeFileSync(file, 'x'.repeat(8_192))
  await assert.rejects(start(data, { port }), (error) => error instanceof GatewayError)
  assert.equal(readFileSync(file, 'utf8'), 'x'.repeat(8_192), 'what is no store of ours is not touched')
  rmSync(file)
  await assertFree(t, data, port)
})

test('a second gateway on the same data directory is refused, and the first one goes on', async (t) => {
  const data = makeFolder(t)
  const running = await started(t, data)
  await assert.rejects(start(data), (error) => error instanceof GatewayError && error.code === 'CONFLICT')
  assert.equal(await statusOf(running.url, '/v1/upstreams', running.token), 200)
  assert.equal(existsSync(join(data, 'gateway.json')), true)
})

test('a stop ends everything once, however often it is asked for', async (t) => {
  const data = makeFolder(t)
  const running = await started(t, data)
  const port = Number(new URL(running.url).port)
  await Promise.all([running.stop(), running.stop()])
  assert.equal(await running.stopped, 0)
  await running.stop()
  await assertFree(t, data, port)
})

/** A request on a connection of its own, so that any worker may get it. */
function send(
  running: Running,
  method: string,
  path: string,
  headers: Readonly<Record<string, string>>,
  body?: object,
): Promise<{ readonly status: number; readonly headers: IncomingHttpHeaders; readonly text: string }> {
  const given = body === undefined ? {} : { 'content-type': 'application/json', accept: 'application/json' }
  return new Promise((resolve, reject) => {
    const options = { method, headers: { ...given, ...headers }, agent: new Agent({ keepAlive: false }) }
    const sent = request(`${running.url}${path}`, options, (answer) => {
      const chunks: Buffer[] = []
      answer.on('data', (chunk: Buffer) => chunks.push(chunk))
      answer.on('end', () => {
        resolve({ status: answer.statusCode!, headers: answer.headers, text: Buffer.concat(chunks).toString() })
      })
    })
    sent.on('error', reject)
    sent.end(body === undefined ? undefined : JSON.stringify(body))
  })
}

/** A gateway with one tool, `slow-x`, and a call of it that has reached its upstream. */
async function withCall(t: TestContext, data: string, limits: Partial<Limits>) {
  const asked = Promise.withResolvers<() => void>()
  const scripted = createScripted({
    answers: { 'tools/list': '{"tools":[{"name":"x","inputSchema":{"type":"object"}}]}' },
  })
  const upstream = await createRawUpstream((asking, socket, connection) => {
    if (asking.message.method !== 'tools/call') return scripted.respond(asking, socket, connection)
    asked.resolve(() => void socket.write(json(result(asking.id))))
    return undefined
  })
  t.after(() => upstream.close())
  const running = await started(t, data, {}, { limits })
  const operator = { authorization: `Bearer ${running.token}` }
  const transport = { kind: 'http', urls: [upstream.url] }
  const made = await send(running, 'POST', '/v1/upstreams?wait=30s', operator, { slug: 'slow', transport })
  assert.equal(made.status, 201, made.text)
  const params = { name: 'slow-x', arguments: {} }
  const call = send(running, 'POST', '/rpc', operator, { jsonrpc: '2.0', id: 1, method: 'tools/call', params })
  return { running, call, answer: await asked.promise }
}

test('a stop lets calls come to their end, and takes no new ones', async (t) => {
  const { running, call, answer } = await withCall(t, makeFolder(t), {})
  const stopping = running.stop()
  // Once nobody listens any more, only what is in flight keeps it.
  for (;;) if ((await statusOf(running.url, '/health', null).catch(() => null)) === null) break
  answer()
  assert.equal((await call).status, 200)
  await stopping
})

test('a stop does not wait for ever', async (t) => {
  const { running, call } = await withCall(t, makeFolder(t), { stopMs: 200 })
  await running.stop()
  const { status, text } = await call
  assert.equal(status, 503)
  assert.match(text, /SHUTTING_DOWN/)
})

// --- workers ---------------------------------------------------------------------------------------------------------------

test('with workers it is one gateway: sessions, tokens and the API are the same by any of them', async (t) => {
  const data = makeFolder(t)
  const running = await started(t, data, { workers: 2 })
  const operator = { authorization: `Bearer ${running.token}` }
  const made = await send(running, 'POST', '/v1/tokens', operator, { name: 'other', rights: ['use'] })
  assert.equal(made.status, 201)
  const bearer = { authorization: `Bearer ${(JSON.parse(made.text) as { token: string }).token}` }
  const message = (method: string, params: object): object => ({ jsonrpc: '2.0', id: 1, method, params })
  const clientInfo = { name: 'test', version: '1' }
  const hello = message('initialize', { protocolVersion: '2025-11-25', capabilities: {}, clientInfo })
  const session = async (): Promise<Record<string, string>> => {
    const { headers } = await send(running, 'POST', '/mcp', bearer, hello)
    return { ...bearer, 'mcp-session-id': String(headers['mcp-session-id']) }
  }
  /** What a ping gets, on as many connections that each of the workers has surely had some. */
  const pings = async (headers: Record<string, string>): Promise<number[]> => {
    const answers = Array.from({ length: 16 }, () => send(running, 'POST', '/mcp', headers, message('ping', {})))
    return [...new Set((await Promise.all(answers)).map(({ status }) => status))]
  }
  const untilAll = async (status: number, headers: Record<string, string>): Promise<void> => {
    while (String(await pings(headers)) !== String(status)) await new Promise((resolve) => setTimeout(resolve, 20))
  }

  const [ended, going] = [await session(), await session()]
  assert.deepEqual([await pings(ended), await pings(going)], [[200], [200]])
  assert.equal((await send(running, 'DELETE', '/mcp', ended)).status, 204)
  await untilAll(404, ended)
  assert.deepEqual(await pings(going), [200])
  assert.equal((await send(running, 'DELETE', '/v1/tokens/other', operator)).status, 204)
  await untilAll(401, going)
  const port = Number(new URL(running.url).port)
  await running.stop()
  await assertFree(t, data, port)
})

// --- certificates --------------------------------------------------------------------------------------------------------

/** The name in the certificate that a new connection is shown. */
function shownName(url: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect({
      host: '127.0.0.1',
      port: Number(new URL(url).port),
      servername: 'localhost',
      ca: [CA_PEM, OTHER_CERT_PEM],
      rejectUnauthorized: false,
    })
    socket.on('error', reject)
    socket.on('secureConnect', () => {
      resolve(String(socket.getPeerCertificate().subject.CN))
      socket.destroy()
    })
  })
}

test('a certificate that is replaced on disk is used for new connections, one that does not fit is not', async (t) => {
  const data = makeFolder(t)
  const [cert, key] = [join(data, 'cert.pem'), join(data, 'key.pem')]
  writeFileSync(cert, SERVER_CERT_PEM)
  writeFileSync(key, SERVER_KEY_PEM)
  let told: (event: string) => void = () => {}
  const note = (event: string): void => told(event)
  const next = (wanted: string): Promise<void> =>
    new Promise((resolve) => {
      told = (event) => event === wanted && resolve()
    })
  const running = await started(
    t,
    data,
    {},
    {
      env: { MCP_GATEWAY_SERVER_TLS_CERT: cert, MCP_GATEWAY_SERVER_TLS_KEY: key },
      limits: { tlsPollMs: 20 },
      log: { ...SILENT, info: note, warn: note },
    },
  )
  assert.match(running.url, /^https:/)
  assert.equal(await shownName(running.url), 'localhost')

  // A renewal writes two files, one after the other: in between they do not fit, and the old ones go on.
  let heard = next('tls.not_reloaded')
  writeFileSync(cert, OTHER_CERT_PEM)
  await heard
  assert.equal(await shownName(running.url), 'localhost')
  heard = next('tls.reloaded')
  writeFileSync(key, OTHER_KEY_PEM)
  await heard
  assert.equal(await shownName(running.url), 'other')

  heard = next('tls.not_reloaded')
  writeFileSync(cert, 'nonsense')
  await heard
  heard = next('tls.not_reloaded')
  rmSync(key)
  await heard
  assert.equal(await shownName(running.url), 'other')
})

test('sessions upstream that clients have forgotten are ended, and one that is used stays (upstreamSessionIdleMs)', async (t) => {
  const tool = { name: 'echo', inputSchema: { type: 'object' } }
  const scripted = createScripted({
    sessions: true,
    answers: { 'tools/list': JSON.stringify({ tools: [tool] }), 'tools/call': '{"content":[]}' },
  })
  const upstream = await createRawUpstream(scripted.respond)
  t.after(() => upstream.close())
  const running = await started(t, makeFolder(t), {}, { limits: { upstreamSessionIdleMs: 1_000 } })
  const transport = { kind: 'http', urls: [upstream.url] }
  const own = { slug: 'own', isolation: 'session', transport }
  const made = await send(running, 'POST', '/v1/upstreams?wait=30s', { Authorization: `Bearer ${running.token}` }, own)
  assert.equal(made.status, 201)
  const begin = async (): Promise<ReturnType<typeof createTalk>> => {
    const talk = createTalk(running.url, running.token!, 'legacy')
    t.after(() => talk.close())
    await talk.begin()
    return talk
  }
  const call = async (talk: ReturnType<typeof createTalk>): Promise<void> => {
    const { message } = await talk.ask('tools/call', { name: 'own-echo', arguments: {} })
    assert.equal(message.error, undefined, JSON.stringify(message))
  }
  const kept = await begin()
  await call(kept)
  const [, mine] = [...scripted.known]
  const first = await begin()
  await call(first)
  for (let n = 0; n < 20; n += 1) await call(await begin())
  assert.equal(scripted.known.size, 23)
  await until('their end', async () => {
    await call(kept)
    return scripted.known.size === 2
  })
  assert.ok(scripted.known.has(mine!))
  // A client that comes back after all gets another one.
  await call(first)
  assert.equal(scripted.known.size, 3)
})
