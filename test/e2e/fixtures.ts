// The upstreams of test/e2e as configuration entries and as places that a client can reach directly.

import { join } from 'node:path'
import { type Program, startServer } from '../fakes/process.ts'
import type { Place } from './peers.ts'

const ROOT = join(import.meta.dirname, '..', '..')
const FAKES = join(import.meta.dirname, '..', 'fakes')
const PACKAGES = join(ROOT, 'node_modules', '@modelcontextprotocol')

export const STATEFUL = join(FAKES, 'stateful-server.ts')
export const CONFORMANCE = join(ROOT, 'test', 'conformance', 'fixture.ts')
const EVERYTHING = join(PACKAGES, 'server-everything', 'dist', 'index.js')

export const startStateful = (port = 0): Promise<Program & { readonly url: string }> =>
  startServer(STATEFUL, ['http', String(port)])

/** The reference server with everything, over streamable HTTP: it would listen on every address, hence the preload. */
export const startEverything = (): Promise<Program & { readonly url: string }> =>
  startServer(EVERYTHING, ['streamableHttp'], { env: { NODE_OPTIONS: `--import ${join(FAKES, 'loopback.ts')}` } })

/** The same over HTTP+SSE. The preload prints the path of the other transport. */
export async function startEverythingSse(): Promise<Program & { readonly url: string }> {
  const env = { NODE_OPTIONS: `--import ${join(FAKES, 'loopback.ts')}` }
  const program = await startServer(EVERYTHING, ['sse'], { env })
  return { ...program, url: program.url.replace(/\/mcp$/, '/sse') }
}

export type Command = Extract<Place, { command: string }>

const node = (file: string, ...args: string[]): Command => ({ command: process.execPath, args: [file, ...args] })

export const COMMANDS = {
  stateful: node(STATEFUL, 'stdio'),
  everything: node(EVERYTHING, 'stdio'),
  filesystem: (folder: string): Command => node(join(PACKAGES, 'server-filesystem', 'dist', 'index.js'), folder),
  memory: (file: string): Command => ({
    ...node(join(PACKAGES, 'server-memory', 'dist', 'index.js')),
    env: { MEMORY_FILE_PATH: file },
  }),
  time: (python: string): Command => ({
    command: python,
    args: ['-m', 'mcp_server_time', '--local-timezone', 'Europe/Berlin'],
  }),
} as const

/** Runs `look` until it holds or the time is over; then says what it saw last. */
export async function eventually<T>(
  what: string,
  look: () => Promise<T | null> | T | null,
  waitMs = 15_000,
): Promise<T> {
  const deadline = Date.now() + waitMs
  for (;;) {
    const found = await look()
    if (found !== null) return found
    if (Date.now() > deadline) throw new Error(`${what}: not within ${waitMs} ms`)
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
}
