// One request that a client has posted: what the call path sees of it (Call), and where its answer goes. The answer is
// plain JSON unless something must be sent before it, or the wait is long: then an event stream is opened, once.

import { NO_ASKS } from '../core/asks.ts'
import type { AskClient, Call, ClientView, LogLevel, Notify, Params, Session, TraceContext } from '../core/call.ts'
import { Cancel } from '../core/cancel.ts'
import type { Era, Revision } from '../core/model.ts'
import type { Caller } from '../core/policy.ts'
import type { Exchange } from '../http/exchange.ts'
import type { Classified } from '../mcp/classify.ts'
import { encodeNotification, type Message } from '../mcp/jsonrpc.ts'
import { sseEvent } from '../mcp/sse.ts'
import { type CallStream, passingStream } from './call-stream.ts'
import type { Accepted } from './headers.ts'
import { askerOf, type Questions } from './questions.ts'
import type { Replay } from './replay.ts'
import { JSON_HEADERS, NO_HEADERS, SSE_HEADERS } from './reply.ts'
import { newRequestId } from './request-id.ts'

/** A client of an older revision of which nothing is known: it has no session. */
const UNKNOWN_CLIENT: ClientView = {
  name: '',
  version: '',
  asks: NO_ASKS,
  capabilities: null,
}
export interface PostedCallOptions {
  readonly message: Message
  readonly classified: Classified
  readonly scope: string
  readonly caller: Caller
  readonly session: Session | null
  readonly client: ClientView | null
  readonly revision: Revision
  readonly logLevel: LogLevel | null
  readonly hops: number
  /** Forms of the answer; null where it becomes part of a bigger one (a batch): nothing can then be sent before it. */
  readonly accepted: Accepted | null
  /** What a client may leave unread of its stream. */
  readonly bufferBytesMax: number
  /** False for POST /rpc, whose headers say nothing of the body. */
  readonly hasMirror?: boolean
  /** How clients of older revisions are asked; absent where they cannot be. */
  readonly asking?: Asking
  /** Keeps what is said on the stream of a session's call; absent where a connection is all there is. */
  readonly replay?: Replay
}

export interface Asking {
  readonly questions: Questions
  /** The call waits only for its client: it holds no place meanwhile. */
  readonly onWaiting: (isWaiting: boolean) => void
}

export class PostedCall implements Call {
  readonly era: Era
  readonly revision: Revision
  readonly method: string
  readonly scope: string
  readonly caller: Caller
  readonly session: Session | null
  readonly client: ClientView
  readonly params: Params
  readonly progressToken: Buffer | null
  readonly logLevel: LogLevel | null
  readonly trace: TraceContext | null
  readonly hops: number
  readonly cancel = new Cancel()
  readonly notify: Notify | null
  /** Raw JSON text. */
  readonly id: Buffer
  /** Ticks of the edge's keep-alive timer since anything was sent. */
  quietTicks = 0
  readonly #exchange: Exchange
  readonly #accepted: Accepted | null
  readonly #bufferBytesMax: number
  readonly #hasMirror: boolean
  #stream: CallStream | null = null
  #requestId: string | null = null
  #paramHeaders: Record<string, string> | null | undefined = undefined
  #isAnswered = false
  readonly #asking: Asking | null
  readonly #replay: Replay | null
  #ask: AskClient | null = null

  constructor(exchange: Exchange, options: PostedCallOptions) {
    const { message, classified } = options
    this.era = classified.era
    this.revision = options.revision
    this.method = message.method
    this.scope = options.scope
    this.caller = options.caller
    this.session = options.session
    this.client = options.client ?? UNKNOWN_CLIENT
    this.params = message.params
    this.progressToken = classified.progressToken
    this.logLevel = options.logLevel
    this.trace = classified.trace
    this.hops = options.hops
    this.id = message.id!
    this.#exchange = exchange
    this.#accepted = options.accepted
    this.#bufferBytesMax = options.bufferBytesMax
    this.#hasMirror = options.hasMirror ?? true
    this.#asking = options.asking ?? null
    this.#replay = options.replay ?? null
    this.notify = options.accepted?.stream === true ? (method, params) => this.#notify(method, params) : null
  }

  get requestId(): string {
    this.#requestId ??= newRequestId()
    return this.#requestId
  }

  get paramHeaders(): Readonly<Record<string, string>> | null {
    if (this.#paramHeaders === undefined) this.#paramHeaders = this.#findParamHeaders()
    return this.#paramHeaders
  }

  /** Clients of older revisions are asked on the stream of their call. */
  get ask(): AskClient | null {
    const asking = this.#asking
    const { session } = this
    if (asking === null || session === null || this.notify === null || session.client.asks === NO_ASKS) return null
    this.#ask ??= askerOf(
      asking.questions,
      {
        ...{ session, open: 0, onWaiting: asking.onWaiting },
        write: (message, question) => this.#write(message, question),
        settled: (question) => this.#stream?.settled(question),
      },
      this.cancel,
    )
    return this.#ask
  }

  /** A comment, so that nobody between us and the client takes the silence for its end. Opens the stream if need be. */
  keepAlive(): void {
    if (this.notify === null || this.#isAnswered) return
    this.#open().comment()
    this.quietTicks = 0
  }

  /** The one answer. An open stream has said 200 already, and has sent its headers. */
  answer(status: number, headers: readonly string[], parts: readonly Buffer[]): void {
    this.#isAnswered = true
    if (this.#stream !== null) {
      this.#stream.answer(parts)
    } else if (this.#accepted?.json === false && status === 200) {
      this.#exchange.reply(status, headers.length === 0 ? SSE_HEADERS : [...SSE_HEADERS, ...headers], sseEvent(parts))
    } else {
      this.#exchange.reply(status, headers.length === 0 ? JSON_HEADERS : [...JSON_HEADERS, ...headers], parts)
    }
  }

  #notify(method: string, params: Buffer): void {
    this.#write(encodeNotification(method, params), null)
  }

  #write(message: Buffer, question: string | null): void {
    if (this.#isAnswered) return
    this.#open().say(message, question)
    this.quietTicks = 0
  }

  #open(): CallStream {
    this.#stream ??=
      this.#replay === null || this.session === null
        ? passingStream(this.#exchange.stream(200, NO_HEADERS), this.#bufferBytesMax)
        : this.#replay.open(this.session, this.id, this.#exchange)
    return this.#stream
  }

  /** Null where nothing has to mirror the body: older revisions, and POST /rpc. */
  #findParamHeaders(): Record<string, string> | null {
    if (this.era === 'legacy' || !this.#hasMirror) return null
    const found: Record<string, string> = {}
    const { headers } = this.#exchange
    for (const name in headers) if (name.startsWith('mcp-param-')) found[name] = headers[name]!
    return found
  }
}
