// What a path means to the edge. Everything that is not ours is the REST API's, unknown paths included.

export type Place = 'mcp' | 'rpc' | 'sse' | 'messages' | 'ws' | 'health' | 'ready' | 'rest'

export interface Route {
  readonly place: Place
  /** Slug or id of a virtual server, '' for everything that the caller may see. */
  readonly scope: string
}

const at = (place: Place): Route => ({ place, scope: '' })

const FIXED = new Map([
  ['/mcp', at('mcp')],
  ['/mcp/', at('mcp')],
  ['/rpc', at('rpc')],
  ['/sse', at('sse')],
  ['/messages', at('messages')],
  ['/ws', at('ws')],
  ['/health', at('health')],
  ['/ready', at('ready')],
])
const REST = at('rest')
const SERVERS = '/servers/'
/** What may follow the name of a virtual server. */
const OF_SERVER = new Map<string, Place>([
  ['/mcp', 'mcp'],
  ['/mcp/', 'mcp'],
  ['/rpc', 'rpc'],
  ['/sse', 'sse'],
  ['/messages', 'messages'],
  ['/ws', 'ws'],
])
/** Slugs and ids: neither needs an escape in a path. */
const NAME = /^[A-Za-z0-9-]{1,64}$/

/** What a 405 and an OPTIONS request are told; the REST API knows its own. */
export const METHODS: Readonly<Record<Exclude<Place, 'rest'>, readonly string[]>> = {
  mcp: ['POST', 'GET', 'DELETE', 'OPTIONS'],
  rpc: ['POST'],
  sse: ['GET'],
  messages: ['POST'],
  ws: ['GET'],
  health: ['GET', 'HEAD'],
  ready: ['GET', 'HEAD'],
}

/** `path` as it was sent, without the query. `/servers/NAME/mcp` and its like are a virtual server's endpoints. */
export function routeOf(path: string): Route {
  const fixed = FIXED.get(path)
  if (fixed !== undefined) return fixed
  if (!path.startsWith(SERVERS)) return REST
  const slash = path.indexOf('/', SERVERS.length)
  if (slash < 0) return REST
  const scope = path.slice(SERVERS.length, slash)
  const place = OF_SERVER.get(path.slice(slash))
  return place === undefined || !NAME.test(scope) ? REST : { place, scope }
}

export const isSocketPath = (path: string): boolean => routeOf(path).place === 'ws'

/** Whether MCP or JSON-RPC is spoken there, refusals included. */
export const isEndpointPlace = (place: Place): boolean => place !== 'rest' && place !== 'health' && place !== 'ready'

/** Whether calls are posted there, so that it is worth a faster way in. */
export function isEndpoint(path: string): boolean {
  const { place } = routeOf(path)
  return place === 'mcp' || place === 'rpc'
}
