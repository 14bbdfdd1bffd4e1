// The configuration files of MCP clients as they are, read into upstreams: Claude Desktop and Claude Code, Cursor,
// Windsurf, Gemini CLI and others (`mcpServers`), VS Code (`servers`). Comments, trailing commas and keys of one client
// alone are no faults; what has no meaning here is named in a note. Variables are expanded as the clients document it:
//   ${NAME} and ${NAME:-default}    Claude Code, Gemini CLI
//   ${env:NAME}                     Cursor, VS Code, Windsurf
//   ${userHome}, ${workspaceFolder}, ${workspaceFolderBasename}, ${pathSeparator}, ${/}    Cursor, VS Code
//   ${file:PATH}                    Windsurf
//   ${input:ID}                     VS Code asks the user; here it is a fault that says what to write in its place
// Anything else in ${…} stays as it is, since it may be meant for a shell.

import { basename, dirname, isAbsolute, join, sep } from 'node:path'
import { parseEnv } from 'node:util'
import { LIMITS } from '../core/limits.ts'
import type { HttpTransport, Secret, StdioTransport, ToolOverride, UpstreamSpec } from '../core/model.ts'
import { slugify } from '../core/names.ts'
import { faultsOfUpstream, isOwnHeader } from '../core/upstream-rules.ts'
import { variable } from './environment.ts'
import { readJsonc } from './jsonc.ts'
import type { Located, Mapping, ReportFault } from './located.ts'
import type { SecretSources } from './secrets.ts'

export interface McpJsonOptions {
  /** Folder of the file, absolute: relative paths in it begin there. */
  readonly folder: string
  readonly home: string
  readonly sources: SecretSources
  readonly fault: ReportFault
  /** What was read but has no effect. */
  readonly note: ReportFault
}

export interface ImportedUpstream {
  readonly slug: string
  readonly spec: UpstreamSpec
  readonly line: number
}

/** Errors: DocumentFault where the text is no JSON; every other fault is reported. */
export function readMcpJson(text: string, options: McpJsonOptions): ImportedUpstream[] {
  const document = readJsonc(text, options.fault)
  const servers = findServers(document)
  if (servers === null) {
    options.fault(document.line, 'there is no map "mcpServers" or "servers" in this file')
    return []
  }
  if (servers.entries.size > LIMITS.upstreamsMax) {
    options.fault(servers.line, `must have at most ${LIMITS.upstreamsMax} servers, it has ${servers.entries.size}`)
    return []
  }
  const inputs = document.kind === 'map' ? describeInputs(document.entries.get('inputs')?.value) : new Map()
  const upstreams: ImportedUpstream[] = []
  const names = new Map<string, string>()
  for (const [name, { line, value }] of servers.entries) {
    const slug = slugify(name)
    const other = names.get(slug)
    if (other !== undefined) {
      options.fault(line, `"${name}" and "${other}" would both be called "${slug}" here: rename one of them`)
      continue
    }
    names.set(slug, name)
    const entry = new Server(name, value, inputs, options)
    const spec = entry.read()
    if (spec !== null)
      upstreams.push({ slug, line, spec: slug === name ? spec : { title: name.slice(0, 200), ...spec } })
  }
  return upstreams
}

/** In a file of their own, or inside the settings of an editor. */
function findServers(document: Located): Mapping | null {
  if (document.kind !== 'map') return null
  for (const key of ['mcpServers', 'servers', 'mcp', 'mcp.servers']) {
    const value = document.entries.get(key)?.value
    if (value?.kind !== 'map') continue
    return key === 'mcp' ? findServers(value) : value
  }
  return null
}

/** What VS Code would ask the user, by the id of the input. */
function describeInputs(inputs: Located | undefined): Map<string, string> {
  const found = new Map<string, string>()
  if (inputs?.kind !== 'list') return found
  for (const input of inputs.items) {
    if (input.kind !== 'map') continue
    const [id, description] = ['id', 'description'].map((key) => {
      const value = input.entries.get(key)?.value
      return value?.kind === 'scalar' ? value.text : ''
    })
    found.set(id!, description!)
  }
  return found
}

/** As the clients spell them. */
const TYPES: Readonly<Record<string, 'stdio' | 'http' | 'sse'>> = {
  stdio: 'stdio',
  local: 'stdio',
  http: 'http',
  'streamable-http': 'http',
  streamable_http: 'http',
  streamablehttp: 'http',
  remote: 'http',
  sse: 'sse',
}

const URL_KEYS = ['url', 'serverUrl', 'httpUrl']
const KNOWN = new Set([
  ...[
    'type',
    'transport',
    'command',
    'args',
    'env',
    'envFile',
    'cwd',
    'headers',
    'disabled',
    'enabled',
    'disabledTools',
  ],
  ...['name', 'description', ...URL_KEYS],
])

