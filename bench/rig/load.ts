// The load generator: a process of its own that speaks raw HTTP/1.1 over node:net, one request in flight per connection.
// It believes nothing: every answer's id and whole text are compared with what that one request must bring. It reads the
// CPU time of the measured processes at the two edges of its own window, while the load is on.
// Jobs come by process message, one at a time; see rig/load-client.ts for the caller's side.

import { connect, type Socket } from 'node:net'
import { cpuMs } from './account.ts'
import { headerOf, type Response, ResponseReader } from './http1.ts'
import {
  answerText,
  callText,
  FILLERS,
  FIRST_ID,
  type Form,
  headText,
  INITIALIZED,
  initializeText,
  listText,
  mark,
  SALT_CHARS,
  SIZES,
  TOOLS,
  toolName,
} from './talk.ts'

export interface LoadJob {
  /** `connect` opens a new connection (and session) for every call. */
  readonly work: 'call' | 'list' | 'sse' | 'connect'
  readonly form: Form
  readonly port: number
  readonly path: string
  readonly tokens: readonly string[]
  /** What the candidate puts before the upstream's tool names. */
  readonly prefix: string
  readonly connections: number
  readonly seconds: number
  /** False sends small bodies only. */
  readonly mixed: boolean
  /** Progress events that a call of `sse` must bring. */
  readonly events: number
  /** Tools that an answer of `list` must hold. */
  readonly tools: number
  /** Always the same id: for an answer that is a constant. */
  readonly fixedId: boolean
  /** Processes whose CPU time is taken, each with its descendants. */
  readonly pids: Readonly<Record<string, number>>
}

export interface LoadResult {
  readonly requests: number
  readonly errors: number
  readonly firstErrors: readonly string[]
  readonly seconds: number
  readonly perSecond: number
  readonly p50Ms: number
  readonly p99Ms: number
  readonly maxMs: number
  /** Median time to the first byte of the answer, where it is a stream. */
  readonly firstByteMs: number
  /** Calls answered before and after the window too: what the upstream must have counted. */
  readonly callsSent: number
  readonly cpuMs: Readonly<Record<string, number>>
}

const RESPONSE_MS_MAX = 30_000
const RECONNECTS_MAX = 1_000

/** One percent steps, spread by a stride that has no factor in common with 100, so that sizes do not come in blocks. */
const SIZE_OF: readonly number[] = (() => {
  const order = SIZES.flatMap((size, n) => Array.from({ length: size.percent }, () => n))
  return Array.from({ length: 100 }, (_, n) => order[(n * 37) % 100]!)
})()

interface Shape {
  readonly n: number
  readonly id: number
  readonly tool: string
  readonly mark: string
  readonly size: number
}

class Run {
  job: LoadJob
  #salt: string
  #sent = 0
  #calls = 0
  #timing = false
  #ending = false
  #latencies: number[] = []
  #firstBytes: number[] = []
  #requests = 0
  #errors = 0
  #firstErrors: string[] = []
  #reconnects = 0
  #list: Buffer | null = null
  #lanes: Lane[] = []

  constructor(job: LoadJob) {
    this.job = job
    this.#salt = Math.floor(Math.random() * 36 ** SALT_CHARS)
      .toString(36)
      .padStart(SALT_CHARS, '0')
  }

