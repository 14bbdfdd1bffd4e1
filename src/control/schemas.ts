// What the REST API takes and gives, as JSON Schema 2020-12: the validators, the OpenAPI document and (by TypeBox's
// `Static`) the types of the handlers are all made from these. Plain literals rather than TypeBox calls, because
// importing its builders alone takes 270 ms of the 600 that a start may take.

import type { Static } from 'typebox'
import { LIMITS } from '../core/limits.ts'

/** As much of JSON Schema as is looked into here; the validator knows the rest. */
export interface Schema {
  readonly type?: string | readonly string[]
  readonly description?: string
  readonly properties?: Readonly<Record<string, Schema>>
  readonly [keyword: string]: unknown
}

const SLUG = {
  type: 'string',
  pattern: '^[a-z0-9](?:[a-z0-9-]{0,22}[a-z0-9])?$',
  description: 'A name of a-z, 0-9 and inner hyphens, at most 24 characters, unique.',
} as const
const TITLE = { type: 'string', minLength: 1, maxLength: 200, description: 'A title for people.' } as const
const LONG_TEXT = { type: 'string', maxLength: 16_384 } as const
const TIME = { type: 'string', format: 'date-time', description: 'RFC 3339, UTC, with milliseconds.' } as const
const TIME_OR_NULL = { type: ['string', 'null'], format: 'date-time' } as const
const ORIGIN = { enum: ['api', 'file', 'demo'], description: 'Rows of a file are changed in the file.' } as const
const ORIGIN_REF = { type: ['string', 'null'], description: 'File and line, where it comes from a file.' } as const
const VERSION = { type: 'integer', minimum: 1, description: 'The number in the ETag.' } as const
const CALL_MS = { type: 'integer', minimum: 1, maximum: LIMITS.callMsMax } as const
const VALIDATE = { enum: ['off', 'arguments', 'results', 'both'] } as const
const PATTERNS = {
  type: 'array',
  maxItems: 1_000,
  items: { type: 'string', minLength: 1, maxLength: 1_024 },
  description: "The upstream's own names or URIs; * stands for any run of characters.",
} as const

const PREFIX = { type: 'string', maxLength: 256, pattern: '^[\\x20-\\x7e]*$' } as const
const SECRET = {
  description:
    'A text, or where the gateway reads it: {"env": NAME} or {"file": PATH}, with an optional "prefix" before what is read, which need the operator right. Texts are answered as "[redacted]", and "[redacted]" sent back keeps what is stored.',
  anyOf: [
    { type: 'string', maxLength: 16_384 },
    {
      type: 'object',
      additionalProperties: false,
      required: ['env'],
      properties: { env: { type: 'string', pattern: '^[A-Za-z_][A-Za-z0-9_]{0,127}$' }, prefix: PREFIX },
    },
    {
      type: 'object',
      additionalProperties: false,
      required: ['file'],
      properties: { file: { type: 'string', minLength: 1, maxLength: 4_096, pattern: '^[^\\0]*$' }, prefix: PREFIX },
    },
  ],
} as const

export const HTTP_TRANSPORT = {
  type: 'object',
  additionalProperties: false,
  required: ['kind', 'urls'],
  properties: {
    kind: {
      enum: ['http', 'sse'],
      description: '`sse`: HTTP+SSE (2024-11-05) alone; `http` finds out which transport the server speaks.',
    },
    urls: {
      type: 'array',
      minItems: 1,
      maxItems: LIMITS.upstreamUrlsMax,
      uniqueItems: true,
      items: { type: 'string', minLength: 1, maxLength: 2_048 },
      description: 'One or more URLs of the same server.',
    },
    headers: {
      type: 'object',
      maxProperties: 50,
      propertyNames: { pattern: "^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,128}$" },
      additionalProperties: SECRET,
    },
    ca: { type: 'string', maxLength: 262_144, description: 'PEM certificates of an extra authority.' },
    caPinned: { type: 'boolean', description: 'Trust only `ca`.' },
  },
} as const

