// Everything that can be set at start, once: name, type and range, default, one sentence, and the flags and variables
// besides the usual ones. docs/settings.md and the JSON Schema are made from this file. Absent on purpose: the rows that a
// file may hold (rows.ts), and reading files and the environment (load.ts).

import { LIMITS, type Limits } from '../core/limits.ts'
import {
  choice,
  duration,
  integer,
  list,
  numberOr,
  object,
  path,
  type Read,
  type Shape,
  secret,
  size,
  text,
  yesOrNo,
} from './shape.ts'

export interface Setting<T = unknown> {
  readonly shape: Shape<T>
  readonly default: T | null
  /** One sentence. */
  readonly about: string
  /** Shown in the short table. */
  readonly usual: boolean
  /** Name of the command line flag, without dashes, in camelCase. */
  readonly flag: string | null
  /** Names of variables besides MCP_GATEWAY_<SECTION>_<NAME>. */
  readonly aliases: readonly string[]
  /** When a change in a file of a running gateway takes effect. */
  readonly reload: 'at once' | 'next start'
}

interface Extras {
  readonly usual?: boolean
  readonly flag?: string
  readonly aliases?: readonly string[]
  readonly reload?: Setting['reload']
}

function setting<T>(shape: Shape<T>, otherwise: T, about: string, extras?: Extras): Setting<T> & { default: T }
function setting<T>(shape: Shape<T>, otherwise: null, about: string, extras?: Extras): Setting<T>
function setting<T>(shape: Shape<T>, otherwise: T | null, about: string, extras: Extras = {}): Setting<T> {
  const { usual = false, flag = null, aliases = [], reload = 'next start' } = extras
  return { shape, default: otherwise, about, usual, flag, aliases, reload }
}

/** A setting of a number of core/limits.ts, which is its default. */
function limit(name: keyof Limits, shape: Shape<number>, about: string): Setting<number> & { default: number } {
  return setting(shape, LIMITS[name], about)
}

const KiB = 1024
const MiB = 1024 * KiB
const GiB = 1024 * MiB
const SECOND = 1_000
const MINUTE = 60 * SECOND
const HOUR = 60 * MINUTE
const DAY = 24 * HOUR

const host = text({ noun: 'a host name or address', max: 255, pattern: '^[0-9A-Za-z._:-]+$' })
const names = list(text({ max: 1_024 }), 1_000)
const origin = text({
  noun: 'an origin such as https://mcp.example.com',
  max: 512,
  pattern: '^https?://(?:[0-9A-Za-z._-]+|\\[[0-9A-Fa-f:.]+\\])(?::[0-9]{1,5})?$',
})
export const validate = choice('off', 'arguments', 'results', 'both')

