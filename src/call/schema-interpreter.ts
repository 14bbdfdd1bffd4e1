// Walks a JSON Schema (2020-12, the keywords that tools use) without turning it into code, for schemas and values that
// compiled code could be kept busy with for ever. Every visit of a schema node costs one step, and so does whatever a
// keyword looks at; when the steps are used up the value passes, since the upstream checks it too and a bound must never
// become a way to refuse good calls. Unknown keywords are annotations.
// Absent on purpose: remote $ref, $dynamicRef, unevaluated*, format, and patterns over their bounds (patterns.ts).

import { isRecord } from '../mcp/classify.ts'
import { type Budget, Patterns } from './patterns.ts'

/** What does not fit, where. */
export interface SchemaFault {
  /** JSON pointer into the arguments or the structured content; '' is the whole of it. */
  readonly at: string
  readonly message: string
}

class OutOfSteps extends Error {}

interface Walk extends Budget {
  readonly root: unknown
  readonly patterns: Patterns
  depth: number
}

/** Deeper than any honest schema, far from the end of the stack: a $ref that names itself ends here. */
const DEPTH_MAX = 256

const TYPE_OF = new Map<unknown, (value: unknown) => boolean>([
  ['string', (value) => typeof value === 'string'],
  ['number', (value) => typeof value === 'number'],
  ['integer', (value) => typeof value === 'number' && Number.isInteger(value)],
  ['boolean', (value) => typeof value === 'boolean'],
  ['null', (value) => value === null],
  ['array', (value) => Array.isArray(value)],
  ['object', (value) => isRecord(value)],
])

/** Null when `value` fits `schema`, or when it could not be decided within `steps`. `patterns` are the schema's own. */
export function interpretSchema(
  schema: unknown,
  value: unknown,
  steps: number,
  patterns: Patterns = new Patterns(),
): SchemaFault | null {
  const walk: Walk = { root: schema, patterns, steps, depth: 0 }
  try {
    return visit(walk, schema, value, '')
  } catch (error) {
    if (error instanceof OutOfSteps) return null
    throw error
  }
}

type Keyword = (walk: Walk, schema: Record<string, unknown>, value: unknown, at: string) => SchemaFault | null

function spend(walk: Walk, steps: number): void {
  walk.steps -= steps
  if (walk.steps < 0) throw new OutOfSteps()
}

function visit(walk: Walk, schema: unknown, value: unknown, at: string): SchemaFault | null {
  spend(walk, 1)
  if (walk.depth > DEPTH_MAX) throw new OutOfSteps()
  if (schema === false) return { at, message: 'is not allowed' }
  if (!isRecord(schema)) return null
  walk.depth += 1
  for (const keyword of KEYWORDS) {
    const fault = keyword(walk, schema, value, at)
    if (fault !== null) {
      walk.depth -= 1
      return fault
    }
  }
  walk.depth -= 1
  return null
}

const fits = (walk: Walk, schema: unknown, value: unknown): boolean => visit(walk, schema, value, '') === null

const escapePointer = (key: string): string => key.replaceAll('~', '~0').replaceAll('/', '~1')

/** What a local reference (`#`, `#/…`) means; undefined for any other, and where there is nothing. */
export function resolveRef(root: unknown, ref: string): unknown {
  if (ref === '#') return root
  if (!ref.startsWith('#/') || ref.length > REF_CHARS_MAX) return undefined
  let node = root
  for (const raw of ref.slice(2).split('/')) {
    const key = decoded(raw).replaceAll('~1', '/').replaceAll('~0', '~')
    if (Array.isArray(node)) node = node[Number(key)]
    else node = isRecord(node) && Object.hasOwn(node, key) ? node[key] : undefined
  }
  return node
}

const REF_CHARS_MAX = 1_000

function decoded(text: string): string {
  try {
    return decodeURIComponent(text)
  } catch {
    return text
  }
}

const reference: Keyword = (walk, schema, value, at) =>
  typeof schema.$ref === 'string' ? visit(walk, resolveRef(walk.root, schema.$ref), value, at) : null

