// The clients of a simulation: well-behaved ones, forgetful ones, and thieves. Each answer that comes back is compared with
// the call that it must belong to, and each question with what was asked before.

import { CATALOGUE } from '../../src/core/errors.ts'
import { type Judge, MOODS, type Order, questionText } from './servers.ts'
import { Connection, type Net, type Posting } from './wires.ts'

export interface Town extends Net, Judge {
  /** Gives the connection to some worker that lives; false when there is none. */
  connect(connection: Connection): boolean
  readonly users: readonly User[]
  /** Whether the older server still works on this call. */
  isRunning(nonce: string): boolean
  /** When a worker was killed last. */
  readonly killedMs: number
}

interface Message {
  readonly id?: unknown
  readonly method?: string
  readonly params?: { readonly message?: string }
  readonly result?: {
    readonly resultType?: string
    readonly content?: readonly { readonly text?: string }[]
    readonly isError?: boolean
    readonly inputRequests?: Readonly<Record<string, { readonly params?: { readonly message?: string } }>>
    readonly requestState?: string
  }
  readonly error?: { readonly code: number; readonly message: string; readonly data?: { readonly code?: string } }
}

interface Called {
  readonly order: Order
  readonly id: number
  /** Texts of questions, and by which request id (older) or state (newer) they came. */
  readonly asked: Map<string, string>
  state: 'open' | 'done' | 'left' | 'lost'
  readonly sinceMs: number
  /** One of its retries was sent twice: the other one may have had the answer. */
  isRepeated: boolean
  /** When it was asked something last, or heard anything on its stream. */
  askedMs: number
  connection: Connection | null
  /** What its stream can be resumed by. */
  lastEventId: string | null
}

interface Stolen {
  readonly id?: unknown
  readonly state?: string
  readonly order: Order
  readonly keys: readonly string[]
}

const REVISION = { legacy: '2025-11-25', modern: '2026-07-28' } as const
const CAPABILITIES = { elicitation: { form: {} } }

export class User {
  readonly name: string
  readonly era: 'legacy' | 'modern'
  readonly #town: Town
  #session: string | null = null
  #isGreeting = false
  #lastId = 0
  readonly #calls = new Map<number, Called>()
  /** What a thief may have overheard of this user. */
  overheard: Stolen | null = null

  constructor(name: string, era: 'legacy' | 'modern', town: Town) {
    this.name = name
    this.era = era
    this.#town = town
  }

