// Control over process messages: a worker's calls run in the primary. Errors cross as failure.ts says.

import { type ErrorCode, GatewayError } from '../core/errors.ts'
import type { Limits } from '../core/limits.ts'
import type { Control } from '../ports/control.ts'
import type { Log } from '../ports/log.ts'
import type { Messages } from '../ports/messages.ts'
import { type Failure, fromFailure, toFailure } from './failure.ts'

const ASKED = ['caller', 'openLink', 'endSession', 'takeQuestion', 'watch'] as const
const TOLD = ['staleLink', 'leaveSession', 'reportUpstream', 'answerQuestion', 'unwatch', 'linksUsed'] as const
type Asked = (typeof ASKED)[number]
type Told = (typeof TOLD)[number]

/** `id` is null where no answer is wanted. */
interface Request {
  readonly id: number | null
  readonly method: Asked | Told
  readonly args: readonly unknown[]
}

interface Answer {
  readonly id: number
  readonly value?: unknown
  readonly failure?: Failure
}

// --- the primary's side

export interface ServeControlOptions {
  readonly control: Control
  readonly messages: Messages
  readonly limits: Limits
  readonly log: Log
}

/** Runs what this worker asks for, until its messages close. */
export function serveControl({ control, messages, limits, log }: ServeControlOptions): void {
  let running = 0
  let isClosed = false

  const answer = async ({ id, method, args }: Request): Promise<Answer | null> => {
    try {
      if (running > limits.controlOutstanding) throw new GatewayError('OVERLOADED')
      const call = control[method] as (...given: readonly unknown[]) => unknown
      const value = await call.apply(control, [...args])
      // Its worker has ended while it was being done.
      if (isClosed && method === 'watch') control.unwatch(String(args[0]))
      return id === null ? null : { id, value }
    } catch (error) {
      const failure = toFailure(error, 'control.fault', method, log)
      return id === null ? null : { id, failure }
    }
  }

  /** Streams of this worker that watch something: they end with it. */
  const holders = new Set<string>()
  messages.onClose(() => {
    isClosed = true
    for (const holder of holders) control.unwatch(holder)
  })

  messages.on('control', (body) => {
    const request = body as Request
    const [holder] = request.args
    if (request.method === 'watch' && typeof holder === 'string' && holder.startsWith('w')) holders.add(holder)
    if (request.method === 'unwatch') holders.delete(String(holder))
    running += 1
    void answer(request).then((message) => {
      running -= 1
      if (message !== null) messages.send('control', message)
    })
  })
}

// --- a worker's side

export interface ControlClientOptions {
  readonly messages: Messages
  readonly limits: Limits
}

interface Waiting {
  readonly resolve: (value: unknown) => void
  readonly reject: (error: GatewayError) => void
  readonly timer: NodeJS.Timeout
}

/** What a primary that does not answer means to the caller of each method. */
const LATE: Record<Asked, ErrorCode> = {
  caller: 'STORE_UNAVAILABLE',
  openLink: 'UPSTREAM_UNAVAILABLE',
  endSession: 'STORE_UNAVAILABLE',
  takeQuestion: 'OWNER_LOST',
  watch: 'UPSTREAM_UNAVAILABLE',
}

export function createControlClient({ messages, limits }: ControlClientOptions): Control {
  const waiting = new Map<number, Waiting>()
  let nextId = 1
  let closed = false

  messages.on('control', (body) => {
    const { id, value, failure } = body as Answer
    const waiter = waiting.get(id)
    // It came too late, and its caller has gone.
    if (waiter === undefined) return
    waiting.delete(id)
    clearTimeout(waiter.timer)
    if (failure === undefined) waiter.resolve(value)
    else waiter.reject(fromFailure(failure))
  })
  messages.onClose(() => {
    closed = true
    for (const waiter of waiting.values()) {
      clearTimeout(waiter.timer)
      waiter.reject(new GatewayError('SHUTTING_DOWN'))
    }
    waiting.clear()
  })

  function ask<T>(method: Asked, args: readonly unknown[], withinMs: number): Promise<T> {
    if (closed) return Promise.reject(new GatewayError('SHUTTING_DOWN'))
    if (waiting.size >= limits.controlOutstanding) return Promise.reject(new GatewayError('OVERLOADED'))
    const id = nextId
    nextId += 1
    return new Promise<T>((resolve, reject) => {
      const timer = setTimeout(() => {
        waiting.delete(id)
        reject(new GatewayError(LATE[method], "The gateway's primary process did not answer in time"))
      }, withinMs)
      waiting.set(id, { resolve: resolve as (value: unknown) => void, reject, timer })
      messages.send('control', { id, method, args } satisfies Request)
    })
  }

  const tell = (method: Told, args: readonly unknown[]): void => {
    messages.send('control', { id: null, method, args } satisfies Request)
  }

  return {
    caller: (tokenHash) => ask('caller', [tokenHash], limits.controlMs),
    openLink: (key) => ask('openLink', [key], limits.controlLinkMs),
    endSession: (session, callerId, expiresMs) => ask('endSession', [session, callerId, expiresMs], limits.controlMs),
    leaveSession: (session) => tell('leaveSession', [session]),
    takeQuestion: (id) => ask('takeQuestion', [id], limits.controlMs),
    watch: (holder, key, uri, on) => ask('watch', [holder, key, uri, on], limits.controlLinkMs),
    unwatch: (holder) => tell('unwatch', [holder]),
    linksUsed: (keys) => tell('linksUsed', [keys]),
    answerQuestion: (id, reply) => tell('answerQuestion', [id, reply]),
    staleLink: (key, generation, why) => tell('staleLink', [key, generation, why]),
    reportUpstream: (upstreamId, ok, code, message) => tell('reportUpstream', [upstreamId, ok, code, message]),
  }
}
