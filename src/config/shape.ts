// Shapes of configuration values. Each reads a value of a document, reporting every fault with its line, and each says
// itself as JSON Schema, so that the published schema and what is accepted cannot part. What is configured: schema.ts.

import type { Secret } from '../core/model.ts'
import { parseDuration, parseSize } from '../core/time.ts'
import { type Located, type Mapping, plainValue, type ReportFault } from './located.ts'
import type { SecretSources } from './secrets.ts'
import { suggest } from './suggest.ts'

export interface JsonSchema {
  readonly [keyword: string]: unknown
}

export interface Reading {
  /** Where we are, such as `server.port`; '' for the whole file. */
  readonly path: string
  readonly report: ReportFault
  /** Makes a path absolute that is written relative to its file. */
  readonly resolvePath: (path: string) => string
  /** What references of secrets are resolved by, where that must happen at once. */
  readonly secrets: SecretSources
  /** Whether secrets may stand in clear: in flags and variables, but not in a file that is kept and shared. */
  readonly clear: boolean
}

export interface Shape<T> {
  readonly schema: JsonSchema
  /** What it must be: the end of a fault, and a cell of a table. */
  readonly noun: string
  /** The value, or undefined after its faults were reported. */
  read(at: Located, reading: Reading): T | undefined
  /** What the text of a flag or variable means; without it, the text itself. */
  fromText?(text: string): string | number | boolean | readonly string[]
}

export type ValueOf<S> = S extends Shape<infer T> ? T : never

const NAME_CHARS = 60

/** Reports `<path> <message>`, so a message is the rest of a sentence. */
export function fault(reading: Reading, line: number, message: string): undefined {
  reading.report(line, `${reading.path === '' ? 'the file' : reading.path} ${message}`)
}

export function below(reading: Reading, key: string): Reading {
  const name = key.slice(0, NAME_CHARS)
  return { ...reading, path: reading.path === '' ? name : `${reading.path}.${name}` }
}

function refuse(at: Located, reading: Reading, noun: string): undefined {
  const found = at.kind === 'scalar' ? JSON.stringify(at.value).slice(0, NAME_CHARS) : `a ${at.kind}`
  fault(reading, at.line, `must be ${noun}, not ${found}`)
}

/** Nothing written after the key of a map or list means that it is empty. */
function isNothing(at: Located): boolean {
  return at.kind === 'scalar' && at.value === null
}

// Single values

/** A scalar that `accept` turns into a value, or refuses by undefined. */
function leaf<T>(noun: string, schema: JsonSchema, accept: (value: unknown) => T | undefined): Shape<T> {
  return {
    noun,
    schema,
    read(at, reading) {
      const value = at.kind === 'scalar' ? accept(at.value) : undefined
      return value === undefined ? refuse(at, reading, noun) : value
    },
  }
}

export interface TextRules {
  readonly noun?: string
  readonly min?: number
  readonly max?: number
  readonly pattern?: string
}

const NO_NUL = '^[^\\0]*$'

/** Without NUL, if no other pattern is given: no path, header or argument can carry it. */
export function text({ noun = 'a text', min = 1, max = 4_096, pattern = NO_NUL }: TextRules = {}): Shape<string> {
  const regex = new RegExp(pattern, 'u')
  const schema = { type: 'string', ...(min > 0 ? { minLength: min } : {}), maxLength: max, pattern }
  return leaf(noun, schema, (value) => {
    if (typeof value !== 'string' || !regex.test(value)) return undefined
    // Counted by code points, as JSON Schema does.
    const length = value.length < max ? value.length : [...value].length
    return length >= min && length <= max ? value : undefined
  })
}

export function choice<const T extends string>(...values: readonly T[]): Shape<T> {
  const noun = values.length === 1 ? `"${values[0]}"` : `one of ${values.join(', ')}`
  return leaf(noun, { enum: values }, (value) => values.find((one) => one === value))
}

export function constant<const T extends number>(wanted: T): Shape<T> {
  return leaf(String(wanted), { const: wanted }, (value) => (value === wanted ? wanted : undefined))
}

