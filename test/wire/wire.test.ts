// Runs every talk of this folder (README.md says how they are written) against one gateway with real upstreams, for
// each revision, path and framing that applies, and where it is not about HTTP itself over HTTP+SSE and WebSocket.

import assert from 'node:assert/strict'
import { globSync, readFileSync } from 'node:fs'
import { Agent, type IncomingMessage, request } from 'node:http'
import { basename, join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { type RunningGateway, startGateway } from '../e2e/gateway.ts'
import { type Program, startServer } from '../fakes/process.ts'
import { CONNECTIONS, type Connection, type ConnectionKind, fitsConnection, openConnection } from './connections.ts'
import { difference, type Expect, fill, headerFits, type Kept, readTalk, type Send, type Talk } from './talk.ts'

const LEGACY = ['2024-11-05', '2025-03-26', '2025-06-18', '2025-11-25']
const MODERN = ['2026-07-28']
const PATHS: Readonly<Record<string, { readonly path: string; readonly prefix: string }>> = {
  mcp: { path: '/mcp', prefix: 'state-' },
  server: { path: '/servers/talk/mcp', prefix: '' },
  rpc: { path: '/rpc', prefix: 'state-' },
}
const FRAMINGS = ['length', 'chunked'] as const
const ANSWER_MS = 15_000

interface Run {
  readonly revision: string
  readonly path: string
  readonly framing: (typeof FRAMINGS)[number] | ConnectionKind
}

const servers: Program[] = []
let gateway: RunningGateway
let otherToken: string
const agent = new Agent({ keepAlive: true })

before(
  async () => {
    const state = await startServer(join(import.meta.dirname, '..', 'fakes', 'stateful-server.ts'), ['http'])
    const things = await startServer(join(import.meta.dirname, '..', 'conformance', 'fixture.ts'))
    servers.push(state, things)
    gateway = await startGateway({
      yaml: JSON.stringify({
        version: 1,
        upstreams: { state: { url: state.url }, things: { url: things.url } },
        virtualServers: {
          talk: {
            title: 'Talk',
            instructions: 'For talks only.',
            naming: 'keep',
            members: [{ upstream: 'state' }, { upstream: 'things' }],
          },
        },
      }),
      ready: ['state', 'things'],
    })
    otherToken = await gateway.newToken('other')
  },
  { timeout: 60_000 },
)

after(async () => {
  agent.destroy()
  await gateway?.stop()
  await Promise.all(servers.map((server) => server.stop()))
})

function revisionsOf(talk: Talk): string[] {
  const words = (talk.settings.revisions ?? 'all').split(/\s+/)
  const revisions = words.flatMap((word) =>
    word === 'all' ? [...LEGACY, ...MODERN] : word === 'legacy' ? LEGACY : word === 'modern' ? MODERN : [word],
  )
  const eras = new Set(revisions.map((revision) => (MODERN.includes(revision) ? 'modern' : 'legacy')))
  const named = talk.settings.eras === 'both' ? ['legacy', 'modern'] : [talk.settings.eras]
  assert.deepEqual([...eras].sort(), named.sort(), '"eras" must say what "revisions" holds')
  return revisions
}

for (const file of globSync('*.txt', { cwd: import.meta.dirname }).sort()) {
  const talk = readTalk(readFileSync(join(import.meta.dirname, file), 'utf8'))
  describe(`${basename(file, '.txt')}: ${talk.about}`, () => {
    for (const revision of revisionsOf(talk))
      for (const path of (talk.settings.paths ?? 'mcp server').split(/\s+/))
        for (const framing of [...FRAMINGS, ...(path !== 'rpc' && fitsConnection(talk) ? CONNECTIONS : [])])
          test(`${revision}, ${path}, ${framing}`, () => perform(talk, { revision, path, framing }))
  })
}

// --- one run -----------------------------------------------------------------------------------------------------------

/** An answer on its way: its head, its messages as they come, its end. */
class Answer {
  head: IncomingMessage | null = null
  readonly messages: unknown[] = []
  rest = ''
  ended = false
  fault: string | null = null
  #wake: (() => void) | null = null

  changed(): void {
    const wake = this.#wake
    this.#wake = null
    wake?.()
  }

  /** Waits until `done` holds; an error or the deadline is the talk's failure. */
  async until(what: string, done: () => boolean): Promise<void> {
    const deadline = Date.now() + ANSWER_MS
    while (!done()) {
      assert.equal(this.fault, null, what)
      assert.ok(Date.now() < deadline, `${what}: not within ${ANSWER_MS} ms`)
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, 250)
        this.#wake = () => {
          clearTimeout(timer)
          resolve()
        }
      })
    }
  }
}

