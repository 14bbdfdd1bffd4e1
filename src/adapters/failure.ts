// Errors on their way between processes: those of the catalogue cross as they are, any other fault is logged where it
// happened and crosses as INTERNAL.

import { CATALOGUE, type ErrorCode, type ErrorOptions, GatewayError } from '../core/errors.ts'
import type { Log } from '../ports/log.ts'

export interface Failure {
  readonly code: ErrorCode
  readonly message: string
  readonly options: ErrorOptions
}

export function toFailure(error: unknown, event: string, what: string, log: Log): Failure {
  if (error instanceof GatewayError) {
    const { cause: _, ...options } = error.options
    return { code: error.code, message: error.message, options }
  }
  log.error(event, { method: what, error })
  return { code: 'INTERNAL', message: CATALOGUE.INTERNAL.title, options: {} }
}

export const fromFailure = ({ code, message, options }: Failure): GatewayError =>
  new GatewayError(code, message, options)
