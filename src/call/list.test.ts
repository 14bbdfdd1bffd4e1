// Pages of lists: what a cursor is bound to, and what a list says of itself.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { CALLER, makeCall, makeGateway, resultText } from '../../test/fakes/call.ts'
import { registryRows, resource, serverRow, tool, upstreamRow } from '../../test/fakes/registry.ts'
import type { Call } from '../core/call.ts'
import { GatewayError } from '../core/errors.ts'
import { LIMITS } from '../core/limits.ts'
import { createSealer } from '../mcp/seal.ts'
import type { RegistryRows } from '../ports/feed.ts'
import type { Gateway } from './gateway.ts'
import { list } from './list.ts'

const MODERN = { era: 'modern', revision: '2026-07-28' } as const
const nameOf = (index: number): string => `t${String(index).padStart(5, '0')}`
const tools = (count: number) => Array.from({ length: count }, (_, index) => tool(nameOf(index)))

interface Page {
  readonly tools: readonly { readonly name: string }[]
  readonly nextCursor?: string
  readonly ttlMs?: number
  readonly cacheScope?: string
  readonly _meta?: unknown
}

async function page(gateway: Gateway, cursor?: unknown, over: Partial<Call> = {}): Promise<Page> {
  const params = cursor === undefined ? {} : { cursor }
  return JSON.parse(resultText(await list(makeCall('tools/list', params, over), gateway))) as Page
}

const gatewayOf = (rows: RegistryRows): Promise<Gateway> => makeGateway(rows, () => assert.fail())
const isRefused = (error: unknown): boolean => error instanceof GatewayError && error.code === 'INVALID_CURSOR'

test('a list of exactly one page has no next one', async () => {
  const of = (count: number) => gatewayOf(registryRows([{ upstream: upstreamRow('u'), definitions: tools(count) }]))
  const whole = await page(await of(LIMITS.pageItems))
  assert.deepEqual([whole.tools.length, 'nextCursor' in whole], [LIMITS.pageItems, false])
  const gateway = await of(LIMITS.pageItems + 1)
  const first = await page(gateway)
  assert.equal(first.tools.length, LIMITS.pageItems)
  const rest = await page(gateway, first.nextCursor)
  assert.deepEqual(
    [rest.tools.map(({ name }) => name), rest.nextCursor],
    [[`u-${nameOf(LIMITS.pageItems)}`], undefined],
  )
})

test('a cursor goes on behind what was seen, also when the list has changed meanwhile', async () => {
  const rows = (definitions: ReturnType<typeof tools>, version: number) =>
    registryRows([{ upstream: upstreamRow('u'), definitions }], [], version)
  const before = await gatewayOf(rows(tools(LIMITS.pageItems + 5), 1))
  const { nextCursor } = await page(before)
  // The last one that was seen is gone, and one has come before it.
  const changed = [
    tool('a-new-one'),
    ...tools(LIMITS.pageItems + 5).filter(({ name }) => name !== nameOf(LIMITS.pageItems - 1)),
  ]
  const after = await gatewayOf(rows(changed, 2))
  const rest = await page(after, nextCursor)
  assert.deepEqual(
    rest.tools.map(({ name }) => name),
    [0, 1, 2, 3, 4].map((index) => `u-${nameOf(LIMITS.pageItems + index)}`),
  )
})

test('a cursor is ours, of this list and of this endpoint', async () => {
  const definitions = [...tools(LIMITS.pageItems + 1), resource('a://1')]
  const members = [{ upstream: 'u' }]
  const servers = [serverRow('v', { members }), serverRow('w', { members })]
  const gateway = await gatewayOf(registryRows([{ upstream: upstreamRow('u'), definitions }], servers))
  const cursor = (await page(gateway, undefined, { scope: 'v' })).nextCursor!
  assert.equal((await page(gateway, cursor, { scope: 'v' })).tools.length, 1)
  // One endpoint by two names.
  assert.equal((await page(gateway, cursor, { scope: 'id-v' })).tools.length, 1)
  for (const scope of ['', 'w']) await assert.rejects(page(gateway, cursor, { scope }), isRefused, scope)
  for (const method of ['resources/list', 'prompts/list', 'resources/templates/list'])
    await assert.rejects(list(makeCall(method, { cursor }, { scope: 'v' }), gateway), isRefused, method)
  const bytes = Buffer.from(cursor, 'base64url')
  for (let at = 0; at < bytes.length; at += 1) {
    const bad = Buffer.from(bytes)
    bad[at]! ^= 1
    await assert.rejects(page(gateway, bad.toString('base64url'), { scope: 'v' }), isRefused, `byte ${at}`)
  }
  const text = bytes.subarray(16)
  const others = createSealer([{ id: 1, key: Buffer.alloc(32, 8) }])
  const ours = createSealer([{ id: 1, key: Buffer.alloc(32, 7) }])
  const forged: [string, unknown][] = [
    ['without a MAC', text.toString('base64url')],
    ['with a MAC alone', bytes.subarray(0, 16).toString('base64url')],
    ['with a MAC of another key', Buffer.concat([others.mac('cursor', text), text]).toString('base64url')],
    ['with a MAC for another purpose', Buffer.concat([ours.mac('session', text), text]).toString('base64url')],
    ['that is empty', ''],
    ['that is too long', 'A'.repeat(100_000)],
    ['that is a number', 7],
    ['that is an object', {}],
  ]
  for (const [what, bad] of forged)
    await assert.rejects(page(gateway, bad, { scope: 'v' }), isRefused, `a cursor ${what}`)
})

