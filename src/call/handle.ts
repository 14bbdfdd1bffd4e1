// The straight line of a call, the file to read first. Everything before it is the edge (who is it, is it well-formed),
// everything behind `upstreams.send` is the upstream's link, deadline and era.

import { ASKS } from '../core/asks.ts'
import type { Call, Reply } from '../core/call.ts'
import { GatewayError } from '../core/errors.ts'
import type { Era, UpstreamView } from '../core/model.ts'
import { toLegacy, toModern, translateError, urlQuestions, wrapStructured } from '../mcp/bridge.ts'
import type { ListedTarget, Scope, Snapshot, ToolTarget } from '../registry/snapshot.ts'
import type { Outgoing } from '../upstream/upstream.ts'
import type { Gateway } from './gateway.ts'
import { checkParamHeaders, paramHeadersFor } from './param-headers.ts'
import { completionParams, namedParams, plainParams } from './params.ts'
import { mayPark } from './park.ts'
import { inRounds } from './rounds.ts'
import { notFound, promptOf, resourceOf, scopeOf, textParam, toolOf, type UnlistedResource } from './route.ts'
import { runAfter, runBefore } from './run-hooks.ts'
import { againState, sentAgain, withOwnState, withTheirState } from './state.ts'
import { callAsTask, type Send } from './tasks.ts'
import { sendFor } from './told.ts'
import { faultResult } from './validators.ts'

export async function callTool(call: Call, gateway: Gateway): Promise<Reply> {
  const name = textParam(call, 'name')
  const target = await routed(call, gateway, (scope) => toolOf(scope, name), 'tool', name)
  gateway.authorize(call)
  const given = call.params.raw('arguments')
  if (given !== null && given[0] !== 0x7b)
    throw new GatewayError('INVALID_PARAMS', 'params.arguments must be an object')
  if (target.paramHeaders.length > 0) checkParamHeaders(call, target)
  const out: Outgoing = {
    upstream: target.upstream,
    method: 'tools/call',
    params: namedParams(call.params, target.head, target.fixed),
    name: target.name,
    paramHeaders: paramHeadersFor(call, target),
    callMs: target.callMs,
  }
  if (target.validate === 'arguments' || target.validate === 'both') {
    const loading = gateway.validators.load()
    if (loading !== null) await loading
    const fault = gateway.validators.arguments(target, given, target.fixed)
    if (fault !== null) return { result: faultResult(call, fault) }
  }
  const reply = await sendWithHooks(call, gateway, target, out)
  if (target.validate !== 'results' && target.validate !== 'both') return reply
  return gateway.validators.checkResult(target, call, reply)
}

export async function getPrompt(call: Call, gateway: Gateway): Promise<Reply> {
  const name = textParam(call, 'name')
  const target = await routed(call, gateway, (scope) => promptOf(scope, name), 'prompt', name)
  gateway.authorize(call)
  const params = namedParams(call.params, target.head, null)
  return sendWithHooks(call, gateway, target, outgoing(target.upstream, call.method, params, target.name))
}

export async function readResource(call: Call, gateway: Gateway): Promise<Reply> {
  const uri = textParam(call, 'uri')
  const target = await routed(call, gateway, (scope) => resourceOf(scope, uri), 'resource', uri)
  gateway.authorize(call)
  return sendWithHooks(call, gateway, target, outgoing(target.upstream, call.method, plainParams(call.params), uri))
}

export async function complete(call: Call, gateway: Gateway): Promise<Reply> {
  const ref = call.params.value('ref')
  const { upstream, params } = await routed(
    call,
    gateway,
    (scope) => completionParams(scope, call.params, ref),
    'reference',
    JSON.stringify(ref) ?? '',
  )
  gateway.authorize(call)
  // A server that completes nothing is no fault of the client's: there just are no suggestions.
  if (upstream.discovery?.capabilities.completions === undefined) return nothingToComplete(call)
  return translated(
    call,
    upstream,
    await sendFor(gateway.upstreams, outgoing(upstream, call.method, params, null), call),
  )
}

function nothingToComplete(call: Call): Reply {
  const empty = { completion: { values: [], total: 0, hasMore: false } }
  return { result: Buffer.from(JSON.stringify(call.era === 'modern' ? { resultType: 'complete', ...empty } : empty)) }
}

function outgoing(upstream: UpstreamView, method: string, params: Buffer, name: string | null): Outgoing {
  return { upstream, method, params, name, paramHeaders: [], callMs: upstream.callMs }
}

