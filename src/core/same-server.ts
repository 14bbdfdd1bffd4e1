// Whether two transports name the same server, so that what was learnt of it still holds. Other headers, another
// environment or one URL more are the same server; another command, or no URL in common, is not.

import type { UpstreamSpec } from './model.ts'

type Transport = UpstreamSpec['transport']

export function isSameServer(before: Transport, after: Transport): boolean {
  if (before.kind !== 'stdio') return after.kind !== 'stdio' && after.urls.some((url) => before.urls.includes(url))
  if (after.kind !== 'stdio' || before.command !== after.command) return false
  return JSON.stringify(before.args ?? []) === JSON.stringify(after.args ?? [])
}
