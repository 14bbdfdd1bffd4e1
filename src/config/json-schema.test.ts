// The published schema and the loader say the same: what the schema calls valid loads, and what loads is valid.

import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { Ajv2020 } from 'ajv/dist/2020.js'
import fc from 'fast-check'
import { CA_PEM } from '../../test/fakes/certificates.ts'
import { gatewaySchema } from './json-schema.ts'
import { loadConfig } from './load.ts'

const root = mkdtempSync(join(tmpdir(), 'mcp-gateway-schema-'))
after(() => rmSync(root, { recursive: true, force: true }))
const TOKEN = `mgw_0123456789ab_${'x'.repeat(43)}`
writeFileSync(join(root, 'ca.pem'), CA_PEM)
writeFileSync(join(root, 'token'), TOKEN)

const schema = gatewaySchema()
const isValid = new Ajv2020({ strict: true, strictTypes: false, strictRequired: false }).compile(schema)

async function faultsOf(document: unknown): Promise<string[]> {
  const { faults } = await loadConfig({
    flags: {},
    env: { NAME: TOKEN },
    workingDirectory: root,
    // JSON is YAML, and every value survives it.
    file: { path: join(root, 'gateway.yaml'), text: JSON.stringify(document) },
  })
  return faults.map(({ message }) => message)
}

/** What json-schema.ts says that JSON Schema cannot say: rules across members, and what the surroundings must hold. */
const BEYOND = [
  /must be a (?:time|size) from/,
  /\.urls?(?:\[\d+\])? (?:cannot be read|must not name port 0|must not carry credentials|must not have a fragment)/,
  /is a header that the gateway sets itself/,
  /headers\.\S+ is there twice/,
  /must not be over/,
  /caPinned needs "ca"/,
  /ca must be one or several certificates/,
  /access\.open asks nobody/,
  /needs the other one of cert and key/,
  /must not be server\.port/,
  /access\.jwt\./,
  /stands in .* already/,
]

interface Node {
  readonly [keyword: string]: unknown
}

/** Values that keep to the rules across members, so that enough documents load. */
let steered = false
const STEERED: readonly (readonly [path: RegExp, values: fc.Arbitrary<unknown>])[] = [
  [/^access\.open$|\.caPinned$/, fc.constant(false)],
  [/^access\.jwt$/, fc.constantFrom({}, { secret: { env: 'NAME' }, issuer: 'a', audience: 'b' })],
  [/^server\.tls$/, fc.constantFrom(null, { cert: 'c', key: 'k' })],
  [/\.url$|\.urls\[\]$/, fc.constantFrom('http://127.0.0.1:1/', 'https://a.example/mcp?x=1')],
  [/\.callMs$/, fc.constantFrom(1, '1s')],
  [/\.callMsMax$/, fc.constantFrom('2s', 3_600_000)],
  [/^tokens$/, fc.constantFrom([], [{ name: 'a', env: 'NAME' }])],
]

/** Values that a part of a schema allows. Knows the keywords that shape.ts writes, and throws at any other. */
function valuesOf(node: Node, path: string): fc.Arbitrary<unknown> {
  const known = ['description', '$schema', 'title', 'type', 'required', 'properties', 'additionalProperties', 'items']
  known.push(
    'minItems',
    'maxItems',
    'minimum',
    'maximum',
    'minLength',
    'maxLength',
    'pattern',
    'enum',
    'const',
    'anyOf',
  )
  known.push('oneOf', 'maxProperties', 'propertyNames', 'patternProperties', 'if', 'then', 'else')
  for (const keyword of Object.keys(node)) assert.ok(known.includes(keyword), `${path}: ${keyword}`)
  const name = path.split('.').pop()!
  const steering = steered ? STEERED.find(([pattern]) => pattern.test(path)) : undefined
  if (steering !== undefined) return steering[1]
  if ('const' in node) return fc.constant(node.const)
  if (Array.isArray(node.enum)) return fc.constantFrom(...(node.enum as unknown[]))
  if (Array.isArray(node.anyOf)) {
    const [numbers, withUnit] = node.anyOf as Node[]
    if (numbers?.type === 'integer' && withUnit?.type === 'string') {
      // A text with a unit that lies within the bounds of the number: JSON Schema alone cannot say that.
      const unit = (withUnit.pattern as string).includes('iB') ? 'B' : 'ms'
      const some = valuesOf(numbers, path) as fc.Arbitrary<number>
      return fc.oneof(
        some,
        some.map((value) => `${value}${unit}`),
      )
    }
    return fc.oneof(...(node.anyOf as Node[]).map((one) => valuesOf(one, path)))
  }
  if ('if' in node) return fc.oneof(valuesOf(node.then as Node, path), valuesOf(node.else as Node, path))
  const types = [node.type].flat()
  if (types.includes('object')) return withNull(types, objects(node, path))
  if (types.includes('array')) {
    const { minItems = 0, items } = node as { minItems?: number; items: Node }
    return withNull(types, fc.array(valuesOf(items, `${path}[]`), { minLength: minItems, maxLength: minItems + 2 }))
  }
  if (types.includes('integer')) return fc.integer({ min: node.minimum as number, max: node.maximum as number })
  if (types.includes('number')) return fc.oneof(fc.double({ noNaN: true, noDefaultInfinity: true }), fc.boolean())
  if (types.includes('boolean')) return fc.boolean()
  if (types.includes('string')) return texts(node, name)
  assert.deepEqual(node, {}, path)
  return fc.jsonValue({ maxDepth: 2 })
}

