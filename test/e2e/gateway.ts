// Starts the gateway as a user does, by its published bin, with a data directory of its own on a free port, and ends it
// by its own pid. Also a small client of its REST API. Absent on purpose: anything that reaches into the process.

import { execFileSync } from 'node:child_process'
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type Program, startProgram, waitFor } from '../fakes/process.ts'

const ROOT = join(import.meta.dirname, '..', '..')
export const BIN = join(ROOT, 'bin', 'mcp-gateway.cjs')

export interface GatewayOptions {
  /** Text of its gateway.yaml (JSON is YAML too); `version: 1` alone when absent. */
  readonly yaml?: string
  /** Further arguments of `up`. */
  readonly args?: readonly string[]
  readonly env?: Readonly<Record<string, string>>
  /** Slugs of upstreams that must be ready before it counts as started. */
  readonly ready?: readonly string[]
  readonly port?: number
  /** A data directory to go on with, which then is not removed at the end. */
  readonly data?: string
}

export interface RunningGateway {
  /** Origin, without a slash at its end. */
  readonly url: string
  /** The operator's token of the data directory; '' with --open. */
  readonly token: string
  readonly data: string
  readonly pid: number
  logs(): string
  /** Resident bytes of the process and all its descendants but stdio children. */
  rss(): number
  api<T>(method: string, path: string, body?: unknown): Promise<{ status: number; body: T }>
  /** DELETE with the entity tag of what is there now; the status. */
  remove(path: string): Promise<number>
  /** A token with the right `use` alone: another caller. */
  newToken(name: string): Promise<string>
  stop(signal?: NodeJS.Signals): Promise<void>
}

export async function startGateway(options: GatewayOptions = {}): Promise<RunningGateway> {
  const data = options.data ?? mkdtempSync(join(tmpdir(), 'mcp-gateway-'))
  const config = join(data, 'gateway.yaml')
  writeFileSync(config, options.yaml ?? 'version: 1\n')
  const args = ['up', '--data', data, '--config', config, '--port', String(options.port ?? 0), ...(options.args ?? [])]
  const program = startProgram(process.execPath, [BIN, ...args], { env: { ...options.env }, stopMs: 15_000 })
  const remove = (): void => {
    if (options.data === undefined) rmSync(data, { recursive: true, force: true })
  }
  try {
    const { url, token } = await waitFor(program, 'the gateway', () => readDirectory(data, program))
    const gateway = running(program, url, token, data, remove)
    await waitFor(program, `${url}/ready`, () => answersReady(url))
    if (options.ready !== undefined) await untilReady(gateway, program, options.ready)
    return gateway
  } catch (error) {
    await program.stop()
    remove()
    throw error
  }
}

function running(program: Program, url: string, token: string, data: string, remove: () => void): RunningGateway {
  const api = async <T>(method: string, path: string, body?: unknown): Promise<{ status: number; body: T }> => {
    const headers: Record<string, string> = token === '' ? {} : { Authorization: `Bearer ${token}` }
    if (body !== undefined) headers['Content-Type'] = 'application/json'
    const init: RequestInit = { method, headers, signal: AbortSignal.timeout(30_000) }
    if (body !== undefined) init.body = JSON.stringify(body)
    const answer = await fetch(`${url}${path}`, init)
    const text = await answer.text()
    return { status: answer.status, body: (text === '' ? null : JSON.parse(text)) as T }
  }
  const authorization = { Authorization: `Bearer ${token}` }
  return {
    url,
    token,
    data,
    pid: program.pid,
    logs: program.output,
    rss: () => rssOf(program.pid),
    api,
    async remove(path) {
      const read = await fetch(`${url}${path}`, { headers: authorization, signal: AbortSignal.timeout(30_000) })
      await read.arrayBuffer()
      const answer = await fetch(`${url}${path}`, {
        method: 'DELETE',
        headers: { ...authorization, 'If-Match': read.headers.get('etag') ?? '' },
        signal: AbortSignal.timeout(30_000),
      })
      await answer.arrayBuffer()
      return answer.status
    },
    async newToken(name) {
      const { status, body } = await api<{ token: string }>('POST', '/v1/tokens', { name, rights: ['use'] })
      if (status !== 201) throw new Error(`POST /v1/tokens answered ${status}: ${JSON.stringify(body)}`)
      return body.token
    },
    async stop(signal) {
      await program.stop(signal)
      remove()
    },
  }
}

/** gateway.json and the token, once this very process has written them. */
function readDirectory(data: string, program: Program): { url: string; token: string } | null {
  try {
    const { pid, url } = JSON.parse(readFileSync(join(data, 'gateway.json'), 'utf8')) as { pid: number; url: string }
    if (pid !== program.pid) return null
    return { url: new URL(url).origin, token: readToken(data) }
  } catch {
    return null
  }
}

/** '' where there is none: started with --open. */
function readToken(data: string): string {
  const file = join(data, 'token')
  return existsSync(file) ? readFileSync(file, 'utf8').trim() : ''
}

async function answersReady(url: string): Promise<true | null> {
  try {
    const answer = await fetch(`${url}/ready`, { signal: AbortSignal.timeout(2_000) })
    await answer.arrayBuffer()
    return answer.ok ? true : null
  } catch {
    return null
  }
}

export interface UpstreamAnswer {
  readonly id: string
  readonly slug: string
  readonly state: {
    readonly state: string
    readonly code: string | null
    readonly message: string | null
    readonly attempts: number
    readonly nextRetryAt: string | null
  }
  readonly discovery: { readonly era: string; readonly revision: string } | null
}

async function untilReady(gateway: RunningGateway, program: Program, slugs: readonly string[]): Promise<void> {
  let last = ''
  try {
    await waitFor(program, 'the upstreams', async () => {
      const { body } = await gateway.api<{ items: UpstreamAnswer[] }>('GET', '/v1/upstreams')
      last = JSON.stringify(body.items?.map((item) => [item.slug, item.state]) ?? body)
      const isReady = (slug: string): boolean =>
        body.items?.some((item) => item.slug === slug && item.state.state === 'ready' && item.discovery !== null)
      return slugs.every(isReady) ? true : null
    })
  } catch (error) {
    throw new Error(`${(error as Error).message}\nupstreams: ${last}`)
  }
}

/** Resident bytes of a process and its workers: descendants that run the gateway's own main file. */
function rssOf(pid: number): number {
  const table = execFileSync('ps', ['-e', '-o', 'pid=,ppid=,rss=,args='], { encoding: 'utf8' })
    .trim()
    .split('\n')
    .map((line) => /^\s*(\d+)\s+(\d+)\s+(\d+)\s+(.*)$/.exec(line))
    .filter((match) => match !== null)
    .map((match) => ({ pid: Number(match[1]), parent: Number(match[2]), rss: Number(match[3]), args: match[4]! }))
  const own = (row: (typeof table)[number]): boolean =>
    row.pid === pid || (row.parent === pid && row.args.includes('mcp-gateway'))
  return table.filter(own).reduce((sum, row) => sum + row.rss * 1024, 0)
}
