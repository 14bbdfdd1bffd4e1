// Entities of upstreams as the bytes that clients get: each is encoded once per wire shape when its upstream changes,
// never per request. Members that nobody changes stay the bytes that the upstream sent.

import { createHash } from 'node:crypto'
import type { Member } from '../core/call.ts'
import type { Definition, Naming, ToolOverride, UpstreamView, ValidateMode } from '../core/model.ts'
import { exposedName } from '../core/names.ts'
import { isRecord } from '../mcp/classify.ts'
import { find, scanMembers, stringAt } from '../mcp/json.ts'
import { TASKS_EXTENSION } from '../mcp/tasks.ts'
import type { ParamHeader, PromptTarget, ResourceTarget, TemplateTarget, ToolTarget } from './snapshot.ts'

const DEPTH = 512
const NO_SCHEMA = Buffer.from('{"type":"object"}')

type Changes = ReadonlyMap<string, Buffer | null>

/** The object with some members replaced (or dropped, by null) and those that it lacked added at its end. */
function rewrite(bytes: Buffer, members: readonly Member[], changes: Changes): Buffer {
  const parts: Buffer[] = []
  const put = (key: string, value: Buffer): void => {
    parts.push(Buffer.from(`${parts.length === 0 ? '{' : ','}${JSON.stringify(key)}:`), value)
  }
  for (const member of members) {
    const change = changes.get(member.key)
    if (change === null) continue
    put(member.key, change ?? bytes.subarray(member.start, member.end))
  }
  for (const [key, value] of changes) {
    if (value !== null && find(members, key) === null) put(key, value)
  }
  parts.push(Buffer.from(parts.length === 0 ? '{}' : '}'))
  return Buffer.concat(parts)
}

const quote = (text: string): Buffer => Buffer.from(JSON.stringify(text))

/** Names of headers (RFC 9110): a stranger's text must not become a line of our requests. */
const TOKEN = /^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,128}$/

/** `x-mcp-header` annotations that a chain of `properties` reaches (2026-07-28, server/tools). */
export function paramHeaders(schema: unknown, path: readonly string[] = []): ParamHeader[] {
  if (!isRecord(schema) || !isRecord(schema.properties) || path.length > 16) return []
  return Object.entries(schema.properties).flatMap(([key, property]) => {
    if (!isRecord(property)) return []
    const here = [...path, key]
    const header = property['x-mcp-header']
    const type = property.type
    const own: ParamHeader[] =
      typeof header === 'string' &&
      TOKEN.test(header) &&
      (type === 'string' || type === 'integer' || type === 'boolean')
        ? [{ path: here, header: header.toLowerCase(), type }]
        : []
    return [...own, ...paramHeaders(property, here)]
  })
}

/** The schema without the arguments that the gateway sets itself. */
function withoutFixed(schema: unknown, fixed: Readonly<Record<string, unknown>>): unknown {
  if (!isRecord(schema)) return schema
  const properties = isRecord(schema.properties)
    ? Object.fromEntries(Object.entries(schema.properties).filter(([key]) => !Object.hasOwn(fixed, key)))
    : schema.properties
  const required = Array.isArray(schema.required)
    ? schema.required.filter((key) => typeof key !== 'string' || !Object.hasOwn(fixed, key))
    : schema.required
  return { ...schema, properties, required }
}

/** Clients up to 2025-11-25 expect an object at the root of outputSchema: another one is wrapped in `result`. */
function wrapOutput(schema: unknown, raw: Buffer): Buffer | null {
  if (isRecord(schema) && schema.type === 'object') return null
  return Buffer.concat([
    Buffer.from('{"type":"object","properties":{"result":'),
    raw,
    Buffer.from('},"required":["result"]}'),
  ])
}

export interface ToolDefaults {
  readonly validate: ValidateMode
}

function tasksOf({ discovery }: UpstreamView, execution: Buffer | null): ToolTarget['tasks'] {
  const { era, capabilities = {} } = discovery ?? {}
  if (era === 'modern') {
    const { extensions } = capabilities
    return isRecord(extensions) && TASKS_EXTENSION in extensions ? 'extension' : 'none'
  }
  const { tasks } = capabilities
  const requests = isRecord(tasks) && isRecord(tasks.requests) ? tasks.requests : {}
  if (execution === null || !isRecord(requests.tools) || requests.tools.call === undefined) return 'none'
  const { taskSupport } = JSON.parse(execution.toString('utf8')) as Record<string, unknown>
  return taskSupport === 'required' || taskSupport === 'optional' ? taskSupport : 'none'
}

