// MCP over standard input and output for a client that only spawns, carried to a gateway over streamable HTTP. The bytes
// of messages pass as they are: only methods, ids and the revision are read, to know which POST a message belongs to.
// Older revisions: one session with its GET stream; questions and answers pass both ways; a session that the gateway no
// longer knows is begun again, and what it had refused for that is sent again, once: it had not been looked at.
// 2026-07-28: each request is its own POST; `notifications/cancelled` closes it.
// A request whose answer is lost with its connection gets an error and is not sent again: it may have been carried out.
// Absent on purpose: Mcp-Param-* headers (a call of a tool that wants them is refused as HEADER_MISMATCH), and resumption.

import type { Agent, ClientRequest, IncomingMessage } from 'node:http'
import type { Readable, Writable } from 'node:stream'
import { setTimeout as sleep } from 'node:timers/promises'
import { type ErrorCode, GatewayError } from '../core/errors.ts'
import { LIMITS } from '../core/limits.ts'
import { encodeHeaderValue, isRecord, META, NAMED } from '../mcp/classify.ts'
import { encodeError, encodeNotification, type Message, readBody } from '../mcp/jsonrpc.ts'
import { SseReader } from '../mcp/sse.ts'

export interface BridgeOptions {
  /** Address of the MCP endpoint. */
  readonly endpoint: string
  readonly token: string | null
  readonly input: Readable
  readonly output: Writable
  /** For people, on standard error. */
  readonly log: (text: string) => void
}

export const IN_FLIGHT_MAX = 256
const ANSWER_BYTES = 64 * 1024 * 1024
/** An open stream has a comment every 15 s, and no call may be silent for longer than this. */
const SILENT_MS = LIMITS.callMsMax + 60_000
const STREAM_SILENT_MS = 4 * LIMITS.keepAliveCommentMs
const LAST_ANSWERS_MS = 5_000
const REOPEN_MS = 1_000
const NEWLINE = 0x0a
const LINE_END = Buffer.from('\n')

interface Session {
  readonly id: string | null
  readonly revision: string
}

type Headers = Record<string, string>

export class StdioBridge {
  readonly #options: BridgeOptions
  readonly #http: typeof import('node:http')
  readonly #agent: Agent
  /** By the raw JSON text of its id. */
  readonly #inFlight = new Map<string, { request: ClientRequest | null; isModern: boolean; isCancelled: boolean }>()
  readonly #running = new Set<Promise<void>>()
  /** Every open request, the GET stream's too. */
  readonly #requests = new Set<ClientRequest>()
  /** What must have been delivered before a later message is: greetings, notifications and responses. */
  #order: Promise<void> = Promise.resolve()
  #orderLength = 0
  #greeting: Buffer | null = null
  #session: Session | null = null
  #renewing: Promise<void> | null = null
  #modernRevision: string | null = null
  #partial: Buffer[] = []
  #partialBytes = 0
  #isTooLong = false
  #isClosed = false

  constructor(options: BridgeOptions) {
    this.#options = options
    const builtin = options.endpoint.startsWith('https:') ? 'node:https' : 'node:http'
    this.#http = process.getBuiltinModule(builtin) as typeof import('node:http')
    this.#agent = new this.#http.Agent({ keepAlive: true })
  }

