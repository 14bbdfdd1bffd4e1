// Upstreams that one conversation reaches, line by line: processes (stdio), and the streams of servers of 2024-11-05
// (HTTP+SSE). These children belong to the primary; everyone who talks to one holds a channel. In the primary a channel is
// direct, in a worker it is a logical link over the replica's one Unix socket (length-prefixed frames, bounded credit).

import type { ErrorCode } from '../core/errors.ts'

/** A line-framed duplex to one child. Lines are whole JSON texts without the newline. */
export interface Channel {
  /** Number of this channel, unique for the child: JSON-RPC ids on it are the strings `"<n>.<anything>"`, by which answers find back. */
  readonly n: number
  /** False when the child's input is full: wait for `onDrain`. The line is queued all the same, up to a bound, then the channel closes. */
  send(line: Buffer): boolean
  onLine: ((line: Buffer) => void) | null
  /** The request with this id (raw JSON text) has failed on its own: only where each line is a request of HTTP. */
  onRefused: ((id: string, code: ErrorCode, message: string) => void) | null
  onDrain: (() => void) | null
  /** The child ended or the link broke; comes once. */
  onClose: ((why: string) => void) | null
  close(): void
  /**
   * Only where lines can pile up behind the channel (the primary's end of a link): while one channel of a child is
   * paused, the child's output waits. Lines already read may still come.
   */
  pause?(): void
  resume?(): void
}

export type ChildSpec = ProcessSpec | StreamSpec

/** A conversation with a server that is no process of ours. */
export interface StreamSpec {
  readonly kind: 'stream'
  /** Opens it; nothing is heard of it afterwards if this fails. Errors: those of the links to upstreams, NotProcessed excepted. */
  readonly open: (ears: StreamEars) => Promise<Stream>
}

export interface StreamEars {
  onLine(line: Buffer): void
  onRefused(id: string, code: ErrorCode, message: string): void
  onDrain(): void
  /** Once, unless it was closed by us. */
  onEnd(why: string): void
}

export interface Stream {
  readonly queuedBytes: number
  /** False when it is full: `onDrain` comes. `channel` is the sender's number. */
  send(line: Buffer, channel: number): boolean
  hold(): void
  release(): void
  close(): void
}

export interface ProcessSpec {
  readonly kind: 'process'
  readonly command: string
  readonly args: readonly string[]
  /** Resolved environment: nothing else of the gateway's own environment reaches the child but PATH, HOME, LANG, TZ, TMPDIR. */
  readonly env: Readonly<Record<string, string>>
  readonly cwd: string | null
  readonly memoryBytes: number
  readonly cpuSeconds: number
  readonly openFiles: number
  readonly processes: number
}

export interface ChildView {
  readonly id: string
  readonly upstreamId: string
  readonly owner: string
  readonly pid: number | null
  readonly startedMs: number
  readonly lastUsedMs: number
  readonly stderr: string
  /** Lines of its output that were no message, or that belonged to nobody. */
  readonly dropped: number
  /** Limits that this system could not set, each with its reason. */
  readonly unset: readonly string[]
}

/** The primary's side. Errors: UPSTREAM_BUSY (bounds), UPSTREAM_UNAVAILABLE (did not start; carries the end of stderr), and those of a stream's `open`. */
export interface Children {
  /** Starts a child for this upstream and owner (the one that runs already, if there is one) and returns its id. */
  spawn(upstreamId: string, owner: string, spec: ChildSpec, childrenMax: number, idleMs: number): Promise<string>
  connect(childId: string): Promise<Channel>
  stop(childId: string): Promise<void>
  /** Its owner gets another child from now on; this one ends when nobody talks to it any more, at the latest after `graceMs`. */
  retire(childId: string, graceMs: number): void
  /** Comes whenever a child ended without being stopped, after `ranMs`; the owner decides on the restart. */
  onExit: ((childId: string, upstreamId: string, owner: string, why: string, ranMs: number) => void) | null
  list(upstreamId?: string): ChildView[]
  /** The last 64 KiB of stderr of the upstream's children, also of ended ones. */
  stderr(upstreamId: string): string
  close(): Promise<void>
}

/** A worker's side. */
export interface ChildConnector {
  connect(childId: string): Promise<Channel>
}
