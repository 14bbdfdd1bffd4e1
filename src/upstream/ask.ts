// One request to an upstream, whoever asks (a call of a client, or the control plane itself), and its envelope in the
// upstream's era. Only `_meta` is made here: `params` come as bytes and leave as bytes.

import { declaredCapabilities, NO_ASKS } from '../core/asks.ts'
import type { Call } from '../core/call.ts'
import { GatewayError } from '../core/errors.ts'
import type { Era, Revision } from '../core/model.ts'
import { META } from '../mcp/classify.ts'

export interface Ask {
  readonly method: string
  /** JSON text of an object without `_meta`, without white space around it. */
  readonly params: Buffer
  /** For Mcp-Name, or null. */
  readonly name: string | null
  /** Mcp-Param-* headers, flat and encoded. */
  readonly paramHeaders: readonly string[]
  readonly callMs: number
  readonly callMsMax: number
  /** Whose it is: what of its `_meta` passes, its progress, its log level, its cancellation. Null for our own requests. */
  readonly call: Call | null
  /** Only on links whose server may ask without naming a call. */
  readonly patience?: Patience
}

/** By whom a call's deadline is stopped while its client is asked; set by the lane that has the deadline. */
export interface Patience {
  standStill: (isWaiting: boolean) => void
  /** Questions that named no call and were put to this one, and wait. */
  asked: number
}

/** How an upstream is spoken to. */
export interface Wire {
  readonly era: Era
  readonly revision: Revision
  /** What `_meta` of a modern request begins with, up to the capabilities; '' for legacy. */
  readonly metaHead: string
}

/** `version` is the gateway's own. */
export function createWire(era: Era, revision: Revision, version: string): Wire {
  const info = clientInfo(version)
  const metaHead =
    era === 'legacy' ? '' : `"${META.version}":"${revision}","${META.client}":${info},"${META.capabilities}":`
  return { era, revision, metaHead }
}

export function clientInfo(version: string): string {
  return JSON.stringify({ name: 'mcp-gateway', version })
}

/** The upstream has not processed the request for certain, so that it may be sent again. */
export class NotProcessed extends Error {
  /** unsent: no byte has left. session: the upstream no longer knows our session. era: it speaks another era than we think. */
  readonly why: 'unsent' | 'session' | 'era'
  readonly error: GatewayError
  /** The JSON-RPC error that came with it, as raw JSON text, or null. */
  readonly detail: Buffer | null
  /** HTTP: of the answer; 0 where there is none. */
  readonly status: number

  constructor(why: NotProcessed['why'], error: GatewayError, detail: Buffer | null = null, status = 0) {
    const limit = Error.stackTraceLimit
    Error.stackTraceLimit = 0
    super(error.message)
    Error.stackTraceLimit = limit
    this.why = why
    this.error = error
    this.detail = detail
    this.status = status
  }
}

/** The server does not know this way of talking, and may know another: nothing is wrong with it otherwise. */
export class OtherTransport extends Error {}

/** The same error with the upstream's name in front. */
export function named(name: string, error: GatewayError): GatewayError {
  return new GatewayError(error.code, `${name}: ${error.message}`, error.options)
}

/** More than there can be workers (limits.workersMax), and one for the broker, which shares a process with worker 0. */
const CLASSES = 512
export const BROKER_CLASS = CLASSES - 1

const ROUND = CLASSES * 2 ** 40
/** As many as fit into the integers that JSON can carry. */
const ROUNDS = 15

/**
 * Request ids of one process. Several processes share an upstream session, and an upstream may tell requests of one
 * session apart by nothing but their id, so that each process counts in its own residue class.
 */
export class Ids {
  #last: number

  /** `worker` rises with every restart: past the classes comes a range of its own, for the one before it in its class may live. */
  constructor(worker: number) {
    const isBroker = worker === BROKER_CLASS
    const round = isBroker ? 0 : Math.floor(worker / BROKER_CLASS) % ROUNDS
    this.#last = (isBroker ? worker : worker % BROKER_CLASS) + round * ROUND
  }

  next(): number {
    this.#last += CLASSES
    return this.#last
  }
}

const EMPTY_CAPABILITIES = '{}'
/** By the bits of core/asks.ts. */
const declared = new Map<number, string>()

/** A modern upstream may ask only what this client can answer: a modern one says it itself, an older one said it once. */
function capabilitiesOf(call: Call | null): string {
  if (call === null) return EMPTY_CAPABILITIES
  const { capabilities, asks } = call.client
  if (call.era === 'modern') return capabilities === null ? EMPTY_CAPABILITIES : capabilities.toString('utf8')
  if (asks === NO_ASKS || call.ask === null) return EMPTY_CAPABILITIES
  let text = declared.get(asks)
  if (text === undefined) {
    text = JSON.stringify(declaredCapabilities('2026-07-28', asks))
    declared.set(asks, text)
  }
  return text
}

/** JSON text of the members of `_meta`, '' for none. `id` is raw JSON text: also the progress token. */
function metaOf(id: string, ask: Ask, wire: Wire): string {
  const call = ask.call
  let text = ''
  if (wire.era === 'modern') {
    text = wire.metaHead + capabilitiesOf(call)
    if (call !== null && call.logLevel !== null) text += `,"${META.logLevel}":"${call.logLevel}"`
  }
  if (call === null) return text
  if (call.progressToken !== null && call.notify !== null) text += `,"progressToken":${id}`
  const trace = call.trace
  if (trace !== null && (wire.era === 'modern' || call.params.metaRaw('traceparent') !== null)) {
    text += `,"traceparent":${JSON.stringify(trace.traceparent)}`
    if (trace.tracestate !== null) text += `,"tracestate":${JSON.stringify(trace.tracestate)}`
    if (trace.baggage !== null) text += `,"baggage":${JSON.stringify(trace.baggage)}`
  }
  for (const [key, raw] of call.params.vendorMeta()) text += `,${JSON.stringify(key)}:${raw.toString('utf8')}`
  return text.charCodeAt(0) === 0x2c ? text.slice(1) : text
}

function isEmptyObject(params: Buffer): boolean {
  for (let at = 1; at < params.length - 1; at += 1) {
    const byte = params[at]!
    if (byte !== 0x20 && byte !== 0x0a && byte !== 0x0d && byte !== 0x09) return false
  }
  return true
}

/** The whole message. `id` is raw JSON text. */
export function encodeAsk(id: string, ask: Ask, wire: Wire): Buffer {
  const { params } = ask
  const head = `{"jsonrpc":"2.0","id":${id},"method":"${ask.method}","params":`
  const meta = metaOf(id, ask, wire)
  const tail = meta === '' ? '}' : `${isEmptyObject(params) ? '' : ','}"_meta":{${meta}}}}`
  // Without its closing brace where `_meta` follows.
  const paramsEnd = meta === '' ? params.length : params.length - 1
  const headBytes = Buffer.byteLength(head)
  const bytes = Buffer.allocUnsafe(headBytes + paramsEnd + Buffer.byteLength(tail))
  bytes.write(head, 0)
  params.copy(bytes, headBytes, 0, paramsEnd)
  bytes.write(tail, headBytes + paramsEnd)
  return bytes
}
