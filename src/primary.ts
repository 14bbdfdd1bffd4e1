// The control plane of a replica: store, registry, discovery, stdio children, links of state-keeping upstreams, REST API.
// There is one in a replica, whatever the number of workers.

import { hashToken, mintToken } from './access/api-token.ts'
import { type Authenticator, createAuthenticator } from './access/authenticate.ts'
import { createCallers } from './access/callers.ts'
import { createPrimaryBus, type PrimaryBus } from './adapters/bus-workers.ts'
import type { DataDirectory } from './adapters/data-directory.ts'
import type { Config } from './config/load.ts'
import { createSecretResolver } from './config/secrets.ts'
import type { Configuration } from './control/configuration.ts'
import { createDiscoverer, type Discoverer } from './control/discover.ts'
import { createRest } from './control/rest.ts'
import { createSessionEnds, type SessionEnds } from './control/session-ends.ts'
import type { Clock } from './core/time.ts'
import type { ExchangeHandler } from './http/exchange.ts'
import { createFastLink } from './http/fast-link.ts'
import { gatewayId, type Sealer } from './mcp/seal.ts'
import type { Children } from './ports/children.ts'
import { type Control, sessionHolder } from './ports/control.ts'
import type { Log } from './ports/log.ts'
import type { FileRows, Store } from './ports/store.ts'
import { createFollower, type Follower } from './registry/follow.ts'
import { createHolder, type Holder } from './registry/holder.ts'
import { createBroker } from './upstream/broker.ts'
import { createChildren } from './upstream/children.ts'
import { Watches } from './upstream/watches.ts'

export interface PrimaryDeps {
  readonly config: Config
  readonly publicUrl: string
  readonly directory: DataDirectory
  /** Closed by whoever opened it, after the primary. */
  readonly store: Store
  /** What the files and --demo want: each origin's rows are made equal to these. */
  readonly rows: readonly FileRows[]
  readonly configuration: Pick<Configuration, 'view' | 'reload'>
  readonly sealer: Sealer
  readonly baseEnv: Readonly<Record<string, string>>
  readonly ca: string | null
  readonly workers: () => number
  readonly ready: () => boolean
  readonly version: string
  readonly onStderr?: (chunk: Buffer, processId: string) => void
  readonly clock: Clock
  readonly log: Log
}

export interface Primary {
  readonly bus: PrimaryBus
  readonly feed: Follower
  readonly holder: Holder
  readonly control: Control
  readonly children: Children
  readonly authenticator: Authenticator
  readonly sealer: Sealer
  readonly discoverer: Discoverer
  readonly sessionEnds: SessionEnds
  readonly rest: ExchangeHandler
  /** The first token's text; null with --open. */
  readonly token: string | null
  /** Ends the links and processes of an upstream and reads it anew. Resolves when it is ready or down. */
  restart(upstreamId: string): Promise<void>
  /** Makes the rows of that origin these, here and in every worker. Errors: CONFLICT with every clash, TOO_MANY. */
  applyRows(rows: FileRows, before: FileRows): Promise<void>
  /** Takes up the settings that take effect at once, here and in every worker. */
  applySettings(config: Config): void
  close(): Promise<void>
}

/** The operator's token: kept in the data directory, so that it can be shown again and commands find it. */
async function firstToken(store: Store, directory: DataDirectory): Promise<string> {
  const kept = directory.token()
  if (kept !== null && (await store.tokenByHash(hashToken(kept))) !== null) return kept
  const { id, text, hash } = mintToken()
  const taken = (await store.tokens()).some(({ name }) => name === 'first')
  await store.insertToken({
    id,
    name: taken ? `first-${id}` : 'first',
    hash,
    rights: ['use', 'admin', 'operator'],
    origin: 'api',
  })
  directory.saveToken(text)
  return text
}

/** Hashes of the tokens that are not in both lists as they are: what is remembered of them is no longer true. */
function changedTokens(before: FileRows['tokens'], after: FileRows['tokens']): string[] {
  const textOf = ({ hash, rights, expiresMs }: FileRows['tokens'][number]): string =>
    JSON.stringify([hash, rights, expiresMs])
  const [old, fresh] = [new Set(before.map(textOf)), new Set(after.map(textOf))]
  const changed = [...before.filter((row) => !fresh.has(textOf(row))), ...after.filter((row) => !old.has(textOf(row)))]
  return [...new Set(changed.map(({ hash }) => hash))]
}

