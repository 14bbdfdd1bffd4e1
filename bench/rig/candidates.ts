// What is measured: the upstream directly, the bare Node proxy, the Rust floor, a static answer, and the gateway through
// its published bin. Each stands in front of the same upstream process.

import { buildFloor } from './floor.ts'
import { type GatewayOptions, startGateway } from './gateway.ts'
import type { LoadJob } from './load.ts'
import type { Settings } from './measure.ts'
import { type Started, start, startRig } from './processes.ts'
import { type Form, SLUG, TOKENS, TOOLS, toolName } from './talk.ts'
import type { Counts, UpstreamOptions } from './upstream.ts'

export type CandidateName = 'direct' | 'rust floor' | 'bare proxy' | 'static' | 'gateway'

export interface Candidate {
  readonly name: CandidateName
  readonly pid: number
  readonly port: number
  readonly path: string
  readonly prefix: string
  readonly tokens: readonly string[]
  /** What the load must do in another way for this candidate. */
  readonly job: Partial<Pick<LoadJob, 'form' | 'fixedId'>>
  stop(): Promise<void>
}

export interface Upstream extends Started {
  counts(): Promise<Counts>
  reset(): Promise<void>
}

/** Names as the gateway exposes them: slug, hyphen, the upstream's own name. */
export const PREFIX = `${SLUG}-`
const TOKEN_LIST = Array.from({ length: TOKENS }, (_, n) => `bench-token-${String(n).padStart(2, '0')}`)
const NAMES = Object.fromEntries(Array.from({ length: TOOLS }, (_, n) => [PREFIX + toolName(n), toolName(n)]))

export async function startUpstream(options: Partial<UpstreamOptions> & { form: Form }): Promise<Upstream> {
  const started = await startRig('upstream.ts', { tools: TOOLS, delayMs: 0, events: 0, ...options })
  const base = `http://127.0.0.1:${started.ready.port}`
  return {
    ...started,
    counts: async () => (await (await fetch(`${base}/count`)).json()) as Counts,
    reset: async () => {
      await (await fetch(`${base}/reset`, { method: 'POST' })).text()
    },
  }
}

export function direct(upstream: Upstream): Candidate {
  const { pid, ready } = upstream
  const stop = async (): Promise<void> => {}
  return { name: 'direct', pid, port: ready.port, path: '/mcp', prefix: '', tokens: TOKEN_LIST, job: {}, stop }
}

export async function bareProxy(upstream: Upstream): Promise<Candidate> {
  const options = { upstream: `http://127.0.0.1:${upstream.ready.port}`, tokens: TOKEN_LIST, names: NAMES }
  return candidate('bare proxy', await startRig('bare-proxy.ts', options))
}

/** Null where cargo is not there; says why. */
export async function rustFloor(upstream: Upstream, settings: Settings): Promise<Candidate | null> {
  const floor = buildFloor(!settings.short)
  if ('skipped' in floor) {
    settings.print(`the Rust floor is left out: ${floor.skipped}`)
    return null
  }
  const options = { upstream: `127.0.0.1:${upstream.ready.port}`, tokens: TOKEN_LIST, names: NAMES }
  return candidate('rust floor', await start(floor.program, [JSON.stringify(options)]))
}

/** One constant answer to everything: its id is always the first, and it knows no handshake. */
export async function staticAnswer(file: string): Promise<Candidate> {
  return { ...candidate('static', await startRig('static.ts', { file })), job: { form: 'stateless', fixedId: true } }
}

export async function gateway(upstream: Upstream, options: Partial<GatewayOptions> = {}): Promise<Candidate> {
  const started = await startGateway({
    upstreams: { [SLUG]: `http://127.0.0.1:${upstream.ready.port}/mcp` },
    ...options,
  })
  return { ...started, name: 'gateway', path: '/mcp', prefix: PREFIX, job: {} }
}

function candidate(name: CandidateName, started: Started): Candidate {
  const { pid, ready, stop } = started
  return { name, pid, port: ready.port, path: '/mcp', prefix: PREFIX, tokens: TOKEN_LIST, job: {}, stop }
}
