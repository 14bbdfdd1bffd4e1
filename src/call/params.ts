// `params` as the upstream gets them: its own names, without `_meta` (the link writes that), everything else the very
// bytes that the client sent, so that no number loses digits on the way.

import type { Member, Params } from '../core/call.ts'
import { GatewayError } from '../core/errors.ts'
import type { UpstreamView } from '../core/model.ts'
import { isRecord } from '../mcp/classify.ts'
import { scanMembers } from '../mcp/json.ts'
import type { Scope } from '../registry/snapshot.ts'
import { promptOf, resourceOf } from './route.ts'

const CLOSE = Buffer.from('}')
const EMPTY = Buffer.from('{}')
const ARGUMENTS = Buffer.from(',"arguments":')
const DEPTH = 64

/** `head` is `{"name":"…"` of the target; the other members follow as they came, arguments with the fixed ones added. */
export function namedParams(params: Params, head: Buffer, fixed: Readonly<Record<string, unknown>> | null): Buffer {
  const parts: Buffer[] = [head]
  let hasArguments = false
  for (const member of params.members) {
    if (member.key === 'name' || member.key === '_meta') continue
    const raw = params.bytes.subarray(member.start, member.end)
    if (member.key === 'arguments') {
      hasArguments = true
      parts.push(ARGUMENTS, fixed === null ? raw : withFixed(raw, fixed))
    } else parts.push(Buffer.from(`,${JSON.stringify(member.key)}:`), raw)
  }
  if (!hasArguments && fixed !== null) parts.push(ARGUMENTS, withFixed(EMPTY, fixed))
  parts.push(CLOSE)
  return Buffer.concat(parts)
}

/** The arguments with those that the gateway sets itself; what a caller sends under such a name is dropped. */
export function withFixed(raw: Buffer, fixed: Readonly<Record<string, unknown>>): Buffer {
  const own = scanMembers(raw, 0, raw.length, DEPTH).filter((member) => !Object.hasOwn(fixed, member.key))
  const texts = [
    ...own.map((member) => `${JSON.stringify(member.key)}:${raw.toString('utf8', member.start, member.end)}`),
    ...Object.entries(fixed).map(([key, value]) => `${JSON.stringify(key)}:${JSON.stringify(value)}`),
  ]
  return Buffer.from(`{${texts.join(',')}}`)
}

/** All members but `_meta`. */
export function plainParams(params: Params, changed: ReadonlyMap<string, Buffer> = new Map()): Buffer {
  const put = (member: Member): string => {
    const value = changed.get(member.key)?.toString('utf8') ?? params.bytes.toString('utf8', member.start, member.end)
    return `${JSON.stringify(member.key)}:${value}`
  }
  return Buffer.from(
    `{${params.members
      .filter(({ key }) => key !== '_meta')
      .map(put)
      .join(',')}}`,
  )
}

/** Where a completion goes, and its params with the upstream's own name in `ref`. */
export function completionParams(
  scope: Scope,
  params: Params,
  ref: unknown,
): { upstream: UpstreamView; params: Buffer } | null {
  if (!isRecord(ref)) throw new GatewayError('INVALID_PARAMS', 'params.ref must be an object')
  if (!isRecord(params.value('argument'))) throw new GatewayError('INVALID_PARAMS', 'params.argument must be an object')
  const renamed = (value: Record<string, unknown>): Buffer =>
    plainParams(params, new Map([['ref', Buffer.from(JSON.stringify(value))]]))
  if (ref.type === 'ref/prompt' && typeof ref.name === 'string') {
    const prompt = promptOf(scope, ref.name)
    return prompt === null ? null : { upstream: prompt.upstream, params: renamed({ ...ref, name: prompt.name }) }
  }
  if (ref.type === 'ref/resource' && typeof ref.uri === 'string') {
    const uri = ref.uri
    const target = scope.templates.find(({ template }) => template === uri) ?? resourceOf(scope, uri)
    return target === null ? null : { upstream: target.upstream, params: renamed(ref) }
  }
  throw new GatewayError('INVALID_PARAMS', 'params.ref must be a ref/prompt with a name or a ref/resource with a uri')
}