  /** Calls that still wait for their answer. */
  get open(): readonly string[] {
    return [...this.#calls.values()].filter(({ state }) => state === 'open').map(({ order }) => order.nonce)
  }

  /** Does something. */
  act(): void {
    const { random } = this.#town
    if (this.era === 'legacy' && this.#session === null) {
      this.#greet()
      return
    }
    if (random.chance(0.1)) {
      this.#steal()
      return
    }
    if (random.chance(0.06)) {
      this.#leave()
      return
    }
    if (random.chance(0.04)) {
      this.#cancel()
      return
    }
    if (random.chance(0.4) && this.#drop()) return
    if (random.chance(0.01) && this.era === 'legacy') {
      this.#end()
      return
    }
    if (this.open.length < 6) this.#call()
  }

  #call(): void {
    const { random } = this.#town
    const id = this.#nextId()
    const asks = random.chance(0.6) ? random.int(4) : 0
    const order: Order = {
      ...{ who: this.name, nonce: `${this.name}-${id}`, asks, atOnce: random.chance(0.4), mood: random.pick(MOODS) },
    }
    const sinceMs = this.#town.time.nowMs
    const called: Called = {
      order,
      id,
      asked: new Map(),
      state: 'open',
      connection: null,
      sinceMs,
      askedMs: sinceMs,
      isRepeated: false,
      lastEventId: null,
    }
    this.#calls.set(id, called)
    this.#town.count(`calls ${this.era}`)
    this.#send(called, id, {})
  }

  #send(called: Called, id: number, more: object, isAttempt = false): void {
    const upstream = this.#town.random.pick(['old', 'new'])
    const name = (called.connection?.headers['mcp-name'] as string | undefined) ?? `${upstream}-work`
    const params = { name, arguments: called.order, ...more }
    const connection = this.#post(
      'tools/call',
      id,
      params,
      name,
      (message) => this.#take(called, id, message),
      (whole) => {
        if (called.state !== 'open' || isAttempt || called.connection !== connection) return
        if (!whole && called.lastEventId !== null) this.#resumeSoon(called)
        // The worker is gone, and the client knows it: nothing is lost silently.
        else if (!whole) called.state = 'lost'
        else if (called.connection === connection && this.era === 'legacy') {
          called.state = 'lost'
          this.#town.fault(`${called.order.nonce} ended without an answer`)
        }
      },
    )
    called.connection = connection
    connection.onEventId = (eventId) => this.#heard(called, eventId)
  }

  // --- streams that break -------------------------------------------------------------------------------------------------

  /** What comes on the stream of a call is of that stream, and new. */
  #heard(called: Called, eventId: string): void {
    const [, before = null, beforeSeq = -1] = /^(c\..*)\.(\d+)(?:\.end)?$/.exec(called.lastEventId ?? '') ?? []
    const [, name, seq] = /^(c\..*)\.(\d+)(?:\.end)?$/.exec(eventId) ?? []
    if (name === undefined || (before !== null && before !== name))
      this.#town.fault(`${called.order.nonce} hears another stream: ${eventId} after ${called.lastEventId}`)
    if (Number(seq) <= Number(beforeSeq)) this.#town.fault(`${called.order.nonce} hears ${eventId} again`)
    called.lastEventId = eventId
    // What ends a stream may say that it is lost: then the event before it counts.
    if (eventId.endsWith('.end')) return
    called.askedMs = this.#town.time.nowMs
  }

  /** The connection of a call breaks, and its client knows how to go on. False where there is none. */
  #drop(): boolean {
    const droppable = [...this.#calls.values()].filter(
      ({ state, lastEventId, connection }) => state === 'open' && lastEventId !== null && connection?.isOver === false,
    )
    const called = this.#town.random.pick(droppable)
    if (called === undefined) return false
    this.#town.count('streams that broke')
    called.connection!.abort()
    return true
  }

  #resumeSoon(called: Called): void {
    const { random, time } = this.#town
    time.after(random.chance(0.02) ? 700_000 : random.int(3_000), () => {
      if (called.state === 'open') this.#resume(called)
    })
  }

  #resume(called: Called): void {
    const { lastEventId, order } = called
    if (this.#session === null) {
      called.state = 'lost'
      return
    }
    this.#town.count('resumed')
    const headers = { ...this.#headers('', ''), accept: 'text/event-stream', 'last-event-id': lastEventId! }
    const connection = this.#connect(
      { method: 'GET', path: '/mcp', headers },
      (message) => {
        // Refused before there was a stream: it is tried again, as long as there is hope.
        if (message.id !== null || message.error === undefined) return this.#take(called, called.id, message)
        const { code } = message.error.data ?? {}
        this.#town.count(`resume refused: ${code}`)
        if (code === 'OVERLOADED' || code === 'SHUTTING_DOWN') return
        if (code !== 'SESSION_NOT_FOUND') this.#town.fault(`${order.nonce} cannot be resumed: ${code}`)
        called.state = 'lost'
      },
      (isWhole) => {
        if (called.state !== 'open' || called.connection !== connection) return
        if (isWhole && connection.status === 204) this.#town.fault(`${order.nonce} has ended, but nobody heard it`)
        this.#resumeSoon(called)
      },
    )
    called.connection = connection
    connection.onEventId = (eventId) => this.#heard(called, eventId)
  }

  #take(called: Called, id: number, message: Message): void {
    const { order } = called
    if (message.method === 'elicitation/create') {
      this.#asked(called, message)
      return
    }
    if (message.method !== undefined) return
    if (message.id !== id && message.id !== null) {
      this.#town.fault(`${order.nonce} got the answer to ${message.id}`)
      return
    }
    if (called.state === 'done') {
      this.#town.fault(`${order.nonce} was answered twice`)
      return
    }
    if (message.error !== undefined) {
      const { code } = message.error.data ?? {}
      if (code !== undefined && !(code in CATALOGUE)) this.#town.fault(`${order.nonce}: unknown error ${code}`)
      if (code === 'INTERNAL') this.#town.fault(`${order.nonce}: ${message.error.message}`)
      this.#town.count(`error ${code ?? message.error.code}`)
      // The owner of a parked call is lost only with its worker, or long after its client should have come.
      if (
        code === 'OWNER_LOST' &&
        !called.isRepeated &&
        this.#town.killedMs < called.sinceMs &&
        this.#town.time.nowMs - called.askedMs < 600_000
      )
        this.#town.fault(`${order.nonce}: its owner is lost, but no worker is`)
      if (code === 'SESSION_NOT_FOUND') this.#session = null
      called.state = 'done'
      return
    }
    const { result } = message
    if (result?.resultType === 'input_required') {
      this.#required(called, result)
      return
    }
    const text = result?.content?.[0]?.text ?? ''
    if (result?.isError !== true && text !== `${order.who}:${order.nonce}`)
      this.#town.fault(`${order.nonce} got ${JSON.stringify(result)}`)
    this.#town.count(result?.isError === true ? 'tool errors' : 'answers')
    called.state = 'done'
  }

  // --- questions, older revisions -----------------------------------------------------------------------------------------

  #asked(called: Called, message: Message): void {
    const text = message.params?.message ?? ''
    const id = String(message.id)
    const { random, time } = this.#town
    if (text !== 'flood') {
      if (!text.startsWith(`${called.order.nonce}/`)) this.#town.fault(`${called.order.nonce} was asked ${text}`)
      const before = called.asked.get(text)
      if (before !== undefined && before !== id) this.#town.fault(`${text} was asked twice`)
      if (before !== undefined) return
      called.asked.set(text, id)
    }
    this.overheard = { id: message.id, order: called.order, keys: [] }
    if (random.chance(0.05)) return
    const times = random.chance(0.1) ? 2 : 1
    for (let n = 0; n < times; n += 1) {
      const ms = random.chance(0.02) ? 700_000 : random.int(3_000)
      time.after(ms, () => this.#answer(message.id, text))
    }
  }

  #answer(id: unknown, text: string): void {
    if (this.#session === null) return
    const result = this.#town.random.chance(0.1)
      ? { action: 'decline' }
      : { action: 'accept', content: { said: `${this.name}:${text}` } }
    this.#raw({ id, result })
  }

  // --- questions, 2026-07-28 ----------------------------------------------------------------------------------------------

  #required(called: Called, result: NonNullable<Message['result']>): void {
    const { random, time } = this.#town
    const { requestState, inputRequests = {} } = result
    called.askedMs = time.nowMs
    const entries = Object.entries(inputRequests)
    for (const [, { params }] of entries) {
      const text = params?.message ?? ''
      if (text !== 'flood' && !text.startsWith(`${called.order.nonce}/`))
        this.#town.fault(`${called.order.nonce} was asked ${text}`)
    }
    if (requestState === undefined) {
      this.#town.fault(`${called.order.nonce}: input_required without a state`)
      return
    }
    this.overheard = { state: requestState, order: called.order, keys: entries.map(([key]) => key) }
    if (random.chance(0.06)) {
      called.state = 'left'
      return
    }
    const responses = entries
      .filter(() => !random.chance(0.03))
      .map(([key, { params }]) => [key, this.#responseTo(params)])
    const more = { inputResponses: Object.fromEntries(responses), requestState }
    time.after(random.chance(0.02) ? 700_000 : random.int(3_000), () => {
      if (called.state !== 'open') return
      // Twice at the same time: one of the two is refused, and nothing is answered twice.
      if (random.chance(0.08)) this.#replay(called, more)
      this.#send(called, this.#nextId(), more)
    })
  }

  #responseTo(params: { readonly message?: string } | undefined): object {
    if (this.#town.random.chance(0.05)) return { action: 'cancel' }
    return { action: 'accept', content: { said: `${this.name}:${params?.message ?? ''}` } }
  }

  /** The same retry once more: whichever comes second may say anything but somebody else's answer. */
  #replay(called: Called, more: object): void {
    called.isRepeated = true
    const name = called.connection!.headers['mcp-name']!
    const id = this.#nextId()
    this.#post('tools/call', id, { name, arguments: called.order, ...more }, name, (message) => {
      const text = message.result?.content?.[0]?.text
      if (
        message.result?.resultType === 'complete' &&
        text !== undefined &&
        text !== `${this.name}:${called.order.nonce}`
      ) {
        if (message.result.isError !== true) this.#town.fault(`the repetition of ${called.order.nonce} got ${text}`)
      }
      // The real one may come second, and be refused.
      if (message.result !== undefined && called.state === 'open') called.state = 'left'
    })
  }

  // --- bad manners --------------------------------------------------------------------------------------------------------

  /** Takes what another user has overheard, with the thief's own token. */
  #steal(): void {
    const victim = this.#town.random.pick(this.#town.users)
    const { overheard } = victim
    if (overheard === null || victim.name === this.name) return
    this.#town.count('thefts')
    const said = { action: 'accept', content: { said: `${this.name}: stolen` } }
    if (overheard.id !== undefined && this.era === 'legacy') this.#raw({ id: overheard.id, result: said })
    if (overheard.state === undefined || this.era !== 'modern') return
    const inputResponses = Object.fromEntries(overheard.keys.map((key) => [key, said]))
    for (const name of ['old-work', 'new-work']) {
      const params = { name, arguments: overheard.order, inputResponses, requestState: overheard.state }
      this.#post('tools/call', this.#nextId(), params, name, (message) => {
        if (message.result !== undefined && message.result.isError !== true)
          this.#town.fault(`${this.name} got on with the state of ${victim.name}: ${JSON.stringify(message.result)}`)
      })
    }
  }

  /** Goes away in the middle of a call. */
  #leave(): void {
    const called = this.#anyOpen()
    if (called === undefined || called.connection === null) return
    this.#town.count('clients that left')
    called.state = 'left'
    const { connection } = called
    const wasWaiting = !connection.isOver
    connection.abort()
    const { nonce } = called.order
    // A client of the newer revision that goes away has cancelled its call, upstream too.
    if (this.era === 'modern' && wasWaiting)
      this.#town.time.after(10_000, () => {
        if (this.#town.isRunning(nonce) && !connection.isAnswered)
          this.#town.fault(`${nonce} goes on without its client`)
      })
  }

  #anyOpen(): Called | undefined {
    return this.#town.random.pick([...this.#calls.values()].filter(({ state }) => state === 'open'))
  }

  #cancel(): void {
    const called = this.#anyOpen()
    if (called === undefined) return
    this.#town.count('cancellations')
    if (this.era === 'modern') {
      this.#leave()
      return
    }
    called.state = 'left'
    this.#raw({ method: 'notifications/cancelled', params: { requestId: called.id } })
  }

  #end(): void {
    for (const called of this.#calls.values()) if (called.state === 'open') called.state = 'left'
    const posting: Posting = { method: 'DELETE', path: '/mcp', headers: this.#headers('', ''), body: null }
    this.#session = null
    this.#connect(posting, () => {})
  }

  // --- requests -----------------------------------------------------------------------------------------------------------

  #greet(): void {
    if (this.#isGreeting) return
    this.#isGreeting = true
    const clientInfo = { name: this.name, version: '1' }
    const params = { protocolVersion: REVISION.legacy, capabilities: CAPABILITIES, clientInfo }
    const body = JSON.stringify({ jsonrpc: '2.0', id: this.#nextId(), method: 'initialize', params })
    const headers = { authorization: `Bearer ${this.name}` }
    const connection = new Connection(
      this.#town,
      { method: 'POST', path: '/mcp', headers, body },
      {
        onReply: (_status, answer) => {
          this.#session = answer['mcp-session-id'] ?? null
        },
        onEvent: () => {},
        onEnd: () => {
          this.#isGreeting = false
        },
      },
      () => {},
    )
    if (!this.#town.connect(connection)) this.#isGreeting = false
  }

  #headers(method: string, name: string): Record<string, string> {
    const headers: Record<string, string> = { authorization: `Bearer ${this.name}` }
    if (this.era === 'legacy') {
      if (this.#session !== null) headers['mcp-session-id'] = this.#session
      return { ...headers, 'mcp-protocol-version': REVISION.legacy }
    }
    return { ...headers, 'mcp-protocol-version': REVISION.modern, 'mcp-method': method, 'mcp-name': name }
  }

  #post(
    method: string,
    id: number,
    params: object,
    name: string,
    onMessage: (message: Message) => void,
    onEnd: (isWhole: boolean) => void = () => {},
  ): Connection {
    const meta = {
      'io.modelcontextprotocol/protocolVersion': REVISION.modern,
      'io.modelcontextprotocol/clientInfo': { name: this.name, version: '1' },
      'io.modelcontextprotocol/clientCapabilities': CAPABILITIES,
    }
    const whole = this.era === 'modern' ? { ...params, _meta: meta } : params
    const body = JSON.stringify({ jsonrpc: '2.0', id, method, params: whole })
    // Also kept by an older client: it is how a retry finds the name again.
    const headers = { ...this.#headers(method, name), ...(this.era === 'legacy' ? { 'mcp-name': name } : {}) }
    return this.#connect({ method: 'POST', path: '/mcp', headers, body }, onMessage, onEnd)
  }

  #raw(message: object): void {
    const body = JSON.stringify({ jsonrpc: '2.0', ...message })
    this.#connect({ method: 'POST', path: '/mcp', headers: this.#headers('', ''), body }, () => {})
  }

  #connect(
    posting: Posting,
    onMessage: (message: Message) => void,
    onEnd: (isWhole: boolean) => void = () => {},
  ): Connection {
    let rest = ''
    const connection = new Connection(
      this.#town,
      posting,
      {
        onReply: (status, _headers, body) => {
          if (status === 404 && this.era === 'legacy') this.#session = null
          if (body !== '') onMessage(JSON.parse(body) as Message)
        },
        onEvent: (text) => {
          const events = (rest + text).split('\n\n')
          rest = events.pop()!
          for (const one of events) {
            const id = /^id: (.*)$/m.exec(one)?.[1]
            if (id !== undefined) connection.onEventId(id)
            const data = one
              .split('\n')
              .filter((line) => line.startsWith('data:'))
              .map((line) => line.slice(5))
              .join('\n')
              .trim()
            if (data !== '') onMessage(JSON.parse(data) as Message)
          }
        },
        onEnd,
      },
      () => {},
    )
    if (!this.#town.connect(connection)) connection.lose()
    return connection
  }

  #nextId(): number {
    this.#lastId += 1
    return this.#lastId
  }
}

export { questionText }