const NAME = '[A-Za-z_][A-Za-z0-9_]*'
const PLACEHOLDER = /\$\{([^{}]*)\}/g
const VARIABLE = new RegExp(`^(?:env:)?(${NAME})(?::-(.*))?$`, 's')
/** A whole value that is one variable, perhaps after a plain text such as "Bearer ". */
const REFERENCE = new RegExp(`^([\\x20-\\x23\\x25-\\x7e]{0,256})\\$\\{(?:env:)?(${NAME})\\}$`)

/** One server of the file. */
class Server {
  readonly #name: string
  readonly #at: Located
  readonly #inputs: ReadonlyMap<string, string>
  readonly #options: McpJsonOptions
  readonly #folder: string
  #faults = 0

  constructor(name: string, at: Located, inputs: ReadonlyMap<string, string>, options: McpJsonOptions) {
    this.#name = name
    this.#at = at
    this.#inputs = inputs
    this.#options = options
    // `.vscode/mcp.json` and `.cursor/mcp.json` belong to the folder around them.
    this.#folder = basename(options.folder).startsWith('.') ? dirname(options.folder) : options.folder
  }

  /** Null after its faults were reported. */
  read(): UpstreamSpec | null {
    if (this.#at.kind !== 'map') {
      this.#fault(this.#at.line, 'must be a map')
      return null
    }
    const spec = this.#spec(this.#at)
    if (spec === null) return null
    for (const { at, message } of faultsOfUpstream(spec)) this.#faultOfRule(this.#at, at, message)
    this.#noteRest(this.#at)
    return this.#faults > 0 ? null : spec
  }

