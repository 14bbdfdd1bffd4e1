// The gateway's upstream side alone (discovery, broker, a worker's way out) against servers that no one here wrote: the
// official SDK's in every era, and server-everything over HTTP and stdio.

import assert from 'node:assert/strict'
import { type AddressInfo, createServer } from 'node:net'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { createDiscoverer } from '../../src/control/discover.ts'
import type { Call } from '../../src/core/call.ts'
import { type ErrorCode, GatewayError } from '../../src/core/errors.ts'
import { LIMITS } from '../../src/core/limits.ts'
import type { UpstreamSpec, UpstreamView } from '../../src/core/model.ts'
import { createFastLink as createLink } from '../../src/http/fast-link.ts'
import { SILENT } from '../../src/ports/log.ts'
import { createFollower } from '../../src/registry/follow.ts'
import { createBroker } from '../../src/upstream/broker.ts'
import { createChildren } from '../../src/upstream/children.ts'
import { createUpstreams } from '../../src/upstream/send.ts'
import { createFakeBus } from '../fakes/bus.ts'
import { CALLER, makeCall } from '../fakes/call.ts'
import { type Program, startProgram, startServer, waitFor } from '../fakes/process.ts'
import { until } from '../fakes/processes.ts'
import { createMemoryStore } from '../fakes/store-memory.ts'

const root = join(import.meta.dirname, '../..')
const FIXTURE = join(root, 'test/conformance/fixture.ts')
const STATEFUL = join(root, 'test/fakes/stateful-server.ts')
const EVERYTHING = join(root, 'node_modules/@modelcontextprotocol/server-everything/dist/index.js')

interface Answer {
  readonly content: readonly { readonly type: string; readonly text?: string }[]
  readonly structuredContent?: unknown
  readonly isError?: boolean
  readonly resultType?: string
}

/** The upstream side of a gateway in one process, with one upstream in it. */
async function setUp(t: TestContext, spec: UpstreamSpec) {
  const clock = { now: () => Date.now() }
  const store = createMemoryStore({ clock })
  const feed = createFollower(store, (error) => assert.fail(String(error)))
  await feed.start()
  const limits = { ...LIMITS, probeMs: 5_000, newsQuietMs: 20, newsMsMin: 50, childTermMs: 200, childStopMs: 1_000 }
  const baseEnv = { PATH: process.env.PATH ?? '' }
  const children = createChildren({ limits, clock, log: SILENT, baseEnv })
  const common = {
    ...{ createLink, clock, children, networks: [], ca: null, version: '9', log: SILENT, random: Math.random, limits },
    resolveSecret: (secret: unknown) => secret as string,
  }
  const bus = createFakeBus()
  const broker = createBroker({ ...common, bus, gatewayId: 'us', upstream: (id) => store.upstream(id) })
  const discoverer = createDiscoverer({
    store,
    broker,
    bus,
    clock,
    random: Math.random,
    log: SILENT,
    limits,
  })
  discoverer.follow(feed)
  const upstreams = createUpstreams({
    ...common,
    bus,
    worker: 0,
    control: {
      openLink: (key) => broker.openLink(key),
      staleLink: (key, generation, why) => broker.staleLink(key, generation, why),
      takeQuestion: async (id) => broker.takeQuestion(id),
      linksUsed: (keys) => broker.linksUsed(keys),
      answerQuestion: (id, reply) => broker.answerQuestion(id, reply),
      reportUpstream: (id, ok, code, message) => discoverer.report(id, ok, code, message),
    },
  })
  t.after(async () => {
    feed.close()
    await discoverer.close()
    await upstreams.close()
    await broker.close()
    await children.close()
  })
  const { id } = await store.insertUpstream({ slug: 'real', spec: { privileged: true, ...spec }, origin: 'api' })
  await feed.sync()
  await discoverer.whenSettled([id], 30_000)
  assert.equal(discoverer.state(id).state, 'ready', discoverer.state(id).message ?? '')
  const view = async (): Promise<UpstreamView> => {
    const row = (await store.upstream(id))!
    const isolation = row.discovery!.stateful ? 'caller' : 'shared'
    return { ...row, isolation, callMs: 5_000, callMsMax: 60_000, connectMs: 2_000 }
  }
  const send = async (
    method: string,
    params: object,
    call: Call = makeCall(method),
    name: string | null = null,
  ): Promise<unknown> => {
    const upstream = await view()
    const out = { upstream, method, params: Buffer.from(JSON.stringify(params)), name, paramHeaders: [], callMs: 5_000 }
    const reply = await upstreams.send(out, call)
    if ('error' in reply) return { error: JSON.parse(reply.error.toString()) as unknown }
    return JSON.parse((reply.result as Buffer).toString())
  }
  const call = async (name: string, args: object = {}, over: Partial<Call> = {}): Promise<Answer> =>
    (await send('tools/call', { name, arguments: args }, makeCall('tools/call', {}, over), name)) as Answer
  const tools = async (): Promise<string[]> =>
    (await store.definitions(id)).filter(({ kind }) => kind === 'tool').map(({ name }) => name)
  return { store, broker, discoverer, children, id, view, send, call, tools }
}

