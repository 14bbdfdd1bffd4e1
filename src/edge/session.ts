// Sessions of the older protocol revisions. A session is sealed in its own id: any worker that has the key can open it,
// and nothing is stored for it but its end (tombstone) and its log level, both shared by the bus. Opened sessions are kept
// in a bounded cache, so that a warm request decrypts nothing.
// Absent on purpose: idle time-outs (the age is absolute) and any trust in the id: the caller is checked every time.

import { randomBytes } from 'node:crypto'
import type { ClientView, LogLevel, Session } from '../core/call.ts'
import { GatewayError } from '../core/errors.ts'
import type { Limits } from '../core/limits.ts'
import type { Revision } from '../core/model.ts'
import type { Caller } from '../core/policy.ts'
import type { Clock } from '../core/time.ts'
import type { Sealer } from '../mcp/seal.ts'
import type { Bus } from '../ports/bus.ts'

export type { Bus } from '../ports/bus.ts'
export { sessionHolder } from '../ports/control.ts'

export interface SessionsDeps {
  readonly sealer: Sealer
  readonly bus: Bus
  readonly clock: Clock
  readonly limits: Pick<
    Limits,
    'sessionIdBytes' | 'sessionAgeMs' | 'sessionCacheItems' | 'sessionLevelsMax' | 'tombstonesMax'
  >
  /** Makes the end of a session last: stored, told to all workers, its upstream links closed. Errors: RATE_LIMITED, TOO_MANY. */
  readonly endSession: (session: string, callerId: string, expiresMs: number) => Promise<void>
  readonly leaveSession: (session: string) => void
  /** Called when a session has ended, here or in another worker. */
  readonly onEnded: (key: string) => void
}

const PURPOSE = 'session'
const FORMAT = 1
/** Their places are written in ids: only ever append. */
const REVISIONS: readonly Revision[] = ['2024-11-05', '2025-03-26', '2025-06-18', '2025-11-25']
const FIXED_BYTES = 41
const NAME_BYTES = 64
const VERSION_BYTES = 32

/** The first bytes of a text, whole characters only. */
function cut(text: string, bytesMax: number): Buffer {
  const bytes = Buffer.from(text)
  if (bytes.length <= bytesMax) return bytes
  let end = bytesMax
  while (end > 0 && (bytes[end]! & 0xc0) === 0x80) end -= 1
  return bytes.subarray(0, end)
}

function encode(session: Omit<Session, 'id'>): Buffer {
  const { client } = session
  const name = cut(client.name, NAME_BYTES)
  const version = cut(client.version, VERSION_BYTES)
  const fixed = Buffer.alloc(FIXED_BYTES)
  fixed[0] = FORMAT
  fixed[1] = REVISIONS.indexOf(session.revision)
  fixed[2] = client.asks
  fixed.writeUIntBE(session.expiresMs, 3, 6)
  fixed.write(session.callerId, 9, 16, 'hex')
  fixed.write(session.key, 25, 16, 'hex')
  return Buffer.concat([
    fixed,
    Buffer.of(name.length),
    name,
    Buffer.of(version.length),
    version,
    Buffer.from(session.scope),
  ])
}

/** Null for a format of another release. What is sealed is ours: it needs no further check. */
function decode(id: string, plain: Buffer): Session | null {
  const revision = REVISIONS[plain[1] ?? -1]
  if (plain[0] !== FORMAT || revision === undefined || plain.length < FIXED_BYTES + 2) return null
  const nameEnd = FIXED_BYTES + 1 + plain[FIXED_BYTES]!
  const versionEnd = nameEnd + 1 + plain[nameEnd]!
  return {
    id,
    key: plain.toString('hex', 25, 41),
    callerId: plain.toString('hex', 9, 25),
    scope: plain.toString('utf8', versionEnd),
    revision,
    client: {
      name: plain.toString('utf8', FIXED_BYTES + 1, nameEnd),
      version: plain.toString('utf8', nameEnd + 1, versionEnd),
      asks: plain[2]!,
      capabilities: null,
    },
    expiresMs: plain.readUIntBE(3, 6),
  }
}

/** Keeps the newest `max`; of a full map the oldest goes. */
function keep<V>(map: Map<string, V>, key: string, value: V, max: number): void {
  map.delete(key)
  map.set(key, value)
  if (map.size > max) map.delete(map.keys().next().value!)
}

