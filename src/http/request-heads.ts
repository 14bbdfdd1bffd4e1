// The heads of requests that a link sends, checked: nothing gets out that a server could read as more than one request,
// or as another one. Absent on purpose: header names in the reader's favourite spelling; they are sent as given.

import { GatewayError } from '../core/errors.ts'
import type { LinkRequest } from './link.ts'

const PATH = /^\/[\x21-\x7e]*$/
const TOKEN = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/
const NOT_IN_VALUE = /[^\t\x20-\x7e\x80-\xff]/
/** These are the link's own, or would change how the request is read. */
const RESERVED = new Set([
  ...['connection', 'content-length', 'expect', 'host', 'keep-alive', 'proxy-connection', 'te', 'trailer'],
  ...['transfer-encoding', 'upgrade'],
])
/** Names that were looked at and are good; they are few. */
const names = new Set<string>()
const NAMES_MAX = 1_000
const NAME_CHARS_MAX = 64

export class RequestHeads {
  readonly #host: string
  /** The latest of each, which most requests of a link share; good, and the lines of those headers. */
  #path = ''
  #headers: readonly string[] = []
  #lines = ''

  constructor(host: string) {
    this.#host = host
  }

  /** Errors: UPSTREAM_INVALID. */
  of({ method, path, headers, body }: LinkRequest): string {
    if (path !== this.#path) {
      checkPath(path)
      this.#path = path
    }
    if (headers !== this.#headers) {
      this.#lines = linesOf(headers)
      this.#headers = headers
    }
    const start = `${method} ${path} HTTP/1.1\r\nhost: ${this.#host}\r\nconnection: keep-alive\r\n${this.#lines}`
    if (body === null && method !== 'POST') return `${start}\r\n`
    return `${start}content-length: ${body === null ? 0 : body.length}\r\n\r\n`
  }
}

const refuse = (what: string): GatewayError => new GatewayError('UPSTREAM_INVALID', `Refused to send ${what}`)

export function checkPath(path: string): void {
  if (!PATH.test(path)) throw refuse('a path that is no ASCII without blanks')
}

/** The lines of these headers. Errors: UPSTREAM_INVALID. */
export function linesOf(headers: readonly string[]): string {
  let text = ''
  for (let at = 0; at < headers.length; at += 2) {
    const name = headers[at]!
    const value = headers[at + 1] ?? ''
    if (!names.has(name)) {
      if (!TOKEN.test(name)) throw refuse(`the header ${JSON.stringify(name)}`)
      if (RESERVED.has(name.toLowerCase())) throw refuse(`the header ${name}, which is the link's own`)
      if (names.size < NAMES_MAX && name.length <= NAME_CHARS_MAX) names.add(name)
    }
    if (NOT_IN_VALUE.test(value)) throw refuse(`the value of the header ${name}, which no header can carry`)
    text += `${name}: ${value}\r\n`
  }
  return text
}
