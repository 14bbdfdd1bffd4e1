// The REST API over a real listening server, with the real authenticator, registry and sealer; only the store is in
// memory and the discoverer does what a test tells it.

import { request } from 'node:http'
import type { AddressInfo } from 'node:net'
import { mintToken } from '../../src/access/api-token.ts'
import { createAuthenticator } from '../../src/access/authenticate.ts'
import { createCallers } from '../../src/access/callers.ts'
import { createRest } from '../../src/control/rest.ts'
import type { Discovering, RestConfig, RestDeps } from '../../src/control/route.ts'
import { LIMITS } from '../../src/core/limits.ts'
import type { Definition, Discovery, Origin, TokenRow, UpstreamRow, UpstreamState } from '../../src/core/model.ts'
import type { Right } from '../../src/core/policy.ts'
import { createNodeServer } from '../../src/http/node-exchange.ts'
import { createSealer } from '../../src/mcp/seal.ts'
import type { ChildView } from '../../src/ports/children.ts'
import { SILENT } from '../../src/ports/log.ts'
import { createFollower } from '../../src/registry/follow.ts'
import { createHolder } from '../../src/registry/holder.ts'
import { createFakeBus, type FakeBus } from './bus.ts'
import { createFakeClock, type FakeClock } from './clock.ts'
import { DISCOVERY } from './registry.ts'
import { createMemoryStore, type MemoryStore } from './store-memory.ts'

export interface Ask {
  /** Which token is sent; null for none, a text for that very header. */
  readonly as?: 'operator' | 'admin' | 'use' | null | { readonly authorization: string }
  /** JSON, or a raw body. */
  readonly body?: unknown
  readonly raw?: string | Buffer
  readonly headers?: Readonly<Record<string, string>>
}

export interface Answered {
  readonly status: number
  readonly headers: Readonly<Record<string, string | string[] | undefined>>
  readonly text: string
  /** Parsed JSON, `null` when there is no body. Tests look where they like. */
  // biome-ignore lint/suspicious/noExplicitAny: the shape of what is answered is what the tests are about
  readonly body: any
}

/** A discoverer that knows what it is told. */
export interface FakeDiscoverer extends Discovering {
  readonly refreshed: string[]
  readonly waited: { ids: readonly string[]; ms: number }[]
  set(id: string, state: UpstreamState['state'], more?: Partial<UpstreamState>): void
}

function createFakeDiscoverer(clock: FakeClock): FakeDiscoverer {
  const states = new Map<string, UpstreamState>()
  const waiting = new Set<() => void>()
  const fresh = (state: UpstreamState['state']): UpstreamState => ({
    state,
    sinceMs: clock.now(),
    code: null,
    message: null,
    attempts: 0,
    nextRetryMs: null,
  })
  return {
    refreshed: [],
    waited: [],
    state: (id) => states.get(id) ?? fresh('connecting'),
    async refresh(id) {
      this.refreshed.push(id)
      return this.state(id)
    },
    whenSettled(ids, ms) {
      this.waited.push({ ids, ms })
      return new Promise<void>((resolve) => {
        const done = (): void => {
          clearTimeout(timer)
          waiting.delete(check)
          resolve()
        }
        const check = (): void => {
          if (ids.every((id) => this.state(id).state !== 'connecting')) done()
        }
        const timer = setTimeout(done, ms)
        waiting.add(check)
        check()
      })
    },
    set(id, state, more = {}) {
      states.set(id, { ...fresh(state), ...more })
      for (const check of waiting) check()
    },
  }
}

export interface RestFixture {
  readonly url: string
  readonly store: MemoryStore
  readonly clock: FakeClock
  readonly bus: FakeBus
  readonly discoverer: FakeDiscoverer
  readonly children: ChildView[]
  readonly logged: { event: string; fields: unknown }[]
  ready: boolean
  ask(method: string, path: string, ask?: Ask): Promise<Answered>
  /** An upstream straight into the store. */
  upstream(
    slug: string,
    row?: { origin?: Origin; originRef?: string; spec?: Partial<UpstreamRow['spec']> },
  ): Promise<UpstreamRow>
  /** What discovery would learn of it; the snapshot has it when this returns. */
  discover(row: UpstreamRow, definitions: readonly Definition[], discovery?: Partial<Discovery>): Promise<void>
  token(name: string, rights: readonly Right[], origin?: Origin): Promise<{ row: TokenRow; text: string }>
  close(): Promise<void>
}

