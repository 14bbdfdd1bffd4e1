// Calls that become tasks. Where both sides have tasks of the same form, a task passes through with our id in place of the
// upstream's. Where one side lacks them, the gateway waits for the task itself and answers with its result, as if the call
// had just been slow. Absent on purpose: turning one form of task into the other, and tasks/list over links that several
// callers share, which would tell one what another does.

import { declaredCapabilities, mayAsk } from '../core/asks.ts'
import type { Call, Question, QuestionMethod, Reply } from '../core/call.ts'
import { Cancel } from '../core/cancel.ts'
import { GatewayError } from '../core/errors.ts'
import type { UpstreamView } from '../core/model.ts'
import { isRecord } from '../mcp/classify.ts'
import {
  changeAt,
  declaresTasks,
  memberOf,
  openTaskId,
  RELATED_TASK,
  readTask,
  sealTaskId,
  type TaskName,
  wantsTask,
  withMember,
  withTasks,
} from '../mcp/tasks.ts'
import type { ToolTarget } from '../registry/snapshot.ts'
import type { Outgoing } from '../upstream/upstream.ts'
import type { Gateway } from './gateway.ts'
import { scopeOf } from './route.ts'
import { sendFor } from './told.ts'

export type Send = (out: Outgoing, call: Call) => Promise<Reply>

const quote = (text: string): Buffer => Buffer.from(JSON.stringify(text))
const isTerminal = (status: unknown): boolean => status === 'completed' || status === 'failed' || status === 'cancelled'
const bytesOf = (result: Buffer | readonly Buffer[]): Buffer =>
  Array.isArray(result) ? Buffer.concat(result as Buffer[]) : (result as Buffer)

// --- tools/call ---------------------------------------------------------------------------------------------------------

/**
 * Sends a call of a tool that may become a task; the reply is in the upstream's era, and never a task to a client that
 * knows none. Errors: as Upstreams.send; METHOD_NOT_FOUND for a task of a tool that has none.
 */
export function callAsTask(
  call: Call,
  gateway: Gateway,
  target: ToolTarget,
  out: Outgoing,
  send: Send,
): Promise<Reply> {
  const isAugmented = call.era === 'legacy' && call.params.raw('task') !== null
  if (target.tasks === 'extension') {
    if (isAugmented) throw new GatewayError('METHOD_NOT_FOUND', `${target.exposed} cannot be called as a task`)
    if (call.era === 'modern' && declaresTasks(call.client.capabilities))
      return passTask(call, gateway, target, ['taskId'], send(out, call))
    return awaitExtension(call, target, out, send)
  }
  if (isAugmented) return passTask(call, gateway, target, ['task', 'taskId'], send(out, call))
  // A client of 2025-11-25 was told that this tool has to be called as a task; older and newer ones know no such thing.
  if (target.tasks === 'required' && call.revision !== '2025-11-25') return awaitTask(call, target, out, send)
  return send(out, call)
}

/** Our id in place of the upstream's, where the result is a task. */
async function passTask(
  call: Call,
  gateway: Gateway,
  { upstream }: ToolTarget,
  path: readonly string[],
  sent: Promise<Reply>,
): Promise<Reply> {
  const reply = await sent
  if ('error' in reply) return reply
  const result = bytesOf(reply.result)
  if (!result.includes('"taskId"')) return reply
  const task = readTask(result)
  return task === null ? reply : { result: ownId(call, gateway, upstream, result, path) }
}

function ownId(call: Call, gateway: Gateway, upstream: UpstreamView, bytes: Buffer, path: readonly string[]): Buffer {
  return changeAt(bytes, path, (raw) => {
    const taskId: unknown = JSON.parse(raw.toString('utf8'))
    if (typeof taskId !== 'string') throw new GatewayError('UPSTREAM_INVALID', 'The id of a task is not a string')
    return quote(sealTaskId(gateway.sealer, call.caller.id, { upstreamId: upstream.id, taskId }))
  })
}

