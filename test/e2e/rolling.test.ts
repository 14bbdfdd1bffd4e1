// Workers that go while all kinds of clients use them: replaced one by one (SIGHUP), killed, or left alone by a primary
// that was killed. Every request is counted at both ends: none is lost, none is done twice. ROUNDS=20 rolls more often.

import assert from 'node:assert/strict'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { setTimeout as wait } from 'node:timers/promises'
import * as two from '@modelcontextprotocol/client'
import { Client as ClientOne } from '@modelcontextprotocol/sdk/client/index.js'
import { StreamableHTTPClientTransport as HttpOne } from '@modelcontextprotocol/sdk/client/streamableHttp.js'
import { ElicitRequestSchema } from '@modelcontextprotocol/sdk/types.js'
import { createTalk } from '../fakes/mcp-talk.ts'
import { type Program, startServer } from '../fakes/process.ts'
import { holderOf, isRunning, until, workersOf } from '../fakes/processes.ts'
import { createRawUpstream, json, type RawUpstream, result } from '../fakes/raw-upstream.ts'
import { createScripted } from '../fakes/scripted-mcp.ts'
import { STATEFUL } from './fixtures.ts'
import { type RunningGateway, startGateway } from './gateway.ts'
import { connectPeer, PEER_KINDS } from './peers.ts'

const ROUNDS = Number(process.env.ROUNDS ?? 1)
const WORKERS = 3
const ASKING = join(import.meta.dirname, '..', 'fakes', 'asking-server.ts')
const ELICITATION = { elicitation: { form: {} } }

/** How often each mark has reached the upstream. */
const arrived = new Map<string, number>()
let marked: RawUpstream
let asking: Program & { readonly url: string }
let gateway: RunningGateway
let port = 0

/** Its one tool waits and answers with the mark that it was given. */
function createMarked(): Promise<RawUpstream> {
  const tool = { name: 'wait', inputSchema: { type: 'object' } }
  const scripted = createScripted({
    eras: ['legacy', 'modern'],
    answers: {
      'tools/list': JSON.stringify({ tools: [tool], resultType: 'complete', ttlMs: 0, cacheScope: 'private' }),
    },
  })
  return createRawUpstream((request, socket, connection) => {
    if (request.message.method !== 'tools/call') return scripted.respond(request, socket, connection)
    const { mark, ms } = request.message.params!.arguments as { mark: string; ms: number }
    arrived.set(mark, (arrived.get(mark) ?? 0) + 1)
    const text = JSON.stringify({ resultType: 'complete', content: [{ type: 'text', text: mark }] })
    setTimeout(() => socket.write(json(result(request.id, text))), ms)
    return null
  })
}

before(
  async () => {
    marked = await createMarked()
    asking = await startServer(ASKING, ['http'])
    const upstreams = {
      marked: { url: marked.url },
      asking: { url: asking.url },
      child: { command: process.execPath, args: [STATEFUL, 'stdio'] },
    }
    const ready = Object.keys(upstreams)
    const yaml = JSON.stringify({ version: 1, upstreams })
    gateway = await startGateway({ yaml, args: ['--workers', String(WORKERS)], ready })
    port = Number(new URL(gateway.url).port)
  },
  { timeout: 90_000 },
)

after(async () => {
  await gateway?.stop()
  await asking?.stop()
  await marked?.close()
})

const textIn = (outcome: unknown): string => (outcome as { content?: { text: string }[] }).content?.[0]?.text ?? ''
const isReady = (old: readonly number[]): boolean => {
  const now = workersOf(gateway.pid)
  return now.length === WORKERS && !now.some((pid) => old.includes(pid))
}

interface Failure {
  readonly who: string
  readonly why: string
  readonly begunMs: number
}

