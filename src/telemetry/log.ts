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

/** What a terminal would obey, or what would begin a line of its own: the texts of upstreams and callers are foreign. */
// biome-ignore lint/complexity/useRegexLiterals: escapes of control characters read better in a string
const CONTROLS = new RegExp('[\\u0000-\\u001f\\u007f-\\u009f\\u2028\\u2029]', 'g')

const plain = (text: string): string =>
  text.replace(CONTROLS, (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`)

function toText(time: string, level: Level, event: string, fields: Fields): string {
  const rest = Object.entries(fields)
    .filter(([, value]) => value !== undefined && value !== null)
    .map(([key, value]) => {
      const text = typeof value === 'object' ? JSON.stringify(describe(value)) : String(value)
      return `${key}=${plain(text)}`
    })
  return `${time.slice(11, 19)} ${level.padEnd(5)} ${event}${rest.length > 0 ? ` ${rest.join(' ')}` : ''}\n`
}

/** A log whose level can be changed while it is in use. */
export interface AdjustableLog extends Log {
  setLevel(level: LogOptions['level']): void
}

const leastOf = (level: LogOptions['level']): number => (level === 'silent' ? Number.POSITIVE_INFINITY : ORDER[level])

export function createLog(options: LogOptions): AdjustableLog {
  let least = leastOf(options.level)
  const line = (level: Level, event: string, given: Fields = {}): void => {
    if (ORDER[level] < least) return
    const time = new Date(options.now()).toISOString()
    const fields = { ...options.base, ...given }
    if (options.format === 'text') {
      options.write(toText(time, level, event, fields))
      return
    }
    const members = Object.fromEntries(Object.entries(fields).map(([key, value]) => [key, describe(value)]))
    options.write(`${plain(JSON.stringify({ time, level, event, ...members }))}\n`)
  }
  return {
    setLevel(level) {
      least = leastOf(level)
    },
    enabled: (level) => ORDER[level] >= least,
    debug: (event, fields) => line('debug', event, fields),
    info: (event, fields) => line('info', event, fields),
    warn: (event, fields) => line('warn', event, fields),
    error: (event, fields) => line('error', event, fields),
  }
}
