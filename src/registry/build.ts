// Rows in, snapshot out: a pure function but for its yielding, so that 10,000 tools never hold up the serving loop.
// Encoded entities are kept per upstream and reused while its definitions and settings stay the same.

import type { Definition, Member, ToolOverride, UpstreamRow, UpstreamView, VirtualServerRow } from '../core/model.ts'
import { matchesAny } from '../core/names.ts'
import type { RegistryPart, RegistryRows } from '../ports/feed.ts'
import { encodePrompt, encodeResource, encodeTemplate, encodeTool, type ToolDefaults } from './encode.ts'
import type {
  ListedTarget,
  PromptTarget,
  ResourceTarget,
  Scope,
  Shadowed,
  Snapshot,
  TemplateTarget,
  ToolTarget,
} from './snapshot.ts'

export interface BuildDefaults extends ToolDefaults {
  readonly callMs: number
  readonly callMsMax: number
  readonly connectMs: number
}

/** Targets of one upstream in one form: how names are given and which overrides a virtual server adds. */
interface Encoded {
  readonly tools: readonly Owned<ToolTarget>[]
  readonly prompts: readonly Owned<PromptTarget>[]
  readonly resources: readonly Owned<ResourceTarget>[]
  readonly templates: readonly Owned<TemplateTarget>[]
}

interface Owned<T extends ListedTarget> {
  readonly target: T
  readonly seenMs: number
}

interface Kept {
  readonly part: RegistryPart
  readonly view: UpstreamView
  readonly forms: Map<string, Encoded>
}

/** Called between items: waits a turn of the loop when the slice of time is used up. */
export type Yield = () => Promise<void> | null

export interface Builder {
  build(rows: RegistryRows): Promise<Snapshot>
}

const byText = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0)

export function viewOf(row: UpstreamRow, defaults: BuildDefaults): UpstreamView {
  const { spec, discovery } = row
  const isolation = spec.isolation ?? 'auto'
  return {
    id: row.id,
    slug: row.slug,
    spec,
    discovery,
    isolation: isolation === 'auto' ? (discovery?.stateful === true ? 'caller' : 'shared') : isolation,
    callMs: spec.callMs ?? defaults.callMs,
    callMsMax: Math.max(spec.callMsMax ?? defaults.callMsMax, spec.callMs ?? defaults.callMs),
    connectMs: spec.connectMs ?? defaults.connectMs,
  }
}

export function createBuilder(defaults: BuildDefaults, yieldIfDue: Yield): Builder {
  let kept = new Map<string, Kept>()
  let last: { snapshot: Snapshot; servers: readonly VirtualServerRow[]; parts: readonly Kept[] } | null = null

  async function encode(
    item: Kept,
    naming: 'prefix' | 'keep',
    extra: Readonly<Record<string, ToolOverride>> | undefined,
  ): Promise<Encoded> {
    const key = `${naming}${extra === undefined ? '' : JSON.stringify(extra)}`
    const known = item.forms.get(key)
    if (known !== undefined) return known
    const { view, part } = item
    const tools: Owned<ToolTarget>[] = []
    const prompts: Owned<PromptTarget>[] = []
    const resources: Owned<ResourceTarget>[] = []
    const templates: Owned<TemplateTarget>[] = []
    for (const definition of part.definitions) {
      const due = yieldIfDue()
      if (due !== null) await due
      const seenMs = definition.seenMs ?? part.upstream.createdMs
      if (definition.kind === 'tool') {
        const override = overrideOf(definition, view, extra)
        if (override.hide === true) continue
        tools.push({ target: encodeTool(view, definition, naming, override, defaults), seenMs })
      } else if (definition.kind === 'prompt') prompts.push({ target: encodePrompt(view, definition, naming), seenMs })
      else if (definition.kind === 'resource') resources.push({ target: encodeResource(view, definition), seenMs })
      else templates.push({ target: encodeTemplate(view, definition), seenMs })
    }
    const encoded = { tools, prompts, resources, templates }
    item.forms.set(key, encoded)
    return encoded
  }

  async function scopeOf(row: VirtualServerRow | null, parts: readonly Kept[]): Promise<Scope> {
    const naming = row?.spec.naming ?? 'prefix'
    const shadowed: Shadowed[] = []
    const tools: Owned<ToolTarget>[] = []
    const prompts: Owned<PromptTarget>[] = []
    const resources: Owned<ResourceTarget>[] = []
    const templates: Owned<TemplateTarget>[] = []
    const upstreams: UpstreamView[] = []
    for (const { item, member } of membersOf(row, parts)) {
      upstreams.push(item.view)
      const encoded = await encode(item, naming, member?.overrides)
      for (const owned of encoded.tools) if (matchesAny(owned.target.name, member?.tools)) tools.push(owned)
      for (const owned of encoded.prompts) if (matchesAny(owned.target.name, member?.prompts)) prompts.push(owned)
      for (const owned of encoded.resources) if (matchesAny(owned.target.uri, member?.resources)) resources.push(owned)
      for (const owned of encoded.templates)
        if (matchesAny(owned.target.template, member?.resources)) templates.push(owned)
    }
    const toolByName = owners(tools, (target) => target.exposed, shadowed)
    const promptByName = owners(prompts, (target) => target.exposed, shadowed)
    const resourceByUri = owners(resources, (target) => target.uri, shadowed)
    const templateByText = owners(templates, (target) => target.template, shadowed)
    const sorted = <T>(map: ReadonlyMap<string, T>): T[] =>
      [...map].sort((a, b) => byText(a[0], b[0])).map(([, target]) => target)
    return {
      id: row?.id ?? '',
      slug: row?.slug ?? '',
      title: row?.spec.title ?? null,
      description: row?.spec.description ?? null,
      instructions: row?.spec.instructions ?? null,
      icons: row?.spec.icons ?? null,
      naming,
      upstreams,
      tools: sorted(toolByName),
      prompts: sorted(promptByName),
      resources: sorted(resourceByUri),
      templates: sorted(templateByText),
      toolByName,
      promptByName,
      resourceByUri,
      shadowed,
    }
  }

  return {
    async build(rows) {
      const next = new Map<string, Kept>()
      for (const part of rows.parts.values()) {
        const old = kept.get(part.upstream.id)
        const same =
          old !== undefined &&
          old.part.definitions === part.definitions &&
          old.part.upstream.rowVersion === part.upstream.rowVersion &&
          sameDiscovery(old.part, part)
        next.set(part.upstream.id, same ? old : { part, view: viewOf(part.upstream, defaults), forms: new Map() })
      }
      kept = next
      const parts = [...next.values()]
        .filter(({ part }) => part.upstream.spec.enabled !== false)
        .sort((a, b) => a.part.upstream.createdMs - b.part.upstream.createdMs || byText(a.view.id, b.view.id))
      if (
        last !== null &&
        last.servers === rows.virtualServers &&
        last.parts.length === parts.length &&
        last.parts.every((part, at) => part === parts[at])
      ) {
        return last.snapshot
      }
      const scopes = new Map<string, Scope>([['', await scopeOf(null, parts)]])
      for (const server of rows.virtualServers) {
        const scope = await scopeOf(server, parts)
        scopes.set(server.id, scope)
        scopes.set(server.slug, scope)
      }
      const upstreams = new Map(parts.map(({ view }) => [view.id, view]))
      const snapshot: Snapshot = { definitionVersion: rows.version, upstreams, scopes }
      last = { snapshot, servers: rows.virtualServers, parts }
      return snapshot
    },
  }
}

