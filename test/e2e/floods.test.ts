// Upstreams and clients that never stop: questions in an endless loop, thousands of questions at once, calls that wait for
// their clients up to every bound, and a client that begins a session for each request. What a caller gets is an error
// that says so, the next one is served as ever, and memory does not grow with what has passed. FLOOD=100000 asks longer.

import assert from 'node:assert/strict'
import type { Socket } from 'node:net'
import { after, before, test } from 'node:test'
import { LIMITS } from '../../src/core/limits.ts'
import { type Answered, createTalk } from '../fakes/mcp-talk.ts'
import { until } from '../fakes/processes.ts'
import { chunk, createRawUpstream, event, json, type RawUpstream, result, SSE_HEAD } from '../fakes/raw-upstream.ts'
import { createScripted, type Scripted } from '../fakes/scripted-mcp.ts'
import { type RunningGateway, startGateway } from './gateway.ts'

const SESSIONS = Number(process.env.FLOOD ?? 20_000)
const ASKS = { elicitation: { form: {} }, sampling: {} }
const MB = 1024 * 1024

interface Asking {
  readonly socket: Socket
  readonly id: string
  /** What the tool does with each answer to a question of its own. */
  readonly onAnswer: (message: { id?: unknown; result?: unknown; error?: { message: string } }) => void
}

let upstream: RawUpstream
let scripted: Scripted
let gateway: RunningGateway
/** Calls whose answer is due, by the number in the ids of their questions. */
const open = new Map<number, Asking>()
/** Answers to questions that name no call. */
const strays: string[] = []
const sockets = new WeakSet<Socket>()
let lastCall = 0
let put = 0

function forget(socket: Socket): void {
  for (const [n, asking] of open) if (asking.socket === socket) open.delete(n)
}

/** A server of 2025-11-25 with sessions, whose tools ask on the streams of their calls. */
function startFlood(): Promise<RawUpstream> {
  const tools = ['loop', 'many', 'once', 'echo'].map((name) => ({ name, inputSchema: { type: 'object' } }))
  scripted = createScripted({
    sessions: true,
    offersStream: true,
    answers: { 'tools/list': JSON.stringify({ tools }) },
  })
  return createRawUpstream((request, socket, connection) => {
    const { method, params } = request.message
    if (method === undefined && request.method === 'POST') {
      const message = JSON.parse(request.body) as Parameters<Asking['onAnswer']>[0] & { id: string }
      const call = open.get(Number(message.id.split('.')[0]))
      if (call === undefined) strays.push(message.error?.message ?? 'answered')
      else call.onAnswer(message)
      return 'HTTP/1.1 202 Text\r\ncontent-length: 0\r\n\r\n'
    }
    if (method !== 'tools/call') return scripted.respond(request, socket, connection)
    lastCall += 1
    const n = lastCall
    let asked = 0
    const say = (text: string): boolean => socket.write(chunk(event(text)))
    const ask = (): void => {
      asked += 1
      put += 1
      say(questionOf(`${n}.${asked}`, params?.name === 'loop'))
    }
    const end = (text: string): void => {
      open.delete(n)
      const value = JSON.stringify({ content: [{ type: 'text', text }] })
      socket.write(`${chunk(event(result(request.id, value)))}0\r\n\r\n`)
    }
    if (params?.name === 'echo') return json(result(request.id))
    socket.write(SSE_HEAD)
    if (!sockets.has(socket)) socket.on('close', () => forget(socket))
    sockets.add(socket)
    const isLoop = params?.name === 'loop'
    open.set(n, {
      socket,
      id: request.id,
      onAnswer: ({ error }) => (isLoop ? ask() : end(error?.message ?? 'answered')),
    })
    const count = params?.name === 'many' ? 5_000 : 1
    for (let at = 0; at < count; at += 1) ask()
    return null
  })
}

