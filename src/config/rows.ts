// The rows that gateway.yaml may hold: upstreams, virtual servers, tokens. The names are those of the REST API; `url` and
// flat transports are what a person writes. Everything from a file has the operator's right.

import { hash } from 'node:crypto'
import { LIMITS } from '../core/limits.ts'
import type { UpstreamSpec, VirtualServerSpec } from '../core/model.ts'
import { RIGHTS, type Right } from '../core/policy.ts'
import { faultsOfUpstream } from '../core/upstream-rules.ts'
import type { Entry, Located, Mapping } from './located.ts'
import { validate } from './schema.ts'
import { resolveSecret } from './secrets.ts'
import {
  anything,
  below,
  choice,
  duration,
  exactlyOne,
  fault,
  integer,
  list,
  map,
  object,
  path,
  type Reading,
  type Shape,
  size,
  text,
  type ValueOf,
  values,
  yesOrNo,
} from './shape.ts'
import { suggest } from './suggest.ts'

const SLUGS = {
  noun: 'a-z, 0-9 and inner hyphens, at most 24 characters',
  pattern: '^[a-z0-9](?:[a-z0-9-]{0,22}[a-z0-9])?$',
  max: LIMITS.upstreamsMax,
}
const TOOL_NAMES = { noun: 'the name of a tool', pattern: '^[^\\0]{1,1024}$', max: 1_000 }
const ARGUMENT_NAMES = { noun: 'the name of an argument', pattern: '^[^\\0]{1,256}$', max: 100 }
const HEADERS = { noun: 'a header name', pattern: "^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,128}$", max: 50 }
const VARIABLES = { noun: 'a variable name', pattern: '^[A-Za-z_][A-Za-z0-9_]{0,127}$', max: 200 }

const DAY_MS = 86_400_000
const MEMORY_MAX = 1024 ** 4

const title = text({ max: 200 })
const longText = text({ min: 0, max: 16_384 })
const patterns = list(text({ max: 1_024 }), 1_000)
const callMs = duration(1, LIMITS.callMsMax)

const overrides = map(
  TOOL_NAMES,
  object('a map of changes to a tool', {
    name: text({ noun: 'A-Z, a-z, 0-9, "_", "-" and ".", at most 64', max: 64, pattern: '^[A-Za-z0-9_.-]+$' }),
    title,
    description: longText,
    hide: yesOrNo(),
    fixed: map(ARGUMENT_NAMES, anything()),
    validate,
    callMs,
  }),
)

// Upstreams

const COMMON = {
  title,
  enabled: yesOrNo(),
  isolation: choice('auto', 'shared', 'caller', 'session'),
  validate,
  refreshMs: duration(LIMITS.refreshMsMin, DAY_MS),
  callMs,
  callMsMax: callMs,
  connectMs: duration(1, 60_000),
  tools: overrides,
}

const url = text({ noun: 'a URL with http or https', max: 2_048, pattern: '^https?://[^\\s\\0#]+$' })

const httpUpstream = object(
  'an upstream with a URL',
  {
    url,
    urls: list(url, LIMITS.upstreamUrlsMax, 1),
    kind: choice('http', 'sse'),
    headers: values(HEADERS, '^[\\t\\x20-\\x7e\\x80-\\xff]*$'),
    ca: path(),
    caPinned: yesOrNo(),
    ...COMMON,
  },
  exactlyOne('url', 'urls'),
)

const stdioUpstream = object(
  'an upstream with a command',
  {
    command: text({ noun: 'a command' }),
    args: list(text({ min: 0, max: 16_384 }), 256),
    env: values(VARIABLES, '^[^\\0]*$'),
    cwd: path(),
    memoryBytes: size(0, MEMORY_MAX),
    cpuSeconds: integer(0, 2_147_483_647),
    openFiles: integer(16, 1_048_576),
    processes: integer(1, 1_048_576),
    childrenMax: integer(1, LIMITS.childrenMax),
    idleMs: duration(1_000, DAY_MS),
    ...COMMON,
  },
  { needs: ['command'] },
)

