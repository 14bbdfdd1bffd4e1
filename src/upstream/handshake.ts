// The first words with an upstream: which era it speaks, and what it says of itself. A modern server is asked with
// server/discover, an older one greeted with initialize. What decides is what the server answers to these two; refused
// credentials, failures of the server or of the network never do (2026-07-28, basic/versioning and the two transports).
// Absent on purpose: which transport a URL speaks (broker.ts).

import { declaredCapabilities } from '../core/asks.ts'
import type { Reply } from '../core/call.ts'
import { type ErrorCode, GatewayError } from '../core/errors.ts'
import type { Limits } from '../core/limits.ts'
import { type Discovery, type Era, LEGACY_REVISIONS, MODERN_REVISIONS, type Revision } from '../core/model.ts'
import { isRecord, META } from '../mcp/classify.ts'
import { encodeNotification } from '../mcp/jsonrpc.ts'
import { type Ask, clientInfo, createWire, NotProcessed, named, OtherTransport, type Wire } from './ask.ts'
import { type HttpPeer, MAY_BE_OTHER, post, withoutVersion } from './http-peer.ts'
import { askHttp, openHttp } from './mcp-http.ts'
import type { StdioPeer } from './mcp-stdio.ts'

/** What a server says of itself. */
export type Greeting = Pick<
  Discovery,
  'era' | 'revision' | 'serverInfo' | 'capabilities' | 'instructions' | 'reaches' | 'ttlMs'
>

/** `no`: it does not know this method, so that the other one is worth trying. */
type Outcome = { readonly greeting: Greeting } | { readonly no: string; readonly mayBeOther?: boolean }

export interface HandshakeOptions {
  readonly name: string
  readonly version: string
  /** Our own id: a server that is us, or that leads back to us, is refused. */
  readonly gatewayId: string
  /** The era that the server had last time, or that is tried first for another reason; null for neither. */
  readonly era: Era | null
  /** What the client behind the link can be asked: bits of core/asks.ts. */
  readonly asks: number
  readonly limits: Limits
}

const NEWEST_MODERN = MODERN_REVISIONS[0]
const NEWEST_LEGACY = LEGACY_REVISIONS[0]
const UNSUPPORTED_VERSION = -32022
const INITIALIZED = encodeNotification('notifications/initialized', null)

function ownAsk(method: string, params: unknown, callMs: number): Ask {
  const bytes = Buffer.from(JSON.stringify(params))
  return { method, params: bytes, name: null, paramHeaders: [], callMs, callMsMax: callMs, call: null }
}

function invalid(name: string, what: string): GatewayError {
  return named(name, new GatewayError('UPSTREAM_INVALID', what))
}

// --- reading what they say of themselves ------------------------------------------------------------------------------

/** A text of the server for people: never longer than `max`, without control characters but newlines and tabs. */
function text(value: unknown, max: number): string | undefined {
  if (typeof value !== 'string') return undefined
  return value.slice(0, max).replace(/[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]/g, '')
}

function serverInfo(value: unknown): Greeting['serverInfo'] {
  const info = isRecord(value) ? value : {}
  const title = text(info.title, 200)
  const named = { name: text(info.name, 200) ?? '', version: text(info.version, 100) ?? '' }
  return title === undefined ? named : { ...named, title }
}

function parseResult(result: Buffer | readonly Buffer[], options: HandshakeOptions): Record<string, unknown> {
  const bytes = result as Buffer
  if (bytes.length > options.limits.greetingBytes) {
    throw invalid(options.name, `its greeting is larger than ${options.limits.greetingBytes} bytes`)
  }
  return JSON.parse(bytes.toString('utf8')) as Record<string, unknown>
}

/** Ids of the gateways that the server is or leads to. Errors: LOOP_DETECTED when we are one of them. */
function reachesOf(meta: Record<string, unknown>, { name, gatewayId }: HandshakeOptions): string[] {
  const reaches = versions(meta[META.reaches])
  if (reaches.includes(gatewayId)) {
    throw named(name, new GatewayError('LOOP_DETECTED', 'it is this gateway itself, or leads back to it'))
  }
  return reaches
}

