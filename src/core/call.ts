// A call is one request of a client in flight; a reply is what it gets. Both are plain: the edge makes the call, the
// straight line in call/handle.ts answers it, and nothing here knows HTTP, sockets or JSON-RPC envelopes.
// JSON text travels as Buffers: what nobody must read is never parsed.

import type { Cancel } from './cancel.ts'
import type { Era, Revision } from './model.ts'
import type { Caller } from './policy.ts'

/** A member of a JSON object: its key (decoded) and where its value's text lies in `Params.bytes`. */
export interface Member {
  readonly key: string
  readonly start: number
  readonly end: number
}

/** The `params` object of a request, scanned once: proven JSON, every key once, no value decoded before it is asked for. */
export interface Params {
  /** JSON text of the whole object; `{}` when the request had none. */
  readonly bytes: Buffer
  readonly members: readonly Member[]
  /** Raw JSON text of a member, or null. */
  raw(key: string): Buffer | null
  /** Parsed value of a member, or undefined. */
  value(key: string): unknown
  /** Raw JSON text of a member of `_meta`, or null. */
  metaRaw(key: string): Buffer | null
  metaValue(key: string): unknown
  /** Members of `_meta` that are neither reserved (`io.modelcontextprotocol/*`, progressToken, trace context): raw pairs. */
  vendorMeta(): readonly (readonly [key: string, raw: Buffer])[]
}

export type LogLevel = 'debug' | 'info' | 'notice' | 'warning' | 'error' | 'critical' | 'alert' | 'emergency'
export const LOG_LEVELS: readonly LogLevel[] = [
  'debug',
  'info',
  'notice',
  'warning',
  'error',
  'critical',
  'alert',
  'emergency',
]

/** What the client said of itself: at initialize (legacy, sealed in the session) or with each request (modern). */
export interface ClientView {
  readonly name: string
  readonly version: string
  /** What it can be asked in the middle of a call: bits of core/asks.ts. */
  readonly asks: number
  /** Raw JSON text of clientCapabilities as sent (modern only), or null. */
  readonly capabilities: Buffer | null
}

/** A legacy session, opened from its sealed id; nothing of it is stored anywhere but its log level and its end. */
export interface Session {
  /** The Mcp-Session-Id as on the wire. */
  readonly id: string
  /** 32 hex digits, unique for the session: key of tombstones, log level and isolation. */
  readonly key: string
  readonly callerId: string
  readonly scope: string
  readonly revision: Revision
  readonly client: ClientView
  readonly expiresMs: number
}

export interface TraceContext {
  readonly traceparent: string
  readonly tracestate: string | null
  readonly baggage: string | null
}

/** A notification on its way to the client inside this call: `params` is JSON object text, proven and without newlines. */
export type Notify = (method: string, params: Buffer) => void

export type QuestionMethod = 'sampling/createMessage' | 'elicitation/create' | 'roots/list'

/** What an upstream wants to know of the client in the middle of a call. */
export interface Question {
  readonly method: QuestionMethod
  /** JSON object text, proven, without raw newlines and without the protocol's own `_meta`. */
  readonly params: Buffer
}

/**
 * Puts a question to the client of this call and waits for what it says: its result, or its error object. `cancel` is
 * the upstream's: it no longer wants to know. Errors: MISSING_CAPABILITY (this client may not be asked that), CANCELLED,
 * TIMEOUT (it did not answer in limits.questionMs), TOO_MANY, OWNER_LOST, SHUTTING_DOWN.
 */
export type AskClient = (question: Question, cancel: Cancel) => Promise<Reply>

export interface Call {
  /** For logs and error data: unique, made on first use. */
  readonly requestId: string
  readonly era: Era
  readonly revision: Revision
  readonly method: string
  /** Slug or id of the virtual server of the path, '' for everything that the caller may see. */
  readonly scope: string
  readonly caller: Caller
  readonly session: Session | null
  readonly client: ClientView
  readonly params: Params
  /** Raw JSON text of the client's progress token, or null when it wants no progress. */
  readonly progressToken: Buffer | null
  /** The least level of notifications/message that the client wants, or null for none. */
  readonly logLevel: LogLevel | null
  readonly trace: TraceContext | null
  /** How many gateways this request has passed. */
  readonly hops: number
  /** `mcp-param-*` headers of the request, lower-case; null where none have to mirror the body. */
  readonly paramHeaders: Readonly<Record<string, string>> | null
  readonly cancel: Cancel
  /** Null where the client cannot receive anything but the answer. */
  readonly notify: Notify | null
  /** Null where the client cannot be asked anything: it has declared nothing, or nothing but the answer can reach it. */
  readonly ask: AskClient | null
}

/** JSON text of `result`, in one or several parts, or JSON text of an upstream's own `error` object. Our own refusals are thrown. */
export type Reply = { readonly result: Buffer | readonly Buffer[] } | { readonly error: Buffer }
