// Rows of a configuration file: made equal to the file in one transaction, or refused with every clash named.

import type { Fault } from '../core/errors.ts'
import { GatewayError } from '../core/errors.ts'
import type { Origin, TokenRow } from '../core/model.ts'
import type { NewToken } from '../ports/store.ts'
import { type Connection, clashText, type Row, refuseOver, type Steps } from './store-sqlite-connection.ts'
import {
  addEntity,
  changeEntity,
  dropEntity,
  type EntityKind,
  type NewEntity,
  SERVER,
  UPSTREAM,
} from './store-sqlite-entities.ts'
import { addToken, dropToken, TOKEN_KEYS, toToken } from './store-sqlite-tokens.ts'

/** One row of a file, compared with what is stored by whoever can read sealed specifications. */
export interface PlannedEntity extends NewEntity {
  readonly unchanged: boolean
  readonly forget: boolean
}

export interface FilePlan {
  readonly origin: 'file' | 'demo'
  readonly upstreams: readonly PlannedEntity[]
  readonly virtualServers: readonly PlannedEntity[]
  readonly tokens: readonly NewToken[]
}

/** Every reason why these rows cannot stand beside the rows of other origins. */
function* findClashes(connection: Connection, plan: FilePlan): Steps<Fault[]> {
  const faults: Fault[] = []
  const check = (
    noun: string,
    field: string,
    value: string,
    at: string,
    taken: Row | null,
    seen: Set<string>,
  ): void => {
    if (seen.has(value)) faults.push({ at, message: `The ${field} of this ${noun} stands in these files twice` })
    seen.add(value)
    if (taken === null || taken.origin === plan.origin) return
    faults.push({ at, message: clashText(noun, field, value, taken) })
  }
  for (const [kind, rows] of [
    [UPSTREAM, plan.upstreams],
    [SERVER, plan.virtualServers],
  ] as const) {
    const seen = new Set<string>()
    for (const row of rows) {
      const taken = connection.row(`SELECT * FROM ${kind.table} WHERE slug = ?`, row.slug)
      check(kind.noun, 'slug', row.slug, row.originRef ?? row.slug, taken, seen)
      yield
    }
  }
  const seen = { name: new Set<string>(), id: new Set<string>(), hash: new Set<string>() }
  for (const token of plan.tokens) {
    for (const field of TOKEN_KEYS) {
      const taken = connection.row(`SELECT * FROM tokens WHERE ${field} = ?`, token[field])
      check('token', field, token[field], token.originRef ?? token.name, taken, seen[field])
    }
    yield
  }
  return faults
}

function* applyEntities(
  connection: Connection,
  kind: EntityKind,
  origin: Origin,
  planned: readonly PlannedEntity[],
  nowMs: number,
): Steps<void> {
  const wanted = new Map(planned.map((row) => [row.slug, row]))
  const there = new Map<string, Row>()
  for (const row of connection.rows(`SELECT * FROM ${kind.table} WHERE origin = ?`, origin)) {
    if (wanted.has(row.slug as string)) there.set(row.slug as string, row)
    else yield* dropEntity(connection, kind, row.id as string, nowMs)
  }
  for (const row of planned) {
    const before = there.get(row.slug)
    if (before === undefined) addEntity(connection, kind, row, nowMs)
    else if (!row.unchanged) yield* changeEntity(connection, kind, { ...row, id: before.id as string }, nowMs)
    else if (before.origin_ref !== row.originRef) {
      // A row that only moved to another line is the same row: nobody needs to hear of it.
      connection.run(`UPDATE ${kind.table} SET origin_ref = ? WHERE id = ?`, row.originRef, before.id as string)
    }
    yield
  }
  refuseOver(connection, kind.table, kind.limit, kind.noun)
}

function isSameToken(before: TokenRow, row: NewToken): boolean {
  return (
    before.id === row.id &&
    before.hash === row.hash &&
    before.expiresMs === (row.expiresMs ?? null) &&
    JSON.stringify(before.rights) === JSON.stringify(row.rights)
  )
}

function* applyTokens(connection: Connection, plan: FilePlan, nowMs: number): Steps<void> {
  const wanted = new Map(plan.tokens.map((row) => [row.name, row]))
  const there = new Map<string, TokenRow>()
  const kept = new Set<string>()
  // First everything goes that does not stay as it is, so that two tokens may swap their texts.
  for (const row of connection.rows('SELECT * FROM tokens WHERE origin = ?', plan.origin).map(toToken)) {
    const wish = wanted.get(row.name)
    there.set(row.name, row)
    if (wish !== undefined && isSameToken(row, wish)) {
      kept.add(row.name)
      connection.run('UPDATE tokens SET origin_ref = ? WHERE id = ?', wish.originRef ?? null, row.id)
    } else dropToken(connection, row.id, nowMs)
    yield
  }
  for (const row of plan.tokens) {
    if (!kept.has(row.name)) addToken(connection, row, there.get(row.name) ?? null, nowMs)
    yield
  }
  refuseOver(connection, 'tokens', 'tokensMax', 'token')
}

export function* applyFile(connection: Connection, plan: FilePlan, nowMs: number): Steps<void> {
  const faults = yield* findClashes(connection, plan)
  if (faults.length > 0) {
    const lines = faults.map(({ at, message }) => `${at}: ${message}`).join('\n')
    throw new GatewayError('CONFLICT', `The file clashes with what is there; nothing of it was applied:\n${lines}`, {
      faults,
    })
  }
  yield* applyEntities(connection, UPSTREAM, plan.origin, plan.upstreams, nowMs)
  yield* applyEntities(connection, SERVER, plan.origin, plan.virtualServers, nowMs)
  yield* applyTokens(connection, plan, nowMs)
}
