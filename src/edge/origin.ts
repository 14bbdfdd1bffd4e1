// Whom a browser may bring to us. A page of another site must not reach a gateway on the user's machine, neither directly
// (Origin) nor by a name that was pointed at us (DNS rebinding: Host). Answers to other origins carry no CORS headers
// unless the origin is listed, and then those of that origin only.

import { GatewayError } from '../core/errors.ts'
import type { EventStream, Exchange } from '../http/exchange.ts'

export interface DoorOptions {
  /** The gateway's own address as clients see it, such as `https://gateway.example.com`. */
  readonly publicUrl: string
  /** Further names, with a port (then only that one) or without; `*` allows every Host. */
  readonly hosts: readonly string[]
  /** Origins of pages that may call, such as `https://app.example.com`; `*` allows every page. */
  readonly origins: readonly string[]
  /** Without tokens the door is all there is: `*` then means nothing. */
  readonly open: boolean
}

export interface Door {
  /** The origin that may read the answer, or null where there is none. Errors: HOST_REFUSED, ORIGIN_REFUSED. */
  check(exchange: Exchange): string | null
  /**
   * What `check` lets through is for pages whose answers the browser keeps from them, and whose JSON it asks us for
   * first. It does neither for a WebSocket: a page gets one only of its own origin, or where that is listed (`shared`).
   * Errors: ORIGIN_REFUSED.
   */
  checkSocket(exchange: Exchange, shared: string | null): void
}

/** With any port: a port does not make a name foreign, and a tunnel brings its own. */
const LOOPBACK = ['localhost', '127.0.0.1', '[::1]']
const HOST = /^(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::\d{1,5})?$/
const ORIGIN = /^https?:\/\/([^/]+)$/
/** Spellings that passed are remembered, up to here. */
const KNOWN_MAX = 256
const KNOWN_CHARS_MAX = 512

export function createDoor(options: DoorOptions): Door {
  const own = new URL(options.publicUrl)
  const hosts = new Set([...LOOPBACK, own.hostname, ...options.hosts.map((name) => name.toLowerCase())])
  const pages = new Set([...LOOPBACK, own.hostname])
  const anyHost = hosts.has('*') && !options.open
  const anyOrigin = options.origins.includes('*') && !options.open
  const listed = new Set(options.origins.map((origin) => origin.toLowerCase().replace(/\/$/, '')))
  const knownHosts = new Set<string>()
  const knownOrigins = new Map<string, boolean>()

  /** The name of a Host or Origin, without its port; null for nonsense. */
  const nameOf = (host: string): string | null => HOST.exec(host)?.[1] ?? null

  const isHostAllowed = (header: string): boolean => {
    const host = header.toLowerCase()
    const name = nameOf(host)
    return name !== null && (hosts.has(name) || hosts.has(host) || anyHost)
  }

  /** Whether a page of this origin may call, and whether it is listed; null when it may not. */
  const judge = (header: string, host: string): boolean | null => {
    const origin = header.toLowerCase()
    if (listed.has(origin) || anyOrigin) return true
    const authority = ORIGIN.exec(origin)?.[1]
    if (authority === undefined) return null
    const name = nameOf(authority)
    return authority === host.toLowerCase() || (name !== null && pages.has(name)) ? false : null
  }

  return {
    check(exchange) {
      const host = exchange.headers.host ?? ''
      if (!knownHosts.has(host)) {
        if (!isHostAllowed(host)) {
          throw new GatewayError('HOST_REFUSED', `The Host ${JSON.stringify(host.slice(0, 100))} is not allowed`)
        }
        if (knownHosts.size < KNOWN_MAX && host.length <= KNOWN_CHARS_MAX) knownHosts.add(host)
      }
      const origin = exchange.headers.origin
      if (origin === undefined) return null
      const key = `${host} ${origin}`
      const isListed = knownOrigins.get(key) ?? judge(origin, host)
      if (isListed === null) {
        throw new GatewayError('ORIGIN_REFUSED', `The Origin ${JSON.stringify(origin.slice(0, 100))} is not allowed`)
      }
      if (knownOrigins.size < KNOWN_MAX && key.length <= KNOWN_CHARS_MAX) knownOrigins.set(key, isListed)
      return isListed ? origin : null
    },
    checkSocket({ headers }, shared) {
      const { origin, host = '' } = headers
      if (origin === undefined || shared !== null) return
      const lower = origin.toLowerCase()
      if (lower === own.origin || ORIGIN.exec(lower)?.[1] === host.toLowerCase()) return
      const shown = JSON.stringify(origin.slice(0, 100))
      throw new GatewayError('ORIGIN_REFUSED', `The Origin ${shown} is another one than this gateway's`)
    },
  }
}

const PREFLIGHT_METHODS = 'GET, POST, PUT, PATCH, DELETE'
const HEADER_NAMES = /^[A-Za-z0-9_-]+(?: *, *[A-Za-z0-9_-]+)*$/

export function isPreflight({ method, headers }: Exchange): boolean {
  return method === 'OPTIONS' && headers['access-control-request-method'] !== undefined
}

/** The answer to a preflight of a listed origin. Names of Mcp-Param-* headers are not known beforehand: all are allowed. */
export function replyPreflight(exchange: Exchange): void {
  const wanted = exchange.headers['access-control-request-headers'] ?? ''
  const headers = ['Access-Control-Allow-Methods', PREFLIGHT_METHODS, 'Access-Control-Max-Age', '600']
  if (wanted.length <= 2_000 && HEADER_NAMES.test(wanted)) headers.push('Access-Control-Allow-Headers', wanted)
  exchange.reply(204, headers, null)
}

/** An exchange whose answers a page of `origin` may read. */
export class SharedExchange implements Exchange {
  readonly #inner: Exchange
  readonly #headers: readonly string[]

  constructor(inner: Exchange, origin: string) {
    this.#inner = inner
    this.#headers = [
      'Access-Control-Allow-Origin',
      origin,
      'Vary',
      'Origin',
      'Access-Control-Expose-Headers',
      'Mcp-Session-Id, WWW-Authenticate, Retry-After, ETag, Location',
    ]
  }

  get method(): string {
    return this.#inner.method
  }

  get path(): string {
    return this.#inner.path
  }

  get query(): string {
    return this.#inner.query
  }

  get headers(): Exchange['headers'] {
    return this.#inner.headers
  }

  get address(): string {
    return this.#inner.address
  }

  get secure(): boolean {
    return this.#inner.secure
  }

  get replied(): boolean {
    return this.#inner.replied
  }

  body(bytesMax: number): Promise<Buffer> {
    return this.#inner.body(bytesMax)
  }

  reply(status: number, headers: readonly string[], body: Buffer | readonly Buffer[] | string | null): void {
    this.#inner.reply(status, [...headers, ...this.#headers], body)
  }

  stream(status: number, headers: readonly string[]): EventStream {
    return this.#inner.stream(status, [...headers, ...this.#headers])
  }

  onAbort(listener: () => void): void {
    this.#inner.onAbort(listener)
  }
}