export async function createPrimary(deps: PrimaryDeps): Promise<Primary> {
  const { config, directory, store, sealer, clock, log } = deps
  const { limits } = config
  const onFault = (error: unknown): void => log.error('primary.fault', { error })
  for (const rows of deps.rows) await store.applyFile(rows)
  const token = config.access.open ? null : await firstToken(store, directory)

  const bus = createPrimaryBus({ limits, log })
  const feed = createFollower(store, onFault)
  await feed.start()
  // What the bus misses is seen by the feed's own poll.
  const unhear = bus.subscribe('definitions', () => void feed.sync().catch(onFault))
  const { callMs, callMsMax, connectMs } = limits
  const holder = createHolder(
    feed,
    { validate: config.defaults.validate, callMs, callMsMax, connectMs },
    clock,
    onFault,
  )

  const children = createChildren({
    ...{ limits, clock, log, baseEnv: deps.baseEnv },
    ...(deps.onStderr === undefined ? {} : { onStderr: deps.onStderr }),
  })
  const broker = createBroker({
    bus,
    gatewayId: gatewayId(sealer),
    children,
    upstream: (id) => store.upstream(id),
    createLink: createFastLink,
    resolveSecret: createSecretResolver(),
    networks: config.access.networksAllowed,
    ca: deps.ca,
    version: deps.version,
    clock,
    random: Math.random,
    limits,
    log,
  })
  const watches = new Watches({
    broker,
    bus,
    isModern: async (id) => {
      const row = await store.upstream(id)
      return row?.discovery === null || row === null ? null : row.discovery.era === 'modern'
    },
    limits,
    random: Math.random,
    log,
  })
  const discoverer = createDiscoverer({ store, broker, bus, clock, random: Math.random, log, limits })
  const callers = createCallers({ store, clock, limits })
  const closeOwner = (session: string): void => {
    watches.unwatch(sessionHolder(session))
    broker.closeOwner(session)
  }
  const sessionEnds = createSessionEnds({
    store,
    bus,
    closeOwner,
    clock,
    limits,
    log,
  })
  await sessionEnds.load()

  const control: Control = {
    caller: (hash) => callers.caller(hash),
    openLink: (key) => broker.openLink(key),
    staleLink: (key, generation, why) => broker.staleLink(key, generation, why),
    endSession: (session, callerId, expiresMs) => sessionEnds.end(session, callerId, expiresMs),
    leaveSession: closeOwner,
    watch: (holder, key, uri, on) => watches.watch(holder, key, uri, on),
    unwatch: (holder) => watches.unwatch(holder),
    takeQuestion: async (id) => broker.takeQuestion(id),
    answerQuestion: (id, reply) => broker.answerQuestion(id, reply),
    linksUsed: (keys) => broker.linksUsed(keys),
    reportUpstream: (id, ok, code, message) => discoverer.report(id, ok, code, message),
  }
  const authenticator = createAuthenticator({
    control,
    jwt: config.access.jwt,
    clock,
    limits,
    open: config.access.open,
    bus,
  })
  const unfollow = discoverer.follow(feed)
  const commandsAllowed = [...config.access.commandsAllowed]
  const rest = createRest({
    store,
    discoverer,
    feed,
    snapshot: () => holder.current(),
    authenticate: authenticator.authenticate,
    children,
    // Whoever has written something reads it again at once.
    changed: () => feed.sync().then(holder.built),
    bus,
    sealer,
    configuration: deps.configuration,
    config: {
      // In place: a reload changes it.
      commandsAllowed,
      networksAllowed: config.access.networksAllowed,
      publicUrl: deps.publicUrl,
    },
    clock,
    log,
    version: deps.version,
    workers: deps.workers,
    ready: deps.ready,
  })
  await holder.ready()

  return {
    bus,
    feed,
    holder,
    control,
    children,
    authenticator,
    sealer,
    discoverer,
    sessionEnds,
    rest,
    token,
    async restart(id) {
      broker.closeUpstream(id)
      // The new one may want the port or the lock of the old one.
      await Promise.all(children.list(id).map((child) => children.stop(child.id)))
      await discoverer.refresh(id)
      await feed.sync()
      await holder.built()
    },
    async applyRows(rows, before) {
      await store.applyFile(rows)
      const hashes = changedTokens(before.tokens, rows.tokens)
      if (hashes.length > 0) bus.publish('callersChanged', { hashes })
      await feed.sync()
      await holder.built()
    },
    applySettings({ access, telemetry }) {
      commandsAllowed.splice(0, commandsAllowed.length, ...access.commandsAllowed)
      authenticator.setJwt(access.jwt)
      bus.publish('settings', { logLevel: telemetry.logLevel, jwt: access.jwt })
      // Whoever is connected by a token of before is looked at again.
      bus.publish('callersChanged', { hashes: null })
    },
    async close() {
      unhear()
      unfollow()
      feed.close()
      holder.close()
      authenticator.close()
      await discoverer.close()
      watches.close()
      await broker.close()
      await children.close()
      await sessionEnds.close()
      await callers.close()
    },
  }
}