function greetingOf(
  era: Era,
  revision: Revision,
  result: Record<string, unknown>,
  options: HandshakeOptions,
): Greeting {
  const meta = isRecord(result._meta) ? result._meta : {}
  const info = era === 'modern' ? meta[META.server] : result.serverInfo
  const reaches = reachesOf(meta, options)
  const instructions = text(result.instructions, 32_768)
  const { ttlMs } = result
  return {
    era,
    revision,
    serverInfo: serverInfo(info),
    capabilities: isRecord(result.capabilities) ? result.capabilities : {},
    ...(instructions === undefined ? {} : { instructions }),
    ...(reaches.length === 0 ? {} : { reaches }),
    ttlMs: typeof ttlMs === 'number' && ttlMs >= 0 && Number.isFinite(ttlMs) ? ttlMs : null,
  }
}

function versions(value: unknown): string[] {
  return Array.isArray(value) ? value.filter((item) => typeof item === 'string').slice(0, 100) : []
}

const isLegacy = (version: string): boolean => (LEGACY_REVISIONS as readonly string[]).includes(version)

/** A server that offers only what we do not speak, or one that is older after all. */
function judgeVersions(name: string, offered: string[]): Outcome {
  if (offered.some(isLegacy)) return { no: 'it offers only older versions' }
  throw invalid(name, `it offers only the versions ${JSON.stringify(offered.slice(0, 5))}, none of which we speak`)
}

function readDiscover(reply: Reply, options: HandshakeOptions): Outcome {
  if ('error' in reply) return readDiscoverError(reply.error, options.name)
  const result = parseResult(reply.result, options)
  const offered = versions(result.supportedVersions)
  if (offered.length === 0) return { no: 'it answered server/discover with something else' }
  const revision = MODERN_REVISIONS.find((known) => offered.includes(known))
  if (revision === undefined) return judgeVersions(options.name, offered)
  return { greeting: greetingOf('modern', revision, result, options) }
}

function errorOf(error: Buffer): { code: number; message: string; supported: string[] } {
  const { code, message, data } = JSON.parse(error.toString('utf8')) as { code: number; message: string; data: unknown }
  return { code, message: text(message, 200) ?? '', supported: versions(isRecord(data) ? data.supported : null) }
}

/** Only a version error that names versions is a modern server's for certain; other codes are used by older servers too. */
function readDiscoverError(error: Buffer, name: string): Outcome {
  const { code, message, supported } = errorOf(error)
  if (code !== UNSUPPORTED_VERSION || supported.length === 0) return { no: `${message} (${code})` }
  return judgeVersions(name, supported)
}

const initializeParams = (version: string, protocolVersion: string, asks: number) => ({
  protocolVersion,
  capabilities: declaredCapabilities(
    LEGACY_REVISIONS.find((known) => known === protocolVersion) ?? NEWEST_LEGACY,
    asks,
  ),
  clientInfo: JSON.parse(clientInfo(version)) as unknown,
})

/** An older version that the error offers instead, or null. */
function otherVersion(reply: Reply): string | null {
  if (!('error' in reply)) return null
  const { supported } = errorOf(reply.error)
  return LEGACY_REVISIONS.find((known) => known !== NEWEST_LEGACY && supported.includes(known)) ?? null
}

function refusalOf(error: Buffer): Outcome {
  const { code, message } = errorOf(error)
  return { no: `${message} (${code})` }
}

function readInitialize(reply: Reply, options: HandshakeOptions): Outcome {
  if ('error' in reply) return refusalOf(reply.error)
  const result = parseResult(reply.result, options)
  const version = result.protocolVersion
  // A draft of the first revision, which old SDKs still name.
  const revision = version === '2024-10-07' ? '2024-11-05' : LEGACY_REVISIONS.find((known) => known === version)
  if (revision === undefined) {
    throw invalid(options.name, `it answered initialize with the version ${JSON.stringify(text(version, 40) ?? null)}`)
  }
  return { greeting: greetingOf('legacy', revision, result, options) }
}

// --- HTTP -------------------------------------------------------------------------------------------------------------

