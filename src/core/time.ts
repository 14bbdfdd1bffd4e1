// Clock and durations. The clock is passed in everywhere so that tests can own it.

export interface Clock {
  /** Milliseconds since 1970, as in Date.now(). */
  now(): number
}

const UNITS: Record<string, number> = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 }

/** `30s`, `500ms`, `5m`, `1h`, `7d` or a plain number of milliseconds; null when it is none of these. */
export function parseDuration(text: string | number): number | null {
  if (typeof text === 'number') return Number.isFinite(text) && text >= 0 ? text : null
  const match = /^(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)?$/.exec(text.trim())
  if (!match) return null
  return Math.round(Number(match[1]) * (UNITS[match[2] ?? 'ms'] ?? 1))
}

const SIZES: Record<string, number> = { B: 1, KiB: 1024, MiB: 1024 ** 2, GiB: 1024 ** 3, KB: 1e3, MB: 1e6, GB: 1e9 }

/** `8MiB`, `64KB` or a plain number of bytes; null when it is none of these. */
export function parseSize(text: string | number): number | null {
  if (typeof text === 'number') return Number.isInteger(text) && text >= 0 ? text : null
  const match = /^(\d+(?:\.\d+)?)\s*(B|KiB|MiB|GiB|KB|MB|GB)?$/.exec(text.trim())
  if (!match) return null
  return Math.round(Number(match[1]) * (SIZES[match[2] ?? 'B'] ?? 1))
}

/** `delay · (1 ± spread)`, with `random` in [0, 1) passed in. */
export function jitter(delayMs: number, spread: number, random: number): number {
  return Math.round(delayMs * (1 - spread + 2 * spread * random))
}

/** RFC 3339 UTC with milliseconds, the form of every time on the wire. */
export function rfc3339(ms: number): string {
  return new Date(ms).toISOString()
}
