// Questions of upstreams to clients of older revisions, as real JSON-RPC requests on an event stream of the client. Their
// ids are sealed handles: the answer may be posted to any worker, and is taken only from the session that was asked.
// The first answer counts. Absent on purpose: questions to clients of 2026-07-28 (call/park.ts).

import { mayAsk } from '../core/asks.ts'
import { replyInBuffers } from '../core/bytes.ts'
import type { AskClient, Question, Reply, Session } from '../core/call.ts'
import type { Cancel } from '../core/cancel.ts'
import { GatewayError } from '../core/errors.ts'
import type { Limits } from '../core/limits.ts'
import type { Caller } from '../core/policy.ts'
import type { Clock } from '../core/time.ts'
import { openHandle, sealHandle } from '../mcp/handle.ts'
import { encodeNotification, encodeRequest, readIncoming } from '../mcp/jsonrpc.ts'
import type { Sealer } from '../mcp/seal.ts'
import type { Hop } from '../ports/hop.ts'
import type { Log } from '../telemetry/log.ts'

export interface QuestionsDeps {
  readonly sealer: Sealer
  readonly hop: Hop
  readonly clock: Clock
  readonly log: Log
  readonly limits: Pick<Limits, 'questionMs' | 'questionsPerCall' | 'parkedMax'>
}

/** Where the questions of one call, or of one session, go. */
export interface Asker {
  readonly session: Session
  /** Writes one message to the client; `question` is the id of the request that it is, or null. */
  readonly write: (message: Buffer, question: string | null) => void
  /** That question needs no answer any more. */
  readonly settled: (question: string) => void
  /** The first question is open, or the last one is closed. */
  readonly onWaiting: (isWaiting: boolean) => void
  /** How many are open. */
  open: number
}

interface Asked {
  readonly session: string
  readonly take: (reply: Reply) => void
}

const PREFIX = 'q.'
/** A little longer than the question itself waits, so that a late answer is known for what it is. */
const HANDLE_GRACE_MS = 60_000

export class Questions {
  readonly #deps: QuestionsDeps
  readonly #asked = new Map<number, Asked>()
  #last = 0
  /** Answers that nobody waited for. */
  dropped = 0

  constructor(deps: QuestionsDeps) {
    this.#deps = deps
    deps.hop.serve('answer', (body) => {
      const { n, session, reply } = body as { n: number; session: string; reply: Reply }
      this.#take(n, session, replyInBuffers(reply))
    })
  }

  /** Questions that wait for their clients. */
  get size(): number {
    return this.#asked.size
  }

  /** Errors: as AskClient. `over` is the call's own end; `cancel` that of the question. */
  ask(asker: Asker, question: Question, cancel: Cancel, over: Cancel): Promise<Reply> {
    const { limits, clock, sealer, hop } = this.#deps
    const { session } = asker
    if (!mayAsk(session.client.asks, question.method, JSON.parse(question.params.toString('utf8'))))
      throw new GatewayError('MISSING_CAPABILITY', `The client has not declared what ${question.method} needs`)
    if (asker.open >= limits.questionsPerCall || this.#asked.size >= limits.parkedMax)
      throw new GatewayError('TOO_MANY', 'Too many questions wait for their clients already')
    if (over.cancelled || cancel.cancelled) throw new GatewayError('CANCELLED')
    this.#last += 1
    const n = this.#last
    const expiresMs = clock.now() + limits.questionMs + HANDLE_GRACE_MS
    const rest = Buffer.from(session.key, 'hex')
    const handle = sealHandle(sealer, 'question', { ...hop.here, n, callerId: session.callerId, expiresMs, rest })
    const id = `"${PREFIX}${handle}"`
    return new Promise((resolve, reject) => {
      const end = (isWithdrawn: boolean): void => {
        clearTimeout(timer)
        forget()
        forgetCall()
        this.#asked.delete(n)
        asker.settled(id)
        if (isWithdrawn) {
          const about = Buffer.from(`{"requestId":${id}}`)
          asker.write(encodeNotification('notifications/cancelled', about), null)
        }
        asker.open -= 1
        if (asker.open === 0) asker.onWaiting(false)
      }
      const withdraw = (): void => {
        end(true)
        reject(new GatewayError('CANCELLED'))
      }
      const timer = setTimeout(() => {
        end(true)
        reject(new GatewayError('TIMEOUT', `The client did not answer within ${limits.questionMs} ms`))
      }, limits.questionMs)
      timer.unref()
      const forget = cancel.onCancel(withdraw)
      const forgetCall = over.onCancel(withdraw)
      this.#asked.set(n, {
        session: session.key,
        take: (reply) => {
          end(false)
          resolve(reply)
        },
      })
      asker.open += 1
      if (asker.open === 1) asker.onWaiting(true)
      asker.write(encodeRequest(id, question.method, question.params), id)
    })
  }

  /** What a client posted as a response. `id` is raw JSON text. Foreign, late and second answers are nobody's. */
  answered(session: Session, caller: Caller, id: Buffer, message: Buffer): void {
    const { sealer, clock, hop, log } = this.#deps
    const text = id.toString('utf8')
    const handle = text.startsWith(`"${PREFIX}`)
      ? openHandle(sealer, 'question', text.slice(1 + PREFIX.length, -1), caller.id, clock.now())
      : null
    if (handle === null || handle.rest.toString('hex') !== session.key) {
      this.dropped += 1
      return
    }
    const body = { n: handle.n, session: session.key, reply: replyIn(message) }
    hop.ask(handle, 'answer', body).catch((error: unknown) => {
      this.dropped += 1
      log.debug('question.lost', { error })
    })
  }

  #take(n: number, session: string, reply: Reply): void {
    const asked = this.#asked.get(n)
    if (asked === undefined || asked.session !== session) this.dropped += 1
    else asked.take(reply)
  }
}

const INVALID: Reply = {
  error: Buffer.from('{"code":-32600,"message":"The client\'s answer is no JSON-RPC response"}'),
}

/** The answer in a response, proven to be one: what is no such thing is an error that the upstream hears. */
function replyIn(message: Buffer): Reply {
  try {
    const incoming = readIncoming(message)
    return incoming.kind === 'reply' ? incoming.reply : INVALID
  } catch {
    return INVALID
  }
}

/** `ask` of a call. */
export function askerOf(questions: Questions, asker: Asker, over: Cancel): AskClient {
  return async (question, cancel) => questions.ask(asker, question, cancel, over)
}
