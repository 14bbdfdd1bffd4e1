// The OpenAPI 3.1 document, made from the table of routes: what it says is what is checked.

import type { Route } from './route.ts'
import { MERGE_PATCH, NAMED, PROBLEM, type Schema } from './schemas.ts'

export interface OpenApiOptions {
  readonly version: string
  readonly publicUrl: string
}

type Json = Readonly<Record<string, unknown>>

const json = (schema: unknown, type = 'application/json'): Json => ({ content: { [type]: { schema } } })

/** The schema with every named one in it replaced by a reference. */
function refer(value: unknown, isRoot = false): unknown {
  const name = NAMED.get(value as Schema)
  if (name !== undefined && !isRoot) return { $ref: `#/components/schemas/${name}` }
  if (Array.isArray(value)) return value.map((item) => refer(item))
  if (typeof value !== 'object' || value === null) return value
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, refer(item)]))
}

const STATUS_WORDS: Readonly<Record<number, string>> = {
  200: 'OK',
  201: 'Created',
  202: 'Accepted',
  204: 'Done',
}

function operation(route: Route): Json {
  const inPath = [...route.path.matchAll(/\{(\w+)\}/g)].map((match) => match[1]!)
  const parameters = [
    ...inPath.map((name) => ({ name, in: 'path', required: true, schema: { type: 'string' } })),
    ...Object.entries(route.query ?? {}).map(([name, { description, schema }]) => ({
      name,
      in: 'query',
      description,
      schema,
    })),
  ]
  const isChange =
    route.path.startsWith('/v1') && inPath.length > 0 && (route.body === MERGE_PATCH || isVersionedDelete(route))
  if (isChange) {
    parameters.push({ name: 'If-Match', in: 'header', required: true, schema: { type: 'string' } })
  }
  const good = Object.entries(route.answers).map(([status, schema]) => [
    status,
    { description: STATUS_WORDS[Number(status)], ...(schema === null ? {} : json(refer(schema))) },
  ])
  const bodyType = route.body === MERGE_PATCH ? 'application/merge-patch+json' : 'application/json'
  return {
    operationId: operationId(route),
    summary: route.summary,
    ...(parameters.length === 0 ? {} : { parameters }),
    ...(route.body === undefined ? {} : { requestBody: { required: true, ...json(refer(route.body), bodyType) } }),
    responses: {
      ...Object.fromEntries(good),
      default: { description: 'A refusal', ...json(refer(PROBLEM), 'application/problem+json') },
    },
    security: [{ bearer: [] }],
    ...(route.permission === 'token' ? {} : { 'x-right': route.permission }),
  }
}

/** `get_v1_upstreams_upstream` and the like: stable, and unique because method and path are. */
function operationId({ method, path }: Route): string {
  const words = path.split(/[^A-Za-z0-9]+/).filter((word) => word !== '')
  return [method.toLowerCase(), ...(words.length === 0 ? ['index'] : words)].join('_')
}

/** Entities with a version are removed by it; tokens have none. */
function isVersionedDelete({ method, path }: Route): boolean {
  return method === 'DELETE' && !path.startsWith('/v1/tokens')
}

export function openApi(routes: readonly Route[], { version, publicUrl }: OpenApiOptions): Json {
  const paths: Record<string, Record<string, Json>> = {}
  for (const route of routes) {
    paths[route.path] ??= {}
    paths[route.path]![route.method.toLowerCase()] = operation(route)
  }
  return {
    openapi: '3.1.0',
    info: {
      title: 'mcp-gateway',
      version,
      description:
        'Every path under /v1 is also served without it, and /v1/gateways is another name of /v1/upstreams. Errors are problem+json (RFC 9457) with a code of the catalogue.',
      license: { name: 'Apache-2.0', identifier: 'Apache-2.0' },
    },
    servers: [{ url: publicUrl }],
    paths,
    components: {
      schemas: Object.fromEntries([...NAMED].map(([schema, name]) => [name, refer(schema, true)])),
      securitySchemes: { bearer: { type: 'http', scheme: 'bearer', description: 'A token mgw_…, or a JWT.' } },
    },
  }
}
