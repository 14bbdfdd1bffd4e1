// Which era is a request of? Decided once, body first, before anything else looks at it (2026-07-28: basic/versioning,
// basic/transports/streamable-http). The MCP-Protocol-Version header only cross-checks what the body claims.

import { asksOf } from '../core/asks.ts'
import { type ClientView, LOG_LEVELS, type LogLevel, type TraceContext } from '../core/call.ts'
import { GatewayError } from '../core/errors.ts'
import { type Era, LEGACY_REVISIONS, MODERN_REVISIONS, type Revision } from '../core/model.ts'
import type { Message } from './jsonrpc.ts'

export const META = {
  version: 'io.modelcontextprotocol/protocolVersion',
  capabilities: 'io.modelcontextprotocol/clientCapabilities',
  client: 'io.modelcontextprotocol/clientInfo',
  server: 'io.modelcontextprotocol/serverInfo',
  logLevel: 'io.modelcontextprotocol/logLevel',
  /** Ours, between gateways: the ids of the gateways that a greeting's sender is or leads to. */
  reaches: 'mcp-gateway/reaches',
} as const

export interface Classified {
  readonly era: Era
  /** Modern: as claimed. Legacy: the header's, 2025-03-26 without one; a session knows better. */
  readonly revision: Revision
  /** What a modern request says of its client; null for legacy, where the session says it. */
  readonly client: ClientView | null
  /** Modern: the level that this request asks for. */
  readonly logLevel: LogLevel | null
  readonly progressToken: Buffer | null
  readonly trace: TraceContext | null
}

export type Headers = Readonly<Record<string, string | undefined>>

export const SUPPORTED: readonly Revision[] = [...MODERN_REVISIONS, ...LEGACY_REVISIONS]

export function isRevision(text: string): text is Revision {
  return (SUPPORTED as readonly string[]).includes(text)
}

export function isModern(text: string): boolean {
  return (MODERN_REVISIONS as readonly string[]).includes(text)
}

/** Of the modern family, whether or not we know the revision: dates sort as text. */
function isModernFamily(text: string): boolean {
  return /^\d{4}-\d\d-\d\d$/.test(text) && text >= MODERN_REVISIONS[0]
}

export function unsupportedVersion(requested: string): GatewayError {
  return new GatewayError(
    'UNSUPPORTED_VERSION',
    `Unsupported protocol version ${JSON.stringify(requested.slice(0, 40))}`,
    {
      data: { supported: SUPPORTED, requested: requested.slice(0, 40) },
    },
  )
}

/** Methods whose Mcp-Name header mirrors a member of `params`. */
export const NAMED: Readonly<Record<string, 'name' | 'uri' | 'taskId'>> = {
  'tools/call': 'name',
  'prompts/get': 'name',
  'resources/read': 'uri',
  'tasks/get': 'taskId',
  'tasks/update': 'taskId',
  'tasks/cancel': 'taskId',
}

/**
 * `requireHeaders` is false on transports that have none (POST /rpc).
 * Errors: HEADER_MISMATCH, UNSUPPORTED_VERSION, INVALID_PARAMS (a modern claim without what must come with it).
 */
export function classify(headers: Headers, message: Message, requireHeaders = true): Classified {
  const versionHeader = headers['mcp-protocol-version']
  const claim = message.params.metaRaw(META.version)
  if (claim === null) {
    if (versionHeader !== undefined && isModernFamily(versionHeader)) {
      if (message.method === 'initialize') {
        throw new GatewayError(
          'HEADER_MISMATCH',
          `initialize does not exist in ${versionHeader}, which the header names`,
        )
      }
      if (!isModern(versionHeader)) throw unsupportedVersion(versionHeader)
      if (message.kind === 'notification') return modernNotification(headers, message, versionHeader as Revision)
      throw new GatewayError(
        'INVALID_PARAMS',
        `A request of ${versionHeader} must carry params._meta["${META.version}"]`,
      )
    }
    const revision = versionHeader === undefined ? '2025-03-26' : versionHeader
    if (message.method !== 'initialize' && !isRevision(revision)) throw unsupportedVersion(revision)
    return {
      era: 'legacy',
      revision: isRevision(revision) ? revision : '2025-11-25',
      client: null,
      logLevel: null,
      progressToken: progressToken(message),
      trace: traceOf(headers, message),
    }
  }
  return modern(headers, message, claim, requireHeaders)
}

