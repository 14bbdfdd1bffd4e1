// A whole data plane: edge, call and upstream links around one snapshot, behind one listening server. With one worker it
// lives beside the primary in the same process, with several each worker process holds one; it cannot tell which.

import { readFileSync, unwatchFile, watchFile } from 'node:fs'
import { setTimeout as wait } from 'node:timers/promises'
import type { Authenticator } from './access/authenticate.ts'
import { createDispatch } from './call/dispatch.ts'
import type { Gateway } from './call/gateway.ts'
import { createPageCache } from './call/page-cache.ts'
import { Parks } from './call/park.ts'
import { watch } from './call/subscribe.ts'
import { type Tap, tapped } from './call/tap.ts'
import { createValidators } from './call/validators.ts'
import type { Config } from './config/load.ts'
import { createSecretResolver } from './config/secrets.ts'
import { needRight } from './core/policy.ts'
import type { Clock } from './core/time.ts'
import { createEdge, type Edge } from './edge/edge.ts'
import { isEndpoint, isSocketPath } from './edge/router.ts'
import type { ExchangeHandler } from './http/exchange.ts'
import type { CreateLink } from './http/link.ts'
import { createNodeServer, type TlsTexts } from './http/node-exchange.ts'
import type { Sealer } from './mcp/seal.ts'
import type { Bus } from './ports/bus.ts'
import type { ChildConnector } from './ports/children.ts'
import type { Control } from './ports/control.ts'
import type { Hop } from './ports/hop.ts'
import type { Log } from './ports/log.ts'
import { changedLists, marksOf } from './registry/changes.ts'
import type { Holder } from './registry/holder.ts'
import { createUpstreams } from './upstream/send.ts'

export interface DataPlaneDeps {
  readonly config: Config
  /** The gateway's own origin, as clients reach it. */
  readonly publicUrl: string
  readonly holder: Holder
  readonly authenticator: Authenticator
  readonly bus: Bus
  readonly control: Control
  readonly children: ChildConnector
  /** The way to HTTP upstreams. */
  readonly createLink: CreateLink
  /** Says which worker this is: 0 in the primary's own process, 1 and up in workers; kept in the ids of our requests. */
  readonly hop: Hop
  /** Everything that is not MCP. */
  readonly rest: ExchangeHandler
  readonly sealer: Sealer
  /** PEM of CAs to trust besides the system's, or null. */
  readonly ca: string | null
  readonly version: string
  /** Hears of every call; absent, it costs nothing. */
  readonly tap?: Tap
  readonly clock: Clock
  readonly log: Log
}

export interface DataPlane {
  readonly edge: Edge
  /** Calls that wait for clients of 2026-07-28. */
  parked(): number
  /** Errors: those of node's listen. */
  listen(port: number): Promise<void>
  /**
   * Serves what is in flight to its end within the limits, then closes everything. `isReplaced`: other workers take new
   * connections, so that calls which wait for their clients' answers can still get them.
   */
  drain(isReplaced: boolean): Promise<void>
}

/** How often a drain looks whether calls still wait for their clients. */
const CLIENTS_LOOK_MS = 50

