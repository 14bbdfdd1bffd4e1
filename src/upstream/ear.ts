// A stream of a server that is kept open while its link lives: opened again when it breaks, with growing pauses; a server
// that offers none is not asked again.

import type { Limits } from '../core/limits.ts'
import { jitter } from '../core/time.ts'
import type { ListenHandlers, Listening } from './listen.ts'

export interface EarDeps {
  readonly limits: Pick<Limits, 'retryMsBase' | 'retryMsMax' | 'earMs'>
  /** In [0, 1). */
  readonly random: () => number
}

export interface Ear {
  /** When the stream is open for the first time, or it is known that there is none, or after `earMs`. */
  readonly ready: Promise<void>
  close(): void
}

export function createEar(
  { limits, random }: EarDeps,
  listen: (handlers: Pick<ListenHandlers, 'onOpen' | 'onEnd'>) => Listening,
): Ear {
  let listening: Listening | null = null
  let timer: NodeJS.Timeout | undefined
  let failures = 0
  let isClosed = false
  const ready = Promise.withResolvers<void>()
  const patience = setTimeout(ready.resolve, limits.earMs)

  const open = (): void => {
    listening = listen({
      onOpen: () => {
        failures = 0
        ready.resolve()
      },
      onEnd: (isOffered) => {
        ready.resolve()
        if (isClosed || !isOffered) return
        failures += 1
        const ms = Math.min(limits.retryMsMax, limits.retryMsBase * 2 ** Math.min(failures - 1, 16))
        timer = setTimeout(open, jitter(ms, 0.25, random()))
      },
    })
  }
  open()
  void ready.promise.then(() => clearTimeout(patience))
  return {
    ready: ready.promise,
    close() {
      isClosed = true
      ready.resolve()
      clearTimeout(timer)
      listening?.close()
    },
  }
}
