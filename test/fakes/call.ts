// Calls as the edge makes them, and a gateway whose upstream is a function, for tests of the middle.

import { createLocalHop } from '../../src/adapters/hop-local.ts'
import type { Gateway } from '../../src/call/gateway.ts'
import { createPageCache } from '../../src/call/page-cache.ts'
import { Parks } from '../../src/call/park.ts'
import { createValidators } from '../../src/call/validators.ts'
import type { Call, Reply } from '../../src/core/call.ts'
import { Cancel } from '../../src/core/cancel.ts'
import { LIMITS } from '../../src/core/limits.ts'
import type { Caller } from '../../src/core/policy.ts'
import { needRight } from '../../src/core/policy.ts'
import { EMPTY_PARAMS, readParams } from '../../src/mcp/jsonrpc.ts'
import { createSealer } from '../../src/mcp/seal.ts'
import type { RegistryRows } from '../../src/ports/feed.ts'
import type { Hop } from '../../src/ports/hop.ts'
import { createHolder } from '../../src/registry/holder.ts'
import { createLog } from '../../src/telemetry/log.ts'
import type { Outgoing } from '../../src/upstream/upstream.ts'
import { createFakeFeed } from './registry.ts'

export const CALLER: Caller = {
  id: 'caller-1',
  issuer: 'test',
  subject: 'one',
  name: 'one',
  rights: ['use'],
  expiresMs: null,
}

export function makeCall(method: string, params?: object | string, over: Partial<Call> = {}): Call {
  const text = typeof params === 'string' ? params : JSON.stringify(params)
  return {
    requestId: 'r1',
    era: 'legacy',
    revision: '2025-11-25',
    method,
    scope: '',
    caller: CALLER,
    session: null,
    client: { name: 'test', version: '1', asks: 0, capabilities: null },
    params: params === undefined ? EMPTY_PARAMS : readParams(Buffer.from(text)),
    progressToken: null,
    logLevel: null,
    trace: null,
    hops: 0,
    paramHeaders: null,
    cancel: new Cancel(),
    notify: null,
    ask: null,
    ...over,
  }
}

export async function makeGateway(
  rows: RegistryRows,
  answer: (out: Outgoing, call: Call) => Promise<Reply> | Reply,
  hop: Hop = createLocalHop({ worker: 0, boot: 1 }),
): Promise<Gateway> {
  const log = createLog({ level: 'silent', format: 'json', write: () => {}, now: () => 0 })
  const defaults = { validate: 'arguments', callMs: 60_000, callMsMax: 3_600_000, connectMs: 5_000 } as const
  const registry = createHolder(createFakeFeed(rows), defaults, { now: () => Date.now() }, (error) => {
    throw error
  })
  await registry.ready()
  const sealer = createSealer([{ id: 1, key: Buffer.alloc(32, 7) }])
  return {
    registry,
    authorize: (call) => needRight(call.caller, 'use'),
    hooks: { before: [], after: [] },
    upstreams: { send: async (out, call) => answer(out, call), upstreamsChanged: () => {}, close: async () => {} },
    validators: createValidators(log),
    pages: createPageCache(LIMITS.listCacheBytes),
    sealer,
    parks: new Parks({ sealer, hop, clock: { now: () => Date.now() }, limits: LIMITS }),
    watch: async () => {},
    open: false,
    version: '0.0.0',
  }
}

export const resultText = (reply: Reply): string => {
  if ('error' in reply) return reply.error.toString()
  return (Array.isArray(reply.result) ? Buffer.concat(reply.result) : (reply.result as Buffer)).toString()
}
