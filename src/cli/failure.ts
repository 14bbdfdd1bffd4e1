// How a command fails: an exit code, and at most three lines for the person. Documented in docs/cli.md.

import { CATALOGUE, type ErrorCode } from '../core/errors.ts'

export const EXIT = { ok: 0, failure: 1, usage: 2, notReachable: 3, refused: 4 } as const
export type Exit = (typeof EXIT)[keyof typeof EXIT]

export class Failure extends Error {
  readonly exit: Exit
  /** A code of the catalogue, or one of the CLI's own: USAGE, NOT_REACHABLE, NOT_A_GATEWAY, TOOL_FAILED. */
  readonly code: string
  readonly hint: string | null

  constructor(exit: Exit, code: string, message: string, hint: string | null = null) {
    super(message)
    this.exit = exit
    this.code = code
    this.hint = hint
  }
}

export function usage(message: string, hint: string | null = null): Failure {
  return new Failure(EXIT.usage, 'USAGE', message, hint)
}

/** The hint of the catalogue for a code, or null for a code that it does not hold. */
export function hintOf(code: string): string | null {
  return Object.hasOwn(CATALOGUE, code) ? CATALOGUE[code as ErrorCode].hint : null
}
