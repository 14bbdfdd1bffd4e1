// The addresses of one HTTP upstream: the one with the least in flight is used, one that fails again and again rests
// (breaker.ts). Absent on purpose: weights, zones and checks of its own: the traffic checks.

import { GatewayError } from '../core/errors.ts'
import type { Limits } from '../core/limits.ts'
import type { HttpTransport, Secret } from '../core/model.ts'
import type { Clock } from '../core/time.ts'
import { checkUrl, createGuard } from '../http/guard.ts'
import type { CreateLink, Link } from '../http/link.ts'
import { Breaker } from './breaker.ts'
import type { HttpPeer } from './http-peer.ts'

export interface Target {
  /** As configured: sessions are pinned to it. */
  readonly url: string
  readonly path: string
  readonly link: Link
  readonly breaker: Breaker
  /** The peer without a session, kept by send.ts. */
  peer: HttpPeer | null
  /** Sessions that are pinned to it, kept by broker.ts. */
  sessions: number
}

const inFlight = (target: Target): number => target.link.inFlight

export interface PoolDeps {
  readonly createLink: CreateLink
  readonly resolveSecret: (secret: Secret) => string
  /** Networks that any upstream may reach. */
  readonly networks: readonly string[]
  /** PEM of CAs that every link trusts besides the system's, or null. */
  readonly ca: string | null
  readonly clock: Clock
  readonly random: () => number
  readonly limits: Limits
}

export class Pool {
  readonly targets: readonly Target[]
  /** What the configuration adds to every request, flat. */
  readonly headers: readonly string[]
  readonly #clock: Clock
  #turn = -1

  constructor(targets: readonly Target[], headers: readonly string[], clock: Clock) {
    this.targets = targets
    this.headers = headers
    this.#clock = clock
  }

  at(url: string): Target | null {
    return this.targets.find((target) => target.url === url) ?? null
  }

  /** The address to use now, or null when all rest or were tried. Its breaker must be told how it went. */
  pick(tried: ReadonlySet<Target> | null, load: (target: Target) => number = inFlight): Target | null {
    const nowMs = this.#clock.now()
    const { targets } = this
    let best: Target | null = null
    // Among equals they take turns: an idle upstream's calls and sessions are spread all the same.
    this.#turn = (this.#turn + 1) % targets.length
    for (let step = 0; step < targets.length; step += 1) {
      const target = targets[(this.#turn + step) % targets.length]!
      if (tried?.has(target) || !target.breaker.allows(nowMs)) continue
      if (best === null || load(target) < load(best)) best = target
    }
    best?.breaker.begin(nowMs)
    return best
  }

  /** All rest: says until when. */
  resting(name: string): GatewayError {
    const soonestMs = Math.min(...this.targets.map((target) => target.breaker.openUntilMs))
    const waitSeconds = Math.max(1, Math.ceil((soonestMs - this.#clock.now()) / 1000))
    return new GatewayError(
      'UPSTREAM_UNAVAILABLE',
      `${name}: it failed several times in a row; it is tried again in ${waitSeconds} s`,
      { retryAfterSeconds: waitSeconds },
    )
  }

  async close(graceMs: number): Promise<void> {
    await Promise.all(this.targets.map((target) => target.link.close(graceMs)))
  }
}

/** Errors: INVALID_INPUT, ADDRESS_REFUSED, CONFIG_INVALID (a header). */
export function createPool(
  transport: HttpTransport,
  options: { isPrivileged: boolean; connectMs: number },
  deps: PoolDeps,
): Pool {
  const { limits, random } = deps
  const headers = staticHeaders(transport.headers ?? {}, deps.resolveSecret)
  const guard = createGuard({ allowPrivate: options.isPrivileged, networks: deps.networks })
  const cas = [transport.ca, transport.caPinned ? null : deps.ca].filter((pem) => pem != null)
  const targets = transport.urls.slice(0, limits.upstreamUrlsMax).map((text): Target => {
    const url = checkUrl(text)
    const link = deps.createLink(url, {
      connectionsMax: limits.upstreamConnectionsMax,
      connectMs: options.connectMs,
      headerBytes: limits.upstreamHeaderBytes,
      ca: cas.length === 0 ? null : cas.join('\n'),
      caPinned: transport.caPinned === true && transport.ca !== undefined,
      guard,
    })
    const breaker = new Breaker({
      failuresMax: limits.breakerFailures,
      openMsBase: limits.breakerOpenMsBase,
      openMsMax: limits.breakerOpenMsMax,
      random,
    })
    return { url: text, path: `${url.pathname}${url.search}`, link, breaker, peer: null, sessions: 0 }
  })
  return new Pool(targets, headers, deps.clock)
}

const TOKEN = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/
const VISIBLE = /^[\x20-\x7e\x80-\xff]*$/
/** These are the gateway's own, or would change how the message is read. */
const RESERVED =
  /^(accept|accept-encoding|connection|content-.*|expect|host|keep-alive|last-event-id|mcp-.*|te|trailer|transfer-encoding|upgrade|x-mcp-gateway-hops)$/

function staticHeaders(headers: Readonly<Record<string, Secret>>, resolveSecret: PoolDeps['resolveSecret']): string[] {
  return Object.entries(headers).flatMap(([name, secret]) => {
    const refuse = (why: string): GatewayError =>
      new GatewayError('CONFIG_INVALID', `The header ${JSON.stringify(name)} of the upstream ${why}`)
    if (!TOKEN.test(name)) throw refuse('has an impossible name')
    if (RESERVED.test(name.toLowerCase())) throw refuse("is the gateway's own")
    // A secret from a file usually ends in a newline.
    const value = resolveSecret(secret).replace(/^[ \t]+|[ \t\r\n]+$/g, '')
    if (!VISIBLE.test(value)) throw refuse('has a value that no header can carry')
    return [name, value]
  })
}
