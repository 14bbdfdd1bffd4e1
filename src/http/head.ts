// The head of a request in the narrow form that the fast lane serves itself: HTTP/1.1, one Host, every header once, POST
// with one Content-Length or GET with none. Nothing is refused here: what is not of this form, faulty or not, is node:http's to
// judge, so this reader can only be too strict. Absent on purpose: every other method, version, framing and target.

export interface Head {
  readonly method: 'POST' | 'GET'
  readonly path: string
  readonly headers: Readonly<Record<string, string>>
  /** Of the body, in bytes. */
  readonly length: number
  /** The client wants no further answer on this connection. */
  readonly isLast: boolean
}

type Meaning = 'plain' | 'length' | 'connection' | 'other'
interface Field {
  readonly name: string
  readonly meaning: Meaning
}

/** Headers that change how a message is read; with one of them it is none of ours. Node makes an array of Set-Cookie. */
const MEANINGS = new Map<string, Meaning>([
  ['content-length', 'length'],
  ['connection', 'connection'],
  ['proxy-connection', 'other'],
  ['transfer-encoding', 'other'],
  ['expect', 'other'],
  ['upgrade', 'other'],
  ['set-cookie', 'other'],
])
const TOKEN = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/
/** Of a value: lone returns and line feeds are among them. */
const CONTROL = /[\0-\x08\x0a-\x1f\x7f]/
const REQUEST_LINE = /^(POST|GET) (\/[A-Za-z0-9._~/-]*) HTTP\/1\.1$/
const LENGTH = /^\d{1,10}$/
const FIELDS_MAX = 1_000
const FIELD_CHARS_MAX = 64
/** By spelling as on the wire: names are few, and each is checked and made lower case once. */
const fields = new Map<string, Field>()

const STARTS = ['POST /', 'GET /']
export const HEAD_END = '\r\n\r\n'

/** Whether a request that begins so, however little of it is there, may be of this form. */
export function mayBeHead(text: string): boolean {
  return STARTS.some((start) => text.startsWith(start.slice(0, text.length)))
}

/** `text` is the head in Latin-1 without its last empty line, or null. Names in lower case, values without blanks around. */
export function readHead(text: string, countMax: number): Head | null {
  let end = text.indexOf('\r\n')
  if (end < 0) return null
  const [, method, path] = REQUEST_LINE.exec(text.slice(0, end)) ?? []
  if (path === undefined) return null
  const headers: Record<string, string> = {}
  let length = -1
  let isLast = false
  let count = 0
  while (end < text.length) {
    const start = end + 2
    end = text.indexOf('\r\n', start)
    if (end < 0) end = text.length
    const colon = text.indexOf(':', start)
    if (colon < 0 || colon >= end) return null
    const field = fieldOf(text.slice(start, colon))
    count += 1
    // Names that every object has, such as "constructor", count as repeated: node:http may judge them.
    if (field === null || count > countMax || headers[field.name] !== undefined) return null
    const value = trimmed(text, colon + 1, end)
    if (CONTROL.test(value)) return null
    headers[field.name] = value
    switch (field.meaning) {
      case 'plain':
        break
      case 'length':
        if (!LENGTH.test(value)) return null
        length = Number(value)
        break
      case 'connection': {
        const wish = value.toLowerCase()
        if (wish !== 'keep-alive' && wish !== 'close') return null
        isLast = wish === 'close'
        break
      }
      default:
        return null
    }
  }
  if (headers.host === undefined || length < 0 === (method === 'POST')) return null
  return { method: method as Head['method'], path, headers, length: Math.max(0, length), isLast }
}

function fieldOf(spelling: string): Field | null {
  const known = fields.get(spelling)
  if (known !== undefined) return known
  if (!TOKEN.test(spelling)) return null
  const name = spelling.toLowerCase()
  const field: Field = { name, meaning: MEANINGS.get(name) ?? 'plain' }
  if (fields.size < FIELDS_MAX && spelling.length <= FIELD_CHARS_MAX) fields.set(spelling, field)
  return field
}

const isBlank = (code: number): boolean => code === 0x20 || code === 0x09

function trimmed(text: string, start: number, end: number): string {
  let from = start
  let to = end
  while (from < to && isBlank(text.charCodeAt(from))) from += 1
  while (to > from && isBlank(text.charCodeAt(to - 1))) to -= 1
  return text.slice(from, to)
}
