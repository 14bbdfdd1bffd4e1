// From flags, environment and files to one configuration and the rows of the files, with every fault at once.
// Flag before variable before file before default. Absent on purpose: watching files, and reading those two themselves
// (main.ts hands in their text; readConfigFile reads it).

import { homedir } from 'node:os'
import { dirname, isAbsolute, join, resolve } from 'node:path'
import { type Fault, GatewayError } from '../core/errors.ts'
import { LIMITS, type Limits } from '../core/limits.ts'
import type { Secret } from '../core/model.ts'
import type { FileRows, NewUpstream } from '../ports/store.ts'
import { defaultDataDirectory, type Environment, variable } from './environment.ts'
import { readTextFile } from './files.ts'
import type { GatewayFile } from './gateway-yaml.ts'
import { DocumentFault, type Located, located } from './located.ts'
import { allSettings, type NamedSetting, SETTINGS, type Settings, type SettingValues } from './schema.ts'
import { resolveSecret, type SecretSources } from './secrets.ts'
import type { Reading } from './shape.ts'
import { suggest } from './suggest.ts'

export interface ConfigText {
  /** As it was given; faults and `originRef` begin with it. */
  readonly path: string
  readonly text: string
}

export interface ConfigSources {
  /** By the camelCase names of the command line; others are ignored. */
  readonly flags: Readonly<Record<string, unknown>>
  readonly env: Environment
  readonly file?: ConfigText
  readonly mcpJson?: ConfigText
  /** Where relative paths of flags and variables begin. */
  readonly workingDirectory: string
  /** Whether log lines go to a terminal. */
  readonly terminal?: boolean
}

type Values = SettingValues<Settings>

/** Plain data, so that workers can get it by message. */
export interface Config {
  readonly server: Omit<Values['server'], 'tls'> & {
    readonly tls: { readonly cert: string; readonly key: string } | null
  }
  readonly store: { readonly data: string }
  readonly access: Omit<Values['access'], 'jwt' | 'staleMax'> & {
    /** The secrets themselves, the newest first. */
    readonly jwt: { readonly secret: readonly string[]; readonly issuer: string; readonly audience: string } | null
  }
  readonly limits: Limits
  readonly telemetry: Omit<Values['telemetry'], 'logFormat'> & { readonly logFormat: 'json' | 'text' }
  readonly defaults: Values['defaults']
}

export interface LoadedConfig {
  /** What could be read; to be used only when there is no fault. */
  readonly config: Config
  readonly rows: FileRows
  /** `at` is `file:line`, a flag or a variable. */
  readonly faults: readonly Fault[]
  /** What was read but has no effect. */
  readonly notes: readonly Fault[]
  /** What each setting is and where it stands; by its name. */
  readonly settings: ReadonlyMap<string, Found>
  /** Files besides these two that were read, or that rows refer to. */
  readonly referred: readonly string[]
}

/** The text of a configuration file. Errors: CONFIG_INVALID. */
export function readConfigFile(path: string): ConfigText {
  try {
    return { path, text: readTextFile(path, LIMITS.configBytes) }
  } catch (error) {
    const { message } = error as Error
    throw new GatewayError('CONFIG_INVALID', message, { faults: [{ at: path, message }], cause: error })
  }
}

export async function loadConfig(sources: ConfigSources): Promise<LoadedConfig> {
  const loader = new Loader(sources)
  const file = sources.file === undefined ? null : await loader.readFile(sources.file)
  const config = loader.settings(file)
  const own = loader.rows(file)
  const imported = sources.mcpJson === undefined ? [] : await loader.readMcpJson(sources.mcpJson, own.upstreams)
  const rows = { ...own, upstreams: [...own.upstreams, ...imported] }
  loader.noteUnknownVariables()
  const referred = [...loader.filesRead, ...rows.upstreams.flatMap(({ spec }) => filesOf(spec.transport))]
  return {
    ...{ config, rows, faults: inOrder(loader.faults), notes: loader.notes },
    ...{ settings: loader.found, referred: [...new Set(referred)] },
  }
}