/** 2025-11-25: the tool runs only as a task; tasks/result waits for its end, and may ask questions meanwhile. */
async function awaitTask(call: Call, target: ToolTarget, out: Outgoing, send: Send): Promise<Reply> {
  const first = await send({ ...out, params: withMember(out.params, 'task', '{}') }, call)
  const task = 'error' in first ? null : readTask(bytesOf(first.result))
  if (task === null) return first
  const params = Buffer.from(JSON.stringify({ taskId: task.taskId }))
  const { upstream } = target
  try {
    // It blocks until the task is over: as long as any call may take, not as long as this one without a sign of life.
    const reply = await send({ ...about(upstream, 'tasks/result', params), callMs: upstream.callMsMax }, call)
    return 'error' in reply ? reply : { result: changeAt(bytesOf(reply.result), ['_meta'], unrelated) }
  } catch (error) {
    abandon(send, call, about(upstream, 'tasks/cancel', params))
    throw error
  }
}

/** `_meta` without the task of which the client knows nothing. */
function unrelated(meta: Buffer): Buffer {
  const parsed: unknown = JSON.parse(meta.toString('utf8'))
  if (!isRecord(parsed)) return meta
  const { [RELATED_TASK]: _, ...rest } = parsed
  return Buffer.from(JSON.stringify(rest))
}

/** 2026-07-28: the server is asked plainly first; if it serves the call only as a task, the task is followed here. */
async function awaitExtension(call: Call, target: ToolTarget, out: Outgoing, send: Send): Promise<Reply> {
  const first = await send(out, call)
  if (!('error' in first) || !wantsTask(first.error)) return first
  const capabilities =
    call.era === 'modern'
      ? call.client.capabilities
      : Buffer.from(JSON.stringify(declaredCapabilities('2026-07-28', call.ask === null ? 0 : call.client.asks)))
  const client = { ...call.client, capabilities: withTasks(capabilities) }
  const declaring = copyOf(call, { era: 'modern', client })
  const second = await send(out, declaring)
  const task = 'error' in second ? null : readTask(bytesOf(second.result))
  if (task === null) return second
  const taskId = task.taskId as string
  const params = (more: object = {}): Buffer => Buffer.from(JSON.stringify({ taskId, ...more }))
  try {
    return await follow(call, declaring, target, task, params, send)
  } catch (error) {
    abandon(send, declaring, { ...about(target.upstream, 'tasks/cancel', params()), name: taskId })
    throw error
  }
}

const POLL_MS = 1_000
const POLL_MS_MIN = 100
const POLL_MS_MAX = 30_000

async function follow(
  call: Call,
  declaring: Call,
  { upstream }: ToolTarget,
  created: Record<string, unknown>,
  params: (more?: object) => Buffer,
  send: Send,
): Promise<Reply> {
  const name = created.taskId as string
  const untilMs = performance.now() + upstream.callMsMax
  const asked = new Set<string>()
  let task = created
  for (;;) {
    const left = untilMs - performance.now()
    if (left <= 0) throw new GatewayError('TIMEOUT', `The task was not done within ${upstream.callMsMax} ms`)
    const wanted = typeof task.pollIntervalMs === 'number' ? task.pollIntervalMs : POLL_MS
    await pause(Math.min(left, POLL_MS_MAX, Math.max(POLL_MS_MIN, wanted)), call.cancel)
    const reply = await send({ ...about(upstream, 'tasks/get', params()), name }, declaring)
    if ('error' in reply) return reply
    const result = bytesOf(reply.result)
    task = parsedTask(result)
    if (task.status === 'completed') return { result: memberOf(result, 'result') ?? Buffer.from('{"content":[]}') }
    if (task.status === 'failed') return { error: failureOf(result) }
    if (isTerminal(task.status)) throw new GatewayError('UPSTREAM_REFUSED', 'The task was cancelled by its server')
    if (task.status !== 'input_required' || !isRecord(task.inputRequests)) continue
    const open = Object.entries(task.inputRequests).filter(([key]) => !asked.has(key))
    if (open.length === 0) continue
    const inputResponses: Record<string, unknown> = {}
    await Promise.all(
      open.map(async ([key, request]) => {
        asked.add(key)
        inputResponses[key] = await answerFor(call, request)
      }),
    )
    const update = await send({ ...about(upstream, 'tasks/update', params({ inputResponses })), name }, declaring)
    if ('error' in update) return update
  }
}

