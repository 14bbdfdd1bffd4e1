// Servers that no one here wrote, behind the gateway, as stdio children and over streamable HTTP: what a client is told
// of each must be what the server says when it is asked directly.

import assert from 'node:assert/strict'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import type { Program } from '../fakes/process.ts'
import { COMMANDS, type Command, startEverything } from './fixtures.ts'
import { type RunningGateway, startGateway } from './gateway.ts'
import { comparable, connectPeer, essence, type Json, type Peer, type Place, textOf } from './peers.ts'

const scratch = mkdtempSync(join(tmpdir(), 'mcp-servers-'))
const files = join(scratch, 'files')
let everything: Program & { readonly url: string }
let gateway: RunningGateway

const stdio = ({ command, args, env }: Command): Json => ({ command, args, ...(env && { env }) })

before(
  async () => {
    mkdirSync(join(files, 'folder'), { recursive: true })
    writeFileSync(join(files, 'hello.txt'), 'Grüße\n'.repeat(3))
    everything = await startEverything()
    const upstreams = {
      every: stdio(COMMANDS.everything),
      everyhttp: { url: everything.url },
      files: stdio(COMMANDS.filesystem(files)),
      memory: stdio(COMMANDS.memory(join(scratch, 'through.json'))),
      state: stdio(COMMANDS.stateful),
    }
    gateway = await startGateway({
      yaml: JSON.stringify({
        version: 1,
        upstreams,
        virtualServers: Object.fromEntries(
          Object.keys(upstreams).map((slug) => [`v-${slug}`, { naming: 'keep', members: [{ upstream: slug }] }]),
        ),
      }),
      env: { E2E_SECRET: 'not for children' },
      ready: Object.keys(upstreams),
    })
  },
  { timeout: 90_000 },
)

after(async () => {
  await gateway?.stop()
  await everything?.stop()
  rmSync(scratch, { recursive: true, force: true })
})

const KINDS = ['sdk 1.x', 'sdk 2.x auto'] as const

async function both(slug: string, place: Place, use: (direct: Peer, peer: Peer) => Promise<void>): Promise<void> {
  for (const kind of KINDS) {
    const direct = await connectPeer(kind, place)
    try {
      const peer = await connectPeer(kind, { url: `${gateway.url}/servers/v-${slug}/mcp`, token: gateway.token })
      try {
        await use(direct, peer)
      } finally {
        await peer.close()
      }
    } finally {
      await direct.close()
    }
  }
}

async function sameLists(direct: Peer, peer: Peer): Promise<void> {
  const same = (through: Json[], plain: Json[]): void =>
    assert.deepEqual(comparable(through, peer, direct), comparable(plain, peer, direct))
  same(await peer.tools(), await direct.tools())
  if ('prompts' in direct.capabilities) same(await peer.prompts(), await direct.prompts())
  if ('resources' in direct.capabilities) {
    same(await peer.resources(), await direct.resources())
    same(await peer.templates(), await direct.templates())
  }
}

async function sameCall(direct: Peer, peer: Peer, name: string, args: Json): Promise<void> {
  assert.deepEqual(essence(await peer.call(name, args)), essence(await direct.call(name, args)), name)
}

for (const slug of ['every', 'everyhttp']) {
  describe(`server-everything as ${slug}`, () => {
    const use = (work: (direct: Peer, peer: Peer) => Promise<void>): Promise<void> =>
      both(slug, slug === 'every' ? COMMANDS.everything : { url: everything.url }, work)

    test('lists', () => use(sameLists))

    test('calls', () =>
      use(async (direct, peer) => {
        await sameCall(direct, peer, 'echo', { message: 'grüße \u{1f600}' })
        await sameCall(direct, peer, 'get-sum', { a: 2, b: 40 })
        await sameCall(direct, peer, 'get-tiny-image', {})
        await sameCall(direct, peer, 'get-annotated-message', { messageType: 'error', includeImage: true })
        await sameCall(direct, peer, 'get-resource-links', { count: 3 })
        await sameCall(direct, peer, 'get-structured-content', { location: 'New York' })
      }))

    test('prompts, resources, templates and completion', () =>
      use(async (direct, peer) => {
        for (const [name, args] of [
          ['simple-prompt', {}],
          ['args-prompt', { city: 'Ulm', state: 'BW' }],
        ] as const)
          assert.deepEqual(essence(await peer.prompt(name, args)), essence(await direct.prompt(name, args)))
        const uri = 'demo://resource/static/document/features.md'
        assert.deepEqual(essence(await peer.read(uri)), essence(await direct.read(uri)))
        // The text of a dynamic resource holds the time of its making.
        const dynamic = (await peer.read('demo://resource/dynamic/text/7')).contents as Json[]
        assert.match(String(dynamic[0]!.text), /Resource 7/)
        const ref = { type: 'ref/prompt', name: 'completable-prompt' } as const
        const argument = { name: 'department', value: 'E' }
        const completed = essence(await peer.complete(ref, argument))
        assert.deepEqual(completed, essence(await direct.complete(ref, argument)))
        assert.deepEqual((completed as { completion: Json }).completion.values, ['Engineering'])
      }))

    test('progress of a long operation, in order', () =>
      use(async (direct, peer) => {
        const run = async (one: Peer): Promise<{ steps: unknown[]; result: unknown }> => {
          const steps: unknown[] = []
          const args = { duration: 0.2, steps: 4 }
          const onProgress = (step: { progress: number; total?: number | undefined }): void =>
            void steps.push([step.progress, step.total])
          const result = await one.call('trigger-long-running-operation', args, { onProgress })
          return { steps, result: essence(result) }
        }
        const [through, plain] = [await run(peer), await run(direct)]
        assert.deepEqual(through.result, plain.result)
        // The SDK forgets who waits for progress as soon as the answer is there, so its own last step may be missing.
        const whole = [1, 2, 3, 4].map((step) => [step, 4])
        for (const { steps } of [through, plain]) {
          assert.ok(steps.length >= 3)
          assert.deepEqual(steps, whole.slice(0, steps.length))
        }
      }))

    test('its refusals are those of the server', () =>
      use(async (direct, peer) => {
        const refusal = async (one: Peer): Promise<unknown> => {
          try {
            return essence(await one.read('demo://resource/static/document/nothing.md'))
          } catch (error) {
            return (error as { code?: number }).code
          }
        }
        const [through, plain] = [await refusal(peer), await refusal(direct)]
        assert.equal(typeof through, 'number')
        // The stateless revision has no -32002: it is -32602 there.
        assert.equal(through, peer.era === 'modern' && plain === -32002 ? -32602 : plain)
      }))
  })
}