/** Places in the order in which they were first met, and the faults of one file by their lines. */
function inOrder(faults: readonly Fault[]): Fault[] {
  const places = new Map<string, number>()
  const keyed = faults.map((fault) => {
    const [, place = fault.at, line = '0'] = /^(.*):(\d+)$/.exec(fault.at) ?? []
    if (!places.has(place)) places.set(place, places.size)
    return { fault, place: places.get(place)!, line: Number(line) }
  })
  keyed.sort((one, other) => one.place - other.place || one.line - other.line)
  return keyed.map(({ fault }) => fault)
}

/** Throws what `loadConfig` found. Errors: CONFIG_INVALID with every fault, one a line. */
export function refuseFaults(faults: readonly Fault[]): void {
  if (faults.length === 0) return
  const lines = faults.map(({ at, message }) => `${at}: ${message}`)
  throw new GatewayError('CONFIG_INVALID', lines.join('\n'), { faults })
}

interface ReadFile {
  readonly path: string
  readonly document: Located
  /** Null after faults were reported. */
  readonly values: GatewayFile | null
}

/** Where a value came from, for faults that only show later. */
export interface Found {
  readonly value: unknown
  readonly at: string
}

const MINIMUM_SECRET_BYTES = 32
const LOOPBACK = /^(?:localhost|127(?:\.\d{1,3}){3}|::1)$/

class Loader {
  readonly faults: Fault[] = []
  readonly notes: Fault[] = []
  readonly filesRead: string[] = []
  found: ReadonlyMap<string, Found> = new Map()
  readonly #sources: ConfigSources
  readonly #home: string
  readonly #secrets: SecretSources

  constructor(sources: ConfigSources) {
    this.#sources = sources
    this.#home = sources.env.HOME || homedir()
    const readFile = (path: string): string => {
      this.filesRead.push(path)
      return readTextFile(path, LIMITS.secretBytes)
    }
    this.#secrets = { env: sources.env, readFile }
  }

  async readFile({ path, text }: ConfigText): Promise<ReadFile | null> {
    const report = this.#reportIn(path)
    // Loaded only where there is a file: this library alone takes 30 ms of a start.
    const [{ readYaml }, { GATEWAY_FILE }] = await Promise.all([import('./yaml.ts'), import('./gateway-yaml.ts')])
    const document = this.#parse(path, text, () => readYaml(text, report))
    if (document === null) return null
    const reading = this.#reading('', report, this.#folderOf(path), false)
    return { path, document, values: GATEWAY_FILE.read(document, reading) ?? null }
  }

  /** Upstreams of a client's file; `others` are those that are there already. */
  async readMcpJson({ path, text }: ConfigText, others: readonly NewUpstream[]): Promise<NewUpstream[]> {
    const taken = new Map(others.map(({ slug, originRef }) => [slug, originRef]))
    const fault = this.#reportIn(path)
    const note = (line: number, message: string): void => void this.notes.push({ at: `${path}:${line}`, message })
    const options = { folder: this.#folderOf(path), home: this.#home, sources: this.#secrets, fault, note }
    const { readMcpJson } = await import('./mcp-json.ts')
    const found = this.#parse(path, text, () => readMcpJson(text, options))
    return (found ?? []).flatMap(({ slug, spec, line }) => {
      if (!taken.has(slug)) return [{ slug, spec, origin: 'file' as const, originRef: `${path}:${line}` }]
      fault(line, `the upstream "${slug}" stands in ${taken.get(slug)} already`)
      return []
    })
  }

  rows(file: ReadFile | null): FileRows {
    if (!file?.values) return { origin: 'file', upstreams: [], virtualServers: [], tokens: [] }
    const { upstreams = {}, virtualServers = {}, tokens = [] } = file.values
    const ref = (...keys: (string | number)[]): string => `${file.path}:${lineOf(file.document, keys)}`
    const rows = <T>(section: string, found: Readonly<Record<string, T>>) =>
      Object.entries(found).map(([slug, spec]) => ({
        slug,
        spec,
        origin: 'file' as const,
        originRef: ref(section, slug),
      }))
    this.#refuseTwice(tokens.map(({ name }, at) => [`name "${name}"`, ref('tokens', at)]))
    this.#refuseTwice(tokens.map(({ hash }, at) => [`token`, ref('tokens', at), hash]))
    return {
      origin: 'file',
      upstreams: rows('upstreams', upstreams),
      virtualServers: rows('virtualServers', virtualServers),
      tokens: tokens.map((token, at) => ({ ...token, origin: 'file', originRef: ref('tokens', at) })),
    }
  }

  #refuseTwice(given: readonly (readonly [what: string, at: string, key?: string])[]): void {
    const seen = new Map<string, string>()
    for (const [what, at, key = what] of given) {
      const before = seen.get(key)
      if (before === undefined) seen.set(key, at)
      else this.#fault(at, `this ${what} stands in ${before} already`)
    }
  }

