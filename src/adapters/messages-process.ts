// Messages over the channel between node:cluster's primary and a worker. `serialization: 'advanced'` is expected, which
// carries strings and Buffers as they are.

import type { Worker } from 'node:cluster'
import type { Messages, Part } from '../ports/messages.ts'

/** What both ends have in common. */
interface Channel {
  send(message: unknown, done: () => void): void
  onMessage(listener: (message: unknown) => void): void
  onClose(listener: () => void): void
}

interface Envelope {
  readonly part: Part
  readonly body: unknown
}

function createMessages(channel: Channel): Messages {
  const listeners = new Map<Part, Set<(body: unknown) => void>>()
  const closers = new Set<() => void>()
  let backlog = 0
  let closed = false
  channel.onMessage((message) => {
    // Node's own messages never come here; anything else is not ours.
    const { part, body } = message as Envelope
    for (const listener of listeners.get(part) ?? []) listener(body)
  })
  channel.onClose(() => {
    if (closed) return
    closed = true
    for (const closer of [...closers]) closer()
    closers.clear()
    listeners.clear()
  })
  return {
    send(part, body) {
      if (closed) return
      backlog += 1
      channel.send({ part, body } satisfies Envelope, () => {
        backlog -= 1
      })
    },
    on(part, listener) {
      const known = listeners.get(part) ?? new Set()
      listeners.set(part, known)
      known.add(listener)
      return () => known.delete(listener)
    },
    onClose(listener) {
      if (closed) listener()
      else closers.add(listener)
      return () => closers.delete(listener)
    },
    get backlog() {
      return backlog
    },
  }
}

/** The primary's end for one worker. */
export function messagesToWorker(worker: Worker): Messages {
  return createMessages({
    send(message, done) {
      // Without the callback a channel that breaks while it is written to would throw.
      if (worker.isConnected()) worker.send(message as object, undefined, done)
      else done()
    },
    onMessage: (listener) => worker.on('message', listener),
    onClose(listener) {
      worker.once('disconnect', listener)
      worker.once('exit', listener)
    },
  })
}

/** A worker's end. */
export function messagesToPrimary(): Messages {
  return createMessages({
    send(message, done) {
      if (process.connected) process.send?.(message, undefined, undefined, done)
      else done()
    },
    onMessage: (listener) => process.on('message', listener),
    onClose: (listener) => process.once('disconnect', listener),
  })
}
