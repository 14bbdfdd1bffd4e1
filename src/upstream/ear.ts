// A stream of a server that is kept open while its link lives: opened again when it breaks, with growing pauses; a server
// that offers none is not asked again.

import type { Limits } from '../core/limits.ts'
import { jitter } from '../core/time.ts'
import type { ListenHandlers, Listening } from './listen.ts'

export interface EarDeps {
  readonly limits: Pick<Limits, 'retryMsBase' | 'retryMsMax'>
  /** In [0, 1). */
  readonly random: () => number
}

export interface Ear {
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

  const open = (): void => {
    listening = listen({
      onOpen: () => {
        failures = 0
      },
      onEnd: (isOffered) => {
        if (isClosed || !isOffered) return
        failures += 1
        const ms = Math.min(limits.retryMsMax, limits.retryMsBase * 2 ** Math.min(failures - 1, 16))
        timer = setTimeout(open, jitter(ms, 0.25, random()))
      },
    })
  }
  open()
  return {
    close() {
      isClosed = true
      clearTimeout(timer)
      listening?.close()
    },
  }
}
