// API tokens: `mgw_<id>_<secret>`. The id may be shown and logged, the secret (over 256 random bits) is in the text alone;
// only the SHA-256 of the whole text is kept, and that is enough: what has so many random bits needs no slow hash.
// Absent on purpose: a checksum and anything else inside the text that could be trusted without asking the store.

import { hash, randomBytes, timingSafeEqual } from 'node:crypto'

const ID_CHARS = 12
const SECRET_CHARS = 43
const SHAPE = /^mgw_([0-9A-Za-z]{12})_[0-9A-Za-z]{43}$/
const BASE62 = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz'

/** What the issuer of API tokens is called where callers of several issuers meet. */
export const TOKEN_ISSUER = 'mcp-gateway'

export interface MintedToken {
  readonly id: string
  /** The only time that anyone sees it. */
  readonly text: string
  readonly hash: string
}

/** Characters of base 62 without bias: bytes from 248 on are drawn again. */
function randomText(chars: number): string {
  let text = ''
  while (text.length < chars) {
    for (const byte of randomBytes(chars)) {
      if (byte < 248 && text.length < chars) text += BASE62[byte % 62]
    }
  }
  return text
}

export function mintToken(): MintedToken {
  const id = randomText(ID_CHARS)
  const text = `mgw_${id}_${randomText(SECRET_CHARS)}`
  return { id, text, hash: hashToken(text) }
}

/** SHA-256 of a token's whole text, 64 hex digits. */
export function hashToken(text: string): string {
  return hash('sha256', text, 'hex')
}

/** The id in a text of exactly the right shape, else null. Proves nothing: only the store knows whether it is a token. */
export function tokenId(text: string): string | null {
  return SHAPE.exec(text)?.[1] ?? null
}

/** Whether two hashes in hex are the same, in a time that does not tell where they differ. */
export function sameHash(one: string, other: string): boolean {
  return one.length === other.length && timingSafeEqual(Buffer.from(one, 'latin1'), Buffer.from(other, 'latin1'))
}

/**
 * The stable id of a caller: 16 bytes of a hash of issuer and subject in hex. `kind` keeps a JWT issuer that calls
 * itself by our name apart from our own tokens.
 */
export function callerId(kind: 'token' | 'jwt' | 'local', issuer: string, subject: string): string {
  return hash('sha256', JSON.stringify([kind, issuer, subject]), 'hex').slice(0, 32)
}
