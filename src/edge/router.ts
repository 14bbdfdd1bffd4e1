// What a path means to the edge. Everything that is not ours is the REST API's, unknown paths included.

export type Place = 'mcp' | 'rpc' | 'health' | 'ready' | 'rest'

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
  ['/health', at('health')],
  ['/ready', at('ready')],
])
const REST = at('rest')
const SERVERS = '/servers/'
/** Slugs and ids: neither needs an escape in a path. */
const NAME = /^[A-Za-z0-9-]{1,64}$/

/** What a 405 and an OPTIONS request are told; the REST API knows its own. */
export const METHODS: Readonly<Record<Exclude<Place, 'rest'>, readonly string[]>> = {
  mcp: ['POST', 'GET', 'DELETE', 'OPTIONS'],
  rpc: ['POST'],
  health: ['GET', 'HEAD'],
  ready: ['GET', 'HEAD'],
}

/** `path` as it was sent, without the query. `/servers/NAME/mcp` and `…/rpc` are a virtual server's endpoints. */
export function routeOf(path: string): Route {
  const fixed = FIXED.get(path)
  if (fixed !== undefined) return fixed
  if (!path.startsWith(SERVERS)) return REST
  const slash = path.indexOf('/', SERVERS.length)
  if (slash < 0) return REST
  const scope = path.slice(SERVERS.length, slash)
  const last = path.slice(slash)
  if (!NAME.test(scope)) return REST
  if (last === '/mcp' || last === '/mcp/') return { place: 'mcp', scope }
  return last === '/rpc' ? { place: 'rpc', scope } : REST
}

/** Whether calls are posted there, so that it is worth a faster way in. */
export function isEndpoint(path: string): boolean {
  const { place } = routeOf(path)
  return place === 'mcp' || place === 'rpc'
}