/** All kinds of clients, each of which does one thing after the other until `stop`. */
async function startLoad(who: string) {
  const { url, token } = gateway
  const marks: string[] = []
  const failures: Failure[] = []
  const counts: Record<string, number> = {}
  const clients: Promise<void>[] = []
  const closers: (() => unknown)[] = []
  let isOver = false
  let last = 0

  const go = (name: string, pauseMs: number, once: () => Promise<void>): void => {
    counts[name] = 0
    const loop = async (): Promise<void> => {
      while (!isOver) {
        const begunMs = performance.now()
        try {
          await once()
          counts[name]! += 1
        } catch (error) {
          failures.push({ who: name, why: String(error), begunMs })
          await wait(50)
        }
        // Connections rest for all kinds of times, also past the end of a drain.
        await wait(Math.random() * pauseMs)
      }
    }
    clients.push(loop())
  }
  const newMark = (name: string): string => {
    last += 1
    const mark = `${who} ${name} ${last}`
    marks.push(mark)
    return mark
  }

  for (const [at, [era, pauseMs, ms]] of (
    [
      ['modern', 20, 5],
      ['modern', 3_000, 5],
      ['modern', 5_000, 3_000],
      ['legacy', 20, 5],
      ['legacy', 3_000, 5],
      ['legacy', 5_000, 3_000],
    ] as const
  ).entries()) {
    const name = `raw ${era} ${at}`
    const talk = createTalk(url, token, era)
    closers.push(talk.close)
    if (era === 'legacy') await talk.begin()
    go(name, pauseMs, async () => {
      const mark = newMark(name)
      const answer = await talk.ask('tools/call', { name: 'marked-wait', arguments: { mark, ms } })
      assert.equal(textIn(answer.message.result), mark, JSON.stringify(answer))
    })
  }
  for (const kind of PEER_KINDS) {
    const peer = await connectPeer(kind, { url: `${url}/mcp`, token })
    closers.push(() => peer.close())
    go(kind, 500, async () => {
      const mark = newMark(kind)
      assert.equal(textIn(await peer.call('marked-wait', { mark, ms: 20 })), mark)
      assert.equal(textIn(await peer.call('child-echo', { text: mark })), mark)
    })
  }
  const talk = createTalk(url, token, 'legacy')
  closers.push(talk.close)
  await talk.begin()
  go('stream', 10, async () => {
    const stream = await talk.listen()
    assert.equal(stream.statusCode, 200)
    // To its end, which must be one of HTTP and not of TCP.
    await new Promise<void>((resolve, reject) => {
      const look = setInterval(() => isOver && stream.destroy(), 50)
      stream.resume()
      stream.on('end', resolve)
      stream.on('error', reject)
      stream.on('close', () => {
        clearInterval(look)
        if (isOver) resolve()
      })
    })
  })
  const answer = async (): Promise<{ action: 'accept'; content: { said: string } }> => {
    await wait(1_000)
    return { action: 'accept', content: { said: who } }
  }
  const older = new ClientOne({ name: 'older', version: '1' }, { capabilities: ELICITATION })
  older.setRequestHandler(ElicitRequestSchema, answer)
  const headers = { Authorization: `Bearer ${token}` }
  const transport = new HttpOne(new URL(`${url}/mcp`), { requestInit: { headers } })
  await older.connect(transport as Parameters<typeof older.connect>[0])
  closers.push(() => older.close())
  const newer = new two.Client(
    { name: 'newer', version: '1' },
    { capabilities: ELICITATION, versionNegotiation: { mode: 'auto' } },
  )
  newer.setRequestHandler('elicitation/create', answer)
  await newer.connect(new two.StreamableHTTPClientTransport(new URL(`${url}/mcp`), { requestInit: { headers } }))
  closers.push(() => newer.close())
  // An answer that is lost with its connection is not noticed by the client of the SDK until its own time is over.
  const timeout = 20_000
  const asks = { name: 'asking-name', arguments: {} }
  go('asked', 500, async () => {
    assert.equal(textIn(await older.callTool(asks, undefined, { timeout })), `accept ${who}, accept ${who}`)
  })
  go('parked', 500, async () => {
    assert.equal(textIn(await newer.callTool(asks, { timeout })), `accept ${who}, accept ${who}`)
  })

  return {
    failures,
    counts,
    marks,
    async stop(): Promise<void> {
      isOver = true
      await Promise.all(clients)
      for (const close of closers) await close()
    },
  }
}

test('rolled under load, no request is lost and none is done twice', {
  timeout: 60_000 + ROUNDS * 60_000,
}, async () => {
  const load = await startLoad('roll')
  await wait(1_500)
  for (let round = 0; round < ROUNDS; round += 1) {
    const old = workersOf(gateway.pid)
    assert.equal(old.length, WORKERS)
    process.kill(gateway.pid, 'SIGHUP')
    await until('new workers', () => isReady(old))
    // A SIGHUP in the last moment of a roll is part of that one.
    await wait(500)
  }
  await wait(1_500)
  await load.stop()
  assert.deepEqual(load.failures, [])
  for (const [name, count] of Object.entries(load.counts)) assert.ok(count > 0, `${name}: ${count}`)
  assert.deepEqual(
    load.marks.filter((mark) => arrived.get(mark) !== 1),
    [],
  )
})

