// What the primary tells a worker before it begins, by message and not by arguments, which others on the machine can read.

import { join } from 'node:path'
import type { Config } from './config/load.ts'

export interface StartMessage {
  readonly config: Config
  readonly publicUrl: string
  readonly port: number
  /** 64 hex digits. */
  readonly secretKey: string
  /** PEM of CAs to trust besides the system's, or null. */
  readonly ca: string | null
  readonly version: string
  /** Where the primary's Unix sockets are. */
  readonly runPath: string
}

/** What a worker asks before it serves, and what it is told. */
export interface WorkerAnswers {
  readonly start: StartMessage
  /** Sessions that have ended before their time: key and expiry. */
  readonly ended: readonly (readonly [key: string, expiresMs: number])[]
}

/** Where the primary serves the REST API to its workers. */
export function restSocketPath(runPath: string): string {
  return join(runPath, 'rest.sock')
}
