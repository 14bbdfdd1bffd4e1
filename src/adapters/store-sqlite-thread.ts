// The way to the store's thread: numbered requests, long arguments and answers in pieces, a deadline for each request,
// and one error for everything that can go wrong on the way.

import { Worker } from 'node:worker_threads'
import { type ErrorOptions, GatewayError } from '../core/errors.ts'
import { LIMITS } from '../core/limits.ts'
import type { Log } from '../ports/log.ts'
import type { Answer, EDITS, LEARNINGS, READS, SCANS, WorkerOptions } from './store-sqlite-worker.ts'

interface Pending {
  readonly resolve: (value: unknown) => void
  readonly reject: (error: Error) => void
  /** What came so far of an answer in pieces, or null. */
  readonly items: unknown[] | null
  readonly timer: NodeJS.Timeout
}

/** An argument of many items, each of about `size` bytes. */
export interface LongArgument<T> {
  readonly items: readonly T[]
  readonly size: (item: T) => number
}

type Plain<F> = F extends (on: never, ...rest: infer A) => unknown ? A : never
type AfterItems<F> = F extends (on: never, items: never, ...rest: infer A) => unknown ? A : never
type Value<F> = F extends (...args: never) => infer R ? (R extends Generator<void, infer V> ? V : R) : never

export class StoreThread {
  readonly #log: Log
  readonly #path: string
  readonly #worker: Worker
  readonly #exited: Promise<void>
  readonly #ready: Promise<unknown>
  readonly #pending = new Map<number, Pending>()
  #last = 0
  /** Why nothing is accepted any more. */
  #ended: string | null = null
  #closing: Promise<void> | null = null
  #onIdle: (() => void) | null = null

  constructor(options: WorkerOptions, log: Log) {
    this.#path = options.path
    this.#log = log
    // It lies beside this file: as .ts where the sources run, as .js in dist.
    const file = new URL(`./store-sqlite-worker${import.meta.url.slice(-3)}`, import.meta.url)
    this.#worker = new Worker(file, { workerData: options, env: {}, execArgv: [], name: 'store' })
    this.#worker.on('message', (answer: Answer) => this.#take(answer))
    this.#worker.on('error', (error) => this.#end(`its thread failed: ${error.message}`))
    this.#exited = new Promise((resolve) => {
      this.#worker.once('exit', () => {
        this.#end('its thread has ended')
        resolve()
      })
    })
    this.#ready = this.#wait(0, false)
  }

  /** The migrations that were run, once the store is open. */
  ready(): Promise<string[]> {
    return this.#ready as Promise<string[]>
  }

  read<N extends keyof typeof READS>(name: N, ...args: Plain<(typeof READS)[N]>): Promise<Value<(typeof READS)[N]>> {
    return this.#ask(name, args, null, false) as Promise<Value<(typeof READS)[N]>>
  }

  scan<T>(name: keyof typeof SCANS, ...args: string[]): Promise<T[]> {
    return this.#ask(name, args, null, true) as Promise<T[]>
  }

  edit<N extends keyof typeof EDITS>(
    name: N,
    ...args: AfterItems<(typeof EDITS)[N]>
  ): Promise<Value<(typeof EDITS)[N]>> {
    return this.#ask(name, args, null, false) as Promise<Value<(typeof EDITS)[N]>>
  }

  learn<N extends keyof typeof LEARNINGS, T>(
    name: N,
    long: LongArgument<T> | null,
    ...args: AfterItems<(typeof LEARNINGS)[N]>
  ): Promise<Value<(typeof LEARNINGS)[N]>> {
    return this.#ask(name, args, long as LongArgument<unknown> | null, false) as Promise<Value<(typeof LEARNINGS)[N]>>
  }

  /** Lets everything that was asked end, then the thread. */
  close(): Promise<void> {
    this.#closing ??= this.#close()
    return this.#closing
  }

  async #close(): Promise<void> {
    const terminate = setTimeout(() => void this.#worker.terminate(), LIMITS.stopMs)
    this.#ended ??= 'it is closed'
    if (this.#pending.size > 0) {
      await new Promise<void>((resolve) => {
        this.#onIdle = resolve
      })
    }
    this.#worker.postMessage({ n: 0, name: 'close', args: [] })
    await this.#exited
    clearTimeout(terminate)
  }

  async #ask(
    name: string,
    args: readonly unknown[],
    long: LongArgument<unknown> | null,
    inPieces: boolean,
  ): Promise<unknown> {
    if (this.#ended !== null) throw this.#unavailable(this.#ended)
    if (this.#pending.size >= LIMITS.storeQueueMax) throw this.#unavailable('too many requests wait for it')
    this.#last += 1
    const n = this.#last
    const answer = this.#wait(n, inPieces)
    if (long !== null) await this.#sendPieces(n, long)
    this.#worker.postMessage({ n, name, args })
    return answer
  }

  /** Cloning 20,000 definitions at once would hold this thread, and with it every call, for tens of milliseconds. */
  async #sendPieces(n: number, { items, size }: LongArgument<unknown>): Promise<void> {
    let end = performance.now() + LIMITS.sliceMs
    let from = 0
    let bytes = 0
    for (const [at, item] of items.entries()) {
      bytes += size(item)
      if (bytes < LIMITS.pieceBytes && at < items.length - 1) continue
      this.#worker.postMessage({ n, piece: items.slice(from, at + 1) })
      from = at + 1
      bytes = 0
      if (performance.now() < end) continue
      await new Promise(setImmediate)
      end = performance.now() + LIMITS.sliceMs
    }
  }

  #wait(n: number, inPieces: boolean): Promise<unknown> {
    const answer = new Promise<unknown>((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#settle(n)?.reject(this.#unavailable(`no answer within ${LIMITS.storeMs} ms`))
      }, LIMITS.storeMs)
      this.#pending.set(n, { resolve, reject, items: inPieces ? [] : null, timer })
    })
    // It may fail while pieces are still being sent; whoever asked awaits it after that.
    answer.catch(() => {})
    return answer
  }

  #settle(n: number): Pending | null {
    const pending = this.#pending.get(n)
    if (pending === undefined) return null
    this.#pending.delete(n)
    clearTimeout(pending.timer)
    if (this.#pending.size === 0) this.#onIdle?.()
    return pending
  }

  #take(answer: Answer): void {
    if ('piece' in answer) {
      const items = this.#pending.get(answer.n)?.items
      if (items) for (const item of answer.piece) items.push(item)
      return
    }
    const pending = this.#settle(answer.n)
    if (pending === null) return
    if ('value' in answer) {
      pending.resolve(pending.items ?? answer.value)
      return
    }
    const { code, message, options } = answer.failure
    if (code === 'STORE_UNAVAILABLE') this.#log.error('store.failed', { message })
    pending.reject(code === null ? new Error(message) : new GatewayError(code, message, options))
  }

  #end(why: string): void {
    if (this.#closing === null && this.#pending.size > 0) this.#log.error('store.ended', { path: this.#path, why })
    this.#ended ??= why
    for (const n of [...this.#pending.keys()]) this.#settle(n)?.reject(this.#unavailable(why))
  }

  #unavailable(why: string, options: ErrorOptions = { retryAfterSeconds: 1 }): GatewayError {
    return new GatewayError('STORE_UNAVAILABLE', `The store ${this.#path} gives no answer: ${why}`, options)
  }
}
