// What a client can be asked in the middle of a call, as bits: small enough for a session id and for the key of a link,
// since an upstream is told at its greeting what may be asked, and must never be told more than this client has declared.

import type { Revision } from './model.ts'

/** Sealed in session ids: only ever append. */
export const ASKS = {
  sampling: 1,
  elicitationForm: 2,
  roots: 4,
  elicitationUrl: 8,
  samplingTools: 16,
  samplingContext: 32,
  rootsChanged: 64,
} as const

export const NO_ASKS = 0

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

/** The bits of ClientCapabilities as a client sent them, in any revision. */
export function asksOf(capabilities: unknown): number {
  if (!isObject(capabilities)) return NO_ASKS
  const { sampling, elicitation, roots } = capabilities
  let bits = 0
  if (isObject(sampling)) {
    bits |= ASKS.sampling
    if (isObject(sampling.tools)) bits |= ASKS.samplingTools
    if (isObject(sampling.context)) bits |= ASKS.samplingContext
  }
  if (isObject(elicitation)) {
    if (isObject(elicitation.url)) bits |= ASKS.elicitationUrl
    // Before there were modes an empty object meant forms, and it still does.
    if (isObject(elicitation.form) || !isObject(elicitation.url)) bits |= ASKS.elicitationForm
  }
  if (isObject(roots)) {
    bits |= ASKS.roots
    if (roots.listChanged === true) bits |= ASKS.rootsChanged
  }
  return bits
}

/** Revisions that know no elicitation, and those that know neither its URL mode nor tools in sampling. */
const BEFORE_ELICITATION: readonly Revision[] = ['2024-11-05', '2025-03-26']
const BEFORE_MODES: readonly Revision[] = [...BEFORE_ELICITATION, '2025-06-18']

/** What of `asks` a server of this revision can ask at all. */
export function asksIn(revision: Revision, asks: number): number {
  let left = asks
  if (BEFORE_MODES.includes(revision)) left &= ~(ASKS.elicitationUrl | ASKS.samplingTools | ASKS.samplingContext)
  if (BEFORE_ELICITATION.includes(revision)) left &= ~ASKS.elicitationForm
  // Since 2026-07-28 a server asks for roots anew each time.
  if (revision === '2026-07-28') left &= ~ASKS.rootsChanged
  return left
}

/** ClientCapabilities as they are declared to a server of this revision. */
export function declaredCapabilities(revision: Revision, asks: number): Record<string, unknown> {
  const bits = asksIn(revision, asks)
  const has = (bit: number): boolean => (bits & bit) !== 0
  const hasModes = !BEFORE_MODES.includes(revision)
  const part = (name: string, bit: number): Record<string, unknown> => (has(bit) ? { [name]: {} } : {})
  return {
    ...(has(ASKS.sampling)
      ? { sampling: { ...part('tools', ASKS.samplingTools), ...part('context', ASKS.samplingContext) } }
      : {}),
    ...(has(ASKS.elicitationForm | ASKS.elicitationUrl)
      ? {
          elicitation: hasModes ? { ...part('form', ASKS.elicitationForm), ...part('url', ASKS.elicitationUrl) } : {},
        }
      : {}),
    ...(has(ASKS.roots) ? { roots: has(ASKS.rootsChanged) ? { listChanged: true } : {} } : {}),
  }
}

/** Whether a client that declared `asks` may be asked this. `params` are parsed. */
export function mayAsk(asks: number, method: string, params: unknown): boolean {
  const given = isObject(params) ? params : {}
  if (method === 'roots/list') return (asks & ASKS.roots) !== 0
  if (method === 'elicitation/create') {
    return (asks & (given.mode === 'url' ? ASKS.elicitationUrl : ASKS.elicitationForm)) !== 0
  }
  if (method !== 'sampling/createMessage') return false
  const usesTools = given.tools !== undefined || given.toolChoice !== undefined
  return (asks & ASKS.sampling) !== 0 && (!usesTools || (asks & ASKS.samplingTools) !== 0)
}
