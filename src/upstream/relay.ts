// What an upstream says while a call waits, on its way to that call's client. Two kinds pass: progress under the token of
// this very call, and log messages of a level that the client wants. Everything else is dropped, and counted by the caller.

import { type Call, LOG_LEVELS, type LogLevel, type Params } from '../core/call.ts'

/** Of a JSON text that is proven, without raw newlines: outside of strings they are white space, inside they cannot stand. */
export function flat(bytes: Buffer): Buffer {
  if (!bytes.includes(0x0a) && !bytes.includes(0x0d)) return bytes
  const copy = Buffer.from(bytes)
  for (let at = 0; at < copy.length; at += 1) if (copy[at] === 0x0a || copy[at] === 0x0d) copy[at] = 0x20
  return copy
}

/** `params` with some members replaced; of `_meta` only what is not the protocol's own. */
export function rewrite(params: Params, replaced: string, value: Buffer | null): Buffer {
  const parts: Buffer[] = []
  for (const member of params.members) {
    if (member.key === '_meta') continue
    const raw = member.key === replaced && value !== null ? value : params.bytes.subarray(member.start, member.end)
    parts.push(Buffer.from(`${parts.length === 0 ? '{' : ','}${JSON.stringify(member.key)}:`), raw)
  }
  const meta = params.vendorMeta().map(([key, raw]) => `${JSON.stringify(key)}:${raw.toString('utf8')}`)
  if (meta.length > 0) parts.push(Buffer.from(`${parts.length === 0 ? '{' : ','}"_meta":{${meta.join(',')}}`))
  parts.push(Buffer.from(parts.length === 0 ? '{}' : '}'))
  return flat(Buffer.concat(parts))
}

export class Relay {
  readonly #call: Call
  readonly #token: string
  #progress = Number.NEGATIVE_INFINITY

  /** `token` is raw JSON text: the progress token that we gave the upstream. */
  constructor(call: Call, token: string) {
    this.#call = call
    this.#token = token
  }

  /** Progress also moves the call's deadline. */
  take(method: string, params: Params): 'progress' | 'passed' | 'dropped' {
    if (this.#call.notify === null) return 'dropped'
    if (method === 'notifications/progress') return this.#takeProgress(params) ? 'progress' : 'dropped'
    if (method === 'notifications/message') return this.#takeMessage(params) ? 'passed' : 'dropped'
    return 'dropped'
  }

  #takeProgress(params: Params): boolean {
    const { progressToken } = this.#call
    if (progressToken === null || params.raw('progressToken')?.toString('utf8') !== this.#token) return false
    const progress = params.value('progress')
    // The specification wants it to rise with every notification.
    if (typeof progress !== 'number' || !(progress > this.#progress)) return false
    this.#progress = progress
    this.#call.notify!('notifications/progress', rewrite(params, 'progressToken', progressToken))
    return true
  }

  #takeMessage(params: Params): boolean {
    const wanted = this.#call.logLevel
    const level = params.value('level')
    const rank = LOG_LEVELS.indexOf(level as LogLevel)
    if (wanted === null || rank < LOG_LEVELS.indexOf(wanted) || params.raw('data') === null) return false
    this.#call.notify!('notifications/message', rewrite(params, '', null))
    return true
  }
}
