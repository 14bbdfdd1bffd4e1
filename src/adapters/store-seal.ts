// Literal secrets inside specifications are encrypted before they reach any store: header values, environment values,
// command arguments, URLs with credentials or a query, and fixed arguments of tools. References (`{env}`, `{file}`) hold
// no secret and stay readable. On disk a sealed value is `{"sealed": "..."}` at exactly these places.

import { GatewayError } from '../core/errors.ts'
import type { ToolOverride, UpstreamSpec, VirtualServerSpec } from '../core/model.ts'

/** Authenticated encryption with a key that the store never sees. `decrypt` answers null for what it did not make. */
export interface Sealing {
  encrypt(plain: Buffer): string
  decrypt(text: string): Buffer | null
}

type Json = unknown
type Change = (value: Json) => Json

export function isReference(value: Json): boolean {
  if (typeof value !== 'object' || value === null || 'sealed' in value) return false
  return 'env' in value || 'file' in value
}

/** A URL that may hold a secret: user information or a query. */
function isTelling(url: Json): boolean {
  return typeof url !== 'string' || /[?@]/.test(url)
}

function changeValues(record: Readonly<Record<string, Json>>, change: Change): Record<string, Json> {
  return Object.fromEntries(Object.entries(record).map(([key, value]) => [key, change(value)]))
}

function changeOverrides(overrides: Readonly<Record<string, ToolOverride>>, change: Change): Record<string, Json> {
  return changeValues(overrides, (override) => {
    const fixed = (override as ToolOverride).fixed
    return fixed === undefined ? override : { ...(override as ToolOverride), fixed: change(fixed) }
  })
}

/** `spec` with every place that may hold a secret run through `change`; the places are the same in both directions. */
function changeUpstream(spec: UpstreamSpec, change: Change, changeUrls: Change, changeFixed: Change): Json {
  const transport: Record<string, Json> = { ...spec.transport }
  if (transport.headers !== undefined) transport.headers = changeValues(transport.headers as never, change)
  if (transport.env !== undefined) transport.env = changeValues(transport.env as never, change)
  if (transport.args !== undefined) transport.args = change(transport.args)
  if (transport.urls !== undefined) transport.urls = changeUrls(transport.urls)
  const tools = spec.tools === undefined ? {} : { tools: changeOverrides(spec.tools, changeFixed) }
  return { ...spec, transport, ...tools }
}

function changeServer(spec: VirtualServerSpec, change: Change): Json {
  const members = spec.members.map((member) =>
    member.overrides === undefined ? member : { ...member, overrides: changeOverrides(member.overrides, change) },
  )
  return { ...spec, members }
}

export interface SpecSealer {
  sealUpstream(spec: UpstreamSpec): string
  openUpstream(text: string): UpstreamSpec
  sealServer(spec: VirtualServerSpec): string
  openServer(text: string): VirtualServerSpec
}

/** Texts for the store and back. Errors: STORE_UNAVAILABLE where a text does not open with this key. */
export function createSpecSealer(sealing: Sealing): SpecSealer {
  // Fixed arguments may be called `file` or `env`: they are no references.
  const always: Change = (value) => ({ sealed: sealing.encrypt(Buffer.from(JSON.stringify(value))) })
  const seal: Change = (value) => (isReference(value) ? value : always(value))
  const sealUrls: Change = (urls) => ((urls as Json[]).some(isTelling) ? seal(urls) : urls)
  const open: Change = (value) => {
    const text = typeof value === 'object' && value !== null ? (value as { sealed?: Json }).sealed : undefined
    if (typeof text !== 'string') return value
    const plain = sealing.decrypt(text)
    if (plain === null) {
      throw new GatewayError(
        'STORE_UNAVAILABLE',
        'A secret in the store does not open with this secret key: restore the secret.key that it was written with',
      )
    }
    return JSON.parse(plain.toString())
  }
  return {
    sealUpstream: (spec) => JSON.stringify(changeUpstream(spec, seal, sealUrls, always)),
    openUpstream: (text) => changeUpstream(JSON.parse(text), open, open, open) as UpstreamSpec,
    sealServer: (spec) => JSON.stringify(changeServer(spec, always)),
    openServer: (text) => changeServer(JSON.parse(text), open) as VirtualServerSpec,
  }
}
