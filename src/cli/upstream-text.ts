// How an upstream is told to a person, in one form wherever it appears.

import { basename } from 'node:path'
import type { UpstreamShape } from './shapes.ts'
import { count, oneLine, span } from './terminal.ts'

/** Where an upstream is: its URLs, or its command line. */
export function placeOf(upstream: UpstreamShape): string {
  const { transport } = upstream
  if (transport.kind !== 'stdio') return (transport.urls ?? []).join(', ')
  return [transport.command ?? '', ...(transport.args ?? [])].map(quoted).join(' ')
}

/** As `placeOf`, with the name of a program and not its whole path. */
export function shortPlaceOf(upstream: UpstreamShape): string {
  const { transport } = upstream
  if (transport.kind !== 'stdio') return placeOf(upstream)
  return placeOf({ ...upstream, transport: { ...transport, command: basename(transport.command ?? '') } })
}

function quoted(word: string): string {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", String.raw`'\''`)}'`
}

export interface Counts {
  readonly tools: number
  readonly prompts: number
  readonly resources: number
  readonly templates?: number
}

/** Resources and templates together: a person asks what can be read. */
export function resourcesOf(counts: Counts): number {
  return counts.resources + (counts.templates ?? 0)
}

/** `3 tools, 1 prompt`, without what is zero. */
export function offersOf(counts: Counts): string {
  const parts = [count(counts.tools, 'tool'), count(counts.prompts, 'prompt'), count(resourcesOf(counts), 'resource')]
  return parts.filter((part) => !part.startsWith('0 ')).join(', ') || 'offers nothing'
}

/** `UPSTREAM_UNAVAILABLE connect ECONNREFUSED 127.0.0.1:9; next try in 12 s` */
export function troubleOf(
  code: string | null | undefined,
  message: string | null | undefined,
  nextRetryMs: number | null,
  nowMs: number,
): string {
  const what = [code, message].filter(Boolean).join(' ') || 'no reason is known'
  return oneLine(nextRetryMs === null ? what : `${what}; next try in ${span(nextRetryMs - nowMs)}`)
}

export function stateTrouble(upstream: UpstreamShape, nowMs: number): string {
  const { state } = upstream
  return troubleOf(state.code, reasonOf(upstream), state.nextRetryAt ? Date.parse(state.nextRetryAt) : null, nowMs)
}

/** Without the slug in front of it: it stands beside it already. */
export function reasonOf({ slug, state }: UpstreamShape): string | null {
  const message = state.message ?? null
  return message?.startsWith(`${slug}: `) === true ? message.slice(slug.length + 2) : message
}
