import assert from 'node:assert/strict'
import { test } from 'node:test'
import { GatewayError } from '../core/errors.ts'
import { createProxies, plainAddress } from './proxies.ts'

test('only configured proxies are believed, from the right', () => {
  const proxies = createProxies(['10.0.0.0/8', 'fd00::1', '192.0.2.7'])
  const cases: [peer: string, forwardedFor: string | undefined, client: string][] = [
    ['10.1.2.3', undefined, '10.1.2.3'],
    ['10.1.2.3', '203.0.113.9', '203.0.113.9'],
    ['::ffff:10.1.2.3', '203.0.113.9', '203.0.113.9'],
    ['10.1.2.3', '1.1.1.1, 203.0.113.9', '203.0.113.9'],
    ['10.1.2.3', '203.0.113.9, 10.9.9.9, fd00::1', '203.0.113.9'],
    ['10.1.2.3', '203.0.113.9:4711', '203.0.113.9'],
    ['10.1.2.3', '[2001:db8::5]:4711, 192.0.2.7', '2001:db8::5'],
    ['10.1.2.3', 'unknown', '10.1.2.3'],
    ['10.1.2.3', '1.1.1.1, <script>, 10.9.9.9', '10.9.9.9'],
    ['10.1.2.3', '', '10.1.2.3'],
    ['10.1.2.3', '10.4.4.4, 10.5.5.5', '10.4.4.4'],
  ]
  for (const [peer, forwardedFor, client] of cases)
    assert.equal(proxies.clientOf(peer, forwardedFor), client, forwardedFor)
  assert.equal(proxies.isTrusted('::ffff:10.1.2.3'), true)
  assert.equal(proxies.isTrusted('11.1.2.3'), false)
  assert.equal(proxies.isTrusted('not an address'), false)
  assert.equal(createProxies([]).isTrusted('127.0.0.1'), false)
})

test('an unreadable network is named', () => {
  assert.throws(
    () => createProxies(['10.0.0.0/8', '10.0.0.0/99']),
    (error) =>
      error instanceof GatewayError && error.code === 'CONFIG_INVALID' && error.message.includes('10.0.0.0/99'),
  )
})

test('a mapped IPv4 address is shown as IPv4', () => {
  assert.equal(plainAddress('::ffff:127.0.0.1'), '127.0.0.1')
  assert.equal(plainAddress('::1'), '::1')
})
