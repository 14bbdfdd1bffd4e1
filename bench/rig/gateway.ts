// Starts the gateway as a user does: the published bin, a gateway.yaml, default settings, tokens asked for by the REST
// API. Only port and data directory are the bench's own.

import { spawn } from 'node:child_process'
import { globSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { keep, ROOT, stop } from './processes.ts'
import { TOKENS } from './talk.ts'

export interface GatewayOptions {
  /** Slug to URL. */
  readonly upstreams: Readonly<Record<string, string>>
  readonly workers: number
  readonly tokens: number
  /** Folder for .cpuprofile files, or null. */
  readonly profileTo: string | null
}

export interface StartedGateway {
  readonly pid: number
  readonly port: number
  readonly tokens: readonly string[]
  /** From the spawn of the process to the first 200 of /ready. */
  readonly readyMs: number
  /** A write by the REST API, as the operator. */
  rest(method: 'POST' | 'PATCH', path: string, body: object): Promise<void>
  stop(): Promise<void>
}

const BIN = join(ROOT, 'bin', 'mcp-gateway.cjs')
const READY_MS_MAX = 30_000

/** Why the gateway cannot be measured as it is built, or null. */
export function buildFault(): string | null {
  const newest = (files: string[]): number => Math.max(0, ...files.map((file) => statSync(join(ROOT, file)).mtimeMs))
  const built = globSync('dist/**/*.js', { cwd: ROOT })
  if (built.length === 0 || !globSync('bin/mcp-gateway.cjs', { cwd: ROOT }).length) return 'dist/ is not built'
  const sources = globSync('src/**/*.ts', { cwd: ROOT }).filter((file) => !file.endsWith('.test.ts'))
  const oldest = Math.min(...built.map((file) => statSync(join(ROOT, file)).mtimeMs))
  return newest(sources) > oldest ? 'dist/ is older than src/: run "npm run prepare"' : null
}

export async function startGateway(
  given: Partial<GatewayOptions> & Pick<GatewayOptions, 'upstreams'>,
): Promise<StartedGateway> {
  const options: GatewayOptions = { workers: 1, tokens: TOKENS, profileTo: null, ...given }
  const data = mkdtempSync(join(tmpdir(), 'mcp-gateway-bench-'))
  const config = join(data, 'gateway.yaml')
  const upstreams = Object.entries(options.upstreams).map(([slug, url]) => `  ${slug}:\n    url: ${url}\n`)
  writeFileSync(config, `version: 1\nupstreams:\n${upstreams.join('')}`)
  const port = await freePort()
  const profile = options.profileTo === null ? [] : ['--cpu-prof', `--cpu-prof-dir=${options.profileTo}`]
  const own = ['up', '--json', '--config', config, '--data', join(data, 'data'), '--port', String(port)]
  const workers = options.workers === 1 ? [] : ['--workers', String(options.workers)]
  const startedMs = performance.now()
  const child = spawn(process.execPath, [...profile, BIN, ...own, ...workers], {
    cwd: data,
    stdio: ['ignore', 'pipe', 'pipe'],
    env: gatewayEnvironment(),
  })
  keep(child)
  let said = ''
  child.stdout!.on('data', (chunk: Buffer) => {
    if (said.length < 65_536) said += chunk.toString()
  })
  let complaints = ''
  child.stderr!.on('data', (chunk: Buffer) => {
    if (complaints.length < 65_536) complaints += chunk.toString()
  })
  const end = async (): Promise<void> => {
    await stop(child)
    rmSync(data, { recursive: true, force: true })
  }
  try {
    const base = `http://127.0.0.1:${port}`
    await until(
      () => said.includes('\n'),
      child,
      'said where it listens',
      () => complaints,
    )
    const ready = await until(
      () => isReady(base),
      child,
      'was ready',
      () => complaints,
    )
    const operator = (JSON.parse(said.slice(0, said.indexOf('\n'))) as { token: string }).token
    await until(
      () => said.includes('"settled"'),
      child,
      'knew its upstreams',
      () => complaints,
    )
    const down = settledFault(said)
    if (down !== null) throw new Error(`${down}\n${complaints}`)
    const tokens: string[] = []
    for (let n = 0; n < options.tokens; n++) tokens.push(await createToken(base, operator, `bench-${n}`))
    return {
      pid: child.pid!,
      port,
      tokens,
      readyMs: ready - startedMs,
      rest: restOf(base, `Bearer ${operator}`),
      stop: end,
    }
  } catch (error) {
    await end()
    throw error
  }
}

/** The bench's environment without what would change the gateway's settings. */
function gatewayEnvironment(): NodeJS.ProcessEnv {
  const names = Object.keys(process.env).filter((name) => !/^(MCP_GATEWAY_|HOST$|PORT$|NODE_OPTIONS$)/.test(name))
  return Object.fromEntries(names.map((name) => [name, process.env[name]]))
}

async function isReady(base: string): Promise<boolean> {
  try {
    const response = await fetch(`${base}/ready`)
    await response.arrayBuffer()
    return response.status === 200
  } catch {
    return false
  }
}

function settledFault(said: string): string | null {
  const line = said.split('\n').find((one) => one.includes('"settled"'))!
  const { upstreams } = JSON.parse(line) as { upstreams: { slug: string; state: string; message: string | null }[] }
  const bad = upstreams.filter((one) => one.state !== 'ready')
  return bad.length === 0 ? null : bad.map((one) => `${one.slug}: ${one.state} ${one.message ?? ''}`).join('\n')
}

async function createToken(base: string, operator: string, name: string): Promise<string> {
  const response = await fetch(`${base}/v1/tokens`, {
    method: 'POST',
    headers: { authorization: `Bearer ${operator}`, 'content-type': 'application/json' },
    body: JSON.stringify({ name, rights: ['use'] }),
  })
  const body = (await response.json()) as { token?: string }
  if (response.status !== 201 || body.token === undefined)
    throw new Error(`POST /v1/tokens: ${response.status} ${JSON.stringify(body).slice(0, 200)}`)
  return body.token
}

/** A client of the REST API as the operator. Errors where the answer is no success. */
function restOf(base: string, authorization: string): StartedGateway['rest'] {
  return async (method, path, body) => {
    const etag =
      method === 'PATCH' ? (await fetch(`${base}${path}`, { headers: { authorization } })).headers.get('etag') : null
    const headers = { authorization, 'content-type': 'application/json', ...(etag !== null && { 'if-match': etag }) }
    const response = await fetch(`${base}${path}`, { method, headers, body: JSON.stringify(body) })
    const text = await response.text()
    if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${text.slice(0, 200)}`)
  }
}

/** Asks again every 2 ms; answers the time at which it was so. */
async function until(
  is: () => boolean | Promise<boolean>,
  child: { exitCode: number | null },
  what: string,
  complaints: () => string,
): Promise<number> {
  const deadline = performance.now() + READY_MS_MAX
  while (performance.now() < deadline) {
    if (child.exitCode !== null) throw new Error(`the gateway ended before it ${what}:\n${complaints()}`)
    if (await is()) return performance.now()
    await new Promise((resolve) => setTimeout(resolve, 2))
  }
  throw new Error(`the gateway never ${what}:\n${complaints()}`)
}

export async function freePort(): Promise<number> {
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as { port: number }
  await new Promise((resolve) => server.close(resolve))
  return port
}
