// Hops where there is one data plane: the only place to go is here.

import { GatewayError } from '../core/errors.ts'
import { isSamePlace, type Place } from '../core/place.ts'
import type { Hop, HopHandler, HopPart } from '../ports/hop.ts'
import { createHopTable } from './hop-table.ts'

export function createLocalHop(here: Place): Hop {
  const table = createHopTable()
  return {
    here,
    serve: (part: HopPart, handler: HopHandler) => table.serve(part, handler),
    async ask(to, part, body, onNote = () => {}, cancel) {
      if (!isSamePlace(to, here)) throw new GatewayError('OWNER_LOST')
      return table.run(part, body, onNote, cancel)
    },
  }
}