const http = (url: string): UpstreamSpec => ({ transport: { kind: 'http', urls: [url] } })
const textOf = (answer: Answer): string => answer.content.map(({ text }) => text ?? '').join('')
const as = (id: string): Partial<Call> => ({ caller: { ...CALLER, id } })

async function server(
  t: TestContext,
  file: string,
  args: readonly string[] = [],
  env: Record<string, string> = {},
): Promise<string> {
  const program = await startServer(file, args, { env })
  t.after(() => program.stop())
  return program.url
}

for (const [era, expected, stateful] of [
  ['legacy', 'legacy 2025-11-25', true],
  ['modern', 'modern 2026-07-28', false],
  ['dual', 'modern 2026-07-28', false],
] as const) {
  test(`the official SDK as a server, ${era}`, async (t) => {
    const { view, send, call, tools, store, id } = await setUp(
      t,
      http(await server(t, FIXTURE, [], { FIXTURE_ERA: era })),
    )
    const { discovery } = await view()
    assert.deepEqual(
      [`${discovery!.era} ${discovery!.revision}`, discovery!.stateful, discovery!.skipped],
      [expected, stateful, []],
    )
    assert.ok((await tools()).includes('test_simple_text'))
    const kinds = new Set((await store.definitions(id)).map(({ kind }) => kind))
    assert.deepEqual(kinds, new Set(['tool', 'prompt', 'resource', 'template']))

    const plain = await call('test_simple_text')
    assert.equal(plain.content[0]!.type, 'text')
    assert.equal(plain.resultType, discovery!.era === 'modern' ? 'complete' : undefined)
    assert.equal((await call('test_error_handling')).isError, true)

    const heard: Record<string, unknown>[] = []
    await call(
      'test_tool_with_progress',
      {},
      {
        progressToken: Buffer.from('"mine"'),
        notify: (method, params) => heard.push({ method, ...(JSON.parse(params.toString()) as object) }),
      },
    )
    assert.ok(heard.length >= 2)
    for (const one of heard) assert.deepEqual([one.method, one.progressToken], ['notifications/progress', 'mine'])

    const logs: string[] = []
    const wanting = (logLevel: Call['logLevel']): Partial<Call> => ({
      logLevel,
      notify: (method, params) => logs.push(`${method} ${(JSON.parse(params.toString()) as { level: string }).level}`),
    })
    await call('test_tool_with_logging', {}, wanting('info'))
    assert.deepEqual(new Set(logs), new Set(['notifications/message info']))
    await call('test_tool_with_logging', {}, wanting('error'))
    await call('test_tool_with_logging', {}, wanting(null))
    assert.equal(logs.length, 3)

    const read = (await send(
      'resources/read',
      { uri: 'test://static-text' },
      makeCall('resources/read'),
      'test://static-text',
    )) as { contents: unknown[] }
    assert.equal(read.contents.length, 1)
    const prompt = (await send(
      'prompts/get',
      { name: 'test_simple_prompt' },
      makeCall('prompts/get'),
      'test_simple_prompt',
    )) as { messages: unknown[] }
    assert.equal(prompt.messages.length, 1)
    const unknown = (await send('tools/call', { name: 'nope' }, makeCall('tools/call'), 'nope')) as {
      error?: unknown
      isError?: boolean
    }
    assert.ok(unknown.error !== undefined || unknown.isError === true)
  })
}

