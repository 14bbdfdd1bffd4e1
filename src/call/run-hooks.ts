// The two points where plugins hang: before a call goes out and after its answer came. With empty arrays nothing is
// called and nothing is awaited (call/handle.ts tests the length first).

import type { Call, Reply } from '../core/call.ts'
import type { ListedTarget } from '../registry/snapshot.ts'
import type { Outgoing } from '../upstream/upstream.ts'

/** May return changed parameters, never another target; refuses by throwing a GatewayError. */
export type BeforeHook = (call: Call, target: ListedTarget, out: Outgoing) => Promise<Outgoing> | Outgoing
/** May return another reply; refuses by throwing a GatewayError. */
export type AfterHook = (call: Call, target: ListedTarget, reply: Reply) => Promise<Reply> | Reply

export interface Hooks {
  readonly before: readonly BeforeHook[]
  readonly after: readonly AfterHook[]
}

export async function runBefore(
  hooks: readonly BeforeHook[],
  call: Call,
  target: ListedTarget,
  out: Outgoing,
): Promise<Outgoing> {
  let current = out
  for (const hook of hooks) current = await hook(call, target, current)
  return current
}

export async function runAfter(
  hooks: readonly AfterHook[],
  call: Call,
  target: ListedTarget,
  reply: Reply,
): Promise<Reply> {
  let current = reply
  for (const hook of hooks) current = await hook(call, target, current)
  return current
}