async function perform(talk: Talk, run: Run): Promise<void> {
  const { path, prefix } = PATHS[run.path]!
  const modern = MODERN.includes(run.revision)
  const meta = JSON.stringify({
    'io.modelcontextprotocol/protocolVersion': run.revision,
    'io.modelcontextprotocol/clientCapabilities': {},
    'io.modelcontextprotocol/clientInfo': { name: 'talk', version: '1' },
  })
  const words = {
    path,
    prefix,
    revision: run.revision,
    token: gateway.token,
    other: otherToken,
    host: new URL(gateway.url).host,
    meta: modern ? `,"_meta":${meta}` : '',
    onlymeta: modern ? `"_meta":${meta}` : '',
  }
  const kept: Kept = new Map()
  const open: (() => void)[] = []
  const named = new Map<string, Answer>()
  let latest: Answer | null = null
  const connection = await connectionOf(run)
  if (connection !== null) open.push(() => connection.close())
  const started = (send: Send): Answer => {
    if (connection !== null) {
      const answer = new Answer()
      connection.send(fill(send.body!, words, kept), answer)
      return answer
    }
    const { answer, stop } = start(send, run, words, kept)
    open.push(stop)
    return answer
  }
  try {
    if (talk.settings.session === 'begun') await beginSession(started, kept, words, connection)
    for (const step of talk.steps) {
      if (step.kind === 'send') {
        const answer = started(step)
        if (step.name === null) latest = answer
        else named.set(step.name, answer)
        // A running request is known to the gateway before the next one is sent: its bytes went out first, and the
        // talk itself says where it must wait for more than that.
        continue
      }
      const answer = step.name === null ? latest : named.get(step.name)
      assert.ok(answer, `line ${step.line}: no request to answer`)
      await check(step, answer, kept, words, connection)
    }
  } finally {
    for (const stop of open) stop()
  }
}

async function connectionOf({ framing, path }: Run): Promise<Connection | null> {
  if (framing === 'length' || framing === 'chunked') return null
  const url = `${gateway.url}${PATHS[path]!.path.replace(/mcp$/, framing)}`
  return openConnection(framing, url, gateway.token)
}

async function beginSession(
  started: (send: Send) => Answer,
  kept: Kept,
  words: Readonly<Record<string, string>>,
  connection: Connection | null,
): Promise<void> {
  const base = { kind: 'send', line: 0, method: 'POST', path: '{path}', headers: [], name: null } as const
  const hello = { protocolVersion: words.revision, capabilities: {}, clientInfo: { name: 'talk', version: '1' } }
  const first = started({
    ...base,
    body: JSON.stringify({ jsonrpc: '2.0', id: 'begin', method: 'initialize', params: hello }),
  })
  await first.until('initialize', () => first.ended)
  if (connection !== null) {
    assert.ok((first.messages[0] as { result?: unknown }).result, 'initialize')
    started({ ...base, body: '{"jsonrpc":"2.0","method":"notifications/initialized"}' })
    return
  }
  assert.equal(first.head?.statusCode, 200, `initialize: ${first.rest}`)
  kept.set('session', first.head?.headers['mcp-session-id'])
  assert.equal(typeof kept.get('session'), 'string', 'initialize answers a session id')
  const second = started({ ...base, body: '{"jsonrpc":"2.0","method":"notifications/initialized"}' })
  await second.until('initialized', () => second.ended)
  assert.equal(second.head?.statusCode, 202)
}

function start(
  send: Send,
  run: Run,
  words: Readonly<Record<string, string>>,
  kept: Kept,
): { answer: Answer; stop: () => void } {
  const body = send.body === null ? null : Buffer.from(fill(send.body, words, kept))
  const headers = usualHeaders(send, body, run, kept)
  for (const { name, value } of send.headers) {
    headers.delete(name.toLowerCase())
    if (value !== '') headers.set(name.toLowerCase(), fill(value, words, kept))
  }
  if (body !== null)
    headers.set(
      ...((run.framing === 'length' ? ['content-length', String(body.length)] : ['transfer-encoding', 'chunked']) as [
        string,
        string,
      ]),
    )
  const answer = new Answer()
  const outgoing = request(`${gateway.url}${fill(send.path, words, kept)}`, {
    method: send.method,
    agent,
    headers: Object.fromEntries(headers),
  })
  outgoing.on('error', (error) => {
    answer.fault = error.message
    answer.changed()
  })
  outgoing.on('response', (head) => receive(head, answer))
  if (body !== null && run.framing === 'chunked' && body.length > 1) outgoing.write(body.subarray(0, body.length >> 1))
  outgoing.end(body === null ? undefined : run.framing === 'chunked' ? body.subarray(body.length >> 1) : body)
  return { answer, stop: () => void (answer.ended || outgoing.destroy()) }
}

