// Texts that look like JSON-RPC: mostly right, then bent. White space, escapes, order and repetition of members vary,
// and a share of the texts is broken at one byte.

import type { Random } from './random.ts'

const METHODS = [
  'initialize',
  'ping',
  'tools/list',
  'tools/call',
  'resources/read',
  'prompts/get',
  'server/discover',
  'notifications/cancelled',
  'x/y',
  '',
]
const VERSIONS = ['2026-07-28', '2025-11-25', '2024-11-05', '2099-01-01', '']
const V = 'io.modelcontextprotocol/protocolVersion'
const C = 'io.modelcontextprotocol/clientCapabilities'

const space = (random: Random): string => (random.chance(0.8) ? '' : random.pick([' ', '\n', '\r\n', '\t', '  ']))

export function string(random: Random, text: string): string {
  const quoted = JSON.stringify(text)
  if (!random.chance(0.1) || text === '') return quoted
  const at = random.int(text.length)
  const escaped = `\\u${text.charCodeAt(at).toString(16).padStart(4, '0')}`
  return `"${JSON.stringify(text.slice(0, at)).slice(1, -1)}${escaped}${JSON.stringify(text.slice(at + 1)).slice(1, -1)}"`
}

const SCALARS = [
  '0',
  '-1',
  '1.5',
  '1e3',
  '-0.0E-2',
  '12345678901234567890',
  'true',
  'false',
  'null',
  '""',
  '"\\u0000"',
  '"\\"}"',
  '"\\\\"',
  '"ключ"',
  '"\u{1f600}"',
]

export function value(random: Random, depth: number): string {
  const kind = random.int(depth <= 0 ? 6 : 10)
  if (kind < 6)
    return random.chance(0.3)
      ? string(random, random.pick(['a', 'id', 'method', 'result', '{}', '"']))
      : random.pick(SCALARS)
  const size = random.int(4)
  if (kind < 8)
    return `[${space(random)}${Array.from({ length: size }, () => value(random, depth - 1)).join(`${space(random)},${space(random)}`)}${space(random)}]`
  return object(
    random,
    Array.from({ length: size }, () => [random.pick(['a', 'b', 'id', 'k"', '']), value(random, depth - 1)]),
  )
}

export function object(random: Random, members: readonly (readonly [string, string])[]): string {
  const given = [...members]
  if (random.chance(0.03) && given.length > 0) given.push(random.pick(given))
  if (random.chance(0.3)) given.reverse()
  const body = given
    .map(([key, text]) => `${string(random, key)}${space(random)}:${space(random)}${text}`)
    .join(`${space(random)},${space(random)}`)
  return `{${space(random)}${body}${space(random)}}`
}

const maybe = (random: Random, probability: number, member: () => [string, string]): [string, string][] =>
  random.chance(probability) ? [member()] : []

function id(random: Random): string {
  return random.chance(0.85)
    ? random.pick(['1', '"x"', '0', '-7', '"\\u0031"', '9007199254740991'])
    : random.pick(['null', '1.5', '{}', '[]', 'true', '1e2'])
}

function meta(random: Random): string {
  return object(random, [
    ...maybe(random, 0.7, () => [V, random.chance(0.9) ? JSON.stringify(random.pick(VERSIONS)) : value(random, 1)]),
    ...maybe(random, 0.8, () => [C, random.chance(0.9) ? random.pick(['{}', '{"elicitation":{}}']) : value(random, 1)]),
    ...maybe(random, 0.2, () => ['progressToken', random.pick(['1', '"p"', '1.5', '{}'])]),
    ...maybe(random, 0.2, () => ['io.modelcontextprotocol/logLevel', random.pick(['"info"', '"loud"', '1'])]),
    ...maybe(random, 0.2, () => [
      'io.modelcontextprotocol/clientInfo',
      random.pick(['{"name":"n","version":"1"}', '{}', '7']),
    ]),
    ...maybe(random, 0.2, () => [
      'traceparent',
      random.pick(['"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"', '"x"', '3']),
    ]),
    ...maybe(random, 0.2, () => ['com.example/k', value(random, 2)]),
  ])
}

export function request(random: Random): string {
  return object(random, [
    ...maybe(random, 0.97, (): [string, string] => ['jsonrpc', random.chance(0.97) ? '"2.0"' : value(random, 1)]),
    ...maybe(random, 0.85, (): [string, string] => ['id', id(random)]),
    ...maybe(random, 0.95, (): [string, string] => [
      'method',
      random.chance(0.97) ? string(random, random.pick(METHODS)) : value(random, 1),
    ]),
    ...maybe(random, 0.8, (): [string, string] => [
      'params',
      random.chance(0.95)
        ? object(random, [
            ...maybe(random, 0.6, (): [string, string] => [
              'name',
              random.chance(0.9) ? string(random, 'tool') : value(random, 1),
            ]),
            ...maybe(random, 0.6, (): [string, string] => ['arguments', value(random, 4)]),
            ...maybe(random, 0.7, (): [string, string] => ['_meta', meta(random)]),
          ])
        : value(random, 2),
    ]),
    ...maybe(random, 0.03, (): [string, string] => ['result', value(random, 2)]),
  ])
}

export function answer(random: Random): string {
  const filler = random.chance(0.3) ? 'x'.repeat(9_000 + random.int(100)) : ''
  const result = object(random, [
    ['content', value(random, 3)],
    ['filler', JSON.stringify(filler)],
    ...maybe(random, 0.2, (): [string, string] => ['id', value(random, 1)]),
  ])
  const members: [string, string][] = [
    ...maybe(random, 0.97, (): [string, string] => ['jsonrpc', '"2.0"']),
    ...maybe(random, 0.95, (): [string, string] => ['id', random.chance(0.9) ? '7' : id(random)]),
    ...maybe(random, 0.9, (): [string, string] => ['result', random.chance(0.95) ? result : value(random, 1)]),
    ...maybe(random, 0.1, (): [string, string] => [
      'error',
      random.chance(0.7) ? '{"code":-1,"message":"m"}' : value(random, 2),
    ]),
    ...maybe(random, 0.05, (): [string, string] => ['method', '"notifications/progress"']),
  ]
  // Half of the large ones as real servers write them, so that the quick way is taken.
  if (filler !== '' && random.chance(0.6)) {
    const plain = result.startsWith('{"') ? result : `{"filler":"${filler}"}`
    const extra = random.chance(0.2) ? random.pick([',"id":8', ',"x":{}', '}', ',"method":"m"', ',"\\u0069d":9']) : ''
    return random.chance(0.5)
      ? `{"jsonrpc":"2.0","id":7,"result":${plain}${extra}}`
      : `{"result":${plain}${extra},"jsonrpc":"2.0","id":7}`
  }
  return object(random, members)
}

/** One byte changed, added or taken, or the text cut. */
export function bend(random: Random, text: string): Buffer {
  const bytes = Buffer.from(text)
  if (random.chance(0.6) || bytes.length === 0) return bytes
  const at = random.int(bytes.length)
  const byte = random.chance(0.7)
    ? random.pick([0x22, 0x7b, 0x7d, 0x5b, 0x5d, 0x2c, 0x3a, 0x5c, 0x20, 0x0a, 0x30])
    : random.int(256)
  const kind = random.int(4)
  if (kind === 0) return bytes.subarray(0, at)
  if (kind === 1) return Buffer.concat([bytes.subarray(0, at), Buffer.of(byte), bytes.subarray(at)])
  if (kind === 2) return Buffer.concat([bytes.subarray(0, at), bytes.subarray(at + 1)])
  const changed = Buffer.from(bytes)
  changed[at] = byte
  return changed
}
