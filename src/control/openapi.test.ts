import assert from 'node:assert/strict'
import { test } from 'node:test'
import { openApi } from './openapi.ts'
import { TABLE } from './rest.ts'
import { faultsOf } from './validate.ts'

interface Operation {
  readonly operationId: string
  readonly parameters?: readonly { readonly name: string; readonly in: string; readonly required?: boolean }[]
  readonly requestBody?: { readonly content: Readonly<Record<string, unknown>> }
  readonly responses: Readonly<Record<string, { readonly description?: string }>>
  readonly security: readonly object[]
}

const document = openApi(TABLE, { version: '1.2.3', publicUrl: 'https://gw.example' })
const paths = document.paths as Readonly<Record<string, Readonly<Record<string, Operation>>>>
const { schemas } = document.components as { schemas: Readonly<Record<string, object>> }

test('it is plain JSON: what is read back is what was made', () => {
  assert.deepEqual(JSON.parse(JSON.stringify(document)), document)
  assert.equal(document.openapi, '3.1.0')
})

test('every route of the table is an operation, and every operation a route', () => {
  const operations = Object.entries(paths).flatMap(([path, methods]) =>
    Object.keys(methods).map((method) => `${method.toUpperCase()} ${path}`),
  )
  assert.deepEqual(operations.sort(), TABLE.map(({ method, path }) => `${method} ${path}`).sort())
})

test('operation ids are unique', () => {
  const ids = Object.values(paths).flatMap((methods) => Object.values(methods).map(({ operationId }) => operationId))
  assert.equal(new Set(ids).size, ids.length)
})

test('every reference leads to a schema, and every schema is referred to', () => {
  const used = new Set(
    [...JSON.stringify(document).matchAll(/"\$ref":"#\/components\/schemas\/(\w+)"/g)].map(([, name]) => name),
  )
  assert.deepEqual([...used].sort(), Object.keys(schemas).sort())
  assert.equal(JSON.stringify(document).match(/"\$ref":"(?!#\/components\/schemas\/)/), null)
})

for (const route of TABLE) {
  const operation = paths[route.path]![route.method.toLowerCase()]!
  test(`${route.method} ${route.path} says what it takes and gives`, () => {
    const inPath = operation.parameters?.filter((parameter) => parameter.in === 'path').map(({ name }) => name) ?? []
    assert.deepEqual(
      inPath,
      [...route.path.matchAll(/\{(\w+)\}/g)].map(([, name]) => name),
    )
    const inQuery = operation.parameters?.filter((parameter) => parameter.in === 'query').map(({ name }) => name) ?? []
    assert.deepEqual(inQuery, Object.keys(route.query ?? {}))
    assert.deepEqual(Object.keys(operation.responses), [...Object.keys(route.answers), 'default'])
    for (const { description } of Object.values(operation.responses)) assert.equal(typeof description, 'string')
    assert.equal(operation.requestBody === undefined, route.body === undefined)
    assert.deepEqual(operation.security, [{ bearer: [] }])
  })
}

test('what needs If-Match says so', () => {
  const needing = Object.entries(paths).flatMap(([path, methods]) =>
    Object.entries(methods)
      .filter(([, { parameters }]) => parameters?.some(({ name, required }) => name === 'If-Match' && required))
      .map(([method]) => `${method} ${path}`),
  )
  assert.deepEqual(needing.sort(), [
    'delete /v1/servers/{server}',
    'delete /v1/upstreams/{upstream}',
    'patch /v1/servers/{server}',
    'patch /v1/upstreams/{upstream}',
  ])
})

test('every schema can be compiled', async () => {
  for (const route of TABLE) {
    for (const schema of [route.body, ...Object.values(route.answers)])
      if (schema !== undefined && schema !== null) assert.ok(Array.isArray(await faultsOf(schema, null)))
  }
})