const types: Keyword = (walk, schema, value, at) => {
  if (schema.type === undefined) return null
  const wanted: readonly unknown[] = Array.isArray(schema.type) ? schema.type : [schema.type]
  spend(walk, wanted.length)
  return wanted.some((type) => TYPE_OF.get(type)?.(value) !== false)
    ? null
    : { at, message: `must be ${wanted.slice(0, 7).join(' or ')}` }
}

const constants: Keyword = (walk, schema, value, at) => {
  if (Array.isArray(schema.enum) && !schema.enum.some((item) => isEqual(walk, item, value))) {
    return { at, message: 'must be one of the allowed values' }
  }
  if (Object.hasOwn(schema, 'const') && !isEqual(walk, schema.const, value))
    return { at, message: 'must be the constant' }
  return null
}

/** Of two JSON values. */
function isEqual(walk: Walk, one: unknown, other: unknown): boolean {
  spend(walk, 1)
  if (one === other) return true
  if (Array.isArray(one)) {
    if (!Array.isArray(other) || one.length !== other.length) return false
    return one.every((item, at) => isEqual(walk, item, other[at]))
  }
  if (!isRecord(one) || !isRecord(other)) return false
  const keys = Object.keys(one)
  spend(walk, keys.length)
  if (keys.length !== Object.keys(other).length) return false
  return keys.every((key) => Object.hasOwn(other, key) && isEqual(walk, one[key], other[key]))
}

/** A text that two JSON values share exactly when they are equal. */
function canonical(walk: Walk, value: unknown): string {
  spend(walk, 1)
  if (Array.isArray(value)) return `[${value.map((item) => canonical(walk, item)).join(',')}]`
  if (!isRecord(value)) {
    if (typeof value === 'string') spend(walk, value.length >> 6)
    return JSON.stringify(value)
  }
  const keys = Object.keys(value).sort()
  return `{${keys.map((key) => `${JSON.stringify(key)}:${canonical(walk, value[key])}`).join(',')}}`
}

const numbers: Keyword = (_walk, schema, value, at) => {
  if (typeof value !== 'number') return null
  const { minimum, maximum, exclusiveMinimum, exclusiveMaximum, multipleOf } = schema
  if (typeof minimum === 'number' && value < minimum) return { at, message: `must be >= ${minimum}` }
  if (typeof maximum === 'number' && value > maximum) return { at, message: `must be <= ${maximum}` }
  if (typeof exclusiveMinimum === 'number' && value <= exclusiveMinimum)
    return { at, message: `must be > ${exclusiveMinimum}` }
  if (typeof exclusiveMaximum === 'number' && value >= exclusiveMaximum)
    return { at, message: `must be < ${exclusiveMaximum}` }
  if (typeof multipleOf === 'number' && multipleOf > 0) {
    const times = value / multipleOf
    if (Math.abs(times - Math.round(times)) > 1e-9) return { at, message: `must be a multiple of ${multipleOf}` }
  }
  return null
}

const strings: Keyword = (walk, schema, value, at) => {
  if (typeof value !== 'string') return null
  const { minLength, maxLength, pattern } = schema
  if (typeof minLength === 'number' || typeof maxLength === 'number') {
    const length = countCharacters(walk, value)
    if (typeof minLength === 'number' && length < minLength)
      return { at, message: `must have at least ${minLength} characters` }
    if (typeof maxLength === 'number' && length > maxLength)
      return { at, message: `must have at most ${maxLength} characters` }
  }
  const isOdd = typeof pattern === 'string' && walk.patterns.fits(pattern, value, walk) === false
  return isOdd ? { at, message: `must match ${pattern}` } : null
}

/** Code points. */
function countCharacters(walk: Walk, text: string): number {
  spend(walk, text.length >> 6)
  let count = text.length
  // The second half of a pair counts nothing where it follows a first half.
  for (let at = 1; at < text.length; at += 1) {
    if ((text.charCodeAt(at) & 0xfc00) === 0xdc00 && (text.charCodeAt(at - 1) & 0xfc00) === 0xd800) count -= 1
  }
  return count
}

