// Children of the bad server in child.ts, with quick limits, and ears for their channels. Every process ends with the test.

import assert from 'node:assert/strict'
import { join } from 'node:path'
import { after } from 'node:test'
import { GatewayError } from '../../src/core/errors.ts'
import { LIMITS, type Limits } from '../../src/core/limits.ts'
import type { Channel, Children, ProcessSpec } from '../../src/ports/children.ts'
import { SILENT } from '../../src/ports/log.ts'
import { createChildren } from '../../src/upstream/children.ts'
import { createFakeClock } from './clock.ts'
import { until } from './processes.ts'

const FAKE = join(import.meta.dirname, 'child.ts')
export const PATH = process.env.PATH ?? ''

const open: Children[] = []
after(async () => {
  await Promise.all(open.map((children) => children.close()))
})

export function setUp(
  limits: Partial<Limits> = {},
  baseEnv: Record<string, string> = { PATH, HOME: '/home/of/gateway' },
) {
  const clock = createFakeClock()
  const quick = { ...LIMITS, childTermMs: 100, childStopMs: 400, childPollMs: 50, ...limits }
  const children = createChildren({ limits: quick, clock, log: SILENT, baseEnv })
  open.push(children)
  const exits: { childId: string; upstreamId: string; owner: string; why: string }[] = []
  children.onExit = (childId, upstreamId, owner, why) => exits.push({ childId, upstreamId, owner, why })
  const start = (mode: string, more = '', spec: Partial<ProcessSpec> = {}, owner = '', max = 8, idleMs = 0) =>
    children.spawn('up', owner, { ...specOf(mode, more), ...spec }, max, idleMs)
  return { clock, children, exits, start }
}

export function specOf(mode: string, more = ''): ProcessSpec {
  return {
    kind: 'process',
    command: process.execPath,
    args: [FAKE, mode, more],
    ...{ env: {}, cwd: null, memoryBytes: 0, cpuSeconds: 0, openFiles: 0, processes: 0 },
  }
}

export interface Heard {
  readonly lines: string[]
  closed: string | null
  drains: number
}

export function listen(channel: Channel): Heard {
  const heard: Heard = { lines: [], closed: null, drains: 0 }
  channel.onLine = (line) => heard.lines.push(line.toString())
  channel.onClose = (why) => {
    assert.equal(heard.closed, null, 'closed twice')
    heard.closed = why
  }
  channel.onDrain = () => {
    heard.drains += 1
  }
  return heard
}

export const request = (id: string, method = 'echo', params: unknown = {}): Buffer =>
  Buffer.from(JSON.stringify({ jsonrpc: '2.0', id, method, params }))

/** Sends a request and returns the result. */
export async function ask(channel: Channel, heard: Heard, method: string, params: unknown = {}): Promise<unknown> {
  const id = `${channel.n}.${method}-${heard.lines.length}`
  channel.send(request(id, method, params))
  const answer = (): string | undefined => heard.lines.find((line) => line.includes(`"id":"${id}"`))
  await until(`an answer to ${method}`, () => answer() !== undefined || heard.closed !== null)
  return (JSON.parse(answer() ?? assert.fail(heard.closed ?? '')) as { result: unknown }).result
}

export async function refused(promise: Promise<unknown>): Promise<GatewayError> {
  const error = await promise.then(
    () => assert.fail('it was not refused'),
    (fault: unknown) => fault,
  )
  assert.ok(error instanceof GatewayError)
  return error
}
