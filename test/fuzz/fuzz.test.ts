// The short form of `npm run fuzz`: one fixed seed and one of today, so that CI repeats itself and still looks further.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { fuzz } from './run.ts'

for (const seed of [1, Math.floor(Date.now() / 86_400_000) * 1_000_000]) {
  test(`20,000 cases from seed ${seed}`, async (context) => {
    const { branches } = await fuzz(seed, 20_000)
    let hit = 0
    let all = 0
    for (const [file, part] of branches) {
      hit += part.hit
      all += part.all
      context.diagnostic(`${file}: ${part.hit} of ${part.all} blocks`)
    }
    assert.ok(all > 50, 'coverage was taken')
    assert.ok(hit / all > 0.7, `only ${hit} of ${all} blocks were reached`)
  })
}
