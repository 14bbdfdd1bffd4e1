// A running gateway as a command sees it: found by flag, environment or data directory, spoken to by its REST API.
// Absent on purpose: fetch (its import costs more than the whole command), retries, proxies.

import { readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { EXIT, Failure, hintOf, usage } from './failure.ts'

/** What config/environment.ts read of the environment for commands. */
export interface Surroundings {
  readonly url: string | null
  readonly token: string | null
  /** The data directory when none is named. */
  readonly dataDirectory: string
  readonly workingDirectory: string
  /** Names of proxy variables that are set: they are not used, and `doctor` says so. */
  readonly proxyVariables: readonly string[]
}

export interface ConnectionOptions {
  readonly url?: string
  readonly token?: string
  readonly data?: string
}

export interface Target {
  /** Origin, without a slash at its end. */
  readonly url: string
  readonly token: string | null
  /** Where the token came from: only a data directory's is the operator's own. */
  readonly tokenFrom: 'flag' | 'environment' | 'data' | null
  /** The data directory that named this gateway, or null. */
  readonly directory: string | null
  readonly pid: number | null
}

/** Flag before environment before data directory; `./.data` before the usual one, as `npm start` uses it. */
export function findGateway(options: ConnectionOptions, surroundings: Surroundings): Target {
  const fromEnvironment = options.data === undefined
  const named = options.url ?? (fromEnvironment ? surroundings.url : null)
  const given: Pick<Target, 'token' | 'tokenFrom'> =
    options.token !== undefined
      ? { token: options.token, tokenFrom: 'flag' }
      : fromEnvironment && surroundings.token !== null
        ? { token: surroundings.token, tokenFrom: 'environment' }
        : { token: null, tokenFrom: null }
  const directories =
    options.data !== undefined
      ? [options.data]
      : [join(surroundings.workingDirectory, '.data'), surroundings.dataDirectory]
  const local = directories.map(readDirectory).find((found) => found !== null) ?? null
  if (named !== null) {
    const url = originOf(named)
    // The operator's token goes to the gateway that it belongs to and nowhere else.
    if (given.token === null && local !== null && local.url === url) return local
    return { url, ...given, directory: null, pid: null }
  }
  if (local === null) {
    throw new Failure(
      EXIT.notReachable,
      'NOT_REACHABLE',
      `No gateway is running here (looked into ${directories.join(' and ')})`,
      'Start one with `mcp-gateway up`, or name one with --url and --token, or its directory with --data.',
    )
  }
  return given.token === null ? local : { ...local, ...given }
}

function originOf(text: string): string {
  let url: URL
  try {
    url = new URL(text)
  } catch {
    throw usage(`"${text}" is not a URL`, 'Write it like http://127.0.0.1:4444')
  }
  if (url.protocol !== 'http:' && url.protocol !== 'https:') throw usage(`"${text}" is not an http or https URL`)
  return url.origin
}

/** `gateway.json` and `token` of a data directory; null when there are none or somebody else wrote them. */
function readDirectory(directory: string): Target | null {
  try {
    const file = join(directory, 'gateway.json')
    const user = process.getuid?.()
    if (user !== undefined && user !== 0 && statSync(file).uid !== user) return null
    const read: unknown = JSON.parse(readFileSync(file, 'utf8'))
    if (typeof read !== 'object' || read === null || !('url' in read) || typeof read.url !== 'string') return null
    const pid = 'pid' in read && typeof read.pid === 'number' ? read.pid : null
    const token = readToken(directory)
    return { url: originOf(read.url), token, tokenFrom: token === null ? null : 'data', directory, pid }
  } catch {
    return null
  }
}

function readToken(directory: string): string | null {
  try {
    return readFileSync(join(directory, 'token'), 'utf8').trim()
  } catch {
    return null
  }
}

export interface Answer {
  readonly status: number
  readonly headers: Readonly<Record<string, string | string[] | undefined>>
  readonly text: string
}

export interface Ask {
  readonly method?: 'GET' | 'POST' | 'DELETE'
  readonly path: string
  readonly body?: unknown
  readonly headers?: Readonly<Record<string, string>>
  /** Until the whole answer is there. */
  readonly deadlineMs?: number
}

const DEADLINE_MS = 30_000
const ANSWER_BYTES = 64 * 1024 * 1024

/** One request and its whole answer, whatever its status. Errors: NOT_REACHABLE. */
export async function ask(target: Target, what: Ask): Promise<Answer> {
  // Not by import, which reads every export of node:http: three of them load the whole of node's own fetch.
  const { request } = process.getBuiltinModule(target.url.startsWith('https:') ? 'node:https' : 'node:http')
  const body = what.body === undefined ? null : Buffer.from(JSON.stringify(what.body))
  const headers: Record<string, string | number> = { accept: 'application/json', ...what.headers }
  if (target.token !== null) headers.authorization = `Bearer ${target.token}`
  if (body !== null) {
    headers['content-type'] = 'application/json'
    headers['content-length'] = body.length
  }
  const deadlineMs = what.deadlineMs ?? DEADLINE_MS
  return new Promise((resolve, reject) => {
    const fail = (why: string): void => {
      clearTimeout(timer)
      reject(notReachable(target, why))
      sent.destroy()
    }
    const sent = request(`${target.url}${what.path}`, { method: what.method ?? 'GET', headers }, (answer) => {
      const parts: Buffer[] = []
      let bytes = 0
      answer.on('data', (part: Buffer) => {
        bytes += part.length
        if (bytes > ANSWER_BYTES) fail('its answer is over 64 MiB')
        else parts.push(part)
      })
      answer.on('error', (error) => fail(error.message))
      answer.on('end', () => {
        clearTimeout(timer)
        resolve({
          status: answer.statusCode ?? 0,
          headers: answer.headers,
          text: Buffer.concat(parts).toString('utf8'),
        })
      })
    })
    const timer = setTimeout(() => fail(`no answer within ${deadlineMs / 1_000} s`), deadlineMs)
    sent.on('error', (error: NodeJS.ErrnoException) => fail(error.code ?? error.message))
    sent.end(body ?? undefined)
  })
}

function notReachable(target: Target, why: string): Failure {
  const where = target.directory === null ? '' : `; the data directory ${target.directory} names it`
  return new Failure(
    EXIT.notReachable,
    'NOT_REACHABLE',
    `No gateway answers at ${target.url} (${why})${where}`,
    'Start it with `mcp-gateway up`, or name another with --url; `mcp-gateway doctor` looks closer.',
  )
}

/** As `ask`, but the parsed JSON of a good answer. Errors: NOT_REACHABLE, NOT_A_GATEWAY, and whatever the gateway refuses with. */
export async function askJson<T>(target: Target, what: Ask): Promise<T> {
  const answer = await ask(target, what)
  if (answer.status >= 400) throw refusal(target, answer)
  if (answer.status === 204) return undefined as T
  try {
    return JSON.parse(answer.text) as T
  } catch {
    throw notAGateway(target, answer.status)
  }
}

const PAGES_MAX = 1_000

/** All items of a list, following `nextCursor`. */
export async function askAll<T>(target: Target, path: string): Promise<T[]> {
  const items: T[] = []
  let cursor: string | null = null
  for (let page = 0; page < PAGES_MAX; page += 1) {
    const separator = path.includes('?') ? '&' : '?'
    const next: string = cursor === null ? path : `${path}${separator}cursor=${encodeURIComponent(cursor)}`
    const list: { items: T[]; nextCursor?: string | null } = await askJson(target, { path: next })
    if (!Array.isArray(list.items)) throw notAGateway(target, 200)
    items.push(...list.items)
    cursor = list.nextCursor ?? null
    if (cursor === null) break
  }
  return items
}

interface Problem {
  readonly code: string
  readonly title?: string
  readonly detail?: string
  readonly hint?: string
  readonly errors?: readonly { readonly pointer?: string; readonly at?: string; readonly message?: string }[]
}

/** What the gateway said no with, as problem+json or as a JSON-RPC error. */
export function refusal(target: Target, answer: Answer): Failure {
  const exit = answer.status === 401 || answer.status === 403 ? EXIT.refused : EXIT.failure
  let read: unknown
  try {
    read = JSON.parse(answer.text)
  } catch {
    return notAGateway(target, answer.status)
  }
  const problem = problemOf(read)
  if (problem === null) return notAGateway(target, answer.status)
  const faults = (problem.errors ?? [])
    .map((fault) => [fault.pointer ?? fault.at, fault.message].filter(Boolean).join(' '))
    .filter((text) => text !== '' && problem.detail?.includes(text) !== true)
  const message = [problem.detail ?? problem.title ?? 'refused', ...faults].join('; ')
  return new Failure(exit, problem.code, message, hintFor(target, problem))
}

function hintFor(target: Target, problem: Problem): string | null {
  if (problem.code === 'UNAUTHENTICATED') {
    return target.token === null
      ? 'Name a token with --token or MCP_GATEWAY_TOKEN.'
      : `The gateway does not know this token${target.tokenFrom === 'environment' ? ' (of MCP_GATEWAY_TOKEN)' : ''}; it may have expired or been revoked.`
  }
  return problem.hint ?? hintOf(problem.code)
}

function problemOf(read: unknown): Problem | null {
  if (typeof read !== 'object' || read === null) return null
  if ('code' in read && typeof read.code === 'string') return read as Problem
  if (!('error' in read) || typeof read.error !== 'object' || read.error === null) return null
  const error = read.error as { code?: unknown; message?: unknown; data?: { code?: unknown; hint?: unknown } }
  const code = typeof error.data?.code === 'string' ? error.data.code : `JSON-RPC ${String(error.code)}`
  const hint = typeof error.data?.hint === 'string' ? { hint: error.data.hint } : {}
  return { code, detail: typeof error.message === 'string' ? error.message : 'refused', ...hint }
}

export function notAGateway(target: Target, status: number): Failure {
  return new Failure(
    EXIT.failure,
    'NOT_A_GATEWAY',
    `What answers at ${target.url} is not an mcp-gateway (HTTP ${status})`,
    'Check the address and what stands between.',
  )
}

/** Whether errors of a JSON-RPC reply mean that this caller may not. */
export function rpcFailure(target: Target, read: unknown): Failure | null {
  const problem = problemOf(read)
  if (problem === null) return null
  const refused = ['UNAUTHENTICATED', 'FORBIDDEN', 'OPERATOR_ONLY', 'ADDRESS_REFUSED', 'ORIGIN_REFUSED', 'HOST_REFUSED']
  const exit = refused.includes(problem.code) ? EXIT.refused : EXIT.failure
  return new Failure(exit, problem.code, problem.detail ?? 'refused', hintFor(target, problem))
}
