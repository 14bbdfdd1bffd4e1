import assert from 'node:assert/strict'
import { test } from 'node:test'
import {
  anything,
  choice,
  constant,
  duration,
  exactlyOne,
  integer,
  list,
  map,
  numberOr,
  object,
  path,
  type Reading,
  type Shape,
  secret,
  showDuration,
  showSize,
  size,
  text,
  values,
  yesOrNo,
} from './shape.ts'
import { readYaml } from './yaml.ts'

interface Outcome {
  readonly value: unknown
  readonly faults: string[]
}

function read(shape: Shape<unknown>, yaml: string, clear = false): Outcome {
  const faults: string[] = []
  const report = (line: number, message: string): void => void faults.push(`${line}: ${message}`)
  const resolvePath = (given: string): string => (given.startsWith('/') ? given : `/etc/${given}`)
  const reading: Reading = { path: 'x', report, resolvePath, secrets: { env: {}, readFile: () => '' }, clear }
  return { value: shape.read(readYaml(yaml, report), reading), faults }
}

const KEYS = { noun: 'small letters', pattern: '^[a-z_]+$', max: 3 }
const point = object('a point', { x: integer(0, 9), y: integer(0, 9), name: text() }, { needs: ['x', 'y'] })
const one = object('one of two', { a: text(), b: text() }, exactlyOne('a', 'b'))
const env = values({ noun: 'a variable', pattern: '^[A-Z_]+$', max: 3 }, '^[^\\0]*$')

const GOOD: [name: string, shape: Shape<unknown>, yaml: string, value: unknown][] = [
  ['a text', text(), 'a b', 'a b'],
  ['a text of as many code points as may be', text({ max: 2 }), '"😀😀"', '😀😀'],
  ['an empty text where it may be', text({ min: 0 }), '""', ''],
  ['a choice', choice('off', 'on'), 'off', 'off'],
  ['a boolean', yesOrNo(), 'true', true],
  ['a constant', constant(1), '1', 1],
  ['an integer at its bound', integer(0, 9), '9', 9],
  ['a duration with a unit', duration(0, 60_000), '1.5s', 1_500],
  ['a duration in milliseconds', duration(0, 60_000), '1500', 1_500],
  ['a size with a unit', size(0, 1024 ** 3), '8MiB', 8 * 1024 ** 2],
  ['a size in thousands', size(0, 1024 ** 3), '64KB', 64_000],
  ['a number or a word: the number', numberOr(integer(1, 9), choice('auto')), '3', 3],
  ['a number or a word: the word', numberOr(integer(1, 9), choice('auto')), 'auto', 'auto'],
  ['a relative path', path(), 'a.pem', '/etc/a.pem'],
  ['an absolute path', path(), '/a.pem', '/a.pem'],
  ['a list', list(integer(0, 9), 3), '[1, 2]', [1, 2]],
  ['an empty value as an empty list', list(integer(0, 9), 3), '', []],
  ['a map', map(KEYS, integer(0, 9)), '{a: 1, __proto__: 2}', JSON.parse('{"a":1,"__proto__":2}')],
  ['an empty value as an empty map', map(KEYS, integer(0, 9)), '', {}],
  ['an object', point, '{y: 2, x: 1}', { x: 1, y: 2 }],
  ['anything', anything(), '{a: [1, null]}', { a: [1, null] }],
  ['one of two members', one, 'b: x', { b: 'x' }],
  ['a secret by variable', secret(), '{env: NAME}', { env: 'NAME' }],
  ['a secret by file, with a prefix', secret(), '{file: s, prefix: "Bearer "}', { file: '/etc/s', prefix: 'Bearer ' }],
  ['plain values and references', env, '{MODE: fast, API_KEY: {env: K}}', { MODE: 'fast', API_KEY: { env: 'K' } }],
  [
    'numbers as they are written',
    env,
    '{PORT: 8080, RATE: 1.10, MAX_TOKENS: 5}',
    { PORT: '8080', RATE: '1.10', MAX_TOKENS: '5' },
  ],
]

for (const [name, shape, yaml, value] of GOOD) {
  test(`reads ${name}`, () => assert.deepEqual(read(shape, yaml), { value, faults: [] }))
}

