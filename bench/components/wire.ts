// JSON, validation, lists, streams and sessions: what is read and written for each call.

import { list } from '../../src/call/list.ts'
import { createPageCache } from '../../src/call/page-cache.ts'
import { createValidators } from '../../src/call/validators.ts'
import { LIMITS } from '../../src/core/limits.ts'
import { Sessions } from '../../src/edge/session.ts'
import { encodeResult, readBody, readIncoming, readReply } from '../../src/mcp/jsonrpc.ts'
import { createSealer } from '../../src/mcp/seal.ts'
import { SseReader, sseEvent } from '../../src/mcp/sse.ts'
import type { ToolTarget } from '../../src/registry/snapshot.ts'
import { createLog } from '../../src/telemetry/log.ts'
import { CALLER, makeCall, makeGateway } from '../../test/fakes/call.ts'
import { registryRows, tool, upstreamRow } from '../../test/fakes/registry.ts'
import { compare, type Pace, type Pair } from '../rig/micro.ts'
import { answerText, callText, FILLERS, SIZES } from '../rig/talk.ts'
import type { Component } from './component.ts'

const SCHEMA = {
  type: 'object',
  properties: {
    mark: { type: 'string', minLength: 1, maxLength: 64 },
    text: { type: 'string' },
    count: { type: 'integer', minimum: 0, maximum: 100 },
    mode: { enum: ['fast', 'slow', 'auto'] },
    tags: { type: 'array', items: { type: 'string' }, maxItems: 10 },
  },
  required: ['mark', 'text'],
  additionalProperties: false,
}
const ARGUMENTS = { mark: 'm1', text: 'some text', count: 3, mode: 'auto', tags: ['a', 'b'] }
const silent = createLog({ level: 'silent', format: 'json', write: () => {}, now: () => 0 })

const targetWith = (inputSchema: object): ToolTarget =>
  ({
    exposed: 'bench-tool',
    inputSchema: JSON.stringify(inputSchema),
    outputSchema: null,
    schemaKey: JSON.stringify(inputSchema).length.toString(),
  }) as unknown as ToolTarget

async function validation(pace: Pace): Promise<Pair[]> {
  const given = Buffer.from(JSON.stringify(ARGUMENTS))
  const kept = createValidators(silent)
  await kept.load()
  const target = targetWith(SCHEMA)
  const cold = createValidators(silent)
  await cold.load()
  let n = 0
  const pairs = [
    await compare(
      { name: 'compiled once, kept', run: () => kept.arguments(target, given, null) },
      {
        name: 'compiled per call',
        run: () => cold.arguments({ ...target, schemaKey: `k${n++}` }, given, null),
      },
      pace,
    ),
  ]
  // Over the bound of nodes a schema is walked, not compiled: this is what compilation saves on each call.
  const wide = { ...SCHEMA, $defs: Object.fromEntries(Array.from({ length: 2_100 }, (_, at) => [`d${at}`, {}])) }
  const walked = targetWith(wide)
  pairs.push(
    await compare(
      { name: 'compiled, kept', run: () => kept.arguments(target, given, null) },
      { name: 'interpreted', run: () => kept.arguments(walked, given, null) },
      pace,
    ),
  )
  return pairs
}

/** An upstream's answer on its way to a client: the bytes of `result` under the client's id. */
async function passThrough(pace: Pace): Promise<Pair[]> {
  const pairs: Pair[] = []
  const id = Buffer.from('1000000')
  for (const [at, size] of SIZES.entries()) {
    const answer = Buffer.from(answerText('sessions', '"7.1"', 'm'.repeat(16), FILLERS[at]!))
    pairs.push(
      await compare(
        {
          name: `${size.name} answer proven and passed`,
          run: () => {
            const reply = readReply(answer, '"7.1"')
            return 'result' in reply ? encodeResult(id, reply.result) : null
          },
        },
        {
          name: 'JSON.parse and stringify',
          run: () => {
            const parsed = JSON.parse(answer.toString()) as { id: unknown }
            parsed.id = 1_000_000
            return Buffer.from(JSON.stringify(parsed))
          },
        },
        pace,
      ),
    )
  }
  return pairs
}

async function requests(pace: Pace): Promise<Pair[]> {
  const pairs: Pair[] = []
  for (const [at, size] of SIZES.entries()) {
    const body = Buffer.from(callText('stateless', 1_000_000, 'bench-tool_000', 'm'.repeat(16), FILLERS[at]!, null))
    pairs.push(
      await compare(
        { name: `${size.name} request read strictly`, run: () => readBody(body) },
        { name: 'JSON.parse (no duplicate key seen)', run: () => JSON.parse(body.toString()) },
        pace,
      ),
    )
  }
  return pairs
}

