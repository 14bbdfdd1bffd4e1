// The guard against requests to addresses that an outsider must not reach through us (SSRF). It judges addresses, not
// names: a name is resolved once, every address of it is judged, and the connection goes to those very addresses, so
// that a second resolution cannot differ. Absent on purpose: redirects, which nobody follows, and lists of names.

import { lookup as resolve } from 'node:dns'
import type { LookupFunction } from 'node:net'
import ipaddr from 'ipaddr.js'
import { GatewayError } from '../core/errors.ts'
import { faultOfUrl } from '../core/upstream-rules.ts'

export type Guard = (address: string) => boolean

export interface GuardOptions {
  /** Private, loopback, shared (CGNAT), unique-local and link-local addresses: for upstreams that an operator registered. */
  readonly allowPrivate: boolean
  /** CIDR blocks that are allowed whatever they are. */
  readonly networks: readonly string[]
}

type Address = ipaddr.IPv4 | ipaddr.IPv6

const PRIVATE = new Set(['private', 'loopback', 'carrierGradeNat', 'uniqueLocal', 'linkLocal'])

/** Where clouds hand out credentials to whoever asks: only by name in `networks`, even for an operator. */
const METADATA = [
  ...['169.254.169.254', '169.254.170.2', '169.254.170.23', '100.100.100.200', '168.63.129.16'],
  ...['fd00:ec2::254', 'fd00:ec2::23', 'fd20:ce::254'],
].map((text) => ipaddr.parse(text).toNormalizedString())

/** The IPv4 address that an IPv6 one stands for (mapped, or translated by NAT64), else the address itself. */
function plain(address: Address): Address {
  if (address.kind() === 'ipv4') return address
  const wide = address as ipaddr.IPv6
  if (wide.isIPv4MappedAddress()) return wide.toIPv4Address()
  if (wide.range() === 'rfc6052' || wide.range() === 'rfc6145') {
    return ipaddr.fromByteArray(wide.toByteArray().slice(12))
  }
  return address
}

function parseAddress(text: string): Address | null {
  const bare = text.startsWith('[') && text.endsWith(']') ? text.slice(1, -1) : text
  // Strictly four decimal parts: `127.1` and `0177.0.0.1` are names to nobody but an attacker.
  if (ipaddr.IPv4.isValidFourPartDecimal(bare)) return ipaddr.IPv4.parse(bare)
  return ipaddr.IPv6.isValid(bare) ? ipaddr.IPv6.parse(bare) : null
}

/** Errors: INVALID_INPUT for a network that is no CIDR block. */
export function createGuard({ allowPrivate, networks }: GuardOptions): Guard {
  const blocks = networks.map((text): [Address, number] => {
    try {
      const [address, bits] = ipaddr.parseCIDR(text.includes('/') ? text : `${text}/${text.includes(':') ? 128 : 32}`)
      return [address, bits]
    } catch {
      throw new GatewayError('INVALID_INPUT', `"${text}" is not a network such as 10.0.0.0/8`)
    }
  })
  return (text) => {
    const given = parseAddress(text)
    if (given === null) return false
    const address = plain(given)
    for (const block of blocks) {
      if (block[0].kind() === address.kind() && address.match(block as [ipaddr.IPv4 & ipaddr.IPv6, number])) return true
    }
    const range = address.range()
    // Global unicast of IPv6 is 2000::/3 and nothing else: `::127.0.0.1` is an old spelling of IPv4.
    if (address.kind() === 'ipv6' && range === 'unicast' && (address.toByteArray()[0]! & 0xe0) !== 0x20) return false
    if (range === 'unicast') return !METADATA.includes(address.toNormalizedString())
    return allowPrivate && PRIVATE.has(range) && !METADATA.includes(address.toNormalizedString())
  }
}

function refused(host: string, address: string): GatewayError {
  const where = host === address ? address : `${host} (${address})`
  return new GatewayError('ADDRESS_REFUSED', `The address ${where} is not allowed for this upstream`)
}

type Resolve = (
  host: string,
  options: { all: true },
  done: (error: NodeJS.ErrnoException | null, found: { address: string; family: number }[]) => void,
) => void

/**
 * A lookup for net.connect that refuses a name as soon as one of its addresses is refused, and hands on exactly the
 * addresses that it has judged.
 */
export function guardedLookup(guard: Guard, resolver: Resolve = resolve): LookupFunction {
  return (host, options, done) => {
    resolver(host, { ...options, all: true }, (error, found) => {
      if (error !== null) return done(error, '', 0)
      const bad = found.find(({ address }) => !guard(address))
      if (bad !== undefined) return done(refused(host, bad.address) as NodeJS.ErrnoException, '', 0)
      const first = found[0]
      if (first === undefined) {
        const missing: NodeJS.ErrnoException = new Error(`getaddrinfo ENOTFOUND ${host}`)
        missing.code = 'ENOTFOUND'
        return done(missing, '', 0)
      }
      if (options.all) return done(null, found)
      return done(null, first.address, first.family)
    })
  }
}

/** net.connect asks no lookup for a host that is an address already. Errors: ADDRESS_REFUSED. */
export function checkLiteralHost(hostname: string, guard: Guard): void {
  const address = parseAddress(hostname)
  if (address !== null && !guard(hostname)) throw refused(hostname, hostname)
}

/** The URL of an upstream: http or https, a host, no credentials, no fragment. Errors: INVALID_INPUT. */
export function checkUrl(text: string): URL {
  const why = faultOfUrl(text)
  if (why !== null) throw new GatewayError('INVALID_INPUT', `The URL of the upstream ${why}`)
  return new URL(text)
}
