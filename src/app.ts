// The composition root: the only file that picks adapters and joins the two planes. With one worker everything lives in
// this process; with several the data planes are worker processes (worker.ts) under supervisor.ts.

import { randomInt } from 'node:crypto'
import { readFileSync, rmSync } from 'node:fs'
import { type AddressInfo, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { extname } from 'node:path'
import { fileURLToPath } from 'node:url'
import { childSocketPath, createChildServer } from './adapters/children-socket.ts'
import { serveControl } from './adapters/control-workers.ts'
import { openDataDirectory } from './adapters/data-directory.ts'
import { lockData } from './adapters/data-lock.ts'
import { createFeedSender } from './adapters/feed-workers.ts'
import { createLocalHop } from './adapters/hop-local.ts'
import { createHopRelay } from './adapters/hop-workers.ts'
import { createSqliteStore } from './adapters/store-sqlite.ts'
import type { Tap } from './call/tap.ts'
import { readBaseEnvironment } from './config/environment.ts'
import type { Config } from './config/load.ts'
import { markSecrets } from './config/secret-marks.ts'
import { createSecretResolver } from './config/secrets.ts'
import type { Outcome, Reloaded } from './control/configuration.ts'
import { GatewayError } from './core/errors.ts'
import type { Limits } from './core/limits.ts'
import type { Definition, UpstreamState } from './core/model.ts'
import type { Clock } from './core/time.ts'
import type { createDataPlane } from './data-plane.ts'
import { createFastLink } from './http/fast-link.ts'
import { createNodeServer } from './http/node-exchange.ts'
import { createSealer } from './mcp/seal.ts'
import type { Log } from './ports/log.ts'
import type { FileRows, NewUpstream } from './ports/store.ts'
import type { Primary } from './primary.ts'
import { type ConfigFiles, createReloading, type Reloading } from './reload.ts'
import { createSupervisor, openFilesShortage, type Supervisor, workersAuto } from './supervisor.ts'
import { restSocketPath, type StartMessage, type WorkerAnswers } from './worker-start.ts'

export interface StartOptions {
  readonly config: Config
  /** Rows of gateway.yaml and mcp.json, of origin `file`. */
  readonly rows: FileRows
  /** Those files, where they are to be watched and read again. */
  readonly files?: ConfigFiles
  /** Adds the two demo upstreams of examples/. */
  readonly demo: boolean
  /** How long `settled` waits for upstreams. */
  readonly readyMs: number
  readonly version: string
  readonly log: Log
  /** For whoever watches over the shoulder of one upstream; with one worker only. */
  readonly taps?: Taps
  /** A reload has changed it. */
  readonly setLogLevel?: (level: Config['telemetry']['logLevel']) => void
}

export interface Taps {
  readonly onCall: Tap
  readonly onStderr: (chunk: Buffer, processId: string) => void
}

/** An upstream as it is now, with what it offers. */
export interface Observed extends UpstreamSummary {
  readonly definitions: readonly Definition[]
}

/** What became of a reload that brought something new. */
export interface ReloadReport extends Outcome {
  /** The upstreams that it added or changed, when they have answered or failed. */
  readonly settled: Promise<readonly UpstreamSummary[]>
}

export interface UpstreamSummary {
  readonly slug: string
  readonly state: UpstreamState['state']
  readonly revision: string | null
  readonly tools: number
  readonly prompts: number
  readonly resources: number
  readonly message: string | null
  readonly nextRetryMs: number | null
}

export interface Running {
  readonly url: string
  /** Null with --open. */
  readonly token: string | null
  /** When every upstream has answered or failed, or readyMs is over. */
  readonly settled: Promise<readonly UpstreamSummary[]>
  /** Reads the files again now. Errors: CONFIG_REFUSED with every fault. */
  reload(): Promise<Reloaded>
  /** Hears of every reload that brought something new, whoever asked for it. */
  onReload(listener: (report: ReloadReport) => void): void
  /** Ends the processes of this upstream, and reads it anew. Null where there is none. */
  restart(slug: string): Promise<Observed | null>
  /** Hears how it is now, and whenever its state or its definitions may have changed. For one listener. */
  observe(slug: string, listener: (observed: Observed) => void): void
  /** Drains and ends; the second call does nothing more. */
  stop(): Promise<void>
  /** Exit code, when everything has ended. */
  readonly stopped: Promise<number>
}

const clock: Clock = { now: () => Date.now() }
const LOOPBACK = new Set(['127.0.0.1', '::1', 'localhost'])

/**
 * Starts a replica. Errors: CONFIG_INVALID, CONFLICT (the data directory is taken), STORE_UNAVAILABLE, and those of
 * listening (EADDRINUSE, EACCES) as node gives them.
 */
export async function startGateway(options: StartOptions): Promise<Running> {
  const { config, log, version } = options
  const { server, access } = config
  if (access.open && !LOOPBACK.has(server.host)) {
    throw new GatewayError(
      'CONFIG_INVALID',
      `--open asks nobody for a token: it is refused on ${server.host}, which others can reach`,
    )
  }
  const limits: Limits = config.limits
  const workers = server.workers === 'auto' ? workersAuto(limits) : server.workers
  const shortage = openFilesShortage(limits.connectionsMax)
  if (shortage !== null) log.warn('start.open_files', { message: shortage })

  const lock = lockData(config.store.data, clock)
  const closers: (() => unknown)[] = [() => lock.release()]
  const closeAll = async (): Promise<void> => {
    for (const close of closers.reverse()) await close()
    closers.length = 0
  }
  try {
    const directory = openDataDirectory(config.store.data)
    const secretKey = directory.secretKey()
    const sealer = createSealer([{ id: 1, key: secretKey }])
    const opening = createSqliteStore({
      path: directory.storePath,
      clock,
      log,
      sealing: { encrypt: (plain) => sealer.seal('store', plain), decrypt: (text) => sealer.open('store', text) },
    })
    closers.push(async () => (await opening.catch(() => null))?.close())
    opening.catch(() => {}) // it is awaited below
    // While the store's thread opens it, this one loads the rest; a primary with workers needs no data plane.
    const [{ createPrimary }, plane] = await Promise.all([
      import('./primary.ts'),
      workers === 1 ? import('./data-plane.ts') : null,
    ])
    const isTls = config.server.tls !== null
    const ca = access.caBundle === null ? null : readFileSync(access.caBundle, 'utf8')
    const port = server.port === 0 ? await freePort(server.host) : server.port
    const publicUrl = server.publicUrl ?? `${isTls ? 'https' : 'http'}://${urlHost(server.host)}:${port}`
    const demo = options.demo ? await startDemo() : null
    if (demo !== null) closers.push(demo.close)

    let supervisor: Supervisor | null = null
    let primary: Primary | null = null
    const secrets = { resolve: createSecretResolver(), mac: (plain: Buffer) => sealer.mac('secret', plain) }
    const marked = (rows: FileRows): FileRows => markSecrets(rows, secrets)
    const reloading = createReloading({
      files: options.files ?? filesOfNone(config, options.rows),
      marked,
      primary: () => primary!,
      config,
      setLogLevel: (level) => options.setLogLevel?.(level),
      clock,
      log,
    })
    primary = await createPrimary({
      config,
      publicUrl,
      directory,
      store: await opening,
      configuration: reloading.configuration,
      rows: [
        marked(options.rows),
        { origin: 'demo', upstreams: demo?.upstreams ?? [], virtualServers: [], tokens: [] },
      ],
      sealer,
      baseEnv: readBaseEnvironment(),
      ca,
      workers: () => supervisor?.workers().length ?? 1,
      ready: () => true,
      version,
      ...(options.taps === undefined ? {} : { onStderr: options.taps.onStderr }),
      clock,
      log,
    })
    closers.push(() => primary?.close())
    const start = (): StartMessage => ({
      config: reloading.config(),
      publicUrl,
      port,
      secretKey: secretKey.toString('hex'),
      ca,
      version,
      runPath: directory.runPath,
    })
    if (plane !== null)
      closers.push(await serveHere(plane.createDataPlane, primary, start(), log, options.taps?.onCall))
    else supervisor = await serveByWorkers(primary, start, workers, log, closers)
    directory.announce(publicUrl)
    closers.push(() => directory.withdraw())
    reloading.start()
    closers.push(() => reloading.close())
    log.info('start.ready', { url: publicUrl, workers, upstreams: primary.feed.current()?.parts.size ?? 0 })
    return runningOf(options, primary, reloading, publicUrl, closeAll)
  } catch (error) {
    await closeAll()
    throw error
  }
}

/** A start without files: there is nothing to read again. */
function filesOfNone(config: Config, rows: FileRows): ConfigFiles {
  const first = { config, rows, faults: [], notes: [], settings: new Map(), referred: [] }
  return { paths: [], first, load: async () => first }
}

function runningOf(
  options: StartOptions,
  primary: Primary,
  reloading: Reloading,
  url: string,
  closeAll: () => Promise<void>,
): Running {
  let stopping: Promise<void> | null = null
  let end: (code: number) => void = () => {}
  const stopped = new Promise<number>((resolve) => {
    end = resolve
  })
  return {
    url,
    token: primary.token,
    settled: summarize(primary, options.readyMs),
    reload: () => reloading.configuration.reload(),
    onReload(listener) {
      reloading.configuration.onOutcome = (outcome) => {
        const names = outcome.rows.filter(({ kind, change }) => kind === 'upstream' && change !== 'removed')
        const settled = summarize(primary, options.readyMs, new Set(names.map(({ name }) => name)))
        listener({ ...outcome, settled })
      }
    },
    async restart(slug) {
      const id = idOf(primary, slug)
      if (id === null) return null
      await primary.restart(id)
      return observed(primary, id)
    },
    observe(slug, listener) {
      const tell = (): void => {
        const id = idOf(primary, slug)
        if (id !== null) listener(observed(primary, id))
      }
      tell()
      primary.feed.onChange(tell)
      // What it offers is stored by now, and is to be told together with its state.
      primary.discoverer.onState = () => void primary.feed.sync().then(tell, () => {})
    },
    stop() {
      stopping ??= closeAll().then(
        () => end(0),
        (error: unknown) => {
          options.log.error('stop.fault', { error })
          end(1)
        },
      )
      return stopping
    },
    stopped,
  }
}

/** The data plane in this process. */
async function serveHere(
  create: typeof createDataPlane,
  primary: Primary,
  start: StartMessage,
  log: Log,
  tap?: Tap,
): Promise<() => Promise<void>> {
  const { config } = start
  const plane = create({
    config,
    publicUrl: start.publicUrl,
    holder: primary.holder,
    authenticator: primary.authenticator,
    bus: primary.bus,
    control: primary.control,
    children: primary.children,
    createLink: createFastLink,
    rest: primary.rest,
    sealer: primary.sealer,
    ca: start.ca,
    hop: createLocalHop({ worker: 0, boot: randomInt(2 ** 32) }),
    version: start.version,
    ...(tap === undefined ? {} : { tap }),
    clock,
    log,
  })
  for (const { key, expiresMs } of primary.sessionEnds.all()) plane.edge.markEnded(key, expiresMs)
  await plane.listen(start.port)
  return () => plane.drain(false)
}

/** Data planes in worker processes, which reach the primary by messages and by two Unix sockets. */
async function serveByWorkers(
  primary: Primary,
  startNow: () => StartMessage,
  workers: number,
  log: Log,
  closers: (() => unknown)[],
): Promise<Supervisor> {
  const start = startNow()
  const { limits } = start.config
  const childServer = createChildServer({
    children: primary.children,
    path: childSocketPath(start.runPath, tmpdir()),
    limits,
    log,
  })
  await childServer.listen()
  closers.push(() => childServer.close())
  const restServer = createNodeServer({ handler: primary.rest, limits, trustedProxies: [], log })
  const restPath = restSocketPath(start.runPath)
  rmSync(restPath, { force: true })
  await new Promise<void>((resolve, reject) => {
    restServer.server.once('error', reject).listen(restPath, () => resolve())
  })
  closers.push(() => restServer.close())
  const hops = createHopRelay()
  const feed = createFeedSender({ feed: primary.feed, limits, log })
  const answers: { [K in keyof WorkerAnswers]: () => WorkerAnswers[K] } = {
    start: startNow,
    ended: () => [...primary.sessionEnds.all()].map(({ key, expiresMs }) => [key, expiresMs]),
  }
  const supervisor = createSupervisor({
    workers,
    workerScript: fileURLToPath(new URL(`./worker${extname(import.meta.url)}`, import.meta.url)),
    workerArgv: [],
    limits,
    clock,
    log,
    random: Math.random,
    onWorker(messages, n) {
      primary.bus.attach(messages)
      hops.attach(messages, n)
      serveControl({ control: primary.control, messages, limits, log })
      feed.attach(messages)
      messages.on('start', (what) => messages.send('start', answers[what as keyof WorkerAnswers]()))
    },
  })
  closers.push(() => supervisor.stop())
  await supervisor.start()
  return supervisor
}

/** A port that nobody uses now: what `port: 0` asks for has to be known before the first worker listens. */
function freePort(host: string): Promise<number> {
  return new Promise((resolve, reject) => {
    const probe = createServer()
    probe.once('error', reject)
    probe.listen(0, host, () => {
      const { port } = probe.address() as AddressInfo
      probe.close(() => resolve(port))
    })
  })
}

function urlHost(host: string): string {
  if (host === '0.0.0.0' || host === '::') return 'localhost'
  return host.includes(':') ? `[${host}]` : host
}

interface Demo {
  readonly upstreams: readonly NewUpstream[]
  readonly close: () => Promise<void>
}

/** The demo upstreams: one over HTTP in this process, one as a stdio child. */
async function startDemo(): Promise<Demo> {
  const examples = new URL('../examples/', import.meta.url)
  const { startDemoHttp } = (await import(new URL('demo-http/server.mjs', examples).href)) as {
    startDemoHttp: () => Promise<{ url: string; close: () => Promise<void> }>
  }
  const http = await startDemoHttp()
  const stdio = fileURLToPath(new URL('demo-stdio/server.mjs', examples))
  return {
    upstreams: [
      {
        slug: 'demo',
        origin: 'demo',
        spec: { title: 'Demo over HTTP', privileged: true, transport: { kind: 'http', urls: [http.url] } },
      },
      {
        slug: 'notes',
        origin: 'demo',
        spec: {
          title: 'Demo over stdio',
          privileged: true,
          transport: { kind: 'stdio', command: process.execPath, args: [stdio] },
        },
      },
    ],
    close: http.close,
  }
}

/** Of all upstreams, or of those with these slugs. */
async function summarize(
  primary: Primary,
  readyMs: number,
  slugs: ReadonlySet<string> | null = null,
): Promise<UpstreamSummary[]> {
  const all = [...(primary.feed.current()?.parts.values() ?? [])].map(({ upstream }) => upstream)
  const rows = slugs === null ? all : all.filter(({ slug }) => slugs.has(slug))
  await primary.discoverer.whenSettled(
    rows.map(({ id }) => id),
    readyMs,
  )
  await primary.feed.sync()
  await primary.holder.built()
  return rows.map(({ id }) => summaryOf(primary, id)).sort((a, b) => (a.slug < b.slug ? -1 : 1))
}

function summaryOf(primary: Primary, id: string): UpstreamSummary {
  const part = primary.feed.current()?.parts.get(id)
  const { state, message, nextRetryMs } = primary.discoverer.state(id)
  const count = (kind: string): number => part?.definitions.filter((definition) => definition.kind === kind).length ?? 0
  return {
    slug: part?.upstream.slug ?? id,
    state,
    revision: part?.upstream.discovery?.revision ?? null,
    tools: count('tool'),
    prompts: count('prompt'),
    resources: count('resource') + count('template'),
    message,
    nextRetryMs,
  }
}

function observed(primary: Primary, id: string): Observed {
  return { ...summaryOf(primary, id), definitions: primary.feed.current()?.parts.get(id)?.definitions ?? [] }
}

function idOf(primary: Primary, slug: string): string | null {
  for (const [id, { upstream }] of primary.feed.current()?.parts ?? []) if (upstream.slug === slug) return id
  return null
}
