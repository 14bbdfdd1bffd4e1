// A raw MCP client over one keep-alive connection at a time, of either era: what it sends and gets is counted by the test,
// and a connection that closes without an answer is an error, never a silent second try (HTTP clients of libraries try again).

import { Agent, type IncomingMessage, request } from 'node:http'
import type { Socket } from 'node:net'

export interface Answered {
  readonly status: number
  /** The JSON-RPC message that answers. */
  readonly message: {
    readonly result?: Record<string, unknown>
    readonly error?: { readonly code: number; readonly message: string; readonly data?: { readonly code?: string } }
  }
  readonly session: string | undefined
  /** The client's end of the connection. */
  readonly port: number
}

export interface Talk {
  readonly session: string | null
  /** Errors: those of the connection. */
  ask(method: string, params: object): Promise<Answered>
  /** The status of a message that wants no answer, or of DELETE. */
  tell(method: 'POST' | 'DELETE', message?: object): Promise<number>
  /** A GET stream; resolves with its response when its head has come. */
  listen(): Promise<IncomingMessage>
  close(): void
}

export const MODERN = '2026-07-28'
const LEGACY = '2025-11-25'

/** `capabilities` are those of the client. A legacy talk begins its session with the first call of `begin`. */
export function createTalk(url: string, token: string, era: 'legacy' | 'modern', capabilities: object = {}) {
  const agent = new Agent({ keepAlive: true, maxSockets: 2 })
  let lastId = 0
  let session: string | null = null

  const headersOf = (method: string, params: { name?: string }): Record<string, string> => ({
    Authorization: `Bearer ${token}`,
    'Content-Type': 'application/json',
    Accept: 'application/json, text/event-stream',
    'MCP-Protocol-Version': era === 'modern' ? MODERN : LEGACY,
    ...(era === 'modern' && { 'Mcp-Method': method }),
    ...(era === 'modern' && params.name !== undefined && { 'Mcp-Name': params.name }),
    ...(session !== null && { 'Mcp-Session-Id': session }),
  })

  function send(verb: string, headers: Record<string, string>, body: string): Promise<[IncomingMessage, number]> {
    return new Promise((resolve, reject) => {
      const sent = request(`${url}/mcp`, { method: verb, agent, headers }, (response) =>
        resolve([response, (response.socket as Socket).localPort ?? 0]),
      )
      sent.on('error', reject)
      sent.end(body)
    })
  }

  async function ask(method: string, given: object): Promise<Answered> {
    lastId += 1
    const id = lastId
    const meta = {
      'io.modelcontextprotocol/protocolVersion': MODERN,
      'io.modelcontextprotocol/clientInfo': { name: 'talk', version: '1' },
      'io.modelcontextprotocol/clientCapabilities': capabilities,
    }
    const params = era === 'modern' ? { _meta: meta, ...given } : given
    const body = JSON.stringify({ jsonrpc: '2.0', id, method, params })
    const [response, port] = await send('POST', { ...headersOf(method, given) }, body)
    const text = await textOf(response)
    const found = messagesIn(response, text).filter((message) => message.id === id)
    if (found.length !== 1)
      throw new Error(`${found.length} answers: HTTP ${response.statusCode} ${text.slice(0, 200)}`)
    const minted = response.headers['mcp-session-id']
    return { status: response.statusCode!, message: found[0]!, session: minted?.toString(), port }
  }

  const talk = {
    get session() {
      return session
    },
    ask,
    async begin(): Promise<Answered> {
      session = null
      const hello = { protocolVersion: LEGACY, capabilities, clientInfo: { name: 'talk', version: '1' } }
      const answer = await ask('initialize', hello)
      session = answer.session ?? null
      return answer
    },
    async tell(verb: 'POST' | 'DELETE', message?: object): Promise<number> {
      const body = message === undefined ? '' : JSON.stringify({ jsonrpc: '2.0', ...message })
      const [response] = await send(verb, headersOf('', {}), body)
      await textOf(response)
      return response.statusCode!
    },
    async listen(): Promise<IncomingMessage> {
      const [response] = await send('GET', { ...headersOf('', {}), Accept: 'text/event-stream' }, '')
      return response
    },
    close: () => agent.destroy(),
  }
  return talk satisfies Talk
}

/** Rejects where the connection ends before the answer does. */
export function textOf(response: IncomingMessage): Promise<string> {
  return new Promise((resolve, reject) => {
    const parts: Buffer[] = []
    response.on('data', (part: Buffer) => parts.push(part))
    response.on('end', () => resolve(Buffer.concat(parts).toString('utf8')))
    response.on('error', reject)
  })
}

function messagesIn(response: IncomingMessage, text: string): (Answered['message'] & { id?: unknown })[] {
  const isStream = response.headers['content-type']?.startsWith('text/event-stream') === true
  const texts = isStream
    ? text.split('\n').flatMap((line) => (line.startsWith('data: {') ? [line.slice('data: '.length)] : []))
    : [text]
  return texts.map((each) => JSON.parse(each) as Answered['message'])
}
