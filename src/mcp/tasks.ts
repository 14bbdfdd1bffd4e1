// Tasks on the wire, both forms: the experimental one of 2025-11-25 (`task` in params, tasks/result) and the extension of
// 2026-07-28 (`resultType: "task"`, results inlined in tasks/get). A task's id goes out sealed with its upstream and its
// caller, so that any worker can follow it and nobody else can. Absent on purpose: tasks that clients run for servers.

import { isRecord } from './classify.ts'
import { find, scanMembers } from './json.ts'
import type { Sealer } from './seal.ts'

export const TASKS_EXTENSION = 'io.modelcontextprotocol/tasks'
export const RELATED_TASK = 'io.modelcontextprotocol/related-task'
const MISSING_CAPABILITY = -32021
const DEPTH = 512

export interface TaskName {
  readonly upstreamId: string
  /** As the upstream knows it. */
  readonly taskId: string
}

const PURPOSE = 'task'
/** Longer ones of an upstream are refused: ours stand in a header. */
export const TASK_ID_CHARS = 1_024

export function sealTaskId(sealer: Sealer, callerId: string, { upstreamId, taskId }: TaskName): string {
  return sealer.seal(PURPOSE, Buffer.from(JSON.stringify([callerId, upstreamId, taskId])))
}

/** Null for what is not an id of ours, or of another caller. */
export function openTaskId(sealer: Sealer, callerId: string, text: unknown): TaskName | null {
  if (typeof text !== 'string' || text.length > 2 * TASK_ID_CHARS) return null
  const plain = sealer.open(PURPOSE, text)
  if (plain === null) return null
  const [owner, upstreamId, taskId] = JSON.parse(plain.toString('utf8')) as [string, string, string]
  return owner === callerId ? { upstreamId, taskId } : null
}

/** JSON object text with the value at `path` replaced by what `change` makes of its text; as it was where there is none. */
export function changeAt(bytes: Buffer, path: readonly string[], change: (raw: Buffer) => Buffer): Buffer {
  const [key, ...rest] = path
  if (key === undefined) return change(bytes)
  if (bytes[0] !== 0x7b) return bytes
  const member = find(scanMembers(bytes, 0, bytes.length, DEPTH), key)
  if (member === null) return bytes
  const inner = changeAt(bytes.subarray(member.start, member.end), rest, change)
  return Buffer.concat([bytes.subarray(0, member.start), inner, bytes.subarray(member.end)])
}

/** JSON object text with a member more at its head. */
export function withMember(bytes: Buffer, key: string, raw: string): Buffer {
  const isEmpty = scanMembers(bytes, 0, bytes.length, DEPTH).length === 0
  return Buffer.concat([Buffer.from(`{${JSON.stringify(key)}:${raw}${isEmpty ? '' : ','}`), bytes.subarray(1)])
}

/** Raw text of a member, or null. */
export function memberOf(bytes: Buffer, key: string): Buffer | null {
  const member = find(scanMembers(bytes, 0, bytes.length, DEPTH), key)
  return member === null ? null : bytes.subarray(member.start, member.end)
}

/** The task in a result of either form, or null where it is none. */
export function readTask(result: Buffer): Record<string, unknown> | null {
  const parsed: unknown = JSON.parse(result.toString('utf8'))
  if (!isRecord(parsed)) return null
  const task = parsed.resultType === 'task' ? parsed : parsed.task
  return isRecord(task) && typeof task.taskId === 'string' && task.taskId.length <= TASK_ID_CHARS ? task : null
}

/** Whether an upstream's error says that it would only serve this call as a task. */
export function wantsTask(error: Buffer): boolean {
  const parsed: unknown = JSON.parse(error.toString('utf8'))
  if (!isRecord(parsed) || parsed.code !== MISSING_CAPABILITY || !isRecord(parsed.data)) return false
  const required = parsed.data.requiredCapabilities
  return isRecord(required) && isRecord(required.extensions) && TASKS_EXTENSION in required.extensions
}

/** Whether clientCapabilities of 2026-07-28 name the extension. `capabilities` is JSON text, or null. */
export function declaresTasks(capabilities: Buffer | null): boolean {
  // Nearly nobody does: a search is cheaper than to parse.
  if (capabilities === null || !capabilities.includes(TASKS_EXTENSION)) return false
  const parsed: unknown = JSON.parse(capabilities.toString('utf8'))
  return isRecord(parsed) && isRecord(parsed.extensions) && TASKS_EXTENSION in parsed.extensions
}

/** The same capabilities with the extension in them. */
export function withTasks(capabilities: Buffer | null): Buffer {
  const parsed: unknown = capabilities === null ? {} : JSON.parse(capabilities.toString('utf8'))
  const declared = isRecord(parsed) ? parsed : {}
  const extensions = isRecord(declared.extensions) ? declared.extensions : {}
  return Buffer.from(JSON.stringify({ ...declared, extensions: { ...extensions, [TASKS_EXTENSION]: {} } }))
}
