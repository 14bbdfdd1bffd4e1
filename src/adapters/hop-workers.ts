// Hops between workers by way of their primary, which only passes them on: it keeps nothing but who is there, and tells
// the others when a worker is gone.

import { Cancel } from '../core/cancel.ts'
import { GatewayError } from '../core/errors.ts'
import type { Limits } from '../core/limits.ts'
import { isSamePlace, type Place } from '../core/place.ts'
import type { Hop, HopPart } from '../ports/hop.ts'
import type { Log } from '../ports/log.ts'
import type { Messages } from '../ports/messages.ts'
import { type Failure, fromFailure, toFailure } from './failure.ts'
import { createHopTable } from './hop-table.ts'

/** `id` is the asker's; `from` is put in by the primary, so that nobody speaks for another. */
type Hopping =
  | { readonly op: 'ask'; readonly to: Place; readonly id: number; readonly part: HopPart; readonly body: unknown }
  | { readonly op: 'cancel'; readonly to: Place; readonly id: number }
  | { readonly op: 'took'; readonly to: number; readonly id: number }
  | { readonly op: 'note' | 'done'; readonly to: number; readonly id: number; readonly value: unknown }
  | { readonly op: 'failed'; readonly to: number; readonly id: number; readonly failure: Failure }
type Arriving<T = Hopping> = T extends Hopping ? T & { readonly from: number } : never
interface Gone {
  readonly op: 'gone'
  readonly from: number
}

// --- the primary's side

export interface HopRelay {
  /** From now on worker `n` can be reached, until its messages close. */
  attach(messages: Messages, n: number): void
}

export function createHopRelay(): HopRelay {
  const workers = new Map<number, Messages>()
  return {
    attach(messages, n) {
      workers.set(n, messages)
      messages.onClose(() => {
        workers.delete(n)
        for (const other of workers.values()) other.send('hop', { op: 'gone', from: n } satisfies Gone)
      })
      messages.on('hop', (body) => {
        const hopping = body as Hopping
        const to = typeof hopping.to === 'number' ? hopping.to : hopping.to.worker
        const target = workers.get(to)
        if (target !== undefined) target.send('hop', { ...hopping, from: n } as Arriving)
        else if (hopping.op === 'ask') messages.send('hop', { op: 'gone', from: to } satisfies Gone)
      })
    },
  }
}

// --- a worker's side

export interface WorkerHopOptions {
  readonly here: Place
  readonly messages: Messages
  readonly limits: Pick<Limits, 'hopMs' | 'hopsOutstanding'>
  readonly log: Log
}

interface Waiting {
  readonly to: number
  readonly onNote: (note: unknown) => void
  readonly resolve: (value: unknown) => void
  readonly reject: (error: GatewayError) => void
  readonly timer: NodeJS.Timeout
}

export function createWorkerHop({ here, messages, limits, log }: WorkerHopOptions): Hop {
  const table = createHopTable()
  const waiting = new Map<number, Waiting>()
  /** What runs here for others, by asker and its id. */
  const running = new Map<string, { readonly from: number; readonly cancel: Cancel }>()
  let lastId = 0
  let isClosed = false

  const send = (hopping: Hopping): void => messages.send('hop', hopping)

  const take = (id: number): Waiting | undefined => {
    const waiter = waiting.get(id)
    waiting.delete(id)
    clearTimeout(waiter?.timer)
    return waiter
  }

  const serve = async ({ to, id, part, body, from }: Arriving<Extract<Hopping, { op: 'ask' }>>): Promise<void> => {
    const key = `${from}/${id}`
    const cancel = new Cancel()
    running.set(key, { from, cancel })
    try {
      if (!isSamePlace(to, here)) throw new GatewayError('OWNER_LOST')
      send({ op: 'took', to: from, id })
      const value = await table.run(part, body, (note) => send({ op: 'note', to: from, id, value: note }), cancel)
      send({ op: 'done', to: from, id, value })
    } catch (error) {
      send({ op: 'failed', to: from, id, failure: toFailure(error, 'hop.fault', part, log) })
    } finally {
      running.delete(key)
    }
  }

  messages.on('hop', (body) => {
    const message = body as Arriving | Gone
    if (message.op === 'gone') {
      for (const [id, { to }] of [...waiting]) if (to === message.from) take(id)!.reject(new GatewayError('OWNER_LOST'))
      for (const { from, cancel } of [...running.values()]) if (from === message.from) cancel.cancel('disconnect')
    } else if (message.op === 'ask') void serve(message)
    else if (message.op === 'cancel') running.get(`${message.from}/${message.id}`)?.cancel.cancel('disconnect')
    else if (waiting.get(message.id)?.to !== message.from) return
    else if (message.op === 'took') clearTimeout(waiting.get(message.id)!.timer)
    else if (message.op === 'note') waiting.get(message.id)!.onNote(message.value)
    else if (message.op === 'failed') take(message.id)!.reject(fromFailure(message.failure))
    else take(message.id)!.resolve(message.value)
  })
  messages.onClose(() => {
    isClosed = true
    for (const id of [...waiting.keys()]) take(id)!.reject(new GatewayError('SHUTTING_DOWN'))
    for (const { cancel } of [...running.values()]) cancel.cancel('shutdown')
  })

  return {
    here,
    serve: (part, handler) => table.serve(part, handler),
    async ask(to, part, body, onNote = () => {}, cancel) {
      if (isSamePlace(to, here)) return table.run(part, body, onNote, cancel)
      if (isClosed) throw new GatewayError('SHUTTING_DOWN')
      // Another run of this very worker: nobody else could know of it.
      if (to.worker === here.worker) throw new GatewayError('OWNER_LOST')
      if (waiting.size >= limits.hopsOutstanding) throw new GatewayError('OVERLOADED')
      lastId += 1
      const id = lastId
      const answer = new Promise<unknown>((resolve, reject) => {
        const timer = setTimeout(() => take(id)?.reject(new GatewayError('OWNER_LOST')), limits.hopMs)
        waiting.set(id, { to: to.worker, onNote, resolve, reject, timer })
      })
      send({ op: 'ask', to, id, part, body })
      const forget = cancel?.onCancel(() => {
        const waiter = take(id)
        if (waiter === undefined) return
        send({ op: 'cancel', to, id })
        waiter.reject(new GatewayError('CANCELLED'))
      })
      try {
        return await answer
      } finally {
        forget?.()
      }
    },
  }
}
