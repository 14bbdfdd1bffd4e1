// Calls of 2026-07-28 clients that wait for them: an older upstream asks in the middle of a call, the client gets
// `input_required` and the call stays here, with the upstream's stream open, until the client comes again with its answers
// (to any worker: by a hop). A sealed requestState names the place, the caller, the request and the round; each is good for
// one retry. Absent on purpose: parked calls outliving their worker: whoever comes then hears OWNER_LOST.

import { asksIn, mayAsk, NO_ASKS } from '../core/asks.ts'
import { asBuffer, replyInBuffers } from '../core/bytes.ts'
import type { AskClient, Call, Notify, Question, Reply } from '../core/call.ts'
import { Cancel, type CancelReason } from '../core/cancel.ts'
import { GatewayError } from '../core/errors.ts'
import type { Limits } from '../core/limits.ts'
import type { UpstreamView } from '../core/model.ts'
import type { Clock } from '../core/time.ts'
import { isRecord } from '../mcp/classify.ts'
import { openHandle, sealHandle } from '../mcp/handle.ts'
import { scanMembers } from '../mcp/json.ts'
import type { Sealer } from '../mcp/seal.ts'
import type { Hop } from '../ports/hop.ts'
import { digestOf } from './digest.ts'

export interface ParksDeps {
  readonly sealer: Sealer
  readonly hop: Hop
  readonly clock: Clock
  readonly limits: Pick<Limits, 'parkedMax' | 'parkedPerCaller' | 'parkedMs' | 'questionsPerCall' | 'upstreamAsksMax'>
}

/** A request of the client that waits now for what comes next: an answer, or further questions. */
interface Attached {
  readonly notify: Notify | null
  readonly progressToken: Buffer | null
  readonly deliver: (reply: Reply) => void
  readonly fail: (error: unknown) => void
  /** Its client's going away no longer concerns the call. */
  readonly forget: () => void
}

interface Open {
  readonly question: Question
  readonly answer: (reply: Reply) => void
}

interface Parked {
  readonly n: number
  readonly callerId: string
  readonly digest: Buffer
  readonly cancel: Cancel
  readonly open: Map<string, Open>
  /** How often the client was asked; the number of the only state that is good now. */
  round: number
  asked: number
  attached: Attached | null
  /** What came while nobody was attached. */
  outcome: (() => void) | null
  timer: NodeJS.Timeout | undefined
  isFlushing: boolean
  /** Counted against the bounds from the first question on. */
  isCounted: boolean
}

interface Resume {
  readonly n: number
  readonly round: number
  readonly digest: Uint8Array
  readonly callerId: string
  readonly responses: Uint8Array | null
  readonly progressToken: Uint8Array | null
}

interface Note {
  readonly method: string
  readonly params: Uint8Array
}

const ROUND_BYTES = 4
const DEPTH = 64

function refuse(why: string): GatewayError {
  return new GatewayError('INVALID_PARAMS', `params.requestState ${why}`)
}

/** Whether a call of this client to this upstream may have to wait for its client. */
export function mayPark(call: Call, upstream: UpstreamView): boolean {
  if (call.era === 'legacy' || call.client.asks === NO_ASKS || upstream.isolation === 'shared') return false
  const { discovery } = upstream
  return discovery?.era === 'legacy' && discovery.stateful && asksIn(discovery.revision, call.client.asks) !== NO_ASKS
}

export class Parks {
  readonly #deps: ParksDeps
  readonly #parked = new Map<number, Parked>()
  readonly #ofCaller = new Map<string, number>()
  #counted = 0
  #last = 0

