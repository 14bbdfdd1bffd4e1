// Who calls and what is known: caches against asking again. The store is the real SQLite adapter in a folder of its own.

import { createHash, createHmac } from 'node:crypto'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { mintToken } from '../../src/access/api-token.ts'
import { createAuthenticator } from '../../src/access/authenticate.ts'
import { createCallers } from '../../src/access/callers.ts'
import { createJwtVerifier } from '../../src/access/jwt.ts'
import { createSqliteStore } from '../../src/adapters/store-sqlite.ts'
import { LIMITS } from '../../src/core/limits.ts'
import type { Store } from '../../src/ports/store.ts'
import { createLog } from '../../src/telemetry/log.ts'
import { makeGateway } from '../../test/fakes/call.ts'
import { registryRows, tool, upstreamRow } from '../../test/fakes/registry.ts'
import { compare, type Pace, type Pair } from '../rig/micro.ts'
import type { Component } from './component.ts'

const clock = { now: () => Date.now() }
const bus = { subscribe: () => () => {} }
const silent = createLog({ level: 'silent', format: 'json', write: () => {}, now: () => 0 })
const TOOLS = 1_000

async function withStore<T>(use: (store: Store) => Promise<T>): Promise<T> {
  const folder = mkdtempSync(join(tmpdir(), 'mcp-gateway-bench-store-'))
  const sealing = {
    encrypt: (plain: Buffer) => plain.toString('base64'),
    decrypt: (text: string) => Buffer.from(text, 'base64'),
  }
  const store = await createSqliteStore({ path: join(folder, 'gateway.db'), clock, log: silent, sealing })
  try {
    return await use(store)
  } finally {
    await store.close()
    rmSync(folder, { recursive: true, force: true })
  }
}

async function jwt(pace: Pace): Promise<Pair[]> {
  const secret = 'a secret of the bench that is long enough'
  const part = (value: object): string => Buffer.from(JSON.stringify(value)).toString('base64url')
  const exp = Math.floor(Date.now() / 1000) + 3_600
  const claims = { iss: 'bench', aud: 'gateway', sub: 'one', iat: exp - 3_600, exp, rights: ['use'] }
  const text = `${part({ alg: 'HS256', typ: 'JWT' })}.${part(claims)}`
  const token = `${text}.${createHmac('sha256', secret).update(text).digest('base64url')}`
  const options = { secret: [secret], issuer: 'bench', audience: 'gateway' }
  const control = { caller: async () => null }
  const authenticator = createAuthenticator({ control, jwt: options, clock, limits: LIMITS, open: false, bus })
  const verify = createJwtVerifier(options)
  const header = `Bearer ${token}`
  try {
    return [
      await compare(
        { name: 'known for 30 s', run: () => authenticator.authenticate(header) },
        { name: 'verified per request', run: () => verify(token, Date.now()) },
        pace,
      ),
    ]
  } finally {
    authenticator.close()
  }
}

async function apiToken(pace: Pace): Promise<Pair[]> {
  return withStore(async (store) => {
    const minted = mintToken()
    await store.insertToken({ id: minted.id, name: 'bench', hash: minted.hash, rights: ['use'], origin: 'api' })
    const callers = createCallers({ store, clock, limits: LIMITS })
    const authenticator = createAuthenticator({ control: callers, jwt: null, clock, limits: LIMITS, open: false, bus })
    const header = `Bearer ${minted.text}`
    try {
      await authenticator.authenticate(header)
      return [
        await compare(
          { name: 'known caller', run: () => authenticator.authenticate(header) },
          {
            name: 'asked of SQLite per request',
            run: () => callers.caller(createHash('sha256').update(minted.text).digest('hex')),
          },
          pace,
        ),
      ]
    } finally {
      authenticator.close()
      await callers.close()
    }
  })
}

async function registry(pace: Pace): Promise<Pair[]> {
  const definitions = Array.from({ length: TOOLS }, (_, n) => tool(`t${n}`))
  const gateway = await makeGateway(registryRows([{ upstream: upstreamRow('u'), definitions }]), () => {
    throw new Error('nobody is asked')
  })
  return withStore(async (store) => {
    const row = await store.insertUpstream({
      slug: 'u',
      spec: { transport: { kind: 'http', urls: ['http://127.0.0.1:1/mcp'] } },
      origin: 'api',
    })
    return [
      await compare(
        {
          name: 'name looked up in the snapshot',
          run: () => gateway.registry.current().scopes.get('')!.toolByName.get('u-t500'),
        },
        { name: 'one row read from SQLite', run: () => store.upstream(row.id) },
        pace,
      ),
    ]
  })
}

async function batches(pace: Pace): Promise<Pair[]> {
  const SIZE = 100
  return withStore(async (store) => {
    const ids = Array.from({ length: SIZE }, () => mintToken())
    for (const [n, minted] of ids.entries())
      await store.insertToken({ id: minted.id, name: `t${n}`, hash: minted.hash, rights: ['use'], origin: 'api' })
    let now = Date.now()
    return [
      await compare(
        {
          name: `${SIZE} times of last use in one write`,
          run: () => {
            now += 1
            return store.touchTokens(new Map(ids.map(({ id }) => [id, now])))
          },
        },
        {
          name: `${SIZE} single writes`,
          run: async () => {
            now += 1
            for (const { id } of ids) await store.touchTokens(new Map([[id, now]]))
          },
        },
        pace,
      ),
    ]
  })
}

export const ACCESS: readonly Component[] = [
  {
    layer: 'Caches',
    name: 'JWT cache, 30 s',
    claim: '5–12 ms → < 1 ms, > 80 % hits',
    ours: 'verified once per token and 30 s: src/access/authenticate.ts',
    measure: jwt,
  },
  {
    layer: 'Caches',
    name: 'auth cache, 60 s',
    claim: '8–15 ms → 1–3 ms, 3–4 → 0–1 queries',
    ours: 'known callers by the hash of their token, told of changes by the bus: src/access/authenticate.ts',
    measure: apiToken,
  },
  {
    layer: 'Caches',
    name: 'registry cache, 15–20 s',
    claim: '50–200 → 0–1 queries, 95 %+ hits',
    ours: 'an immutable snapshot, no query ever: src/registry/holder.ts',
    measure: registry,
  },
  {
    layer: 'Hygiene',
    name: 'buffered metric writes, bulk UPDATE for tokens',
    claim: 'fewer, larger writes',
    ours: 'times of last use gathered and written in one go: src/access/callers.ts',
    measure: batches,
  },
]