test("a child sees its own environment and nothing of the gateway's", async () => {
  const peer = await connectPeer('sdk 1.x', { url: `${gateway.url}/servers/v-every/mcp`, token: gateway.token })
  try {
    const text = textOf(await peer.call('get-env'))
    const environment = JSON.parse(text) as Record<string, string>
    assert.ok(!text.includes('not for children'))
    const allowed = new Set(['PATH', 'HOME', 'LANG', 'TZ', 'TMPDIR'])
    assert.deepEqual(
      Object.keys(environment).filter((name) => !allowed.has(name)),
      [],
    )
  } finally {
    await peer.close()
  }
})

describe('server-filesystem', () => {
  test('lists and reads what it says directly', () =>
    both('files', COMMANDS.filesystem(files), async (direct, peer) => {
      await sameLists(direct, peer)
      await sameCall(direct, peer, 'list_allowed_directories', {})
      await sameCall(direct, peer, 'list_directory', { path: files })
      await sameCall(direct, peer, 'read_text_file', { path: join(files, 'hello.txt') })
      await sameCall(direct, peer, 'read_text_file', { path: join(files, 'hello.txt'), head: 1 })
      await sameCall(direct, peer, 'read_text_file', { path: join(files, 'missing.txt') })
      await sameCall(direct, peer, 'read_text_file', { path: '/etc/passwd' })
      await sameCall(direct, peer, 'read_multiple_files', { paths: [join(files, 'hello.txt')] })
    }))

  test('writes a large file through the gateway, and it is whole', () =>
    both('files', COMMANDS.filesystem(files), async (direct, peer) => {
      const content = 'Zeile mit ü und "Anführung"\n'.repeat(20_000)
      const path = join(files, 'folder', 'large.txt')
      await peer.call('write_file', { path, content })
      assert.equal(textOf(await direct.call('read_text_file', { path })), content)
      assert.equal(textOf(await peer.call('read_text_file', { path })), content)
    }))
})

test('server-memory keeps what it was told, and says it as it does directly', async () => {
  await both('memory', COMMANDS.memory(join(scratch, 'direct.json')), async (direct, peer) => {
    await sameLists(direct, peer)
    const entities = [{ name: 'Ada', entityType: 'person', observations: ['wrote the first program'] }]
    for (const one of [direct, peer]) await one.call('create_entities', { entities })
    await sameCall(direct, peer, 'read_graph', {})
    await sameCall(direct, peer, 'search_nodes', { query: 'Ada' })
    await sameCall(direct, peer, 'open_nodes', { names: ['Ada'] })
  })
})

test('a stateful stdio server has one child per caller, and each caller finds its own again', async () => {
  const url = `${gateway.url}/servers/v-state/mcp`
  const [ada, alan] = await Promise.all([gateway.newToken('stdio ada'), gateway.newToken('stdio alan')])
  const note = async (token: string, kind: 'sdk 1.x' | 'sdk 2.x auto', text: string): Promise<string> => {
    const peer = await connectPeer(kind, { url, token })
    try {
      await peer.call('note', { text })
      return textOf(await peer.call('notes'))
    } finally {
      await peer.close()
    }
  }
  assert.equal(await note(ada, 'sdk 1.x', 'a1'), 'a1')
  assert.equal(await note(alan, 'sdk 1.x', 'b1'), 'b1')
  assert.equal(await note(ada, 'sdk 2.x auto', 'a2'), 'a1\na2')
  assert.equal(await note(alan, 'sdk 2.x auto', 'b2'), 'b1\nb2')
})