  /** Until the input ends; then the answers that are still to come get a moment, and the session is ended. */
  async run(): Promise<void> {
    for await (const chunk of this.#options.input) {
      for (const line of this.#lines(chunk as Buffer)) await this.#take(line)
      if (this.#isClosed) break
    }
    const late = new AbortController()
    await Promise.race([
      Promise.allSettled([this.#order, ...this.#running]),
      sleep(LAST_ANSWERS_MS, null, { signal: late.signal }).catch(() => null),
    ])
    late.abort()
    await this.close()
  }

  async close(): Promise<void> {
    if (this.#isClosed) return
    this.#isClosed = true
    for (const request of this.#requests) request.destroy()
    if (this.#session !== null && this.#session.id !== null) {
      const ended = this.#send('DELETE', this.#sessionHeaders(), null, LAST_ANSWERS_MS)
      await ended.then(({ answer }) => drained(answer)).catch(() => null)
    }
    this.#agent.destroy()
    this.#options.input.destroy()
  }

  /** Whole lines; of one that is too long only its beginning is kept, for it is refused. */
  *#lines(chunk: Buffer): Generator<Buffer> {
    let from = 0
    for (;;) {
      const end = chunk.indexOf(NEWLINE, from)
      const part = chunk.subarray(from, end < 0 ? chunk.length : end)
      if (this.#partialBytes + part.length > LIMITS.bodyBytes) {
        this.#isTooLong = true
        this.#partial = []
        this.#partialBytes = 0
      } else if (!this.#isTooLong) {
        this.#partial.push(part)
        this.#partialBytes += part.length
      }
      if (end < 0) return
      const line = Buffer.concat(this.#partial)
      this.#partial = []
      this.#partialBytes = 0
      if (this.#isTooLong) void this.#write(errorLine(null, 'TOO_LARGE', `A line may hold ${LIMITS.bodyBytes} bytes`))
      else if (line.length > 0 && line.toString('latin1').trim() !== '') yield line
      this.#isTooLong = false
      from = end + 1
    }
  }

  async #take(line: Buffer): Promise<void> {
    let message: Message
    try {
      const read = readBody(line)
      if (Array.isArray(read)) throw new GatewayError('INVALID_REQUEST', 'Batches do not exist on this transport')
      message = read
    } catch (error) {
      const { code, message } = error instanceof GatewayError ? error : new GatewayError('PARSE_ERROR')
      return this.#write(errorLine(null, code, message))
    }
    if (message.kind === 'request') return this.#request(message)
    if (message.method === 'notifications/cancelled' && this.#cancel(message)) return
    if (this.#orderLength >= IN_FLIGHT_MAX) await this.#order
    this.#orderLength += 1
    this.#order = this.#order
      .then(() => this.#deliver(message))
      .finally(() => {
        this.#orderLength -= 1
      })
  }

  /** False where the notification itself has to reach the gateway: sessions know cancellation by it. */
  #cancel(message: Message): boolean {
    const call = this.#inFlight.get(message.params.raw('requestId')?.toString() ?? '')
    if (call === undefined || !call.isModern) return false
    call.isCancelled = true
    call.request?.destroy()
    return true
  }

  async #request(message: Message): Promise<void> {
    const id = message.id!
    const key = id.toString()
    if (this.#inFlight.has(key)) return this.#write(errorLine(id, 'INVALID_REQUEST', 'This id is in use'))
    if (this.#inFlight.size >= IN_FLIGHT_MAX)
      return this.#write(errorLine(id, 'OVERLOADED', `At most ${IN_FLIGHT_MAX} requests may run at a time`))
    const claim = message.params.metaValue(META.version)
    const modern = typeof claim === 'string' ? claim : null
    this.#inFlight.set(key, { request: null, isModern: modern !== null, isCancelled: false })
    const running = this.#order
      .then(() => (modern === null ? this.#call(message) : this.#callModern(message, modern)))
      .catch((error: unknown) => this.#fail(id, key, error))
      .finally(() => {
        this.#inFlight.delete(key)
        this.#running.delete(running)
      })
    this.#running.add(running)
    // Nothing may overtake the greeting: what follows needs its session.
    if (message.method === 'initialize') this.#order = running
  }

  async #fail(id: Buffer, key: string, error: unknown): Promise<void> {
    if (this.#isClosed || this.#inFlight.get(key)?.isCancelled === true) return
    const { code, message } = error instanceof GatewayError ? error : lost(error)
    this.#options.log(`${code}  ${message}`)
    await this.#write(errorLine(id, code, message))
  }

  async #callModern(message: Message, revision: string): Promise<void> {
    this.#modernRevision = revision
    const headers: Headers = { 'mcp-protocol-version': revision, 'mcp-method': encodeHeaderValue(message.method) }
    const member = NAMED[message.method]
    const name = member === undefined ? undefined : message.params.value(member)
    if (typeof name === 'string') headers['mcp-name'] = encodeHeaderValue(name)
    const { answer } = await this.#post(message, headers)
    await this.#pass(answer, message.id!)
  }

  async #call(message: Message): Promise<void> {
    const isGreeting = message.method === 'initialize'
    if (isGreeting) {
      this.#greeting = message.bytes
      this.#session = null
    }
    const session = this.#session
    let { answer } = await this.#post(message, isGreeting ? {} : this.#sessionHeaders())
    if (answer.statusCode === 404 && !isGreeting && this.#greeting !== null) {
      await drained(answer)
      // Another request may have missed it first.
      if (this.#session === session || this.#renewing !== null) await this.#renew()
      ;({ answer } = await this.#post(message, this.#sessionHeaders()))
    }
    if (!isGreeting) return this.#pass(answer, message.id!)
    const body = await wholeBody(answer)
    this.#greeted(answer, body)
    await this.#passBody(answer, body, message.id!)
  }

  #greeted(answer: IncomingMessage, body: Buffer): void {
    const read = parsed(body)
    const result = isRecord(read) && isRecord(read.result) ? read.result : null
    if (answer.statusCode !== 200 || typeof result?.protocolVersion !== 'string') return
    const id = answer.headers['mcp-session-id']
    this.#session = { id: typeof id === 'string' ? id : null, revision: result.protocolVersion }
  }

  /** Begins a session like the one that is gone, unseen by the client. Once at a time, however many requests miss it. */
  #renew(): Promise<void> {
    this.#renewing ??= this.#greetAgain().finally(() => {
      this.#renewing = null
    })
    return this.#renewing
  }

  async #greetAgain(): Promise<void> {
    this.#options.log('the gateway no longer knows this session: it is begun again')
    const { answer } = await this.#send('POST', {}, this.#greeting, SILENT_MS)
    this.#session = null
    this.#greeted(answer, await wholeBody(answer))
    if (this.#session === null)
      throw new GatewayError('SESSION_NOT_FOUND', 'The session is lost and cannot be begun again')
    const initialized = encodeNotification('notifications/initialized', null)
    await drained((await this.#send('POST', this.#sessionHeaders(), initialized, SILENT_MS)).answer)
    void this.#listen(this.#session)
  }

  /** A notification, or a response to a question of the gateway: nobody waits for what becomes of it. */
  async #deliver(message: Message): Promise<void> {
    const headers =
      this.#session === null && this.#modernRevision !== null
        ? { 'mcp-protocol-version': this.#modernRevision }
        : this.#sessionHeaders()
    try {
      await drained((await this.#send('POST', headers, message.bytes, SILENT_MS)).answer)
    } catch (error) {
      this.#options.log(
        `${message.method === '' ? 'a response' : message.method} did not arrive: ${lost(error).message}`,
      )
    }
    if (message.method === 'notifications/initialized' && this.#session !== null) void this.#listen(this.#session)
  }

  /** What nobody asked for, as long as this session is the one. */
  async #listen(session: Session): Promise<void> {
    while (!this.#isClosed && this.#session === session) {
      try {
        const { answer } = await this.#send('GET', this.#sessionHeaders(), null, STREAM_SILENT_MS)
        if (answer.statusCode === 404) {
          await drained(answer)
          if (this.#session === session) await this.#renew()
          return
        }
        if (answer.statusCode !== 200) return await drained(answer)
        await this.#passEvents(answer, null)
      } catch (error) {
        if (!this.#isClosed) this.#options.log(`the stream of the session has ended: ${lost(error).message}`)
      }
      await sleep(REOPEN_MS, null, { ref: false })
    }
  }

  async #pass(answer: IncomingMessage, id: Buffer): Promise<void> {
    if (/^text\/event-stream/i.test(answer.headers['content-type'] ?? '')) return this.#passEvents(answer, id)
    return this.#passBody(answer, await wholeBody(answer), id)
  }

  /** The answer of a POST as the line that the client waits for, under its own id whatever the gateway could read of it. */
  async #passBody(answer: IncomingMessage, body: Buffer, id: Buffer): Promise<void> {
    const read = parsed(body)
    if (isRecord(read) && JSON.stringify(read.id) === JSON.stringify(parsed(id))) return this.#write(body)
    if (isRecord(read) && isRecord(read.error) && typeof read.error.code === 'number')
      return this.#write(encodeError(id, { ...read.error, code: read.error.code, message: String(read.error.message) }))
    throw new GatewayError('UPSTREAM_INVALID', `What answers is not an mcp-gateway (HTTP ${answer.statusCode})`)
  }

  async #passEvents(answer: IncomingMessage, id: Buffer | null): Promise<void> {
    const lines: Buffer[] = []
    const reader = new SseReader(ANSWER_BYTES, ({ data }) => {
      if (data.length > 0) lines.push(data)
    })
    const wanted = id === null ? null : JSON.stringify(parsed(id))
    let isAnswered = wanted === null
    for await (const chunk of answer) {
      reader.push(chunk as Buffer)
      for (const line of lines.splice(0)) {
        if (!isAnswered) isAnswered = isAnswer(line, wanted!)
        await this.#write(line)
      }
    }
    if (!isAnswered) throw new Error('the stream ended before the answer')
  }

  #sessionHeaders(): Headers {
    if (this.#session === null) return {}
    const { id, revision } = this.#session
    return { 'mcp-protocol-version': revision, ...(id === null ? {} : { 'mcp-session-id': id }) }
  }

  #post(message: Message, headers: Headers): Promise<{ answer: IncomingMessage }> {
    const call = this.#inFlight.get(message.id!.toString())
    if (call?.isCancelled === true) throw new GatewayError('CANCELLED')
    return this.#send('POST', headers, message.bytes, SILENT_MS, (request) => {
      if (call !== undefined) call.request = request
    })
  }

  /** The head of the answer. The connection is given up after `silentMs` without a byte. */
  #send(
    method: 'GET' | 'POST' | 'DELETE',
    more: Headers,
    body: Buffer | null,
    silentMs: number,
    onRequest?: (request: ClientRequest) => void,
  ): Promise<{ answer: IncomingMessage }> {
    const headers: Record<string, string | number> = {
      accept: method === 'GET' ? 'text/event-stream' : 'application/json, text/event-stream',
      ...more,
    }
    if (this.#options.token !== null) headers.authorization = `Bearer ${this.#options.token}`
    if (body !== null) {
      headers['content-type'] = 'application/json'
      headers['content-length'] = body.length
    }
    return new Promise((resolve, reject) => {
      const request = this.#http.request(this.#options.endpoint, { method, headers, agent: this.#agent }, (answer) =>
        resolve({ answer }),
      )
      this.#requests.add(request)
      onRequest?.(request)
      request.setTimeout(silentMs, () => request.destroy(new Error(`no byte for ${silentMs / 1_000} s`)))
      request.on('error', reject)
      request.on('close', () => {
        this.#requests.delete(request)
        reject(new Error('the connection was closed'))
      })
      request.end(body ?? undefined)
    })
  }

  /** One line, and until the client has room for the next. A line break of JSON between its tokens becomes a space. */
  async #write(message: Buffer): Promise<void> {
    const line = message.includes(NEWLINE) || message.includes(0x0d) ? oneLined(message) : message
    const { output } = this.#options
    if (output.destroyed || output.write(Buffer.concat([line, LINE_END]))) return
    await new Promise<void>((resolve) => {
      const go = (): void => {
        output.off('drain', go).off('close', go)
        resolve()
      }
      output.on('drain', go).on('close', go)
    })
  }
}

function oneLined(message: Buffer): Buffer {
  return Buffer.from(message.toString('latin1').replace(/[\r\n]+/g, ' '), 'latin1')
}

function errorLine(id: Buffer | null, code: ErrorCode, message: string): Buffer {
  const { entry } = new GatewayError(code)
  return encodeError(id, { code: entry.rpc, message, data: { code, hint: entry.hint } })
}

function lost(error: unknown): GatewayError {
  const { code, message } = error as NodeJS.ErrnoException
  return new GatewayError('UPSTREAM_UNAVAILABLE', `The gateway cannot be reached (${code ?? message})`)
}

function parsed(bytes: Buffer): unknown {
  try {
    return JSON.parse(bytes.toString('utf8'))
  } catch {
    return null
  }
}

function isAnswer(line: Buffer, wanted: string): boolean {
  const read = parsed(line)
  return isRecord(read) && !('method' in read) && JSON.stringify(read.id) === wanted
}

async function wholeBody(answer: IncomingMessage): Promise<Buffer> {
  const parts: Buffer[] = []
  let bytes = 0
  for await (const part of answer) {
    bytes += (part as Buffer).length
    if (bytes > ANSWER_BYTES) throw new Error('its answer is over 64 MiB')
    parts.push(part as Buffer)
  }
  return Buffer.concat(parts)
}

async function drained(answer: IncomingMessage): Promise<void> {
  await wholeBody(answer)
}