export const STDIO_TRANSPORT = {
  type: 'object',
  additionalProperties: false,
  required: ['kind', 'command'],
  properties: {
    kind: { const: 'stdio' },
    command: { type: 'string', minLength: 1, maxLength: 4_096, pattern: '^[^\\0]*$' },
    args: { type: 'array', maxItems: 256, items: { type: 'string', maxLength: 16_384, pattern: '^[^\\0]*$' } },
    env: {
      type: 'object',
      maxProperties: 200,
      propertyNames: { pattern: '^[A-Za-z_][A-Za-z0-9_]{0,127}$' },
      additionalProperties: SECRET,
    },
    cwd: { type: 'string', minLength: 1, maxLength: 4_096, pattern: '^/[^\\0]*$', description: 'An absolute path.' },
    memoryBytes: { type: 'integer', minimum: 0, maximum: Number.MAX_SAFE_INTEGER },
    cpuSeconds: { type: 'integer', minimum: 0, maximum: 2_147_483_647 },
    openFiles: { type: 'integer', minimum: 16, maximum: 1_048_576 },
    processes: { type: 'integer', minimum: 1, maximum: 1_048_576 },
    childrenMax: { type: 'integer', minimum: 1, maximum: LIMITS.childrenMax },
    idleMs: { type: 'integer', minimum: 1_000, maximum: 86_400_000 },
  },
} as const

const TRANSPORT = {
  type: 'object',
  discriminator: { propertyName: 'kind' },
  oneOf: [HTTP_TRANSPORT, STDIO_TRANSPORT],
} as const

export const TOOL_OVERRIDE = {
  type: 'object',
  additionalProperties: false,
  properties: {
    name: { type: 'string', pattern: '^[A-Za-z0-9_.-]{1,64}$' },
    title: TITLE,
    description: LONG_TEXT,
    hide: { type: 'boolean' },
    fixed: {
      type: 'object',
      maxProperties: 100,
      additionalProperties: true,
      description: 'Arguments that the gateway sets itself and that callers neither see nor send.',
    },
    validate: VALIDATE,
    callMs: CALL_MS,
  },
} as const
const OVERRIDES = {
  type: 'object',
  maxProperties: 1_000,
  propertyNames: { minLength: 1, maxLength: 1_024 },
  additionalProperties: TOOL_OVERRIDE,
  description: "By the upstream's own tool names.",
} as const

const UPSTREAM_SETTINGS = {
  title: TITLE,
  enabled: { type: 'boolean' },
  isolation: { enum: ['auto', 'shared', 'caller', 'session'] },
  validate: VALIDATE,
  refreshMs: { type: 'integer', minimum: LIMITS.refreshMsMin, maximum: 86_400_000 },
  callMs: CALL_MS,
  callMsMax: CALL_MS,
  connectMs: { type: 'integer', minimum: 1, maximum: 60_000 },
  tools: OVERRIDES,
} as const

export const UPSTREAM_INPUT = {
  type: 'object',
  additionalProperties: false,
  required: ['transport'],
  properties: { slug: SLUG, transport: TRANSPORT, ...UPSTREAM_SETTINGS },
} as const
export type UpstreamInput = Static<typeof UPSTREAM_INPUT>

const SKIPPED = {
  type: 'object',
  required: ['kind', 'name', 'reason'],
  properties: { kind: { type: 'string' }, name: { type: 'string' }, reason: { type: 'string' } },
} as const
const COUNTS = {
  type: 'object',
  required: ['tools', 'prompts', 'resources', 'templates'],
  properties: {
    tools: { type: 'integer' },
    prompts: { type: 'integer' },
    resources: { type: 'integer' },
    templates: { type: 'integer' },
  },
} as const

const UPSTREAM_STATE = {
  type: 'object',
  required: ['state', 'since', 'code', 'message', 'attempts', 'nextRetryAt'],
  properties: {
    state: { enum: ['connecting', 'ready', 'down', 'disabled'] },
    since: TIME,
    code: { type: ['string', 'null'] },
    message: { type: ['string', 'null'] },
    attempts: { type: 'integer' },
    nextRetryAt: TIME_OR_NULL,
  },
} as const
const DISCOVERY = {
  type: ['object', 'null'],
  description: 'What the upstream said of itself; null until it has been reached once.',
  required: ['era', 'revision', 'probedAt', 'discoveredAt', 'serverInfo', 'stateful', 'counts', 'skipped'],
  properties: {
    era: { enum: ['legacy', 'modern'] },
    revision: { type: 'string' },
    transport: { enum: ['http', 'sse', 'stdio'], description: 'What it was found to speak.' },
    probedAt: TIME,
    discoveredAt: TIME,
    serverInfo: { type: 'object' },
    capabilities: { type: 'object' },
    stateful: { type: 'boolean' },
    ttlMs: { type: ['integer', 'null'] },
    counts: COUNTS,
    skipped: { type: 'array', items: SKIPPED },
  },
} as const