export interface HttpGreeted {
  readonly greeting: Greeting
  readonly sessionId: string | null
}

type MakePeer = (wire: Wire, sessionId: string | null) => HttpPeer

/** `makePeer` makes the peer of one address. Errors: as askHttp, NotProcessed included; OtherTransport. */
export async function greetHttp(makePeer: MakePeer, options: HandshakeOptions): Promise<HttpGreeted> {
  const faults: string[] = []
  let mayBeOther = true
  const order = options.era === 'legacy' ? (['initialize', 'discover'] as const) : (['discover', 'initialize'] as const)
  for (const method of order) {
    const sessions: (string | null)[] = []
    const outcome =
      method === 'discover'
        ? await discoverHttp(makePeer, options)
        : await initializeHttp(makePeer, options, (sessionId) => sessions.push(sessionId))
    if ('greeting' in outcome) return { greeting: outcome.greeting, sessionId: sessions.at(-1) ?? null }
    faults.push(`${method === 'discover' ? 'server/discover' : method}: ${outcome.no}`)
    mayBeOther &&= outcome.mayBeOther === true
  }
  const what = faults.join('; ')
  throw mayBeOther ? new OtherTransport(what) : noServer(options.name, what)
}

/** `what`: how it answered all that was tried. */
export function noServer(name: string, what: string): GatewayError {
  return invalid(name, `it is no MCP server that we can speak to (${what})`)
}

/** Codes by which a server of streamable HTTP says no; an HTTP+SSE server knows no such body. */
const OF_STREAMABLE = new Set([-32601, -32020, -32021, UNSUPPORTED_VERSION])

/** A refusal of the kind "I do not know what you want" is an outcome; every other failure is thrown. */
async function orRefused(run: () => Promise<Outcome>, read: (error: Buffer) => Outcome): Promise<Outcome> {
  try {
    return await run()
  } catch (error) {
    if (!(error instanceof NotProcessed) || error.why !== 'era') throw error
    const isKnown = error.detail !== null && OF_STREAMABLE.has(errorOf(error.detail).code)
    const mayBeOther = !isKnown && MAY_BE_OTHER.has(error.status)
    return error.detail === null ? { no: error.error.message, mayBeOther } : { ...read(error.detail), mayBeOther }
  }
}

function discoverHttp(makePeer: MakePeer, options: HandshakeOptions): Promise<Outcome> {
  const peer = makePeer(createWire('modern', NEWEST_MODERN, options.version), null)
  return orRefused(
    async () => readDiscover(await askHttp(peer, ownAsk('server/discover', {}, options.limits.probeMs)), options),
    (error) => readDiscoverError(error, options.name),
  )
}

function initializeHttp(
  makePeer: MakePeer,
  options: HandshakeOptions,
  onSession: (sessionId: string | null) => void,
): Promise<Outcome> {
  const { limits, version } = options
  const ask = async (revision: string): Promise<{ reply: Reply; sessionId: string | null }> => {
    const peer = withoutVersion(makePeer(createWire('legacy', NEWEST_LEGACY, version), null))
    return openHttp(peer, ownAsk('initialize', initializeParams(version, revision, options.asks), limits.handshakeMs))
  }
  return orRefused(async () => {
    let { reply, sessionId } = await ask(NEWEST_LEGACY)
    const other = otherVersion(reply)
    if (other !== null) ({ reply, sessionId } = await ask(other))
    const outcome = readInitialize(reply, options)
    if ('greeting' in outcome) {
      onSession(sessionId)
      const peer = makePeer(createWire('legacy', outcome.greeting.revision, version), sessionId)
      // A server that does not take it has most likely no use for it; if it has, the first call says so.
      await new Promise<void>((resolve) => post(peer, INITIALIZED, () => resolve()))
    }
    return outcome
  }, refusalOf)
}

// --- stdio ------------------------------------------------------------------------------------------------------------

export interface StdioGreeted {
  readonly greeting: Greeting
  readonly peer: StdioPeer
}

export interface StdioStarter {
  /** A fresh child and our channel to it. */
  start(): Promise<StdioPeer>
  stop(peer: StdioPeer): Promise<void>
}