function modern(headers: Headers, message: Message, claim: Buffer, requireHeaders: boolean): Classified {
  const versionHeader = headers['mcp-protocol-version']
  const version = text(claim)
  if (version === null) throw new GatewayError('INVALID_PARAMS', `params._meta["${META.version}"] must be a string`)
  if (versionHeader !== undefined && versionHeader !== version) {
    throw new GatewayError('HEADER_MISMATCH', 'MCP-Protocol-Version differs from the protocol version in the body')
  }
  if (!isModern(version)) throw unsupportedVersion(version)
  const capabilities = message.params.metaRaw(META.capabilities)
  if (message.kind === 'request' && (capabilities === null || capabilities[0] !== 0x7b)) {
    throw new GatewayError('INVALID_PARAMS', `params._meta["${META.capabilities}"] must be an object`)
  }
  if (message.kind === 'request' && requireHeaders) checkHeaders(headers, message, versionHeader)
  else if (headers['mcp-method'] !== undefined && headers['mcp-method'] !== message.method) {
    throw new GatewayError('HEADER_MISMATCH', 'Mcp-Method differs from the method in the body')
  }
  const level = message.params.metaValue(META.logLevel)
  if (level !== undefined && !(LOG_LEVELS as readonly unknown[]).includes(level)) {
    throw new GatewayError('INVALID_PARAMS', `params._meta["${META.logLevel}"] must be one of ${LOG_LEVELS.join(', ')}`)
  }
  return {
    era: 'modern',
    revision: version as Revision,
    client: modernClient(message, capabilities),
    logLevel: (level as LogLevel | undefined) ?? null,
    progressToken: progressToken(message),
    trace: traceOf(headers, message),
  }
}

function modernNotification(headers: Headers, message: Message, revision: Revision): Classified {
  const method = headers['mcp-method']
  if (method !== undefined && method !== message.method) {
    throw new GatewayError('HEADER_MISMATCH', 'Mcp-Method differs from the method in the body')
  }
  return {
    era: 'modern',
    revision,
    client: null,
    logLevel: null,
    progressToken: null,
    trace: traceOf(headers, message),
  }
}

function checkHeaders(headers: Headers, message: Message, versionHeader: string | undefined): void {
  if (versionHeader === undefined)
    throw new GatewayError('HEADER_MISMATCH', 'The header MCP-Protocol-Version is missing')
  const method = headers['mcp-method']
  if (method === undefined) throw new GatewayError('HEADER_MISMATCH', 'The header Mcp-Method is missing')
  if (method !== message.method)
    throw new GatewayError('HEADER_MISMATCH', 'Mcp-Method differs from the method in the body')
  const member = NAMED[message.method]
  if (member === undefined) return
  const raw = message.params.raw(member)
  const wanted = raw === null ? null : text(raw)
  // A missing or wrong name in the body is the business of the method itself.
  if (wanted === null) return
  const name = headers['mcp-name']
  if (name === undefined) throw new GatewayError('HEADER_MISMATCH', 'The header Mcp-Name is missing')
  if (decodeHeaderValue(name) !== wanted) {
    throw new GatewayError('HEADER_MISMATCH', `Mcp-Name differs from params.${member} in the body`)
  }
}

function text(raw: Buffer): string | null {
  if (raw[0] !== 0x22) return null
  const inner = raw.toString('utf8', 1, raw.length - 1)
  return inner.includes('\\') ? (JSON.parse(`"${inner}"`) as string) : inner
}

