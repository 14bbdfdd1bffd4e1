// Names that we mint: slugs of upstreams and virtual servers, and the names under which tools and prompts are exposed.
// Resource URIs are never rewritten (docs/decisions/0001-names.md).

import { createHash } from 'node:crypto'
import { LIMITS } from './limits.ts'

const SLUG = /^[a-z0-9](?:[a-z0-9-]{0,22}[a-z0-9])?$/

export function isSlug(text: string): boolean {
  return SLUG.test(text)
}

/** A slug made of any text: lower case, other characters to `-`, at most 24; never empty. */
export function slugify(text: string): string {
  const slug = text
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, '-')
    .slice(0, LIMITS.slugChars)
    .replace(/^-+|-+$/g, '')
  return slug === '' ? 'server' : slug
}

const BASE32 = 'abcdefghijklmnopqrstuvwxyz234567'

function base32(bytes: Buffer, chars: number): string {
  let text = ''
  let bits = 0
  let value = 0
  for (const byte of bytes) {
    value = (value << 8) | byte
    bits += 8
    while (bits >= 5 && text.length < chars) {
      bits -= 5
      text += BASE32[(value >>> bits) & 31]
    }
    value &= (1 << bits) - 1
  }
  return text
}

/**
 * The exposed name `slug-tool`: characters outside `[A-Za-z0-9_-]` become `_`; over 64 characters it is cut to 55 and
 * ends in `-` and 8 base32 digits of the SHA-256 of the whole name, so that two long names stay different.
 */
export function exposedName(slug: string, name: string): string {
  const whole = `${slug}-${name.replace(/[^A-Za-z0-9_-]/g, '_')}`
  if (whole.length <= LIMITS.nameChars) return whole
  return `${whole.slice(0, 55)}-${base32(createHash('sha256').update(`${slug}-${name}`).digest(), 8)}`
}

/** Whether `name` fits one of `patterns`, in which `*` stands for any run of characters. Linear in the text's length. */
export function matchesAny(name: string, patterns: readonly string[] | undefined): boolean {
  if (patterns === undefined) return true
  return patterns.some((pattern) => matches(name, pattern))
}

function matches(name: string, pattern: string): boolean {
  return matchesParts(name, pattern.split('*'))
}

/** Whether `text` is these literal parts in order with any run of characters between them; linear in the text's length. */
export function matchesParts(text: string, parts: readonly string[]): boolean {
  const first = parts[0]!
  if (parts.length === 1) return text === first
  const last = parts[parts.length - 1]!
  if (!text.startsWith(first) || text.length < first.length + last.length || !text.endsWith(last)) return false
  let at = first.length
  const end = text.length - last.length
  for (const part of parts.slice(1, -1)) {
    const found = text.indexOf(part, at)
    if (found < 0 || found + part.length > end) return false
    at = found + part.length
  }
  return at <= end
}
