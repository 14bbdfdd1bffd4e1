import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { UpstreamSpec } from './model.ts'
import { isSameServer } from './same-server.ts'

type Transport = UpstreamSpec['transport']
const http = (...urls: string[]): Transport => ({ kind: 'http', urls })
const stdio = (command: string, ...args: string[]): Transport => ({ kind: 'stdio', command, args })

const CASES: [string, Transport, Transport, boolean][] = [
  [
    'the same URL with other headers',
    http('http://a/'),
    { kind: 'http', urls: ['http://a/'], headers: { a: 'b' } },
    true,
  ],
  ['one URL more', http('http://a/'), http('http://b/', 'http://a/'), true],
  ['no URL in common', http('http://a/'), http('http://b/'), false],
  ['the same command in another folder', stdio('npx', 'x'), { ...stdio('npx', 'x'), cwd: '/tmp' } as Transport, true],
  ['no arguments and an empty list', { kind: 'stdio', command: 'x' }, stdio('x'), true],
  ['other arguments', stdio('npx', 'x'), stdio('npx', 'y'), false],
  ['another command', stdio('npx'), stdio('uvx'), false],
  ['a command in place of a URL', http('http://a/'), stdio('npx'), false],
  ['a URL in place of a command', stdio('npx'), http('http://a/'), false],
]

for (const [name, before, after, same] of CASES) {
  test(`${name} is ${same ? 'the same' : 'another'} server`, () => assert.equal(isSameServer(before, after), same))
}
