import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { RE2JS } from 're2js'
import { Patterns, weightOfPattern } from './patterns.ts'

const STEPS = 50_000

test('a pattern judges, and what it may not spend it does not judge', () => {
  const patterns = new Patterns()
  const cases: readonly (readonly [string, string, number, boolean | null])[] = [
    ['^[a-z]+$', 'abc', STEPS, true],
    ['^[a-z]+$', 'ab1', STEPS, false],
    ['^\\d{4}-\\d{2}-\\d{2}$', '2026-07-28', STEPS, true],
    ['^[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}$', '0190a5e0-1111-7abc-8def-0123456789ab', STEPS, true],
    // Too long a text for this budget; an unknown construct; a huge program; a hidden one.
    ['^[a-z]+$', 'a'.repeat(STEPS * 5), STEPS, null],
    ['(a)\\1', 'aa', STEPS, null],
    ['(a{0,1000})'.repeat(80), 'a', STEPS, null],
    ['((a{0,99}){0,99})', 'a', STEPS, null],
    ['\\Q[\\E(a{0,1000})', 'a', STEPS, null],
    [`^${'a'.repeat(2_000)}$`, 'a', STEPS, null],
    ['^a$', 'a', 0, null],
  ]
  for (const [pattern, text, steps, wanted] of cases) {
    assert.equal(patterns.fits(pattern, text, { steps }), wanted, pattern.slice(0, 40))
  }
})

test('all patterns of a schema together have one bound', () => {
  const patterns = new Patterns()
  const judged = Array.from({ length: 100 }, (_, n) => patterns.fits(`^x{${n},100}$`, 'x', { steps: STEPS }) !== null)
  assert.ok(judged[0])
  assert.ok(judged.filter(Boolean).length < 20)
})

test('a program is never much larger than its weight says', () => {
  const atom = fc.constantFrom('a', '.', '\\d', '[a-c]', '[^]x]', '[\\]{9}]', '\\p{L}', '^', '$', '\\{', 'é')
  const pattern = fc.letrec<{ node: string }>((tie) => ({
    node: fc.oneof(
      { depthSize: 'small', withCrossShrink: true },
      atom,
      fc.tuple(tie('node'), tie('node')).map(([one, two]) => one + two),
      fc.tuple(tie('node'), tie('node')).map(([one, two]) => `(${one}|${two})`),
      fc
        .tuple(tie('node'), fc.constantFrom('*', '+', '?', '{3}', '{0,7}', '{2,}', '{1,40}'))
        .map(([one, many]) => `(?:${one})${many}`),
    ),
  })).node
  fc.assert(
    fc.property(pattern, (text) => {
      let size: number
      try {
        size = RE2JS.compile(text).programSize()
      } catch {
        return
      }
      assert.ok(
        size <= 2 * weightOfPattern(text) + 10,
        `${text}: ${size} instructions, weight ${weightOfPattern(text)}`,
      )
    }),
    { numRuns: 1_000 },
  )
})
