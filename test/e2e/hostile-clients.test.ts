// Hostile clients against the real gateway, byte for byte over plain sockets. Whatever comes, the answer is a typed
// refusal (or the connection ends where HTTP itself is broken), nothing of the inside shows, and the gateway goes on
// serving others in bounded memory.

import assert from 'node:assert/strict'
import { connect } from 'node:net'
import { after, before, describe, test } from 'node:test'
import { LIMITS } from '../../src/core/limits.ts'
import * as upstreams from '../fakes/bad-upstreams.ts'
import type { Program } from '../fakes/process.ts'
import { type RawAnswer, rawExchange, readAnswer } from '../fakes/raw-http.ts'
import { startStateful } from './fixtures.ts'
import { type RunningGateway, startGateway } from './gateway.ts'

const MIB = 1024 * 1024
/** What the whole file may add to the resident memory of the gateway. */
const GROWTH_MAX = 256 * MIB

let upstream: Program & { readonly url: string }
let many: upstreams.BadUpstream
let gateway: RunningGateway
let session: string
let rssAtStart: number

before(
  async () => {
    upstream = await startStateful()
    many = await upstreams.manyTools(LIMITS.pageItems + 200)
    gateway = await startGateway({
      yaml: JSON.stringify({ version: 1, upstreams: { state: { url: upstream.url }, many: { url: many.url } } }),
      ready: ['state', 'many'],
    })
    const params = { protocolVersion: '2025-11-25', capabilities: {}, clientInfo: { name: 'hostile', version: '1' } }
    const answer = await post({ jsonrpc: '2.0', id: 1, method: 'initialize', params }, { 'Mcp-Session-Id': '' })
    session = answer.headers['mcp-session-id'] ?? ''
    assert.notEqual(session, '')
    rssAtStart = gateway.rss()
  },
  { timeout: 60_000 },
)

after(async () => {
  await gateway?.stop()
  await upstream?.stop()
  await many?.close()
})

const host = (): string => new URL(gateway.url).host

function head(headers: Readonly<Record<string, string>> = {}, first = 'POST /mcp HTTP/1.1'): string {
  const all: Record<string, string> = {
    Host: host(),
    Authorization: `Bearer ${gateway.token}`,
    'Content-Type': 'application/json',
    Accept: 'application/json, text/event-stream',
    'Mcp-Session-Id': session,
    ...headers,
  }
  const lines = Object.entries(all).filter(([, value]) => value !== '')
  return [first, ...lines.map(([name, value]) => `${name}: ${value}`), '', ''].join('\r\n')
}

async function post(
  body: string | Buffer | object,
  headers: Readonly<Record<string, string>> = {},
  first?: string,
): Promise<RawAnswer> {
  const bytes = Buffer.isBuffer(body) ? body : Buffer.from(typeof body === 'string' ? body : JSON.stringify(body))
  const text = head({ 'Content-Length': String(bytes.length), ...headers }, first)
  return rawExchange(gateway.url, Buffer.concat([Buffer.from(text, 'latin1'), bytes]))
}

async function stillServes(): Promise<void> {
  const answer = await post({ jsonrpc: '2.0', id: 'alive', method: 'ping' })
  assert.equal(answer.status, 200, answer.body)
  assert.deepEqual(JSON.parse(answer.body), { jsonrpc: '2.0', id: 'alive', result: {} })
}

/** The answer is one of these statuses (0: the connection ended), typed, and says nothing of the inside. */
function refused(answer: RawAnswer, statuses: readonly number[]): void {
  assert.ok(statuses.includes(answer.status), `${answer.status} ${answer.body.slice(0, 300)}`)
  assert.doesNotMatch(answer.body, /node:internal|\.ts:\d|\.js:\d|node_modules| {4}at /)
  if (answer.headers['content-type']?.startsWith('application/json') !== true || answer.body === '') return
  const body = JSON.parse(answer.body) as { error?: { code: number; data?: { code?: string } }; code?: string }
  const code = body.error?.data?.code ?? body.code
  assert.match(code ?? '', /^[A-Z]+(_[A-Z]+)*$/, answer.body.slice(0, 300))
  assert.notEqual(code, 'INTERNAL', answer.body.slice(0, 300))
}

interface Case {
  readonly name: string
  readonly send: () => Promise<RawAnswer>
  readonly statuses: readonly number[]
}

function runCases(cases: readonly Case[]): void {
  for (const { name, send, statuses } of cases)
    test(name, async () => {
      refused(await send(), statuses)
      await stillServes()
    })
}

