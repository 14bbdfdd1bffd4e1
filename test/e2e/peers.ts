// Real clients that no one here wrote, behind one small interface, so that one script can run with each of them and its
// answers be compared: the TypeScript SDK 1.x, and 2.x in its legacy and its negotiating mode.

import * as two from '@modelcontextprotocol/client'
import { StdioClientTransport as StdioTwo } from '@modelcontextprotocol/client/stdio'
import { Client as ClientOne } from '@modelcontextprotocol/sdk/client/index.js'
import { SSEClientTransport as SseOne } from '@modelcontextprotocol/sdk/client/sse.js'
import { StdioClientTransport as StdioOne } from '@modelcontextprotocol/sdk/client/stdio.js'
import { StreamableHTTPClientTransport as HttpOne } from '@modelcontextprotocol/sdk/client/streamableHttp.js'
import { WebSocketClientTransport } from '@modelcontextprotocol/sdk/client/websocket.js'
import { LoggingMessageNotificationSchema, ToolListChangedNotificationSchema } from '@modelcontextprotocol/sdk/types.js'

export const PEER_KINDS = ['sdk 1.x', 'sdk 2.x legacy', 'sdk 2.x auto'] as const
export type PeerKind = (typeof PEER_KINDS)[number]

/**
 * Where a peer connects to: a URL, or a command that it spawns itself. A URL that ends in /sse is spoken to by HTTP+SSE,
 * one of ws: by WebSocket, any other by streamable HTTP.
 */
export type Place =
  | { readonly url: string; readonly token?: string }
  | { readonly command: string; readonly args: readonly string[]; readonly env?: Readonly<Record<string, string>> }

export type Json = Record<string, unknown>

export interface CallOptions {
  readonly onProgress?: (progress: { progress: number; total?: number | undefined }) => void
  readonly signal?: AbortSignal
}

export type Reference = { type: 'ref/prompt'; name: string } | { type: 'ref/resource'; uri: string }

/** Answers are plain JSON as the client gave it; a refusal is thrown as the client throws it. */
export interface Peer {
  readonly kind: PeerKind
  readonly era: 'legacy' | 'modern'
  readonly server: { readonly name: string; readonly version: string } | undefined
  readonly capabilities: Json
  readonly instructions: string | undefined
  /** Every page. */
  tools(): Promise<Json[]>
  prompts(): Promise<Json[]>
  resources(): Promise<Json[]>
  templates(): Promise<Json[]>
  call(name: string, args?: Json, options?: CallOptions): Promise<Json>
  prompt(name: string, args?: Record<string, string>): Promise<Json>
  read(uri: string): Promise<Json>
  complete(ref: Reference, argument: { name: string; value: string }): Promise<Json>
  setLevel(level: 'debug' | 'info' | 'warning' | 'error'): Promise<void>
  /** Log lines that arrived, in order. */
  readonly logs: readonly Json[]
  /** How many times the tools were said to have changed. */
  toolsChanged(): number
  close(): Promise<void>
}

const INFO = { name: 'e2e-client', version: '1.0.0' }
const PAGES_MAX = 50

export async function connectPeer(kind: PeerKind, place: Place): Promise<Peer> {
  return kind === 'sdk 1.x' ? connectOne(place) : connectTwo(kind, place)
}

const headersOf = (token: string | undefined): Record<string, string> =>
  token === undefined ? {} : { Authorization: `Bearer ${token}` }

const isSse = (url: string): boolean => url.endsWith('/sse')
const isSocket = (url: string): boolean => url.startsWith('ws')

/** The 1.x transport takes whatever WebSocket is there, and names one subprotocol: the token is put in as a second one. */
class WithToken extends WebSocketClientTransport {
  readonly #token: string | undefined

  constructor(url: URL, token: string | undefined) {
    super(url)
    this.#token = token
  }

