// The reader of answers, byte by byte: what it reads, what it refuses, and that cutting the bytes changes nothing.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { GatewayError } from '../core/errors.ts'
import { AnswerReader } from './answer-reader.ts'

const HEAD_BYTES_MAX = 1_024

interface Read {
  status: number
  headers: Record<string, string | undefined>
  body: string
  isWhole: boolean
  isKept: boolean
  timeoutSeconds: number
}

/** Reads pieces of `text`, each from the same buffer, as a link does; then the end of the connection, where that is said. */
function read(text: string, pieceBytes: number, isClosed = false): Read | string {
  const bytes = Buffer.from(text, 'latin1')
  const shared = Buffer.alloc(Math.max(pieceBytes, 8))
  const reader = new AnswerReader('up.example', HEAD_BYTES_MAX)
  const chunks: Buffer[] = []
  let head = { status: 0, headers: {} as Read['headers'] }
  reader.begin({
    onHead: (status, headers) => {
      assert.equal(head.status, 0, 'a second head')
      head = { status, headers: { ...headers } }
    },
    onData: (chunk) => chunks.push(chunk),
  })
  let isWhole = false
  let rest = 0
  try {
    for (let at = 0; at < bytes.length; at += pieceBytes) {
      // What stands behind the piece must never be read: an end of a head, of all things.
      shared.fill('\r\n\r\n')
      const length = bytes.copy(shared, 0, at, at + pieceBytes)
      if (isWhole) rest += length
      else isWhole = reader.push(shared, length)
    }
    if (isClosed && !isWhole) isWhole = reader.end()
  } catch (error) {
    assert.ok(error instanceof GatewayError, String(error))
    assert.match(error.message, /up\.example/)
    return error.code
  }
  const { isKept, timeoutSeconds } = reader
  const body = Buffer.concat(chunks).toString('latin1')
  return { ...head, body, isWhole, isKept: isKept && rest === 0, timeoutSeconds }
}

const cuts = (text: string): number[] => [text.length || 1, 1, 2, 3, 7]

const OK = 'HTTP/1.1 200 OK\r\n'
const CHUNKED = `${OK}transfer-encoding: chunked\r\n\r\n`