function questionOf(id: string, isSampling = false): string {
  const [method, params] = isSampling
    ? [
        'sampling/createMessage',
        { messages: [{ role: 'user', content: { type: 'text', text: 'go on' } }], maxTokens: 9 },
      ]
    : ['elicitation/create', { message: 'well?', requestedSchema: { type: 'object', properties: {} } }]
  return JSON.stringify({ jsonrpc: '2.0', id, method, params })
}

before(
  async () => {
    upstream = await startFlood()
    gateway = await startGateway({
      yaml: JSON.stringify({ version: 1, upstreams: { flood: { url: upstream.url } } }),
      ready: ['flood'],
    })
  },
  { timeout: 60_000 },
)

after(async () => {
  await gateway?.stop()
  await upstream?.close()
})

const ANSWERS: Record<string, object> = {
  'sampling/createMessage': { role: 'assistant', model: 'm', content: { type: 'text', text: 'more' } },
  'elicitation/create': { action: 'accept', content: {} },
}
const modern = (token = gateway.token) => createTalk(gateway.url, token, 'modern', ASKS)
const stateOf = ({ message }: Answered): unknown => message.result?.requestState
const textIn = ({ message }: Answered): string =>
  (message.result?.content as { text: string }[] | undefined)?.[0]?.text ?? JSON.stringify(message)

/** The request once more with all its answers. */
function retry(talk: ReturnType<typeof modern>, name: string, { message }: Answered): Promise<Answered> {
  const asked = message.result!.inputRequests as Record<string, { method: string }>
  const inputResponses = Object.fromEntries(Object.entries(asked).map(([key, { method }]) => [key, ANSWERS[method]]))
  return talk.ask('tools/call', { name, arguments: {}, requestState: message.result!.requestState, inputResponses })
}

test('an upstream that asks in an endless loop is cut off, and its client is not asked for ever', {
  timeout: 60_000,
}, async () => {
  const talk = modern()
  let rounds = 0
  let answer = await talk.ask('tools/call', { name: 'flood-loop', arguments: {} })
  while (answer.message.result?.resultType === 'input_required') {
    rounds += 1
    assert.ok(rounds <= LIMITS.upstreamAsksMax)
    answer = await retry(talk, 'flood-loop', answer)
  }
  assert.equal(rounds, LIMITS.upstreamAsksMax)
  assert.equal(answer.message.error?.data?.code, 'UPSTREAM_INVALID', JSON.stringify(answer.message))
  await until('its call to end', () => open.size === 0)
  assert.equal((await talk.ask('tools/call', { name: 'flood-echo', arguments: {} })).message.error, undefined)
  talk.close()
})

test('thousands of questions in one call end it, and only as many as may be open are put', {
  timeout: 60_000,
}, async () => {
  const rss = gateway.rss()
  for (let round = 0; round < 20; round += 1) {
    const talk = modern()
    const { message } = await talk.ask('tools/call', { name: 'flood-many', arguments: {} })
    // Told at once, or with what its client was asked meanwhile.
    const asked = Object.keys((message.result?.inputRequests ?? {}) as object).length
    assert.ok(asked <= LIMITS.questionsPerCall, `${asked}`)
    if (asked === 0) assert.equal(message.error?.data?.code, 'UPSTREAM_INVALID', JSON.stringify(message))
    else {
      const late = await retry(talk, 'flood-many', { message } as Answered)
      assert.equal(late.message.error?.data?.code, 'UPSTREAM_INVALID', JSON.stringify(late.message))
    }
    talk.close()
    await until('the call to end', () => open.size === 0)
  }
  assert.ok(put >= 100_000)
  assert.ok(gateway.rss() - rss < 80 * MB, `${(gateway.rss() - rss) / MB} MB more`)
})

test('questions of nobody in particular are refused, in bounded numbers, and calls go on', {
  timeout: 60_000,
}, async () => {
  strays.length = 0
  const talk = modern()
  const echo = { name: 'flood-echo', arguments: {} }
  // A link on which its client can be asked, and no call on it.
  await talk.ask('tools/call', echo)
  await until('its stream', () => scripted.streams.size > 0)
  for (let at = 0; at < 1_000; at += 1) scripted.say(questionOf(`0.${at}`))
  // As many as wait to be put, and as many refusals as may be on their way; what is past that gets no answer.
  await until('the refusals', () => strays.length >= LIMITS.upstreamNoticesMax)
  assert.ok(!strays.includes('answered'))
  assert.equal((await talk.ask('tools/call', echo)).message.error, undefined)
  talk.close()
})