  constructor(deps: ParksDeps) {
    this.#deps = deps
    deps.hop.serve('resume', (body, { note, cancel }) => this.#resume(body as Resume, note, cancel))
  }

  /** Calls that have asked their clients something. */
  get size(): number {
    return this.#counted
  }

  /** Runs a call that may have to wait for its client. `work` gives its answer in the client's era. */
  run(call: Call, work: (held: Call) => Promise<Reply>): Promise<Reply> {
    this.#last += 1
    const parked: Parked = {
      ...{ n: this.#last, callerId: call.caller.id, digest: digestOf(call), cancel: new Cancel(), open: new Map() },
      ...{ round: 0, asked: 0, attached: null, outcome: null, timer: undefined, isFlushing: false, isCounted: false },
    }
    this.#parked.set(parked.n, parked)
    const first = this.#attach(parked, call.notify, call.progressToken, call.cancel)
    work(this.#held(parked, call)).then(
      (reply) => this.#settle(parked, (attached) => attached.deliver(reply)),
      (error: unknown) => this.#settle(parked, (attached) => attached.fail(error)),
    )
    return first
  }

  /** The retry of a parked call. Errors: INVALID_PARAMS (not of this call, or used), OWNER_LOST, and the call's own. */
  async resume(call: Call): Promise<Reply> {
    const { sealer, clock, hop } = this.#deps
    const state = call.params.value('requestState')
    const handle = typeof state === 'string' ? openHandle(sealer, 'park', state, call.caller.id, clock.now()) : null
    if (handle === null) throw refuse('is not one of this caller, or its time is over')
    const digest = handle.rest.subarray(ROUND_BYTES)
    if (!digest.equals(digestOf(call))) throw refuse('belongs to another request')
    const body: Resume = {
      ...{ n: handle.n, round: handle.rest.readUInt32BE(0), digest, callerId: call.caller.id },
      ...{ responses: call.params.raw('inputResponses'), progressToken: call.progressToken },
    }
    const onNote = (note: unknown): void => {
      const { method, params } = note as Note
      call.notify?.(method, asBuffer(params))
    }
    return replyInBuffers((await hop.ask(handle, 'resume', body, onNote, call.cancel)) as Reply)
  }

  close(): void {
    for (const parked of [...this.#parked.values()]) this.#end(parked, 'shutdown')
  }

  // --- the call as the upstream's side sees it ----------------------------------------------------------------------------

  #held(parked: Parked, call: Call): Call {
    const { requestId, era, revision, method, scope, caller, session, client, params, logLevel } = call
    const ask: AskClient = (question, cancel) => this.#ask(parked, call, question, cancel)
    return {
      ...{ requestId, era, revision, method, scope, caller, session, client, params, logLevel },
      ...{ trace: call.trace, hops: call.hops, paramHeaders: call.paramHeaders, cancel: parked.cancel, ask },
      get progressToken() {
        return parked.attached?.progressToken ?? null
      },
      notify: call.notify === null ? null : (name, about) => parked.attached?.notify?.(name, about),
    }
  }

  async #ask(parked: Parked, call: Call, question: Question, cancel: Cancel): Promise<Reply> {
    const { limits } = this.#deps
    if (!mayAsk(call.client.asks, question.method, JSON.parse(question.params.toString('utf8'))))
      throw new GatewayError('MISSING_CAPABILITY', `The client has not declared what ${question.method} needs`)
    if (parked.cancel.cancelled || cancel.cancelled) throw new GatewayError('CANCELLED')
    if (parked.open.size >= limits.questionsPerCall || parked.asked >= limits.upstreamAsksMax || !this.#count(parked))
      throw new GatewayError('TOO_MANY', 'Too many calls wait for their clients already')
    parked.asked += 1
    const key = `q${parked.asked}`
    return new Promise((resolve, reject) => {
      const withdraw = (): void => {
        parked.open.delete(key)
        forget()
        forgetCall()
        reject(new GatewayError('CANCELLED'))
      }
      const forget = cancel.onCancel(withdraw)
      const forgetCall = parked.cancel.onCancel(withdraw)
      parked.open.set(key, {
        question,
        answer: (reply) => {
          parked.open.delete(key)
          forget()
          forgetCall()
          resolve(reply)
        },
      })
      this.#flushSoon(parked)
    })
  }

  /** False where there is no room for one more that waits. */
  #count(parked: Parked): boolean {
    if (parked.isCounted) return true
    const { parkedMax, parkedPerCaller } = this.#deps.limits
    const ofCaller = this.#ofCaller.get(parked.callerId) ?? 0
    if (this.#counted >= parkedMax || ofCaller >= parkedPerCaller) return false
    parked.isCounted = true
    this.#counted += 1
    this.#ofCaller.set(parked.callerId, ofCaller + 1)
    return true
  }

  // --- the client's side --------------------------------------------------------------------------------------------------

  #attach(parked: Parked, notify: Notify | null, progressToken: Buffer | null, cancel: Cancel): Promise<Reply> {
    return new Promise((resolve, reject) => {
      clearTimeout(parked.timer)
      // A client of this revision that goes away has cancelled its call.
      const forget = cancel.onCancel((reason) => this.#end(parked, reason))
      parked.attached = { notify, progressToken, deliver: resolve, fail: reject, forget }
    })
  }

  /** Whoever is attached gets this, and is no longer. */
  #detach(parked: Parked, give: (attached: Attached) => void): void {
    const { attached } = parked
    if (attached === null) return
    parked.attached = null
    attached.forget()
    give(attached)
  }

  /** Questions that come at the same time go out together. */
  #flushSoon(parked: Parked): void {
    if (parked.isFlushing) return
    parked.isFlushing = true
    setImmediate(() => {
      parked.isFlushing = false
      if (parked.attached !== null && parked.open.size > 0) this.#park(parked)
    })
  }

  #park(parked: Parked): void {
    const { sealer, clock, hop, limits } = this.#deps
    parked.round += 1
    // A client that never gives the answers it was asked for.
    if (parked.round > 2 * limits.upstreamAsksMax) {
      this.#end(parked, 'deadline')
      return
    }
    const round = Buffer.alloc(ROUND_BYTES)
    round.writeUInt32BE(parked.round, 0)
    const { n, callerId, digest } = parked
    const expiresMs = clock.now() + limits.parkedMs
    const rest = Buffer.concat([round, digest])
    const state = sealHandle(sealer, 'park', { ...hop.here, n, callerId, expiresMs, rest })
    const requests = [...parked.open].map(
      ([key, { question }]) => `"${key}":{"method":"${question.method}","params":${paramsFor(question)}}`,
    )
    const text = `{"resultType":"input_required","inputRequests":{${requests.join(',')}},"requestState":"${state}"}`
    parked.timer = setTimeout(() => this.#end(parked, 'deadline'), limits.parkedMs)
    parked.timer.unref()
    this.#detach(parked, (attached) => attached.deliver({ result: Buffer.from(text) }))
  }

  #resume(body: Resume, note: (note: Note) => void, cancel: Cancel): Promise<Reply> {
    const parked = this.#parked.get(body.n)
    if (parked === undefined) throw new GatewayError('OWNER_LOST')
    if (parked.callerId !== body.callerId || !parked.digest.equals(asBuffer(body.digest)))
      throw refuse('belongs to another request')
    if (parked.round !== body.round || parked.attached !== null) throw refuse('was used already')
    const answers = body.responses === null ? new Map<string, Buffer>() : readResponses(asBuffer(body.responses))
    const notify: Notify = (method, params) => note({ method, params })
    const token = body.progressToken === null ? null : asBuffer(body.progressToken)
    const next = this.#attach(parked, notify, token, cancel)
    for (const [key, { question, answer }] of [...parked.open]) {
      const given = answers.get(key)
      if (given !== undefined && isAnswer(question, given)) answer({ result: given })
    }
    if (parked.outcome !== null) parked.outcome()
    // What was not answered, or not in a form that could be one, is asked again.
    else if (parked.open.size > 0) this.#flushSoon(parked)
    return next
  }

