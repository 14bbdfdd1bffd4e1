// The handlers of one worker's hops, and one run of a handler: what both adapters have in common.

import { Cancel } from '../core/cancel.ts'
import { GatewayError } from '../core/errors.ts'
import type { HopHandler, HopPart } from '../ports/hop.ts'

export interface HopTable {
  serve(part: HopPart, handler: HopHandler): void
  /** Errors: whatever the handler throws; OWNER_LOST where nobody serves the part. */
  run(part: HopPart, body: unknown, note: (note: unknown) => void, cancel?: Cancel): Promise<unknown>
}

export function createHopTable(): HopTable {
  const handlers = new Map<HopPart, HopHandler>()
  return {
    serve(part, handler) {
      if (handlers.has(part)) throw new Error(`two handlers for hops to ${part}`)
      handlers.set(part, handler)
    },
    async run(part, body, note, cancel = new Cancel()) {
      const handler = handlers.get(part)
      if (handler === undefined) throw new GatewayError('OWNER_LOST')
      let isOver = false
      try {
        return await handler(body, { note: (value) => (isOver ? undefined : note(value)), cancel })
      } finally {
        // What a handler says after its answer is nobody's.
        isOver = true
      }
    },
  }
}
