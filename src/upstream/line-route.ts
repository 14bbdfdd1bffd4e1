// To which channel a line of a child belongs. JSON-RPC ids and progress tokens on channel n are the strings "n.x", so the
// number before the dot tells. This is a hint, not a proof: whoever holds the channel proves the whole line before use,
// so a child that lies here only has its own answers dropped.

import type { Member } from '../core/call.ts'
import { find, JsonFault, scanItems, skipSpace, stringAt } from '../mcp/json.ts'
import { scanObject } from '../mcp/jsonrpc.ts'

/** A channel number, or 'broker' for what the upstream asks or nobody claims, or 'all' for news. */
export type Route = number | 'broker' | 'all'

const DEPTH_MAX = 512
const EDGE_BYTES = 96
/** We send no batches, so nobody has a reason to answer with a long one; a million empty objects would cost 1 GB. */
const BATCH_BYTES_MAX = 256 * 1024
const OWN = /^(\d{1,9})\../
/** The two orders in which the official SDKs write an answer; anything else is read in full. */
const HEAD = /^\{"jsonrpc":"2\.0","id":"(\d{1,9})\.[^"\\]*","(?:result|error)":/
const RESULT_FIRST = /^\{"(?:result|error)":\{/
const TAIL = /\},"jsonrpc":"2\.0","id":"(\d{1,9})\.[^"\\]*"\}$/

function quickRoute(line: Buffer): number | null {
  const head = line.toString('latin1', 0, EDGE_BYTES)
  const match = HEAD.exec(head)
  if (match !== null) return Number(match[1])
  if (!RESULT_FIRST.test(head)) return null
  const tail = TAIL.exec(line.toString('latin1', Math.max(0, line.length - EDGE_BYTES)))
  return tail === null ? null : Number(tail[1])
}

/** The channel that minted this id or token, or null. */
function owner(bytes: Buffer, member: Member | null): number | null {
  if (member === null || member.end - member.start > EDGE_BYTES) return null
  const match = OWN.exec(stringAt(bytes, member) ?? '')
  return match === null ? null : Number(match[1])
}

/** The channel whose request this is, by its id as raw JSON text, or null. */
export function channelOf(id: string): number | null {
  const match = /^"(\d{1,9})\../.exec(id)
  return match === null ? null : Number(match[1])
}

function inside(bytes: Buffer, member: Member | null): Member[] {
  return member !== null && bytes[member.start] === 0x7b ? scanObject(bytes, member.start, member.end) : []
}

function routeObject(bytes: Buffer): Route {
  const quick = quickRoute(bytes)
  if (quick !== null) return quick
  const members = scanObject(bytes)
  const id = find(members, 'id')
  if (find(members, 'method') === null) return owner(bytes, id) ?? 'broker'
  // The upstream's own request: its id is its own affair, even where it looks like one of ours.
  if (id !== null) return 'broker'
  const params = inside(bytes, find(members, 'params'))
  const meta = inside(bytes, find(params, '_meta'))
  const named =
    owner(bytes, find(params, 'progressToken')) ??
    owner(bytes, find(params, 'requestId')) ??
    owner(bytes, find(meta, 'io.modelcontextprotocol/subscriptionId'))
  if (named !== null) return named
  // A progress or cancellation without an owner is about nothing of ours.
  return find(params, 'progressToken') === null && find(params, 'requestId') === null ? 'all' : 'broker'
}

/**
 * The messages of a line with their routes: one, or those of a batch (2025-03-26 servers may send one).
 * Errors: JsonFault when the line is no JSON object or array of objects.
 */
export function routeLine(line: Buffer, handle: (route: Route, message: Buffer) => void): void {
  const first = skipSpace(line, 0, line.length)
  if (line[first] !== 0x5b) {
    handle(routeObject(line), line)
    return
  }
  if (line.length > BATCH_BYTES_MAX) throw new JsonFault('batch too long', BATCH_BYTES_MAX)
  for (const item of scanItems(line, 0, line.length, DEPTH_MAX)) {
    const message = line.subarray(item.start, item.end)
    handle(routeObject(message), message)
  }
}
