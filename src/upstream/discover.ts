// What an upstream offers: its lists, followed to the end within bounds, each item kept as its own JSON text.
// Lenient: an odd item is skipped and reported, a list that fails keeps what was known before; the server is never
// refused for one of them. Absent on purpose: judging descriptions and schemas; those are foreign text and stay so.

import type { Reply } from '../core/call.ts'
import { GatewayError } from '../core/errors.ts'
import { LIMITS, type Limits } from '../core/limits.ts'
import type { Definition, DefinitionKind, Skipped } from '../core/model.ts'
import { isRecord } from '../mcp/classify.ts'
import { find, JsonFault, scanItems } from '../mcp/json.ts'
import { scanObject } from '../mcp/jsonrpc.ts'
import type { Greeting } from './handshake.ts'
import { flat } from './relay.ts'

export interface Found {
  readonly definitions: readonly Definition[]
  readonly skipped: readonly Skipped[]
  /** The shortest that any list named, else what the server named for itself, or null. */
  readonly ttlMs: number | null
}

/** Sends one request of ours; `params` is JSON text. */
export type AskFor = (method: string, params: Buffer) => Promise<Reply>

interface List {
  readonly kind: DefinitionKind
  readonly method: string
  readonly member: string
  /** What an item is known by. */
  readonly key: string
  readonly capability: string
}

const LISTS: readonly List[] = [
  { kind: 'tool', method: 'tools/list', member: 'tools', key: 'name', capability: 'tools' },
  { kind: 'prompt', method: 'prompts/list', member: 'prompts', key: 'name', capability: 'prompts' },
  { kind: 'resource', method: 'resources/list', member: 'resources', key: 'uri', capability: 'resources' },
  {
    kind: 'template',
    method: 'resources/templates/list',
    member: 'resourceTemplates',
    key: 'uriTemplate',
    capability: 'resources',
  },
]

const METHOD_NOT_FOUND = -32601
const DEPTH_MAX = 512
const CURSOR_BYTES_MAX = 64 * 1024
const SKIPPED_MAX = 200
const NAME_CHARS_MAX = 256

/**
 * All lists that the server declares. `known` are its definitions so far: a list that fails keeps them.
 * Errors: what `ask` throws, and UPSTREAM_INVALID when every list fails.
 */
export async function discover(
  ask: AskFor,
  greeting: Greeting,
  name: string,
  known: readonly Definition[],
  limits: Limits,
): Promise<Found> {
  const run = new Run(ask, greeting, name, limits)
  const failures: GatewayError[] = []
  let lists = 0
  for (const list of LISTS) {
    if (!isRecord(greeting.capabilities[list.capability])) continue
    lists += 1
    const failure = await run.follow(list, known)
    if (failure !== null) failures.push(failure)
  }
  if (lists > 0 && failures.length === lists) throw failures[0]!
  return { definitions: run.definitions, skipped: run.skipped, ttlMs: run.ttlMs ?? greeting.ttlMs }
}

class Run {
  definitions: readonly Definition[] = []
  readonly skipped: Skipped[] = []
  ttlMs: number | null = null
  readonly #ask: AskFor
  readonly #isModern: boolean
  readonly #name: string
  readonly #limits: Limits
  /** Of the list that is being followed. */
  #found: Definition[] = []
  #bytes = 0

  constructor(ask: AskFor, greeting: Greeting, name: string, limits: Limits) {
    this.#ask = ask
    this.#isModern = greeting.era === 'modern'
    this.#name = name
    this.#limits = limits
  }