export class Sessions {
  readonly #deps: SessionsDeps
  /** Two generations: what is used moves to the young one, the old one is dropped whole when the young one is full. */
  #young = new Map<string, Session>()
  #old = new Map<string, Session>()
  readonly #tombstones = new Map<string, number>()
  readonly #levels = new Map<string, LogLevel>()
  readonly #unsubscribe: (() => void)[]

  constructor(deps: SessionsDeps) {
    this.#deps = deps
    this.#unsubscribe = [
      deps.bus.subscribe('sessionEnded', ({ session, expiresMs }) => this.markEnded(session, expiresMs)),
      deps.bus.subscribe('sessionLevel', ({ session, level }) =>
        keep(this.#levels, session, level, deps.limits.sessionLevelsMax),
      ),
    ]
  }

  /** How many sessions are kept open in memory. */
  get size(): number {
    return this.#young.size + this.#old.size
  }

  begin(caller: Caller, scope: string, revision: Revision, client: ClientView): Session {
    const { sealer, clock, limits } = this.#deps
    const plain = {
      key: randomBytes(16).toString('hex'),
      callerId: caller.id,
      scope,
      revision,
      client: { ...client, capabilities: null },
      expiresMs: clock.now() + limits.sessionAgeMs,
    }
    const id = sealer.seal(PURPOSE, encode(plain))
    const session = decode(id, encode(plain))!
    this.#remember(session)
    return session
  }

  /** Errors: SESSION_NOT_FOUND for an id that is not ours, of another caller or endpoint, expired or ended. */
  open(id: string, caller: Caller, scope: string): Session {
    const session = this.#young.get(id) ?? this.#load(id)
    if (
      session === null ||
      session.callerId !== caller.id ||
      session.scope !== scope ||
      session.expiresMs <= this.#deps.clock.now() ||
      this.#tombstones.has(session.key)
    ) {
      throw new GatewayError('SESSION_NOT_FOUND')
    }
    return session
  }

  /** Errors: RATE_LIMITED, TOO_MANY: the session then goes on. */
  async end(session: Session): Promise<void> {
    await this.#deps.endSession(session.key, session.callerId, session.expiresMs)
    this.markEnded(session.key, session.expiresMs)
  }

  /** Ends one that lives with its connection: its id has never left this worker, so no tombstone is needed. */
  leave(session: Session): void {
    this.#levels.delete(session.key)
    this.#young.delete(session.id)
    this.#old.delete(session.id)
    this.#deps.leaveSession(session.key)
  }

  /** Also for the tombstones that the store holds at start. */
  markEnded(key: string, expiresMs: number): void {
    const { clock, limits } = this.#deps
    const nowMs = clock.now()
    if (expiresMs <= nowMs) return
    // Two of the oldest are looked at for each new one: those that are past their expiry need no tombstone.
    let looked = 0
    for (const [oldest, untilMs] of this.#tombstones) {
      if (untilMs <= nowMs) this.#tombstones.delete(oldest)
      looked += 1
      if (looked === 2) break
    }
    keep(this.#tombstones, key, expiresMs, limits.tombstonesMax)
    this.#levels.delete(key)
    this.#deps.onEnded(key)
  }

  /** Null until the client has set one: then no log messages are sent. */
  level(session: Session): LogLevel | null {
    return this.#levels.get(session.key) ?? null
  }

  setLevel(session: Session, level: LogLevel): void {
    keep(this.#levels, session.key, level, this.#deps.limits.sessionLevelsMax)
    this.#deps.bus.publish('sessionLevel', { session: session.key, level })
  }

  close(): void {
    for (const unsubscribe of this.#unsubscribe) unsubscribe()
  }

  #load(id: string): Session | null {
    const known = this.#old.get(id)
    if (known !== undefined) {
      this.#remember(known)
      return known
    }
    if (id.length > this.#deps.limits.sessionIdBytes) return null
    const plain = this.#deps.sealer.open(PURPOSE, id)
    const session = plain === null ? null : decode(id, plain)
    if (session !== null) this.#remember(session)
    return session
  }

  #remember(session: Session): void {
    if (this.#young.size >= this.#deps.limits.sessionCacheItems / 2) {
      this.#old = this.#young
      this.#young = new Map()
    }
    this.#old.delete(session.id)
    this.#young.set(session.id, session)
  }
}
