// What the nouns of the API share about rows: who may write them, how they get a slug, what happens after a write.

import { GatewayError } from '../core/errors.ts'
import type { Origin } from '../core/model.ts'
import { rfc3339 } from '../core/time.ts'
import type { RestContext } from './route.ts'
import { freeSlug } from './slug.ts'

export function timeOrNull(ms: number | null): string | null {
  return ms === null ? null : rfc3339(ms)
}

/** Errors: MANAGED_BY_FILE, with file and line. */
export function refuseManaged(what: string, row: { readonly origin: Origin; readonly originRef: string | null }): void {
  if (row.origin === 'api') return
  const where = row.origin === 'demo' ? 'the demonstration that --demo starts' : (row.originRef ?? 'a file')
  throw new GatewayError('MANAGED_BY_FILE', `${what} is managed by ${where}`, { data: { originRef: row.originRef } })
}

export function missing(noun: string, name: string): GatewayError {
  return new GatewayError('NOT_FOUND', `There is no ${noun} "${name.slice(0, 64)}"`)
}

/** Two requests may derive the same slug at once: the later one takes the next. */
const INSERTS_MAX = 10

/** Inserts under `slug`, or under a free one made from `base`. Errors: CONFLICT for a slug that was asked for. */
export async function insertWithSlug<Row>(
  slug: string | undefined,
  base: () => string,
  taken: () => Promise<Iterable<string>>,
  insert: (slug: string) => Promise<Row>,
): Promise<Row> {
  if (slug !== undefined) return insert(slug)
  const known = new Set(await taken())
  for (let count = 1; ; count += 1) {
    const candidate = freeSlug(base(), known)
    try {
      return await insert(candidate)
    } catch (error) {
      if (!(error instanceof GatewayError) || error.code !== 'CONFLICT' || count === INSERTS_MAX) throw error
      known.add(candidate)
    }
  }
}

/** The row is written whatever becomes of this: who follows the store late will still follow it. */
export async function afterWrite(context: RestContext, event: string, fields: Readonly<Record<string, unknown>>) {
  context.log.info(event, fields)
  await catchUp(context)
}

/** What was written or discovered until now is in what is listed and called from here on. */
export async function catchUp(context: RestContext): Promise<void> {
  try {
    await context.changed()
  } catch (error) {
    context.log.warn('rest.follow_failed', { error })
  }
}

/** The promise's end, or `ms`, whichever comes first; its failure is for whoever owns it to tell. */
export async function waitAtMost(ms: number, promise: Promise<unknown>): Promise<void> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<void>((resolve) => {
    timer = setTimeout(resolve, ms)
  })
  try {
    await Promise.race([promise.catch(() => {}), late])
  } finally {
    clearTimeout(timer)
  }
}
