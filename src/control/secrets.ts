// Secrets of upstreams on their way out of and back into the registry: a literal is never answered, a reference
// (`{env}`, `{file}`) is shown as what it is, and the placeholder sent back keeps what is stored.
// Arguments of commands are not secrets: every process of the machine can read them.

import type { Fault } from '../core/errors.ts'
import type { HttpTransport, Secret, StdioTransport } from '../core/model.ts'
import { pointer } from './validate.ts'

export const REDACTED = '[redacted]'

type Transport = HttpTransport | StdioTransport
type Secrets = Readonly<Record<string, Secret>>

const redact = (secrets: Secrets): Secrets =>
  Object.fromEntries(
    Object.entries(secrets).map(([name, value]) => [name, typeof value === 'string' ? REDACTED : value]),
  )

/** Values of the query may be keys: their names are enough to recognise a URL by. */
export function redactUrl(text: string): string {
  const at = text.indexOf('?')
  if (at < 0) return text
  const pairs = text.slice(at + 1).split('&')
  const shown = pairs.map((pair) => (pair.includes('=') ? `${pair.slice(0, pair.indexOf('='))}=${REDACTED}` : pair))
  return `${text.slice(0, at)}?${shown.join('&')}`
}

export function redactTransport({ secretsMark: _ours, ...transport }: Transport): Transport {
  if (transport.kind === 'stdio')
    return transport.env === undefined ? transport : { ...transport, env: redact(transport.env) }
  const urls = transport.urls.map(redactUrl)
  return transport.headers === undefined
    ? { ...transport, urls }
    : { ...transport, urls, headers: redact(transport.headers) }
}

/** Puts what is stored under the same name in the place of every placeholder. Faults name those that stand for nothing. */
export function restoreTransport(sent: Transport, stored: Transport | null): { transport: Transport; faults: Fault[] } {
  const faults: Fault[] = []
  const restore = (member: 'headers' | 'env', given: Secrets, kept: Secrets | undefined): Secrets =>
    Object.fromEntries(
      Object.entries(given).map(([name, value]) => {
        if (value !== REDACTED) return [name, value]
        const known = kept !== undefined && Object.hasOwn(kept, name) ? kept[name] : undefined
        if (known === undefined) faults.push({ at: pointer('transport', member, name), message: NOTHING_STORED })
        return [name, known ?? REDACTED]
      }),
    )
  if (sent.kind === 'stdio') {
    if (sent.env === undefined) return { transport: sent, faults }
    const kept = stored?.kind === 'stdio' ? stored.env : undefined
    return { transport: { ...sent, env: restore('env', sent.env, kept) }, faults }
  }
  const kept = stored !== null && stored.kind !== 'stdio' ? stored : undefined
  const urls = sent.urls.map((url, at) => {
    if (!url.includes(REDACTED)) return url
    const known = kept?.urls.find((candidate) => redactUrl(candidate) === url)
    if (known === undefined) faults.push({ at: pointer('transport', 'urls', at), message: NOTHING_STORED })
    return known ?? url
  })
  if (sent.headers === undefined) return { transport: { ...sent, urls }, faults }
  return { transport: { ...sent, urls, headers: restore('headers', sent.headers, kept?.headers) }, faults }
}

const NOTHING_STORED = `nothing is stored that "${REDACTED}" could keep`

/**
 * Secrets that a change would carry to a place that whoever entered them did not mean: another origin, another command
 * line. Whoever moves an upstream must know its secrets, not just keep them. `given` names those sent in clear.
 */
export function strayingSecrets(next: Transport, stored: Transport, given: ReadonlySet<string>): Fault[] {
  const stray = (member: 'headers' | 'env', secrets: Secrets | undefined): Fault[] =>
    Object.keys(secrets ?? {})
      .filter((name) => !given.has(name))
      .map((name) => ({ at: pointer('transport', member, name), message: 'send it again: it would go somewhere else' }))
  if (next.kind !== 'stdio' && stored.kind !== 'stdio') {
    const known = new Set(stored.urls.map(originOf))
    return next.urls.every((url) => known.has(originOf(url))) ? [] : stray('headers', next.headers)
  }
  if (next.kind === 'stdio' && stored.kind === 'stdio') {
    const line = ({ command, args = [], cwd }: StdioTransport): string => JSON.stringify([command, args, cwd])
    return line(next) === line(stored) ? [] : stray('env', next.env)
  }
  return []
}

function originOf(url: string): string {
  return URL.canParse(url) ? new URL(url).origin : url
}
