import assert from 'node:assert/strict'
import { test } from 'node:test'
import { suggest } from './suggest.ts'

const KNOWN = ['host', 'port', 'publicUrl', 'refreshMs', 'virtualServers']

for (const [name, nearest] of [
  ['prot', 'port'],
  ['publicurl', 'publicUrl'],
  ['refresh', 'refreshMs'],
  ['virtualServer', 'virtualServers'],
  ['xyz', null],
  ['p', null],
  ['', null],
  ['x'.repeat(100_000), null],
] as const) {
  test(`"${name.slice(0, 20)}" suggests ${nearest}`, () => {
    assert.equal(suggest(name, KNOWN), nearest === null ? '' : `; did you mean "${nearest}"?`)
  })
}
