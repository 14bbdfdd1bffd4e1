// A stand-in for a running gateway, for tests of the command line alone: it answers what a test's table says and keeps
// what it was asked. It knows nothing of the REST API's rules; test/e2e/cli.test.ts talks to the real one.

import { createServer, type IncomingHttpHeaders } from 'node:http'
import type { AddressInfo } from 'node:net'

export interface Asked {
  readonly method: string
  readonly path: string
  readonly headers: IncomingHttpHeaders
  readonly body: unknown
}

export interface FakeAnswer {
  readonly status?: number
  readonly body?: unknown
  readonly headers?: Readonly<Record<string, string>>
}

/** Keys are `METHOD /path` with or without a query; the one with the query is looked for first. */
export type Answers = Readonly<Record<string, FakeAnswer | ((asked: Asked) => FakeAnswer)>>

export interface FakeGateway {
  readonly url: string
  readonly asked: Asked[]
  close(): Promise<void>
}

export async function startFakeGateway(answers: Answers): Promise<FakeGateway> {
  const asked: Asked[] = []
  const server = createServer((request, response) => {
    const parts: Buffer[] = []
    request.on('data', (part: Buffer) => parts.push(part))
    request.on('end', () => {
      const text = Buffer.concat(parts).toString('utf8')
      const path = request.url ?? ''
      const one: Asked = {
        method: request.method ?? '',
        path,
        headers: request.headers,
        body: text === '' ? undefined : JSON.parse(text),
      }
      asked.push(one)
      const found = answers[`${one.method} ${path}`] ?? answers[`${one.method} ${path.split('?')[0]}`]
      const answer: FakeAnswer =
        found === undefined
          ? { status: 404, body: { code: 'NOT_FOUND', detail: `the test has no answer for ${one.method} ${path}` } }
          : typeof found === 'function'
            ? found(one)
            : found
      response.writeHead(answer.status ?? 200, { 'content-type': 'application/json', ...answer.headers })
      response.end(typeof answer.body === 'string' ? answer.body : answer.body && JSON.stringify(answer.body))
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    asked,
    async close() {
      server.closeAllConnections()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}
