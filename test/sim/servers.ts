// The servers of a simulation, one of each era. What they ask carries who must answer and for which call, so that an answer
// of the wrong caller, or of another call, shows at once. They crash, lie, stall and forget, as their calls ask for it.

import type { LinkRequest } from '../../src/http/link.ts'
import type { Answering, Net, SimServer } from './wires.ts'

/** What a call asks of its server. */
export const MOODS = [
  'well',
  'well',
  'well',
  'well',
  'slow',
  'stall',
  'break',
  'lie',
  'twice',
  'forget',
  'flood',
  'impatient',
] as const
export type Mood = (typeof MOODS)[number]

export interface Order {
  /** The caller: whoever answers a question of this call must be the same. */
  readonly who: string
  /** Names the call. */
  readonly nonce: string
  /** How many questions it takes, one after the other; or all at once. */
  readonly asks: number
  readonly atOnce: boolean
  readonly mood: Mood
}

interface Incoming {
  readonly id?: unknown
  readonly method?: string
  readonly params?: {
    readonly arguments?: Order
    readonly requestState?: string
    readonly inputResponses?: Readonly<Record<string, Answer>>
    readonly requestId?: unknown
  }
  readonly result?: Answer
  readonly error?: { readonly code: number }
}

interface Answer {
  readonly action?: string
  readonly content?: { readonly said?: string }
}

/** The text of a question: the client answers with its own name in front of it. */
export const questionText = (nonce: string, k: number): string => `${nonce}/${k}`

export interface Judge {
  /** Something happened that must never happen. */
  fault(what: string): void
  count(what: string): void
}

const JSON_TYPE = { 'content-type': 'application/json' }
const STREAM_TYPE = { 'content-type': 'text/event-stream' }
const TOOL = { name: 'work', inputSchema: { type: 'object' } }
export const DEFINITION = JSON.stringify(TOOL)

const event = (message: object): string => `data: ${JSON.stringify({ jsonrpc: '2.0', ...message })}\n\n`

/** What is said to a question, judged: an answer must be the caller's own, to this very question. */
function judge(answer: Answer | undefined, order: Order, k: number, on: Judge): void {
  if (answer?.action !== 'accept') {
    on.count('declined')
    return
  }
  on.count('answered')
  const wanted = `${order.who}:${questionText(order.nonce, k)}`
  if (answer.content?.said !== wanted) on.fault(`asked ${wanted}, was told ${JSON.stringify(answer)}`)
}

const question = (order: Order, k: number): object => ({
  method: 'elicitation/create',
  params: {
    message: questionText(order.nonce, k),
    requestedSchema: { type: 'object', properties: { said: { type: 'string' } } },
  },
})

/** What a server says under ids that are not those of its call: it must never arrive. */
export const FOREIGN = 'not yours'
const foreign = { content: [{ type: 'text', text: FOREIGN }] }

const finished = (order: Order): object => ({ content: [{ type: 'text', text: `${order.who}:${order.nonce}` }] })

interface Running {
  readonly order: Order
  readonly callId: unknown
  readonly answering: Answering
  left: number
  asked: number
  isGone: boolean
}

export class LegacyServer implements SimServer {
  readonly #net: Net
  readonly #judge: Judge
  /** Session -> the caller that it serves. */
  readonly sessions = new Map<string, string | null>()
  readonly #questions = new Map<string, { readonly run: Running; readonly k: number }>()
  #minted = 0
  readonly #open = new Set<Answering>()
  /** Nonces of calls that somebody still waits for. */
  readonly running = new Set<string>()

  constructor(net: Net, judge: Judge) {
    this.#net = net
    this.#judge = judge
  }

