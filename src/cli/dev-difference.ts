// What has changed between two lists of definitions of a server, for the eyes of whoever wrote the change: which came,
// which went, and of the others which part of the description or schema differs. Pure.

export interface DefinitionShape {
  readonly kind: 'tool' | 'prompt' | 'resource' | 'template'
  readonly name: string
  /** As the server wrote it. */
  readonly json: string
}

export interface DefinitionChange {
  readonly kind: DefinitionShape['kind']
  readonly name: string
  readonly change: 'added' | 'changed' | 'removed'
  /** Of a changed one: paths such as `description` or `inputSchema.properties.unit added`. */
  readonly parts: readonly string[]
}

const PARTS_MAX = 6

export function definitionChanges(
  before: readonly DefinitionShape[],
  after: readonly DefinitionShape[],
): DefinitionChange[] {
  const keyOf = ({ kind, name }: DefinitionShape): string => `${kind} ${name}`
  const old = new Map(before.map((one) => [keyOf(one), one]))
  const fresh = new Map(after.map((one) => [keyOf(one), one]))
  const changes: DefinitionChange[] = []
  for (const [key, { kind, name, json }] of fresh) {
    const known = old.get(key)
    if (known === undefined) changes.push({ kind, name, change: 'added', parts: [] })
    else if (known.json !== json) {
      const parts = partsThatDiffer(JSON.parse(known.json), JSON.parse(json))
      if (parts.length > 0) changes.push({ kind, name, change: 'changed', parts })
    }
  }
  for (const [key, { kind, name }] of old)
    if (!fresh.has(key)) changes.push({ kind, name, change: 'removed', parts: [] })
  return changes
}

/** Paths of what differs, the deepest that says it all; the order of keys is no difference. */
export function partsThatDiffer(before: unknown, after: unknown): string[] {
  const parts: string[] = []
  walk(before, after, '', parts)
  if (parts.length <= PARTS_MAX) return parts
  return [...parts.slice(0, PARTS_MAX), `and ${parts.length - PARTS_MAX} more`]
}

const isMap = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

function walk(before: unknown, after: unknown, path: string, parts: string[]): void {
  if (!isMap(before) || !isMap(after)) {
    if (JSON.stringify(before) !== JSON.stringify(after)) parts.push(path === '' ? 'everything' : path)
    return
  }
  for (const key of new Set([...Object.keys(before), ...Object.keys(after)])) {
    const inside = path === '' ? key : `${path}.${key}`
    if (!Object.hasOwn(before, key)) parts.push(`${inside} added`)
    else if (!Object.hasOwn(after, key)) parts.push(`${inside} removed`)
    else walk(before[key], after[key], inside, parts)
  }
}