export const UPSTREAM = {
  type: 'object',
  required: [
    ...['id', 'slug', 'title', 'transport', 'enabled', 'isolation', 'validate', 'privileged', 'origin', 'originRef'],
    ...['state', 'discovery', 'createdAt', 'updatedAt', 'version'],
  ],
  properties: {
    id: { type: 'string' },
    slug: SLUG,
    transport: TRANSPORT,
    ...UPSTREAM_SETTINGS,
    title: { type: ['string', 'null'] },
    validate: { enum: [...VALIDATE.enum, null], description: "Null is the gateway's own default." },
    privileged: { type: 'boolean', description: 'Registered by an operator: it may have a private address.' },
    origin: ORIGIN,
    originRef: ORIGIN_REF,
    state: UPSTREAM_STATE,
    discovery: DISCOVERY,
    stderr: { type: 'string', description: 'With include=stderr: the end of what its processes wrote.' },
    children: { type: 'array', items: { type: 'object' }, description: 'With include=children: its processes.' },
    shadowed: {
      type: 'array',
      items: { type: 'object' },
      description: 'With include=shadowed: names that an earlier owner keeps.',
    },
    createdAt: TIME,
    updatedAt: TIME,
    version: VERSION,
  },
} as const

const MEMBER = {
  type: 'object',
  additionalProperties: false,
  required: ['upstream'],
  properties: {
    upstream: { type: 'string', minLength: 1, maxLength: 64, description: 'Slug or id of an upstream.' },
    tools: PATTERNS,
    prompts: PATTERNS,
    resources: PATTERNS,
    overrides: OVERRIDES,
  },
} as const
const ICON = {
  type: 'object',
  additionalProperties: false,
  required: ['src'],
  properties: {
    src: { type: 'string', maxLength: 65_536, pattern: '^(?:https?://|data:image/)' },
    mimeType: { type: 'string', maxLength: 128 },
    sizes: { type: 'array', maxItems: 20, items: { type: 'string', maxLength: 32 } },
  },
} as const

export const SERVER_INPUT = {
  type: 'object',
  additionalProperties: false,
  required: ['members'],
  properties: {
    slug: SLUG,
    title: TITLE,
    description: LONG_TEXT,
    instructions: LONG_TEXT,
    icons: { type: 'array', maxItems: 20, items: ICON },
    naming: { enum: ['prefix', 'keep'] },
    members: { type: 'array', maxItems: LIMITS.upstreamsMax, items: MEMBER },
  },
} as const
export type ServerInput = Static<typeof SERVER_INPUT>

export const SERVER = {
  type: 'object',
  required: [
    ...['id', 'slug', 'title', 'description', 'instructions', 'icons', 'naming', 'members', 'endpoint'],
    ...['origin', 'originRef', 'clashes', 'createdAt', 'updatedAt', 'version'],
  ],
  properties: {
    id: { type: 'string' },
    slug: SLUG,
    title: { type: ['string', 'null'] },
    description: { type: ['string', 'null'] },
    instructions: { type: ['string', 'null'] },
    icons: { type: ['array', 'null'], items: ICON },
    naming: { enum: ['prefix', 'keep'] },
    members: { type: 'array', items: MEMBER },
    endpoint: { type: 'string', description: 'Where clients reach it.' },
    origin: ORIGIN,
    originRef: ORIGIN_REF,
    clashes: {
      type: 'array',
      description: 'Names that more than one of its members offers; the earlier owner keeps each.',
      items: {
        type: 'object',
        required: ['kind', 'name', 'upstreams'],
        properties: {
          kind: { enum: ['tool', 'prompt', 'resource', 'template'] },
          name: { type: 'string' },
          upstreams: { type: 'array', items: { type: 'string' } },
        },
      },
    },
    createdAt: TIME,
    updatedAt: TIME,
    version: VERSION,
  },
} as const

