// The bus of a replica with workers: each process has its bus in memory, and the primary passes news on to all others.

import type { BusEvents, Topic } from '../ports/bus.ts'
import type { Messages } from '../ports/messages.ts'
import { type BusOptions, createDropCounter, createMemoryBus, hasRoom, type MemoryBus } from './bus-memory.ts'

interface News {
  readonly topic: Topic
  readonly event: BusEvents[Topic]
}

export interface PrimaryBus extends MemoryBus {
  /** From now on this worker takes part, until its messages close. */
  attach(messages: Messages): void
}

export function createPrimaryBus(options: BusOptions): PrimaryBus {
  const local = createMemoryBus(options)
  const workers = new Set<Messages>()
  const dropped = createDropCounter(options.log)

  const relay = (news: News, from: Messages | null): void => {
    for (const worker of workers) {
      if (worker === from) continue
      if (hasRoom(news.topic, worker.backlog, options.limits)) worker.send('bus', news)
      else dropped.drop(news.topic)
    }
  }

  return {
    publish(topic, event) {
      local.publish(topic, event)
      relay({ topic, event }, null)
    },
    subscribe: (topic, handler) => local.subscribe(topic, handler),
    attach(messages) {
      workers.add(messages)
      messages.onClose(() => workers.delete(messages))
      messages.on('bus', (body) => {
        const news = body as News
        local.publish(news.topic, news.event)
        relay(news, messages)
      })
    },
    get dropped() {
      return dropped.count + local.dropped
    },
  }
}

export function createWorkerBus(options: BusOptions & { readonly messages: Messages }): MemoryBus {
  const { messages, limits } = options
  const local = createMemoryBus(options)
  const dropped = createDropCounter(options.log)
  messages.on('bus', (body) => {
    const news = body as News
    local.publish(news.topic, news.event)
  })
  return {
    publish(topic, event) {
      local.publish(topic, event)
      if (hasRoom(topic, messages.backlog, limits)) messages.send('bus', { topic, event } satisfies News)
      else dropped.drop(topic)
    },
    subscribe: (topic, handler) => local.subscribe(topic, handler),
    get dropped() {
      return dropped.count + local.dropped
    },
  }
}
