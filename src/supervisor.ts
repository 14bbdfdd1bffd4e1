// A replica with workers: the primary starts them by node:cluster, they share one listening socket (SCHED_NONE: the
// kernel hands out connections), and this file keeps them running. A crashed worker is started again, with growing waits
// where it keeps dying; SIGHUP replaces them one by one, each new one ready before the old one drains; on stop they
// finish their calls. If the primary dies, its workers finish their calls and end: whoever started it starts it again.
// Absent on purpose: third-party code, SIGTERM and SIGINT (cli/up.ts calls `stop`), and what a worker does (app.ts).

import cluster, { type Worker } from 'node:cluster'
import { readFileSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { messagesToPrimary, messagesToWorker } from './adapters/messages-process.ts'
import type { Limits } from './core/limits.ts'
import { type Clock, jitter } from './core/time.ts'
import type { Log } from './ports/log.ts'
import type { Messages } from './ports/messages.ts'

/** What a worker tells its supervisor. `code` and `port` are those of a failed listen. */
type FromWorker =
  | { readonly op: 'ready' }
  | { readonly op: 'failed'; readonly message: string; readonly code: string; readonly port: number | null }

interface ToWorker {
  readonly op: 'drain'
  /** Another worker stands in its place already. */
  readonly isReplaced: boolean
}

/** Past the worker's own bound for draining, before it is killed. */
const KILL_GRACE_MS = 1_000
/** Deaths of one worker before all were ready the first time: more is a fault of the installation, not bad luck. */
const START_DEATHS_MAX = 3
const SPREAD = 0.25

// --- the primary's side

export interface SupervisorOptions {
  readonly workers: number
  /** File that every worker runs, and its arguments. */
  readonly workerScript: string
  readonly workerArgv: readonly string[]
  readonly limits: Limits
  readonly clock: Clock
  readonly log: Log
  /** In [0, 1). */
  readonly random: () => number
  /** For each new worker process, before it runs. `n` is never used twice in the life of the primary. */
  readonly onWorker: (messages: Messages, n: number) => void
}

export interface WorkerView {
  readonly n: number
  readonly pid: number | null
  readonly state: 'starting' | 'ready' | 'draining'
  readonly startedMs: number
}

export interface Supervisor {
  /** Resolves when every worker is ready. Rejects when one cannot start, and then nothing is left running. */
  start(): Promise<void>
  /** Replaces the workers one by one. Rejects when a new one does not get ready; the old ones then stay. */
  roll(): Promise<void>
  /** Resolves when every worker has finished its calls and ended, or was killed after stopMs. */
  stop(): Promise<void>
  workers(): readonly WorkerView[]
  /** Where the workers listen; null until the first one does. */
  address(): { readonly address: string; readonly port: number } | null
}

interface Member {
  readonly n: number
  readonly worker: Worker
  readonly messages: Messages
  readonly startedMs: number
  state: WorkerView['state']
  /** Settled once: ready, or the reason why it never got there. */
  readonly ready: Promise<void>
  readonly exited: Promise<void>
}

/** The place of one worker, which processes fill one after the other. */
interface Slot {
  current: Member | null
  quickDeaths: number
  restart: NodeJS.Timeout | null
}

export function createSupervisor(options: SupervisorOptions): Supervisor {
  const { limits, clock, log } = options
  const slots: Slot[] = Array.from({ length: options.workers }, () => ({
    current: null,
    quickDeaths: 0,
    restart: null,
  }))
  const members = new Set<Member>()
  let address: { address: string; port: number } | null = null
  let phase: 'starting' | 'running' | 'stopping' = 'starting'
  let rolling: Promise<void> | null = null
  const started = Promise.withResolvers<void>()
  started.promise.catch(() => {})

  const spawn = (slot: Slot): Member => {
    const worker = cluster.fork()
    const messages = messagesToWorker(worker)
    const ready = Promise.withResolvers<void>()
    const exited = Promise.withResolvers<void>()
    const member: Member = {
      ...{ n: worker.id, worker, messages, startedMs: clock.now(), state: 'starting' },
      ...{ ready: ready.promise, exited: exited.promise },
    }
    // Whoever waits for it hears of it; at a restart nobody does.
    ready.promise.catch(() => {})
    members.add(member)
    let isLate = false
    const late = setTimeout(() => {
      isLate = true
      kill(member)
    }, limits.workerReadyMs)
    messages.on('supervisor', (body) => {
      const message = body as FromWorker
      if (message.op === 'failed') {
        const { code, port } = message
        ready.reject(Object.assign(new Error(message.message), { code, port }))
        kill(member)
        return
      }
      clearTimeout(late)
      if (member.state === 'starting') member.state = 'ready'
      log.info('worker.ready', { n: member.n, pid: worker.process.pid })
      ready.resolve()
      if (phase === 'starting' && slots.every(({ current }) => current?.state === 'ready')) started.resolve()
    })
    worker.on('listening', (found) => {
      address ??= { address: found.address, port: found.port }
    })
    // A fork that failed has no exit; a signal to a process that is gone must not throw.
    worker.on('error', (error) => log.error('worker.error', { n: member.n, error }))
    worker.once('exit', (code, signal) => {
      clearTimeout(late)
      members.delete(member)
      const how = isLate
        ? `was not ready within ${limits.workerReadyMs} ms`
        : `ended with ${signal ?? `exit code ${code}`}`
      ready.reject(new Error(`worker ${member.n} ${how}`))
      exited.resolve()
      onExit(slot, member, how)
    })
    options.onWorker(messages, member.n)
    return member
  }

  const fill = (slot: Slot): void => {
    slot.restart = null
    slot.current = spawn(slot)
    // A fault that the worker itself can name will not go away by trying again.
    slot.current.ready.catch((reason: object) => {
      if ('code' in reason) started.reject(reason)
    })
  }

  const onExit = (slot: Slot, member: Member, how: string): void => {
    if (member.state === 'draining' || phase === 'stopping') return
    log.warn('worker.exit', { n: member.n, how })
    // One that was to replace another and never got ready: `roll` tells, and the old one stays.
    if (slot.current !== member) return
    slot.current = null
    const isQuick = clock.now() - member.startedMs < limits.workerQuickDeathMs
    slot.quickDeaths = isQuick ? slot.quickDeaths + 1 : 0
    if (phase === 'starting' && slot.quickDeaths >= START_DEATHS_MAX) {
      started.reject(new Error(`worker ${member.n} ${how}, like ${START_DEATHS_MAX - 1} before it`))
      return
    }
    const waitMs = isQuick
      ? Math.min(limits.workerRestartMsMax, limits.workerRestartMsBase * 2 ** (slot.quickDeaths - 1))
      : 0
    slot.restart = setTimeout(() => fill(slot), jitter(waitMs, SPREAD, options.random()))
  }

  const kill = (member: Member): void => {
    if (members.has(member)) member.worker.process.kill('SIGKILL')
  }

  const drain = async (member: Member, isReplaced: boolean): Promise<void> => {
    if (!members.has(member)) return
    if (member.state === 'starting') kill(member)
    member.state = 'draining'
    member.messages.send('supervisor', { op: 'drain', isReplaced } satisfies ToWorker)
    const hard = setTimeout(() => {
      log.warn('worker.killed', { n: member.n, afterMs: limits.stopMs + KILL_GRACE_MS })
      kill(member)
    }, limits.stopMs + KILL_GRACE_MS)
    await member.exited
    clearTimeout(hard)
  }

  const rollAll = async (): Promise<void> => {
    for (const slot of slots) {
      if (phase !== 'running') return
      // A slot that waits for its restart gets the new program anyway.
      if (slot.current === null) continue
      const next = spawn(slot)
      await next.ready
      if (isStopping()) return
      const old = slot.current
      slot.current = next
      slot.quickDeaths = 0
      if (slot.restart !== null) clearTimeout(slot.restart)
      slot.restart = null
      if (old !== null) await drain(old, true)
    }
  }
  const isStopping = (): boolean => phase === 'stopping'

  const roll = (): Promise<void> => {
    rolling ??= rollAll().finally(() => {
      rolling = null
    })
    return rolling
  }

  const onHangup = (): void => {
    log.info('workers.roll')
    roll().catch((error: unknown) => log.error('workers.roll', { error }))
  }

  /** Once it is to end, an exit of the primary (a second signal) takes the workers along at once. */
  const onProcessExit = (): void => {
    for (const member of members) kill(member)
  }

  const stop = async (): Promise<void> => {
    if (phase !== 'stopping') process.on('exit', onProcessExit)
    phase = 'stopping'
    started.reject(new Error('stopped before every worker was ready'))
    process.off('SIGHUP', onHangup)
    for (const slot of slots) if (slot.restart !== null) clearTimeout(slot.restart)
    await Promise.all([...members].map((member) => drain(member, false)))
    process.off('exit', onProcessExit)
  }

  return {
    async start() {
      cluster.schedulingPolicy = cluster.SCHED_NONE
      const { workerScript: exec, workerArgv } = options
      cluster.setupPrimary({ exec, args: [...workerArgv], serialization: 'advanced' })
      process.on('SIGHUP', onHangup)
      try {
        for (const slot of slots) fill(slot)
        await started.promise
      } catch (error) {
        await stop()
        throw error
      }
      phase = 'running'
    },
    roll,
    stop,
    workers: () =>
      [...members].map(({ n, worker, state, startedMs }) => ({ n, pid: worker.process.pid ?? null, state, startedMs })),
    address: () => address,
  }
}

// --- a worker's side

export interface WorkerSide {
  readonly n: number
  readonly messages: Messages
  /** This worker serves. */
  ready(): void
  /** This worker cannot start; the reason reaches whoever started the gateway. */
  fail(error: unknown): void
  /** What to do before the end: finish the calls in flight. The process ends when the promise settles, after `stopMs` at the latest. */
  onDrain(drain: (isReplaced: boolean) => Promise<void>, stopMs: number): void
}

export function createWorkerSide(): WorkerSide {
  const messages = messagesToPrimary()
  let drainCalls: (isReplaced: boolean) => Promise<void> = () => Promise.resolve()
  let stopMs = 0
  let draining = false
  const say = (message: FromWorker): void => messages.send('supervisor', message)

  const end = (isReplaced: boolean): void => {
    if (draining) return
    draining = true
    setTimeout(() => process.exit(0), stopMs)
    drainCalls(isReplaced).then(
      () => process.exit(0),
      () => process.exit(1),
    )
  }
  messages.on('supervisor', (body) => {
    const { op, isReplaced } = body as ToWorker
    if (op === 'drain') end(isReplaced)
  })
  // A terminal or systemd signals the whole group: the primary decides what its workers do.
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => {})
  // Node would exit at once when the primary is gone, unless it is told that this was to be expected.
  cluster.worker!.on('disconnect', () => {
    cluster.worker!.exitedAfterDisconnect = true
    end(false)
  })

  return {
    n: cluster.worker!.id,
    messages,
    // A turn later, so that node's own word of the listening socket comes first and `address` is known.
    ready: () => void setImmediate(say, { op: 'ready' }),
    fail(error) {
      const { message, code, port } = error as NodeJS.ErrnoException & { port?: number }
      say({ op: 'failed', message, code: code ?? 'FAILED', port: port ?? null })
    },
    onDrain(drain, ms) {
      drainCalls = drain
      stopMs = ms
    },
  }
}

