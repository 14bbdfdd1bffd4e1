// The contract of the store port, run against every adapter of store-adapters.ts.

import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { describe, test } from 'node:test'
import { type ErrorCode, GatewayError } from '../../src/core/errors.ts'
import { LIMITS } from '../../src/core/limits.ts'
import type { Definition, UpstreamSpec } from '../../src/core/model.ts'
import type { Store } from '../../src/ports/store.ts'
import { ADAPTERS, type OpenOptions, type Place } from './store-adapters.ts'
import {
  bareDefinitions,
  discovery,
  fileRows,
  httpSpec,
  manyDefinitions,
  manyTombstones,
  newServer,
  newToken,
  newUpstream,
} from './store-samples.ts'

const NOBODY = '01890000-0000-7000-8000-000000000000'
const UUID7 = /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/

async function refused(code: ErrorCode, attempt: Promise<unknown> | (() => Promise<unknown>)): Promise<GatewayError> {
  const error = await (typeof attempt === 'function' ? attempt() : attempt).then(
    () => assert.fail(`${code} was expected`),
    (reason: unknown) => reason,
  )
  if (!(error instanceof GatewayError)) throw error
  assert.equal(error.code, code, error.message)
  return error
}

/** What changed since `seq`, as `kind id` lines. */
async function changesSince(store: Store, seq: number): Promise<string[]> {
  return (await store.changes(seq, 1_000)).changes.map(({ kind, id }) => `${kind} ${id}`)
}

const newest = async (store: Store): Promise<number> => (await store.changes(0, 0)).newest

