// Is the process alive, and can it serve: for load balancers and probes, without a token and whatever Host they send.
// Absent on purpose: anything that a stranger should not learn, such as names of upstreams or versions.

import type { Exchange } from '../http/exchange.ts'

export interface Readiness {
  readonly ready: boolean
  /** What is still waited for, such as `store` or `registry`. */
  readonly missing: readonly string[]
}

const JSON_NOW = ['Content-Type', 'application/json', 'Cache-Control', 'no-store']

export function replyHealth(exchange: Exchange): void {
  exchange.reply(200, JSON_NOW, '{"status":"ok"}')
}

export function replyReady(exchange: Exchange, { ready, missing }: Readiness): void {
  exchange.reply(ready ? 200 : 503, JSON_NOW, JSON.stringify({ ready, missing }))
}