export function encodeTool(
  upstream: UpstreamView,
  definition: Definition,
  naming: Naming,
  override: ToolOverride,
  defaults: ToolDefaults,
): ToolTarget {
  const bytes = Buffer.from(definition.json)
  const members = scanMembers(bytes, 0, bytes.length, DEPTH)
  const slice = (key: string): Buffer | null => {
    const member = find(members, key)
    return member === null || bytes[member.start] !== 0x7b ? null : bytes.subarray(member.start, member.end)
  }
  const input = slice('inputSchema') ?? NO_SCHEMA
  const output = slice('outputSchema')
  const inputSchema: unknown = JSON.parse(input.toString('utf8'))
  const fixed = override.fixed !== undefined && Object.keys(override.fixed).length > 0 ? override.fixed : null
  const given = override.name ?? definition.name
  const exposed = naming === 'keep' ? given : exposedName(upstream.slug, given)

  const changes = new Map<string, Buffer | null>([['name', quote(exposed)]])
  if (override.title !== undefined) changes.set('title', quote(override.title))
  if (override.description !== undefined) changes.set('description', quote(override.description))
  changes.set('inputSchema', fixed === null ? input : Buffer.from(JSON.stringify(withoutFixed(inputSchema, fixed))))
  const modern = rewrite(bytes, members, changes)
  const wrapped = output === null ? null : wrapOutput(JSON.parse(output.toString('utf8')), output)
  if (wrapped !== null) changes.set('outputSchema', wrapped)
  const legacy = wrapped === null ? modern : rewrite(bytes, members, changes)
  const inputText = input.toString('utf8')
  const outputText = output === null ? null : output.toString('utf8')
  return {
    kind: 'tool',
    upstream,
    name: definition.name,
    exposed,
    validate: override.validate ?? upstream.spec.validate ?? defaults.validate,
    callMs: override.callMs ?? upstream.callMs,
    inputSchema: inputText,
    outputSchema: outputText,
    fixed,
    paramHeaders: inputText.includes('"x-mcp-header"') ? paramHeaders(inputSchema) : [],
    schemaKey: createHash('sha256')
      .update(inputText)
      .update('\0')
      .update(outputText ?? '')
      .digest('base64url'),
    head: Buffer.from(`{"name":${JSON.stringify(definition.name)}`),
    legacy,
    modern,
    wrapped: wrapped !== null,
    tasks: tasksOf(upstream, slice('execution')),
  }
}

export function encodePrompt(upstream: UpstreamView, definition: Definition, naming: Naming): PromptTarget {
  const bytes = Buffer.from(definition.json)
  const members = scanMembers(bytes, 0, bytes.length, DEPTH)
  const exposed = naming === 'keep' ? definition.name : exposedName(upstream.slug, definition.name)
  const encoded = rewrite(bytes, members, new Map([['name', quote(exposed)]]))
  const head = Buffer.from(`{"name":${JSON.stringify(definition.name)}`)
  return { kind: 'prompt', upstream, name: definition.name, exposed, head, legacy: encoded, modern: encoded }
}

export function encodeResource(upstream: UpstreamView, definition: Definition): ResourceTarget {
  const bytes = Buffer.from(definition.json)
  return { kind: 'resource', upstream, uri: definition.name, legacy: bytes, modern: bytes }
}

/** Literal parts between the expressions of a URI template (RFC 6570); which characters an expression takes is the upstream's business. */
export function templateParts(template: string): string[] {
  return template.split(/\{[^{}]*\}/)
}

export function encodeTemplate(upstream: UpstreamView, definition: Definition): TemplateTarget {
  const bytes = Buffer.from(definition.json)
  return {
    kind: 'template',
    upstream,
    template: definition.name,
    parts: templateParts(definition.name),
    legacy: bytes,
    modern: bytes,
  }
}

/** The name that stands in an entity, for a check against the definition's. */
export function nameIn(json: string, key: string): string | null {
  const bytes = Buffer.from(json)
  const member = find(scanMembers(bytes, 0, bytes.length, DEPTH), key)
  return member === null ? null : stringAt(bytes, member)
}