function httpSpec(at: Located, reading: Reading): UpstreamSpec | undefined {
  const read = httpUpstream.read(at, reading)
  if (read === undefined) return undefined
  const { url, urls = [], kind = 'http', headers, ca: caPath, caPinned, ...common } = read
  const ca = caPath === undefined ? undefined : readText(caPath, at, below(reading, 'ca'))
  const all = url === undefined ? urls : [url]
  return { ...common, transport: given({ kind, urls: all, headers, ca, caPinned }), privileged: true }
}

function stdioSpec(at: Located, reading: Reading): UpstreamSpec | undefined {
  const read = stdioUpstream.read(at, reading)
  if (read === undefined) return undefined
  const {
    command = '',
    args,
    env,
    cwd,
    memoryBytes,
    cpuSeconds,
    openFiles,
    processes,
    childrenMax,
    idleMs,
    ...common
  } = read
  const bounds = { memoryBytes, cpuSeconds, openFiles, processes, childrenMax, idleMs }
  return { ...common, transport: given({ kind: 'stdio', command, args, env, cwd, ...bounds }), privileged: true }
}

/** Without members that say nothing: what is stored must be equal to what is read again. */
function given<T extends object>(members: T): T {
  return Object.fromEntries(Object.entries(members).filter(([, value]) => value !== undefined)) as T
}

function readText(file: string, at: Located, reading: Reading): string | undefined {
  try {
    return reading.secrets.readFile(file)
  } catch (error) {
    return fault(reading, at.line, `cannot be read: ${(error as Error).message}`)
  }
}

const UPSTREAM_KEYS = [httpUpstream, stdioUpstream].flatMap(({ schema }) => Object.keys(schema.properties ?? {}))

export const UPSTREAM: Shape<UpstreamSpec> = {
  noun: 'an upstream',
  schema: {
    type: 'object',
    if: { required: ['command'] },
    // biome-ignore lint/suspicious/noThenProperty: a keyword of JSON Schema.
    then: stdioUpstream.schema,
    else: httpUpstream.schema,
  },
  read(at, reading) {
    if (at.kind !== 'map') return fault(reading, at.line, 'must be an upstream: a map with "url", "urls" or "command"')
    const kinds = ['url', 'urls', 'command'].filter((key) => at.entries.has(key))
    if (kinds.length !== 1) {
      // Which kind is meant does not show, but a key of neither kind is a fault in any case.
      for (const [key, entry] of at.entries) {
        if (!UPSTREAM_KEYS.includes(key))
          fault(below(reading, key), entry.line, `is not known${suggest(key, UPSTREAM_KEYS)}`)
      }
      return fault(reading, at.line, `must have exactly one of "url", "urls", "command", not ${kinds.length}`)
    }
    const spec = kinds[0] === 'command' ? stdioSpec(at, reading) : httpSpec(at, reading)
    if (spec === undefined) return undefined
    const faults = faultsOfUpstream(spec)
    for (const { at: pointer, message } of faults) reportAt(at, pointer, message, reading)
    return faults.length === 0 ? spec : undefined
  },
}

/** A rule names a place of the specification; here it is a line of the file. */
function reportAt(at: Mapping, pointer: string, message: string, reading: Reading): void {
  const names = pointer
    .split('/')
    .slice(1)
    .filter((name) => name !== 'transport')
  const path = names[0] === 'urls' && at.entries.has('url') ? ['url'] : names
  let node: Located = at
  let line = at.line
  let inside = reading
  for (const name of path) {
    const entry: Entry | undefined = node.kind === 'map' ? node.entries.get(name) : undefined
    const next: Located | undefined = node.kind === 'list' ? node.items[Number(name)] : entry?.value
    if (next === undefined) break
    inside = node.kind === 'list' ? { ...inside, path: `${inside.path}[${name}]` } : below(inside, name)
    line = entry?.line ?? next.line
    node = next
  }
  fault(inside, line, message)
}