  // --- the end --------------------------------------------------------------------------------------------------------------

  #settle(parked: Parked, give: (attached: Attached) => void): void {
    const finish = (): void => {
      this.#forget(parked)
      this.#detach(parked, give)
    }
    if (parked.attached !== null || !this.#parked.has(parked.n)) finish()
    // Kept for the retry; the timer of the park goes on.
    else parked.outcome = finish
  }

  #end(parked: Parked, reason: CancelReason): void {
    this.#forget(parked)
    // The upstream hears of it, and its failure is what a client that is attached gets.
    parked.cancel.cancel(reason)
  }

  #forget(parked: Parked): void {
    clearTimeout(parked.timer)
    if (!this.#parked.delete(parked.n) || !parked.isCounted) return
    this.#counted -= 1
    const left = (this.#ofCaller.get(parked.callerId) ?? 1) - 1
    if (left === 0) this.#ofCaller.delete(parked.callerId)
    else this.#ofCaller.set(parked.callerId, left)
  }
}

/** As 2026-07-28 has it: an elicitation by URL has no id there. */
function paramsFor({ method, params }: Question): string {
  if (method !== 'elicitation/create' || !params.includes('"elicitationId"')) return params.toString('utf8')
  const { elicitationId: _, ...rest } = JSON.parse(params.toString('utf8')) as Record<string, unknown>
  return JSON.stringify(rest)
}

function readResponses(bytes: Buffer): Map<string, Buffer> {
  if (bytes[0] !== 0x7b) throw new GatewayError('INVALID_PARAMS', 'params.inputResponses must be an object')
  const members = scanMembers(bytes, 0, bytes.length, DEPTH)
  return new Map(members.map(({ key, start, end }) => [key, bytes.subarray(start, end)]))
}

/** Whether this can be the answer to such a question. */
export function isAnswer({ method }: Question, given: Buffer): boolean {
  const value: unknown = JSON.parse(given.toString('utf8'))
  if (!isRecord(value)) return false
  if (method === 'roots/list') return Array.isArray(value.roots)
  if (method === 'elicitation/create') return ['accept', 'decline', 'cancel'].includes(value.action as string)
  return typeof value.role === 'string' && typeof value.model === 'string' && value.content !== undefined
}