function withNull(types: unknown[], values: fc.Arbitrary<unknown>): fc.Arbitrary<unknown> {
  return types.includes('null') ? fc.oneof({ weight: 9, arbitrary: values }, fc.constant(null)) : values
}

function texts(node: Node, name: string): fc.Arbitrary<string> {
  // What must be there, so that more than faults of the surroundings is found.
  if (name === 'env') return fc.constant('NAME')
  if (name === 'file') return fc.constant('token')
  if (name === 'ca') return fc.constant('ca.pem')
  if (name === 'expiresAt') return fc.constantFrom('2027-01-31', '2027-01-31T12:00:00.5+01:00')
  if (name === 'name') return fc.constantFrom('a', 'b', 'name-1')
  const { minLength = 0, maxLength, pattern } = node as { minLength?: number; maxLength: number; pattern: string }
  const short = Math.min(maxLength, 40)
  const any = fc.oneof(fc.string({ maxLength: short }), fc.string({ maxLength: short, unit: 'grapheme' }))
  const regex = new RegExp(pattern, 'u')
  const fits = (text: string): boolean => regex.test(text) && text.length >= minLength && [...text].length <= maxLength
  return pattern === '^[^\\0]*$' ? any.filter(fits) : fc.stringMatching(regex).filter(fits)
}

function objects(node: Node, path: string): fc.Arbitrary<unknown> {
  const {
    properties,
    required = [],
    oneOf,
  } = node as { properties?: Record<string, Node>; required?: string[]; oneOf?: Node[] }
  if (properties === undefined) return maps(node, path)
  const model = Object.fromEntries(
    Object.entries(properties).map(([key, below]) => [key, valuesOf(below, path === '' ? key : `${path}.${key}`)]),
  )
  const groups = oneOf?.map((one) => one.required as string[])
  if (groups === undefined) return fc.record(model, { requiredKeys: required })
  const all = groups.flat()
  return fc.oneof(
    ...groups.map((group) => {
      const members = Object.entries(model).filter(([key]) => !all.includes(key) || group.includes(key))
      return fc.record(Object.fromEntries(members), { requiredKeys: [...required, ...group] })
    }),
  )
}

function maps(node: Node, path: string): fc.Arbitrary<unknown> {
  const { propertyNames, additionalProperties, patternProperties } = node as Record<string, Node>
  const key = fc
    .stringMatching(new RegExp((propertyNames as { pattern: string }).pattern, 'u'))
    .filter((text) => text.length < 60)
  const plain = fc.dictionary(key, valuesOf(additionalProperties!, `${path}.*`), { maxKeys: 3 })
  const [telling, secret] = Object.entries((patternProperties ?? {}) as Record<string, Node>)[0] ?? []
  if (telling === undefined) return plain
  const isPlain = (entries: Record<string, unknown>): boolean =>
    !Object.keys(entries).some((name) => new RegExp(telling).test(name))
  const secrets = fc.dictionary(fc.constantFrom('API_TOKEN', 'Secret'), valuesOf(secret!, `${path}.*`))
  return fc.tuple(plain.filter(isPlain), secrets).map(([some, others]) => ({ ...some, ...others }))
}

const wildDocuments = valuesOf(schema, '') as fc.Arbitrary<Record<string, unknown>>
steered = true
const documents = valuesOf(schema, '') as fc.Arbitrary<Record<string, unknown>>

test('whatever the schema calls valid loads', async () => {
  let loaded = 0
  await fc.assert(
    fc.asyncProperty(fc.oneof(wildDocuments, documents), async (document) => {
      assert.ok(isValid(document), JSON.stringify(isValid.errors))
      const faults = await faultsOf(document)
      if (faults.length === 0) loaded += 1
      assert.deepEqual(
        faults.filter((message) => !BEYOND.some((rule) => rule.test(message))),
        [],
      )
    }),
    { numRuns: 300 },
  )
  // Otherwise this would prove little.
  assert.ok(loaded > 100, `only ${loaded} loaded without a fault`)
})

const others = fc.oneof(
  fc.jsonValue({ maxDepth: 2 }),
  fc.constantFrom<unknown>(0, 1, 5, 1.5, -1, 'a', '5s', '1MiB', 'auto', true, false, null, [], {}, ['a'], {
    env: 'NAME',
  }),
)

test('whatever loads is valid by the schema, also after one value was replaced by any other', async () => {
  let refused = 0
  let loaded = 0
  await fc.assert(
    fc.asyncProperty(documents, fc.nat(), others, async (document, at, other) => {
      const changed = replaceOne(document, at, other)
      const faults = await faultsOf(changed)
      if (faults.length > 0) refused += 1
      else {
        loaded += 1
        assert.ok(isValid(changed), JSON.stringify(isValid.errors))
      }
    }),
    { numRuns: 600 },
  )
  assert.ok(refused > 50 && loaded > 50, `${refused} refused, ${loaded} loaded`)
})

/** The document with its value number `at` (counted in depth-first order, round and round) replaced. */
function replaceOne(document: unknown, at: number, other: unknown): unknown {
  const count = (value: unknown): number =>
    typeof value === 'object' && value !== null
      ? Object.values(value).reduce((sum: number, one) => sum + count(one), 1)
      : 1
  let left = at % count(document)
  const copy = (value: unknown): unknown => {
    if (left-- === 0) return other
    if (Array.isArray(value)) return value.map(copy)
    if (typeof value !== 'object' || value === null) return value
    return Object.fromEntries(Object.entries(value).map(([key, one]) => [key, copy(one)]))
  }
  return copy(document)
}