/** A refresh that found the same things changes the date of discovery only: nothing of that is in the snapshot's bytes. */
function sameDiscovery(a: RegistryPart, b: RegistryPart): boolean {
  const x = a.upstream.discovery
  const y = b.upstream.discovery
  if (x === y) return true
  if (x === null || y === null) return false
  return (
    x.era === y.era &&
    x.revision === y.revision &&
    x.sse === y.sse &&
    x.stateful === y.stateful &&
    x.ttlMs === y.ttlMs &&
    x.instructions === y.instructions &&
    JSON.stringify(x.capabilities) === JSON.stringify(y.capabilities)
  )
}

function overrideOf(
  definition: Definition,
  view: UpstreamView,
  extra: Readonly<Record<string, ToolOverride>> | undefined,
): ToolOverride {
  const own = ownOf(view.spec.tools, definition.name)
  const added = ownOf(extra, definition.name)
  return added === undefined ? (own ?? {}) : { ...own, ...added }
}

/** A tool may be called `constructor`. */
function ownOf(overrides: Readonly<Record<string, ToolOverride>> | undefined, name: string): ToolOverride | undefined {
  return overrides !== undefined && Object.hasOwn(overrides, name) ? overrides[name] : undefined
}

function membersOf(row: VirtualServerRow | null, parts: readonly Kept[]): { item: Kept; member: Member | null }[] {
  if (row === null) return parts.map((item) => ({ item, member: null }))
  return row.spec.members.flatMap((member) => {
    const item = parts.find(({ view }) => view.slug === member.upstream || view.id === member.upstream)
    return item === undefined ? [] : [{ item, member }]
  })
}

/** Who owns each name: the one that offered it first, then the upstream registered first (the order of `items`). */
function owners<T extends ListedTarget>(
  items: readonly Owned<T>[],
  keyOf: (target: T) => string,
  shadowed: Shadowed[],
): Map<string, T> {
  const winners = new Map<string, Owned<T>>()
  const lose = (key: string, loser: Owned<T>, winner: Owned<T>): void => {
    if (loser.target.upstream === winner.target.upstream) return
    shadowed.push({
      kind: loser.target.kind,
      name: key,
      upstream: loser.target.upstream.slug,
      owner: winner.target.upstream.slug,
    })
  }
  for (const item of items) {
    const key = keyOf(item.target)
    const winner = winners.get(key)
    if (winner === undefined) winners.set(key, item)
    else if (item.seenMs < winner.seenMs) {
      winners.set(key, item)
      lose(key, winner, item)
    } else lose(key, item, winner)
  }
  return new Map([...winners].map(([key, { target }]) => [key, target]))
}
