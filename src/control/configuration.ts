// The configuration files of a running gateway: read again when they change or when somebody asks, applied whole or
// refused whole, and what came of it kept for whoever looks later. What was applied before stays in force meanwhile.
// Absent on purpose: reading and watching files (config/, handed in by app.ts), and what settings mean.

import { type Fault, GatewayError } from '../core/errors.ts'
import type { Clock } from '../core/time.ts'
import type { Log } from '../ports/log.ts'
import type { FileRows } from '../ports/store.ts'

/** As much of what config/load.ts found as is needed here. */
export interface ReadFiles {
  readonly rows: FileRows
  readonly faults: readonly Fault[]
  readonly notes: readonly Fault[]
  readonly settings: ReadonlyMap<string, { readonly value: unknown; readonly at: string }>
}

export interface RowChange {
  readonly kind: 'upstream' | 'server' | 'token'
  readonly name: string
  readonly change: 'added' | 'changed' | 'removed'
}

export interface SettingChange {
  readonly name: string
  readonly takesEffect: 'at once' | 'next start'
}

export interface Reloaded {
  readonly files: readonly string[]
  readonly rows: readonly RowChange[]
  readonly settings: readonly SettingChange[]
}

export interface ConfigurationView {
  /** As they were given; empty where the gateway was started without any. */
  readonly files: readonly string[]
  readonly appliedMs: number
  /** When they were refused last, and why; null when they are in force as they are. */
  readonly refused: { readonly atMs: number; readonly faults: readonly Fault[] } | null
  /** Settings that are other in the files than in this process. */
  readonly nextStart: readonly string[]
}

/** `faults` is empty where the files were applied. */
export interface Outcome extends Reloaded {
  readonly faults: readonly Fault[]
}

export interface Configuration {
  view(): ConfigurationView
  /** One at a time; whoever asks meanwhile gets the one after it. Errors: CONFIG_REFUSED with every fault. */
  reload(): Promise<Reloaded>
  /** Hears of every end but those in which nothing was new. */
  onOutcome: ((outcome: Outcome) => void) | null
}

export interface ConfigurationDeps<Read extends ReadFiles> {
  readonly files: readonly string[]
  /** What the gateway was started with. */
  readonly first: Read
  readonly load: () => Promise<Read>
  /** Makes the rows those of the gateway. Errors: CONFLICT with every clash, TOO_MANY. */
  readonly applyRows: (rows: FileRows) => Promise<void>
  /** Takes up what can be taken up at once, and names it. */
  readonly applySettings: (read: Read) => readonly string[]
  readonly clock: Clock
  readonly log: Log
}

interface Named {
  readonly originRef?: string
}

/** The rows of the second that the first has not, or has otherwise; where a row stands is not what it is. */
function differences<Row extends Named>(
  kind: RowChange['kind'],
  nameOf: (row: Row) => string,
  before: readonly Row[],
  after: readonly Row[],
): RowChange[] {
  const textOf = ({ originRef: _where, ...row }: Row): string => JSON.stringify(row)
  const old = new Map(before.map((row) => [nameOf(row), textOf(row)]))
  const fresh = new Map(after.map((row) => [nameOf(row), textOf(row)]))
  const changes: RowChange[] = []
  for (const [name, text] of fresh) {
    const known = old.get(name)
    if (known !== text) changes.push({ kind, name, change: known === undefined ? 'added' : 'changed' })
  }
  for (const name of old.keys()) if (!fresh.has(name)) changes.push({ kind, name, change: 'removed' })
  return changes
}

export function rowChanges(before: FileRows, after: FileRows): RowChange[] {
  return [
    ...differences('upstream', ({ slug }) => slug, before.upstreams, after.upstreams),
    ...differences('server', ({ slug }) => slug, before.virtualServers, after.virtualServers),
    ...differences('token', ({ name }) => name, before.tokens, after.tokens),
  ]
}

function settingsThatDiffer(before: ReadFiles['settings'], after: ReadFiles['settings']): string[] {
  return [...after.keys()].filter(
    (name) => JSON.stringify(before.get(name)?.value) !== JSON.stringify(after.get(name)?.value),
  )
}

export function createConfiguration<Read extends ReadFiles>(deps: ConfigurationDeps<Read>): Configuration {
  const { files, first, clock, log } = deps
  let current = first
  let appliedMs = clock.now()
  let refused: ConfigurationView['refused'] = null
  let nextStart: readonly string[] = []
  /** Settings that are not as they were at the start, but in force. */
  const taken = new Set<string>()
  let last: Promise<unknown> = Promise.resolve()
  let waiting: Promise<Reloaded> | null = null

  const refuse = (faults: readonly Fault[]): GatewayError => {
    refused = { atMs: clock.now(), faults }
    const lines = faults.map(({ at, message }) => `${at}: ${message}`)
    log.warn('config.refused', { faults: lines })
    self.onOutcome?.({ files, rows: [], settings: [], faults })
    return new GatewayError('CONFIG_REFUSED', `Nothing of it was applied:\n${lines.join('\n')}`, { faults })
  }

  const applyRows = async (rows: FileRows): Promise<void> => {
    try {
      await deps.applyRows(rows)
    } catch (error) {
      if (!(error instanceof GatewayError) || !['CONFLICT', 'TOO_MANY'].includes(error.code)) throw error
      throw refuse(error.options.faults ?? [{ at: files.join(', '), message: error.message }])
    }
  }

  const reloadNow = async (): Promise<Reloaded> => {
    const read = await deps.load()
    if (read.faults.length > 0) throw refuse(read.faults)
    const rows = rowChanges(current.rows, read.rows)
    await applyRows(read.rows)
    const applied = deps.applySettings(read)
    for (const name of applied) taken.add(name)
    const changed = new Set([...settingsThatDiffer(current.settings, read.settings), ...applied])
    const settings = [...changed].map(
      (name): SettingChange => ({ name, takesEffect: taken.has(name) ? 'at once' : 'next start' }),
    )
    const isNews = rows.length > 0 || settings.length > 0 || refused !== null
    current = read
    appliedMs = clock.now()
    refused = null
    nextStart = settingsThatDiffer(first.settings, read.settings).filter((name) => !taken.has(name))
    const reloaded = { files, rows, settings }
    if (isNews) {
      log.info('config.applied', { rows: rows.map(({ kind, name, change }) => `${kind} ${name} ${change}`), settings })
      for (const { at, message } of read.notes) log.warn('config.note', { at, message })
      self.onOutcome?.({ ...reloaded, faults: [] })
    }
    return reloaded
  }

  const self: Configuration = {
    onOutcome: null,
    view: () => ({ files, appliedMs, refused, nextStart }),
    reload() {
      if (waiting !== null) return waiting
      const mine = last.then(() => {
        waiting = null
        return reloadNow()
      })
      waiting = mine
      last = mine.catch(() => {})
      return mine
    },
  }
  return self
}
