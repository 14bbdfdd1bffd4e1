import assert from 'node:assert/strict'
import { PassThrough } from 'node:stream'
import { test } from 'node:test'
import { setImmediate as turn } from 'node:timers/promises'
import { LineReader } from './lines.ts'

function read(lineBytes = 1000, sliceMs = 5) {
  const stream = new PassThrough()
  const lines: string[] = []
  const state = { tooLong: 0 }
  const reader = new LineReader(stream, {
    lineBytes,
    sliceMs,
    onLine: (line) => lines.push(line.toString()),
    onTooLong: () => {
      state.tooLong += 1
    },
  })
  return { stream, lines, state, reader }
}

const CASES: [string, string[], string[]][] = [
  ['whole lines', ['a\nb\n'], ['a', 'b']],
  ['a line in pieces', ['a', 'b', 'c\nd', '\n'], ['abc', 'd']],
  ['carriage returns and empty lines', ['a\r\n\r\n\nb\r', '\n'], ['a', 'b']],
  ['a last line without its end', ['a\nb'], ['a', 'b']],
  ['characters cut in two', ['\u00e4\u20ac', '\u{1f600}\n'], ['\u00e4\u20ac\u{1f600}']],
]
for (const [name, chunks, expected] of CASES) {
  test(`lines: ${name}`, async () => {
    const { stream, lines } = read()
    for (const chunk of chunks) stream.write(chunk)
    stream.end()
    await new Promise((resolve) => stream.once('end', resolve))
    assert.deepEqual(lines, expected)
  })
}

test('every cut of a text into two gives the same lines', async () => {
  const text = Buffer.from('one\r\ntwo\n\u00fcber\nfour')
  for (let cut = 0; cut <= text.length; cut += 1) {
    const { stream, lines } = read()
    stream.write(text.subarray(0, cut))
    stream.end(text.subarray(cut))
    await new Promise((resolve) => stream.once('end', resolve))
    assert.deepEqual(lines, ['one', 'two', '\u00fcber', 'four'])
  }
})

test('a line over its bound is reported once and ends the reading', async () => {
  for (const chunks of [['x'.repeat(11)], ['x'.repeat(6), 'x'.repeat(5)], ['ok\n', 'x'.repeat(11), '\nlate\n']]) {
    const { stream, lines, state } = read(10)
    for (const chunk of chunks) stream.write(chunk)
    await turn()
    assert.equal(state.tooLong, 1)
    assert.ok(!lines.includes('late'))
  }
})

test('a held reader gives nothing more until it is released, and then everything in order', async () => {
  const stream = new PassThrough()
  const lines: string[] = []
  const reader: LineReader = new LineReader(stream, {
    lineBytes: 100,
    sliceMs: 5,
    onLine: (line) => {
      lines.push(line.toString())
      if (lines.length === 2) reader.hold()
    },
    onTooLong: () => assert.fail(),
  })
  stream.write('1\n2\n3\n4')
  stream.write('\n5\n')
  await turn()
  await turn()
  assert.deepEqual(lines, ['1', '2'])
  reader.release()
  await turn()
  assert.deepEqual(lines, ['1', '2', '3', '4', '5'])
})

test('a flood of lines gives way after each slice', async () => {
  const { stream, lines } = read(1000, 0)
  stream.write('x\n'.repeat(1000))
  await new Promise((resolve) => process.nextTick(resolve))
  assert.ok(lines.length < 1000, `${lines.length} lines in one go`)
  while (lines.length < 1000) await turn()
  assert.equal(lines.length, 1000)
})
