// Both ends of a message channel in one process: bodies are cloned as between processes, and arrive a turn later.

import type { Messages, Part } from '../../src/ports/messages.ts'

export interface FakeMessages extends Messages {
  /** What this end sent, as the other end got it. */
  readonly sent: { part: Part; body: unknown }[]
  backlog: number
}

export interface FakePair {
  readonly primary: FakeMessages
  readonly worker: FakeMessages
  /** Messages wait while it is held, as if the other process were busy. */
  hold(): void
  release(): void
  close(): void
}

export function createMessagePair(): FakePair {
  let held = false
  let closed = false
  let waiting: (() => void)[] = []
  const closers = new Set<() => void>()

  function createEnd(): {
    end: FakeMessages
    arrive: (part: Part, body: unknown) => void
    other: { arrive: (part: Part, body: unknown) => void }
  } {
    const listeners = new Map<Part, Set<(body: unknown) => void>>()
    const other = { arrive: (_part: Part, _body: unknown): void => {} }
    const sent: FakeMessages['sent'] = []
    const end: FakeMessages = {
      sent,
      backlog: 0,
      send(part, body) {
        if (closed) return
        const copy: unknown = structuredClone(body)
        sent.push({ part, body: copy })
        end.backlog += 1
        const deliver = (): void => {
          end.backlog -= 1
          if (!closed) other.arrive(part, copy)
        }
        if (held) waiting.push(deliver)
        else setImmediate(() => (held ? waiting.push(deliver) : deliver()))
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
    }
    const arrive = (part: Part, body: unknown): void => {
      for (const listener of listeners.get(part) ?? []) listener(body)
    }
    return { end, arrive, other }
  }

  const primary = createEnd()
  const worker = createEnd()
  primary.other.arrive = worker.arrive
  worker.other.arrive = primary.arrive
  return {
    primary: primary.end,
    worker: worker.end,
    hold() {
      held = true
    },
    release() {
      held = false
      const ready = waiting
      waiting = []
      for (const deliver of ready) deliver()
    },
    close() {
      closed = true
      for (const closer of [...closers]) closer()
    },
  }
}
