// Bodies and queries against their schemas: compiled at the first request that needs one (Ajv is loaded then, too, so
// that it costs no start), and told as faults that name the place and what would be right.

import type { ErrorObject, ValidateFunction } from 'ajv'
import { type Fault, GatewayError } from '../core/errors.ts'
import type { Schema } from './schemas.ts'

/** More would be noise, and an answer without bound. */
const FAULTS_MAX = 50

type Compile = (schema: Schema) => ValidateFunction
let loading: Promise<Compile> | null = null
const compiled = new WeakMap<Schema, ValidateFunction>()

async function loadCompiler(): Promise<Compile> {
  const { Ajv2020 } = await import('ajv/dist/2020.js')
  const ajv = new Ajv2020({
    allErrors: true,
    discriminator: true,
    // The schemas are our own and proven by the tests: reading the meta schema first would cost 40 ms.
    meta: false,
    validateSchema: false,
    validateFormats: false,
    addUsedSchema: false,
    strict: false,
    logger: false,
    // A fault's words for an enum or a union need the schema that it broke.
    verbose: true,
  })
  return (schema) => ajv.compile(schema)
}

/** What is wrong with `value`, or an empty list. */
export async function faultsOf(schema: Schema, value: unknown): Promise<Fault[]> {
  let check = compiled.get(schema)
  if (check === undefined) {
    loading ??= loadCompiler()
    check = (await loading)(schema)
    compiled.set(schema, check)
  }
  return check(value) ? [] : readable(check.errors ?? [])
}

/** Errors: INVALID_INPUT with its faults. */
export async function validate(schema: Schema, value: unknown): Promise<void> {
  refuseFaults(await faultsOf(schema, value))
}

export function refuseFaults(faults: readonly Fault[]): void {
  if (faults.length > 0) throw invalid(faults)
}

export function invalid(faults: readonly Fault[]): GatewayError {
  const [first] = faults
  const rest = faults.length > 1 ? ` (and ${faults.length - 1} more)` : ''
  const text = first === undefined ? undefined : `${first.at === '' ? 'The body' : first.at}: ${first.message}${rest}`
  return new GatewayError('INVALID_INPUT', text, { faults })
}

/** A member's name inside a JSON pointer (RFC 6901). */
export function pointer(...names: (string | number)[]): string {
  return names.map((name) => `/${String(name).replaceAll('~', '~0').replaceAll('/', '~1')}`).join('')
}

function readable(errors: readonly ErrorObject[]): Fault[] {
  // Of a union that fits nowhere one fault says what would; what each of its branches lacks is only noise.
  const unions = errors.filter(({ keyword }) => keyword === 'anyOf').map(({ schemaPath }) => `${schemaPath}/`)
  const faults: Fault[] = []
  for (const error of errors) {
    if (unions.some((path) => error.schemaPath.startsWith(path))) continue
    // `propertyNames` reports twice: why the name is wrong (in general words), and which name it is.
    if (error.propertyName !== undefined) continue
    faults.push(faultOf(error))
    if (faults.length === FAULTS_MAX) break
  }
  return faults
}

function faultOf({ keyword, instancePath: at, params, message, parentSchema }: ErrorObject): Fault {
  switch (keyword) {
    case 'additionalProperties':
      return { at: `${at}${pointer(params.additionalProperty)}`, message: 'is not a member here' }
    case 'required':
      return { at: `${at}${pointer(params.missingProperty)}`, message: 'is needed' }
    case 'propertyNames':
      return { at: `${at}${pointer(params.propertyName)}`, message: 'is not a good name here' }
    case 'discriminator':
      return { at: `${at}${pointer(params.tag)}`, message: `must be one of ${branches(parentSchema)}` }
    case 'enum':
      return { at, message: `must be one of ${params.allowedValues.join(', ')}` }
    case 'const':
      return { at, message: `must be ${JSON.stringify(params.allowedValue)}` }
    case 'anyOf':
      return { at, message: 'must be a text, {"env": NAME} or {"file": PATH}' }
    case 'pattern':
      return { at, message: parentSchema?.description ?? 'has characters that are not allowed' }
    default:
      return { at, message: (message ?? 'is not valid').replace('NOT', 'not') }
  }
}

function branches(schema: ErrorObject['parentSchema']): string {
  const kinds: unknown[] = (schema?.oneOf ?? []).map(
    (branch: { properties: { kind: { const: unknown } } }) => branch.properties.kind.const,
  )
  return kinds.join(', ')
}
