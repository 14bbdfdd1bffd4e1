import assert from 'node:assert/strict'
import { test } from 'node:test'
import { makeCall } from '../../test/fakes/call.ts'
import type { Reply } from '../core/call.ts'
import { GatewayError } from '../core/errors.ts'
import { type CallRecord, tapped } from './tap.ts'

const result = (value: object): Reply => ({ result: Buffer.from(JSON.stringify(value)) })

async function tell(method: string, params: object, answer: () => Reply): Promise<CallRecord[]> {
  const told: CallRecord[] = []
  const dispatch = tapped(
    async () => answer(),
    (record) => told.push(record),
  )
  await dispatch(makeCall(method, params)).catch(() => null)
  return told
}

const params = { name: 'add', arguments: { a: 1 } }
for (const [what, answer, outcome, message] of [
  ['a good result', () => result({ content: [] }), 'ok', null],
  [
    'one in parts',
    () => ({ result: [Buffer.from('{"isError":true,'), Buffer.from('"content":[{"text":"no"}]}')] }),
    'failed',
    'no',
  ],
  ['a tool that failed', () => result({ isError: true, content: [{ type: 'text', text: 'no' }] }), 'failed', 'no'],
  ['text that only speaks of it', () => result({ content: [{ type: 'text', text: '"isError":true' }] }), 'ok', null],
  ['an error of the server', () => ({ error: Buffer.from('{"code":1,"message":"bad"}') }), 'failed', 'bad'],
  ['a question', () => result({ resultType: 'input_required' }), 'asks', null],
  ['a very large result', () => result({ isError: true, text: 'x'.repeat(1024 * 1024) }), 'ok', null],
] as const) {
  test(`${what} is told as "${outcome}"`, async () => {
    const [record, ...more] = await tell('tools/call', params, answer as () => Reply)
    assert.deepEqual(more, [])
    assert.ok(record!.ms >= 0)
    assert.deepEqual(
      { ...record, ms: 0 },
      { ms: 0, method: 'tools/call', name: 'add', arguments: '{"a":1}', outcome, message },
    )
  })
}

test('a refusal of the gateway is told and thrown; what only lists is not told', async () => {
  const refuse = (): never => {
    throw new GatewayError('NOT_FOUND', 'no such tool')
  }
  const [record] = await tell('tools/call', params, refuse)
  assert.deepEqual([record!.outcome, record!.message], ['refused', 'NOT_FOUND no such tool'])
  const dispatch = tapped(refuse, () => {})
  await assert.rejects(dispatch(makeCall('tools/call', params)), { code: 'NOT_FOUND' })
  assert.deepEqual(await tell('tools/list', {}, () => result({})), [])
})
