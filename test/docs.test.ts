// References that are made from code are as fresh as the code: `npm run docs` makes them.

import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { DOCUMENTS } from '../scripts/docs.ts'

for (const [file, make] of Object.entries(DOCUMENTS)) {
  test(`${file} is fresh`, async () => {
    assert.equal(readFileSync(join(import.meta.dirname, '..', file), 'utf8'), await make(), 'run `npm run docs`')
  })
}
