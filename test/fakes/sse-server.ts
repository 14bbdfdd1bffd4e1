// An HTTP+SSE server (2024-11-05) of every bad habit: the test says what it names as its endpoint, how it answers POSTs,
// and what it says on its streams. Unless told otherwise each request is answered with {"echo": params}.

import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { TestContext } from 'node:test'

export interface SseMessage {
  readonly id?: string
  readonly method?: string
  readonly params?: Record<string, unknown>
}

export interface SseFake {
  readonly origin: string
  readonly url: string
  /** What came by POST, in its order, with the path it came to and the headers. */
  readonly got: { readonly path: string; readonly message: SseMessage; readonly headers: IncomingMessage['headers'] }[]
  readonly streams: Set<ServerResponse>
  /** The data of the first event; null for none. Only `/messages` gets a session of its own behind it. */
  endpoint: string | null
  /** Answers the GET in the place of all the rest. */
  onGet: ((response: ServerResponse) => void) | null
  /** Status of the answer to a POST; nothing else is said then unless it is 202. */
  onPost: (message: SseMessage) => number | Promise<number>
  /** What is said on the stream to a request; null for nothing. */
  answer: (message: SseMessage) => unknown
  /** How many requests of any kind came. */
  requests: number
  /** On every stream. */
  say(message: unknown): void
  raw(text: string): void
}

const eventOf = (message: unknown): string => `event: message\ndata: ${JSON.stringify(message)}\n\n`

export async function createSseFake(t: TestContext): Promise<SseFake> {
  const server = createServer((request, response) => {
    fake.requests += 1
    if (request.method === 'GET') get(response)
    else void post(request, response)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  t.after(() => {
    server.closeAllConnections()
    server.close()
  })
  const ofPath = new Map<string, ServerResponse>()
  let sessions = 0
  const fake: SseFake = {
    ...{ origin, url: `${origin}/sse?key=k`, got: [], streams: new Set(), requests: 0, onGet: null },
    endpoint: '/messages',
    onPost: () => 202,
    answer: ({ id, params }) => ({ jsonrpc: '2.0', id, result: { echo: params ?? null } }),
    say: (message) => fake.raw(eventOf(message)),
    raw: (text) => {
      for (const stream of fake.streams) stream.write(text)
    },
  }

  function get(response: ServerResponse): void {
    if (fake.onGet !== null) {
      fake.onGet(response)
      return
    }
    response.writeHead(200, { 'Content-Type': 'text/event-stream; charset=utf-8' })
    sessions += 1
    const endpoint = fake.endpoint === '/messages' ? `/messages?session=${sessions}` : fake.endpoint
    ofPath.set(endpoint ?? '', response)
    if (endpoint === null) response.flushHeaders()
    else response.write(`event: endpoint\ndata: ${endpoint}\n\n`)
    fake.streams.add(response)
    response.on('close', () => fake.streams.delete(response))
  }

  async function post(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const chunks: Buffer[] = []
    for await (const chunk of request) chunks.push(chunk as Buffer)
    const path = request.url ?? ''
    if (path.startsWith('/sse')) return void response.writeHead(405).end()
    const message = JSON.parse(Buffer.concat(chunks).toString()) as SseMessage
    fake.got.push({ path, message, headers: request.headers })
    const status = await fake.onPost(message)
    response.writeHead(status).end(status === 202 ? 'Accepted' : 'no')
    if (status !== 202 || message.id === undefined || message.method === undefined) return
    const said = fake.answer(message)
    if (said === null) return
    const own = ofPath.get(path)
    if (own === undefined) fake.say(said)
    else own.write(eventOf(said))
  }
  return fake
}