const BAD: [name: string, shape: Shape<unknown>, yaml: string, faults: string[]][] = [
  ['a number as a text', text(), '1', ['1: x must be a text, not 1']],
  ['an empty text', text(), '""', ['1: x must be a text, not ""']],
  ['a long text', text({ max: 2 }), 'abc', ['1: x must be a text, not "abc"']],
  ['a list as a text', text(), '[a]', ['1: x must be a text, not a list']],
  ['another word', choice('off', 'on'), 'of', ['1: x must be one of off, on, not "of"']],
  ['a word as a boolean', yesOrNo(), 'yes', ['1: x must be true or false, not "yes"']],
  ['another constant', constant(1), '2', ['1: x must be 1, not 2']],
  ['a fraction', integer(0, 9), '1.5', ['1: x must be a whole number from 0 to 9, not 1.5']],
  ['a number past its bound', integer(0, 9), '10', ['1: x must be a whole number from 0 to 9, not 10']],
  ['a number as a text', integer(0, 9), '"1"', ['1: x must be a whole number from 0 to 9, not "1"']],
  ['a duration without unit as a text', duration(0, 60_000), '"5"', ['1: x must be a time from 0 to 1m, not "5"']],
  ['a duration past its bound', duration(0, 60_000), '61s', ['1: x must be a time from 0 to 1m, not "61s"']],
  ['a negative duration', duration(0, 60_000), '-1', ['1: x must be a time from 0 to 1m, not -1']],
  ['a size with an unknown unit', size(1, 2048), '1mb', ['1: x must be a size from 1B to 2KiB, not "1mb"']],
  ['another word than the one', numberOr(integer(1, 9), choice('auto')), 'all', ['1: x must be "auto", not "all"']],
  ['a list that is too long', list(integer(0, 9), 2), '[1,2,3]', ['1: x must be a list of at most 2, it has 3']],
  ['a list that is too short', list(integer(0, 9), 2, 1), '[]', ['1: x must be a list of 1 to 2, it has 0']],
  [
    'items, each',
    list(integer(0, 9), 9),
    '- a\n- 1\n- b',
    ['1: x[0] must be a whole number from 0 to 9, not "a"', '3: x[2] must be a whole number from 0 to 9, not "b"'],
  ],
  [
    'keys and values',
    map(KEYS, integer(0, 9)),
    'A: 1\nb: x',
    ['1: x.A must be named by small letters', '2: x.b must be a whole number from 0 to 9, not "x"'],
  ],
  [
    'too many keys',
    map(KEYS, integer(0, 9)),
    '{a: 1, b: 2, c: 3, d: 4}',
    ['1: x must have at most 3 entries, it has 4'],
  ],
  [
    'all of an object',
    point,
    'x: a\nnane: b',
    [
      '1: x needs "y"',
      '1: x.x must be a whole number from 0 to 9, not "a"',
      '2: x.nane is not known; did you mean "name"?',
    ],
  ],
  ['an object that is none', point, '[1]', ['1: x must be a point, not a list']],
  ['members of Object.prototype', point, '{x: 1, y: 1, constructor: 1}', ['1: x.constructor is not known']],
  ['none of two members', one, '{}', ['1: x must have exactly one of "a", "b"']],
  ['both of two members', one, '{a: x, b: x}', ['1: x must have exactly one of "a", "b"']],
  [
    'a secret in clear, without repeating it',
    secret(),
    'hunter2',
    ['1: x is a secret: write {env: NAME} or {file: PATH}'],
  ],
  ['a secret of both kinds', secret(), '{env: A, file: b}', ['1: x must have exactly one of "env", "file"']],
  [
    'a telling name with a value in clear',
    env,
    'API_TOKEN: hunter2',
    ['1: x.API_TOKEN is a secret: write {env: NAME} or {file: PATH}'],
  ],
  ['a variable without a value', env, 'MODE:', ['1: x.MODE must be a text, {env: NAME} or {file: PATH}, not null']],
]

for (const [name, shape, yaml, faults] of BAD) {
  test(`refuses ${name}`, () => assert.deepEqual(read(shape, yaml), { value: undefined, faults }))
}

test('a secret may stand in clear in a flag or variable', () => {
  assert.deepEqual(read(secret(), 'hunter2', true), { value: 'hunter2', faults: [] })
})

test('what stands in a text of a flag or variable', () => {
  for (const [shape, given, value] of [
    [integer(0, 9), '5', 5],
    [integer(0, 9), '5x', '5x'],
    [duration(0, 9), '30s', '30s'],
    [duration(0, 9), '30', 30],
    [yesOrNo(), 'on', true],
    [yesOrNo(), 'FALSE', false],
    [yesOrNo(), 'maybe', 'maybe'],
    [list(text(), 3), ' a, b ,,', ['a', 'b']],
    [numberOr(integer(1, 9), choice('auto')), 'auto', 'auto'],
    [numberOr(integer(1, 9), choice('auto')), '4', 4],
  ] as const) {
    assert.deepEqual(shape.fromText?.(given), value)
  }
})

test('times and sizes are shown in their largest whole unit', () => {
  assert.deepEqual([0, 45, 1_500, 65_000, 300_000, 86_400_000].map(showDuration), [
    '0',
    '45ms',
    '1500ms',
    '65s',
    '5m',
    '1d',
  ])
  assert.deepEqual([0, 100, 1024, 8 * 1024 ** 2, 1024 ** 3].map(showSize), ['0', '100B', '1KiB', '8MiB', '1GiB'])
})
