// Which route a path means: paths under /v1 are also served without it, and `gateways` is another word for `upstreams`.

import type { Route } from './route.ts'

export interface Matched {
  /** By method. */
  readonly routes: ReadonlyMap<string, Route>
  readonly parameters: Readonly<Record<string, string>>
  readonly versioned: boolean
}

interface Pattern {
  readonly segments: readonly string[]
  readonly routes: Map<string, Route>
  readonly versioned: boolean
}

const VERSION = 'v1'
const ALIASES: readonly (readonly [alias: string, noun: string])[] = [['gateways', 'upstreams']]

/** A function from a path (percent-encoded, as sent) to what is there; null for nothing. */
export function createRouter(table: readonly Route[]): (path: string) => Matched | null {
  const patterns = new Map<string, Pattern>()
  const add = (segments: readonly string[], route: Route): void => {
    const key = segments.join('/')
    const pattern = patterns.get(key) ?? { segments, routes: new Map(), versioned: segments[0] === VERSION }
    pattern.routes.set(route.method, route)
    patterns.set(key, pattern)
  }
  for (const route of table) {
    const segments = route.path.slice(1).split('/')
    if (segments[0] !== VERSION) {
      add(segments, route)
      continue
    }
    const [, noun, ...rest] = segments
    for (const name of [noun!, ...ALIASES.filter(([, known]) => known === noun).map(([alias]) => alias)]) {
      add([VERSION, name, ...rest], route)
      add([name, ...rest], route)
    }
  }

  return (path) => {
    const given = path.slice(1).split('/')
    for (const { segments, routes, versioned } of patterns.values()) {
      const parameters = match(segments, given)
      if (parameters !== null) return { routes, parameters, versioned }
    }
    return null
  }
}

function match(segments: readonly string[], given: readonly string[]): Record<string, string> | null {
  if (segments.length !== given.length) return null
  const parameters: Record<string, string> = {}
  for (const [at, segment] of segments.entries()) {
    const text = given[at]!
    if (!segment.startsWith('{')) {
      if (segment !== text) return null
      continue
    }
    const value = decode(text)
    if (value === null || value === '') return null
    parameters[segment.slice(1, -1)] = value
  }
  return parameters
}

function decode(text: string): string | null {
  try {
    return decodeURIComponent(text)
  } catch {
    return null
  }
}
