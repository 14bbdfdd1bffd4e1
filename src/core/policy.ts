// Who may do what: pure functions that listing and calling share, so that they cannot disagree.
// Three fixed rights for now; teams, roles and rules come to this file, not beside it.

import { GatewayError } from './errors.ts'

/** use: lists and calls. admin: changes the registry. operator: also commands, file paths and private addresses. */
export type Right = 'use' | 'admin' | 'operator'
export const RIGHTS: readonly Right[] = ['use', 'admin', 'operator']

export interface Caller {
  /** Stable hash of issuer and subject, 32 hex digits: the key of sessions and of upstream isolation. */
  readonly id: string
  readonly issuer: string
  readonly subject: string
  readonly name: string
  readonly rights: readonly Right[]
  readonly expiresMs: number | null
}

export type Verdict = 'hidden' | 'allowed'

export function hasRight(caller: Caller, right: Right): boolean {
  return caller.rights.includes(right)
}

/** Whether `caller` may see and use things of the registry. One function for lists and calls. */
export function verdict(caller: Caller): Verdict {
  return hasRight(caller, 'use') ? 'allowed' : 'hidden'
}

export function needRight(caller: Caller, right: Right): void {
  if (hasRight(caller, right)) return
  if (right === 'operator') throw new GatewayError('OPERATOR_ONLY')
  throw new GatewayError('FORBIDDEN', `This needs the right "${right}"; the token "${caller.name}" lacks it`)
}