  settings(file: ReadFile | null): Config {
    const found = new Map(allSettings().map((setting) => [setting.name, this.#find(setting, file)]))
    this.found = found
    const values = valuesOf(SETTINGS, [], found) as Values
    const { server, access, limits, telemetry, defaults } = values
    const { jwt: _jwt, staleMax, ...openAccess } = access
    // A file with faults says too little of what its settings are together.
    const isWhole = file === null || file.values !== null
    if (isWhole) this.#check(values, found)
    return {
      server: {
        ...server,
        tls: server.tls.cert && server.tls.key ? { cert: server.tls.cert, key: server.tls.key } : null,
      },
      store: { data: values.store.data ?? defaultDataDirectory(this.#sources.env) },
      access: { ...openAccess, jwt: isWhole ? this.#jwt(values, found) : null },
      limits: { ...LIMITS, ...limits, staleCallerMs: staleMax },
      telemetry: { ...telemetry, logFormat: this.#logFormat(telemetry.logFormat) },
      defaults,
    }
  }

  /** Flag, then variables, then file, then default. */
  #find(setting: NamedSetting, file: ReadFile | null): Found {
    const flag = setting.flag === null ? undefined : this.#sources.flags[setting.flag]
    if (typeof flag === 'string' || typeof flag === 'number' || typeof flag === 'boolean') {
      return this.#readText(setting, flag, `--${setting.flag!.replace(/[A-Z]/g, (char) => `-${char.toLowerCase()}`)}`)
    }
    for (const name of setting.variables) {
      const given = variable(this.#sources.env, name)
      if (given !== null) return this.#readText(setting, given, name)
    }
    if (file !== null) {
      const value = setting.names.reduce<unknown>(
        (below, name) => (below as Record<string, unknown>)?.[name],
        file.values,
      )
      if (value !== undefined) return { value, at: `${file.path}:${lineOf(file.document, setting.names)}` }
    }
    return { value: setting.default, at: 'defaults' }
  }

  #readText(setting: NamedSetting, given: string | number | boolean, at: string): Found {
    const plain = typeof given === 'string' ? (setting.shape.fromText?.(given) ?? given) : given
    const report = (_line: number, message: string): void => this.#fault(at, message)
    const reading = this.#reading(setting.name, report, this.#sources.workingDirectory, true)
    return { value: setting.shape.read(located(plain), reading) ?? setting.default, at }
  }

  /** What settings must be together. */
  #check({ server, access, limits }: Values, found: ReadonlyMap<string, Found>): void {
    const refuse = (name: string, message: string): void => this.#fault(found.get(name)!.at, `${name} ${message}`)
    if (access.open && !LOOPBACK.test(server.host))
      refuse('access.open', `asks nobody for a token: it is refused on ${server.host}, which others may reach`)
    if ((server.tls.cert === null) !== (server.tls.key === null))
      refuse(server.tls.cert === null ? 'server.tls.key' : 'server.tls.cert', 'needs the other one of cert and key')
    if (limits.callMs > limits.callMsMax) refuse('limits.callMs', 'must not be over limits.callMsMax')
  }

  #jwt({ server, access: { jwt } }: Values, found: ReadonlyMap<string, Found>): Config['access']['jwt'] {
    const audience = jwt.audience ?? server.publicUrl
    const refuse = (name: string, message: string): void => this.#fault(found.get(name)!.at, `${name} ${message}`)
    if (jwt.secret === null) {
      for (const name of ['previousSecret', 'issuer', 'audience'] as const)
        if (jwt[name] !== null) refuse(`access.jwt.${name}`, 'needs access.jwt.secret')
      return null
    }
    if (jwt.issuer === null) refuse('access.jwt.secret', 'needs access.jwt.issuer')
    if (audience === null) refuse('access.jwt.secret', 'needs access.jwt.audience or server.publicUrl')
    const secret = (['secret', 'previousSecret'] as const).flatMap((name) => {
      const text = jwt[name] === null ? null : this.#resolve(jwt[name], `access.jwt.${name}`, found)
      if (text === null) return []
      if (Buffer.byteLength(text) < MINIMUM_SECRET_BYTES)
        refuse(`access.jwt.${name}`, `must have at least ${MINIMUM_SECRET_BYTES} bytes`)
      return [text]
    })
    return { secret, issuer: jwt.issuer ?? '', audience: audience ?? '' }
  }

  #resolve(secret: Secret, name: string, found: ReadonlyMap<string, Found>): string | null {
    try {
      return resolveSecret(secret, this.#secrets)
    } catch (error) {
      this.#fault(found.get(name)!.at, `${name} cannot be read: ${(error as Error).message}`)
      return null
    }
  }

  #logFormat(format: 'auto' | 'json' | 'text'): 'json' | 'text' {
    if (format !== 'auto') return format
    return this.#sources.terminal === true ? 'text' : 'json'
  }

  /** No fault: Kubernetes makes variables of its own for a service that is called like us. */
  noteUnknownVariables(): void {
    const known = new Set(allSettings().flatMap(({ variables }) => variables))
    const sections = Object.keys(SETTINGS).map((name) => `MCP_GATEWAY_${name.toUpperCase()}_`)
    for (const name of Object.keys(this.#sources.env)) {
      if (known.has(name) || !sections.some((section) => name.startsWith(section))) continue
      this.notes.push({ at: name, message: `is no setting${suggest(name, known)}` })
    }
  }

  #parse<T>(path: string, text: string, read: () => T): T | null {
    try {
      if (Buffer.byteLength(text) > LIMITS.configBytes)
        throw new DocumentFault(1, `the file is larger than ${LIMITS.configBytes} bytes`)
      const nul = text.indexOf('\0')
      if (nul >= 0) throw new DocumentFault(text.slice(0, nul).split('\n').length, 'the file holds a NUL character')
      return read()
    } catch (error) {
      if (!(error instanceof DocumentFault)) throw error
      this.#fault(`${path}:${error.line}`, error.message)
      return null
    }
  }

  #reading(path: string, report: Reading['report'], folder: string, clear: boolean): Reading {
    return { path, report, resolvePath: (given) => this.#path(folder, given), secrets: this.#secrets, clear }
  }

  #path(folder: string, path: string): string {
    if (path === '~' || path.startsWith('~/')) return join(this.#home, path.slice(1))
    return isAbsolute(path) ? path : resolve(folder, path)
  }

  #folderOf(path: string): string {
    return dirname(resolve(this.#sources.workingDirectory, path))
  }

  #reportIn(path: string): Reading['report'] {
    return (line, message) => this.#fault(`${path}:${line}`, message)
  }

  #fault(at: string, message: string): void {
    if (this.faults.length < LIMITS.configFaultsMax) this.faults.push({ at, message })
    else if (this.faults.length === LIMITS.configFaultsMax)
      this.faults.push({ at, message: 'and there are more faults' })
  }
}

/** Files that hold secrets of an upstream. */
function filesOf(transport: NewUpstream['spec']['transport']): string[] {
  const secrets = (transport.kind === 'stdio' ? transport.env : transport.headers) ?? {}
  return Object.values(secrets).flatMap((secret) =>
    typeof secret === 'object' && 'file' in secret ? [secret.file] : [],
  )
}

function valuesOf(group: object, names: readonly string[], found: ReadonlyMap<string, Found>): object {
  return Object.fromEntries(
    Object.entries(group).map(([key, node]) => {
      const path = [...names, key]
      const own = found.get(path.join('.'))
      return [key, own === undefined ? valuesOf(node as object, path, found) : own.value]
    }),
  )
}

/** The line of the key, or of the entry of a list. */
function lineOf(document: Located, keys: readonly (string | number)[]): number {
  let at = document
  let line = document.line
  for (const key of keys) {
    const entry = at.kind === 'map' ? at.entries.get(String(key)) : undefined
    const next = at.kind === 'list' ? at.items[Number(key)] : entry?.value
    if (next === undefined) return line
    line = entry?.line ?? next.line
    at = next
  }
  return line
}
