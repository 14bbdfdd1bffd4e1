// The environment of this process, read here and in surroundings.ts and nowhere else.

import { homedir } from 'node:os'
import { join } from 'node:path'

export type Environment = Readonly<Record<string, string | undefined>>

export function readEnvironment(): Environment {
  return { ...process.env }
}

/** Null where it is not set; an empty one counts as not set. */
export function variable(env: Environment, name: string): string | null {
  // Only own members: a reference may name `constructor`.
  const value = Object.hasOwn(env, name) ? env[name] : undefined
  return value === undefined || value === '' ? null : value
}

/** What a child gets besides what is configured for it; everything else may hold secrets of the gateway. */
const FOR_CHILDREN = ['PATH', 'HOME', 'LANG', 'TZ', 'TMPDIR']

export function readBaseEnvironment(env: Environment = process.env): Record<string, string> {
  const base: Record<string, string> = {}
  for (const name of FOR_CHILDREN) {
    const value = env[name]
    if (value !== undefined) base[name] = value
  }
  return base
}

/** `$XDG_DATA_HOME/mcp-gateway`, or `~/.local/share/mcp-gateway`. A relative XDG_DATA_HOME does not count (its standard). */
export function defaultDataDirectory(env: Environment = process.env): string {
  const given = env.XDG_DATA_HOME
  const home = given?.startsWith('/') ? given : join(env.HOME || homedir(), '.local', 'share')
  return join(home, 'mcp-gateway')
}