  override start(): Promise<void> {
    const plain = globalThis.WebSocket
    const tokens = this.#token === undefined ? [] : [`bearer.${this.#token}`]
    globalThis.WebSocket = class extends plain {
      constructor(url: string | URL, protocol?: unknown) {
        super(url, [String(protocol), ...tokens])
      }
    }
    try {
      // Its WebSocket is made before this returns.
      return super.start()
    } finally {
      globalThis.WebSocket = plain
    }
  }
}

/** A transport of the SDK 1.x to a place. */
export function transportOne(place: Place) {
  const requestInit = { headers: headersOf('url' in place ? place.token : undefined) }
  return !('url' in place)
    ? new StdioOne({ command: place.command, args: [...place.args], env: { ...place.env }, stderr: 'ignore' })
    : isSocket(place.url)
      ? new WithToken(new URL(place.url), place.token)
      : isSse(place.url)
        ? new SseOne(new URL(place.url), { requestInit })
        : new HttpOne(new URL(place.url), { requestInit })
}

/** One for the SDK 2.x, which has no WebSocket of its own and takes that of 1.x. */
export function transportTwo(place: Place) {
  const requestInit = { headers: headersOf('url' in place ? place.token : undefined) }
  return !('url' in place)
    ? new StdioTwo({ command: place.command, args: [...place.args], env: { ...place.env }, stderr: 'ignore' })
    : isSocket(place.url)
      ? new WithToken(new URL(place.url), place.token)
      : isSse(place.url)
        ? new two.SSEClientTransport(new URL(place.url), { requestInit })
        : new two.StreamableHTTPClientTransport(new URL(place.url), { requestInit })
}

async function pages(next: (cursor: string | undefined) => Promise<[items: unknown[], cursor: string | undefined]>) {
  const all: Json[] = []
  let cursor: string | undefined
  for (let page = 0; page < PAGES_MAX; page += 1) {
    const [items, following] = await next(cursor)
    all.push(...(items as Json[]))
    if (following === undefined) return all
    cursor = following
  }
  throw new Error(`the list did not end within ${PAGES_MAX} pages`)
}

async function connectOne(place: Place): Promise<Peer> {
  const client = new ClientOne(INFO)
  const logs: Json[] = []
  let changes = 0
  client.setNotificationHandler(LoggingMessageNotificationSchema, ({ params }) => void logs.push(params as Json))
  client.setNotificationHandler(ToolListChangedNotificationSchema, () => {
    changes += 1
  })
  const transport = transportOne(place)
  // Under exactOptionalPropertyTypes the SDK's own transport does not fit its own interface.
  await client.connect(transport as Parameters<typeof client.connect>[0])
  return {
    kind: 'sdk 1.x',
    era: 'legacy',
    server: client.getServerVersion(),
    capabilities: (client.getServerCapabilities() ?? {}) as Json,
    instructions: client.getInstructions(),
    tools: () => pages(async (cursor) => client.listTools({ cursor }).then((r) => [r.tools, r.nextCursor])),
    prompts: () => pages(async (cursor) => client.listPrompts({ cursor }).then((r) => [r.prompts, r.nextCursor])),
    resources: () => pages(async (cursor) => client.listResources({ cursor }).then((r) => [r.resources, r.nextCursor])),
    templates: () =>
      pages(async (cursor) =>
        client.listResourceTemplates({ cursor }).then((r) => [r.resourceTemplates, r.nextCursor]),
      ),
    call: async (name, args = {}, { onProgress, signal } = {}) =>
      (await client.callTool({ name, arguments: args }, undefined, {
        ...(onProgress && { onprogress: onProgress }),
        ...(signal && { signal }),
      })) as Json,
    prompt: async (name, args) => (await client.getPrompt({ name, ...(args && { arguments: args }) })) as Json,
    read: async (uri) => (await client.readResource({ uri })) as Json,
    complete: async (ref, argument) => (await client.complete({ ref, argument })) as Json,
    setLevel: async (level) => void (await client.setLoggingLevel(level)),
    logs,
    toolsChanged: () => changes,
    async close() {
      if (transport instanceof HttpOne) await transport.terminateSession()
      await client.close()
    },
  }
}

