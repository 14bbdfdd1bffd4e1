import assert from 'node:assert/strict'
import { test } from 'node:test'
import { located } from './located.ts'
import { allSettings } from './schema.ts'
import type { Reading } from './shape.ts'

const settings = allSettings()

test('there are at most 80 settings, and at most 12 usual ones', () => {
  assert.ok(settings.length <= 80, `${settings.length}`)
  assert.ok(settings.filter(({ usual }) => usual).length <= 12)
})

test('names, variables and flags are unique', () => {
  for (const all of [
    settings.map(({ name }) => name),
    settings.flatMap(({ variables }) => variables),
    settings.flatMap(({ flag }) => (flag === null ? [] : [flag])),
  ]) {
    assert.deepEqual(all, [...new Set(all)])
  }
})

test('a variable is named after its setting', () => {
  const of = (name: string) => settings.find((setting) => setting.name === name)!.variables
  assert.deepEqual(of('server.port'), ['MCP_GATEWAY_SERVER_PORT', 'PORT'])
  assert.deepEqual(of('server.tls.cert'), ['MCP_GATEWAY_SERVER_TLS_CERT'])
  assert.deepEqual(of('access.jwt.previousSecret'), ['MCP_GATEWAY_ACCESS_JWT_PREVIOUS_SECRET'])
  assert.deepEqual(of('limits.callMsMax'), ['MCP_GATEWAY_LIMITS_CALL_MS_MAX'])
})

for (const { name, about, default: otherwise, shape } of settings) {
  test(`${name} has one sentence, and a default that it would itself accept`, () => {
    assert.match(about, /^[A-Z][^\n]*\.$/)
    assert.ok(about.length <= 100, `${about.length} characters`)
    if (otherwise === null) return
    const faults: string[] = []
    const reading: Reading = {
      path: name,
      report: (_line, message) => faults.push(message),
      resolvePath: (path) => path,
      secrets: { env: {}, readFile: () => '' },
      clear: true,
    }
    assert.deepEqual(shape.read(located(otherwise as string), reading), otherwise)
    assert.deepEqual(faults, [])
  })
}