  /** Null when it went well. */
  async follow(list: List, known: readonly Definition[]): Promise<GatewayError | null> {
    this.#found = []
    let failure: GatewayError | null = null
    try {
      await this.#pages(list)
    } catch (error) {
      if (!(error instanceof GatewayError) || error.code !== 'UPSTREAM_INVALID') throw error
      failure = error
      const before = known.filter(({ kind }) => kind === list.kind)
      this.#skip(list, '*', before.length > 0 ? `${error.message}; what was known before stays` : error.message)
      if (before.length > 0) this.#found = before
    }
    this.definitions = [...this.definitions, ...this.#found]
    return failure
  }

  async #pages(list: List): Promise<void> {
    const { listPagesMax, listItemsMax } = this.#limits
    const seen = new Set<string>()
    const names = new Set<string>()
    let cursor: string | null = null
    let items = 0
    for (let page = 1; ; page += 1) {
      const params: Buffer = Buffer.from(cursor === null ? '{}' : `{"cursor":${cursor}}`)
      const result = this.#result(list, await this.#ask(list.method, params))
      if (result === null) return
      for (const item of result.items) {
        items += 1
        if (items > listItemsMax) {
          this.#skip(list, '*', `the list has more than ${listItemsMax} items; the rest is left out`)
          return
        }
        if (!this.#take(list, item, names)) return
      }
      cursor = result.cursor
      if (cursor === null) return
      if (seen.has(cursor)) {
        this.#skip(list, '*', 'a cursor came twice; what follows is left out')
        return
      }
      seen.add(cursor)
      if (page >= listPagesMax) {
        this.#skip(list, '*', `the list has more than ${listPagesMax} pages; the rest is left out`)
        return
      }
    }
  }

  /** Null where the server does not know the method after all: many declare resources and know no templates. */
  #result(list: List, reply: Reply): { items: Buffer[]; cursor: string | null } | null {
    if ('error' in reply) {
      const { code, message } = JSON.parse(reply.error.toString('utf8')) as { code: number; message: string }
      if (code === METHOD_NOT_FOUND) {
        if (list.kind !== 'template')
          this.#skip(list, '*', `the server declares ${list.capability} but has no ${list.method}`)
        return null
      }
      throw this.#invalid(list, `it answers with the error ${code}: ${message.slice(0, 200)}`)
    }
    const bytes = reply.result as Buffer
    try {
      const members = scanObject(bytes)
      const at = find(members, list.member)
      if (at === null) throw this.#invalid(list, `"${list.member}" is missing`)
      const items = scanItems(bytes, at.start, at.end, DEPTH_MAX).map((item) => bytes.subarray(item.start, item.end))
      const next = find(members, 'nextCursor')
      const raw = next === null ? null : bytes.toString('utf8', next.start, next.end)
      // Some servers end with null or an empty cursor.
      const cursor = raw === null || raw === 'null' || raw === '""' ? null : raw
      if (cursor !== null && (cursor[0] !== '"' || cursor.length > CURSOR_BYTES_MAX)) {
        throw this.#invalid(list, '"nextCursor" is no string of a bounded length')
      }
      const ttl = find(members, 'ttlMs')
      if (this.#isModern && ttl !== null) this.#shorten(Number(bytes.toString('latin1', ttl.start, ttl.end)))
      return { items, cursor }
    } catch (error) {
      if (error instanceof JsonFault) throw this.#invalid(list, error.message)
      throw error
    }
  }

  #shorten(ttlMs: number): void {
    if (ttlMs >= 0 && Number.isFinite(ttlMs)) this.ttlMs = Math.min(this.ttlMs ?? ttlMs, ttlMs)
  }

  /** False when nothing more may be kept. */
  #take(list: List, item: Buffer, names: Set<string>): boolean {
    const { definitionBytes, definitionsBytes } = this.#limits
    if (item.length > definitionBytes) {
      this.#skip(list, nameIn(list, item), `it is larger than ${definitionBytes} bytes`)
      return true
    }
    const judged = judge(list, item, this.#isModern)
    if ('reason' in judged) {
      this.#skip(list, judged.name, judged.reason)
      return true
    }
    if (names.has(judged.name)) {
      this.#skip(list, judged.name, 'the name came before in the same list')
      return true
    }
    names.add(judged.name)
    this.#bytes += item.length
    if (this.#bytes > definitionsBytes) {
      this.#skip(
        list,
        judged.name,
        `all lists together are larger than ${definitionsBytes} bytes; the rest is left out`,
      )
      return false
    }
    this.#found.push({ kind: list.kind, name: judged.name, json: flat(item).toString('utf8') })
    return true
  }

  #skip(list: List, name: string, reason: string): void {
    if (this.skipped.length < SKIPPED_MAX) this.skipped.push({ kind: list.kind, name: shown(name), reason })
  }

  #invalid(list: List, what: string): GatewayError {
    return new GatewayError('UPSTREAM_INVALID', `${this.#name}: ${list.method}: ${what}`)
  }
}

/** Foreign text, safe to print. */
function shown(text: string): string {
  return text.slice(0, NAME_CHARS_MAX).replace(/[\x00-\x1f\x7f]/g, '?')
}

