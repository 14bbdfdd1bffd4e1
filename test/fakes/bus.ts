// A bus inside one process that delivers at once and remembers what was published.

import type { Bus, BusEvents, Topic } from '../../src/ports/bus.ts'

export interface FakeBus extends Bus {
  readonly published: { topic: Topic; event: BusEvents[Topic] }[]
}

export function createFakeBus(): FakeBus {
  const handlers = new Map<Topic, Set<(event: never) => void>>()
  const published: FakeBus['published'] = []
  return {
    published,
    publish(topic, event) {
      published.push({ topic, event })
      for (const handler of handlers.get(topic) ?? []) handler(event as never)
    },
    subscribe(topic, handler) {
      const known = handlers.get(topic) ?? new Set()
      handlers.set(topic, known)
      known.add(handler)
      return () => known.delete(handler)
    },
  }
}