test('a cursor of ours is read whatever the longest key before it', async () => {
  const end = LIMITS.uriChars - 'b://'.length
  for (const last of ['x'.repeat(end), '\u0001'.repeat(end)]) {
    const uris = [...Array.from({ length: LIMITS.pageItems - 1 }, (_, n) => `a://${n}`), `b://${last}`, 'c://']
    const gateway = await gatewayOf(registryRows([{ upstream: upstreamRow('u'), definitions: uris.map(resource) }]))
    const ask = async (params: object) =>
      JSON.parse(resultText(await list(makeCall('resources/list', params), gateway))) as { nextCursor?: string }
    const { nextCursor } = await ask({})
    assert.deepEqual(await ask({ cursor: nextCursor }), { resources: [{ uri: 'c://', name: 'c://' }] })
  }
})

test('a list needs the right to use things, whatever is kept in the cache', async () => {
  const gateway = await gatewayOf(registryRows([{ upstream: upstreamRow('u'), definitions: tools(1) }]))
  await page(gateway)
  await assert.rejects(page(gateway, undefined, { caller: { ...CALLER, rights: ['admin'] } }), { code: 'FORBIDDEN' })
})

test('the newer family is told how long and by whom a list may be kept', async () => {
  const rows = registryRows([
    { upstream: upstreamRow('a', {}, { ttlMs: 60_000 }), definitions: tools(1) },
    { upstream: upstreamRow('b', {}, { ttlMs: null }), definitions: tools(1) },
  ])
  const gateway = await gatewayOf(rows)
  const hinted = await page(gateway, undefined, MODERN)
  assert.deepEqual([hinted.ttlMs, hinted.cacheScope], [20_000, 'private'])
  assert.deepEqual(hinted._meta, { 'io.modelcontextprotocol/serverInfo': { name: 'mcp-gateway', version: '0.0.0' } })
  const open = await page({ ...gateway, open: true, pages: (await gatewayOf(rows)).pages }, undefined, MODERN)
  assert.equal(open.cacheScope, 'public')
  const short = await gatewayOf(
    registryRows([{ upstream: upstreamRow('a', {}, { ttlMs: 500 }), definitions: tools(1) }]),
  )
  assert.equal((await page(short, undefined, MODERN)).ttlMs, 500)
  assert.deepEqual(Object.keys(await page(gateway)), ['tools'])
})

test('a page that is kept is one of this version and of this endpoint', async () => {
  const rows = (name: string, version: number) =>
    registryRows(
      [
        { upstream: upstreamRow('u'), definitions: [tool(name)] },
        { upstream: upstreamRow('w'), definitions: [tool('other')] },
      ],
      [serverRow('one', { members: [{ upstream: 'u' }] }), serverRow('two', { members: [{ upstream: 'w' }] })],
      version,
    )
  const before = await gatewayOf(rows('old', 1))
  const after = { ...(await gatewayOf(rows('new', 2))), pages: before.pages }
  const shown = async (gateway: Gateway, scope: string): Promise<string[]> =>
    (await page(gateway, undefined, { scope })).tools.map(({ name }) => name)
  assert.deepEqual([await shown(before, 'one'), await shown(before, 'two')], [['u-old'], ['w-other']])
  assert.deepEqual([await shown(after, 'one'), await shown(after, '')], [['u-new'], ['u-new', 'w-other']])
})
