// What a swap of snapshots changed in the lists that a client sees: what it must be told. Compared by the bytes that
// clients get, so that a refresh which found the same things, or a change of a tool's deadline, tells nobody anything.

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