export function yesOrNo(): Shape<boolean> {
  const accept = (value: unknown): boolean | undefined => (typeof value === 'boolean' ? value : undefined)
  const fromText = (given: string): string | boolean => {
    if (/^(?:true|1|yes|on)$/i.test(given)) return true
    return /^(?:false|0|no|off)$/i.test(given) ? false : given
  }
  return { ...leaf('true or false', { type: 'boolean' }, accept), fromText }
}

const numberFromText = (given: string): string | number => (/^-?\d{1,15}$/.test(given) ? Number(given) : given)

export function integer(min: number, max: number): Shape<number> {
  const accept = (value: unknown): number | undefined =>
    typeof value === 'number' && Number.isInteger(value) && value >= min && value <= max ? value : undefined
  const schema = { type: 'integer', minimum: min, maximum: max }
  return { ...leaf(`a whole number from ${min} to ${max}`, schema, accept), fromText: numberFromText }
}

interface Unit {
  readonly what: string
  readonly pattern: string
  readonly parse: (given: string | number) => number | null
  readonly show: (value: number) => string
}

/** A number, or a text with a unit. JSON Schema can say the range of the number only. */
function quantity({ what, pattern, parse, show }: Unit, min: number, max: number): Shape<number> {
  const regex = new RegExp(pattern)
  const accept = (value: unknown): number | undefined => {
    if (typeof value === 'string' ? !regex.test(value) : !Number.isInteger(value)) return undefined
    const parsed = parse(value as string | number)
    return parsed !== null && parsed >= min && parsed <= max ? parsed : undefined
  }
  const schema = {
    anyOf: [
      { type: 'integer', minimum: min, maximum: max },
      { type: 'string', pattern },
    ],
  }
  return { ...leaf(`a ${what} from ${show(min)} to ${show(max)}`, schema, accept), fromText: numberFromText }
}

function showIn(units: readonly (readonly [string, number])[]): (value: number) => string {
  return (value) => {
    for (const [name, factor] of units) if (value >= factor && value % factor === 0) return `${value / factor}${name}`
    return String(value)
  }
}

export const showDuration = showIn([
  ['d', 86_400_000],
  ['h', 3_600_000],
  ['m', 60_000],
  ['s', 1_000],
  ['ms', 1],
])
export const showSize = showIn([
  ['GiB', 1024 ** 3],
  ['MiB', 1024 ** 2],
  ['KiB', 1024],
  ['B', 1],
])

const NUMBER = '^\\d{1,15}(?:\\.\\d{1,6})?'
const DURATION: Unit = { what: 'time', pattern: `${NUMBER}(?:ms|s|m|h|d)$`, parse: parseDuration, show: showDuration }
const SIZE: Unit = { what: 'size', pattern: `${NUMBER}(?:B|[KMG]iB|[KMG]B)$`, parse: parseSize, show: showSize }

/** Milliseconds: `30s`, `5m`, or a plain number of them. */
export function duration(minMs: number, maxMs: number): Shape<number> {
  return quantity(DURATION, minMs, maxMs)
}

/** Bytes: `8MiB`, or a plain number of them. */
export function size(minBytes: number, maxBytes: number): Shape<number> {
  return quantity(SIZE, minBytes, maxBytes)
}

/** An absolute path, or one relative to the folder of the file that it stands in. */
export function path(): Shape<string> {
  const shape = text({ noun: 'a path' })
  return {
    ...shape,
    read(at, reading) {
      const value = shape.read(at, reading)
      return value === undefined ? undefined : reading.resolvePath(value)
    },
  }
}

/** A number, or one of some words. */
export function numberOr<T extends string>(number: Shape<number>, words: Shape<T>): Shape<number | T> {
  return {
    noun: `${number.noun}, or ${words.noun}`,
    schema: { anyOf: [number.schema, words.schema] },
    read: (at, reading) =>
      at.kind === 'scalar' && typeof at.value === 'number' ? number.read(at, reading) : words.read(at, reading),
    fromText: numberFromText,
  }
}

