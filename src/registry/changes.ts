// What a swap of snapshots changed in the lists that a client sees: what it must be told. Compared by the bytes that
// clients get, so that a refresh which found the same things, or a change of a tool's deadline, tells nobody anything.

import { createHash } from 'node:crypto'
import type { Scope } from './snapshot.ts'

export type ListKind = 'tools' | 'prompts' | 'resources'

interface Listed {
  readonly legacy: Buffer
}

function isSame(one: readonly Listed[], other: readonly Listed[]): boolean {
  // Targets of upstreams that did not change are the same objects in both snapshots.
  const at = (target: Listed, index: number): boolean =>
    target === other[index] || target.legacy.equals(other[index]!.legacy)
  return one.length === other.length && one.every(at)
}

const EMPTY: Pick<Scope, 'tools' | 'prompts' | 'resources' | 'templates'> = {
  tools: [],
  prompts: [],
  resources: [],
  templates: [],
}

/** The lists of an endpoint that differ between two snapshots; an endpoint that is not there shows nothing. */
export function changedLists(before: Scope | undefined, after: Scope | undefined): ListKind[] {
  if (before === after) return []
  const [old, now] = [before ?? EMPTY, after ?? EMPTY]
  const kinds: ListKind[] = []
  if (!isSame(old.tools, now.tools)) kinds.push('tools')
  if (!isSame(old.prompts, now.prompts)) kinds.push('prompts')
  if (!isSame(old.resources, now.resources) || !isSame(old.templates, now.templates)) kinds.push('resources')
  return kinds
}

/** A text for each list of an endpoint, in the order of ListKind, by which two states of it are told apart: 8 characters. */
export type ListMarks = readonly [tools: string, prompts: string, resources: string]

const MARK_BYTES = 6
/** Scopes are never changed: each is read once, and only where somebody listens. 10,000 tools take about 5 ms. */
const marks = new WeakMap<object, ListMarks>()

function markOf(...lists: readonly (readonly Listed[])[]): string {
  const hash = createHash('sha256')
  for (const list of lists) {
    hash.update(`${list.length}\n`)
    for (const { legacy } of list) hash.update(legacy)
  }
  return hash.digest().toString('base64url', 0, MARK_BYTES)
}

/** The same for the same lists, in every worker and after every restart; an endpoint that is not there shows nothing. */
export function marksOf(scope: Scope | undefined): ListMarks {
  const lists = scope ?? EMPTY
  let known = marks.get(lists)
  if (known === undefined) {
    known = [markOf(lists.tools), markOf(lists.prompts), markOf(lists.resources, lists.templates)]
    marks.set(lists, known)
  }
  return known
}