const arrays: Keyword = (walk, schema, value, at) => {
  if (!Array.isArray(value)) return null
  const { minItems, maxItems, uniqueItems, prefixItems, items, contains } = schema
  if (typeof minItems === 'number' && value.length < minItems)
    return { at, message: `must have at least ${minItems} items` }
  if (typeof maxItems === 'number' && value.length > maxItems)
    return { at, message: `must have at most ${maxItems} items` }
  if (uniqueItems === true) {
    const seen = new Set<string>()
    for (const item of value) seen.add(canonical(walk, item))
    if (seen.size < value.length) return { at, message: 'must not have equal items' }
  }
  const first = Array.isArray(prefixItems) ? prefixItems : []
  for (let index = 0; index < value.length; index += 1) {
    const fault = visit(walk, index < first.length ? first[index] : (items ?? true), value[index], `${at}/${index}`)
    if (fault !== null) return fault
  }
  return contains !== undefined && !value.some((item) => fits(walk, contains, item))
    ? { at, message: 'must contain a fitting item' }
    : null
}

const objects: Keyword = (walk, schema, value, at) => {
  if (!isRecord(value)) return null
  const { required, properties, patternProperties, additionalProperties, propertyNames, minProperties, maxProperties } =
    schema
  const keys = Object.keys(value)
  spend(walk, keys.length)
  if (Array.isArray(required)) {
    spend(walk, required.length)
    const missing = required.find((key) => typeof key === 'string' && !Object.hasOwn(value, key))
    if (missing !== undefined) return { at, message: `must have required property '${String(missing)}'` }
  }
  if (typeof minProperties === 'number' && keys.length < minProperties)
    return { at, message: `must have at least ${minProperties} properties` }
  if (typeof maxProperties === 'number' && keys.length > maxProperties)
    return { at, message: `must have at most ${maxProperties} properties` }
  for (const key of keys) {
    const here = `${at}/${escapePointer(key)}`
    if (propertyNames !== undefined && !fits(walk, propertyNames, key))
      return { at: here, message: 'has a name that is not allowed' }
    let isKnown = false
    if (isRecord(properties) && Object.hasOwn(properties, key)) {
      isKnown = true
      const fault = visit(walk, properties[key], value[key], here)
      if (fault !== null) return fault
    }
    if (isRecord(patternProperties)) {
      for (const [pattern, inner] of Object.entries(patternProperties)) {
        spend(walk, 1)
        const fit = walk.patterns.fits(pattern, key, walk)
        if (fit === false) continue
        isKnown = true
        // A name that cannot be judged is held against nobody.
        if (fit === null) continue
        const fault = visit(walk, inner, value[key], here)
        if (fault !== null) return fault
      }
    }
    if (!isKnown && additionalProperties !== undefined) {
      const fault = visit(walk, additionalProperties, value[key], here)
      if (fault !== null) return fault
    }
  }
  return null
}

const combined: Keyword = (walk, schema, value, at) => {
  const { allOf, anyOf, oneOf, not } = schema
  if (Array.isArray(allOf)) {
    for (const inner of allOf) {
      const fault = visit(walk, inner, value, at)
      if (fault !== null) return fault
    }
  }
  if (Array.isArray(anyOf) && !anyOf.some((inner) => fits(walk, inner, value)))
    return { at, message: 'must fit one of the alternatives' }
  if (Array.isArray(oneOf) && oneOf.filter((inner) => fits(walk, inner, value)).length !== 1) {
    return { at, message: 'must fit exactly one of the alternatives' }
  }
  if (not !== undefined && fits(walk, not, value)) return { at, message: 'must not fit what is excluded' }
  if (schema.if === undefined) return null
  const branch = fits(walk, schema.if, value) ? schema.then : schema.else
  return branch === undefined ? null : visit(walk, branch, value, at)
}

const KEYWORDS: readonly Keyword[] = [reference, types, constants, numbers, strings, arrays, objects, combined]
