// Pages of lists: a cursor is the last key of a page and a hash of the filter, sealed, so that it cannot be made up and
// does not fit another list. A keyset, not an offset: what is added or removed meanwhile shifts nothing.

import { hash } from 'node:crypto'
import { GatewayError } from '../core/errors.ts'
import { LIMITS } from '../core/limits.ts'
import type { Sealer } from '../mcp/seal.ts'
import type { Query, QueryParameter } from './route.ts'

export const LIMIT: QueryParameter = {
  description: `Items of a page; ${LIMITS.restPageItems} when left out.`,
  schema: { type: 'integer', minimum: 1, maximum: LIMITS.pageItems },
}
export const CURSOR: QueryParameter = {
  description: 'The nextCursor of the page before.',
  schema: { type: 'string', minLength: 1, maxLength: 8_192 },
}

export interface PageRequest {
  readonly limit: number
  /** Items up to and including this key have been had; null at the start. */
  readonly after: string | null
  /** Hash of what the list is of. */
  readonly filter: string
}

export interface Page<T> {
  readonly items: T[]
  readonly nextCursor: string | null
}

const PURPOSE = 'rest-cursor'

/** `list` names the list and its filters; `query` has been checked. Errors: INVALID_CURSOR. */
export function readPage(sealer: Sealer, list: readonly unknown[], { limit, cursor }: Query): PageRequest {
  const filter = hash('sha256', JSON.stringify(list), 'base64url')
  const page = { limit: limit === undefined ? LIMITS.restPageItems : Number(limit), filter }
  if (cursor === undefined) return { ...page, after: null }
  const text = sealer.open(PURPOSE, cursor)?.toString('utf8')
  if (text === undefined || !text.startsWith(filter))
    throw new GatewayError('INVALID_CURSOR', 'This cursor is not of this list')
  return { ...page, after: text.slice(filter.length) }
}

export function cursorAfter(sealer: Sealer, page: PageRequest, key: string): string {
  return sealer.seal(PURPOSE, Buffer.from(page.filter + key))
}

/** The page of `rows`, which are put in the order of their keys (by code unit). */
export function pageOf<Row>(
  sealer: Sealer,
  page: PageRequest,
  rows: readonly Row[],
  keyOf: (row: Row) => string,
): Page<Row> {
  const { after, limit } = page
  const keyed = rows.map((row) => ({ row, key: keyOf(row) })).filter(({ key }) => after === null || key > after)
  keyed.sort((a, b) => (a.key < b.key ? -1 : a.key > b.key ? 1 : 0))
  const items = keyed.slice(0, limit)
  const last = keyed.length > limit ? items.at(-1) : undefined
  return {
    items: items.map(({ row }) => row),
    nextCursor: last === undefined ? null : cursorAfter(sealer, page, last.key),
  }
}