/** The target of a name; an unknown name waits for upstreams that are being discovered for the first time. */
async function routed<T>(
  call: Call,
  gateway: Gateway,
  pick: (scope: Scope) => T | null,
  kind: string,
  name: string,
): Promise<T> {
  const snapshot: Snapshot = gateway.registry.current()
  const scope = scopeOf(snapshot, call)
  const target = pick(scope)
  if (target !== null) return target
  const settled = gateway.registry.settle(scope)
  if (settled === null) throw notFound(kind, name)
  await settled
  const late = pick(scopeOf(gateway.registry.current(), call))
  if (late === null) throw notFound(kind, name)
  return late
}

async function sendWithHooks(
  call: Call,
  gateway: Gateway,
  target: ListedTarget | UnlistedResource,
  out: Outgoing,
): Promise<Reply> {
  const { before, after } = gateway.hooks
  const isHooked = target.kind !== 'unlisted'
  const sent = before.length > 0 && isHooked ? await runBefore(before, call, target, out) : out
  const tool = target.kind === 'tool' ? target : null
  const reply =
    tool === null || tool.tasks === 'none'
      ? await exchange(call, gateway, tool, sent)
      : await bridged(call, gateway, tool, sent)
  return after.length > 0 && isHooked ? runAfter(after, call, target, reply) : reply
}

/** Same era: one request, and its answer as it is. */
async function exchange(call: Call, gateway: Gateway, tool: ToolTarget | null, out: Outgoing): Promise<Reply> {
  const { upstreams, sealer } = gateway
  if (eraOf(out.upstream) !== call.era) return bridged(call, gateway, tool, out)
  if (call.era === 'legacy') return translated(call, out.upstream, await sendFor(upstreams, out, call), tool)
  const reply = await sendFor(upstreams, withTheirState(call, sealer, out), call)
  return withOwnState(call, sealer, out.upstream.id, reply)
}

/** A call that may take more than one request: to a server of the other era, or of a tool that may become a task. */
async function bridged(call: Call, gateway: Gateway, tool: ToolTarget | null, out: Outgoing): Promise<Reply> {
  const { upstream } = out
  const { sealer, upstreams, parks } = gateway
  const send: Send = (one, by) => sendFor(upstreams, one, by)
  const whole: Send = (one, by) =>
    tool === null || tool.tasks === 'none' ? send(one, by) : callAsTask(by, gateway, tool, one, send)
  const once = async (by: Call, one = out): Promise<Reply> => {
    const reply = await whole(one, by)
    return urlsFirst(by, gateway, upstream, reply) ?? translated(by, upstream, reply, tool)
  }
  if (call.era === 'modern' && eraOf(upstream) === 'modern')
    return withOwnState(call, sealer, upstream.id, await whole(withTheirState(call, sealer, out), call))
  if (call.era === 'legacy')
    return call.ask === null ? once(call) : translated(call, upstream, await inRounds(call, out, whole), tool)
  const again = call.params.raw('requestState') === null ? out : sentAgain(call, sealer, out)
  if (again === null) return parks.resume(call)
  return mayPark(call, upstream) ? parks.run(call, (held) => once(held, again)) : once(call, again)
}

/** A page that an older server wants visited first is a question to a newer client; the call is then sent again. */
function urlsFirst(call: Call, { sealer }: Gateway, upstream: UpstreamView, reply: Reply): Reply | null {
  if (!('error' in reply) || call.era === 'legacy' || (call.client.asks & ASKS.elicitationUrl) === 0) return null
  const inputRequests = urlQuestions(reply.error)
  if (inputRequests === null) return null
  const requestState = againState(call, sealer, upstream.id)
  return { result: Buffer.from(JSON.stringify({ resultType: 'input_required', inputRequests, requestState })) }
}

const eraOf = ({ discovery }: UpstreamView): Era => discovery?.era ?? 'legacy'

/** The answer in the client's era. Same era: untouched bytes. */
function translated(call: Call, upstream: UpstreamView, reply: Reply, tool: ToolTarget | null = null): Reply {
  const from = eraOf(upstream)
  const wrap = tool?.wrapped === true && call.era === 'legacy'
  if (from === call.era && !wrap) return reply
  if ('error' in reply) return { error: translateError(reply.error, from, call.era) }
  const result = Array.isArray(reply.result) ? Buffer.concat(reply.result) : (reply.result as Buffer)
  if (call.era === 'modern') return { result: toModern(call.method, result) }
  const read = from === 'modern' ? toLegacy(result) : result
  return { result: wrap ? wrapStructured(read) : read }
}