  async run(): Promise<LoadResult> {
    const { job } = this
    this.#lanes = Array.from({ length: job.connections }, (_, n) => new Lane(this, n))
    await Promise.all(this.#lanes.map((lane) => lane.open()))
    for (const lane of this.#lanes) lane.go()
    await new Promise((resolve) => setTimeout(resolve, Math.min(250, job.seconds * 200)))
    const before = this.#cpu()
    const started = performance.now()
    this.#timing = true
    await new Promise((resolve) => setTimeout(resolve, job.seconds * 1000))
    this.#timing = false
    const seconds = (performance.now() - started) / 1000
    const after = this.#cpu()
    this.#ending = true
    await this.#drain()
    const sorted = Float64Array.from(this.#latencies).sort()
    const first = Float64Array.from(this.#firstBytes).sort()
    return {
      requests: this.#requests,
      errors: this.#errors,
      firstErrors: this.#firstErrors,
      seconds,
      perSecond: this.#requests / seconds,
      p50Ms: percentile(sorted, 0.5),
      p99Ms: percentile(sorted, 0.99),
      maxMs: percentile(sorted, 1),
      firstByteMs: percentile(first, 0.5),
      callsSent: this.#calls,
      cpuMs: Object.fromEntries(Object.keys(after).map((name) => [name, after[name]! - before[name]!])),
    }
  }

  #cpu(): Record<string, number> {
    const own = process.cpuUsage()
    const times: Record<string, number> = { load: (own.user + own.system) / 1000 }
    for (const [name, pid] of Object.entries(this.job.pids)) times[name] = cpuMs(pid)
    return times
  }

  async #drain(): Promise<void> {
    const deadline = performance.now() + RESPONSE_MS_MAX
    while (this.#lanes.some((lane) => lane.busy) && performance.now() < deadline)
      await new Promise((resolve) => setTimeout(resolve, 5))
    for (const lane of this.#lanes) {
      if (lane.busy) this.fault('no answer within 30 s')
      lane.close()
    }
  }

  get ending(): boolean {
    return this.#ending
  }

  nextShape(): Shape {
    const n = this.#sent++
    if (this.job.work !== 'list') this.#calls += 1
    return {
      n,
      id: this.job.fixedId ? FIRST_ID : FIRST_ID + (n % 8_999_999),
      tool: this.job.prefix + toolName(n % TOOLS),
      mark: mark(n, this.#salt),
      size: this.job.mixed ? SIZE_OF[n % 100]! : 0,
    }
  }

  done(startedMs: number, response: Response | null): void {
    if (!this.#timing) return
    const now = performance.now()
    this.#requests += 1
    this.#latencies.push(now - startedMs)
    if (this.job.work === 'sse' && response !== null) this.#firstBytes.push(response.firstByteMs - startedMs)
  }

  fault(what: string): void {
    this.#errors += 1
    if (this.#firstErrors.length < 5) this.#firstErrors.push(what)
  }

  /** Whether a lane may open its connection once more. */
  mayReconnect(): boolean {
    this.#reconnects += 1
    return this.#reconnects <= RECONNECTS_MAX
  }

  body(shape: Shape): string {
    const { job } = this
    if (job.work === 'list') return listText(job.form, shape.id)
    const token = job.work === 'sse' ? `"p${shape.id}"` : null
    return callText(job.form, shape.id, shape.tool, shape.mark, FILLERS[shape.size]!, token)
  }

  /** What is wrong with the answer, or null. */
  check(shape: Shape, response: Response): string | null {
    const { job } = this
    if (response.status !== 200) return `status ${response.status}: ${response.body.toString().slice(0, 200)}`
    if (job.work === 'list') return this.#checkList(shape, response.body)
    if (job.work === 'sse') return checkStream(job, shape, response)
    return checkCall(job.form, shape, response.body.toString('latin1'))
  }

  /** The first list is parsed and counted; later ones must be the same bytes but for the id. */
  #checkList(shape: Shape, body: Buffer): string | null {
    const head = Buffer.from(`{"jsonrpc":"2.0","id":${shape.id},"result":`)
    if (!body.subarray(0, head.length).equals(head))
      return `a list with another head: ${body.toString('latin1', 0, 80)}`
    const rest = body.subarray(head.length)
    if (this.#list !== null) return rest.equals(this.#list) ? null : 'a list that differs from the first one'
    const parsed = JSON.parse(body.toString()) as { result: { tools: { name: string }[]; nextCursor?: string } }
    const names = new Set(parsed.result.tools.map((tool) => tool.name))
    for (let n = 0; n < this.job.tools; n++)
      if (!names.has(this.job.prefix + toolName(n))) return `the list lacks tool ${n} (it has ${names.size})`
    if (names.size !== this.job.tools || parsed.result.nextCursor !== undefined) return 'not the whole list in one page'
    this.#list = Buffer.from(rest)
    return null
  }
}

function percentile(sorted: Float64Array, part: number): number {
  if (sorted.length === 0) return 0
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * part))]!
}

interface AnswerJson {
  id?: unknown
  method?: string
  params?: { progressToken?: unknown; progress?: number }
  result?: { isError?: boolean; content?: { type: string; text?: string }[] }
}

/** Byte for byte what the upstream says; or, from a candidate that writes its JSON in another way, the same content. */
export function checkCall(form: Form, shape: Omit<Shape, 'n' | 'tool'>, text: string): string | null {
  const id = String(shape.id)
  const filler = FILLERS[shape.size]!
  if (text === answerText(form, id, shape.mark, filler)) return null
  let answer: AnswerJson
  try {
    answer = JSON.parse(text) as AnswerJson
  } catch {
    return `no JSON: ${text.slice(0, 120)}`
  }
  if (answer.id !== shape.id) return `the answer of ${JSON.stringify(answer.id)} for the request ${id}`
  const content = answer.result?.content
  const right = content?.length === 1 && content[0]!.type === 'text' && content[0]!.text === `${shape.mark} ${filler}`
  if (!right || answer.result?.isError === true) return `wrong content for ${shape.mark}: ${text.slice(0, 160)}`
  return null
}

function checkStream(job: LoadJob, shape: Shape, response: Response): string | null {
  if (!(headerOf(response.head, 'content-type') ?? '').startsWith('text/event-stream')) return 'not an event stream'
  let progress = 0
  let answered = false
  for (const block of response.body.toString('latin1').split('\n\n')) {
    const data = block.split('\n').find((line) => line.startsWith('data:'))
    if (data === undefined) continue
    if (answered) return 'an event after the answer'
    const json = data.slice(5).trimStart()
    const event = JSON.parse(json) as AnswerJson
    if (event.method === 'notifications/progress') {
      progress += 1
      if (event.params?.progressToken !== `p${shape.id}` || event.params.progress !== progress)
        return `wrong progress for p${shape.id}: ${json.slice(0, 160)}`
    } else {
      const fault = checkCall(job.form, shape, json)
      if (fault !== null) return fault
      answered = true
    }
  }
  if (!answered) return 'a stream without an answer'
  return progress === job.events ? null : `${progress} progress events instead of ${job.events}`
}

/** One connection with at most one request in flight. */
class Lane {
  #run: Run
  #index: number
  #socket: Socket | null = null
  #session: string | null = null
  #shape: Shape | null = null
  #startedMs = 0
  #setup: ((response: Response) => void) | null = null
  #broken: ((error: Error) => void) | null = null
  #heads = new Map<string, string>()
  #opened = 0
  busy = false

  constructor(run: Run, index: number) {
    this.#run = run
    this.#index = index
  }

  /** Opens the connection, and in the `sessions` form a session on it. A refusal ends the job: there is nothing to measure. */
  async open(): Promise<void> {
    const { job } = this.#run
    const socket = connect({ port: job.port, host: '127.0.0.1', localAddress: this.#localAddress(), noDelay: true })
    this.#socket = socket
    const reader = new ResponseReader((response) => this.#received(response))
    socket.on('data', (chunk) => {
      try {
        reader.push(chunk)
      } catch (error) {
        socket.destroy(error as Error)
      }
    })
    let failure: Error | null = null
    socket.on('error', (error) => {
      failure = error
    })
    socket.on('close', () => this.#closed(socket, failure))
    await new Promise<void>((resolve, reject) => {
      this.#broken = reject
      socket.once('connect', () => resolve())
    })
    this.#heads.clear()
    if (job.form === 'sessions') {
      this.#session = null
      const opened = await this.#ask(initializeText(1), 'initialize')
      if (opened.status !== 200) throw new Error(`initialize: ${opened.status} ${opened.body.toString().slice(0, 200)}`)
      this.#session = headerOf(opened.head, 'mcp-session-id')
      this.#heads.clear()
      const told = await this.#ask(INITIALIZED, 'notifications/initialized')
      if (told.status !== 202) throw new Error(`notifications/initialized: ${told.status}`)
    }
    this.#broken = null
  }

  /** Connections that end by the thousand leave their ports waiting: many source addresses of the loopback net have enough. */
  #localAddress(): string {
    this.#opened += 1
    return `127.0.0.${2 + ((this.#opened + this.#index) % 32)}`
  }

  #ask(body: string, method: string): Promise<Response> {
    return new Promise((resolve, reject) => {
      this.#setup = resolve
      this.#broken = reject
      this.#write(method, null, this.#token(0), body)
    })
  }

  /** A session belongs to one token; without sessions every request takes the next one. */
  #token(n: number): string {
    const { job } = this.#run
    return job.tokens[(job.form === 'sessions' ? this.#index : n) % job.tokens.length]!
  }

  #write(method: string, name: string | null, token: string, body: string): void {
    const { job } = this.#run
    const key = `${token} ${method} ${name}`
    let head = this.#heads.get(key)
    if (head === undefined) {
      head = headText(job.form, `127.0.0.1:${job.port}`, job.path, token, this.#session, method, name)
      this.#heads.set(key, head)
    }
    this.#socket!.write(`${head}Content-Length: ${body.length}\r\n\r\n${body}`, 'latin1')
  }

  go(): void {
    if (this.#run.ending) {
      this.busy = false
      return
    }
    this.busy = true
    if (this.#run.job.work === 'connect') {
      void this.#connectAndCall()
      return
    }
    this.#startedMs = performance.now()
    this.#send()
  }

  #send(): void {
    const { job } = this.#run
    const shape = this.#run.nextShape()
    this.#shape = shape
    const list = job.work === 'list'
    this.#write(
      list ? 'tools/list' : 'tools/call',
      list ? null : shape.tool,
      this.#token(shape.n),
      this.#run.body(shape),
    )
  }

  async #connectAndCall(): Promise<void> {
    this.#startedMs = performance.now()
    try {
      this.#drop()
      await this.open()
      this.#send()
    } catch (error) {
      this.#run.fault(String(error))
      setTimeout(() => this.go(), 20)
    }
  }

  #received(response: Response): void {
    const setup = this.#setup
    if (setup !== null) {
      this.#setup = null
      setup(response)
      return
    }
    const shape = this.#shape
    if (shape === null) {
      this.#run.fault('an answer that nobody asked for')
      return
    }
    this.#shape = null
    const fault = this.#run.check(shape, response)
    if (fault !== null) this.#run.fault(fault)
    this.#run.done(this.#startedMs, response)
    this.go()
  }

  #closed(socket: Socket, failure: Error | null): void {
    if (socket !== this.#socket) return
    this.#socket = null
    const broken = this.#broken
    if (broken !== null) {
      this.#broken = null
      this.#setup = null
      broken(failure ?? new Error('the connection was closed while a session was opened'))
      return
    }
    if (!this.busy) return
    this.#run.fault(`the connection was closed: ${failure?.message ?? 'no reason'}`)
    this.#shape = null
    this.busy = false
    if (this.#run.ending || !this.#run.mayReconnect()) return
    this.open().then(
      () => this.go(),
      (error: unknown) => this.#run.fault(String(error)),
    )
  }

  #drop(): void {
    const socket = this.#socket
    this.#socket = null
    socket?.destroy()
  }

  close(): void {
    this.busy = false
    this.#drop()
  }
}

export function runLoad(job: LoadJob): Promise<LoadResult> {
  return new Run(job).run()
}

if (import.meta.main) {
  process.on('message', (job: LoadJob) => {
    runLoad(job).then(
      (result) => process.send!({ result }),
      (error: unknown) => process.send!({ error: String(error) }),
    )
  })
  process.on('disconnect', () => process.exit(0))
}
