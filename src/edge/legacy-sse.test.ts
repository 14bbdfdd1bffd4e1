// HTTP+SSE: its stream and its endpoint. What messages mean is in wire.test.ts; several workers are in test/e2e/fronts.test.ts.

import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { connectSse, type Front, postTo, startFront } from '../../test/fakes/fronts.ts'

let front: Front
before(async () => {
  front = await startFront({ bodyBytes: 100_000 })
})
after(() => front.close())
const until = async (condition: () => boolean): Promise<void> => {
  while (!condition()) await new Promise((resolve) => setTimeout(resolve, 2))
}
const PING = { jsonrpc: '2.0', id: 1, method: 'none' }

test('the first event names the endpoint by its path, and a post is accepted with 202', async () => {
  for (const scope of ['', '/servers/team']) {
    const client = await connectSse(front, { path: `${scope}/sse` })
    assert.match(client.endpoint, new RegExp(`^${scope}/messages\\?sessionId=[\\w-]+$`))
    assert.deepEqual(await postTo(front, client.endpoint, PING), { status: 202, text: 'Accepted' })
    assert.equal((await client.inbox.take(() => true)).id, 1)
    client.close()
  }
})

test('only GET and an event stream', async () => {
  assert.equal((await postTo(front, '/sse', PING)).status, 405)
  await assert.rejects(connectSse(front, { headers: { Accept: 'application/json' } }), { status: 406 })
  await assert.rejects(connectSse(front, { token: 'eve' }), { status: 401 })
  await assert.rejects(connectSse(front, { path: '/servers/other/sse' }), { status: 404 })
  await assert.rejects(connectSse(front, { headers: { Origin: 'https://evil.example' } }), { status: 403 })
})

test('an endpoint is of its caller, its virtual server and its stream', async () => {
  const client = await connectSse(front)
  const handle = client.endpoint.split('=')[1]!
  const other = handle.slice(0, -2) + (handle.endsWith('AA') ? 'BB' : 'AA')
  const cases: [what: string, path: string, status: number, options?: Parameters<typeof postTo>[3]][] = [
    ['no token', client.endpoint, 401, { token: '' }],
    ['another caller', client.endpoint, 404, { token: 'bob' }],
    ['another virtual server', `/servers/team/messages?sessionId=${handle}`, 404],
    ['a forged handle', `/messages?sessionId=${other}`, 404],
    ['no handle', '/messages', 404],
    ['an empty handle', '/messages?sessionId=', 404],
    ['nonsense', `/messages?sessionId=${'%00'.repeat(200)}`, 404],
    ['another site', client.endpoint, 403, { headers: { Origin: 'https://evil.example' } }],
    ['no JSON', client.endpoint, 415, { headers: { 'Content-Type': 'text/plain' } }],
  ]
  for (const [what, path, status, options] of cases)
    assert.equal((await postTo(front, path, PING, options)).status, status, what)
  assert.equal((await postTo(front, client.endpoint, '{')).status, 400)
  assert.equal((await postTo(front, client.endpoint, `"${'x'.repeat(100_001)}"`)).status, 413)
  // A notification that cannot be taken has no answer on the stream: the status says it.
  assert.equal(
    (await postTo(front, client.endpoint, { jsonrpc: '2.0', method: 'notifications/initialized' })).status,
    400,
  )
  assert.deepEqual(client.inbox.messages, [])
  client.close()
  await until(() => front.edge.stats().streams === 0)
  assert.equal((await postTo(front, client.endpoint, PING)).status, 404)
})

test('an id is used once at a time', async () => {
  const client = await connectSse(front)
  await client.greet()
  const call = { ...PING, method: 'tools/call', params: { name: 'wait' } }
  assert.equal((await postTo(front, client.endpoint, call)).status, 202)
  assert.equal((await postTo(front, client.endpoint, call)).status, 400)
  client.close()
})

test('a silent stream gets comments', async () => {
  const own = await startFront({ keepAliveCommentMs: 15 })
  const client = await connectSse(own)
  await until(() => client.comments() >= 2)
  client.close()
  await own.close()
})

test('who does not read the stream is refused further posts at streamBufferBytes', async () => {
  const own = await startFront({ streamBufferBytes: 64 * 1024 })
  const client = await connectSse(own)
  await client.greet()
  client.response.pause()
  let status = 202
  for (let id = 1; status === 202; id += 1) {
    const call = { jsonrpc: '2.0', id, method: 'tools/call', params: { name: 'large' } }
    status = (await postTo(own, client.endpoint, call)).status
  }
  assert.equal(status, 503)
  client.close()
  await own.close()
})