type StdioOutcome = Outcome | { readonly silent: true } | { readonly gone: GatewayError }

const SILENCE: ReadonlySet<ErrorCode> = new Set<ErrorCode>(['TIMEOUT'])

/** Some servers end at a word they do not know: for them the first child is thrown away and the second greeted rightly. */
export async function greetStdio(starter: StdioStarter, options: HandshakeOptions): Promise<StdioGreeted> {
  const first = await attempt(starter, options, greetChild)
  if ('peer' in first) return first
  if ('no' in first) throw noServer(options.name, first.no)
  // Silence is told apart from slowness by trying again later, with initialize first (broker.ts).
  if ('silent' in first || options.era === 'legacy') throw failed(first, options)
  const second = await attempt(starter, options, initializeStdio)
  if ('peer' in second) return second
  throw 'no' in second ? invalid(options.name, `it refused initialize: ${second.no}`) : failed(second, options)
}

type Failed = Exclude<StdioOutcome, { readonly greeting: Greeting }>

/** The child lives on only if it was greeted. */
async function attempt(
  starter: StdioStarter,
  options: HandshakeOptions,
  greet: (peer: StdioPeer, options: HandshakeOptions) => Promise<StdioOutcome>,
): Promise<StdioGreeted | Failed> {
  const peer = await starter.start()
  try {
    const outcome = await greet(peer, options)
    if ('greeting' in outcome) return greeted(peer, outcome.greeting, options)
    await starter.stop(peer)
    return outcome
  } catch (error) {
    await starter.stop(peer)
    throw error
  }
}

function failed(outcome: Failed, { name, limits }: HandshakeOptions): GatewayError {
  if ('gone' in outcome) return outcome.gone
  return named(name, new GatewayError('TIMEOUT', `It did not answer initialize within ${limits.handshakeMs} ms`))
}

async function greetChild(peer: StdioPeer, options: HandshakeOptions): Promise<StdioOutcome> {
  if (options.era === 'legacy') {
    const outcome = await initializeStdio(peer, options)
    return 'no' in outcome ? discoverStdio(peer, options) : outcome
  }
  const first = await discoverStdio(peer, options)
  if ('greeting' in first || 'gone' in first) return first
  const outcome = await initializeStdio(peer, options)
  // It was only slow to start, and has refused initialize as a modern server must.
  return 'silent' in first && 'no' in outcome ? discoverStdio(peer, options) : outcome
}

function greeted(peer: StdioPeer, greeting: Greeting, { version }: HandshakeOptions): StdioGreeted {
  peer.wire = createWire(greeting.era, greeting.revision, version)
  if (greeting.era === 'legacy') peer.send(INITIALIZED)
  return { peer, greeting }
}

async function orSilent(run: () => Promise<Outcome>): Promise<StdioOutcome> {
  try {
    return await run()
  } catch (thrown) {
    const error = thrown instanceof NotProcessed ? thrown.error : thrown
    if (!(error instanceof GatewayError)) throw error
    if (SILENCE.has(error.code)) return { silent: true }
    if (error.code === 'UPSTREAM_UNAVAILABLE') return { gone: error }
    throw error
  }
}

function discoverStdio(peer: StdioPeer, options: HandshakeOptions): Promise<StdioOutcome> {
  const wire = createWire('modern', NEWEST_MODERN, options.version)
  const ask = ownAsk('server/discover', {}, options.limits.probeMs)
  return orSilent(async () => readDiscover(await peer.ask(ask, wire), options))
}

function initializeStdio(peer: StdioPeer, options: HandshakeOptions): Promise<StdioOutcome> {
  const { version, limits } = options
  const wire = createWire('legacy', NEWEST_LEGACY, version)
  const ask = (revision: string): Promise<Reply> =>
    peer.ask(ownAsk('initialize', initializeParams(version, revision, options.asks), limits.handshakeMs), wire)
  return orSilent(async () => {
    const reply = await ask(NEWEST_LEGACY)
    const other = otherVersion(reply)
    return readInitialize(other === null ? reply : await ask(other), options)
  })
}