test('1,000 calls wait for 100 callers; more are refused, all end, and there is room again', {
  timeout: 240_000,
}, async () => {
  const tokens: string[] = []
  for (let n = 0; n <= LIMITS.parkedMax / LIMITS.parkedPerCaller; n += 1)
    tokens.push(await gateway.newToken(`parker-${n}`))
  const talks = tokens.map((token) => modern(token))
  const once = { name: 'flood-once', arguments: {} }
  const spare = talks.pop()!
  // Links are opened only so many at a time.
  for (const talk of talks) await talk.ask('tools/call', { name: 'flood-echo', arguments: {} })
  const sizes: number[] = []
  for (let round = 0; round < 10; round += 1) {
    const parked = await Promise.all(
      talks.map(async (talk) => {
        const mine: Answered[] = []
        for (let n = 0; n < LIMITS.parkedPerCaller; n += 1) mine.push(await talk.ask('tools/call', once))
        return mine
      }),
    )
    const states = parked.flat().map(stateOf)
    assert.equal(new Set(states).size, LIMITS.parkedMax)
    assert.ok(
      !states.includes(undefined),
      JSON.stringify(parked.flat().find((answer) => stateOf(answer) === undefined)),
    )
    assert.equal(open.size, LIMITS.parkedMax)
    sizes.push(gateway.rss())
    // One more of a caller who has his ten, and one of somebody who has none: the upstream hears that nobody can be asked.
    assert.match(textIn(await talks[0]!.ask('tools/call', once)), /Too many questions/)
    assert.match(textIn(await spare.ask('tools/call', once)), /Too many questions/)
    await Promise.all(
      talks.map(async (talk, at) => {
        for (const answer of parked[at]!) assert.equal(textIn(await retry(talk, once.name, answer)), 'answered')
      }),
    )
    assert.equal(open.size, 0)
    // Each state was good once.
    const again = await retry(talks[0]!, once.name, parked[0]![0]!)
    assert.equal(again.message.error?.data?.code, 'OWNER_LOST', JSON.stringify(again.message))
  }
  for (const talk of [...talks, spare]) talk.close()
  // V8 takes what it likes at first; from then on it stays: a leak of 10 KB a call would be 30 MB more in three rounds.
  assert.ok(sizes[9]! - sizes[6]! < 25 * MB, `MB: ${sizes.map((size) => Math.round(size / MB))}`)
})

test('a client that begins a session for each request leaves nothing behind', { timeout: 600_000 }, async () => {
  const clients = Array.from({ length: 16 }, () => createTalk(gateway.url, gateway.token, 'legacy'))
  const minted = scripted.known.size
  const run = async (sessions: number): Promise<number> => {
    let left = sessions
    const go = async (talk: (typeof clients)[number]): Promise<void> => {
      while (left > 0) {
        left -= 1
        await talk.begin()
        const { message } = await talk.ask('tools/call', { name: 'flood-echo', arguments: {} })
        assert.equal(message.error, undefined, JSON.stringify(message))
      }
    }
    await Promise.all(clients.map(go))
    upstream.requests.length = 0
    return gateway.rss()
  }
  // The first ones fill the caches (`sessionCacheItems`) and V8's own room.
  const before = await run(SESSIONS)
  const later = await run(SESSIONS)
  for (const talk of clients) talk.close()
  // All of them are one caller to the upstream: they share the one link that he has.
  assert.ok(scripted.known.size <= minted + 1, `${scripted.known.size - minted} sessions upstream`)
  const perThousand = (later - before) / (SESSIONS / 1_000)
  assert.ok(perThousand < 3 * MB, `${perThousand / MB} MB more for each 1,000 sessions`)
})
