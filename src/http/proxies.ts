// Which forwarded headers are believed: those of the configured proxies, and of no one else. Absent on purpose: the
// Forwarded header (RFC 7239), which the proxies that people run do not write.

import ipaddr from 'ipaddr.js'
import { GatewayError } from '../core/errors.ts'

export interface Proxies {
  /** Whether the peer itself is a proxy of ours. */
  isTrusted(address: string): boolean
  /** The first address from the right of X-Forwarded-For that is no proxy of ours; `peer` where it says nothing usable. */
  clientOf(peer: string, forwardedFor: string | undefined): string
}

type Address = ipaddr.IPv4 | ipaddr.IPv6

/** Without a port and brackets, as proxies write them; an IPv4 address in its own form also where IPv6 wraps it. */
function parse(text: string): Address | null {
  const bare = /^\[([^\]]+)\](?::\d+)?$/.exec(text)?.[1] ?? /^([\d.]+):\d+$/.exec(text)?.[1] ?? text
  if (ipaddr.IPv4.isValidFourPartDecimal(bare)) return ipaddr.IPv4.parse(bare)
  if (!ipaddr.IPv6.isValid(bare)) return null
  const wide = ipaddr.IPv6.parse(bare)
  return wide.isIPv4MappedAddress() ? wide.toIPv4Address() : wide
}

/** `::ffff:10.0.0.1` is 10.0.0.1; other texts stay as they are. */
export function plainAddress(text: string): string {
  return text.startsWith('::ffff:') ? (parse(text)?.toString() ?? text) : text
}

/** Each of `trusted` is an address or a CIDR block. Errors: CONFIG_INVALID. */
export function createProxies(trusted: readonly string[]): Proxies {
  const blocks = trusted.map((text): [Address, number] => {
    try {
      return ipaddr.parseCIDR(text.includes('/') ? text : `${text}/${text.includes(':') ? 128 : 32}`)
    } catch {
      throw new GatewayError('CONFIG_INVALID', `"${text}" in server.trustedProxies is not a network such as 10.0.0.0/8`)
    }
  })
  const isOurs = (address: Address): boolean =>
    blocks.some(
      (block) => block[0].kind() === address.kind() && address.match(block as [ipaddr.IPv4 & ipaddr.IPv6, number]),
    )
  return {
    isTrusted: (text) => {
      const address = blocks.length === 0 ? null : parse(text)
      return address !== null && isOurs(address)
    },
    clientOf: (peer, forwardedFor) => {
      let client = plainAddress(peer)
      if (forwardedFor === undefined) return client
      // From the right: what stands further left was written by those whom we do not know.
      for (const text of forwardedFor.split(',').reverse()) {
        const address = parse(text.trim())
        if (address === null) return client
        client = address.toString()
        if (!isOurs(address)) return client
      }
      return client
    },
  }
}
