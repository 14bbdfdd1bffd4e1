import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { LIMITS } from './limits.ts'
import { exposedName, isSlug, matchesAny, matchesParts, slugify } from './names.ts'

const SLUGS: [string, boolean][] = [
  ['a', true],
  ['a-b', true],
  ['0', true],
  ['x'.repeat(24), true],
  ['x'.repeat(25), false],
  ['', false],
  ['-a', false],
  ['a-', false],
  ['A', false],
  ['a_b', false],
  ['a.b', false],
  ['a/b', false],
  ['a\n', false],
  ['é', false],
]
for (const [text, expected] of SLUGS) {
  test(`${JSON.stringify(text)} is ${expected ? 'a' : 'no'} slug`, () => assert.equal(isSlug(text), expected))
}

const MADE: [string, string][] = [
  ['My Server', 'my-server'],
  ['--a__b--', 'a-b'],
  ['', 'server'],
  ['!!!', 'server'],
  // The cut falls behind a dash, which then goes too.
  [`${'x'.repeat(23)} y`, 'x'.repeat(23)],
  ['x'.repeat(100), 'x'.repeat(24)],
]
for (const [text, slug] of MADE) {
  test(`slugify makes ${slug} of ${JSON.stringify(text.slice(0, 30))}`, () => assert.equal(slugify(text), slug))
}

test('whatever the text, slugify makes a slug', () => {
  fc.assert(fc.property(fc.string({ unit: 'binary' }), (text) => isSlug(slugify(text))))
})

const EXPOSED: [string, string, string][] = [
  ['demo', 'echo', 'demo-echo'],
  ['demo', 'get.a b/c', 'demo-get_a_b_c'],
  ['demo', 'Keep_Case-9', 'demo-Keep_Case-9'],
  // 64 characters stay as they are, 65 do not. These names are in the settings of clients: they may never change.
  ['demo', 'x'.repeat(59), `demo-${'x'.repeat(59)}`],
  ['demo', 'x'.repeat(60), `demo-${'x'.repeat(50)}-3sugcfee`],
  ['demo', 'é'.repeat(60), `demo-${'_'.repeat(50)}-erkd4tbq`],
]
for (const [slug, name, exposed] of EXPOSED) {
  test(`${slug} exposes ${name.slice(0, 20)} (${name.length}) as ${exposed}`, () =>
    assert.equal(exposedName(slug, name), exposed))
}

test('whatever the name, what is exposed fits every client', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'binary', maxLength: 200 }), (name) =>
      new RegExp(`^[A-Za-z0-9_-]{1,${LIMITS.nameChars}}$`).test(exposedName('slug', name)),
    ),
  )
})

test('long names that differ at their ends, or only in replaced characters, stay different', () => {
  const long = 'x'.repeat(80)
  const names = [`${long}a`, `${long}b`, `${long}.`, `${long}_`]
  assert.equal(new Set(names.map((name) => exposedName('u', name))).size, names.length)
})

const MATCHES: [string, readonly string[] | undefined, boolean][] = [
  ['anything', undefined, true],
  ['anything', [], false],
  ['read', ['read'], true],
  ['read', ['Read'], false],
  ['read', ['rea', 'reads'], false],
  ['read', ['x', 'read'], true],
  ['read', ['*'], true],
  ['', ['*'], true],
  ['read_file', ['read*'], true],
  ['read_file', ['*file'], true],
  ['read_file', ['*_*'], true],
  ['read_file', ['r*_*e'], true],
  ['read_file', ['r*x*e'], false],
  ['read_file', ['**'], true],
  // What stands at both ends must not overlap.
  ['aba', ['aba*ba'], false],
  ['a', ['a*a'], false],
  ['aa', ['a*a'], true],
  // Parts in the middle come in their order, before the end.
  ['xbay', ['x*a*b*y'], false],
  ['xaby', ['x*a*b*y'], true],
  ['xay', ['x*ay*y'], false],
  // Nothing else is special.
  ['a.c', ['a?c'], false],
  ['abc', ['a.c'], false],
  ['a+', ['a+'], true],
]
for (const [name, patterns, expected] of MATCHES) {
  test(`${JSON.stringify(name)} ${expected ? 'fits' : 'does not fit'} ${JSON.stringify(patterns)}`, () =>
    assert.equal(matchesAny(name, patterns), expected))
}

test('a pattern fits what the same regular expression fits', () => {
  const letters = fc.string({ unit: fc.constantFrom('a', 'b'), maxLength: 8 })
  const pattern = fc.string({ unit: fc.constantFrom('a', 'b', '*'), maxLength: 6 })
  fc.assert(
    fc.property(letters, pattern, (text, wanted) =>
      assert.equal(matchesAny(text, [wanted]), new RegExp(`^${wanted.replaceAll('*', '.*')}$`).test(text)),
    ),
  )
})

test('a pattern that would keep a backtracking engine busy for years is answered', () => {
  assert.equal(matchesParts('a'.repeat(100_000), [...Array<string>(1_000).fill('a'), 'b']), false)
})