function usualHeaders(send: Send, body: Buffer | null, run: Run, kept: Kept): Map<string, string> {
  const headers = new Map([
    ['authorization', `Bearer ${gateway.token}`],
    ['accept', send.method === 'GET' ? 'text/event-stream' : 'application/json, text/event-stream'],
  ])
  if (body !== null) headers.set('content-type', 'application/json')
  if (MODERN.includes(run.revision)) {
    headers.set('mcp-protocol-version', run.revision)
    let message: { method?: unknown; params?: { name?: unknown; uri?: unknown } } = {}
    try {
      message = JSON.parse(body?.toString() ?? '{}') as typeof message
    } catch {
      // A talk may send what is no JSON.
    }
    if (typeof message?.method === 'string') headers.set('mcp-method', message.method)
    const name = message?.method === 'resources/read' ? message.params?.uri : message?.params?.name
    if (typeof name === 'string') headers.set('mcp-name', name)
  } else if (kept.has('session')) {
    headers.set('mcp-session-id', String(kept.get('session')))
    // 2025-03-26 and before know no such header.
    if (run.revision >= '2025-06-18') headers.set('mcp-protocol-version', run.revision)
  }
  return headers
}

function receive(head: IncomingMessage, answer: Answer): void {
  answer.head = head
  const isStream = head.headers['content-type']?.startsWith('text/event-stream') === true
  answer.changed()
  head.setEncoding('utf8')
  head.on('data', (text: string) => {
    answer.rest += text
    if (isStream) takeEvents(answer)
    answer.changed()
  })
  head.on('error', (error) => {
    answer.fault = error.message
    answer.changed()
  })
  head.on('end', () => {
    if (!isStream && answer.rest !== '') {
      try {
        answer.messages.push(JSON.parse(answer.rest))
      } catch {
        answer.fault = `the body is not JSON: ${answer.rest.slice(0, 500)}`
      }
    }
    answer.ended = true
    answer.changed()
  })
}

function takeEvents(answer: Answer): void {
  for (;;) {
    const end = answer.rest.indexOf('\n\n')
    if (end < 0) return
    const event = answer.rest.slice(0, end)
    answer.rest = answer.rest.slice(end + 2)
    const data = event
      .split('\n')
      .filter((line) => line.startsWith('data:'))
      .map((line) => line.slice(5).replace(/^ /, ''))
      .join('\n')
    if (data !== '') answer.messages.push(JSON.parse(data))
  }
}

async function check(
  step: Expect,
  answer: Answer,
  kept: Kept,
  words: Readonly<Record<string, string>>,
  connection: Connection | null,
): Promise<void> {
  const where = `line ${step.line}`
  if (connection !== null) {
    await checkMessages(step, answer, kept, words, () => where)
    return
  }
  await answer.until(where, () => answer.head !== null)
  const head = answer.head!
  const shown = (): string =>
    `${where}: ${head.statusCode} ${JSON.stringify(head.headers)} ${answer.rest.slice(0, 800)}`
  if (step.status !== null)
    assert.match(String(head.statusCode), new RegExp(`^${step.status.replaceAll('x', '\\d')}$`), shown())
  for (const { name, value } of step.headers) {
    const got = head.headers[name.toLowerCase()]
    const pattern = value.startsWith('{') ? value : fill(value, words, kept)
    assert.ok(
      headerFits(Array.isArray(got) ? got.join(', ') : got, pattern, kept),
      `${name} is not ${value}; ${shown()}`,
    )
  }
  await checkMessages(step, answer, kept, words, shown)
  if (step.nothing) assert.equal(answer.rest, '', where)
}

async function checkMessages(
  step: Expect,
  answer: Answer,
  kept: Kept,
  words: Readonly<Record<string, string>>,
  shown: () => string,
): Promise<void> {
  const where = `line ${step.line}`
  for (const message of step.messages) {
    await answer.until(`${where}: ${JSON.stringify(message)}`, () => answer.messages.length > 0 || answer.ended)
    assert.ok(answer.messages.length > 0, `no further message; ${shown()}`)
    const found = difference(answer.messages.shift(), filled(message, words), kept)
    assert.equal(found, null, where)
  }
  // An answer without a name is whole: nothing may follow the messages that are written.
  if (step.name === null || step.end) {
    await answer.until(`${where}: the end`, () => answer.ended)
    if (step.messages.length > 0 || step.end) assert.deepEqual(answer.messages, [], `${where}: more came than expected`)
  }
}

/** The run's own words inside an expected message; other {names} are for keeping. */
function filled(pattern: unknown, words: Readonly<Record<string, string>>): unknown {
  if (typeof pattern === 'string')
    return pattern.replace(/\{([a-z]+)\}/g, (whole, name: string) => words[name] ?? whole)
  if (Array.isArray(pattern)) return pattern.map((one) => filled(one, words))
  if (typeof pattern !== 'object' || pattern === null) return pattern
  return Object.fromEntries(Object.entries(pattern).map(([key, value]) => [key, filled(value, words)]))
}
