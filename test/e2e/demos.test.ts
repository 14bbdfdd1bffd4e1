// The demo upstreams by themselves, with the official SDK's clients of both families.

import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import { startDemoHttp } from '../../examples/demo-http/server.mjs'
import { connectPeer, PEER_KINDS, textOf } from './peers.ts'

const demo = await startDemoHttp()
after(() => demo.close())

const NAMES = (items: readonly { name?: unknown }[]): unknown[] => items.map((item) => item.name)

for (const kind of PEER_KINDS) {
  test(`the demo over HTTP, ${kind}`, async () => {
    const peer = await connectPeer(kind, { url: demo.url })
    try {
      assert.equal(peer.era, kind === 'sdk 2.x auto' ? 'modern' : 'legacy')
      assert.equal(peer.server?.name, 'demo-http')
      assert.deepEqual(NAMES(await peer.tools()), ['add', 'word_count', 'now'])
      assert.deepEqual(NAMES(await peer.prompts()), ['summarize'])
      assert.deepEqual(NAMES(await peer.resources()), ['about'])
      assert.deepEqual(NAMES(await peer.templates()), ['greeting'])
      const sum = await peer.call('add', { a: 2, b: 3 })
      assert.deepEqual([textOf(sum), sum.structuredContent], ['5', { sum: 5 }])
      assert.equal(textOf(await peer.call('word_count', { text: 'one two  three' })), '3')
      assert.match(textOf(await peer.call('now', { timeZone: 'Europe/Zurich' })), /\d\d:\d\d:\d\d/)
      assert.equal((await peer.call('now', { timeZone: 'Nowhere' })).isError, true)
      assert.match(JSON.stringify(await peer.prompt('summarize', { text: 'long' })), /one sentence:\\n\\nlong/)
      assert.match(JSON.stringify(await peer.read('demo://greetings/J%C3%BCrg')), /Hello, Jürg!/)
      await assert.rejects(peer.read('demo://nothing'), /Unknown resource/)
    } finally {
      await peer.close()
    }
  })

  test(`the demo over stdio, ${kind}`, async () => {
    const script = new URL('../../examples/demo-stdio/server.mjs', import.meta.url).pathname
    const peer = await connectPeer(kind, { command: process.execPath, args: [script] })
    try {
      assert.equal(peer.era, 'legacy')
      assert.deepEqual(NAMES(await peer.tools()), ['remember', 'recall', 'echo'])
      assert.equal(textOf(await peer.call('recall')), 'No notes.')
      await peer.call('remember', { text: 'buy milk' })
      await peer.call('remember', { text: 'call Ann' })
      assert.equal(textOf(await peer.call('recall', { word: 'MILK' })), 'buy milk')
      assert.equal((await peer.call('remember', {})).isError, true)
      assert.match(JSON.stringify(await peer.prompt('review')), /buy milk\\ncall Ann/)
    } finally {
      await peer.close()
    }
  })
}