// Virtual servers

const icon = object(
  'an icon',
  {
    src: text({
      noun: 'a URL with http, https or data:image/',
      max: 65_536,
      pattern: '^(?:https?://|data:image/)[^\\0]*$',
    }),
    mimeType: text({ max: 128 }),
    sizes: list(text({ max: 32 }), 20),
  },
  { needs: ['src'] },
)

const member = object(
  'a member',
  { upstream: text({ max: 64 }), tools: patterns, prompts: patterns, resources: patterns, overrides },
  { needs: ['upstream'] },
)

const virtualServer = object(
  'a virtual server',
  {
    title,
    description: longText,
    instructions: longText,
    icons: list(icon, 20),
    naming: choice('prefix', 'keep'),
    members: list(member, LIMITS.upstreamsMax),
  },
  { needs: ['members'] },
)

// The needed members are there once their shape has read them, which the types cannot say.
export const VIRTUAL_SERVER = virtualServer as Shape<VirtualServerSpec>

// Tokens

const TOKEN_TEXT = /^mgw_([0-9A-Za-z]{12})_[0-9A-Za-z]{43}$/

const token = object(
  'a token',
  {
    name: text({ noun: '1 to 64 printable characters', max: 64, pattern: '^[^\\s\\p{C}](?:[^\\p{C}]*[^\\s\\p{C}])?$' }),
    hash: text({ noun: 'a SHA-256 in 64 hex digits', max: 64, pattern: '^[0-9a-f]{64}$' }),
    env: text({ noun: 'the name of a variable', max: 128, pattern: '^[A-Za-z_][A-Za-z0-9_]*$' }),
    file: path(),
    rights: list(choice(...RIGHTS), RIGHTS.length, 1),
    expiresAt: text({
      noun: 'a date such as 2027-01-31, or a time such as 2027-01-31T12:00:00Z',
      max: 40,
      pattern: '^\\d{4}-\\d{2}-\\d{2}(?:T\\d{2}:\\d{2}:\\d{2}(?:\\.\\d{1,9})?(?:Z|[+-]\\d{2}:\\d{2}))?$',
    }),
  },
  { needs: ['name'], ...exactlyOne('hash', 'env', 'file') },
)

export interface FileToken {
  readonly id: string
  readonly name: string
  readonly hash: string
  readonly rights: readonly Right[]
  readonly expiresMs?: number
}

export const TOKEN: Shape<FileToken> = {
  noun: token.noun,
  schema: token.schema,
  read(at, reading) {
    const read = token.read(at, reading)
    if (read === undefined) return undefined
    const { name = '', rights = ['use'], expiresAt } = read
    const identity = identify(read, at, reading)
    const expiresMs = expiresAt === undefined ? undefined : Date.parse(expiresAt)
    if (Number.isNaN(expiresMs)) return fault(below(reading, 'expiresAt'), at.line, `is no date of the calendar`)
    return identity && given({ ...identity, name, rights: [...new Set(rights)], expiresMs })
  },
}

function identify(
  read: ValueOf<typeof token>,
  at: Located,
  reading: Reading,
): Pick<FileToken, 'id' | 'hash'> | undefined {
  if (read.hash !== undefined) return { id: read.hash.slice(0, 12), hash: read.hash }
  try {
    const { env, file = '' } = read
    const tokenText = resolveSecret(env === undefined ? { file } : { env }, reading.secrets)
    const id = TOKEN_TEXT.exec(tokenText)?.[1]
    if (id === undefined) return fault(reading, at.line, 'is not the text of a token: mgw_<id>_<secret>')
    return { id, hash: hash('sha256', tokenText, 'hex') }
  } catch (error) {
    return fault(reading, at.line, `cannot be read: ${(error as Error).message}`)
  }
}

export const UPSTREAMS = map(SLUGS, UPSTREAM)
export const VIRTUAL_SERVERS = map(SLUGS, VIRTUAL_SERVER)
export const TOKENS = list(TOKEN, LIMITS.tokensMax)