function nameIn(list: List, item: Buffer): string {
  const match = new RegExp(`"${list.key}"\\s*:\\s*"([^"\\\\]{1,128})"`).exec(item.toString('utf8', 0, 4096))
  return match?.[1] ?? '?'
}

type Judged = { readonly name: string } | { readonly name: string; readonly reason: string }

function judge(list: List, item: Buffer, isModern: boolean): Judged {
  let members: ReturnType<typeof scanObject>
  try {
    members = scanObject(item)
  } catch (error) {
    if (error instanceof JsonFault)
      return { name: nameIn(list, item), reason: `it is no proper object: ${error.message}` }
    throw error
  }
  const value = JSON.parse(item.toString('utf8')) as Record<string, unknown>
  const name = find(members, list.key) === null ? undefined : value[list.key]
  const charsMax = list.key === 'name' ? NAME_CHARS_MAX : LIMITS.uriChars
  if (typeof name !== 'string' || name === '') return { name: '?', reason: `its ${list.key} is missing or no string` }
  if (name.length > charsMax) return { name, reason: `its ${list.key} is longer than ${charsMax} characters` }
  if (/[\x00-\x1f\x7f]/.test(name)) return { name, reason: `its ${list.key} holds control characters` }
  const mirrors = isModern && item.includes('"x-mcp-header"')
  const reason = list.kind === 'tool' ? toolFault(value, mirrors) : null
  return reason === null ? { name } : { name, reason }
}

/** `mirrors`: arguments may be mirrored into headers. */
function toolFault(tool: Record<string, unknown>, mirrors: boolean): string | null {
  const { inputSchema, outputSchema } = tool
  if (!isRecord(inputSchema)) return 'its inputSchema is missing or no object'
  if (inputSchema.type !== undefined && inputSchema.type !== 'object') return 'its inputSchema is not of type object'
  if (outputSchema !== undefined && !isRecord(outputSchema) && typeof outputSchema !== 'boolean') {
    return 'its outputSchema is no object'
  }
  return mirrors ? headerFault(inputSchema) : null
}

const HEADER_TOKEN = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/
const HEADER_TYPES = new Set<unknown>(['string', 'integer', 'boolean'])

/**
 * `x-mcp-header` annotations mirror arguments into headers; one that is misplaced or malformed makes the tool unusable
 * over HTTP (2026-07-28, streamable-http, "Schema Extension").
 */
function headerFault(schema: Record<string, unknown>): string | null {
  const names = new Set<string>()
  /** `isReachable`: the way from the root led through `properties` only. */
  const walk = (node: unknown, isReachable: boolean, depth: number): string | null => {
    if (typeof node !== 'object' || node === null) return null
    if (depth > 64) return 'its inputSchema is nested too deeply'
    if (Array.isArray(node)) {
      for (const item of node) {
        const fault = walk(item, false, depth + 1)
        if (fault !== null) return fault
      }
      return null
    }
    const record = node as Record<string, unknown>
    if (Object.hasOwn(record, 'x-mcp-header')) {
      const fault = checkHeader(record, isReachable && depth > 0, names)
      if (fault !== null) return fault
    }
    for (const [key, value] of Object.entries(record)) {
      if (key === 'properties' && isRecord(value)) {
        for (const property of Object.values(value)) {
          const fault = walk(property, isReachable, depth + 1)
          if (fault !== null) return fault
        }
      } else if (!VALUES.has(key)) {
        const fault = walk(value, false, depth + 1)
        if (fault !== null) return fault
      }
    }
    return null
  }
  return walk(schema, true, 0)
}

/** Keywords whose values are data and no schemas. */
const VALUES = new Set(['const', 'enum', 'default', 'examples', 'x-mcp-header'])

function checkHeader(node: Record<string, unknown>, isReachable: boolean, names: Set<string>): string | null {
  const header = node['x-mcp-header']
  if (typeof header !== 'string' || !HEADER_TOKEN.test(header)) return 'an x-mcp-header is no header name'
  if (!isReachable) return `the x-mcp-header ${header} is not reachable by properties alone`
  if (!HEADER_TYPES.has(node.type)) return `the x-mcp-header ${header} is not on a string, integer or boolean`
  const lower = header.toLowerCase()
  if (names.has(lower)) return `the x-mcp-header ${header} stands twice`
  names.add(lower)
  return null
}
