import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { type Answered, type Ask, type RestFixture, startRest } from '../../test/fakes/rest.ts'
import { hashToken } from '../access/api-token.ts'
import { LOCAL_CALLER } from '../access/authenticate.ts'

let rest: RestFixture
before(async () => {
  rest = await startRest()
})
after(() => rest.close())

const create = (body: object, as: Ask['as'] = 'admin'): Promise<Answered> =>
  rest.ask('POST', '/v1/tokens', { as, body })
const bearer = (text: string): Ask => ({ as: { authorization: `Bearer ${text}` } })

test('a new token is shown once, works at once, and only its hash is kept', async () => {
  const made = await create({ name: 'ci' })
  assert.equal(made.status, 201, made.text)
  assert.match(made.body.token, /^mgw_[0-9A-Za-z]{12}_[0-9A-Za-z]{43}$/)
  assert.deepEqual(made.body.rights, ['use'])
  assert.equal(made.body.expiresAt, null)
  assert.equal((await rest.ask('GET', '/v1/tools', bearer(made.body.token))).status, 200)
  const list = await rest.ask('GET', '/v1/tokens')
  assert.ok(!list.text.includes(made.body.token))
  assert.ok(!list.text.includes(hashToken(made.body.token)))
  const row = (await rest.store.tokens()).find(({ name }) => name === 'ci')
  assert.equal(row?.hash, hashToken(made.body.token))
  assert.ok(!JSON.stringify(rest.logged).includes(made.body.token))
})

test('an administrator grants use and admin, only an operator grants operator', async () => {
  assert.deepEqual((await create({ name: 'a-1', rights: ['admin'] })).body.rights, ['admin'])
  assert.deepEqual((await create({ name: 'a-2', rights: ['use', 'admin'] })).body.rights, ['use', 'admin'])
  const refused = await create({ name: 'a-3', rights: ['use', 'operator'] })
  assert.equal(refused.status, 403)
  assert.equal(refused.body.code, 'OPERATOR_ONLY')
  assert.equal((await create({ name: 'a-3', rights: ['use', 'operator'] }, 'operator')).status, 201)
})

test('a list as long as a body may be is refused in the time that it takes to read', async () => {
  const refused = await create({ name: 'long', rights: Array.from({ length: 100_000 }, (_, n) => [n]) })
  assert.deepEqual([refused.status, refused.body.code], [400, 'INVALID_INPUT'])
})

test('under --open nobody makes or revokes tokens: they would outlive it', async () => {
  const open = await startRest({}, { authenticate: () => LOCAL_CALLER })
  try {
    const made = await open.ask('POST', '/v1/tokens', { as: null, body: { name: 'later', rights: ['admin'] } })
    assert.deepEqual([made.status, made.body.code], [403, 'FORBIDDEN'])
    assert.equal((await open.ask('DELETE', '/v1/tokens/an%20agent', { as: null })).status, 403)
    assert.deepEqual((await open.store.tokens()).map(({ name }) => name).sort(), [
      'an admin',
      'an agent',
      'the operator',
    ])
    assert.equal((await open.ask('GET', '/v1/tokens', { as: null })).status, 200)
  } finally {
    await open.close()
  }
})

const faulty: [string, object, string][] = [
  ['no name', {}, '/name'],
  ['an empty name', { name: '' }, '/name'],
  ['a name of spaces', { name: '  ' }, '/name'],
  ['a space at its end', { name: 'x ' }, '/name'],
  ['a line break', { name: 'a\nb' }, '/name'],
  ['an escape sequence', { name: 'a\u001b[31mb' }, '/name'],
  ['a right-to-left override', { name: 'a\u202eb' }, '/name'],
  ['a name too long', { name: 'x'.repeat(65) }, '/name'],
  ['no rights', { name: 'x', rights: [] }, '/rights'],
  ['a right that is none', { name: 'x', rights: ['root'] }, '/rights/0'],
  ['a right twice', { name: 'x', rights: ['use', 'use'] }, '/rights'],
  ['rights as a text', { name: 'x', rights: 'use' }, '/rights'],
  ['an end that is no time', { name: 'x', expiresAt: 'tomorrow' }, '/expiresAt'],
  ['an end without a zone', { name: 'x', expiresAt: '2030-01-01T00:00:00' }, '/expiresAt'],
  ['an end that no calendar has', { name: 'x', expiresAt: '2030-13-01T00:00:00Z' }, '/expiresAt'],
  ['an end in the past', { name: 'x', expiresAt: '2020-01-01T00:00:00Z' }, '/expiresAt'],
  ['a text of its own', { name: 'x', token: 'mgw_x' }, '/token'],
]
for (const [name, body, at] of faulty) {
  test(`refused with its place: ${name}`, async () => {
    const answer = await create(body, 'operator')
    assert.equal(answer.status, 400, answer.text)
    assert.deepEqual(
      answer.body.errors.map((fault: { at: string }) => fault.at),
      [at],
    )
  })
}

test('a token ends when it says', async () => {
  const expiresAt = new Date(rest.clock.now() + 60_000).toISOString()
  const { body } = await create({ name: 'short', expiresAt })
  assert.equal(body.expiresAt, expiresAt)
  assert.equal((await rest.ask('GET', '/v1/tools', bearer(body.token))).status, 200)
  rest.clock.forward(60_000)
  assert.equal((await rest.ask('GET', '/v1/tools', bearer(body.token))).body.code, 'UNAUTHENTICATED')
})

test('a revoked token is refused from the next request on, cached as it may be', async () => {
  const { body } = await create({ name: 'doomed' })
  assert.equal((await rest.ask('GET', '/v1/tools', bearer(body.token))).status, 200)
  assert.equal((await rest.ask('DELETE', '/v1/tokens/doomed')).status, 204)
  assert.deepEqual(rest.bus.published.at(-1), { topic: 'callersChanged', event: { hashes: [hashToken(body.token)] } })
  assert.equal((await rest.ask('GET', '/v1/tools', bearer(body.token))).body.code, 'UNAUTHENTICATED')
  assert.equal((await rest.ask('DELETE', '/v1/tokens/doomed')).body.code, 'NOT_FOUND')
})

test('a token is revoked by its id first: a name cannot pose as the id of another', async () => {
  const { body: first } = await create({ name: 'the-first' })
  const { body: second } = await create({ name: first.id })
  assert.equal((await rest.ask('DELETE', `/v1/tokens/${first.id}`)).status, 204)
  assert.equal((await rest.ask('GET', '/v1/tools', bearer(first.token))).status, 401)
  assert.equal((await rest.ask('GET', '/v1/tools', bearer(second.token))).status, 200)
})

test("an operator's token is revoked by an operator only, and a file's by its file", async () => {
  const refused = await rest.ask('DELETE', '/v1/tokens/the%20operator')
  assert.equal(refused.body.code, 'OPERATOR_ONLY')
  await rest.token('by-file', ['use'], 'file')
  const managed = await rest.ask('DELETE', '/v1/tokens/by-file', { as: 'operator' })
  assert.equal(managed.body.code, 'MANAGED_BY_FILE')
  assert.match(managed.body.detail, /gateway\.yaml:7/)
  await create({ name: 'another operator', rights: ['operator'] }, 'operator')
  assert.equal((await rest.ask('DELETE', '/v1/tokens/another%20operator', { as: 'operator' })).status, 204)
})