export const SETTINGS = {
  server: {
    host: setting(host, '127.0.0.1', 'Address to listen on.', { usual: true, flag: 'host', aliases: ['HOST'] }),
    port: setting(integer(0, 65_535), 4444, 'Port of MCP and API; 0 takes a free one.', {
      usual: true,
      flag: 'port',
      aliases: ['PORT'],
    }),
    workers: setting(numberOr(integer(1, LIMITS.workersMax), choice('auto')), 1, 'Processes that answer calls.', {
      usual: true,
      flag: 'workers',
    }),
    publicUrl: setting(origin, null, 'Origin under which clients reach the gateway; default from host and port.', {
      usual: true,
      flag: 'publicUrl',
    }),
    trustedProxies: setting(names, [], 'Networks whose X-Forwarded-For and X-Forwarded-Proto are believed.'),
    tls: {
      cert: setting(path(), null, 'Certificate chain (PEM); with it the listener speaks HTTPS.', { usual: true }),
      key: setting(path(), null, 'Private key of the certificate (PEM).', { usual: true }),
    },
  },
  store: {
    data: setting(path(), null, 'Data directory; default $XDG_DATA_HOME/mcp-gateway.', {
      usual: true,
      flag: 'data',
      aliases: ['MCP_GATEWAY_DATA'],
    }),
  },
  access: {
    open: setting(yesOrNo(), false, 'Asks nobody for a token; refused on any address but loopback.', { flag: 'open' }),
    jwt: {
      secret: setting(secret(), null, 'HS256 secret of at least 32 bytes; with it JWTs are accepted.', {
        usual: true,
        reload: 'at once',
      }),
      previousSecret: setting(secret(), null, 'The secret before, accepted until it is removed.', {
        reload: 'at once',
      }),
      issuer: setting(text({ max: 512 }), null, 'The iss that a JWT must carry.', { reload: 'at once' }),
      audience: setting(text({ max: 512 }), null, 'The aud that a JWT must carry; default is server.publicUrl.', {
        reload: 'at once',
      }),
    },
    hosts: setting(list(host, 100), [], 'Further values of Host that are accepted.'),
    origins: setting(list(origin, 100), [], 'Origins of web pages that may call (CORS).', { usual: true }),
    commandsAllowed: setting(names, [], 'Commands that administrators who are no operators may register.', {
      usual: true,
      reload: 'at once',
    }),
    networksAllowed: setting(names, [], 'Private networks that upstreams of such administrators may have.', {
      usual: true,
    }),
    caBundle: setting(path(), null, 'Further certificate authorities for upstreams (PEM).'),
    staleMax: setting(
      duration(0, HOUR),
      LIMITS.staleCallerMs,
      'How long a known caller is believed while the store is away; 0 is not at all.',
    ),
  },
  limits: {
    bodyBytes: limit('bodyBytes', size(KiB, 256 * MiB), 'Largest request body.'),
    headerBytes: limit('headerBytes', size(KiB, 256 * KiB), 'Largest head of a request.'),
    headerCount: limit('headerCount', integer(10, 1_000), 'Most headers of a request.'),
    headersMs: limit('headersMs', duration(SECOND, 5 * MINUTE), 'Time for the head of a request to arrive.'),
    requestMs: limit('requestMs', duration(SECOND, HOUR), 'Time for a whole request to arrive.'),
    keepAliveMs: limit('keepAliveMs', duration(SECOND, HOUR), 'How long an idle connection of a client stays open.'),
    connectionsMax: limit('connectionsMax', integer(1, 1_000_000), 'Most connections of clients, per worker.'),
    backlog: limit('backlog', integer(1, 65_535), 'Connections that may wait to be accepted.'),
    maxInFlight: limit('maxInFlight', integer(1, 100_000), 'Most calls in flight, per worker.'),
    maxQueued: limit('maxQueued', integer(0, 100_000), 'Calls that may wait for their turn, per worker.'),
    queueMs: limit('queueMs', duration(1, MINUTE), 'How long a call waits for its turn before 503.'),
    maxStreams: limit('maxStreams', integer(1, 1_000_000), 'Most open streams, per worker.'),
    callMs: limit('callMs', duration(1, HOUR), 'Deadline of a call, started again by progress.'),
    callMsMax: limit('callMsMax', duration(1, HOUR), 'Longest time of a call with all its progress.'),
    connectMs: limit('connectMs', duration(1, MINUTE), 'Time to connect to an upstream.'),
    upstreamBodyBytes: limit('upstreamBodyBytes', size(KiB, GiB), 'Largest answer of an upstream.'),
    upstreamEventBytes: limit('upstreamEventBytes', size(KiB, GiB), 'Largest event of a stream of an upstream.'),
    upstreamConnectionsMax: limit(
      'upstreamConnectionsMax',
      integer(1, 65_535),
      'Most connections to one upstream, per worker.',
    ),
    upstreamSessionsMax: limit('upstreamSessionsMax', integer(1, 1_000_000), 'Most sessions held with upstreams.'),
    refreshMs: limit('refreshMs', duration(LIMITS.refreshMsMin, DAY), 'How often lists of upstreams are read again.'),
    discoveriesMax: limit('discoveriesMax', integer(1, 1_000), 'Upstreams that are discovered at the same time.'),
    retryMsMax: limit('retryMsMax', duration(SECOND, HOUR), 'Longest pause before an upstream is tried again.'),
    childrenPerUpstream: limit('childrenPerUpstream', integer(1, 1_000), 'Most processes of one stdio upstream.'),
    childrenMax: limit('childrenMax', integer(1, 10_000), 'Most processes of all stdio upstreams.'),
    childIdleMs: limit('childIdleMs', duration(SECOND, DAY), 'After which time without calls a process is ended.'),
    childMemoryBytes: limit('childMemoryBytes', size(0, 1024 * GiB), 'Memory of a process; 0 is no limit.'),
    childCpuSeconds: limit('childCpuSeconds', integer(0, 1_000_000_000), 'CPU seconds of a process; 0 is no limit.'),
    childOpenFiles: limit('childOpenFiles', integer(16, 1_048_576), 'Open files of a process.'),
    childProcesses: limit('childProcesses', integer(1, 1_048_576), 'Processes of the user that runs a process.'),
    sessionAgeMs: limit('sessionAgeMs', duration(MINUTE, 30 * DAY), 'Longest life of a session.'),
    tombstonesPerMinute: limit('tombstonesPerMinute', integer(1, 10_000), 'Sessions that a caller may end a minute.'),
    listCacheBytes: limit('listCacheBytes', size(MiB, 16 * GiB), 'Memory for encoded lists, per worker.'),
    callerCacheItems: limit('callerCacheItems', integer(1, 10_000_000), 'Callers that are remembered, per worker.'),
    callerCacheMs: limit('callerCacheMs', duration(SECOND, HOUR), 'How long a caller is remembered.'),
    drainMs: limit('drainMs', duration(0, HOUR), 'How long a stopping gateway announces that before it closes.'),
    stopMs: limit('stopMs', duration(SECOND, HOUR), 'How long a stopping gateway waits for calls in flight.'),
  },
  telemetry: {
    logLevel: setting(choice('debug', 'info', 'warn', 'error', 'silent'), 'warn', 'Least level of log lines.', {
      usual: true,
      flag: 'logLevel',
      reload: 'at once',
    }),
    logFormat: setting(choice('auto', 'json', 'text'), 'auto', 'Form of log lines; auto is text on a terminal.'),
  },
  defaults: {
    validate: setting(validate, 'arguments', 'What is checked against the schemas of tools that say nothing else.'),
  },
} as const