const ping = '{"jsonrpc":"2.0","id":1,"method":"ping"}'

describe('bodies', () => {
  const nested = (levels: number): string => `${'['.repeat(levels)}1${']'.repeat(levels)}`
  const withParams = (inner: string): string => `{"jsonrpc":"2.0","id":1,"method":"ping","params":{"x":${inner}}}`
  const inUtf8 = (...bytes: number[]): Buffer =>
    Buffer.concat([Buffer.from('{"jsonrpc":"2.0","id":"'), Buffer.from(bytes), Buffer.from('","method":"ping"}')])
  runCases([
    {
      name: 'one byte over the limit, by Content-Length: refused before it is sent',
      send: () => rawExchange(gateway.url, head({ 'Content-Length': String(LIMITS.bodyBytes + 1) })),
      statuses: [413],
    },
    {
      name: 'far over the limit, by Content-Length',
      send: () => rawExchange(gateway.url, head({ 'Content-Length': '99999999999999' })),
      statuses: [400, 413],
    },
    {
      name: 'over the limit, chunked and without end',
      send: () => {
        const chunk = `${(MIB).toString(16)}\r\n${' '.repeat(MIB)}\r\n`
        const pieces = Array.from({ length: 9 }, () => chunk)
        return rawExchange(gateway.url, head({ 'Transfer-Encoding': 'chunked' }), { pieces })
      },
      statuses: [413],
    },
    { name: 'nested one level too deep', send: () => post(withParams(nested(LIMITS.jsonDepth - 1))), statuses: [400] },
    { name: 'nested a hundred thousand levels', send: () => post(withParams(nested(100_000))), statuses: [400] },
    { name: 'opened two million times and never closed', send: () => post('['.repeat(2_000_000)), statuses: [400] },
    { name: 'objects opened and never closed', send: () => post('{"a":'.repeat(400_000)), statuses: [400] },
    { name: 'empty', send: () => post(''), statuses: [400] },
    { name: 'spaces alone', send: () => post(' '.repeat(MIB)), statuses: [400] },
    { name: 'a byte order mark before the object', send: () => post(`\ufeff${ping}`), statuses: [400] },
    { name: 'a null byte inside', send: () => post(ping.replace('ping', 'pi\u0000ng')), statuses: [400] },
    { name: 'a null byte behind', send: () => post(`${ping}\u0000`), statuses: [400] },
    { name: 'two objects', send: () => post(`${ping}${ping}`), statuses: [400] },
    { name: 'a line of text', send: () => post('Hello, I am a client.'), statuses: [400] },
    { name: 'single quotes', send: () => post(ping.replaceAll('"', "'")), statuses: [400] },
    { name: 'a trailing comma', send: () => post('{"jsonrpc":"2.0","id":1,"method":"ping",}'), statuses: [400] },
    { name: 'a comment', send: () => post('{"jsonrpc":"2.0",/* */"id":1,"method":"ping"}'), statuses: [400] },
    { name: 'NaN as a number', send: () => post('{"jsonrpc":"2.0","id":NaN,"method":"ping"}'), statuses: [400] },
    { name: 'a raw newline in a text', send: () => post(ping.replace('ping', 'pi\nng')), statuses: [400] },
    { name: 'UTF-8 cut short', send: () => post(inUtf8(0xe2, 0x82)), statuses: [400] },
    { name: 'UTF-8 too long for its character', send: () => post(inUtf8(0xc0, 0xaf)), statuses: [400] },
    { name: 'UTF-8 of a lone surrogate', send: () => post(inUtf8(0xed, 0xa0, 0x80)), statuses: [400] },
    { name: 'bytes that are no UTF-8', send: () => post(inUtf8(0xff, 0xfe)), statuses: [400] },
    { name: 'UTF-16', send: () => post(Buffer.from(ping, 'utf16le')), statuses: [400] },
    {
      name: 'gzip that we did not ask for',
      send: () => post(Buffer.from([0x1f, 0x8b, 8, 0, 0, 0, 0, 0]), { 'Content-Encoding': 'gzip' }),
      statuses: [400, 415],
    },
  ])

  test('as large as allowed is read and answered', async () => {
    const filler = LIMITS.bodyBytes - withParams('""').length
    const answer = await post(withParams(`"${'x'.repeat(filler)}"`))
    assert.equal(answer.status, 200, answer.body.slice(0, 300))
    await stillServes()
  })

  test('nested as deep as allowed is read and answered', async () => {
    assert.equal((await post(withParams(nested(LIMITS.jsonDepth - 2)))).status, 200)
  })

  test('a lone surrogate as an escape is text like any other', async () => {
    const answer = await post('{"jsonrpc":"2.0","id":"\\ud800","method":"ping"}')
    assert.equal(answer.status, 200)
    assert.equal((JSON.parse(answer.body) as { id: string }).id, '\ud800')
  })
})

