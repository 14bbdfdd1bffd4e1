// An MCP server of either era in a few lines, so that a test can change what it offers, forget its sessions or turn into
// another one at any moment. For createRawUpstream (HTTP); as a child it is test/fakes/mcp-child.ts.

import type { Socket } from 'node:net'
import { chunk, event, http, json, type RawRequest, type Respond, result, SSE_HEAD } from './raw-upstream.ts'

export interface Scripted {
  eras: readonly ('legacy' | 'modern')[]
  /** Mints session ids and wants them. */
  sessions: boolean
  capabilities: Record<string, unknown>
  /** Method -> result of a list, JSON text; `{cursor}` pages are the test's own affair. */
  answers: Record<string, string | ((request: RawRequest) => string | Buffer)>
  /** Streams of news that are open. */
  readonly streams: Set<Socket>
  readonly known: Set<string>
  offersStream: boolean
  revision: string
  readonly respond: Respond
  /** Says this on every open stream. */
  say(message: string): void
}

const DISCOVER = (capabilities: unknown): string =>
  JSON.stringify({
    ...{ resultType: 'complete', supportedVersions: ['2026-07-28'], capabilities, ttlMs: 0, cacheScope: 'private' },
    _meta: { 'io.modelcontextprotocol/serverInfo': { name: 'scripted', version: '2' } },
  })

export const refusal = (id: string, code: number, message = 'no', status = 400, data?: unknown): Buffer =>
  json(JSON.stringify({ jsonrpc: '2.0', id: JSON.parse(id) as unknown, error: { code, message, data } }), status)

export function createScripted(
  over: Partial<Pick<Scripted, 'eras' | 'sessions' | 'capabilities' | 'answers' | 'offersStream' | 'revision'>> = {},
): Scripted {
  let minted = 0
  const mint = (): string => {
    minted += 1
    return `s-${minted}`
  }
  const scripted: Scripted = {
    eras: ['legacy'],
    sessions: false,
    capabilities: { tools: {} },
    answers: {},
    streams: new Set(),
    known: new Set(),
    offersStream: false,
    revision: '2025-11-25',
    ...over,
    respond: (request, socket) => {
      const isModern = request.headers['mcp-method'] !== undefined
      if (request.method === 'GET') return openStream(scripted, request, socket)
      if (request.method === 'DELETE') {
        scripted.known.delete(request.headers['mcp-session-id'] ?? '')
        return http(200, {})
      }
      if (!scripted.eras.includes(isModern ? 'modern' : 'legacy')) {
        return refusal(request.id, isModern ? -32000 : -32022, 'wrong era', 400, { supported: ['2026-07-28'] })
      }
      return isModern ? modern(scripted, request, socket) : legacy(scripted, request, mint)
    },
    say(message) {
      for (const socket of scripted.streams) socket.write(chunk(event(message)))
    },
  }
  return scripted
}

function openStream(scripted: Scripted, request: RawRequest, socket: Socket): Buffer | string {
  const isKnown = !scripted.sessions || scripted.known.has(request.headers['mcp-session-id'] ?? '')
  if (!scripted.offersStream || !isKnown) return http(isKnown ? 405 : 404, {})
  scripted.streams.add(socket)
  socket.on('close', () => scripted.streams.delete(socket))
  return SSE_HEAD
}

function answer(scripted: Scripted, request: RawRequest): Buffer {
  const own = scripted.answers[request.message.method ?? '']
  if (own === undefined) return refusal(request.id, -32601, 'unknown', 200)
  const said = typeof own === 'string' ? own : own(request)
  return Buffer.isBuffer(said) ? said : json(result(request.id, said))
}

function modern(scripted: Scripted, request: RawRequest, socket: Socket): Buffer | string {
  const { method } = request.message
  if (method === 'server/discover') return json(result(request.id, DISCOVER(scripted.capabilities)))
  if (method === 'subscriptions/listen' && scripted.offersStream) {
    scripted.streams.add(socket)
    socket.on('close', () => scripted.streams.delete(socket))
    const params = `{"_meta":{"io.modelcontextprotocol/subscriptionId":${request.id}},"notifications":{}}`
    return (
      SSE_HEAD +
      chunk(event(`{"jsonrpc":"2.0","method":"notifications/subscriptions/acknowledged","params":${params}}`))
    )
  }
  return answer(scripted, request)
}

function legacy(scripted: Scripted, request: RawRequest, mint: () => string): Buffer {
  const { method } = request.message
  if (method === 'initialize') {
    const { capabilities, revision } = scripted
    const greeting = { protocolVersion: revision, capabilities, serverInfo: { name: 'scripted', version: '1' } }
    const session = scripted.sessions ? mint() : null
    if (session !== null) scripted.known.add(session)
    return json(
      result(request.id, JSON.stringify(greeting)),
      200,
      session === null ? {} : { 'mcp-session-id': session },
    )
  }
  if (scripted.sessions && !scripted.known.has(request.headers['mcp-session-id'] ?? '')) {
    return refusal('null', -32001, 'Session not found', request.headers['mcp-session-id'] === undefined ? 400 : 404)
  }
  if (method?.startsWith('notifications/')) return http(202, {})
  return answer(scripted, request)
}