for (const kind of ['http', 'stdio'] as const) {
  test(`a server that keeps state (SDK 1.x, ${kind}): each caller has its own, always`, async (t) => {
    const spec: UpstreamSpec =
      kind === 'http'
        ? http(await server(t, STATEFUL))
        : {
            transport: {
              kind: 'stdio',
              command: process.execPath,
              args: [STATEFUL, 'stdio'],
              processes: 0,
              memoryBytes: 0,
            },
          }
    const { view, call, children, id, broker, tools } = await setUp(t, spec)
    assert.equal((await view()).discovery!.stateful, true)
    const counts: string[] = []
    for (const caller of ['a', 'b', 'a', 'a', 'b', 'c'])
      counts.push(`${caller}${textOf(await call('count', {}, as(caller)))}`)
    assert.deepEqual(counts, ['a1', 'b1', 'a2', 'a3', 'b2', 'c1'])
    const many = await Promise.all(Array.from({ length: 30 }, (_, at) => call('echo', { text: `t${at}` }, as('a'))))
    many.forEach((answer, at) => {
      assert.deepEqual(answer.structuredContent, { text: `t${at}` })
    })
    assert.equal(broker.links(id).length, 4)
    if (kind === 'stdio') assert.equal(children.list(id).length, 4)

    // A tool that appears is known at once: the server says so on the stream of our shared session, or on the pipe.
    await call('grow', { name: 'fresh' }, as('a'))
    if (kind === 'http') await until('the new tool', async () => (await tools()).includes('fresh'))
    else {
      const logs: string[] = []
      const notify: Call['notify'] = (_method, params) =>
        logs.push((JSON.parse(params.toString()) as { level: string }).level)
      await call('log', {}, { ...as('a'), logLevel: 'warning', notify })
      assert.deepEqual(logs, ['warning', 'error'])
    }

    // A call that its client cancels ends in the server too.
    const slow = makeCall('tools/call', {}, { ...as('a'), progressToken: Buffer.from('1') })
    const steps: number[] = []
    const cancelling = call('slow', { steps: 400 }, { ...slow, notify: () => steps.push(1), cancel: slow.cancel })
    await until('some progress', () => steps.length >= 2)
    slow.cancel.cancel('client')
    await assert.rejects(cancelling, { code: 'CANCELLED' satisfies ErrorCode })
    await until('the server has stopped', async () => textOf(await call('cancelled', {}, as('a'))) === '1')

    if (kind === 'http') {
      // The server forgets all sessions: the next call gets a new one, by itself.
      await call('forget', {}, as('a'))
      await until('it has forgotten', async () => textOf(await call('count', {}, as('a'))) === '1')
      const headers = JSON.parse(textOf(await call('headers', {}, { ...as('a'), hops: 1 }))) as Record<string, string>
      assert.deepEqual(
        [headers['x-mcp-gateway-hops'], headers['mcp-protocol-version'], headers.authorization],
        ['2', '2025-11-25', undefined],
      )
    } else {
      const fault = await call('die', {}, as('b')).catch((error: unknown) => error)
      assert.ok(fault instanceof GatewayError)
      assert.equal(fault.code, 'UPSTREAM_UNAVAILABLE')
      const waiting = await call('count', {}, as('b')).catch((error: unknown) => error)
      assert.ok(waiting instanceof GatewayError && waiting.options.retryAfterSeconds !== undefined, String(waiting))
      assert.equal(textOf(await call('count', {}, as('a'))), '4', 'the others do not notice')
      await until(
        'it is started again',
        async () => textOf(await call('count', {}, as('b')).catch(() => ({ content: [] }))) === '1',
      )
    }
  })
}

async function freePort(): Promise<number> {
  const probe = createServer()
  await new Promise<void>((resolve) => probe.listen(0, '127.0.0.1', resolve))
  const { port } = probe.address() as AddressInfo
  await new Promise((resolve) => probe.close(resolve))
  return port
}

for (const kind of ['http', 'stdio'] as const) {
  test(`server-everything over ${kind}`, async (t) => {
    let spec: UpstreamSpec
    if (kind === 'stdio')
      spec = {
        transport: {
          kind: 'stdio',
          command: process.execPath,
          args: [EVERYTHING, 'stdio'],
          processes: 0,
          memoryBytes: 0,
        },
      }
    else {
      const port = await freePort()
      const program: Program = startProgram(process.execPath, [EVERYTHING, 'streamableHttp'], {
        env: { PORT: String(port) },
      })
      t.after(() => program.stop())
      await waitFor(program, 'server-everything', () => (program.output().includes('listening') ? true : null))
      spec = http(`http://127.0.0.1:${port}/mcp`)
    }
    const { view, call, tools, send } = await setUp(t, spec)
    const { discovery } = await view()
    assert.deepEqual([discovery!.era, discovery!.stateful, discovery!.skipped], ['legacy', true, []])
    assert.ok((await tools()).includes('echo'))
    assert.match(textOf(await call('echo', { message: 'hello' })), /hello/)
    const sum = (await tools()).find((name) => name.endsWith('sum'))!
    assert.match(textOf(await call(sum, { a: 2, b: 40 })), /42/)
    const done = (await send('completion/complete', {
      ref: { type: 'ref/prompt', name: 'nope' },
      argument: { name: 'a', value: '' },
    })) as object
    assert.ok('error' in done || 'completion' in done)
  })
}
