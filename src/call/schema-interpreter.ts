// Walks a JSON Schema (2020-12, the keywords that tools use) without turning it into code, for schemas too large to be
// compiled safely. Every visit of a schema node costs one step; when the steps are used up the value passes, since the
// upstream checks it too and a bound must never become a way to refuse good calls. Unknown keywords are annotations.
// Absent on purpose: remote $ref, $dynamicRef, unevaluated*, format, and pattern over 1,000 characters.

import { isDeepStrictEqual } from 'node:util'
import { RE2JS } from 're2js'
import { isRecord } from '../mcp/classify.ts'

/** What does not fit, where. */
export interface SchemaFault {
  /** JSON pointer into the arguments or the structured content; '' is the whole of it. */
  readonly at: string
  readonly message: string
}

class OutOfSteps extends Error {}

interface Walk {
  readonly root: unknown
  steps: number
  depth: number
}

/** Deeper than any honest schema, far from the end of the stack: a $ref that names itself ends here. */
const DEPTH_MAX = 256

const TYPE_OF: Readonly<Record<string, (value: unknown) => boolean>> = {
  string: (value) => typeof value === 'string',
  number: (value) => typeof value === 'number',
  integer: (value) => typeof value === 'number' && Number.isInteger(value),
  boolean: (value) => typeof value === 'boolean',
  null: (value) => value === null,
  array: (value) => Array.isArray(value),
  object: (value) => isRecord(value),
}

/** Null when `value` fits `schema`, or when it could not be decided within `steps`. */
export function interpretSchema(schema: unknown, value: unknown, steps: number): SchemaFault | null {
  const walk: Walk = { root: schema, steps, depth: 0 }
  try {
    return visit(walk, schema, value, '')
  } catch (error) {
    if (error instanceof OutOfSteps) return null
    throw error
  }
}

type Keyword = (walk: Walk, schema: Record<string, unknown>, value: unknown, at: string) => SchemaFault | null

function visit(walk: Walk, schema: unknown, value: unknown, at: string): SchemaFault | null {
  walk.steps -= 1
  if (walk.steps < 0 || walk.depth > DEPTH_MAX) throw new OutOfSteps()
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

function resolveRef(root: unknown, ref: string): unknown {
  if (ref === '#') return root
  if (!ref.startsWith('#/')) return undefined
  let node = root
  for (const raw of ref.slice(2).split('/')) {
    const key = decodeURIComponent(raw).replaceAll('~1', '/').replaceAll('~0', '~')
    if (Array.isArray(node)) node = node[Number(key)]
    else node = isRecord(node) && Object.hasOwn(node, key) ? node[key] : undefined
  }
  return node
}

const reference: Keyword = (walk, schema, value, at) =>
  typeof schema.$ref === 'string' ? visit(walk, resolveRef(walk.root, schema.$ref), value, at) : null

const types: Keyword = (_walk, schema, value, at) => {
  if (schema.type === undefined) return null
  const wanted = Array.isArray(schema.type) ? schema.type : [schema.type]
  return wanted.some((type) => typeof type !== 'string' || TYPE_OF[type]?.(value) !== false)
    ? null
    : { at, message: `must be ${wanted.join(' or ')}` }
}

const constants: Keyword = (_walk, schema, value, at) => {
  if (Array.isArray(schema.enum) && !schema.enum.some((item) => isDeepStrictEqual(item, value))) {
    return { at, message: 'must be one of the allowed values' }
  }
  if (Object.hasOwn(schema, 'const') && !isDeepStrictEqual(schema.const, value))
    return { at, message: 'must be the constant' }
  return null
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

const strings: Keyword = (_walk, schema, value, at) => {
  if (typeof value !== 'string') return null
  const { minLength, maxLength, pattern } = schema
  if (typeof minLength === 'number' || typeof maxLength === 'number') {
    const length = [...value].length
    if (typeof minLength === 'number' && length < minLength)
      return { at, message: `must have at least ${minLength} characters` }
    if (typeof maxLength === 'number' && length > maxLength)
      return { at, message: `must have at most ${maxLength} characters` }
  }
  return typeof pattern === 'string' && !matches(pattern, value) ? { at, message: `must match ${pattern}` } : null
}

function matches(pattern: string, text: string): boolean {
  if (pattern.length > 1_000) return true
  try {
    return RE2JS.compile(pattern).matcher(text).find()
  } catch {
    return true
  }
}

const arrays: Keyword = (walk, schema, value, at) => {
  if (!Array.isArray(value)) return null
  const { minItems, maxItems, uniqueItems, prefixItems, items, contains } = schema
  if (typeof minItems === 'number' && value.length < minItems)
    return { at, message: `must have at least ${minItems} items` }
  if (typeof maxItems === 'number' && value.length > maxItems)
    return { at, message: `must have at most ${maxItems} items` }
  if (uniqueItems === true && value.length <= 1_000) {
    for (let left = 0; left < value.length; left += 1) {
      for (let right = left + 1; right < value.length; right += 1) {
        walk.steps -= 1
        if (walk.steps < 0) throw new OutOfSteps()
        if (isDeepStrictEqual(value[left], value[right])) return { at, message: 'must not have equal items' }
      }
    }
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
  if (Array.isArray(required)) {
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
        if (!matches(pattern, key)) continue
        isKnown = true
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