  /** Everything is forgotten, and every connection breaks. */
  crash(): void {
    this.sessions.clear()
    this.running.clear()
    this.#questions.clear()
    for (const answering of this.#open) answering.break()
    this.#open.clear()
  }

  handle(
    request: LinkRequest,
    headers: Readonly<Record<string, string>>,
    answering: Answering,
  ): { onGone: () => void } {
    const session = headers['mcp-session-id']
    this.#open.add(answering)
    const onGone = (): void => void this.#open.delete(answering)
    const reply = (status: number, message: object | null, more: Record<string, string> = {}): void => {
      answering.head(status, message === null ? more : { ...JSON_TYPE, ...more })
      if (message !== null) answering.data(JSON.stringify({ jsonrpc: '2.0', ...message }))
      answering.end()
      onGone()
    }
    if (headers['mcp-method'] !== undefined) {
      reply(400, { id: null, error: { code: -32000, message: 'an older server' } })
      return { onGone }
    }
    const message = JSON.parse(request.body?.toString() ?? '{}') as Incoming
    if (message.method === 'initialize') {
      this.#minted += 1
      const id = `s-${this.#minted}-${this.#net.random.int(1e9)}`
      this.sessions.set(id, null)
      const result = {
        protocolVersion: '2025-11-25',
        capabilities: { tools: {} },
        serverInfo: { name: 'old', version: '1' },
      }
      reply(200, { id: message.id, result }, { 'mcp-session-id': id })
      return { onGone }
    }
    if (session === undefined || !this.sessions.has(session)) {
      reply(session === undefined ? 400 : 404, { id: null, error: { code: -32001, message: 'no such session' } })
    } else if (request.method === 'GET') reply(405, null)
    else if (request.method === 'DELETE') {
      this.sessions.delete(session)
      reply(200, null)
    } else if (message.method === 'tools/call') return this.#call(session, message, answering)
    else {
      reply(202, null)
      if (message.method === undefined) this.#answered(String(message.id), message)
    }
    return { onGone }
  }

  #call(session: string, message: Incoming, answering: Answering): { onGone: () => void } {
    const order = message.params!.arguments!
    const owner = this.sessions.get(session)!
    if (owner !== null && owner !== order.who) this.#judge.fault(`${order.who} came on the session of ${owner}`)
    this.sessions.set(session, order.who)
    this.#judge.count('calls of the older server')
    const run: Running = { order, callId: message.id, answering, left: order.asks, asked: 0, isGone: false }
    this.running.add(order.nonce)
    const onGone = (): void => {
      run.isGone = true
      this.running.delete(order.nonce)
      this.#open.delete(answering)
    }
    const { time, random } = this.#net
    if (order.mood === 'stall') return { onGone }
    if (order.mood === 'forget') {
      this.sessions.delete(session)
      answering.head(404, JSON_TYPE)
      answering.end()
      onGone()
      return { onGone }
    }
    if (order.asks > 0 || order.mood !== 'well') answering.head(200, STREAM_TYPE)
    else answering.head(200, JSON_TYPE)
    const startMs = order.mood === 'slow' ? random.int(50_000) : random.int(50)
    time.after(startMs, () => this.#go(run))
    return { onGone }
  }

  #go(run: Running): void {
    const { order, answering, callId } = run
    if (run.isGone || !this.#open.has(answering)) return
    if (order.mood === 'break') {
      answering.data(event({ method: 'notifications/message', params: { level: 'info', data: 'bye' } }))
      answering.break()
      this.running.delete(order.nonce)
      this.#open.delete(answering)
      return
    }
    if (order.mood === 'lie') {
      answering.data(event({ id: 4711, result: foreign }))
      answering.data(event({ id: String(callId), result: foreign }))
    }
    if (order.mood === 'flood')
      for (let n = 0; n < 50; n += 1)
        answering.data(event({ id: `f${order.nonce}${n}`, method: 'elicitation/create', params: { message: 'flood' } }))
    if (run.left > 0) {
      const now = order.atOnce ? run.left : 1
      for (let n = 0; n < now; n += 1) {
        const id = `q${order.nonce}-${run.asked}`
        this.#questions.set(id, { run, k: run.asked })
        answering.data(event({ id, ...question(order, run.asked) }))
        run.asked += 1
      }
      // It asks, and then goes on without the answer.
      if (order.mood === 'impatient') this.#net.time.after(this.#net.random.int(4_000), () => this.#finish(run))
      return
    }
    this.#finish(run)
  }

  #finish(run: Running): void {
    const { order, answering, callId } = run
    if (run.isGone || !this.#open.has(answering)) return
    run.left = 0
    this.running.delete(order.nonce)
    const result = finished(order)
    if (order.asks > 0 || order.mood !== 'well') {
      answering.data(event({ id: callId, result }))
      if (order.mood === 'twice') answering.data(event({ id: callId, result: foreign }))
    } else answering.data(JSON.stringify({ jsonrpc: '2.0', id: callId, result }))
    answering.end()
    this.#open.delete(answering)
  }

  #answered(id: string, message: Incoming): void {
    const asked = this.#questions.get(id)
    if (asked === undefined) return
    this.#questions.delete(id)
    if (message.result !== undefined) judge(message.result, asked.run.order, asked.k, this.#judge)
    else this.#judge.count('refused')
    asked.run.left -= 1
    const { atOnce } = asked.run.order
    if (!atOnce || asked.run.left === 0) this.#net.time.after(this.#net.random.int(30), () => this.#go(asked.run))
  }
}

export class ModernServer implements SimServer {
  readonly #net: Net
  readonly #judge: Judge
  readonly #open = new Set<Answering>()