export const TOKEN_INPUT = {
  type: 'object',
  additionalProperties: false,
  required: ['name'],
  properties: {
    name: {
      type: 'string',
      pattern: '^[^\\s\\p{C}](?:[^\\p{C}]{0,62}[^\\s\\p{C}])?$',
      description: 'What it is for: 1 to 64 printable characters, unique.',
    },
    rights: {
      type: 'array',
      minItems: 1,
      maxItems: 3,
      uniqueItems: true,
      // With the type Ajv tells equal ones by their text; without, by comparing each with each: minutes for 1 MiB.
      items: { type: 'string', enum: ['use', 'admin', 'operator'] },
    },
    expiresAt: { type: 'string', maxLength: 40, description: 'RFC 3339; never, when left out.' },
  },
} as const
export type TokenInput = Static<typeof TOKEN_INPUT>

const TOKEN_MEMBERS = {
  id: { type: 'string' },
  name: { type: 'string' },
  rights: { type: 'array', items: { enum: ['use', 'admin', 'operator'] } },
  origin: ORIGIN,
  originRef: ORIGIN_REF,
  createdAt: TIME,
  expiresAt: TIME_OR_NULL,
  lastUsedAt: TIME_OR_NULL,
} as const
const TOKEN_REQUIRED = ['id', 'name', 'rights', 'origin', 'originRef', 'createdAt', 'expiresAt', 'lastUsedAt'] as const
export const TOKEN = { type: 'object', required: TOKEN_REQUIRED, properties: TOKEN_MEMBERS } as const
export const NEW_TOKEN = {
  type: 'object',
  required: [...TOKEN_REQUIRED, 'token'],
  properties: { ...TOKEN_MEMBERS, token: { type: 'string', description: 'Shown this one time.' } },
} as const

const DEFINED_BY = {
  upstream: { type: 'string', description: 'Slug of the upstream that offers it.' },
  title: { type: 'string' },
  description: { type: 'string' },
} as const
const UPSTREAM_NAME = { type: 'string', description: 'Its name there.' } as const
export const TOOL = {
  type: 'object',
  required: ['name', 'upstream', 'upstreamName', 'inputSchema'],
  properties: {
    name: { type: 'string', description: 'The name to call it by.' },
    upstreamName: UPSTREAM_NAME,
    ...DEFINED_BY,
    inputSchema: { type: 'object' },
    outputSchema: { type: 'object' },
    annotations: { type: 'object' },
  },
} as const
export const PROMPT = {
  type: 'object',
  required: ['name', 'upstream', 'upstreamName'],
  properties: {
    name: { type: 'string' },
    upstreamName: UPSTREAM_NAME,
    ...DEFINED_BY,
    arguments: { type: 'array' },
  },
} as const
export const RESOURCE = {
  type: 'object',
  description: 'A resource, or a template of resources (then with uriTemplate in place of uri).',
  required: ['upstream'],
  properties: {
    uri: { type: 'string' },
    uriTemplate: { type: 'string' },
    name: { type: 'string' },
    ...DEFINED_BY,
    mimeType: { type: 'string' },
  },
} as const