export function createDataPlane(deps: DataPlaneDeps): DataPlane {
  const { config, holder, bus, control, clock, log } = deps
  const { limits } = config
  const upstreams = createUpstreams({
    control,
    bus,
    children: deps.children,
    createLink: deps.createLink,
    resolveSecret: createSecretResolver(),
    networks: config.access.networksAllowed,
    ca: deps.ca,
    version: deps.version,
    worker: deps.hop.here.worker,
    clock,
    random: Math.random,
    limits,
    log,
  })
  upstreams.upstreamsChanged(holder.current().upstreams)

  const parks = new Parks({ sealer: deps.sealer, hop: deps.hop, clock, limits })
  const gateway: Gateway = {
    registry: holder,
    authorize: (call) => needRight(call.caller, 'use'),
    hooks: { before: [], after: [] },
    upstreams,
    validators: createValidators(log),
    pages: createPageCache(limits.listCacheBytes),
    sealer: deps.sealer,
    parks,
    watch: (holder, key, uri, on) => control.watch(holder, key, uri, on),
    open: config.access.open,
    version: deps.version,
  }
  const scopeOf = (name: string) => holder.current().scopes.get(name)
  const edge = createEdge({
    authenticate: deps.authenticator.authenticate,
    dispatch: deps.tap === undefined ? createDispatch(gateway) : tapped(createDispatch(gateway), deps.tap),
    scopeExists: (scope) => scopeOf(scope) !== undefined,
    marksOf: (scope) => marksOf(scopeOf(scope)),
    ready: () => ({ ready: true, missing: [] }),
    sealer: deps.sealer,
    hop: deps.hop,
    bus,
    watch: (call, holder, uri) => watch(call, gateway, holder, uri, true),
    unwatch: (holder) => control.unwatch(holder),
    leaveSession: (session) => control.leaveSession(session),
    endSession: (session, callerId, expiresMs) => control.endSession(session, callerId, expiresMs),
    rest: deps.rest,
    limits,
    log,
    clock,
    publicUrl: deps.publicUrl,
    hosts: config.access.hosts,
    origins: config.access.origins,
    open: config.access.open,
  })
  let seen = holder.current()
  const unfollow = holder.onSwap((snapshot) => {
    const before = seen
    seen = snapshot
    upstreams.upstreamsChanged(snapshot.upstreams)
    // Only now: whoever is told that a list has changed reads it anew at once.
    edge.announce((scope) => changedLists(before.scopes.get(scope), snapshot.scopes.get(scope)))
  })
  const server = createNodeServer({
    handler: edge.handler,
    isFastPath: isEndpoint,
    isSocketPath,
    limits,
    trustedProxies: config.server.trustedProxies,
    ...(config.server.tls === null ? {} : { tls: readTls(config.server.tls) }),
    log,
  })
  const stopWatching =
    config.server.tls === null
      ? () => {}
      : watchTls(config.server.tls, limits.tlsPollMs, (texts) => server.setTls(texts), log)
  return {
    edge,
    parked: () => parks.size,
    listen: (port) =>
      new Promise((resolve, reject) => {
        server.server.once('error', reject)
        server.server.listen({ host: config.server.host, port, backlog: limits.backlog }, () => {
          server.server.off('error', reject)
          resolve()
        })
      }),
    async drain(isReplaced) {
      stopWatching()
      edge.drain()
      // What is then cut off still needs a moment to say so.
      const untilMs = performance.now() + limits.stopMs - limits.lingerMs
      const leftMs = (): number => Math.max(0, untilMs - performance.now())
      const waitsForClients = (): boolean => {
        const { questions, unread } = edge.stats()
        return questions + unread + parks.size > 0
      }
      // Calls still come in until the drain is over.
      await server.drain(limits.drainMs)
      edge.drain()
      await edge.idle(leftMs())
      while (isReplaced && waitsForClients() && leftMs() > 0) await wait(CLIENTS_LOOK_MS)
      await edge.idle(leftMs())
      unfollow()
      edge.close()
      parks.close()
      // Those that were cancelled just now still say so to their clients.
      await edge.idle(limits.lingerMs)
      await server.close()
      await upstreams.close()
    },
  }
}

interface TlsFiles {
  readonly cert: string
  readonly key: string
}

function readTls({ cert, key }: TlsFiles): TlsTexts {
  return { cert: readFileSync(cert, 'utf8'), key: readFileSync(key, 'utf8') }
}

/** A renewed certificate is taken up for new connections; one that cannot be read or does not fit leaves the old one. */
function watchTls(files: TlsFiles, pollMs: number, take: (texts: TlsTexts) => void, log: Log): () => void {
  const reload = (): void => {
    try {
      take(readTls(files))
      log.info('tls.reloaded', { cert: files.cert })
    } catch (error) {
      log.warn('tls.not_reloaded', { cert: files.cert, error })
    }
  }
  // By polling: renewals replace files by rename and by links, which watchers of a path miss.
  for (const path of [files.cert, files.key]) watchFile(path, { interval: pollMs, persistent: false }, reload)
  return () => {
    for (const path of [files.cert, files.key]) unwatchFile(path, reload)
  }
}