for (const adapter of ADAPTERS) {
  /** Runs a body on a store of its own. */
  const withStore = (
    name: string,
    body: (store: Store, more: { place: Place; clock: { ms: number } }) => Promise<void>,
    options: OpenOptions = {},
  ): void => {
    test(name, async () => {
      const place = adapter.newPlace()
      const clock = { ms: 1_700_000_000_000 }
      const store = await place.open({ clock: { now: () => clock.ms }, ...options })
      try {
        await body(store, { place, clock })
      } finally {
        await store.close()
        place.checkIntegrity()
        place.remove()
      }
    })
  }

  describe(`store ${adapter.name}: upstreams`, () => {
    withStore(
      'an upstream is stored whole, found by id and slug, and counted as one change',
      async (store, { clock }) => {
        const spec: UpstreamSpec = {
          title: 'Ünïcode \u0000 "quoted"',
          transport: {
            kind: 'http',
            urls: ['https://user:pass@example.com/mcp?key=1', 'https://example.com/mcp'],
            headers: {
              authorization: 'Bearer secret',
              'x-env': { env: 'NAME' },
              'x-file': { file: '/f' },
              __proto__: 'p',
            },
            ca: 'PEM',
          },
          enabled: false,
          tools: {
            echo: { fixed: { key: { sealed: 'no', env: 'NO' } }, hide: true },
            read: { fixed: { file: 'a', env: 'b', password: 'hunter2' } },
          },
          privileged: true,
        }
        const row = await store.insertUpstream({ slug: 'one', spec, origin: 'file', originRef: 'g.yaml:3' })
        assert.match(row.id, UUID7)
        assert.deepEqual(row, {
          id: row.id,
          slug: 'one',
          spec,
          origin: 'file',
          originRef: 'g.yaml:3',
          discovery: null,
          rowVersion: 1,
          createdMs: clock.ms,
          updatedMs: clock.ms,
        })
        assert.deepEqual(await store.upstream(row.id), row)
        assert.deepEqual(await store.upstream('one'), row)
        assert.deepEqual(await store.upstreams(), [row])
        assert.deepEqual(await store.changes(0, 10), {
          changes: [{ seq: 1, kind: 'upstream', id: row.id, atMs: clock.ms }],
          newest: 1,
        })
      },
    )

    withStore('a stdio upstream keeps arguments, environment and bounds', async (store) => {
      const spec: UpstreamSpec = {
        transport: {
          kind: 'stdio',
          command: 'npx',
          args: ['-y', 'server', '--key=secret'],
          env: { TOKEN: 'secret', OTHER: { env: 'X' } },
          cwd: '/tmp',
          memoryBytes: 1,
          childrenMax: 2,
        },
        isolation: 'session',
      }
      const { id } = await store.insertUpstream(newUpstream('s', { spec }))
      assert.deepEqual((await store.upstream(id))!.spec, spec)
    })

    withStore('what is not there is null, an empty list or NOT_FOUND', async (store) => {
      assert.equal(await store.upstream(NOBODY), null)
      assert.deepEqual(await store.upstreams(), [])
      assert.deepEqual(await store.definitions(NOBODY), [])
      assert.equal(await store.virtualServer('nobody'), null)
      assert.equal(await store.tokenByHash('0'.repeat(64)), null)
      await refused('NOT_FOUND', store.updateUpstream(NOBODY, httpSpec(), 'a', null))
      await refused('NOT_FOUND', store.deleteUpstream(NOBODY, null))
      await refused('NOT_FOUND', store.saveDiscovery(NOBODY, discovery(), []))
      await refused('NOT_FOUND', store.updateVirtualServer(NOBODY, { members: [] }, 'a', null))
      await refused('NOT_FOUND', store.deleteVirtualServer(NOBODY, null))
      await refused('NOT_FOUND', store.deleteToken('nobody'))
      assert.equal(await newest(store), 0)
    })

    withStore(
      'an update takes new spec and slug, raises the version and keeps id and birth',
      async (store, { clock }) => {
        const before = await store.insertUpstream(newUpstream('old'))
        clock.ms += 5
        const after = await store.updateUpstream(before.id, httpSpec({ title: 'New' }), 'new', 1)
        assert.deepEqual(after, {
          ...before,
          slug: 'new',
          spec: httpSpec({ title: 'New' }),
          rowVersion: 2,
          updatedMs: clock.ms,
        })
        assert.equal(await store.upstream('old'), null)
        assert.deepEqual(await changesSince(store, 1), [`upstream ${before.id}`])
      },
    )

    withStore(
      'a taken slug is a CONFLICT that names the field and the other row, and writes nothing',
      async (store) => {
        const one = await store.insertUpstream(newUpstream('one'))
        const two = await store.insertUpstream(newUpstream('two'))
        const seq = await newest(store)
        for (const attempt of [
          () => store.insertUpstream(newUpstream('one')),
          () => store.updateUpstream(two.id, httpSpec(), 'one', null),
        ]) {
          const error = await refused('CONFLICT', attempt)
          assert.deepEqual(error.options.data, { field: 'slug', id: one.id })
          assert.match(error.message, /slug "one"/)
        }
        assert.equal(await newest(store), seq)
        // A virtual server has a namespace of its own, and a row may keep its slug.
        await store.insertVirtualServer(newServer('one'))
        await store.updateUpstream(one.id, httpSpec(), 'one', null)
      },
    )

    withStore('another version is PRECONDITION_FAILED and names the one that is there', async (store) => {
      const { id } = await store.insertUpstream(newUpstream('one'))
      await store.updateUpstream(id, httpSpec(), 'one', 1)
      const seq = await newest(store)
      for (const attempt of [() => store.updateUpstream(id, httpSpec(), 'one', 1), () => store.deleteUpstream(id, 1)]) {
        const error = await refused('PRECONDITION_FAILED', attempt)
        assert.deepEqual(error.options.data, { version: 2 })
      }
      assert.equal(await newest(store), seq)
      await store.deleteUpstream(id, 2)
      assert.equal(await store.upstream(id), null)
    })

    for (const [origin, originRef] of [
      ['file', 'gateway.yaml:12'],
      ['demo', undefined],
    ] as const) {
      withStore(`a row of origin ${origin} is MANAGED_BY_FILE for others`, async (store) => {
        const upstream = await store.insertUpstream(newUpstream('one', { origin, originRef }))
        const server = await store.insertVirtualServer(newServer('one', { origin, originRef }))
        await store.insertToken(newToken('one', { origin, originRef }))
        const seq = await newest(store)
        for (const attempt of [
          () => store.updateUpstream(upstream.id, httpSpec(), 'one', null),
          () => store.deleteUpstream(upstream.id, null),
          () => store.updateVirtualServer(server.id, { members: [] }, 'one', null),
          () => store.deleteVirtualServer(server.id, null),
          () => store.deleteToken('one'),
        ]) {
          const error = await refused('MANAGED_BY_FILE', attempt)
          assert.deepEqual(error.options.data, { origin, originRef: originRef ?? null })
          assert.ok(error.message.includes(originRef ?? '"demo"'), error.message)
        }
        assert.equal(await newest(store), seq)
      })
    }

    withStore(
      'more than the limit is TOO_MANY and names the limit',
      async (store) => {
        for (const slug of ['a', 'b']) {
          await store.insertUpstream(newUpstream(slug))
          await store.insertVirtualServer(newServer(slug))
          await store.insertToken(newToken(slug))
        }
        for (const [limit, attempt] of [
          ['upstreamsMax', () => store.insertUpstream(newUpstream('c'))],
          ['virtualServersMax', () => store.insertVirtualServer(newServer('c'))],
          ['tokensMax', () => store.insertToken(newToken('c'))],
        ] as const) {
          const error = await refused('TOO_MANY', attempt)
          assert.deepEqual(error.options.data, { limit, max: 2 })
          assert.ok(error.message.includes(limit))
        }
        const upstreams = [newUpstream('c', { origin: 'file' })]
        await refused('TOO_MANY', store.applyFile(fileRows({ upstreams })))
        assert.equal((await store.upstreams()).length, 2)
        await store.deleteToken('a')
        await store.insertToken(newToken('c'))
      },
      { limits: { upstreamsMax: 2, virtualServersMax: 2, tokensMax: 2 } },
    )
  })

  describe(`store ${adapter.name}: discovery`, () => {
    withStore('definitions come back in their order, byte for byte', async (store) => {
      const { id } = await store.insertUpstream(newUpstream('one'))
      const definitions: Definition[] = [
        { kind: 'tool', name: 'z', json: '{"name":"z", "a":1}' },
        { kind: 'tool', name: 'a', json: '{"name":"a","é":"\\u0000 \u{1f600}"}' },
        { kind: 'prompt', name: 'a', json: '{}' },
        { kind: 'resource', name: 'file:///x y', json: `{"text":"${'y'.repeat(300_000)}"}` },
        { kind: 'template', name: 'file:///{x}', json: '{}' },
        { kind: 'tool', name: 'z', json: '{"twice":true}' },
      ]
      assert.equal(await store.saveDiscovery(id, discovery(), definitions), true)
      assert.deepEqual(await bareDefinitions(store, id), definitions)
      const row = (await store.upstream(id))!
      assert.deepEqual(row.discovery, discovery())
      assert.equal(row.rowVersion, 1)
      assert.deepEqual(await changesSince(store, 1), [`upstream ${id}`, `definitions ${id}`])
    })

    withStore('a definition keeps the time at which it was first offered', async (store, { clock }) => {
      const { id } = await store.insertUpstream(newUpstream('a'))
      const [first, second] = manyDefinitions(2, 'x')
      await store.saveDiscovery(id, discovery(), [first!])
      const seenMs = (await store.definitions(id))[0]!.seenMs
      assert.ok(seenMs !== undefined && seenMs > 0)
      clock.ms += 60_000
      await store.saveDiscovery(id, discovery(), [second!, first!])
      assert.deepEqual(
        (await store.definitions(id)).map((definition) => definition.seenMs),
        [seenMs + 60_000, seenMs],
      )
    })

    withStore('equal definitions are no change; a new answer of the server is', async (store) => {
      const { id } = await store.insertUpstream(newUpstream('one'))
      const definitions = manyDefinitions(3, 'a')
      await store.saveDiscovery(id, discovery(), definitions)
      const seq = await newest(store)

      assert.equal(await store.saveDiscovery(id, discovery({ probedMs: 8, discoveredMs: 9 }), definitions), false)
      assert.equal(await newest(store), seq)
      assert.equal((await store.upstream(id))!.discovery!.discoveredMs, 9)

      assert.equal(await store.saveDiscovery(id, discovery({ instructions: 'New' }), definitions), false)
      assert.deepEqual(await changesSince(store, seq), [`upstream ${id}`])

      assert.equal(await store.saveDiscovery(id, discovery({ instructions: 'New' }), definitions.slice(1)), true)
      assert.deepEqual(await changesSince(store, seq + 1), [`definitions ${id}`])
      assert.deepEqual(await bareDefinitions(store, id), definitions.slice(1))

      const [first, second] = definitions
      for (const next of [[first!, second!], [second!, first!], []]) {
        assert.equal(await store.saveDiscovery(id, discovery({ instructions: 'New' }), next), true)
        assert.deepEqual(await bareDefinitions(store, id), next)
      }
    })

    withStore('a first discovery of nothing is a change of the upstream only', async (store) => {
      const { id } = await store.insertUpstream(newUpstream('one'))
      assert.equal(await store.saveDiscovery(id, discovery(), []), false)
      assert.deepEqual(await changesSince(store, 1), [`upstream ${id}`])
    })

    withStore('it goes with the server that it came from, and only then', async (store) => {
      const { id } = await store.insertUpstream(newUpstream('one'))
      await store.saveDiscovery(id, discovery(), manyDefinitions(2, 'a'))
      const same = httpSpec({
        transport: { kind: 'http', urls: ['http://127.0.0.1:9/mcp', 'http://127.0.0.1:10/mcp'], headers: { a: 'b' } },
      })
      await store.updateUpstream(id, same, 'renamed', null)
      assert.deepEqual((await store.upstream(id))!.discovery, discovery())
      assert.equal((await store.definitions(id)).length, 2)

      const seq = await newest(store)
      const other = httpSpec({ transport: { kind: 'http', urls: ['http://127.0.0.1:11/mcp'] } })
      assert.equal((await store.updateUpstream(id, other, 'renamed', null)).discovery, null)
      assert.deepEqual(await store.definitions(id), [])
      assert.deepEqual(await changesSince(store, seq), [`upstream ${id}`, `definitions ${id}`])
      // The same definitions from the other server are news again.
      assert.equal(await store.saveDiscovery(id, discovery(), manyDefinitions(2, 'a')), true)
    })

    withStore('deleting an upstream deletes its definitions', async (store) => {
      const { id } = await store.insertUpstream(newUpstream('one'))
      await store.saveDiscovery(id, discovery(), manyDefinitions(1_200, 'a'))
      const seq = await newest(store)
      await store.deleteUpstream(id, null)
      assert.deepEqual(await store.definitions(id), [])
      assert.deepEqual(await changesSince(store, seq), [`upstream ${id}`])
    })

    withStore('20,000 definitions: reads are answered meanwhile and see the old set or the new one', async (store) => {
      const { id } = await store.insertUpstream(newUpstream('one'))
      const old = manyDefinitions(20_000, 'old')
      assert.equal(await store.saveDiscovery(id, discovery(), old), true)
      assert.deepEqual(await bareDefinitions(store, id), old)

      let saved = false
      const saving = store.saveDiscovery(id, discovery(), manyDefinitions(20_000, 'new')).then(() => {
        saved = true
      })
      const marks = new Set<string>()
      let readsMeanwhile = 0
      while (!saved) {
        await store.upstream(id)
        if (!saved) readsMeanwhile += 1
        const seen = await store.definitions(id)
        assert.equal(seen.length, 20_000)
        const inOne = new Set(seen.map(({ json }) => (JSON.parse(json) as { description: string }).description))
        assert.equal(inOne.size, 1, 'a mixture of two sets was read')
        marks.add([...inOne][0]!.slice(0, 3))
      }
      await saving
      assert.ok(readsMeanwhile > 0, 'no read was answered while the definitions were saved')
      assert.ok(marks.has('old'))
      assert.match((await store.definitions(id))[19_999]!.json, /"new /)
      assert.equal(await store.saveDiscovery(id, discovery(), manyDefinitions(20_000, 'new')), false)
    })

    withStore('more definitions than a list may have are TOO_MANY', async (store) => {
      const { id } = await store.insertUpstream(newUpstream('one'))
      const definitions = Array<Definition>(LIMITS.listItemsMax + 1).fill({ kind: 'tool', name: 'a', json: '{}' })
      await refused('TOO_MANY', store.saveDiscovery(id, discovery(), definitions))
    })
  })

  describe(`store ${adapter.name}: virtual servers and tokens`, () => {
    withStore('a virtual server is stored, changed and deleted like an upstream', async (store, { clock }) => {
      const spec = {
        title: 'T',
        icons: [{ src: 'data:,' }],
        naming: 'keep' as const,
        members: [{ upstream: 'a', tools: ['x*'], overrides: { x: { name: 'y', fixed: { key: 'secret' } } } }],
      }
      const row = await store.insertVirtualServer(newServer('one', { spec }))
      assert.match(row.id, UUID7)
      assert.deepEqual(row, {
        id: row.id,
        slug: 'one',
        spec,
        origin: 'api',
        originRef: null,
        rowVersion: 1,
        createdMs: clock.ms,
        updatedMs: clock.ms,
      })
      assert.deepEqual(await store.virtualServer('one'), row)
      assert.deepEqual(await store.virtualServers(), [row])
      const error = await refused('CONFLICT', store.insertVirtualServer(newServer('one')))
      assert.deepEqual(error.options.data, { field: 'slug', id: row.id })
      clock.ms += 1
      const next = await store.updateVirtualServer(row.id, { members: [] }, 'two', 1)
      assert.deepEqual(next, { ...row, slug: 'two', spec: { members: [] }, rowVersion: 2, updatedMs: clock.ms })
      await refused('PRECONDITION_FAILED', store.deleteVirtualServer(row.id, 1))
      await store.deleteVirtualServer(row.id, 2)
      assert.deepEqual(await store.virtualServers(), [])
      assert.deepEqual(await changesSince(store, 0), Array(3).fill(`server ${row.id}`))
    })

    withStore('a token is found by hash, and its id, name and hash are its own', async (store, { clock }) => {
      const row = await store.insertToken(newToken('ci', { rights: ['use', 'admin'], expiresMs: clock.ms + 1 }))
      assert.deepEqual(row, {
        ...newToken('ci', { rights: ['use', 'admin'] }),
        originRef: null,
        createdMs: clock.ms,
        expiresMs: clock.ms + 1,
        lastUsedMs: null,
        rowVersion: 1,
      })
      assert.deepEqual(await store.tokenByHash(row.hash), row)
      assert.deepEqual(await store.tokens(), [row])
      const fresh = newToken('other')
      for (const [field, token] of [
        ['name', { ...fresh, name: 'ci' }],
        ['id', { ...fresh, id: row.id }],
        ['hash', { ...fresh, hash: row.hash }],
      ] as const) {
        const error = await refused('CONFLICT', store.insertToken(token))
        assert.deepEqual(error.options.data, { field, id: row.id })
        assert.ok(!error.message.includes(row.hash))
      }
      await store.insertToken(fresh)
      await store.deleteToken('ci')
      await store.deleteToken(fresh.id)
      assert.deepEqual(await store.tokens(), [])
      assert.deepEqual(await changesSince(store, 0), [
        `token ${row.id}`,
        `token ${fresh.id}`,
        `token ${row.id}`,
        `token ${fresh.id}`,
      ])
    })

    withStore('a token named like another one is deleted only when no id fits', async (store) => {
      await store.insertToken(newToken('a', { id: 'first' }))
      await store.insertToken(newToken('first', { id: 'second' }))
      await store.deleteToken('first')
      assert.deepEqual(
        (await store.tokens()).map(({ id }) => id),
        ['second'],
      )
    })

    withStore('the time of last use only grows and is no change', async (store) => {
      const { id, hash } = await store.insertToken(newToken('ci'))
      const seq = await newest(store)
      await store.touchTokens(
        new Map([
          [id, 50],
          [NOBODY, 60],
        ]),
      )
      await store.touchTokens(new Map([[id, 40]]))
      await store.touchTokens(new Map())
      const row = (await store.tokenByHash(hash))!
      assert.equal(row.lastUsedMs, 50)
      assert.equal(row.rowVersion, 1)
      assert.equal(await newest(store), seq)
    })
  })

  describe(`store ${adapter.name}: rows of a file`, () => {
    const upstream = (slug: string, line: number, title?: string) =>
      newUpstream(slug, { origin: 'file', originRef: `g.yaml:${line}`, spec: httpSpec(title ? { title } : {}) })

    withStore('the rows of an origin become those of the file, and others stay', async (store, { clock }) => {
      const api = await store.insertUpstream(newUpstream('api'))
      await store.applyFile(
        fileRows({
          upstreams: [upstream('keep', 1), upstream('change', 2), upstream('remove', 3)],
          virtualServers: [newServer('keep', { origin: 'file' }), newServer('remove', { origin: 'file' })],
          tokens: [newToken('keep', { origin: 'file' }), newToken('remove', { origin: 'file' })],
        }),
      )
      await store.applyFile(fileRows({ origin: 'demo', upstreams: [newUpstream('demo', { origin: 'demo' })] }))
      const before = new Map((await store.upstreams()).map((row) => [row.slug, row]))
      for (const slug of ['keep', 'change']) {
        await store.saveDiscovery(before.get(slug)!.id, discovery(), manyDefinitions(2, slug))
      }
      await store.touchTokens(new Map([['id-keep', 7]]))
      const seq = await newest(store)

      clock.ms += 10
      await store.applyFile(
        fileRows({
          upstreams: [upstream('add', 1), upstream('change', 2, 'Changed'), upstream('keep', 9)],
          virtualServers: [newServer('keep', { origin: 'file' })],
          tokens: [newToken('keep', { origin: 'file' })],
        }),
      )
      const rows = new Map((await store.upstreams()).map((row) => [row.slug, row]))
      assert.deepEqual([...rows.keys()].sort(), ['add', 'api', 'change', 'demo', 'keep'])
      assert.deepEqual(rows.get('api'), api)
      assert.deepEqual(rows.get('demo'), before.get('demo'))
      // Unchanged but for its line: not rewritten, and what was discovered stays.
      assert.deepEqual(rows.get('keep'), { ...before.get('keep')!, originRef: 'g.yaml:9', discovery: discovery() })
      assert.equal((await store.definitions(rows.get('keep')!.id)).length, 2)
      // Changed, but the same server.
      assert.deepEqual(rows.get('change'), {
        ...before.get('change')!,
        spec: httpSpec({ title: 'Changed' }),
        discovery: discovery(),
        rowVersion: 2,
        updatedMs: clock.ms,
      })
      assert.deepEqual(
        (await store.virtualServers()).map(({ slug }) => slug),
        ['keep'],
      )
      const tokens = await store.tokens()
      assert.deepEqual(
        tokens.map(({ name, lastUsedMs, rowVersion }) => ({ name, lastUsedMs, rowVersion })),
        [{ name: 'keep', lastUsedMs: 7, rowVersion: 1 }],
      )
      assert.deepEqual(
        (await changesSince(store, seq)).sort(),
        [
          'token id-remove',
          ...[before.get('remove')!, rows.get('add')!, rows.get('change')!].map(({ id }) => `upstream ${id}`),
          (await changesSince(store, seq)).find((line) => line.startsWith('server'))!,
        ].sort(),
      )
    })

    withStore('the same file again changes nothing', async (store) => {
      const spec = httpSpec({
        transport: { kind: 'http', urls: ['http://127.0.0.1:9/mcp?key=1'], headers: { authorization: 'secret' } },
      })
      const rows = fileRows({
        upstreams: [newUpstream('one', { origin: 'file', spec })],
        virtualServers: [newServer('one', { origin: 'file' })],
        tokens: [newToken('one', { origin: 'file', expiresMs: 5 })],
      })
      await store.applyFile(rows)
      const before = [await store.upstreams(), await store.virtualServers(), await store.tokens()]
      const seq = await newest(store)
      await store.applyFile(rows)
      assert.deepEqual([await store.upstreams(), await store.virtualServers(), await store.tokens()], before)
      assert.equal(await newest(store), seq)
    })

    withStore('an empty file removes the rows of its origin', async (store) => {
      await store.applyFile(fileRows({ upstreams: [upstream('one', 1)] }))
      await store.applyFile(fileRows())
      assert.deepEqual(await store.upstreams(), [])
    })

    withStore('another server under the same slug starts without what was discovered', async (store) => {
      await store.applyFile(fileRows({ upstreams: [upstream('one', 1)] }))
      const { id } = (await store.upstream('one'))!
      await store.saveDiscovery(id, discovery(), manyDefinitions(2, 'a'))
      const spec: UpstreamSpec = { transport: { kind: 'stdio', command: 'x' } }
      await store.applyFile(fileRows({ upstreams: [newUpstream('one', { origin: 'file', spec })] }))
      assert.equal((await store.upstream('one'))!.discovery, null)
      assert.equal((await store.upstream('one'))!.id, id)
      assert.deepEqual(await store.definitions(id), [])
    })

    withStore('tokens of a file may swap their texts', async (store) => {
      const [a, b] = [newToken('a', { origin: 'file' }), newToken('b', { origin: 'file' })]
      await store.applyFile(fileRows({ tokens: [a, b] }))
      await store.applyFile(
        fileRows({
          tokens: [
            { ...a, id: b.id, hash: b.hash },
            { ...b, id: a.id, hash: a.hash },
          ],
        }),
      )
      assert.equal((await store.tokenByHash(a.hash))!.name, 'b')
      assert.equal((await store.tokenByHash(b.hash))!.name, 'a')
    })

    withStore('a clash names every clash and refuses all', async (store) => {
      const api = await store.insertUpstream(newUpstream('taken'))
      const server = await store.insertVirtualServer(newServer('taken'))
      await store.insertToken(newToken('taken'))
      await store.applyFile(fileRows({ upstreams: [upstream('mine', 1)] }))
      const seq = await newest(store)
      const error = await refused(
        'CONFLICT',
        store.applyFile(
          fileRows({
            upstreams: [upstream('free', 2), upstream('taken', 3), upstream('twice', 4), upstream('twice', 5)],
            virtualServers: [newServer('taken', { origin: 'file', originRef: 'g.yaml:6' })],
            tokens: [newToken('other', { id: 'id-taken', origin: 'file', originRef: 'g.yaml:7' })],
          }),
        ),
      )
      assert.deepEqual(
        error.options.faults?.map(({ at }) => at),
        ['g.yaml:3', 'g.yaml:5', 'g.yaml:6', 'g.yaml:7'],
      )
      assert.ok(error.message.includes(api.id) && error.message.includes(server.id), error.message)
      assert.deepEqual((await store.upstreams()).map(({ slug }) => slug).sort(), ['mine', 'taken'])
      assert.equal(await newest(store), seq)
    })

    withStore('files applied at the same time end as one of them', async (store) => {
      await Promise.all(
        Array.from({ length: 8 }, (_, at) =>
          store.applyFile(fileRows({ upstreams: [upstream('all', 1, `t${at}`), upstream(`only-${at}`, 2)] })),
        ),
      )
      const rows = new Map((await store.upstreams()).map((row) => [row.slug, row]))
      assert.equal(rows.size, 2)
      const { title } = rows.get('all')!.spec
      assert.ok(rows.has(`only-${title!.slice(1)}`))
    })
  })

  describe(`store ${adapter.name}: ended sessions`, () => {
    withStore('100,000 are kept, the later expiry wins, and the expired go', async (store) => {
      await store.addTombstones(manyTombstones(100_000, (at) => at))
      await store.addTombstones(manyTombstones(10, () => 5))
      const all = new Map((await store.tombstones()).map(({ key, expiresMs }) => [key, expiresMs]))
      assert.equal(all.size, 100_000)
      const key = (at: number): string => at.toString(16).padStart(32, '0')
      assert.deepEqual([all.get(key(0)), all.get(key(9)), all.get(key(99_999))], [5, 9, 99_999])
      assert.equal(await store.deleteExpired(99_899), 99_900)
      assert.equal(await store.deleteExpired(99_899), 0)
      assert.equal((await store.tombstones()).length, 100)
      assert.equal(await newest(store), 0)
    })

    withStore(
      'a batch past the bound is refused whole, one within it is not',
      async (store) => {
        await store.addTombstones(manyTombstones(8, () => 1))
        const more = manyTombstones(11, () => 2)
        const error = await refused('TOO_MANY', store.addTombstones(more))
        assert.deepEqual(error.options.data, { limit: 'tombstonesMax', max: 10 })
        assert.deepEqual(
          await store.tombstones(),
          manyTombstones(8, () => 1),
        )
        await store.addTombstones(more.slice(0, 10))
        assert.equal(await store.deleteExpired(2), 10)
        await store.addTombstones(more.slice(0, 10))
        await refused('TOO_MANY', store.addTombstones(more.slice(10)))
      },
      { limits: { tombstonesMax: 10 } },
    )
  })

  describe(`store ${adapter.name}: changes`, () => {
    withStore(
      'numbers rise by one, old ones are trimmed, and a reader sees the gap',
      async (store, { clock }) => {
        for (let at = 0; at < 8; at++) await store.insertToken(newToken(`t${at}`))
        const numbers = async (seq: number, limit: number): Promise<number[]> =>
          (await store.changes(seq, limit)).changes.map((change) => change.seq)
        assert.deepEqual(await numbers(0, 100), [4, 5, 6, 7, 8])
        assert.deepEqual(await numbers(5, 2), [6, 7])
        assert.deepEqual(await store.changes(8, 100), { changes: [], newest: 8 })
        assert.deepEqual(await store.changes(7, 100), {
          changes: [{ seq: 8, kind: 'token', id: 'id-t7', atMs: clock.ms }],
          newest: 8,
        })
      },
      { limits: { changesKept: 5 } },
    )

    withStore('a refused write leaves no number', async (store) => {
      await store.insertToken(newToken('a'))
      await refused('CONFLICT', store.insertToken(newToken('a')))
      await store.insertToken(newToken('b'))
      assert.deepEqual(
        (await store.changes(0, 9)).changes.map((change) => change.seq),
        [1, 2],
      )
    })
  })

  describe(`store ${adapter.name}: together and again`, () => {
    withStore('of many writers of one version exactly one wins', async (store) => {
      const { id } = await store.insertUpstream(newUpstream('one'))
      for (let version = 1; version <= 5; version++) {
        const results = await Promise.allSettled(
          Array.from({ length: 20 }, (_, at) =>
            store.updateUpstream(id, httpSpec({ title: `${version}.${at}` }), 'one', version),
          ),
        )
        assert.equal(results.filter(({ status }) => status === 'fulfilled').length, 1)
      }
      assert.equal((await store.upstream(id))!.rowVersion, 6)
      assert.equal(await newest(store), 6)
    })

    withStore('of many writers of one slug exactly one wins', async (store) => {
      const results = await Promise.allSettled(
        Array.from({ length: 20 }, () => store.insertUpstream(newUpstream('one'))),
      )
      assert.equal(results.filter(({ status }) => status === 'fulfilled').length, 1)
      assert.equal((await store.upstreams()).length, 1)
    })

    withStore('writers that do not wait for each other all get their number', async (store) => {
      const { id } = await store.insertUpstream(newUpstream('one'))
      await Promise.all([
        store.saveDiscovery(id, discovery(), manyDefinitions(5_000, 'a')),
        ...Array.from({ length: 100 }, (_, at) => store.insertToken(newToken(`t${at}`))),
        store.addTombstones(manyTombstones(5_000, () => 9)),
        ...Array.from({ length: 20 }, (_, at) => store.insertVirtualServer(newServer(`s${at}`))),
      ])
      const { changes, newest } = await store.changes(0, 1_000)
      assert.equal(newest, 1 + 2 + 100 + 20)
      assert.deepEqual(
        changes.map((change) => change.seq),
        Array.from({ length: newest }, (_, at) => at + 1),
      )
    })

    test('what was stored is there after it was closed, and a closed store says so', async () => {
      const place = adapter.newPlace()
      const first = await place.open()
      const row = await first.insertUpstream(newUpstream('one'))
      const late = first.insertToken(newToken('late'))
      await first.close()
      await first.close()
      await late
      const error = await refused('STORE_UNAVAILABLE', first.upstreams())
      assert.match(error.message, /closed/)
      const second = await place.open()
      assert.deepEqual(await second.upstreams(), [row])
      assert.equal((await second.tokens()).length, 1)
      assert.equal(await newest(second), 2)
      await second.close()
      place.remove()
    })

    test('a process killed while it saves leaves one whole set of definitions, and none that was answered is lost', async () => {
      const place = adapter.newPlace()
      const store = await place.open()
      const { id } = await store.insertUpstream(newUpstream('one'))
      await store.saveDiscovery(id, discovery(), manyDefinitions(20_000, '0'))
      await store.close()
      for (const afterMs of [40, 160, 420]) {
        const answered = await killWhileSaving(adapter.name, place.address, id, afterMs)
        place.checkIntegrity()
        const again = await place.open()
        const found = await again.definitions(id)
        const marks = new Set(found.map(({ json }) => /"description":"(\d+) /.exec(json)![1]!))
        assert.equal(found.length, 20_000)
        assert.equal(marks.size, 1, `a mixture of ${[...marks].join(' and ')}`)
        assert.ok(Number([...marks][0]) >= answered)
        assert.equal((await again.upstream(id))!.slug, 'one')
        // Back to the state that each round starts from.
        await again.saveDiscovery(id, discovery(), manyDefinitions(20_000, '0'))
        await again.close()
      }
      place.remove()
    })
  })
}

/** The number of the last save that was answered before the kill. */
async function killWhileSaving(adapter: string, address: string, id: string, afterMs: number): Promise<number> {
  const script = join(import.meta.dirname, 'store-crash.ts')
  const child = spawn(process.execPath, [script, adapter, address, id], { stdio: ['ignore', 'pipe', 'inherit'] })
  let answered = -1
  const lines = createInterface(child.stdout)
  lines.on('line', (line) => {
    answered = Number(line)
  })
  await once(lines, 'line')
  await new Promise((resolve) => setTimeout(resolve, afterMs))
  child.kill('SIGKILL')
  await once(child, 'close')
  return answered
}