async function events(pace: Pace): Promise<Pair[]> {
  const text =
    '{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":"p1","progress":1,"total":9}}'
  const chunk = Buffer.from(`event: message\ndata: ${text}\n\n`)
  let seen: unknown
  const reader = new SseReader(1_000_000, (event) => {
    seen = [readIncoming(event.data), sseEvent([event.data])]
  })
  let lines = ''
  const plain = (): unknown => {
    const parts = (lines + chunk.toString()).split('\n\n')
    lines = parts.pop()!
    return parts.map((part) => {
      const data = part.split('\n').find((line) => line.startsWith('data: '))!
      return `event: message\ndata: ${JSON.stringify(JSON.parse(data.slice(6)))}\n\n`
    })
  }
  return [
    await compare(
      {
        name: 'event read, proven, bytes passed',
        run: () => {
          reader.push(chunk)
          return seen
        },
      },
      { name: 'parsed and written anew', run: plain },
      pace,
    ),
  ]
}

async function lists(pace: Pace): Promise<Pair[]> {
  const definitions = Array.from({ length: 1_000 }, (_, n) => tool(`t${n}`, { inputSchema: SCHEMA }))
  const gateway = await makeGateway(registryRows([{ upstream: upstreamRow('u'), definitions }]), () => {
    throw new Error('a list asks nobody')
  })
  const call = makeCall('tools/list')
  const plain = definitions.map((definition) => {
    const parsed = JSON.parse(definition.json) as { name: string }
    return { ...parsed, name: `u-${parsed.name}` }
  })
  const encode = {
    name: 'JSON.stringify of 1,000 tools',
    run: () => Buffer.from(JSON.stringify({ tools: plain })),
  }
  return [
    await compare({ name: 'kept page', run: () => list(call, gateway) }, encode, pace),
    await compare(
      { name: 'join of encoded slices', run: () => list(call, { ...gateway, pages: createPageCache(1) }) },
      encode,
      pace,
    ),
  ]
}

async function sessions(pace: Pace): Promise<Pair[]> {
  const sealer = createSealer([{ id: 1, key: Buffer.alloc(32, 7) }])
  const known = new Sessions({
    sealer,
    bus: { publish: () => {}, subscribe: () => () => {} },
    clock: { now: () => Date.now() },
    limits: LIMITS,
    endSession: async () => {},
    leaveSession: () => {},
    onEnded: () => {},
  })
  const { client } = makeCall('ping')
  const caller = { ...CALLER, id: '0123456789abcdef'.repeat(2) }
  const { id } = known.begin(caller, '', '2025-11-25', client)
  return [
    await compare(
      { name: 'opened once, kept', run: () => known.open(id, caller, '') },
      { name: 'decrypted per request', run: () => sealer.open('session', id) },
      pace,
    ),
  ]
}

export const WIRE: readonly Component[] = [
  {
    layer: 'Native components',
    name: 'Validation (Pydantic v2)',
    claim: '5–50×',
    ours: 'Ajv, compiled at the first call and kept: src/call/validators.ts',
    measure: validation,
  },
  {
    layer: 'Native components',
    name: 'JSON (orjson), answers',
    claim: '3×',
    ours: 'proven bytes passed under our envelope: src/mcp/jsonrpc.ts',
    measure: passThrough,
  },
  {
    layer: 'Native components',
    name: 'JSON (orjson), requests',
    claim: '3×',
    ours: 'a scan that decodes nothing: src/mcp/json.ts',
    measure: requests,
  },
  {
    layer: 'Native components',
    name: 'SSE streaming',
    claim: 'part of the 3×',
    ours: 'bytes of an event passed on: src/mcp/sse.ts',
    measure: events,
  },
  {
    layer: 'Edge',
    name: 'API cache 512 MB, schema cache',
    claim: '5 minutes',
    ours: 'slices encoded once, joined pages kept (64 MB): src/registry/encode.ts, src/call/list.ts',
    measure: lists,
  },
  {
    layer: 'Redis',
    name: 'sessions 3,600 s',
    claim: 'one look-up a request',
    ours: 'sealed in their id, opened once per worker: src/mcp/seal.ts, src/edge/session.ts',
    measure: sessions,
  },
]