describe('keys that stand twice', () => {
  const bodies = {
    jsonrpc: '{"jsonrpc":"2.0","jsonrpc":"2.0","id":1,"method":"ping"}',
    id: '{"jsonrpc":"2.0","id":1,"method":"ping","id":2}',
    'id, escaped': '{"jsonrpc":"2.0","id":1,"method":"ping","\\u0069\\u0064":2}',
    method: '{"jsonrpc":"2.0","id":1,"method":"tools/list","method":"ping"}',
    params: '{"jsonrpc":"2.0","id":1,"method":"ping","params":{},"params":{}}',
    'params.name': '{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"state-echo","name":"state-die"}}',
    'params.name, escaped': '{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a","n\\u0061me":"b"}}',
    _meta: '{"jsonrpc":"2.0","id":1,"method":"ping","params":{"_meta":{},"_meta":{}}}',
    'a member of _meta':
      '{"jsonrpc":"2.0","id":1,"method":"ping","params":{"_meta":{"progressToken":1,"progressToken":2}}}',
  }
  runCases(Object.entries(bodies).map(([name, body]) => ({ name, send: () => post(body), statuses: [400] })))

  test('inside the arguments: whatever is done, both sides of the gateway read the same', async () => {
    const body =
      '{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"state-echo","arguments":{"text":"a","text":"b"}}}'
    const answer = await post(body)
    assert.ok([200, 400].includes(answer.status))
    assert.ok(!answer.body.includes('"text":"a"'), answer.body)
  })
})

describe('wrong types', () => {
  const wrong = ['null', 'true', '1.5', '1e3', '{}', '[]', '[1]']
  const cases: Case[] = []
  const add = (name: string, body: string, statuses: readonly number[] = [400]): void =>
    void cases.push({ name, send: () => post(body), statuses })
  for (const id of [...wrong, '99999999999999999999999', `"${'i'.repeat(600)}"`])
    add(`id ${id.slice(0, 30)}`, `{"jsonrpc":"2.0","id":${id},"method":"ping"}`)
  for (const method of [...wrong, '7', '""']) add(`method ${method}`, `{"jsonrpc":"2.0","id":1,"method":${method}}`)
  for (const params of ['null', 'true', '1', '"x"', '[]', '[1]'])
    add(`params ${params}`, `{"jsonrpc":"2.0","id":1,"method":"ping","params":${params}}`)
  for (const version of ['null', '2.0', '2', '"2"', '"2.00"', '"\\u0032.1"', '["2.0"]'])
    add(`jsonrpc ${version}`, `{"jsonrpc":${version},"id":1,"method":"ping"}`)
  const call = (inner: string): string => `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":${inner}}`
  for (const meta of ['null', '[]', '"x"', '1'])
    add(`_meta ${meta}`, call(`{"name":"state-echo","_meta":${meta}}`), [200, 400])
  for (const token of ['null', '{}', '[]', '1.5', 'true'])
    add(`progressToken ${token}`, call(`{"name":"state-count","_meta":{"progressToken":${token}}}`), [200, 400])
  for (const name of [...wrong, '""', `"${'n'.repeat(MIB)}"`, '"__proto__"', '"constructor"', '"state-\\u0000"'])
    add(`name ${name.slice(0, 30)}`, call(`{"name":${name}}`), [200])
  for (const args of ['null', '[]', '"x"', '1', 'true'])
    add(`arguments ${args}`, call(`{"name":"state-echo","arguments":${args}}`), [200])
  add('a method of a megabyte', `{"jsonrpc":"2.0","id":1,"method":"${'m'.repeat(MIB)}"}`, [200, 400])
  add('neither method nor result', '{"jsonrpc":"2.0","id":1}')
  add('a method and a result', '{"jsonrpc":"2.0","id":1,"method":"ping","result":{}}', [200, 400])
  add('result and error', '{"jsonrpc":"2.0","id":1,"result":{},"error":{"code":1,"message":"x"}}')

  for (const { name, send, statuses } of cases)
    test(name, async () => {
      const answer = await send()
      // Refused, or an ordinary answer: never a fault of the gateway's own.
      if (answer.status === 200 && !answer.body.includes('"error"')) assert.doesNotMatch(answer.body, /INTERNAL/)
      else refused(answer, statuses)
    })

  test('after all of these it serves, and objects have no new members', async () => {
    await post(call('{"name":"state-echo","arguments":{"text":"x","__proto__":{"polluted":true}}}'))
    const answer = await post(call('{"name":"state-echo","arguments":{"text":"clean"}}'))
    assert.equal(answer.status, 200)
    assert.ok(!answer.body.includes('polluted'))
    await stillServes()
  })

  test('ids come back as they came, to the last byte', async () => {
    for (const id of ['0', '-1', '9007199254740993', '"\\u00e4\\n\\"\\\\/"', `"${'i'.repeat(500)}"`]) {
      const answer = await post(`{"jsonrpc":"2.0","id":${id},"method":"ping"}`)
      assert.equal(answer.body, `{"jsonrpc":"2.0","id":${id},"result":{}}`)
    }
  })
})