  constructor(net: Net, judge: Judge) {
    this.#net = net
    this.#judge = judge
  }

  crash(): void {
    for (const answering of this.#open) answering.break()
    this.#open.clear()
  }

  handle(
    request: LinkRequest,
    headers: Readonly<Record<string, string>>,
    answering: Answering,
  ): { onGone: () => void } {
    this.#open.add(answering)
    const onGone = (): void => void this.#open.delete(answering)
    const message = JSON.parse(request.body?.toString() ?? '{}') as Incoming
    const send = (status: number, body: object): void => {
      if (!this.#open.has(answering)) return
      answering.head(status, JSON_TYPE)
      answering.data(JSON.stringify({ jsonrpc: '2.0', id: message.id, ...body }))
      answering.end()
      onGone()
    }
    if (headers['mcp-method'] === undefined || message.method !== 'tools/call') {
      send(400, { error: { code: -32022, message: 'newer only', data: { supported: ['2026-07-28'] } } })
      return { onGone }
    }
    const { arguments: order, requestState, inputResponses } = message.params!
    this.#judge.count('calls of the newer server')
    if (order!.mood === 'stall') return { onGone }
    const ms = order!.mood === 'slow' ? this.#net.random.int(50_000) : this.#net.random.int(50)
    this.#net.time.after(ms, () => {
      if (order!.mood === 'break') {
        if (this.#open.has(answering)) answering.break()
        onGone()
      } else if (order!.mood === 'lie') {
        answering.head(200, JSON_TYPE)
        answering.data(JSON.stringify({ jsonrpc: '2.0', id: 'x', result: { resultType: 'complete', ...foreign } }))
        answering.end()
        onGone()
      } else send(200, { result: this.#next(order!, requestState, inputResponses) })
    })
    return { onGone }
  }

  #next(order: Order, state: string | undefined, answers: Readonly<Record<string, Answer>> | undefined): object {
    const [nonce, asked = '0'] = state?.split('/') ?? []
    let done = 0
    if (state !== undefined) {
      if (nonce !== order.nonce) this.#judge.fault(`the state of ${nonce} came with ${order.nonce}`)
      done = Number(asked)
      const first = order.atOnce ? 0 : done - 1
      for (let k = first; k < done; k += 1) judge(answers?.[`k${k}`], order, k, this.#judge)
    }
    if (done >= order.asks) return { resultType: 'complete', ...finished(order) }
    const upTo = order.atOnce ? order.asks : done + 1
    const inputRequests: Record<string, object> = {}
    for (let k = done; k < upTo; k += 1) inputRequests[`k${k}`] = question(order, k)
    return { resultType: 'input_required', inputRequests, requestState: `${order.nonce}/${upTo}` }
  }
}