test('legal answers, however they are cut', () => {
  const table: [name: string, text: string, isClosed: boolean, expected: Partial<Read>][] = [
    ['sized', `${OK}Content-Length: 2\r\nX-A: 1\r\nx-a: 2\r\n\r\nok`, false, { body: 'ok', isKept: true }],
    ['empty', `${OK}content-length: 0\r\n\r\n`, false, { body: '', isKept: true }],
    ['leading zeros', `${OK}content-length: 0002\r\n\r\nok`, false, { body: 'ok', isKept: true }],
    ['no reason, no blank', 'HTTP/1.1 200\r\ncontent-length: 0\r\n\r\n', false, { status: 200, isKept: true }],
    ['odd reason', 'HTTP/1.1 299 \t\xe9 :x\r\ncontent-length: 0\r\n\r\n', false, { status: 299, isKept: true }],
    [
      'no blank before a value, many behind it',
      `${OK}a:b\r\nc: \t d e \t\r\nf:\r\ng:\xa0h\xa0\r\ncontent-length:1\r\n\r\nx`,
      false,
      { headers: { a: 'b', c: 'd e', f: '', g: '\xa0h\xa0', 'content-length': '1' }, body: 'x' },
    ],
    [
      'names of objects',
      `${OK}__proto__: p\r\nconstructor: c\r\ncontent-length: 0\r\n\r\n`,
      false,
      { headers: { ['__proto__']: 'p', constructor: 'c', 'content-length': '0' } },
    ],
    ['chunks', `${CHUNKED}2\r\nok\r\n00A\r\n0123456789\r\n0\r\n\r\n`, false, { body: 'ok0123456789', isKept: true }],
    ['upper case', `${OK}Transfer-Encoding: Chunked\r\n\r\nC\r\n0123456789ab\r\n00\r\n\r\n`, false, { isKept: true }],
    ['extensions', `${CHUNKED}2;a=b;c="d"\r\nok\r\n0;last\r\n\r\n`, false, { body: 'ok', isKept: true }],
    [
      'a trailer',
      `${CHUNKED}2\r\nok\r\n0\r\nx: y\r\nz:\r\n\r\n`,
      false,
      { headers: { 'transfer-encoding': 'chunked' }, body: 'ok', isWhole: true, isKept: true },
    ],
    ['until the end', `${OK}a: b\r\n\r\nall of it`, true, { body: 'all of it', isWhole: true, isKept: false }],
    ['until the end, nothing', `${OK}\r\n`, true, { body: '', isWhole: true, isKept: false }],
    ['no content', 'HTTP/1.1 204 No\r\n\r\n', false, { status: 204, isWhole: true, isKept: true }],
    ['no content, sized', 'HTTP/1.1 204 No\r\ncontent-length: 5\r\n\r\n', false, { isWhole: true, isKept: false }],
    ['304', 'HTTP/1.1 304 No\r\ncontent-length: 5\r\n\r\n', false, { status: 304, isWhole: true, isKept: false }],
    ['HTTP/1.0', 'HTTP/1.0 200 OK\r\ncontent-length: 2\r\nconnection: keep-alive\r\n\r\nok', false, { isKept: false }],
    ['HTTP/1.0 to the end', 'HTTP/1.0 200 OK\r\n\r\nok', true, { body: 'ok', isWhole: true, isKept: false }],
    ['close', `${OK}connection: x , Close\r\ncontent-length: 0\r\n\r\n`, false, { isWhole: true, isKept: false }],
    ['not close', `${OK}connection: closed, keep-alive\r\ncontent-length: 0\r\n\r\n`, false, { isKept: true }],
    [
      'hints',
      `HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\nlink: a\r\n\r\n${OK}content-length: 2\r\n\r\nok`,
      false,
      { status: 200, headers: { 'content-length': '2' }, body: 'ok', isKept: true },
    ],
    ['how long', `${OK}keep-alive: max=5, timeout=7\r\ncontent-length: 0\r\n\r\n`, false, { timeoutSeconds: 7 }],
    ['how long, nonsense', `${OK}keep-alive: timeout=-7\r\ncontent-length: 0\r\n\r\n`, false, { timeoutSeconds: -1 }],
    ['more than asked for', `${OK}content-length: 2\r\n\r\nok!`, false, { body: 'ok', isWhole: true, isKept: false }],
    ['a second answer', `${OK}content-length: 0\r\n\r\n${OK}content-length: 0\r\n\r\n`, false, { isKept: false }],
    ['chunks and more', `${CHUNKED}0\r\n\r\nHTTP/1.1 `, false, { isWhole: true, isKept: false }],
    // Not whole: their connection is lost, whoever closed it.
    ['cut head', OK, true, { status: 0, isWhole: false }],
    ['cut body', `${OK}content-length: 9\r\n\r\nok`, true, { body: 'ok', isWhole: false }],
    ['cut chunk', `${CHUNKED}9\r\nok`, true, { body: 'ok', isWhole: false }],
    ['cut chunks', `${CHUNKED}2\r\nok\r\n`, true, { body: 'ok', isWhole: false }],
    ['cut trailer', `${CHUNKED}2\r\nok\r\n0\r\nx: y\r\n`, true, { body: 'ok', isWhole: false }],
    ['cut end of chunks', `${CHUNKED}2\r\nok\r\n0\r\n`, true, { body: 'ok', isWhole: false }],
    ['nothing', '', true, { status: 0, isWhole: false }],
  ]
  for (const [name, text, isClosed, expected] of table) {
    for (const piece of cuts(text)) {
      const got = read(text, piece, isClosed)
      assert.ok(typeof got === 'object', `${name}, ${piece}: ${got}`)
      for (const [key, value] of Object.entries(expected)) {
        const mine: unknown = got[key as keyof Read]
        if (key === 'headers') assert.deepEqual(Object.entries(got.headers), Object.entries(value), `${name}, ${piece}`)
        else assert.equal(mine, value, `${name}, ${piece}: ${key}`)
      }
    }
  }
})