describe('HTTP itself', () => {
  const length = String(ping.length)
  const raw = (text: string): Promise<RawAnswer> => rawExchange(gateway.url, text)
  runCases([
    {
      name: 'headers over the limit',
      send: () => raw(head({ 'X-Long': 'x'.repeat(LIMITS.headerBytes + 1), 'Content-Length': '0' })),
      statuses: [431],
    },
    {
      name: 'more headers than allowed',
      send: () => {
        const extra = Array.from({ length: LIMITS.headerCount + 20 }, (_, at) => [`X-${at}`, 'x'])
        return raw(head({ ...Object.fromEntries(extra), 'Content-Length': '0' }))
      },
      statuses: [400, 431],
    },
    {
      name: 'a path over the limit',
      send: () => raw(head({ 'Content-Length': '0' }, `POST /${'p'.repeat(LIMITS.headerBytes)} HTTP/1.1`)),
      statuses: [400, 404, 414, 431],
    },
    {
      name: 'both lengths',
      send: () => raw(`${head({ 'Content-Length': length, 'Transfer-Encoding': 'chunked' })}0\r\n\r\n`),
      statuses: [0, 400],
    },
    {
      name: 'two different Content-Lengths',
      send: () => raw(`${head({ 'Content-Length': length, 'content-length': '3' })}${ping}`),
      statuses: [0, 400],
    },
    {
      name: 'a negative Content-Length',
      send: () => raw(`${head({ 'Content-Length': '-5' })}${ping}`),
      statuses: [0, 400],
    },
    {
      name: 'a Content-Length with a sign',
      send: () => raw(`${head({ 'Content-Length': `+${length}` })}${ping}`),
      statuses: [0, 400],
    },
    {
      name: 'an unknown transfer coding',
      send: () => raw(`${head({ 'Transfer-Encoding': 'xchunked' })}${ping}`),
      statuses: [0, 400, 501],
    },
    {
      name: 'chunked hidden by a tab',
      send: () => raw(`${head({ 'Transfer-Encoding': '\tchunked, identity' })}0\r\n\r\n`),
      statuses: [0, 400, 501],
    },
    {
      name: 'a chunk size that is no number',
      send: () => raw(`${head({ 'Transfer-Encoding': 'chunked' })}zz\r\n${ping}\r\n0\r\n\r\n`),
      statuses: [0, 400],
    },
    {
      name: 'a chunk size beyond all numbers',
      send: () => raw(`${head({ 'Transfer-Encoding': 'chunked' })}fffffffffffffffff\r\n`),
      statuses: [0, 400, 413],
    },
    {
      name: 'a header folded over two lines',
      send: () => raw(head({ 'X-Fold': 'a\r\n b', 'Content-Length': '0' })),
      statuses: [0, 400],
    },
    { name: 'a null byte in a header', send: () => raw(head({ 'X-Null': 'a\u0000b' })), statuses: [0, 400] },
    { name: 'a space before the colon', send: () => raw(head({ 'X-Space ': 'a' })), statuses: [0, 400] },
    { name: 'no Host', send: () => raw(head({ Host: '', 'Content-Length': '0' })), statuses: [0, 400, 403] },
    {
      name: 'two Hosts',
      send: () => raw(head({ host: 'evil.example.com', 'Content-Length': '0' })),
      statuses: [0, 400, 403],
    },
    { name: 'no HTTP at all', send: () => raw('\u0016\u0003\u0001\u0002\u0000hello\r\n\r\n'), statuses: [0, 400] },
    {
      name: 'HTTP/2 without being asked',
      send: () => raw('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'),
      statuses: [0, 400, 505],
    },
    { name: 'a method that is none', send: () => raw(head({}, 'B{}G /mcp HTTP/1.1')), statuses: [0, 400, 405] },
    {
      name: 'a path that climbs',
      send: () => post(ping, {}, 'POST /servers/../mcp/../../etc/passwd HTTP/1.1'),
      statuses: [400, 404],
    },
    {
      name: 'a null byte in the path',
      send: () => post(ping, {}, 'POST /servers/%00/mcp HTTP/1.1'),
      statuses: [400, 404],
    },
    {
      name: 'broken percent signs',
      send: () => post(ping, {}, 'POST /servers/%zz%/mcp HTTP/1.1'),
      statuses: [400, 404],
    },
    {
      name: 'a server named __proto__',
      send: () => post(ping, {}, 'POST /servers/__proto__/mcp HTTP/1.1'),
      statuses: [404],
    },
    {
      name: 'another target than ours',
      send: () => post(ping, {}, 'POST http://evil.example.com/mcp HTTP/1.1'),
      statuses: [400, 403, 404],
    },
    { name: 'a tunnel', send: () => raw(head({}, 'CONNECT example.com:443 HTTP/1.1')), statuses: [0, 400, 404, 405] },
    {
      name: 'an upgrade to nothing',
      send: () => raw(head({ Connection: 'Upgrade', Upgrade: 'junk', 'Mcp-Session-Id': '' }, 'GET /mcp HTTP/1.1')),
      statuses: [0, 400, 404, 405, 406, 426, 501],
    },
    {
      name: 'an expectation that nobody meets',
      send: () => raw(`${head({ Expect: 'the-impossible', 'Content-Length': length })}${ping}`),
      statuses: [417],
    },
    {
      name: 'a token of bytes',
      send: () => post(ping, { Authorization: 'Bearer \u00ff\u00fe' }),
      statuses: [400, 401],
    },
    {
      name: 'a token of eight kilobytes',
      send: () => post(ping, { Authorization: `Bearer ${'t'.repeat(8192)}` }),
      statuses: [401],
    },
    { name: 'a JWT of nothing', send: () => post(ping, { Authorization: 'Bearer e30.e30.' }), statuses: [401] },
    {
      name: 'a JWT that says it needs no signature',
      send: () => {
        const part = (value: object): string => Buffer.from(JSON.stringify(value)).toString('base64url')
        const claims = { sub: 'root', iss: 'mcp-gateway', aud: gateway.url, rights: ['operator'], exp: 4e9 }
        return post(ping, { Authorization: `Bearer ${part({ alg: 'none', typ: 'JWT' })}.${part(claims)}.` })
      },
      statuses: [401],
    },
    { name: 'a version of bytes', send: () => post(ping, { 'MCP-Protocol-Version': '\u0001' }), statuses: [0, 400] },
    {
      name: 'a version of a kilobyte',
      send: () => post(ping, { 'MCP-Protocol-Version': 'v'.repeat(1024) }),
      statuses: [400],
    },
    { name: 'an Accept of junk', send: () => post(ping, { Accept: ';q=;,,,/;' }), statuses: [200, 400, 406] },
  ])

  test('a hundred requests in one piece are answered in their order', async () => {
    const one = (at: number): string => {
      const body = `{"jsonrpc":"2.0","id":${at},"method":"ping"}`
      return head({ 'Content-Length': String(body.length) }) + body
    }
    const { hostname, port } = new URL(gateway.url)
    const ids = await new Promise<number[]>((resolve, reject) => {
      const socket = connect(Number(port), hostname)
      const seen: number[] = []
      let received = Buffer.alloc(0)
      socket.on('error', reject)
      socket.on('close', () => resolve(seen))
      socket.on('data', (chunk) => {
        received = Buffer.concat([received, chunk])
        for (;;) {
          const answer = readAnswer(received, false)
          if (answer === null) break
          seen.push((JSON.parse(answer.body) as { id: number }).id)
          received = received.subarray(received.indexOf('\r\n\r\n') + 4 + Number(answer.headers['content-length']))
        }
        if (seen.length === 100) socket.end()
      })
      socket.write(Array.from({ length: 100 }, (_, at) => one(at)).join(''))
    })
    assert.deepEqual(
      ids,
      Array.from({ length: 100 }, (_, at) => at),
    )
  })

  test('connections that stall or break off hold nobody up', async () => {
    const { hostname, port } = new URL(gateway.url)
    const pieces = ['', 'POST /m', head({ 'Content-Length': '1000' }), `${head({ 'Content-Length': '1000' })}{"json`]
    const sockets = Array.from({ length: 200 }, (_, at) => {
      const socket = connect(Number(port), hostname)
      socket.on('error', () => {})
      socket.write(pieces[at % pieces.length]!)
      return socket
    })
    await stillServes()
    for (const [at, socket] of sockets.entries()) if (at % 2 === 0) socket.destroy()
    await stillServes()
    for (const socket of sockets) socket.destroy()
    await stillServes()
  })

  test('clients that leave in the middle of their calls leave nothing behind', async () => {
    const { hostname, port } = new URL(gateway.url)
    const body = '{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"state-slow","arguments":{"steps":1}}}'
    await Promise.all(
      Array.from(
        { length: 150 },
        () =>
          new Promise<void>((resolve) => {
            const socket = connect(Number(port), hostname)
            socket.on('error', () => {})
            socket.on('close', () => resolve())
            socket.write(head({ 'Content-Length': String(body.length) }) + body, () => socket.destroy())
          }),
      ),
    )
    await stillServes()
  })
})

