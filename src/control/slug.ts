// A slug for an upstream that was registered without one, made of what distinguishes it.

import { basename, extname } from 'node:path'
import { LIMITS } from '../core/limits.ts'
import type { HttpTransport, StdioTransport } from '../core/model.ts'
import { slugify } from '../core/names.ts'

/** The first of `base`, `base-2`, `base-3` … that is not taken. */
export function freeSlug(base: string, taken: ReadonlySet<string>): string {
  for (let count = 1; ; count += 1) {
    const suffix = count === 1 ? '' : `-${count}`
    const slug = base.slice(0, LIMITS.slugChars - suffix.length).replace(/-+$/, '') + suffix
    if (!taken.has(slug)) return slug
  }
}

export function slugOf(transport: HttpTransport | StdioTransport): string {
  return slugify(transport.kind !== 'stdio' ? nameOfHost(new URL(transport.urls[0]!)) : nameOfCommand(transport))
}

/** `https://mcp.api.linear.app` is `linear`, an address is itself. */
function nameOfHost({ hostname }: URL): string {
  if (/^[\d.]+$|^\[/.test(hostname)) return hostname
  const labels = hostname.split('.').filter((label) => label !== '')
  const named = labels.length > 1 ? labels.slice(0, -1) : labels
  const telling = named.filter((label) => !['www', 'mcp', 'api'].includes(label))
  return (telling.length > 0 ? telling : named).join('-')
}

const RUNNERS = new Set([
  'npx',
  'bunx',
  'pnpx',
  'uvx',
  'pipx',
  'uv',
  'npm',
  'pnpm',
  'bun',
  'deno',
  'node',
  'python',
  'python3',
  'docker',
])
const WORDS = new Set(['run', 'exec', 'dlx', 'x', 'tool'])

/** `npx -y @scope/server-everything@1.2 /tmp` is `everything`, `node path/demo.ts` is `demo`. */
function nameOfCommand({ command, args = [] }: StdioTransport): string {
  const program = basename(command, '.exe')
  const target = RUNNERS.has(program) ? args.find((arg) => !arg.startsWith('-') && !WORDS.has(arg)) : undefined
  const whole = basename((target ?? program).replace(/(?<=.)@[^/@]*$/, ''))
  const bare = whole.slice(0, whole.length - extname(whole).length) || whole
  return bare
    .replace(/^(?:mcp[-_])?server[-_]|^mcp[-_]/, '')
    .replace(/[-_](?:mcp[-_]server|server[-_]mcp|mcp|server)$/, '')
}