  /** A rule names a place of the specification, `/transport/headers/x`; here it is a line of the file. */
  #faultOfRule(at: Mapping, pointer: string, message: string): void {
    const [, , member = '', name = ''] = pointer.split('/')
    const isUrl = member === 'urls'
    const entry = isUrl ? URL_KEYS.map((key) => at.entries.get(key)).find((found) => found) : at.entries.get(member)
    const inner = entry?.value.kind === 'map' ? entry.value.entries.get(name) : undefined
    this.#fault(inner?.line ?? entry?.line ?? at.line, `${isUrl ? 'the URL' : name} ${message}`)
  }

  #spec(at: Mapping): UpstreamSpec | null {
    const url = URL_KEYS.map((key) => this.#text(at, key)).find((text) => text !== null) ?? null
    const command = this.#text(at, 'command')
    const kind = this.#kind(at, command !== null)
    if (kind === null) return null
    const transport = kind === 'stdio' ? this.#stdio(at, command) : this.#http(at, url, kind)
    if (transport === null) return null
    const spec: { -readonly [K in keyof UpstreamSpec]: UpstreamSpec[K] } = { transport, privileged: true }
    if (this.#flag(at, 'disabled') === true || this.#flag(at, 'enabled') === false) spec.enabled = false
    const hidden = this.#texts(at, 'disabledTools')
    if (hidden.length > 0) {
      spec.tools = Object.fromEntries(hidden.map((tool): [string, ToolOverride] => [tool, { hide: true }]))
    }
    return spec
  }

  #kind(at: Mapping, hasCommand: boolean): 'stdio' | 'http' | 'sse' | null {
    const key = at.entries.has('type') ? 'type' : 'transport'
    const type = this.#text(at, key)
    if (type === null) return hasCommand ? 'stdio' : 'http'
    const kind = Object.hasOwn(TYPES, type.toLowerCase()) ? TYPES[type.toLowerCase()]! : null
    if (kind === null) this.#fault(at.entries.get(key)!.line, `the ${key} "${type}" is not known: stdio, http or sse`)
    return kind
  }

  #http(at: Mapping, url: string | null, kind: HttpTransport['kind']): HttpTransport | null {
    if (url === null) {
      this.#fault(at.line, 'needs "command" or "url"')
      return null
    }
    const headers = this.#secrets(at, 'headers')
    for (const name of Object.keys(headers).filter(isOwnHeader)) {
      this.#note(at.entries.get('headers')!.line, `the header ${name} is set by the gateway itself`)
      delete headers[name]
    }
    return { kind, urls: [url], ...(Object.keys(headers).length > 0 ? { headers } : {}) }
  }

  #stdio(at: Mapping, command: string | null): StdioTransport | null {
    if (command === null || command === '') {
      this.#fault(at.line, 'needs "command"')
      return null
    }
    const args = this.#texts(at, 'args')
    const env = { ...this.#envFile(at), ...this.#secrets(at, 'env') }
    const cwd = this.#text(at, 'cwd')
    return {
      kind: 'stdio',
      command,
      ...(args.length > 0 ? { args } : {}),
      ...(Object.keys(env).length > 0 ? { env } : {}),
      ...(cwd === null ? {} : { cwd: this.#path(cwd) }),
    }
  }

  #envFile(at: Mapping): Record<string, string> {
    const file = this.#text(at, 'envFile')
    if (file === null) return {}
    const text = this.#readFile(file, at.entries.get('envFile')!.line)
    return Object.fromEntries(Object.entries(parseEnv(text)).map(([name, value]) => [name, value ?? '']))
  }

  #secrets(at: Mapping, key: string): Record<string, Secret> {
    const entry = at.entries.get(key)
    if (entry === undefined) return {}
    if (entry.value.kind !== 'map') {
      this.#fault(entry.line, `"${key}" must be a map`)
      return {}
    }
    const found: [string, Secret][] = []
    for (const [name, { line, value }] of entry.value.entries) {
      if (value.kind !== 'scalar') this.#fault(line, `"${key}.${name}" must be a text`)
      else if (value.value !== null) found.push([name, this.#secret(value.text, line)])
    }
    return Object.fromEntries(found)
  }

  /** A value that is one variable stays a reference to it: what is not stored need not be protected. */
  #secret(text: string, line: number): Secret {
    const [, prefix, env] = REFERENCE.exec(text) ?? []
    if (env === undefined || this.#predefined(env) !== null) return this.#expand(text, line)
    if (variable(this.#options.sources.env, env) === null) this.#fault(line, missing(env))
    return prefix === '' ? { env } : { env, prefix: prefix! }
  }

  #text(at: Mapping, key: string): string | null {
    const entry = at.entries.get(key)
    if (entry === undefined) return null
    if (entry.value.kind === 'scalar')
      return entry.value.value === null ? null : this.#expand(entry.value.text, entry.line)
    this.#fault(entry.line, `"${key}" must be a text`)
    return null
  }

  #texts(at: Mapping, key: string): string[] {
    const entry = at.entries.get(key)
    if (entry === undefined || (entry.value.kind === 'scalar' && entry.value.value === null)) return []
    const items = entry.value.kind === 'list' ? entry.value.items : null
    if (items === null || items.some((item) => item.kind !== 'scalar')) {
      this.#fault(entry.line, `"${key}" must be a list of texts`)
      return []
    }
    return items.map((item) => this.#expand(item.kind === 'scalar' ? item.text : '', item.line))
  }

  #flag(at: Mapping, key: string): boolean | null {
    const value = at.entries.get(key)?.value
    return value?.kind === 'scalar' && typeof value.value === 'boolean' ? value.value : null
  }

  #expand(text: string, line: number): string {
    if (text.includes('\0')) this.#fault(line, 'must not hold a NUL character')
    return text.replace(PLACEHOLDER, (whole: string, inner: string) => this.#resolve(inner, line) ?? whole)
  }

  /** Null where the text is to stay as it is. */
  #resolve(inner: string, line: number): string | null {
    const known = this.#predefined(inner)
    if (known !== null) return known
    const colon = inner.indexOf(':')
    const rest = inner.slice(colon + 1)
    switch (inner.slice(0, Math.max(0, colon))) {
      case 'input':
        this.#fault(line, this.#askInstead(rest))
        return ''
      case 'file':
        return this.#readFile(rest, line).replace(/\r?\n$/, '')
      case 'command':
      case 'config':
        this.#fault(line, `\${${inner}} is known to the editor alone: write its value, or \${env:NAME}`)
        return ''
    }
    const [, name, otherwise] = VARIABLE.exec(inner) ?? []
    if (name === undefined) return null
    const value = variable(this.#options.sources.env, name) ?? otherwise
    if (value === undefined) this.#fault(line, missing(name))
    return value ?? ''
  }

  #askInstead(id: string): string {
    const description = this.#inputs.get(id) ?? ''
    const what = description === '' ? '' : ` (${description.slice(0, 100)})`
    const name = id.replace(/[^A-Za-z0-9]+/g, '_').toUpperCase()
    return `\${input:${id}}${what} is asked by the editor, and a gateway cannot ask: write \${env:${name}} and set ${name}`
  }

  #predefined(name: string): string | null {
    switch (name) {
      case 'userHome':
        return this.#options.home
      case 'workspaceFolder':
        return this.#folder
      case 'workspaceFolderBasename':
        return basename(this.#folder)
      case 'pathSeparator':
      case '/':
        return sep
      default:
        return null
    }
  }

  #readFile(file: string, line: number): string {
    try {
      return this.#options.sources.readFile(this.#path(file))
    } catch (error) {
      this.#fault(line, `cannot be read: ${(error as Error).message}`)
      return ''
    }
  }

  #path(path: string): string {
    if (path === '~' || path.startsWith('~/')) return join(this.#options.home, path.slice(1))
    return isAbsolute(path) ? path : join(this.#options.folder, path)
  }

  #noteRest(at: Mapping): void {
    const rest = [...at.entries.keys()].filter((key) => !KNOWN.has(key))
    if (rest.length > 0) this.#note(at.line, `has no meaning here: ${rest.join(', ').slice(0, 200)}`)
  }

  #fault(line: number, message: string): void {
    this.#faults += 1
    this.#options.fault(line, `${this.#name.slice(0, 60)}: ${message}`)
  }

  #note(line: number, message: string): void {
    this.#options.note(line, `${this.#name.slice(0, 60)}: ${message}`)
  }
}

function missing(name: string): string {
  return `the environment variable ${name} is not set`
}