describe('sealed texts in other hands', () => {
  const other = (char: string): string => (char === 'A' ? 'B' : 'A')
  const flipped = (text: string, at: number): string => text.slice(0, at) + other(text[at]!) + text.slice(at + 1)

  test('a session id with any of its characters changed, cut or grown is unknown', async () => {
    const step = Math.max(1, Math.floor(session.length / 24))
    const changed = Array.from({ length: session.length }, (_, at) => at)
      .filter((at) => at % step === 0)
      .map((at) => flipped(session, at))
    const forms = [session.slice(0, -1), session.slice(1), `${session}A`, session + session, 'x', '.', '%00', '../..']
    // The last character of base64url may hold bits that decode to nothing: such a twin must not be the same session.
    for (const id of [...changed, flipped(session, session.length - 1), ...forms]) {
      const answer = await post(ping, { 'Mcp-Session-Id': id })
      assert.equal(answer.status, 404, id)
    }
    await stillServes()
  })

  test('a session id longer than any that we make is refused', async () => {
    const answer = await post(ping, { 'Mcp-Session-Id': 'A'.repeat(LIMITS.sessionIdBytes * 4) })
    assert.ok([400, 404].includes(answer.status))
  })

  const list = async (cursor: string | null, method = 'tools/list', headers = {}): Promise<Answer> => {
    const params = cursor === null ? {} : { cursor }
    const answer = await post({ jsonrpc: '2.0', id: 1, method, params }, headers)
    return JSON.parse(answer.body) as Answer
  }
  interface Answer {
    readonly result?: { readonly tools: readonly { name: string }[]; readonly nextCursor?: string }
    readonly error?: { readonly code: number; readonly data: { readonly code: string } }
  }

  test('a cursor goes on where it was made, and changed or elsewhere it is refused', async () => {
    const first = await list(null)
    const cursor = first.result?.nextCursor ?? ''
    assert.equal(first.result?.tools.length, LIMITS.pageItems)
    const second = await list(cursor)
    const names = [...first.result.tools, ...(second.result?.tools ?? [])].map((tool) => tool.name)
    assert.equal(new Set(names).size, names.length)
    assert.ok(names.length >= LIMITS.pageItems + 200)
    assert.equal(second.result?.nextCursor, undefined)
    const step = Math.max(1, Math.floor(cursor.length / 24))
    for (let at = 0; at < cursor.length; at += step) {
      const { error } = await list(flipped(cursor, at))
      assert.equal(error?.data.code, 'INVALID_CURSOR', `changed at ${at}`)
    }
    for (const junk of [cursor.slice(0, -1), `${cursor}A`, 'A'.repeat(MIB), '\u0000', '{}', '0'])
      assert.equal((await list(junk)).error?.code, -32602)
    assert.equal((await list(cursor, 'prompts/list')).error?.data.code, 'INVALID_CURSOR')
  })
})

test('after all of this the memory is bounded', async () => {
  const growth = gateway.rss() - rssAtStart
  assert.ok(growth < GROWTH_MAX, `it grew by ${Math.round(growth / MIB)} MiB`)
  await stillServes()
})
