// Which addresses an upstream may have, and that a name is judged by what it resolves to.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { GatewayError } from '../core/errors.ts'
import { checkLiteralHost, checkUrl, createGuard, guardedLookup } from './guard.ts'

const strict = createGuard({ allowPrivate: false, networks: [] })
const operator = createGuard({ allowPrivate: true, networks: [] })

const PUBLIC = ['93.184.216.34', '1.1.1.1', '2606:4700:4700::1111', '::ffff:1.1.1.1', '64:ff9b::101:101']
const PRIVATE = [
  ...['127.0.0.1', '127.9.9.9', '10.1.2.3', '172.16.0.1', '172.31.255.255', '192.168.1.1', '100.64.0.1', '169.254.1.1'],
  ...['::1', 'fc00::1', 'fd12::1', 'fe80::1', 'fe80::1%eth0', '::ffff:127.0.0.1', '::ffff:10.0.0.1', '64:ff9b::7f00:1'],
  ...['::ffff:7f00:1', '0:0:0:0:0:ffff:127.0.0.1'],
]
const NEVER = [
  ...['0.0.0.0', '0.1.2.3', '224.0.0.1', '239.255.255.250', '255.255.255.255', '240.0.0.1', '192.0.2.1', '198.18.0.1'],
  ...['::', 'ff02::1', '2001:db8::1', '2002:7f00:1::', '2001::1', '::ffff:0.0.0.0', '::ffff:224.0.0.1', '::7f00:1'],
  ...['169.254.169.254', '::ffff:169.254.169.254', 'fd00:ec2::254', '100.100.100.200', '169.254.170.2'],
  ...['168.63.129.16', 'fd00:ec2::23', 'fd20:ce::254'],
  ...[
    '',
    'localhost',
    '127.1',
    '0177.0.0.1',
    '2130706433',
    '0x7f.0.0.1',
    '127.0.0.1.',
    '1.1.1.1:80',
    '1.1.1.1/8',
    'fe80',
  ],
]

test('the guard judges addresses', () => {
  for (const address of PUBLIC) assert.deepEqual([strict(address), operator(address)], [true, true], address)
  for (const address of PRIVATE) assert.deepEqual([strict(address), operator(address)], [false, true], address)
  for (const address of NEVER) assert.deepEqual([strict(address), operator(address)], [false, false], address)
})

test('listed networks are allowed, and only those', () => {
  const guard = createGuard({ allowPrivate: false, networks: ['10.0.0.0/8', '169.254.169.254', 'fd00::/8'] })
  const verdicts = [
    '10.9.9.9',
    '::ffff:10.9.9.9',
    '169.254.169.254',
    'fd12::1',
    '11.0.0.1',
    '192.168.0.1',
    'fe80::1',
  ].map(guard)
  assert.deepEqual(verdicts, [true, true, true, true, true, false, false])
  for (const network of ['10.0.0.0/33', 'ten', '', '10.0.0.0/-1', '::/129']) {
    assert.throws(() => createGuard({ allowPrivate: false, networks: [network] }), { code: 'INVALID_INPUT' }, network)
  }
})

type Found = { address: string; family: number }[]

function look(found: Found, all: boolean): Promise<{ error: GatewayError | null; answer: unknown }> {
  const lookup = guardedLookup(strict, (_host, _options, done) => done(null, found))
  return new Promise((resolve) => {
    lookup('name.example', { all }, (error, answer) => resolve({ error: error as GatewayError | null, answer }))
  })
}

test('a name is refused as soon as one of its addresses is', async () => {
  const good: Found = [
    { address: '1.1.1.1', family: 4 },
    { address: '2606:4700:4700::1111', family: 6 },
  ]
  assert.deepEqual(await look(good, true), { error: null, answer: good })
  assert.deepEqual(await look(good, false), { error: null, answer: '1.1.1.1' })
  const mixed = await look([...good, { address: '127.0.0.1', family: 4 }], true)
  assert.equal(mixed.error?.code, 'ADDRESS_REFUSED')
  assert.match(mixed.error?.message ?? '', /name\.example \(127\.0\.0\.1\)/)
  assert.equal((await look([], true)).error?.code as string, 'ENOTFOUND')
})

test('an address in the URL is judged as well', () => {
  for (const host of [
    '127.0.0.1',
    '[::1]',
    '[::ffff:127.0.0.1]',
    new URL('http://0x7f.1/').hostname,
    new URL('http://2130706433').hostname,
  ]) {
    assert.throws(() => checkLiteralHost(host, strict), { code: 'ADDRESS_REFUSED' }, host)
  }
  checkLiteralHost('1.1.1.1', strict)
  checkLiteralHost('localhost', strict)
})

test('the URL of an upstream', () => {
  assert.equal(checkUrl('https://mcp.example.com:8443/mcp?x=1').host, 'mcp.example.com:8443')
  const bad = [
    '',
    'mcp.example.com',
    'ftp://a/',
    'file:///etc/passwd',
    'javascript:1',
    'http://',
    'http://u:p@a/',
    'http://u@a/',
  ]
  for (const text of [
    ...bad,
    'http://a/#x',
    'http://a:0/',
    'http://a:99999/',
    `http://a/${'x'.repeat(3000)}`,
    'http://a b/',
  ]) {
    assert.throws(() => checkUrl(text), { code: 'INVALID_INPUT' }, text)
  }
})
