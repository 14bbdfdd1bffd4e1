import assert from 'node:assert/strict'
import { createHmac } from 'node:crypto'
import { test } from 'node:test'
import type { NewUpstream } from '../ports/store.ts'
import { markSecrets } from './secret-marks.ts'

const mac = (plain: Buffer): Buffer => createHmac('sha256', 'key').update(plain).digest()

test('an exchanged secret makes another row, one that cannot be read too, and nothing tells what it was', () => {
  const secrets: Record<string, string> = { T: 'one' }
  const resolve = (secret: unknown): string => {
    const { env } = secret as { env: string }
    if (secrets[env] === undefined) throw new Error('not set')
    return secrets[env]
  }
  const row = (headers?: Record<string, string | { env: string }>): NewUpstream => ({
    slug: 'up',
    origin: 'file',
    spec: { transport: { kind: 'http', urls: ['https://up.example'], ...(headers && { headers }) } },
  })
  const mark = (given: NewUpstream): NewUpstream =>
    markSecrets({ origin: 'file', upstreams: [given], virtualServers: [], tokens: [] }, { resolve, mac }).upstreams[0]!
  assert.deepEqual(mark(row()), row())
  assert.deepEqual(mark(row({ 'X-Plain': 'text' })), row({ 'X-Plain': 'text' }))
  const secret = row({ Authorization: { env: 'T' } })
  const first = JSON.stringify(mark(secret))
  assert.equal(JSON.stringify(mark(secret)), first)
  assert.ok(!first.includes('one'))
  secrets.T = 'two'
  const second = JSON.stringify(mark(secret))
  assert.notEqual(second, first)
  delete secrets.T
  assert.notEqual(JSON.stringify(mark(secret)), second)
})
