// What an older upstream asks in the middle of a call: put to the call's client, and the answer sent back under the
// upstream's own id. While a question is open the call's deadline stands still. Everything here is bounded: questions of
// one call, those at the same time, their size; and all of them end with the call.

import type { Call, Params, Question, QuestionMethod, Reply } from '../core/call.ts'
import { Cancel } from '../core/cancel.ts'
import { type ErrorCode, GatewayError } from '../core/errors.ts'
import type { Limits } from '../core/limits.ts'
import { encodeError, encodeRawError, encodeResult } from '../mcp/jsonrpc.ts'
import { answerTo } from './notices.ts'
import { rewrite } from './relay.ts'

const METHODS: ReadonlySet<string> = new Set<QuestionMethod>([
  'sampling/createMessage',
  'elicitation/create',
  'roots/list',
])

export const isQuestion = (method: string): method is QuestionMethod => METHODS.has(method)

/** A question as it may go on, or the error (JSON text of the whole answer) that the upstream gets instead. */
export function toQuestion(
  method: QuestionMethod,
  id: string,
  params: Params,
  { questionBytes }: Pick<Limits, 'questionBytes'>,
): Question | Buffer {
  if (params.bytes.length > questionBytes)
    return refusal(id, -32602, `A question may have at most ${questionBytes} bytes`)
  return { method, params: rewrite(params, '', null) }
}

function refusal(id: string, code: number, message: string): Buffer {
  return encodeError(Buffer.from(id), { code, message })
}

export const tooManyOf = (id: string): Buffer => refusal(id, -32603, 'Too many questions are open')

/** The whole answer to the upstream. */
export function answerOf(id: string, reply: Reply): Buffer {
  const raw = Buffer.from(id)
  return Buffer.concat('error' in reply ? encodeRawError(raw, reply.error) : encodeResult(raw, reply.result))
}

/** What an upstream is told when its question could not be put, without our insides. */
const TOLD: Partial<Record<ErrorCode, readonly [code: number, message: string]>> = {
  MISSING_CAPABILITY: [-32601, 'The client has not declared the capability for this'],
  TIMEOUT: [-32603, 'The client did not answer in time'],
  TOO_MANY: [-32603, 'Too many questions are open'],
}

/** As an answer: an error object. */
export function refused(error: unknown): Reply {
  const told = error instanceof GatewayError ? TOLD[error.code] : undefined
  const [code, message] = told ?? [-32603, 'The client could not be asked']
  return { error: Buffer.from(JSON.stringify({ code, message })) }
}

export interface InquiryHooks {
  /** Sends one whole message to the upstream. */
  readonly send: (message: Buffer) => void
  /** The first question is open: the deadline stands still; or the last one is closed. */
  readonly onWaiting: (isWaiting: boolean) => void
}

/** The questions of one call. */
export class Inquiry {
  readonly #call: Call | null
  readonly #limits: Pick<Limits, 'questionBytes' | 'upstreamAsksMax'>
  readonly #hooks: InquiryHooks
  /** By the upstream's raw id. */
  readonly #open = new Map<string, Cancel>()
  #asked = 0
  #isOver = false

  constructor(call: Call | null, limits: Pick<Limits, 'questionBytes' | 'upstreamAsksMax'>, hooks: InquiryHooks) {
    this.#call = call
    this.#limits = limits
    this.#hooks = hooks
  }

  /** False when the upstream asks too much in one call. */
  take(method: string, id: string, params: Params): boolean {
    if (this.#isOver) return true
    this.#asked += 1
    if (this.#asked > this.#limits.upstreamAsksMax) return false
    const ask = this.#call?.ask ?? null
    if (!isQuestion(method) || ask === null) {
      this.#hooks.send(answerTo(method, id))
      return true
    }
    // The same question once more: it is open, and nobody is asked twice.
    if (this.#open.has(id)) return true
    const question = toQuestion(method, id, params, this.#limits)
    if (Buffer.isBuffer(question)) this.#hooks.send(question)
    else void this.#put(id, question, ask)
    return true
  }

  /** The upstream no longer wants to know. `id` is raw JSON text. */
  withdraw(id: string): void {
    this.#open.get(id)?.cancel('client')
  }

  /** The call is over. */
  end(): void {
    this.#isOver = true
    for (const cancel of [...this.#open.values()]) cancel.cancel('client')
  }

  async #put(id: string, question: Question, ask: NonNullable<Call['ask']>): Promise<void> {
    const cancel = new Cancel()
    this.#open.set(id, cancel)
    if (this.#open.size === 1) this.#hooks.onWaiting(true)
    let answer: Buffer
    try {
      answer = answerOf(id, await ask(question, cancel))
    } catch (error) {
      answer = answerOf(id, refused(error))
    }
    this.#open.delete(id)
    if (this.#isOver) return
    // Whoever took his question back wants no answer.
    if (!cancel.cancelled) this.#hooks.send(answer)
    if (this.#open.size === 0) this.#hooks.onWaiting(false)
  }
}