test('what could be read in two ways is refused, however it is cut', () => {
  const chunkedWith = (body: string): string => CHUNKED + body
  const withHeader = (line: string): string => `${OK}${line}content-length: 2\r\n\r\nok`
  const table: [name: string, text: string][] = [
    // Framing.
    ['both framings', `${OK}content-length: 2\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n`],
    ['both, the other way', `${OK}transfer-encoding: chunked\r\ncontent-length: 2\r\n\r\n2\r\nok\r\n0\r\n\r\n`],
    ['both, hidden in the case', `${OK}TRANSFER-ENCODING: CHUNKED\r\nCONTENT-LENGTH: 2\r\n\r\n0\r\n\r\n`],
    ['two lengths', `${OK}content-length: 2\r\ncontent-length: 3\r\n\r\nok!`],
    ['the same length twice', `${OK}content-length: 2\r\nContent-Length: 2\r\n\r\nok`],
    ...['2, 2', '2,3', '+2', '-2', '0x2', '2.0', '2e0', '', ' ', '2 2', 'two', '1234567890123456', '２'].map(
      (value): [string, string] => [`the length ${value}`, `${OK}content-length: ${value}\r\n\r\nok`],
    ),
    ...['identity', 'gzip, chunked', 'chunked, chunked', 'chunked, identity', 'xchunked', 'chunked;a=b', ''].map(
      (value): [string, string] => [`the coding ${value}`, `${OK}transfer-encoding: ${value}\r\n\r\n0\r\n\r\n`],
    ),
    ['the coding with another blank', `${OK}transfer-encoding: \x0bchunked\r\n\r\n0\r\n\r\n`],
    ['two codings', `${OK}transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n`],
    ['two codings, one empty', `${OK}transfer-encoding: chunked\r\ntransfer-encoding:\r\n\r\n0\r\n\r\n`],
    ['HTTP/1.0 in chunks', 'HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n'],
    ['a hint with a body', `HTTP/1.1 103 Early\r\ncontent-length: 2\r\n\r\nok${OK}content-length: 0\r\n\r\n`],
    ['a hint in chunks', `HTTP/1.1 100 Go\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n${OK}\r\n`],
    // Lines.
    ['a folded header', withHeader('a: b\r\n c\r\n')],
    ['a folded header, by tab', withHeader('a: b\r\n\tc\r\n')],
    ['a folded first line', `HTTP/1.1 200 OK\r\n a\r\ncontent-length: 0\r\n\r\n`],
    ['a blank before the colon', withHeader('a : b\r\n')],
    ['a blank before the colon of the length', `${OK}content-length : 2\r\n\r\nok`],
    ['a tab before the colon', withHeader('a\t: b\r\n')],
    ['a blank before the name', `${OK}content-length: 2\r\n transfer-encoding: chunked\r\n\r\n0\r\n\r\n`],
    ['no colon', withHeader('abc\r\n')],
    ['no name', withHeader(': b\r\n')],
    ['a name in quotes', withHeader('"a": b\r\n')],
    ['a name beyond ASCII', withHeader('\xe9: b\r\n')],
    ['NUL in a name', withHeader('a\0: b\r\n')],
    ['NUL in a value', withHeader('a: b\0\r\n')],
    ['NUL in the reason', 'HTTP/1.1 200 O\0K\r\ncontent-length: 0\r\n\r\n'],
    ['DEL in a value', withHeader('a: \x7f\r\n')],
    ['a bare line feed', withHeader('a: b\nc: d\r\n')],
    ['bare line feeds only', 'HTTP/1.1 200 OK\ncontent-length: 2\n\nok'],
    ['a bare line feed behind the status', 'HTTP/1.1 200 OK\ncontent-length: 0\r\n\r\n'],
    ['a bare line feed at the end of the head', `${OK}content-length: 2\r\n\nok\r\n\r\n`],
    ['a bare return', withHeader('a: b\rc: d\r\n')],
    ['a return too much', withHeader('a: b\r\r\n')],
    // The first line.
    ['another protocol', 'SSH-2.0-OpenSSH_9\r\n'],
    ['another protocol without an end', 'ICY 200'],
    ['TLS', '\x15\x03\x03\x00\x02\x02'],
    ['an empty line first', `\r\n${OK}content-length: 0\r\n\r\n`],
    ['a blank first', ` ${OK}content-length: 0\r\n\r\n`],
    ['small letters', 'http/1.1 200 OK\r\ncontent-length: 0\r\n\r\n'],
    ...['HTTP/2 200 OK', 'HTTP/2.0 200 OK', 'HTTP/1.2 200 OK', 'HTTP/1.11 200 OK', 'HTTP/1.1  200 OK'].map(
      (line): [string, string] => [line, `${line}\r\ncontent-length: 0\r\n\r\n`],
    ),
    ...['HTTP/1.1\t200 OK', 'HTTP/1.1 20 OK', 'HTTP/1.1 2000 OK', 'HTTP/1.1 099 OK', 'HTTP/1.1 -20 OK', 'HTTP/1.1'].map(
      (line): [string, string] => [line, `${line}\r\ncontent-length: 0\r\n\r\n`],
    ),
    // Chunks.
    ['no size', chunkedWith('\r\nok\r\n0\r\n\r\n')],
    ['a size in decimals beyond', chunkedWith('g\r\nok\r\n0\r\n\r\n')],
    ['a size with a prefix', chunkedWith('0x2\r\nok\r\n0\r\n\r\n')],
    ['a signed size', chunkedWith('+2\r\nok\r\n0\r\n\r\n')],
    ['a negative size', chunkedWith('-2\r\nok\r\n0\r\n\r\n')],
    ['a blank before the size', chunkedWith(' 2\r\nok\r\n0\r\n\r\n')],
    ['a blank behind the size', chunkedWith('2 \r\nok\r\n0\r\n\r\n')],
    ['an enormous size', chunkedWith('1000000000000\r\nok\r\n0\r\n\r\n')],
    ['a size that wraps', chunkedWith('ffffffffffffffff2\r\nok\r\n0\r\n\r\n')],
    ['a size with a line feed only', chunkedWith('2\nok\r\n0\r\n\r\n')],
    ['a size with a return only', chunkedWith('2\rok\r\n0\r\n\r\n')],
    ['a bare line feed in an extension', chunkedWith('2;a\nb\r\nok\r\n0\r\n\r\n')],
    ['a bare return in an extension', chunkedWith('2;a\rb\r\nok\r\n0\r\n\r\n')],
    ['NUL in an extension', chunkedWith('2;a\0\r\nok\r\n0\r\n\r\n')],
    ['a chunk too long', chunkedWith('2\r\nokk\r\n0\r\n\r\n')],
    ['a chunk too short', chunkedWith('3\r\nok\r\n0\r\n\r\n')],
    ['a chunk with a line feed only', chunkedWith('2\r\nok\n0\r\n\r\n')],
    ['a chunk with a return only', chunkedWith('2\r\nok\r0\r\n\r\n')],
    ['a line feed behind the last chunk', chunkedWith('2\r\nok\r\n0\r\n\rX')],
    ['a folded trailer', chunkedWith('0\r\na: b\r\n c\r\n\r\n')],
    ['a blank first in a trailer', chunkedWith('0\r\n a: b\r\n\r\n')],
    ['a trailer without a colon', chunkedWith('0\r\nHTTP/1.1 200 OK\r\n\r\n')],
    ['a bare line feed in a trailer', chunkedWith('0\r\na: b\n\r\n\r\n')],
    ['a length in a trailer', chunkedWith('0\r\nContent-Length: 3\r\n\r\n')],
    ['a coding in a trailer', chunkedWith('0\r\na: b\r\ntransfer-encoding: chunked\r\n\r\n')],
    ['a line feed for a trailer', chunkedWith('0\r\n\n\r\n\r\n')],
    // Bounds.
    ['a long trailer', chunkedWith(`0\r\na: ${'b'.repeat(HEAD_BYTES_MAX)}\r\n\r\n`)],
    ['a long head', `${OK}a: ${'b'.repeat(HEAD_BYTES_MAX)}\r\n\r\n`],
    ['a long head without end', `${OK}a: ${'b'.repeat(HEAD_BYTES_MAX)}`],
    ['hints without end', 'HTTP/1.1 103 Early\r\n\r\n'.repeat(60)],
    ['long extensions', chunkedWith(`2;${'a'.repeat(400)}\r\nok\r\n`.repeat(4))],
  ]
  for (const [name, text] of table) {
    for (const piece of cuts(text)) {
      assert.equal(read(text, piece, true), 'UPSTREAM_INVALID', `${name}, in pieces of ${piece}`)
    }
  }
  assert.equal(read('HTTP/1.1 101 Switching\r\nupgrade: x\r\n\r\n', 99), 'UPSTREAM_UNAVAILABLE')
})

