// Mcp-Param-* headers: what a modern client must mirror, and what a modern upstream is sent.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { makeCall, makeGateway } from '../../test/fakes/call.ts'
import { registryRows, tool, upstreamRow } from '../../test/fakes/registry.ts'
import type { Call } from '../core/call.ts'
import { GatewayError } from '../core/errors.ts'
import type { Era } from '../core/model.ts'
import type { ToolTarget } from '../registry/snapshot.ts'
import { checkParamHeaders, paramHeadersFor } from './param-headers.ts'

const header = (type: string, name: string): object => ({ type, 'x-mcp-header': name })
const SCHEMA = {
  type: 'object',
  properties: {
    region: header('string', 'Region'),
    count: header('integer', 'Count'),
    dry: header('boolean', 'Dry'),
    at: { type: 'object', properties: { city: header('string', 'City') } },
    key: header('string', 'Key'),
    // Not sent unless it is sent: what every object inherits is no argument.
    constructor: header('string', 'Constructor'),
    // Neither of these is one: no header can carry a number with a fraction or a list.
    ratio: header('number', 'Ratio'),
    list: header('array', 'List'),
  },
}

async function target(upstreamEra: Era, fixed: Readonly<Record<string, unknown>> = {}): Promise<ToolTarget> {
  const revision = upstreamEra === 'modern' ? '2026-07-28' : '2025-11-25'
  const upstream = upstreamRow('u', { tools: { t: { fixed } } }, { era: upstreamEra, revision })
  const rows = registryRows([{ upstream, definitions: [tool('t', { inputSchema: SCHEMA })] }])
  const gateway = await makeGateway(rows, () => assert.fail())
  return gateway.registry.current().scopes.get('')!.toolByName.get('u-t')!
}

type Headers = Readonly<Record<string, string>> | null

function call(args: unknown, paramHeaders: Headers, era: Era = 'modern'): Call {
  const revision = era === 'modern' ? '2026-07-28' : '2025-11-25'
  return makeCall(
    'tools/call',
    { name: 'u-t', ...(args === undefined ? {} : { arguments: args }) },
    { era, revision, paramHeaders },
  )
}

const CHECKED: [string, unknown, Headers, boolean][] = [
  ['a text that is mirrored', { region: 'eu' }, { 'mcp-param-region': 'eu' }, true],
  ['a text with other letters', { region: 'eu' }, { 'mcp-param-region': 'EU' }, false],
  ['a text in base64 form', { region: 'é' }, { 'mcp-param-region': '=?base64?w6k=?=' }, true],
  ['a broken base64 form', { region: 'é' }, { 'mcp-param-region': '=?base64?w6k?=' }, false],
  ['a text whose header is missing', { region: 'eu' }, {}, false],
  ['a header whose argument is missing', {}, { 'mcp-param-region': 'eu' }, false],
  ['a header whose argument is null', { region: null }, { 'mcp-param-region': 'null' }, false],
  ['null without a header', { region: null }, {}, true],
  ['a header without any arguments', undefined, { 'mcp-param-region': 'eu' }, false],
  ['an empty text', { region: '' }, { 'mcp-param-region': '' }, true],
  ['an integer', { count: 42 }, { 'mcp-param-count': '42' }, true],
  ['an integer in another spelling', { count: 42 }, { 'mcp-param-count': '42.0' }, true],
  ['another integer', { count: 42 }, { 'mcp-param-count': '43' }, false],
  ['an integer in hex', { count: 16 }, { 'mcp-param-count': '0x10' }, false],
  ['an integer with an exponent', { count: 100 }, { 'mcp-param-count': '1e2' }, false],
  ['a boolean', { dry: true }, { 'mcp-param-dry': 'true' }, true],
  ['the other boolean', { dry: false }, { 'mcp-param-dry': 'true' }, false],
  ['an inner argument', { at: { city: 'Ulm' } }, { 'mcp-param-city': 'Ulm' }, true],
  ['another inner argument', { at: { city: 'Ulm' } }, { 'mcp-param-city': 'Bonn' }, false],
  ['an inner argument of no object', { at: 'city' }, {}, true],
  ['headers that mirror nothing', {}, { 'mcp-param-other': 'x', 'mcp-param-ratio': '1' }, true],
  ['what need not be mirrored', { ratio: 0.5, list: [1] }, {}, true],
  ['an object where a text is due', { region: {} }, { 'mcp-param-region': '[object Object]' }, false],
  ['a client without such headers (POST /rpc)', { region: 'eu' }, null, true],
]
for (const [what, args, headers, passes] of CHECKED) {
  test(`${passes ? 'passes' : 'refuses'} ${what}`, async () => {
    const tool = await target('legacy')
    const run = (): void => checkParamHeaders(call(args, headers), tool)
    if (passes) run()
    else assert.throws(run, (error) => error instanceof GatewayError && error.code === 'HEADER_MISMATCH')
  })
}

test('an older client mirrors nothing', async () => {
  checkParamHeaders(call({ region: 'eu' }, { 'mcp-param-region': 'us' }, 'legacy'), await target('legacy'))
})

test('what the gateway sets itself the client cannot mirror', async () => {
  const tool = await target('modern', { key: 'ours' })
  checkParamHeaders(call({}, {}), tool)
  checkParamHeaders(call({}, { 'mcp-param-key': 'theirs' }), tool)
  assert.deepEqual(paramHeadersFor(call({ key: 'theirs' }, { 'mcp-param-key': 'theirs' }), tool), [
    'mcp-param-key',
    'ours',
  ])
})

const SENT: [string, Call, readonly string[]][] = [
  [
    'arguments of every type',
    call({ region: 'eu', count: -3, dry: false, at: { city: 'Köln' } }, {}),
    [
      'mcp-param-region',
      'eu',
      'mcp-param-count',
      '-3',
      'mcp-param-dry',
      'false',
      'mcp-param-city',
      '=?base64?S8O2bG4=?=',
    ],
  ],
  ['arguments of an older client', call({ region: 'eu' }, null, 'legacy'), ['mcp-param-region', 'eu']],
  ['no arguments', call(undefined, {}), []],
  ['what no header can carry', call({ region: {}, count: 2 ** 60, at: [] }, {}), []],
  [
    'a text that looks like base64 form',
    call({ region: '=?base64?x?=' }, {}),
    ['mcp-param-region', '=?base64?PT9iYXNlNjQ/eD89?='],
  ],
  ['a text with blanks at its edges', call({ region: ' a' }, {}), ['mcp-param-region', '=?base64?IGE=?=']],
  [
    'unknown ones of the client as they came',
    call({ region: 'eu' }, { 'mcp-param-region': 'eu', 'mcp-param-later': '1', 'mcp-param-': 'x' }),
    ['mcp-param-region', 'eu', 'mcp-param-later', '1', 'mcp-param-', 'x'],
  ],
]
for (const [what, sent, headers] of SENT) {
  test(`sends ${what}`, async () => assert.deepEqual(paramHeadersFor(sent, await target('modern')), headers))
}

test('an older upstream is sent none', async () => {
  assert.deepEqual(paramHeadersFor(call({ region: 'eu' }, { 'mcp-param-later': '1' }), await target('legacy')), [])
})