export type Settings = typeof SETTINGS
type Group = { readonly [name: string]: Setting | Group }
export type SettingValues<G> = {
  readonly [K in keyof G]: G[K] extends { readonly shape: Shape<infer T>; readonly default: infer D }
    ? null extends D
      ? T | null
      : T
    : SettingValues<G[K]>
}

export interface NamedSetting extends Setting {
  /** Such as `server.tls.cert`. */
  readonly name: string
  readonly names: readonly string[]
  /** The variable, first, and its aliases. */
  readonly variables: readonly string[]
}

export function isSetting(node: Setting | Group): node is Setting {
  return 'shape' in node && 'about' in node
}

/** Every setting with its names, in the order of the table. */
export function allSettings(group: Group = SETTINGS, before: readonly string[] = []): NamedSetting[] {
  return Object.entries(group).flatMap(([key, node]) => {
    const path = [...before, key]
    if (!isSetting(node)) return allSettings(node, path)
    const variable = path.map((word) => word.replace(/[A-Z]/g, (char) => `_${char}`).toUpperCase()).join('_')
    return [{ ...node, name: path.join('.'), names: path, variables: [`MCP_GATEWAY_${variable}`, ...node.aliases] }]
  })
}

/** The section of a file: its settings without defaults. */
function section(group: Group): Shape<Read<Record<string, Shape<unknown>>>> {
  const members = Object.entries(group).map(([key, node]) => {
    if (!isSetting(node)) return [key, section(node)] as const
    return [key, { ...node.shape, schema: { description: node.about, ...node.shape.schema } }] as const
  })
  return object('a map of settings', Object.fromEntries(members))
}

/** Sections of a file. */
export const SECTIONS = Object.fromEntries(Object.entries(SETTINGS).map(([name, group]) => [name, section(group)]))
