import assert from 'node:assert/strict'
import { test } from 'node:test'
import { areas, selfTimes } from './profile.ts'

test('samples are summed by function, most first', () => {
  const frame = (functionName: string, url: string) => ({ functionName, url, lineNumber: 4 })
  const times = selfTimes({
    nodes: [
      { id: 1, callFrame: frame('(idle)', '') },
      { id: 2, callFrame: frame('handle', 'file:///somewhere/dist/call/handle.js') },
      { id: 3, callFrame: frame('', 'file:///somewhere/node_modules/undici/lib/a.js') },
      { id: 4, callFrame: frame('handle', 'file:///somewhere/dist/call/handle.js') },
    ],
    samples: [2, 3, 4, 1],
    timeDeltas: [10, 30, 25, 5],
  })
  assert.deepEqual(times, [
    { where: 'handle dist/call/handle.js:5', us: 35 },
    { where: '(anonymous) node_modules/undici/lib/a.js:5', us: 30 },
    { where: '(idle)', us: 5 },
  ])
})

test('functions are summed by the part of the program that they belong to', () => {
  const times = [
    { where: 'handle dist/call/handle.js:5', us: 35 },
    { where: 'list dist/call/list.js:9', us: 5 },
    { where: '(anonymous) node_modules/undici/lib/a.js:5', us: 30 },
    { where: 'wasm-function[20] wasm://wasm/1:1', us: 3 },
    { where: 'end node:_http_outgoing:7', us: 20 },
    { where: 'hash node:internal/crypto/hash:294', us: 2 },
    { where: 'writev', us: 9 },
    { where: '(garbage collector)', us: 8 },
  ]
  assert.deepEqual(
    [...areas(times)],
    [
      ['dist/call', 40],
      ['undici', 33],
      ['node: http, net, streams, timers', 20],
      ['native: system calls, strings, buffers', 9],
      ['garbage collection', 8],
      ['node: all else', 2],
    ],
  )
})