/** Any value that JSON can carry. */
export function anything(): Shape<unknown> {
  return { noun: 'any value', schema: {}, read: plainValue }
}

// Values of values

export function list<T>(item: Shape<T>, max: number, min = 0): Shape<T[]> {
  const noun = `a list of ${min === 0 ? 'at most' : `${min} to`} ${max}`
  return {
    noun: `${noun}, each ${item.noun}`,
    schema: {
      type: min === 0 ? ['array', 'null'] : 'array',
      items: item.schema,
      ...(min === 0 ? {} : { minItems: min }),
      maxItems: max,
    },
    read(at, reading) {
      if (isNothing(at) && min === 0) return []
      if (at.kind !== 'list') return refuse(at, reading, 'a list')
      if (at.items.length < min || at.items.length > max)
        return fault(reading, at.line, `must be ${noun}, it has ${at.items.length}`)
      const values = at.items.map((one, index) => item.read(one, { ...reading, path: `${reading.path}[${index}]` }))
      return values.includes(undefined) ? undefined : (values as T[])
    },
    fromText: (given) => {
      const parts = given.split(',').map((part) => part.trim())
      return parts.filter((part) => part !== '')
    },
  }
}

export interface KeyRules {
  readonly noun: string
  readonly pattern: string
  readonly max: number
}

/** Reads every entry of a map whose keys have one form. */
function readEntries<T>(
  at: Located,
  reading: Reading,
  keys: KeyRules,
  read: (key: string, value: Located, reading: Reading) => T | undefined,
): [key: string, value: T][] | undefined {
  if (isNothing(at)) return []
  if (at.kind !== 'map') return refuse(at, reading, 'a map')
  if (at.entries.size > keys.max)
    return fault(reading, at.line, `must have at most ${keys.max} entries, it has ${at.entries.size}`)
  const regex = new RegExp(keys.pattern, 'u')
  const found: [string, T][] = []
  for (const [key, entry] of at.entries) {
    const inside = below(reading, key)
    if (!regex.test(key)) fault(inside, entry.line, `must be named by ${keys.noun}`)
    const value = read(key, entry.value, inside)
    if (value !== undefined && regex.test(key)) found.push([key, value])
  }
  return found.length === at.entries.size ? found : undefined
}

/** A map of keys of one form to values of one shape. */
export function map<T>(keys: KeyRules, value: Shape<T>): Shape<Record<string, T>> {
  return {
    noun: `a map from ${keys.noun} to ${value.noun}`,
    schema: {
      type: ['object', 'null'],
      maxProperties: keys.max,
      propertyNames: { pattern: keys.pattern },
      additionalProperties: value.schema,
    },
    read(at, reading) {
      const entries = readEntries(at, reading, keys, (_key, one, inside) => value.read(one, inside))
      return entries && Object.fromEntries(entries)
    },
  }
}

type Members = Readonly<Record<string, Shape<unknown>>>
export type Read<M extends Members> = { -readonly [K in keyof M]?: ValueOf<M[K]> }

export interface ObjectRules {
  readonly needs?: readonly string[]
  /** What its members must be together, as JSON Schema … */
  readonly extra?: JsonSchema
  /** … and as code that reports and says whether it is so. */
  readonly check?: (at: Mapping, reading: Reading) => boolean
}

/** A map of these members and no others. */
export function object<M extends Members>(noun: string, members: M, rules: ObjectRules = {}): Shape<Read<M>> {
  const { needs = [], extra = {}, check = () => true } = rules
  const schema = {
    type: needs.length > 0 ? 'object' : ['object', 'null'],
    additionalProperties: false,
    ...(needs.length > 0 ? { required: needs } : {}),
    properties: Object.fromEntries(Object.entries(members).map(([key, member]) => [key, member.schema])),
    ...extra,
  }
  return {
    noun,
    schema,
    read(at, reading) {
      if (isNothing(at) && needs.length === 0) return {}
      if (at.kind !== 'map') return refuse(at, reading, noun)
      const value: Record<string, unknown> = {}
      let whole = check(at, reading)
      for (const need of needs) {
        if (at.entries.has(need)) continue
        fault(reading, at.line, `needs "${need}"`)
        whole = false
      }
      for (const [key, entry] of at.entries) {
        const inside = below(reading, key)
        if (!Object.hasOwn(members, key)) {
          fault(inside, entry.line, `is not known${suggest(key, Object.keys(members))}`)
          whole = false
          continue
        }
        const read = members[key]!.read(entry.value, inside)
        if (read === undefined) whole = false
        else value[key] = read
      }
      return whole ? (value as Read<M>) : undefined
    },
  }
}

