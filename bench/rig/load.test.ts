// The load generator must not be fooled: an answer with another id, another text, or one that was kept from an earlier
// request is an error, and so is a stream with a foreign or missing event. Each liar below stands before the real upstream.

import assert from 'node:assert/strict'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { after, before, test } from 'node:test'
import { type LoadJob, type LoadResult, runLoad } from './load.ts'
import { type Form, TOOLS } from './talk.ts'
import { startUpstream } from './upstream.ts'

interface Lie {
  readonly name: string
  /** Changes the answer's body, given the bodies before it. */
  readonly tell: (body: string, earlier: readonly string[], request: string) => string
  readonly fault: RegExp
}

const idOf = (text: string): string => /"id":(\d+)/.exec(text)![1]!

const LIES: readonly Lie[] = [
  { name: 'the id of another request', tell: (body) => body.replace(/"id":\d+/, '"id":7'), fault: /answer of 7/ },
  { name: 'an id of another type', tell: (body) => body.replace(/"id":(\d+)/, '"id":"$1"'), fault: /answer of "/ },
  { name: 'a shorter text', tell: (body) => body.replace(' dog', ''), fault: /wrong content/ },
  { name: 'no content', tell: (body) => body.replace(/"content":\[.*\]/, '"content":[]'), fault: /wrong content/ },
  { name: 'an error result', tell: (body) => body.replace('"content"', '"isError":true,"content"'), fault: /wrong/ },
  { name: 'no JSON', tell: () => '<html></html>', fault: /no JSON/ },
  {
    name: 'an earlier answer with the right id (an answer cache)',
    tell: (body, earlier, request) => (earlier[0] ?? body).replace(/"id":\d+/, `"id":${idOf(request)}`),
    fault: /wrong content/,
  },
]

const upstreams: Record<string, Awaited<ReturnType<typeof startUpstream>>> = {}
before(async () => {
  for (const form of ['sessions', 'stateless'] as const)
    upstreams[form] = await startUpstream({ form, tools: TOOLS, delayMs: 0, events: 0 })
  upstreams.events = await startUpstream({ form: 'stateless', tools: TOOLS, delayMs: 0, events: 3 })
})
after(async () => {
  for (const upstream of Object.values(upstreams)) await upstream.close()
})

function job(port: number, given: Partial<LoadJob>): LoadJob {
  return {
    work: 'call',
    form: 'stateless',
    port,
    path: '/mcp',
    tokens: ['a', 'b'],
    prefix: '',
    connections: 2,
    seconds: 0.15,
    mixed: true,
    events: 0,
    tools: TOOLS,
    fixedId: false,
    pids: {},
    ...given,
  }
}

/** Runs a load against a server that passes requests on and lies about the answers. */
async function loadThrough(lie: Lie | null, target: number, given: Partial<LoadJob>): Promise<LoadResult> {
  const earlier: string[] = []
  const server = createServer((request, response) => {
    const chunks: Buffer[] = []
    request.on('data', (chunk: Buffer) => chunks.push(chunk))
    request.on('end', () => {
      const body = Buffer.concat(chunks)
      const headers = { ...(request.headers as Record<string, string>) }
      for (const name of ['host', 'connection', 'content-length']) delete headers[name]
      fetch(`http://127.0.0.1:${target}/mcp`, { method: 'POST', headers, body })
        .then(async (answer) => {
          const text = await answer.text()
          const told = lie === null ? text : lie.tell(text, earlier, body.toString())
          if (earlier.length === 0) earlier.push(text)
          const type = answer.headers.get('content-type') ?? 'application/json'
          response.writeHead(answer.status, { 'content-type': type }).end(told)
        })
        .catch(() => response.destroy())
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  try {
    return await runLoad(job((server.address() as AddressInfo).port, given))
  } finally {
    server.closeAllConnections()
    await new Promise((resolve) => server.close(resolve))
  }
}

for (const form of ['sessions', 'stateless'] as const satisfies readonly Form[]) {
  test(`an honest answer is no error, and the upstream counts every call (${form})`, async () => {
    const port = upstreams[form]!.port
    await (await fetch(`http://127.0.0.1:${port}/reset`, { method: 'POST' })).text()
    const result = await runLoad(job(port, { form }))
    const counts = (await (await fetch(`http://127.0.0.1:${port}/count`)).json()) as { calls: number }
    assert.deepEqual(result.firstErrors, [])
    assert.ok(result.requests > 0)
    assert.equal(counts.calls, result.callsSent)
  })
}

for (const lie of LIES) {
  test(`it notices ${lie.name}`, async () => {
    const result = await loadThrough(lie, upstreams.stateless!.port, {})
    assert.ok(result.errors > 0, 'no error was counted')
    assert.match(result.firstErrors[0]!, lie.fault)
  })
}

test('a list is proven whole once and then byte for byte', async () => {
  const port = upstreams.stateless!.port
  const honest = await loadThrough(null, port, { work: 'list' })
  assert.deepEqual(honest.firstErrors, [])
  const shorter = await runLoad(job(port, { work: 'list', tools: TOOLS + 1 }))
  assert.match(shorter.firstErrors[0]!, /lacks tool 20/)
  let n = 0
  const changing = { name: '', fault: /./, tell: (body: string) => (n++ < 5 ? body : body.replace('Tool 3', 'Tool 4')) }
  assert.match((await loadThrough(changing, port, { work: 'list' })).firstErrors[0]!, /differs/)
})

const STREAM_LIES: readonly Lie[] = [
  { name: 'a foreign progress token', tell: (body) => body.replace('"p1', '"q1'), fault: /wrong progress/ },
  { name: 'a missing event', tell: (body) => body.replace(/event: .*\n.*"progress":3.*\n\n/, ''), fault: /2 progress/ },
  { name: 'no answer', tell: (body) => body.split('\n\n').slice(0, 3).join('\n\n'), fault: /without an answer/ },
]

test('an honest stream is no error', async () => {
  const result = await runLoad(job(upstreams.events!.port, { work: 'sse', events: 3, mixed: false }))
  assert.deepEqual(result.firstErrors, [])
  assert.ok(result.requests > 0)
})

for (const lie of STREAM_LIES) {
  test(`on a stream it notices ${lie.name}`, async () => {
    const result = await loadThrough(lie, upstreams.events!.port, { work: 'sse', events: 3, mixed: false })
    assert.ok(result.errors > 0, 'no error was counted')
    assert.match(result.firstErrors[0]!, lie.fault)
  })
}

test('a connection per call works too', async () => {
  const result = await runLoad(job(upstreams.sessions!.port, { work: 'connect', form: 'sessions', mixed: false }))
  assert.deepEqual(result.firstErrors, [])
  assert.ok(result.requests > 0)
})
