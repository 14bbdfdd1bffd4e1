// Messages of ours that wait for no answer, on a link that a test plays: how many, for how long, and how much is read.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { GatewayError } from '../core/errors.ts'
import { LIMITS, type Limits } from '../core/limits.ts'
import type { Link, LinkHandler, LinkRequest } from '../http/link.ts'
import { createWire, Ids } from './ask.ts'
import { createHttpPeer, endSession, type HttpPeer, post, withoutVersion } from './http-peer.ts'

interface Sent {
  readonly request: LinkRequest
  readonly handler: LinkHandler
  isAborted: boolean
}

function setUp(limits: Partial<Limits> = {}): { readonly peer: HttpPeer; readonly sent: Sent[] } {
  const sent: Sent[] = []
  const link: Link = {
    inFlight: 0,
    request(request, handler) {
      const one: Sent = { request, handler, isAborted: false }
      sent.push(one)
      return {
        begun: true,
        abort: () => {
          one.isAborted = true
        },
        pause: () => {},
        resume: () => {},
      }
    },
    close: async () => {},
  }
  const peer = createHttpPeer({
    ...{ name: 'up', link, path: '/mcp?x=1', sessionId: 's-1', ids: new Ids(0), limits: { ...LIMITS, ...limits } },
    ...{ wire: createWire('legacy', '2025-11-25', '9'), version: '9', staticHeaders: ['X-Key', 'k'] },
  })
  return { peer, sent }
}

const NOTICE = Buffer.from('{}')

test('a notice goes out with the headers of its session, and says whether it was taken', () => {
  for (const [status, taken] of [
    [200, true],
    [202, true],
    [299, true],
    [300, false],
    [404, false],
    [500, false],
  ] as const) {
    const { peer, sent } = setUp()
    const told: boolean[] = []
    post(peer, NOTICE, (was) => told.push(was))
    const { request, handler } = sent[0]!
    assert.deepEqual([request.method, request.path, request.body], ['POST', '/mcp?x=1', NOTICE])
    assert.equal(request.headers, peer.headers)
    handler.onHead(status, {})
    handler.onEnd()
    handler.onEnd()
    assert.deepEqual([told, sent[0]!.isAborted], [[taken], false], String(status))
  }
})

test('a session is ended by DELETE, and one that cannot be ended is over all the same', () => {
  const { peer, sent } = setUp()
  let ended = 0
  endSession(peer, () => {
    ended += 1
  })
  assert.deepEqual([sent[0]!.request.method, sent[0]!.request.body], ['DELETE', null])
  assert.ok(sent[0]!.request.headers.includes('s-1'))
  sent[0]!.handler.onError(new GatewayError('UPSTREAM_UNAVAILABLE'), true)
  assert.equal(ended, 1)
})

test('more notices than the bound are dropped, until one has ended', () => {
  const { peer, sent } = setUp({ upstreamNoticesMax: 2 })
  const told: string[] = []
  for (const name of ['a', 'b', 'c']) post(peer, NOTICE, (taken) => told.push(`${name} ${taken}`))
  assert.deepEqual([sent.length, told], [2, ['c false']])
  sent[0]!.handler.onHead(202, {})
  sent[0]!.handler.onEnd()
  post(peer, NOTICE, (taken) => told.push(`d ${taken}`))
  assert.deepEqual([sent.length, told], [3, ['c false', 'a true']])
})

test('an upstream that does not answer a notice is not waited for, and makes room for the next one', async () => {
  const { peer, sent } = setUp({ upstreamNoticeMs: 5, upstreamNoticesMax: 1 })
  assert.equal(await new Promise((resolve) => post(peer, NOTICE, resolve)), false)
  assert.equal(sent[0]!.isAborted, true)
  // What comes late counts for nothing.
  sent[0]!.handler.onEnd()
  post(peer, NOTICE)
  assert.equal(sent.length, 2)
})

test('no more of an answer is read than of a refusal', () => {
  const { peer, sent } = setUp({ upstreamErrorBytes: 10 })
  const told: boolean[] = []
  post(peer, NOTICE, (taken) => told.push(taken))
  const { handler } = sent[0]!
  handler.onHead(202, {})
  handler.onData(Buffer.alloc(10))
  assert.deepEqual([told, sent[0]!.isAborted], [[], false])
  handler.onData(Buffer.alloc(1))
  assert.deepEqual([told, sent[0]!.isAborted], [[true], true])
})

test('a peer before its session names neither version nor session', () => {
  const { peer } = setUp()
  const before = withoutVersion({ ...peer })
  assert.ok(peer.headers.includes('mcp-protocol-version') && !before.headers.includes('mcp-protocol-version'))
  assert.equal(before.headers.length, peer.headers.length - 2)
})