export async function startRest(
  config: Partial<RestConfig> = {},
  changes: Partial<RestDeps> = {},
): Promise<RestFixture> {
  const clock = createFakeClock()
  const bus = createFakeBus()
  const store = createMemoryStore({ clock })
  const follower = createFollower(store, () => {})
  await follower.sync()
  const defaults = {
    validate: 'arguments',
    callMs: LIMITS.callMs,
    callMsMax: LIMITS.callMsMax,
    connectMs: 5_000,
  } as const
  const holder = createHolder(follower, defaults, clock, () => {})
  const callers = createCallers({ store, clock, limits: LIMITS })
  const authenticator = createAuthenticator({ control: callers, jwt: null, clock, limits: LIMITS, open: false, bus })
  const discoverer = createFakeDiscoverer(clock)
  const children: ChildView[] = []
  const logged: { event: string; fields: unknown }[] = []
  const log = (event: string, fields?: unknown): void => {
    logged.push({ event, fields })
  }

  const token: RestFixture['token'] = async (name, rights, origin = 'api') => {
    const { id, text, hash } = mintToken()
    const originRef = origin === 'api' ? undefined : 'gateway.yaml:7'
    return { row: await store.insertToken({ id, name, hash, rights, origin, originRef }), text }
  }
  const texts = {
    operator: (await token('the operator', ['use', 'admin', 'operator'])).text,
    admin: (await token('an admin', ['use', 'admin'])).text,
    use: (await token('an agent', ['use'])).text,
  }

  const handler = createRest({
    store,
    discoverer,
    feed: follower,
    snapshot: () => holder.current(),
    authenticate: authenticator.authenticate,
    children: {
      list: (id) => children.filter(({ upstreamId }) => upstreamId === id),
      stderr: (id) =>
        children
          .filter(({ upstreamId }) => upstreamId === id)
          .map(({ stderr }) => stderr)
          .join(''),
    },
    changed: () => follower.sync(),
    bus,
    sealer: createSealer([{ id: 1, key: Buffer.alloc(32, 1) }]),
    config: { commandsAllowed: [], networksAllowed: [], publicUrl: 'https://gw.example', ...config },
    configuration: {
      view: () => ({ files: [], appliedMs: clock.now(), refused: null, nextStart: [] }),
      reload: async () => ({ files: [], rows: [], settings: [] }),
    },
    clock,
    log: { ...SILENT, info: log, warn: log, error: log },
    version: '1.2.3',
    workers: () => 1,
    ready: () => fixture.ready,
    ...changes,
  })
  const lane = createNodeServer({ handler, limits: LIMITS, trustedProxies: [], log: SILENT })
  await new Promise<void>((resolve) => lane.server.listen(0, '127.0.0.1', resolve))
  const url = `http://127.0.0.1:${(lane.server.address() as AddressInfo).port}`

  const fixture: RestFixture = {
    url,
    store,
    clock,
    bus,
    discoverer,
    children,
    logged,
    ready: true,
    token,
    ask(method, path, { as = 'admin', body, raw, headers = {} } = {}) {
      const bytes = raw ?? (body === undefined ? undefined : JSON.stringify(body))
      const authorization = as === null ? undefined : typeof as === 'string' ? `Bearer ${texts[as]}` : as.authorization
      return send(`${url}${path}`, method, bytes, {
        ...(authorization === undefined ? {} : { authorization }),
        ...(bytes === undefined ? {} : { 'content-type': 'application/json' }),
        ...headers,
      })
    },
    async upstream(slug, { origin = 'api', originRef, spec = {} } = {}) {
      const transport = { kind: 'http', urls: [`https://${slug}.example/mcp`] } as const
      const row = await store.insertUpstream({ slug, spec: { transport, ...spec }, origin, originRef })
      await follower.sync()
      return row
    },
    async discover(row, definitions, discovery = {}) {
      discoverer.set(row.id, 'ready')
      const nowMs = clock.now()
      await store.saveDiscovery(
        row.id,
        { ...DISCOVERY, probedMs: nowMs, discoveredMs: nowMs, ...discovery },
        definitions,
      )
      const swapped = new Promise<void>((resolve) => {
        const stop = holder.onSwap(() => {
          stop()
          resolve()
        })
      })
      await follower.sync()
      await swapped
    },
    async close() {
      await lane.close()
      authenticator.close()
      await callers.close()
      holder.close()
      follower.close()
    },
  }
  return fixture
}

function send(
  url: string,
  method: string,
  body: string | Buffer | undefined,
  headers: Readonly<Record<string, string>>,
): Promise<Answered> {
  return new Promise((resolve, reject) => {
    const sent = request(url, { method, headers, agent: false }, (response) => {
      const parts: Buffer[] = []
      response.on('data', (part: Buffer) => parts.push(part))
      response.on('error', reject)
      response.on('end', () => {
        const text = Buffer.concat(parts).toString('utf8')
        resolve({
          status: response.statusCode ?? 0,
          headers: response.headers,
          text,
          body: text === '' ? null : JSON.parse(text),
        })
      })
    })
    sent.on('error', reject)
    sent.end(body)
  })
}