// --- what the machine offers

type ReadText = (path: string) => string | null

const readText: ReadText = (path) => {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return null
  }
}

/** CPUs that a file of a cgroup's quota grants: `max 100000`, `150000 100000`; Infinity for none. */
function quotaOf(text: string | null): number {
  const [quota, period] = (text ?? '').trim().split(/\s+/).map(Number)
  const isSet = quota !== undefined && period !== undefined && quota > 0 && period > 0
  return isSet ? quota / period : Number.POSITIVE_INFINITY
}

/**
 * CPUs that the cgroups of this process grant, its own and all above it: version 2 and version 1. Not every version of
 * libuv counts them in availableParallelism, and none the older form.
 */
export function cpuQuota(read: ReadText): number {
  let least = Number.POSITIVE_INFINITY
  for (const line of (read('/proc/self/cgroup') ?? '').split('\n')) {
    const [, controllers, path] = /^\d+:([^:]*):(.*)$/.exec(line) ?? []
    if (path === undefined || controllers === undefined) continue
    const isV1 = controllers.split(',').includes('cpu')
    if (!isV1 && controllers !== '') continue
    const root = isV1 ? '/sys/fs/cgroup/cpu' : '/sys/fs/cgroup'
    for (let at = path === '/' ? '' : path; ; at = at.slice(0, at.lastIndexOf('/'))) {
      const directory = `${root}${at}`
      const text = isV1
        ? `${read(`${directory}/cpu.cfs_quota_us`) ?? ''} ${read(`${directory}/cpu.cfs_period_us`) ?? ''}`
        : read(`${directory}/cpu.max`)
      least = Math.min(least, quotaOf(text))
      if (at === '') break
    }
  }
  return least
}

/** What `--workers auto` means: a worker per CPU that this process may use. */
export function workersAuto(limits: Limits, read: ReadText = readText, parallelism = availableParallelism()): number {
  return Math.max(1, Math.min(limits.workersMax, parallelism, Math.ceil(cpuQuota(read))))
}

/** Files that a process needs besides its connections: libraries, the store, pipes of children. */
const OTHER_FILES = 256

/** Says that the limit of open files is too low for so many connections in one process; null when it is not. */
export function openFilesShortage(connections: number, read: ReadText = readText): string | null {
  const soft = /^Max open files\s+(\d+)/m.exec(read('/proc/self/limits') ?? '')?.[1]
  const wanted = connections + OTHER_FILES
  if (soft === undefined || Number(soft) >= wanted) return null
  return `The limit of open files is ${soft}, but ${connections} connections need ${wanted}: raise it with "ulimit -n ${wanted}" or LimitNOFILE=${wanted}`
}
