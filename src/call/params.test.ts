// What goes out: names of the upstream, no `_meta`, our fixed arguments, and of everything else the very bytes that came.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { makeGateway } from '../../test/fakes/call.ts'
import { prompt, registryRows, resource, template, upstreamRow } from '../../test/fakes/registry.ts'
import { GatewayError } from '../core/errors.ts'
import { readParams } from '../mcp/jsonrpc.ts'
import { completionParams, namedParams, plainParams, withFixed } from './params.ts'

const HEAD = Buffer.from('{"name":"echo"')
type Fixed = Readonly<Record<string, unknown>> | null

const NAMED: [string, string, Fixed, string][] = [
  ['the name of the upstream', '{"name":"demo-echo"}', null, '{"name":"echo"}'],
  ['no name at all', '{}', null, '{"name":"echo"}'],
  [
    'the bytes of the arguments',
    '{"arguments":{ "n":1.0, "big":12345678901234567890, "u":"\\u00e9" },"name":"x"}',
    null,
    '{"name":"echo","arguments":{ "n":1.0, "big":12345678901234567890, "u":"\\u00e9" }}',
  ],
  ['no _meta', '{"name":"x","_meta":{"progressToken":1},"arguments":{}}', null, '{"name":"echo","arguments":{}}'],
  // A key may be written with escapes: what it means decides.
  ['no name and no _meta in disguise', '{"\\u006eame":"x","\\u005fmeta":{"a":1}}', null, '{"name":"echo"}'],
  ['other members as they came', '{"name":"x","task":{ "ttl":5 }}', null, '{"name":"echo","task":{ "ttl":5 }}'],
  ['a key that needs an escape', '{"name":"x","a\\"b\\n":1}', null, '{"name":"echo","a\\"b\\n":1}'],
  [
    'fixed arguments behind the others',
    '{"arguments":{"a":1}}',
    { k: 'v' },
    '{"name":"echo","arguments":{"a":1,"k":"v"}}',
  ],
  [
    'fixed arguments in place of sent ones',
    '{"arguments":{"k":1,"a":2}}',
    { k: 'v' },
    '{"name":"echo","arguments":{"a":2,"k":"v"}}',
  ],
  ['fixed arguments where none were sent', '{"name":"x"}', { k: [null] }, '{"name":"echo","arguments":{"k":[null]}}'],
]
for (const [what, params, fixed, sent] of NAMED) {
  test(`a call goes out with ${what}`, () =>
    assert.equal(namedParams(readParams(Buffer.from(params)), HEAD, fixed).toString(), sent))
}

const FIXED: [string, Record<string, unknown>, string][] = [
  ['{}', { a: 1 }, '{"a":1}'],
  ['{ "b" : 2 }', { a: 1 }, '{"b":2,"a":1}'],
  ['{"\\u0061":9}', { a: 1 }, '{"a":1}'],
  ['{"constructor":1,"__proto__":{"x":1}}', { a: 1 }, '{"constructor":1,"__proto__":{"x":1},"a":1}'],
  ['{"n":0.10}', { 'q"': 'é' }, '{"n":0.10,"q\\"":"é"}'],
]
for (const [raw, fixed, sent] of FIXED) {
  test(`${raw} with ${JSON.stringify(fixed)} is ${sent}`, () =>
    assert.equal(withFixed(Buffer.from(raw), fixed).toString(), sent))
}

test('the members of a read go out without _meta', () => {
  const params = readParams(Buffer.from('{"_meta":{"progressToken":1}, "uri" : "a://1" ,"x":[ 1 ]}'))
  assert.equal(plainParams(params).toString(), '{"uri":"a://1","x":[ 1 ]}')
  assert.equal(plainParams(params, new Map([['x', Buffer.from('2')]])).toString(), '{"uri":"a://1","x":2}')
  assert.equal(plainParams(readParams(Buffer.from('{"_meta":{}}'))).toString(), '{}')
})

const ROWS = registryRows([
  { upstream: upstreamRow('one'), definitions: [prompt('hi'), resource('a://1'), template('b://{x}')] },
  { upstream: upstreamRow('two'), definitions: [prompt('hi')] },
])
const ARGUMENT = { name: 'x', value: '' }

const COMPLETIONS: [string, object, string][] = [
  [
    'a prompt by its own name',
    { ref: { type: 'ref/prompt', name: 'two-hi', title: 'T' }, argument: ARGUMENT },
    'two {"ref":{"type":"ref/prompt","name":"hi","title":"T"},"argument":{"name":"x","value":""}}',
  ],
  [
    'a template as it is',
    { argument: ARGUMENT, ref: { type: 'ref/resource', uri: 'b://{x}' } },
    'one {"argument":{"name":"x","value":""},"ref":{"type":"ref/resource","uri":"b://{x}"}}',
  ],
  [
    'a resource as it is',
    { ref: { type: 'ref/resource', uri: 'a://1' }, argument: ARGUMENT, _meta: {} },
    'one {"ref":{"type":"ref/resource","uri":"a://1"},"argument":{"name":"x","value":""}}',
  ],
  ['nobody for an unknown prompt', { ref: { type: 'ref/prompt', name: 'hi' }, argument: ARGUMENT }, 'nobody'],
  [
    'nobody for a name that objects inherit',
    { ref: { type: 'ref/prompt', name: 'constructor' }, argument: ARGUMENT },
    'nobody',
  ],
  [
    'nobody for a resource that two may own',
    { ref: { type: 'ref/resource', uri: 'c://' }, argument: ARGUMENT },
    'nobody',
  ],
  ['a refusal of another type', { ref: { type: 'ref/tool', name: 'two-hi' }, argument: ARGUMENT }, 'INVALID_PARAMS'],
  ['a refusal without a name', { ref: { type: 'ref/prompt' }, argument: ARGUMENT }, 'INVALID_PARAMS'],
  ['a refusal without a uri', { ref: { type: 'ref/resource', uri: 1 }, argument: ARGUMENT }, 'INVALID_PARAMS'],
  ['a refusal without ref', { argument: ARGUMENT }, 'INVALID_PARAMS'],
  ['a refusal without argument', { ref: { type: 'ref/prompt', name: 'two-hi' }, argument: [] }, 'INVALID_PARAMS'],
]
for (const [what, given, expected] of COMPLETIONS) {
  test(`a completion goes to ${what}`, async () => {
    const gateway = await makeGateway(ROWS, () => assert.fail())
    const params = readParams(Buffer.from(JSON.stringify(given)))
    const scope = gateway.registry.current().scopes.get('')!
    const outcome = ((): string => {
      try {
        const found = completionParams(scope, params, params.value('ref'))
        return found === null ? 'nobody' : `${found.upstream.slug} ${found.params}`
      } catch (error) {
        if (error instanceof GatewayError) return error.code
        throw error
      }
    })()
    assert.equal(outcome, expected)
  })
}
