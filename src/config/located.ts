// A document that was read: its values, and for each the line that it stands on, so that every fault can name one.
// YAML (yaml.ts) and JSON with comments (jsonc.ts) both end in this shape. Absent on purpose: anchors, tags, duplicates,
// which the readers resolve or refuse.

import { LIMITS } from '../core/limits.ts'

export interface Scalar {
  readonly kind: 'scalar'
  readonly line: number
  readonly value: string | number | boolean | null
  /** As it was written: `1.10` is a number, and its text is not `1.1`. */
  readonly text: string
}

export interface List {
  readonly kind: 'list'
  readonly line: number
  readonly items: readonly Located[]
}

export interface Entry {
  /** Of the key. */
  readonly line: number
  readonly value: Located
}

export interface Mapping {
  readonly kind: 'map'
  readonly line: number
  readonly entries: ReadonlyMap<string, Entry>
}

export type Located = Scalar | List | Mapping

export type ReportFault = (line: number, message: string) => void

/** A document that cannot be read at all. */
export class DocumentFault extends Error {
  readonly line: number

  constructor(line: number, message: string) {
    super(message)
    this.line = line
  }
}

export function scalar(line: number, value: Scalar['value'], text = String(value)): Scalar {
  return { kind: 'scalar', line, value, text }
}

/** Counts what a document is made of; a short document can stand for a large one (YAML aliases). */
export class NodeBudget {
  #left: number = LIMITS.configNodes

  take(line: number, depth: number): void {
    this.#left -= 1
    if (this.#left < 0) throw new DocumentFault(line, `has more than ${LIMITS.configNodes} values`)
    if (depth > LIMITS.configDepth) throw new DocumentFault(line, `is nested deeper than ${LIMITS.configDepth} levels`)
  }
}

/** The value alone. */
export function plainValue(at: Located): unknown {
  if (at.kind === 'scalar') return at.value
  if (at.kind === 'list') return at.items.map(plainValue)
  return Object.fromEntries([...at.entries].map(([key, entry]) => [key, plainValue(entry.value)]))
}

/** A value that came from a flag or a variable, as if it stood in a document. */
export function located(value: string | number | boolean | readonly string[], line = 1): Located {
  if (typeof value === 'object') return { kind: 'list', line, items: value.map((item) => scalar(line, item)) }
  return scalar(line, value)
}
