import assert from 'node:assert/strict'
import { test } from 'node:test'
import { createLog } from './log.ts'

function lines(format: 'json' | 'text', message: string): string[] {
  const written: string[] = []
  const log = createLog({ level: 'info', format, write: (line) => written.push(line), now: () => 0 })
  log.info('event', { message, nested: { message }, error: new Error(message), absent: undefined })
  log.debug('event')
  return written
}

test('a line is one line, and nothing in it that a terminal would obey, whatever strangers say', () => {
  const evil = 'a\n12:00:00 error forged\r\u001b[2J\u009b31m\u007f\u2028b'
  for (const format of ['json', 'text'] as const) {
    const written = lines(format, evil)
    assert.equal(written.length, 1)
    assert.match(written[0]!, /^[^\u0000-\u001f\u007f-\u009f\u2028\u2029]+\n$/)
  }
  const { message, nested, error } = JSON.parse(lines('json', evil)[0]!) as Record<string, unknown>
  assert.deepEqual([message, nested, error], [evil, { message: evil }, `Error: ${evil}`])
  assert.equal(
    lines('text', 'hello')[0],
    '00:00:00 info  event message=hello nested={"message":"hello"} error="Error: hello"\n',
  )
})
