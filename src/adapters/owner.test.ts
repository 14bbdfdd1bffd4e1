import assert from 'node:assert/strict'
import { test } from 'node:test'
import { isForeign } from './owner.ts'

test("what belongs to another user is foreign, but not what is ours or root's, and nothing is to root", () => {
  const cases: [owner: number, us: number, foreign: boolean][] = [
    [1000, 1000, false],
    [0, 1000, false],
    [1001, 1000, true],
    [65534, 1000, true],
    [1000, 0, false],
  ]
  for (const [owner, us, foreign] of cases) assert.equal(isForeign(owner, us), foreign, `${owner} seen by ${us}`)
})