function modernClient(message: Message, capabilities: Buffer | null): ClientView {
  const info = message.params.metaRaw(META.client)
  const parsed: unknown = info === null ? null : JSON.parse(info.toString('utf8'))
  const isInfo = isRecord(parsed) && typeof parsed.name === 'string' && typeof parsed.version === 'string'
  if (info !== null && !isInfo) {
    throw new GatewayError(
      'INVALID_PARAMS',
      `params._meta["${META.client}"] must be an object with a name and a version`,
    )
  }
  // Two bytes are `{}`, which is what most clients send: nothing to read.
  const declared: unknown =
    capabilities === null || capabilities.length === 2 ? null : JSON.parse(capabilities.toString('utf8'))
  return clientView(parsed, declared, capabilities)
}

/** `info` and `declared` are clientInfo and capabilities as parsed JSON, of whatever shape a client sent. */
export function clientView(info: unknown, declared: unknown, capabilities: Buffer | null): ClientView {
  return {
    name: isRecord(info) && typeof info.name === 'string' ? info.name.slice(0, 64) : '',
    version: isRecord(info) && typeof info.version === 'string' ? info.version.slice(0, 32) : '',
    asks: asksOf(declared),
    capabilities,
  }
}

export function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function progressToken(message: Message): Buffer | null {
  const raw = message.params.metaRaw('progressToken')
  if (raw === null) return null
  if (raw[0] !== 0x22 && !/^-?\d+$/.test(raw.toString('latin1'))) {
    throw new GatewayError('INVALID_PARAMS', 'params._meta.progressToken must be a string or an integer')
  }
  return raw
}

const TRACEPARENT = /^[\da-f]{2}-[\da-f]{32}-[\da-f]{16}-[\da-f]{2}$/

/** Trace context of `_meta` (SEP-414), else of the HTTP headers; anything malformed is as if it were absent. */
function traceOf(headers: Headers, message: Message): TraceContext | null {
  const inner = message.params.metaRaw('traceparent')
  if (inner !== null) return trace(text(inner), metaText(message, 'tracestate'), metaText(message, 'baggage'))
  const outer = headers.traceparent
  return outer === undefined ? null : trace(outer, headers.tracestate ?? null, headers.baggage ?? null)
}

function metaText(message: Message, key: string): string | null {
  const raw = message.params.metaRaw(key)
  return raw === null ? null : text(raw)
}

/** Visible ASCII only: these travel on as HTTP headers. */
const isPlain = (value: string | null): value is string =>
  value !== null && value.length <= 8192 && /^[\x20-\x7e]*$/.test(value)

function trace(traceparent: string | null, tracestate: string | null, baggage: string | null): TraceContext | null {
  if (traceparent === null || !TRACEPARENT.test(traceparent)) return null
  return {
    traceparent,
    tracestate: isPlain(tracestate) && tracestate.length <= 512 ? tracestate : null,
    baggage: isPlain(baggage) ? baggage : null,
  }
}

// --- header values (2026-07-28, streamable-http, "Value Encoding") -----------------------------------------------------

const SENTINEL = /^=\?base64\?([A-Za-z0-9+/]*={0,2})\?=$/

/** The value that a Mcp-Name or Mcp-Param header carries. Errors: HEADER_MISMATCH for a malformed base64 form. */
export function decodeHeaderValue(value: string): string {
  if (!value.startsWith('=?base64?') || !value.endsWith('?=')) return value
  const encoded = SENTINEL.exec(value)?.[1]
  const bytes = encoded === undefined ? null : Buffer.from(encoded, 'base64')
  if (bytes === null || bytes.toString('base64') !== encoded) {
    throw new GatewayError('HEADER_MISMATCH', 'A header value in base64 form is malformed')
  }
  return bytes.toString('utf8')
}

/** As it must stand in a header: plain where it is visible ASCII without spaces at its edges, else in base64 form. */
export function encodeHeaderValue(value: string): string {
  const isSafe = /^[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?$/.test(value) && !/^=\?base64\?.*\?=$/.test(value)
  return isSafe ? value : `=?base64?${Buffer.from(value, 'utf8').toString('base64')}?=`
}