export const VERSION_ANSWER = {
  type: 'object',
  required: ['name', 'version', 'node', 'protocolVersions'],
  properties: {
    name: { type: 'string' },
    version: { type: 'string' },
    node: { type: 'string' },
    protocolVersions: { type: 'array', items: { type: 'string' } },
  },
} as const
const CONFIG_FAULT = {
  type: 'object',
  required: ['at', 'message'],
  properties: { at: { type: 'string', description: 'FILE:LINE' }, message: { type: 'string' } },
} as const
export const RELOADED = {
  type: 'object',
  required: ['files', 'rows', 'settings'],
  properties: {
    files: {
      type: 'array',
      items: { type: 'string' },
      description: 'Empty where the gateway was started without any.',
    },
    rows: {
      type: 'array',
      items: {
        type: 'object',
        required: ['kind', 'name', 'change'],
        properties: {
          kind: { enum: ['upstream', 'server', 'token'] },
          name: { type: 'string' },
          change: { enum: ['added', 'changed', 'removed'] },
        },
      },
    },
    settings: {
      type: 'array',
      items: {
        type: 'object',
        required: ['name', 'takesEffect'],
        properties: { name: { type: 'string' }, takesEffect: { enum: ['at once', 'next start'] } },
      },
    },
  },
} as const
export const STATUS = {
  type: 'object',
  required: [
    ...['version', 'ready', 'startedAt', 'uptimeSeconds', 'workers', 'definitionVersion', 'upstreams'],
    ...['configuration', 'counts'],
  ],
  properties: {
    version: { type: 'string' },
    ready: { type: 'boolean' },
    startedAt: TIME,
    uptimeSeconds: { type: 'integer' },
    workers: { type: 'integer' },
    definitionVersion: { type: 'integer', description: 'Rises with every change of what clients can list or call.' },
    upstreams: {
      type: 'object',
      required: ['total', 'ready', 'connecting', 'down', 'disabled'],
      properties: {
        total: { type: 'integer' },
        ready: { type: 'integer' },
        connecting: { type: 'integer' },
        down: { type: 'integer' },
        disabled: { type: 'integer' },
      },
    },
    configuration: {
      type: 'object',
      description:
        'The files of --config and --mcp-json. With faults they were refused, and those before are in force.',
      required: ['files', 'appliedAt', 'refusedAt', 'faults', 'nextStart'],
      properties: {
        files: { type: 'array', items: { type: 'string' } },
        appliedAt: TIME,
        refusedAt: TIME_OR_NULL,
        faults: { type: 'array', items: CONFIG_FAULT },
        nextStart: {
          type: 'array',
          items: { type: 'string' },
          description: 'Settings that are other in the files and take effect at the next start.',
        },
      },
    },
    counts: {
      type: 'object',
      required: [...COUNTS.required, 'servers'],
      properties: { ...COUNTS.properties, servers: { type: 'integer' } },
    },
  },
} as const
export const INDEX = {
  type: 'object',
  required: ['name', 'version', 'endpoints'],
  properties: {
    name: { type: 'string' },
    version: { type: 'string' },
    endpoints: { type: 'object', additionalProperties: { type: 'string' } },
  },
} as const
export const ANY_OBJECT = { type: 'object' } as const

export const PROBLEM = {
  type: 'object',
  description: 'RFC 9457.',
  required: ['type', 'title', 'status', 'detail', 'code', 'hint'],
  properties: {
    type: { type: 'string' },
    title: { type: 'string' },
    status: { type: 'integer' },
    detail: { type: 'string' },
    code: { type: 'string', description: 'One of the catalogue of errors.' },
    hint: { type: 'string', description: 'What to do about it.' },
    requestId: { type: 'string' },
    errors: {
      type: 'array',
      items: {
        type: 'object',
        required: ['at', 'message'],
        properties: {
          at: { type: 'string', description: 'JSON pointer into the body, or ? and the query parameter.' },
          message: { type: 'string' },
        },
      },
    },
  },
} as const

export function listOf(item: Schema): Schema {
  return {
    type: 'object',
    required: ['items', 'nextCursor'],
    properties: { items: { type: 'array', items: item }, nextCursor: { type: ['string', 'null'] } },
  }
}

/** What a PATCH takes: a merge patch (RFC 7396); what it makes of the entity must fit `input`. */
export const MERGE_PATCH = {
  type: 'object',
  minProperties: 1,
  description: 'JSON Merge Patch (RFC 7396) of what POST takes: members to change, null to remove one.',
} as const

/** Names under which the OpenAPI document refers to schemas. */
export const NAMED: ReadonlyMap<Schema, string> = new Map<Schema, string>([
  [UPSTREAM_INPUT, 'UpstreamInput'],
  [UPSTREAM, 'Upstream'],
  [HTTP_TRANSPORT, 'HttpTransport'],
  [STDIO_TRANSPORT, 'StdioTransport'],
  [SECRET, 'Secret'],
  [TOOL_OVERRIDE, 'ToolOverride'],
  [MEMBER, 'Member'],
  [ICON, 'Icon'],
  [SERVER_INPUT, 'VirtualServerInput'],
  [SERVER, 'VirtualServer'],
  [TOKEN_INPUT, 'TokenInput'],
  [TOKEN, 'Token'],
  [NEW_TOKEN, 'NewToken'],
  [TOOL, 'Tool'],
  [PROMPT, 'Prompt'],
  [RESOURCE, 'Resource'],
  [STATUS, 'Status'],
  [RELOADED, 'Reloaded'],
  [COUNTS, 'Counts'],
  [PROBLEM, 'Problem'],
])
