// The bus inside one process. News is delivered in the next turn of the event loop, so that a publisher never runs a
// subscriber's code in the middle of its own, and in the order of publishing.

import type { Limits } from '../core/limits.ts'
import type { Bus, BusEvents, Topic } from '../ports/bus.ts'
import type { Log } from '../ports/log.ts'

export interface BusOptions {
  readonly limits: Limits
  readonly log: Log
}

export interface MemoryBus extends Bus {
  /** News that was lost because too much waited. */
  readonly dropped: number
}

/** Counts lost news and says so at 1, 2, 4, 8 …, so that a flood does not flood the log too. */
export function createDropCounter(log: Log): { readonly count: number; drop(topic: Topic): void } {
  let count = 0
  return {
    get count() {
      return count
    },
    drop(topic) {
      count += 1
      if ((count & (count - 1)) === 0) log.warn('bus.dropped', { topic, count })
    },
  }
}

/** What takes something away from somebody; few of them come, and none may be lost among what anyone can send. */
const REVOKING: ReadonlySet<Topic> = new Set<Topic>(['callersChanged', 'sessionEnded', 'settings'])

/** Whether one more may wait behind so many others. */
export function hasRoom(topic: Topic, waiting: number, { busBacklog }: Pick<Limits, 'busBacklog'>): boolean {
  return waiting < (REVOKING.has(topic) ? 2 * busBacklog : busBacklog)
}

type Handler = (event: never) => void

export function createMemoryBus({ limits, log }: BusOptions): MemoryBus {
  const handlers = new Map<Topic, Set<Handler>>()
  let queue: { topic: Topic; event: BusEvents[Topic] }[] = []
  const dropped = createDropCounter(log)

  const deliver = (): void => {
    const batch = queue
    queue = []
    for (const { topic, event } of batch) {
      for (const handler of [...(handlers.get(topic) ?? [])]) {
        try {
          handler(event as never)
        } catch (error) {
          log.error('bus.handler', { topic, error })
        }
      }
    }
  }

  return {
    publish(topic, event) {
      if (!hasRoom(topic, queue.length, limits)) {
        dropped.drop(topic)
        return
      }
      if (queue.length === 0) setImmediate(deliver)
      queue.push({ topic, event })
    },
    subscribe(topic, handler) {
      const known = handlers.get(topic) ?? new Set<Handler>()
      handlers.set(topic, known)
      known.add(handler as Handler)
      return () => known.delete(handler as Handler)
    },
    get dropped() {
      return dropped.count
    },
  }
}