function parsedTask(result: Buffer): Record<string, unknown> {
  const parsed: unknown = JSON.parse(result.toString('utf8'))
  if (isRecord(parsed) && typeof parsed.status === 'string') return parsed
  throw new GatewayError('UPSTREAM_INVALID', 'The state of a task has no status')
}

function failureOf(result: Buffer): Buffer {
  const error = memberOf(result, 'error')
  const parsed: unknown = error === null ? null : JSON.parse(error.toString('utf8'))
  const isError = isRecord(parsed) && Number.isInteger(parsed.code) && typeof parsed.message === 'string'
  return isError ? error! : Buffer.from('{"code":-32603,"message":"The task failed"}')
}

/** What the client says to a question of a task. */
async function answerFor(call: Call, request: unknown): Promise<unknown> {
  const method = isRecord(request) ? request.method : undefined
  const params = isRecord(request) && isRecord(request.params) ? request.params : {}
  if (typeof method !== 'string' || call.ask === null || !mayAsk(call.client.asks, method, params))
    throw new GatewayError('UNSUPPORTED_BY_UPSTREAM', 'The task asks the client something that it cannot be asked')
  const question: Question = { method: method as QuestionMethod, params: Buffer.from(JSON.stringify(params)) }
  const reply = await call.ask(question, new Cancel())
  if ('error' in reply) throw new GatewayError('UPSTREAM_REFUSED', "The client did not answer the task's question")
  return JSON.parse(bytesOf(reply.result).toString('utf8'))
}

function pause(ms: number, cancel: Cancel): Promise<void> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => {
      forget()
      resolve()
    }, ms)
    const forget = cancel.onCancel(() => {
      clearTimeout(timer)
      reject(new GatewayError('CANCELLED'))
    })
  })
}

/** Nobody waits for the task any more; whether its server stops it is its own affair. */
function abandon(send: Send, call: Call, out: Outgoing): void {
  send(out, copyOf(call, { cancel: new Cancel(), notify: null, ask: null })).catch(() => {})
}

function about(upstream: UpstreamView, method: string, params: Buffer): Outgoing {
  return { upstream, method, params, name: null, paramHeaders: [], callMs: upstream.callMs }
}

/** A call as it is now, with some of it changed; one that came from a client has getters, which a spread would lose. */
function copyOf(call: Call, over: Partial<Call>): Call {
  const { requestId, era, revision, method, scope, caller, session, client, params, progressToken } = call
  const { logLevel, trace, hops, paramHeaders, cancel, notify, ask } = call
  return {
    ...{ requestId, era, revision, method, scope, caller, session, client, params, progressToken },
    ...{ logLevel, trace, hops, paramHeaders, cancel, notify, ask },
    ...over,
  }
}

// --- tasks/* ------------------------------------------------------------------------------------------------------------

/** Answers tasks/get, tasks/cancel, tasks/result (older) and tasks/update (2026-07-28) of a task that passed through. */
export async function task(call: Call, gateway: Gateway): Promise<Reply> {
  gateway.authorize(call)
  const { upstream, taskId } = ownedTask(call, gateway)
  const isModern = call.era === 'modern'
  const params = changeAt(withoutMeta(call), ['taskId'], () => quote(taskId))
  const out: Outgoing = {
    ...{ upstream, method: call.method, params, name: isModern ? taskId : null, paramHeaders: [] },
    // tasks/result blocks until the task is over.
    callMs: call.method === 'tasks/result' ? upstream.callMsMax : upstream.callMs,
  }
  const reply = await sendFor(gateway.upstreams, out, call)
  if ('error' in reply) return reply
  const path = call.method === 'tasks/result' ? ['_meta', RELATED_TASK, 'taskId'] : ['taskId']
  return { result: ownId(call, gateway, upstream, bytesOf(reply.result), path) }
}

