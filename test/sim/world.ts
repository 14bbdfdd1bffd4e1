// The gateway of a simulation: real data planes, a real broker, bus and hops, on virtual time and virtual wires. Workers
// are killed and replaced, servers crash, and after every step what must always hold is looked at.

import { randomInt } from 'node:crypto'
import { createPrimaryBus, createWorkerBus } from '../../src/adapters/bus-workers.ts'
import { createControlClient, serveControl } from '../../src/adapters/control-workers.ts'
import { createHopRelay, createWorkerHop } from '../../src/adapters/hop-workers.ts'
import { loadConfig } from '../../src/config/load.ts'
import { GatewayError } from '../../src/core/errors.ts'
import { LIMITS, type Limits } from '../../src/core/limits.ts'
import type { Discovery } from '../../src/core/model.ts'
import type { Caller } from '../../src/core/policy.ts'
import { createDataPlane, type DataPlane } from '../../src/data-plane.ts'
import { createSealer } from '../../src/mcp/seal.ts'
import type { Control } from '../../src/ports/control.ts'
import { SILENT } from '../../src/ports/log.ts'
import { createFollower } from '../../src/registry/follow.ts'
import { createHolder } from '../../src/registry/holder.ts'
import { createBroker } from '../../src/upstream/broker.ts'
import { createMemoryStore } from '../fakes/store-memory.ts'
import type { Random } from '../fuzz/random.ts'
import { DEFINITION, LegacyServer, ModernServer } from './servers.ts'
import type { VirtualTime } from './time.ts'
import { type Town, User } from './users.ts'
import { type Channel, type Connection, createChannel, SimLink, type SimServer } from './wires.ts'

export const WORKERS = 3
/** Small, so that they are met all the time. */
const SIM_LIMITS: Partial<Limits> = {
  maxInFlight: 24,
  maxQueued: 4,
  parkedMax: 12,
  parkedPerCaller: 4,
  questionsPerCall: 8,
  callMs: 20_000,
  callMsMax: 60_000,
}
/** After this long without anything new, nothing may be left of what was. */
const QUIET_MS = 6 * Math.max(LIMITS.parkedMs, LIMITS.questionMs)

interface Worker {
  readonly n: number
  readonly plane: DataPlane
  readonly channel: Channel
  readonly connections: Set<Connection>
  readonly links: Set<SimLink>
}

export interface Outcome {
  readonly steps: number
  readonly faults: readonly string[]
  readonly counts: ReadonlyMap<string, number>
}

export class World implements Town {
  readonly time: VirtualTime
  readonly random: Random
  readonly faults: string[] = []
  readonly counts = new Map<string, number>()
  readonly users: User[] = []
  readonly #servers = new Map<string, { server: LegacyServer | ModernServer; isUp: boolean }>()
  readonly #workers: Worker[] = []
  readonly #start: (n: number) => Worker
  #lastWorker = 0

  static async create(time: VirtualTime, random: Random): Promise<World> {
    const clock = { now: () => time.nowMs }
    const store = createMemoryStore({ clock })
    const eras = { old: 'legacy', new: 'modern' } as const
    for (const [slug, era] of Object.entries(eras)) {
      const transport = { kind: 'http', urls: [`http://127.0.0.1:${slug === 'old' ? 1 : 2}/mcp`] } as const
      const row = await store.insertUpstream({ slug, spec: { privileged: true, transport }, origin: 'api' })
      const discovery: Discovery = {
        ...{
          era,
          revision: era === 'legacy' ? '2025-11-25' : '2026-07-28',
          probedMs: time.nowMs,
          discoveredMs: time.nowMs,
        },
        ...{ serverInfo: { name: slug, version: '1' }, capabilities: { tools: {} } },
        ...{ stateful: era === 'legacy', ttlMs: null, skipped: [] },
      }
      await store.saveDiscovery(row.id, discovery, [{ kind: 'tool', name: 'work', json: DEFINITION }])
    }
    const { config: given } = await loadConfig({ flags: {}, env: {}, workingDirectory: '/' })
    const limits: Limits = { ...given.limits, ...SIM_LIMITS }
    // The compiler of schemas is loaded from disk, which takes real time: no two runs would be the same.
    const defaults = { ...given.defaults, validate: 'off' } as const
    return new World(time, random, { ...given, limits, defaults }, store)
  }