async function connectTwo(kind: 'sdk 2.x legacy' | 'sdk 2.x auto', place: Place): Promise<Peer> {
  const client = new two.Client(INFO, { versionNegotiation: { mode: kind === 'sdk 2.x auto' ? 'auto' : 'legacy' } })
  const logs: Json[] = []
  let changes = 0
  client.setNotificationHandler('notifications/message', ({ params }) => void logs.push(params as Json))
  client.setNotificationHandler('notifications/tools/list_changed', () => {
    changes += 1
  })
  const transport = transportTwo(place)
  await client.connect(transport as Parameters<typeof client.connect>[0])
  const era = client.getProtocolEra() === 'modern' ? 'modern' : 'legacy'
  let requestMeta: Json | null = null
  return {
    kind,
    era,
    server: client.getServerVersion(),
    capabilities: (client.getServerCapabilities() ?? {}) as Json,
    instructions: client.getInstructions(),
    tools: () => pages(async (cursor) => client.listTools({ cursor }).then((r) => [r.tools, r.nextCursor])),
    prompts: () => pages(async (cursor) => client.listPrompts({ cursor }).then((r) => [r.prompts, r.nextCursor])),
    resources: () => pages(async (cursor) => client.listResources({ cursor }).then((r) => [r.resources, r.nextCursor])),
    templates: () =>
      pages(async (cursor) =>
        client.listResourceTemplates({ cursor }).then((r) => [r.resourceTemplates, r.nextCursor]),
      ),
    call: async (name, args = {}, { onProgress, signal } = {}) =>
      (await client.callTool(
        { name, arguments: args, ...(requestMeta && { _meta: requestMeta }) },
        { ...(onProgress && { onprogress: onProgress }), ...(signal && { signal }) },
      )) as Json,
    prompt: async (name, args) => (await client.getPrompt({ name, ...(args && { arguments: args }) })) as Json,
    read: async (uri) => (await client.readResource({ uri })) as Json,
    complete: async (ref, argument) => (await client.complete({ ref, argument })) as Json,
    async setLevel(level) {
      // The stateless revision has no level of a connection: each request says its own.
      if (era === 'modern') requestMeta = { 'io.modelcontextprotocol/logLevel': level }
      else await client.setLoggingLevel(level)
    },
    logs,
    toolsChanged: () => changes,
    async close() {
      if (transport instanceof two.StreamableHTTPClientTransport && era === 'legacy') await transport.terminateSession()
      await client.close()
    },
  }
}

/** What an answer says apart from what each hop may add of its own: its identity, cache hints and the result's type. */
export function essence(answer: unknown): unknown {
  if (Array.isArray(answer)) return answer.map((item) => essence(item))
  if (typeof answer !== 'object' || answer === null) return answer
  const {
    ttlMs: _ttl,
    cacheScope: _scope,
    resultType: _type,
    nextCursor: _cursor,
    _meta: meta,
    ...rest
  } = answer as Json
  const kept = Object.entries((meta ?? {}) as Json).filter(([key]) => !key.startsWith('io.modelcontextprotocol/'))
  const whole: Json = kept.length > 0 ? { ...rest, _meta: Object.fromEntries(kept) } : rest
  return Object.fromEntries(Object.entries(whole).map(([key, value]) => [key, essence(value)]))
}

/**
 * What two peers of one kind were told of the same things, comparable: sorted, without what each hop adds, and where
 * either speaks 2026-07-28 without `execution`, which that revision does not know.
 */
export function comparable(items: readonly Json[], ...peers: readonly Peer[]): unknown[] {
  const isModern = peers.some((peer) => peer.era === 'modern')
  const text = (item: unknown): string => JSON.stringify(item)
  return items
    .map(({ execution, ...rest }) =>
      essence(isModern ? rest : { ...rest, ...(execution !== undefined && { execution }) }),
    )
    .sort((one, other) => text(one).localeCompare(text(other)))
}

/** The first text of a tool result. */
export function textOf(result: Json): string {
  const content = result.content as { type: string; text?: string }[] | undefined
  return content?.find((item) => item.type === 'text')?.text ?? ''
}