/** Of these members there must be one, and only one. */
export function exactlyOne(...keys: readonly string[]): ObjectRules {
  const quoted = keys.map((key) => `"${key}"`).join(', ')
  return {
    extra: { type: 'object', oneOf: keys.map((key) => ({ required: [key] })) },
    check(at, reading) {
      if (keys.filter((key) => at.entries.has(key)).length === 1) return true
      fault(reading, at.line, `must have exactly one of ${quoted}`)
      return false
    },
  }
}

// Secrets

type Reference = Exclude<Secret, string>

const VARIABLE = text({ noun: 'the name of a variable', max: 128, pattern: '^[A-Za-z_][A-Za-z0-9_]*$' })
const PREFIX = text({ noun: 'a printable text', min: 0, max: 256, pattern: '^[\\x20-\\x7e]*$' })

const reference = object(
  '{env: NAME} or {file: PATH}',
  { env: VARIABLE, file: path(), prefix: PREFIX },
  exactlyOne('env', 'file'),
)

/** In a file by reference alone: `{env: NAME}` or `{file: PATH}`, with an optional `prefix` such as "Bearer ". */
export function secret(): Shape<Secret> {
  return {
    noun: reference.noun,
    schema: reference.schema,
    read(at, reading) {
      if (at.kind !== 'scalar') return reference.read(at, reading) as Reference | undefined
      if (reading.clear && typeof at.value === 'string') return at.value
      // The value is not repeated: it may be one.
      return fault(reading, at.line, 'is a secret: write {env: NAME} or {file: PATH}')
    },
  }
}

/** Parts of names of headers and variables whose values are secrets. */
const TELLING = ['authorization', 'cookie', 'token', 'secret', 'passw', 'api-key', 'api_key', 'apikey', 'credential']
// Spelt out, since JSON Schema knows no flag for upper and lower case.
const TELLING_PATTERN = TELLING.map((word) => word.replace(/[a-z]/g, (char) => `[${char}${char.toUpperCase()}]`)).join(
  '|',
)

/** Values of headers or variables: references, or plain texts where the name does not tell of a secret. */
export function values(keys: KeyRules, pattern: string): Shape<Record<string, Secret>> {
  const plain = text({ noun: 'a text, {env: NAME} or {file: PATH}', min: 0, max: 16_384, pattern })
  const isTelling = new RegExp(TELLING_PATTERN)
  const numbers = { type: ['number', 'boolean'] }
  return {
    noun: `a map from ${keys.noun} to texts or references`,
    schema: {
      type: ['object', 'null'],
      maxProperties: keys.max,
      propertyNames: { pattern: keys.pattern },
      patternProperties: { [TELLING_PATTERN]: { anyOf: [numbers, reference.schema] } },
      additionalProperties: { anyOf: [plain.schema, numbers, reference.schema] },
    },
    read(at, reading) {
      const entries = readEntries(at, reading, keys, (key, one, inside) => {
        if (one.kind !== 'scalar') return secret().read(one, inside)
        // `MAX_TOKENS: 100` is none: a number is no secret.
        if (typeof one.value === 'string' && isTelling.test(key)) return secret().read(one, inside)
        // `PORT: 8080` means the text "8080", and `1.10` is not "1.1".
        return plain.read(one.value === null ? one : { ...one, value: one.text }, inside)
      })
      return entries && Object.fromEntries(entries)
    },
  }
}
