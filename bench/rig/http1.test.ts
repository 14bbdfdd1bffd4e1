import assert from 'node:assert/strict'
import { test } from 'node:test'
import { headerOf, type Response, ResponseReader } from './http1.ts'

const STREAM =
  'HTTP/1.1 202 Accepted\r\nDate: now\r\n\r\n' +
  'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\ncontent-length: 5\r\n\r\nhello' +
  'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nA\r\n0123456789\r\n0\r\n\r\n' +
  'HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\nMcp-Session-Id: x1\r\n\r\nno'

test('responses are read alike however their bytes are cut', () => {
  const bytes = Buffer.from(STREAM)
  for (let step = 1; step <= bytes.length; step++) {
    const seen: Response[] = []
    const reader = new ResponseReader((response) => seen.push(response))
    for (let at = 0; at < bytes.length; at += step) reader.push(bytes.subarray(at, at + step))
    assert.deepEqual(
      seen.map((response) => [response.status, response.body.toString()]),
      [
        [202, ''],
        [200, 'hello'],
        [200, 'abc0123456789'],
        [404, 'no'],
      ],
      `step ${step}`,
    )
    assert.equal(headerOf(seen[3]!.head, 'mcp-session-id'), 'x1')
  }
})

test('what is no response is refused', () => {
  for (const bytes of ['SMTP 220 hi\r\n\r\n', 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n'])
    assert.throws(() => new ResponseReader(() => {}).push(Buffer.from(bytes)))
})