function withoutMeta(call: Call): Buffer {
  const members = call.params.members.filter(({ key }) => key !== '_meta')
  const texts = members.map(
    ({ key, start, end }) => `${JSON.stringify(key)}:${call.params.bytes.toString('utf8', start, end)}`,
  )
  return Buffer.from(`{${texts.join(',')}}`)
}

/** Errors: INVALID_PARAMS for a task that is not this caller's, or not to be seen from here. */
function ownedTask(call: Call, gateway: Gateway): { upstream: UpstreamView; taskId: string } {
  const name: TaskName | null = openTaskId(gateway.sealer, call.caller.id, call.params.value('taskId'))
  const scope = scopeOf(gateway.registry.current(), call)
  const upstream = name === null ? undefined : scope.upstreams.find(({ id }) => id === name.upstreamId)
  if (name === null || upstream === undefined || upstream.discovery?.era !== call.era)
    throw new GatewayError('INVALID_PARAMS', 'There is no such task')
  return { upstream, taskId: name.taskId }
}

const LIST_PURPOSE = 'task-cursor'

/** tasks/list of the older form: one upstream after the other, only those whose links belong to one caller. */
export async function listTasks(call: Call, gateway: Gateway): Promise<Reply> {
  gateway.authorize(call)
  const scope = scopeOf(gateway.registry.current(), call)
  const listing = scope.upstreams.filter(listsTasks)
  const [from, inner] = readCursor(call, gateway)
  const at = from === null ? 0 : listing.findIndex(({ id }) => id === from)
  const upstream = listing[at]
  if (upstream === undefined) return { result: Buffer.from('{"tasks":[]}') }
  const params = Buffer.from(inner === null ? '{}' : JSON.stringify({ cursor: inner }))
  const reply = await sendFor(gateway.upstreams, about(upstream, 'tasks/list', params), call)
  if ('error' in reply) return reply
  const parsed: unknown = JSON.parse(bytesOf(reply.result).toString('utf8'))
  const given = isRecord(parsed) && Array.isArray(parsed.tasks) ? parsed.tasks : []
  const tasks = given.filter(isRecord).map((one) => {
    const name = { upstreamId: upstream.id, taskId: String(one.taskId) }
    return { ...one, taskId: sealTaskId(gateway.sealer, call.caller.id, name) }
  })
  const next = isRecord(parsed) && typeof parsed.nextCursor === 'string' ? parsed.nextCursor : null
  const behind = next === null ? listing[at + 1]?.id : upstream.id
  const cursor = behind === undefined ? {} : { nextCursor: sealCursor(call, gateway, behind, next) }
  return { result: Buffer.from(JSON.stringify({ tasks, ...cursor })) }
}

function sealCursor(call: Call, { sealer }: Gateway, upstreamId: string, inner: string | null): string {
  return sealer.seal(LIST_PURPOSE, Buffer.from(JSON.stringify([call.caller.id, upstreamId, inner])))
}

function readCursor(call: Call, { sealer }: Gateway): readonly [upstreamId: string | null, inner: string | null] {
  const cursor = call.params.value('cursor')
  if (cursor === undefined || cursor === null) return [null, null]
  const plain = typeof cursor === 'string' ? sealer.open(LIST_PURPOSE, cursor) : null
  const [owner, upstreamId, inner] =
    plain === null ? [null, null, null] : (JSON.parse(plain.toString('utf8')) as [string, string, string | null])
  if (owner !== call.caller.id) throw new GatewayError('INVALID_PARAMS', 'params.cursor is not one of ours')
  return [upstreamId, inner]
}

/** Whether tasks of this upstream may be listed: on a shared link the list would be everybody's. */
export function listsTasks({ discovery, isolation }: UpstreamView): boolean {
  if (discovery?.era !== 'legacy' || isolation === 'shared') return false
  const { tasks } = discovery.capabilities
  return isRecord(tasks) && isRecord(tasks.list)
}