test('a worker that is killed takes its own calls with it and nothing else', { timeout: 120_000 }, async () => {
  const { url, token } = gateway
  const counting = createTalk(url, token, 'legacy')
  await counting.begin()
  const count = async (): Promise<string> =>
    textIn((await counting.ask('tools/call', { name: 'child-count', arguments: {} })).message.result)
  const counted = Number(await count())
  // Calls that wait for their clients, over connections of their own, so that it is known which worker has which.
  const parked = await Promise.all(
    Array.from({ length: 9 }, async () => {
      const talk = createTalk(url, token, 'modern', ELICITATION)
      const { message, port: own } = await talk.ask('tools/call', { name: 'asking-name', arguments: {} })
      assert.equal(message.result?.resultType, 'input_required', JSON.stringify(message))
      const pid = holderOf(own, port, workersOf(gateway.pid))
      talk.close()
      return { pid, state: message.result.requestState }
    }),
  )
  const old = workersOf(gateway.pid)
  const victim = parked[0]!.pid!
  assert.ok(old.includes(victim))
  const load = await startLoad('kill')
  await wait(1_500)
  process.kill(victim, 'SIGKILL')
  await until('its end', () => !isRunning(victim))
  await wait(100)
  const goneMs = performance.now()
  // Its parked calls are lost, and their clients hear so from whichever worker they come to; those of others go on.
  const q = { action: 'accept', content: { said: 'me' } }
  for (const { pid, state } of parked) {
    const talk = createTalk(url, token, 'modern', ELICITATION)
    const retry = { name: 'asking-name', arguments: {}, requestState: state, inputResponses: { q1: q, q2: q } }
    const { message } = await talk.ask('tools/call', retry)
    talk.close()
    if (pid === victim) assert.equal(message.error?.data?.code, 'OWNER_LOST', JSON.stringify(message))
    else assert.equal(message.error, undefined, JSON.stringify(message))
  }
  await until('a new worker', () => workersOf(gateway.pid).length === WORKERS)
  await wait(1_500)
  await load.stop()
  // Whatever began after it was gone has been served, with the right answer.
  assert.deepEqual(
    load.failures.filter(({ begunMs }) => begunMs > goneMs),
    [],
  )
  // One thing at a time for each client: no more can have been in its hands.
  const hurt = load.failures.map(({ who }) => who)
  assert.equal(new Set(hurt).size, hurt.length, JSON.stringify(load.failures))
  for (const mark of load.marks) assert.ok((arrived.get(mark) ?? 0) <= 1, mark)
  // The process behind lives on, and so does what it remembers of its caller.
  assert.equal(Number(await count()), counted + 1)
  counting.close()
})

test('calls that outlast a drain end with an answer that says why', { timeout: 120_000 }, async () => {
  const { url, token } = gateway
  const talk = createTalk(url, token, 'legacy')
  await talk.begin()
  const long = talk.ask('tools/call', { name: 'marked-wait', arguments: { mark: 'long', ms: 50_000 } })
  await until('the call', () => arrived.has('long'))
  const old = workersOf(gateway.pid)
  process.kill(gateway.pid, 'SIGHUP')
  const { message } = await long
  assert.equal(message.error?.data?.code, 'SHUTTING_DOWN', JSON.stringify(message))
  await until('new workers', () => isReady(old))
  talk.close()
})

test('when the primary is killed its workers finish their calls and end', { timeout: 120_000 }, async () => {
  const { url, token } = gateway
  const talks = await Promise.all(
    Array.from({ length: 6 }, async () => {
      const talk = createTalk(url, token, 'legacy')
      await talk.begin()
      return talk
    }),
  )
  const calls = talks.map((talk, at) =>
    talk.ask('tools/call', { name: 'marked-wait', arguments: { mark: `orphan ${at}`, ms: 1_500 } }),
  )
  await until('the calls', () => arrived.has('orphan 5'))
  const workers = workersOf(gateway.pid)
  process.kill(gateway.pid, 'SIGKILL')
  for (const [at, { message }] of (await Promise.all(calls)).entries())
    assert.equal(textIn(message.result), `orphan ${at}`)
  await until('the workers to end', () => !workers.some(isRunning))
  for (const talk of talks) talk.close()
})
