// The log: one JSON line per event, or a short human line on a terminal. Lazy: below the level nothing is formatted.
// Absent on purpose: access logs and sampling (they come with observability), and any secret: callers pass names, not values.

import type { Fields, Level, Log } from '../ports/log.ts'

export type { Fields, Level, Log } from '../ports/log.ts'

const ORDER: Record<Level, number> = { debug: 10, info: 20, warn: 30, error: 40 }

export interface LogOptions {
  readonly level: Level | 'silent'
  readonly format: 'json' | 'text'
  readonly write: (line: string) => void
  readonly now: () => number
  /** Members of every line, such as `worker`. */
  readonly base?: Fields
}

function describe(value: unknown): unknown {
  return value instanceof Error ? `${value.name}: ${value.message}` : value
}

function toText(time: string, level: Level, event: string, fields: Fields): string {
  const rest = Object.entries(fields)
    .filter(([, value]) => value !== undefined && value !== null)
    .map(([key, value]) => `${key}=${typeof value === 'object' ? JSON.stringify(describe(value)) : String(value)}`)
  return `${time.slice(11, 19)} ${level.padEnd(5)} ${event}${rest.length > 0 ? ` ${rest.join(' ')}` : ''}\n`
}

export function createLog(options: LogOptions): Log {
  const least = options.level === 'silent' ? Number.POSITIVE_INFINITY : ORDER[options.level]
  const line = (level: Level, event: string, given: Fields = {}): void => {
    if (ORDER[level] < least) return
    const time = new Date(options.now()).toISOString()
    const fields = { ...options.base, ...given }
    if (options.format === 'text') {
      options.write(toText(time, level, event, fields))
      return
    }
    const plain = Object.fromEntries(Object.entries(fields).map(([key, value]) => [key, describe(value)]))
    options.write(`${JSON.stringify({ time, level, event, ...plain })}\n`)
  }
  return {
    enabled: (level) => ORDER[level] >= least,
    debug: (event, fields) => line('debug', event, fields),
    info: (event, fields) => line('info', event, fields),
    warn: (event, fields) => line('warn', event, fields),
    error: (event, fields) => line('error', event, fields),
  }
}
