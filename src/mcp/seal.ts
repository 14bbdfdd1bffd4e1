// Sealed texts: session ids, cursors and whatever else we hand out and must recognise again without keeping it.
// AES-256-GCM with a random nonce; one key per purpose, derived once by HKDF (a key derivation per token is what makes
// another gateway's sessions cost milliseconds). Several keys may be open at once, the first one seals.

import { createCipheriv, createDecipheriv, createHmac, hkdfSync, randomFillSync, timingSafeEqual } from 'node:crypto'

export interface SealKey {
  /** 0–255, written in clear before each sealed text. */
  readonly id: number
  /** 32 bytes. */
  readonly key: Buffer
}

export interface Sealer {
  /** base64url of key id, nonce, cipher text and tag: 29 bytes more than `plain`, then by 4/3. */
  seal(purpose: string, plain: Buffer): string
  /** Null for anything that is not exactly what `seal` made with a key that is still known. */
  open(purpose: string, text: string): Buffer | null
  /** A 16-byte MAC for what may be read by others but not changed. */
  mac(purpose: string, plain: Buffer): Buffer
  checkMac(purpose: string, plain: Buffer, mac: Buffer): boolean
}

/** 32 hex digits that name an installation: the same for all that hold its key, and telling nothing of it. */
export function gatewayId(sealer: Sealer): string {
  return sealer.mac('gateway-id', Buffer.alloc(0)).toString('hex')
}

const NONCE = 12
const TAG = 16
/** Random bytes are drawn for many nonces at once: a call of the generator costs more than a seal. */
const pool = Buffer.alloc(NONCE * 128)
let poolAt = pool.length

function nonce(): Buffer {
  if (poolAt === pool.length) {
    randomFillSync(pool)
    poolAt = 0
  }
  poolAt += NONCE
  return Buffer.from(pool.subarray(poolAt - NONCE, poolAt))
}

export function createSealer(keys: readonly SealKey[]): Sealer {
  const derived = new Map<string, Buffer>()
  const keyFor = (purpose: string, key: SealKey): Buffer => {
    const name = `${key.id}:${purpose}`
    let known = derived.get(name)
    if (known === undefined) {
      known = Buffer.from(hkdfSync('sha256', key.key, '', `mcp-gateway/${purpose}`, 32))
      derived.set(name, known)
    }
    return known
  }
  const first = keys[0]
  if (first === undefined || keys.some(({ key }) => key.length !== 32))
    throw new Error('a sealer needs keys of 32 bytes')
  const mac = (purpose: string, plain: Buffer): Buffer =>
    createHmac('sha256', keyFor(`${purpose}/mac`, first))
      .update(plain)
      .digest()
      .subarray(0, 16)

  return {
    seal(purpose, plain) {
      const iv = nonce()
      const cipher = createCipheriv('aes-256-gcm', keyFor(purpose, first), iv)
      const body = cipher.update(plain)
      const rest = cipher.final()
      return Buffer.concat([Buffer.of(first.id), iv, body, rest, cipher.getAuthTag()]).toString('base64url')
    },
    open(purpose, text) {
      if (!/^[A-Za-z0-9_-]+$/.test(text)) return null
      const bytes = Buffer.from(text, 'base64url')
      // Only the one canonical spelling is ours: otherwise a text could be changed in its unused last bits.
      if (bytes.length < 1 + NONCE + TAG || bytes.toString('base64url') !== text) return null
      const key = keys.find(({ id }) => id === bytes[0])
      if (key === undefined) return null
      const decipher = createDecipheriv('aes-256-gcm', keyFor(purpose, key), bytes.subarray(1, 1 + NONCE))
      decipher.setAuthTag(bytes.subarray(bytes.length - TAG))
      try {
        return Buffer.concat([decipher.update(bytes.subarray(1 + NONCE, bytes.length - TAG)), decipher.final()])
      } catch {
        return null
      }
    },
    mac,
    checkMac(purpose, plain, given) {
      return given.length === 16 && timingSafeEqual(given, mac(purpose, plain))
    },
  }
}
