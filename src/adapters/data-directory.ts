// Files of the data directory beside the store: the secret key, the first token, and where the gateway listens now.
// All of them are readable by their owner only. Absent on purpose: the store (store-sqlite.ts) and the lock (data-lock.ts).

import { randomBytes } from 'node:crypto'
import {
  chmodSync,
  closeSync,
  fstatSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { GatewayError } from '../core/errors.ts'
import { isForeign } from './owner.ts'

export interface DataDirectory {
  readonly path: string
  readonly storePath: string
  /** For Unix sockets: mode 0700. */
  readonly runPath: string
  /** 32 bytes, made at the first start. */
  secretKey(): Buffer
  /** The first token's text, or null before it was made. */
  token(): string | null
  saveToken(text: string): void
  /** Tells commands of this machine where the gateway is. */
  announce(url: string): void
  withdraw(): void
}

function readText(path: string): string | null {
  let file: number | null = null
  try {
    file = openSync(path, 'r')
    if (isForeign(fstatSync(file).uid)) throw new Error('it belongs to another user')
    return readFileSync(file, 'utf8').trim()
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null
    throw unusable(path, error)
  } finally {
    if (file !== null) closeSync(file)
  }
}

/** By rename, so that nobody ever reads half of it; into a file of our own making, never through one that was laid out for us. */
function writeText(path: string, text: string): void {
  try {
    rmSync(`${path}.new`, { force: true })
    writeFileSync(`${path}.new`, `${text}\n`, { mode: 0o600, flag: 'wx' })
    renameSync(`${path}.new`, path)
  } catch (error) {
    throw unusable(path, error)
  }
}

function unusable(path: string, error: unknown): GatewayError {
  const why = error instanceof Error ? error.message : String(error)
  return new GatewayError('STORE_UNAVAILABLE', `The data directory cannot be used: ${path}: ${why}`, { cause: error })
}

/** Opens a directory that data-lock.ts has made. Errors: STORE_UNAVAILABLE. */
export function openDataDirectory(path: string, pid: number = process.pid): DataDirectory {
  const keyPath = join(path, 'secret.key')
  const tokenPath = join(path, 'token')
  const notePath = join(path, 'gateway.json')
  const runPath = join(path, 'run')
  try {
    mkdirSync(runPath, { recursive: true, mode: 0o700 })
    chmodSync(runPath, 0o700)
  } catch (error) {
    throw unusable(runPath, error)
  }
  return {
    path,
    storePath: join(path, 'gateway.db'),
    runPath,
    secretKey() {
      const known = readText(keyPath)
      if (known === null) {
        const made = randomBytes(32)
        writeText(keyPath, made.toString('hex'))
        return made
      }
      if (!/^[\da-f]{64}$/i.test(known)) {
        throw new GatewayError(
          'STORE_UNAVAILABLE',
          `${keyPath} must hold 64 hex digits: restore it from a backup; without it the store's secrets are lost`,
        )
      }
      return Buffer.from(known, 'hex')
    },
    token: () => readText(tokenPath),
    saveToken: (text) => writeText(tokenPath, text),
    announce: (url) => writeText(notePath, JSON.stringify({ pid, url })),
    withdraw() {
      const note = readText(notePath)
      if (note?.includes(`"pid":${pid},`)) rmSync(notePath, { force: true })
    },
  }
}
