import assert from 'node:assert/strict'
import { test } from 'node:test'
import { selfTimes } from './profile.ts'

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
