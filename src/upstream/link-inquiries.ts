// The primary's side of questions that name no call: an older server asks on its own stream or on the pipe of its child.
// Whichever worker can put such a question to a client of that very link takes it, the first one alone; if nobody does,
// the server hears at once that there is nobody.

import { NO_ASKS } from '../core/asks.ts'
import { replyInBuffers } from '../core/bytes.ts'
import type { Params, Reply } from '../core/call.ts'
import type { Limits } from '../core/limits.ts'
import type { Bus } from '../ports/bus.ts'
import type { LinkKey } from '../ports/control.ts'
import { answerOf, isQuestion, refused, tooManyOf, toQuestion } from './inquiry.ts'
import { answerTo } from './notices.ts'

export interface LinkInquiriesDeps {
  readonly bus: Pick<Bus, 'publish'>
  readonly limits: Pick<
    Limits,
    'questionBytes' | 'questionsPerCall' | 'questionClaimMs' | 'questionMs' | 'parkedMax' | 'hopMs'
  >
}

/** A link on which its server may ask. */
export interface AskingLink {
  /** Names it among all links. */
  readonly at: string
  readonly key: LinkKey
  readonly send: (message: Buffer) => void
}

interface Open {
  readonly link: AskingLink
  /** The server's own id, raw JSON text. */
  readonly upstreamId: string
  isClaimed: boolean
  timer: NodeJS.Timeout
}

export class LinkInquiries {
  readonly #deps: LinkInquiriesDeps
  readonly #open = new Map<number, Open>()
  #last = 0

  constructor(deps: LinkInquiriesDeps) {
    this.#deps = deps
  }

  get size(): number {
    return this.#open.size
  }

  /** A request of a server. `id` is raw JSON text. */
  take(link: AskingLink, method: string, id: string, params: Params): void {
    const { bus, limits } = this.#deps
    if (!isQuestion(method) || link.key.asks === NO_ASKS) {
      link.send(answerTo(method, id))
      return
    }
    const ofLink = [...this.#open.values()].filter((open) => open.link.at === link.at)
    // The same question once more: it is open, and nobody is asked twice.
    if (ofLink.some((open) => open.upstreamId === id)) return
    if (ofLink.length >= limits.questionsPerCall || this.#open.size >= limits.parkedMax) {
      link.send(tooManyOf(id))
      return
    }
    const question = toQuestion(method, id, params, limits)
    if (Buffer.isBuffer(question)) {
      link.send(question)
      return
    }
    this.#last += 1
    const n = this.#last
    const timer = setTimeout(() => this.answer(n, refused(null)), limits.questionClaimMs)
    this.#open.set(n, { link, upstreamId: id, isClaimed: false, timer })
    bus.publish('linkAsked', { id: n, key: link.key, question })
  }

  /** True for the first one. */
  claim(n: number): boolean {
    const open = this.#open.get(n)
    if (open === undefined || open.isClaimed) return false
    open.isClaimed = true
    clearTimeout(open.timer)
    const { questionMs, hopMs } = this.#deps.limits
    // The worker has its own time for it; this one is for a worker that dies.
    open.timer = setTimeout(() => this.answer(n, refused(null)), questionMs + hopMs)
    return true
  }

  answer(n: number, reply: Reply): void {
    const open = this.#open.get(n)
    if (open === undefined) return
    this.#forget(n, open)
    open.link.send(answerOf(open.upstreamId, replyInBuffers(reply)))
  }

  /** The server takes a question back: `params` are those of its notifications/cancelled. */
  withdraw(at: string, params: Params): void {
    const id = params.raw('requestId')?.toString('utf8')
    for (const [n, open] of this.#open) {
      if (open.link.at !== at || open.upstreamId !== id) continue
      this.#forget(n, open)
      this.#deps.bus.publish('linkUnasked', { id: n })
    }
  }

  /** The link is gone, and with it whoever wanted to know. */
  endLink(at: string): void {
    for (const [n, open] of this.#open) {
      if (open.link.at !== at) continue
      this.#forget(n, open)
      this.#deps.bus.publish('linkUnasked', { id: n })
    }
  }

  #forget(n: number, open: Open): void {
    clearTimeout(open.timer)
    this.#open.delete(n)
  }
}