test('data is handed on as it comes, and stays what it was', () => {
  const reader = new AnswerReader('up.example', HEAD_BYTES_MAX)
  const chunks: Buffer[] = []
  reader.begin({ onHead() {}, onData: (chunk) => chunks.push(chunk) })
  const shared = Buffer.alloc(100)
  const push = (text: string): boolean => reader.push(shared, shared.write(text, 'latin1'))
  assert.equal(push(CHUNKED), false)
  assert.equal(push('3\r\nab'), false)
  assert.deepEqual(chunks.map(String), ['ab'])
  assert.equal(push('c\r\n1\r\nd\r\n'), false)
  assert.equal(push('0\r\n\r\n'), true)
  assert.deepEqual(chunks.map(String), ['ab', 'c', 'd'])
})

test('nothing is handed on after a stop, from within a callback neither', () => {
  for (const text of [`${OK}content-length: 3\r\n\r\nabc`, `${CHUNKED}1\r\na\r\n1\r\nb\r\n0\r\n\r\n`]) {
    for (const stopAt of [1, 2]) {
      const reader = new AnswerReader('up.example', HEAD_BYTES_MAX)
      let calls = 0
      const count = (): void => {
        calls += 1
        if (calls === stopAt) reader.stop()
      }
      reader.begin({ onHead: count, onData: count })
      const bytes = Buffer.from(text)
      assert.equal(reader.push(bytes, bytes.length), false)
      assert.equal(reader.end(), false)
      assert.equal(calls, stopAt)
    }
  }
})

test('a header that is kept does not keep a long head alive', () => {
  setFlagsFromString('--expose-gc')
  const collect = runInNewContext('gc') as () => void
  const kept: unknown[] = []
  const reader = new AnswerReader('up.example', 40_000)
  const bytes = Buffer.from(
    `${OK}x: ${'y'.repeat(30_000)}\r\nMcp-Session-Id: ${'s'.repeat(36)}\r\ncontent-length: 0\r\n\r\n`,
  )
  collect()
  const before = process.memoryUsage().heapUsed
  for (let count = 0; count < 1_000; count += 1) {
    reader.begin({ onHead: (_, headers) => kept.push(headers['mcp-session-id']), onData() {} })
    assert.equal(reader.push(bytes, bytes.length), true)
  }
  collect()
  const grown = process.memoryUsage().heapUsed - before
  assert.equal(kept.length, 1_000)
  assert.ok(grown < 10_000_000, `${grown} bytes for 1,000 session ids of 36`)
})