  private constructor(
    time: VirtualTime,
    random: Random,
    config: Awaited<ReturnType<typeof loadConfig>>['config'],
    store: ReturnType<typeof createMemoryStore>,
  ) {
    this.time = time
    this.random = random
    const { limits } = config
    const clock = { now: () => time.nowMs }
    const onFault = (error: unknown): void => this.fault(`a promise: ${(error as Error).stack}`)
    const log = { ...SILENT, error: (event: string, fields?: object) => this.fault(`log: ${event} ${show(fields)}`) }
    this.#servers.set('1', { server: new LegacyServer(this, this), isUp: true })
    this.#servers.set('2', { server: new ModernServer(this, this), isUp: true })
    const sealer = createSealer([{ id: 1, key: Buffer.alloc(32, 7) }])
    const feed = createFollower(store, onFault)
    const defaults = {
      ...{ validate: config.defaults.validate },
      ...{ callMs: limits.callMs, callMsMax: limits.callMsMax, connectMs: limits.connectMs },
    }
    const holder = createHolder(feed, defaults, clock, onFault)
    const bus = createPrimaryBus({ limits, log })
    const linkDeps = {
      resolveSecret: (secret: unknown) => String(secret),
      networks: [],
      ca: null,
      clock,
      random: () => random.int(1e6) / 1e6,
      limits,
      log,
      version: '0.0.0',
    }
    const noChildren = async (): Promise<never> => {
      throw new GatewayError('UPSTREAM_UNAVAILABLE', 'there are no processes here')
    }
    const broker = createBroker({
      ...linkDeps,
      bus,
      gatewayId: 'sim',
      children: {
        ...{
          spawn: noChildren,
          connect: noChildren,
          stop: async () => {},
          retire: () => {},
          onExit: null,
          list: () => [],
          stderr: () => '',
        },
        close: async () => {},
      },
      upstream: (id) => store.upstream(id),
      createLink: (origin) => this.#link(origin),
    })
    const control: Control = {
      caller: async () => null,
      openLink: (key) => broker.openLink(key),
      staleLink: (key, generation, why) => broker.staleLink(key, generation, why),
      takeQuestion: async (id) => broker.takeQuestion(id),
      linksUsed: (keys) => broker.linksUsed(keys),
      answerQuestion: (id, reply) => broker.answerQuestion(id, reply),
      endSession: async (session, _caller, expiresMs) => {
        broker.closeOwner(session)
        bus.publish('sessionEnded', { session, expiresMs })
      },
      leaveSession: (session) => broker.closeOwner(session),
      reportUpstream: () => {},
      watch: async () => {},
      unwatch: () => {},
    }
    const relay = createHopRelay()
    const users = new Map<string, Caller>()
    this.ready = feed.start().then(() => holder.ready())
    this.#start = (n) => {
      const channel = createChannel(this)
      bus.attach(channel.primary)
      relay.attach(channel.primary, n)
      serveControl({ control, messages: channel.primary, limits, log })
      const links = new Set<SimLink>()
      const plane = createDataPlane({
        ...{ config, publicUrl: 'http://127.0.0.1:4444', holder, sealer, ca: null, version: '0.0.0', clock, log },
        authenticator: {
          authenticate: (authorization) => {
            const name = authorization?.slice('Bearer '.length) ?? ''
            const caller = users.get(name)
            if (caller === undefined) throw new GatewayError('UNAUTHENTICATED')
            return caller
          },
          setJwt: () => {},
          close: () => {},
        },
        bus: createWorkerBus({ messages: channel.worker, limits, log }),
        control: createControlClient({ messages: channel.worker, limits }),
        children: { connect: noChildren },
        createLink: (origin) => {
          const link = this.#link(origin)
          links.add(link)
          return link
        },
        hop: createWorkerHop({ here: { worker: n, boot: randomInt(2 ** 32) }, messages: channel.worker, limits, log }),
        rest: (exchange) => exchange.reply(404, [], null),
      })
      return { n, plane, channel, connections: new Set(), links }
    }
    for (const [name, era] of Object.entries({
      ann: 'legacy',
      bob: 'legacy',
      cem: 'legacy',
      dee: 'modern',
      eva: 'modern',
      fay: 'modern',
    } as const)) {
      this.users.push(new User(name, era, this))
      const id = Buffer.from(name.padEnd(16, '.')).toString('hex')
      users.set(name, { id, issuer: 'sim', subject: name, name, rights: ['use'], expiresMs: null })
    }
  }

  readonly ready: Promise<void>
  killedMs = 0

  fault(what: string): void {
    this.faults.push(what)
  }

  count(what: string): void {
    this.counts.set(what, (this.counts.get(what) ?? 0) + 1)
  }

  isRunning(nonce: string): boolean {
    return (this.#servers.get('1')!.server as LegacyServer).running.has(nonce)
  }

  connect(connection: Connection): boolean {
    const worker = this.#workers.length === 0 ? undefined : this.random.pick(this.#workers)
    if (worker === undefined) return false
    const recently = this.time.nowMs - 4 * LIMITS.questionMs
    for (const one of worker.connections) if (one.isOver && one.abortedMs < recently) worker.connections.delete(one)
    worker.connections.add(connection)
    connection.start((exchange) => worker.plane.edge.handler(exchange))
    return true
  }

  /** Runs until so many events have happened, then lets everything come to its end. */
  async run(steps: number): Promise<Outcome> {
    await this.ready
    for (let n = 0; n < WORKERS; n += 1) this.#spawn()
    this.#act()
    let done = 0
    while (done < steps && this.faults.length === 0) {
      if (!(await this.time.step())) break
      done += 1
      this.#check()
    }
    this.#isQuiet = true
    const untilMs = this.time.nowMs + QUIET_MS
    while (this.faults.length === 0 && (await this.time.step(untilMs))) this.#check()
    if (this.faults.length === 0) this.#checkEnd()
    return { steps: done, faults: this.faults, counts: this.counts }
  }

  #isQuiet = false

  #act(): void {
    if (this.#isQuiet) return
    if (this.random.chance(0.01)) this.#kill()
    if (this.random.chance(0.005)) this.#crash()
    this.random.pick(this.users).act()
    // Now and then a pause, in which the long waits come to their end.
    this.time.after(this.random.chance(0.002) ? 900_000 : this.random.int(300), () => this.#act())
  }

  #spawn(): void {
    this.#lastWorker += 1
    this.#workers.push(this.#start(this.#lastWorker))
  }

  /** SIGKILL of a worker, and its successor a moment later. */
  #kill(): void {
    if (this.#workers.length < 2) return
    this.count('workers killed')
    this.killedMs = this.time.nowMs
    const [worker] = this.#workers.splice(this.random.int(this.#workers.length), 1)
    worker!.channel.break()
    for (const link of worker!.links) link.lose()
    for (const connection of worker!.connections) connection.lose()
    // What it still does reaches nobody; its timers must only not run for ever.
    worker!.plane.edge.close()
    this.time.after(this.random.int(2_000), () => this.#spawn())
  }

  #crash(): void {
    this.count('servers crashed')
    const behind = this.random.pick([...this.#servers.values()])
    behind.isUp = false
    behind.server.crash()
    this.time.after(this.random.int(5_000), () => {
      behind.isUp = true
    })
  }

  #link(origin: URL): SimLink {
    const behind = this.#servers.get(origin.port || '80')!
    return new SimLink(this, (): SimServer | null => (behind.isUp ? behind.server : null))
  }

  /** What holds after every step. */
  #check(): void {
    for (const { n, plane, connections } of this.#workers) {
      const stats = plane.edge.stats()
      if (Object.values(stats).some((count) => count < 0))
        this.fault(`worker ${n} lost count: ${JSON.stringify(stats)}`)
      // An older client that went away has cancelled nothing: its call may still ask.
      const recently = this.time.nowMs - 4 * LIMITS.questionMs
      const isDeserted = [...connections].every(({ isOver, abortedMs }) => isOver && abortedMs < recently)
      if (stats.questions > 0 && isDeserted) this.fault(`worker ${n} asks nobody: ${JSON.stringify(stats)}`)
      const { maxInFlight, maxQueued, parkedMax } = SIM_LIMITS as Limits
      const waiting = Math.max(stats.questions, plane.parked())
      if (stats.inFlight > maxInFlight + parkedMax || stats.queued > maxQueued || waiting > parkedMax)
        this.fault(`worker ${n} took too much: ${JSON.stringify(stats)}`)
    }
  }

  /** What holds when everything has had its time. */
  #checkEnd(): void {
    for (const user of this.users) if (user.open.length > 0) this.fault(`${user.name} still waits: ${user.open}`)
    for (const { n, plane, links, connections } of this.#workers) {
      for (const { isOver, path, method } of connections)
        if (!isOver) this.fault(`worker ${n} owes an answer to ${method} ${path}`)
      const { inFlight, queued, questions, tapes, tapeBytes, resumes } = plane.edge.stats()
      const left = { inFlight, queued, questions, tapes, tapeBytes, resumes, parked: plane.parked() }
      if (Object.values(left).some((count) => count > 0)) this.fault(`worker ${n} still has ${JSON.stringify(left)}`)
      for (const link of links) if (link.inFlight > 0) this.fault(`worker ${n} has ${link.inFlight} requests upstream`)
    }
  }
}

function show(fields: object | undefined): string {
  return JSON.stringify(fields, (_key, value: unknown) => (value instanceof Error ? value.stack : value))
}
