// The straight line itself: nothing goes out that was not authorized, hooks see each call, shapes fit what was listed.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { makeCall, makeGateway, resultText } from '../../test/fakes/call.ts'
import { prompt, registryRows, resource, tool, upstreamRow } from '../../test/fakes/registry.ts'
import type { Call, Reply } from '../core/call.ts'
import { GatewayError } from '../core/errors.ts'
import { createDispatch } from './dispatch.ts'
import type { Gateway } from './gateway.ts'
import type { Hooks } from './run-hooks.ts'

const MODERN = { era: 'modern', revision: '2026-07-28' } as const
const ROWS = registryRows([
  {
    upstream: upstreamRow('u', { validate: 'both' }),
    definitions: [tool('t'), tool('list', { outputSchema: { type: 'array' } }), prompt('p'), resource('a://1')],
  },
])
const HELLO = { protocolVersion: '2025-11-25', capabilities: {}, clientInfo: { name: 'c', version: '1' } }
const ARGUMENT = { name: 'x', value: '' }

const METHODS: [string, object, Partial<Call>][] = [
  ['tools/call', { name: 'u-t', arguments: {} }, {}],
  ['prompts/get', { name: 'u-p' }, {}],
  ['resources/read', { uri: 'a://1' }, {}],
  ['resources/read', { uri: 'b://unlisted' }, {}],
  ['completion/complete', { ref: { type: 'ref/prompt', name: 'u-p' }, argument: ARGUMENT }, {}],
  ['tools/list', {}, {}],
  ['prompts/list', {}, {}],
  ['resources/list', {}, {}],
  ['resources/templates/list', {}, {}],
  ['initialize', HELLO, {}],
  ['server/discover', {}, MODERN],
]
for (const [method, params, over] of METHODS) {
  test(`${method} ${JSON.stringify(params).slice(0, 30)} is nothing without authorization`, async () => {
    const gateway = await makeGateway(ROWS, () => assert.fail('it went out'))
    const refuse = (): never => {
      throw new GatewayError('FORBIDDEN')
    }
    const dispatch = createDispatch({ ...gateway, authorize: refuse })
    await assert.rejects(dispatch(makeCall(method, params, over)), { code: 'FORBIDDEN' })
  })
}

const hooked = async (
  hooks: Partial<Hooks>,
  answer: (params: string) => Reply,
): Promise<(call: Call) => Promise<Reply>> => {
  const gateway: Gateway = await makeGateway(ROWS, (out) => answer(out.params.toString()))
  return createDispatch({ ...gateway, hooks: { before: [], after: [], ...hooks } })
}

test('hooks run in their order: those before may change what goes out, those after the answer', async () => {
  const seen: string[] = []
  const run = await hooked(
    {
      before: [
        (_call, target, out) => {
          seen.push(`first ${target.kind}`)
          return { ...out, params: Buffer.from('{"name":"t","arguments":{"a":1}}') }
        },
        async (_call, _target, out) => {
          seen.push(`second ${out.params}`)
          return out
        },
      ],
      after: [
        (_call, _target, reply) => {
          seen.push(`after ${resultText(reply)}`)
          return { result: Buffer.from('{"content":[1]}') }
        },
        async (_call, _target, reply) => {
          seen.push(`last ${resultText(reply)}`)
          return reply
        },
      ],
    },
    (params) => {
      seen.push(`sent ${params}`)
      return { result: Buffer.from('{"content":[]}') }
    },
  )
  assert.equal(resultText(await run(makeCall('tools/call', { name: 'u-t', arguments: {} }))), '{"content":[1]}')
  const changed = '{"name":"t","arguments":{"a":1}}'
  assert.deepEqual(seen, [
    'first tool',
    `second ${changed}`,
    `sent ${changed}`,
    'after {"content":[]}',
    'last {"content":[1]}',
  ])
})

test('a hook that refuses keeps the call in, or the answer', async () => {
  const refuse = (): never => {
    throw new GatewayError('FORBIDDEN')
  }
  const before = await hooked({ before: [refuse] }, () => assert.fail('it went out'))
  await assert.rejects(before(makeCall('prompts/get', { name: 'u-p' })), { code: 'FORBIDDEN' })
  const after = await hooked({ after: [refuse] }, () => ({ result: Buffer.from('{}') }))
  await assert.rejects(after(makeCall('resources/read', { uri: 'a://1' })), { code: 'FORBIDDEN' })
})

test('an older client gets structured content in the form that its list has told it, checked by the schema itself', async () => {
  const answered = async (content: unknown, over: Partial<Call>): Promise<Record<string, unknown>> => {
    const result = Buffer.from(JSON.stringify({ content: [], structuredContent: content }))
    const dispatch = createDispatch(await makeGateway(ROWS, () => ({ result })))
    return JSON.parse(resultText(await dispatch(makeCall('tools/call', { name: 'u-list' }, over))))
  }
  assert.deepEqual((await answered([1], {})).structuredContent, { result: [1] })
  assert.deepEqual((await answered([1], MODERN)).structuredContent, [1])
  assert.equal((await answered({ no: 'list' }, {})).isError, true)
  assert.equal((await answered({ no: 'list' }, MODERN)).isError, true)
})

test('a newer client is told how long what an older server read may be kept', async () => {
  const dispatch = createDispatch(await makeGateway(ROWS, () => ({ result: Buffer.from('{"contents":[]}') })))
  assert.equal(
    resultText(await dispatch(makeCall('resources/read', { uri: 'a://1' }, MODERN))),
    '{"resultType":"complete","ttlMs":0,"cacheScope":"private","contents":[]}',
  )
})
