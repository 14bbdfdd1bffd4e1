// The adapters of the store port that the contract suite runs against. A further one is one more entry in ADAPTERS.

import assert from 'node:assert/strict'
import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import type { Sealing } from '../../src/adapters/store-seal.ts'
import { createSqliteStore } from '../../src/adapters/store-sqlite.ts'
import type { StoreLimits } from '../../src/adapters/store-sqlite-connection.ts'
import { SILENT } from '../../src/ports/log.ts'
import type { Store } from '../../src/ports/store.ts'

export interface OpenOptions {
  readonly clock?: { now(): number }
  readonly limits?: Partial<StoreLimits>
}

/** One place where stores of an adapter can be opened one after the other: a directory, a schema … */
export interface Place {
  /** Opens the place again in another process, given its adapter's name. */
  readonly address: string
  open(options?: OpenOptions): Promise<Store>
  /** The product's own check of what lies on the disk. */
  checkIntegrity(): void
  remove(): void
}

export interface Adapter {
  readonly name: string
  newPlace(): Place
  placeAt(address: string): Place
}

/** AES-256-GCM with a fixed key, as a stand-in for mcp/seal.ts. */
export function createTestSealing(key: Buffer = Buffer.alloc(32, 7)): Sealing {
  return {
    encrypt(plain) {
      const nonce = randomBytes(12)
      const cipher = createCipheriv('aes-256-gcm', key, nonce)
      return Buffer.concat([nonce, cipher.update(plain), cipher.final(), cipher.getAuthTag()]).toString('base64url')
    },
    decrypt(text) {
      const bytes = Buffer.from(text, 'base64url')
      const decipher = createDecipheriv('aes-256-gcm', key, bytes.subarray(0, 12))
      decipher.setAuthTag(bytes.subarray(-16))
      try {
        return Buffer.concat([decipher.update(bytes.subarray(12, -16)), decipher.final()])
      } catch {
        return null
      }
    },
  }
}

const sqlite: Adapter = {
  name: 'sqlite',
  newPlace: () => sqlite.placeAt(mkdtempSync(join(tmpdir(), 'mcp-gateway-store-'))),
  placeAt(directory) {
    const path = join(directory, 'gateway.db')
    return {
      address: directory,
      open: ({ clock = Date, limits } = {}) =>
        createSqliteStore({ path, clock, limits, log: SILENT, sealing: createTestSealing() }),
      checkIntegrity() {
        const database = new DatabaseSync(path, { readOnly: true })
        try {
          assert.deepEqual(
            database
              .prepare('PRAGMA integrity_check')
              .all()
              .map((row) => ({ ...row })),
            [{ integrity_check: 'ok' }],
          )
          assert.deepEqual(database.prepare('PRAGMA foreign_key_check').all(), [])
        } finally {
          database.close()
        }
      },
      remove: () => rmSync(directory, { recursive: true, force: true }),
    }
  },
}

export const ADAPTERS: readonly Adapter[] = [sqlite]
