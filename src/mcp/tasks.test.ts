import assert from 'node:assert/strict'
import { test } from 'node:test'
import { createSealer } from './seal.ts'
import {
  changeAt,
  declaresTasks,
  memberOf,
  openTaskId,
  readTask,
  sealTaskId,
  wantsTask,
  withMember,
  withTasks,
} from './tasks.ts'

const sealer = createSealer([{ id: 1, key: Buffer.alloc(32, 7) }])
const name = { upstreamId: '0190-up', taskId: 'täsk "1"' }

test('a task is followed by its caller alone', () => {
  const id = sealTaskId(sealer, 'one', name)
  assert.deepEqual(openTaskId(sealer, 'one', id), name)
  assert.equal(openTaskId(sealer, 'two', id), null)
  for (const other of [id.slice(1), `${id}A`, '', 'x'.repeat(5_000), 7, null, undefined])
    assert.equal(openTaskId(sealer, 'one', other), null)
  assert.match(id, /^[\w-]+$/, 'it stands in a header')
})

test('one value is changed, and every other byte stays', () => {
  const text = '{ "a":1e400,"task":{"taskId" : "x","n":12345678901234567890}, "z":null}'
  const change = (raw: Buffer): Buffer => Buffer.from(`<${raw}>`)
  const changed = (path: string[]): string => changeAt(Buffer.from(text), path, change).toString()
  assert.equal(changed(['task', 'taskId']), text.replace('"x"', '<"x">'))
  assert.equal(changed(['task', 'none']), text)
  assert.equal(changed(['a', 'b']), text)
})

test('a member more, of an object with members and of one without', () => {
  assert.equal(withMember(Buffer.from('{}'), 'a', '1').toString(), '{"a":1}')
  assert.equal(withMember(Buffer.from('{ }'), 'a', '1').toString(), '{"a":1 }')
  assert.equal(withMember(Buffer.from('{"b":2}'), 'a', '1').toString(), '{"a":1,"b":2}')
  assert.equal(memberOf(Buffer.from('{"a": [1] }'), 'a')?.toString(), '[1]')
})

const results: [string, string | null][] = [
  ['{"resultType":"task","taskId":"a","status":"working"}', 'a'],
  ['{"task":{"taskId":"b","status":"working"}}', 'b'],
  ['{"content":[]}', null],
  ['{"task":{"taskId":7}}', null],
  ['{"task":[]}', null],
  [`{"task":{"taskId":"${'x'.repeat(1_025)}"}}`, null],
]
for (const [result, taskId] of results)
  test(`${result.slice(0, 40)} names ${taskId}`, () =>
    assert.equal(readTask(Buffer.from(result))?.taskId ?? null, taskId))

test('what clients declare, and what servers miss', () => {
  const tasks = '{"extensions":{"io.modelcontextprotocol/tasks":{}}}'
  assert.ok(declaresTasks(Buffer.from(tasks)))
  assert.ok(!declaresTasks(null))
  assert.ok(!declaresTasks(Buffer.from('{"x":"io.modelcontextprotocol/tasks"}')))
  assert.deepEqual(JSON.parse(withTasks(Buffer.from('{"sampling":{},"extensions":{"a/b":{}}}')).toString()), {
    sampling: {},
    extensions: { 'a/b': {}, 'io.modelcontextprotocol/tasks': {} },
  })
  assert.ok(declaresTasks(withTasks(null)))
  const missing = (code: number, required: string): boolean =>
    wantsTask(Buffer.from(`{"code":${code},"message":"m","data":{"requiredCapabilities":${required}}}`))
  assert.ok(missing(-32021, tasks))
  assert.ok(!missing(-32021, '{"sampling":{}}'))
  assert.ok(!missing(-32020, tasks))
})
