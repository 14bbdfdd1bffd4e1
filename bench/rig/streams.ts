// Thousands of clients that only listen, each on a connection of its own: sessions of 2025-11-25 with their GET stream, or
// subscriptions/listen of 2026-07-28. Raw node:net, so that this process stays cheap. It says how many streams stand, and
// when the first and the last of them were told that a list has changed. Does what its parent sends, one job at a time.
// Absent on purpose: reconnecting. A stream that ends is counted as lost.

import { connect, type Socket } from 'node:net'
import { type Form, headText, initializeText, metaText, REVISION } from './talk.ts'

export interface OpenJob {
  readonly op: 'open'
  readonly form: Form
  readonly port: number
  readonly tokens: readonly string[]
  readonly count: number
  readonly msMax: number
}

/** Waits until every stream has been told of a change, from now on. */
export interface HearJob {
  readonly op: 'hear'
  readonly msMax: number
}

export type StreamsJob = OpenJob | HearJob

export interface Opened {
  readonly opened: number
  readonly ms: number
  readonly firstErrors: readonly string[]
}

export interface Heard {
  /** Streams that were told. */
  readonly told: number
  readonly events: number
  /** Streams that have ended since they were opened. */
  readonly lost: number
  /** Of the epoch, so that processes can compare. */
  readonly firstMs: number
  readonly lastMs: number
}

const OPENING_AT_ONCE = 64
const CHANGED = Buffer.from('notifications/tools/list_changed')
const HEAD_END = '\r\n\r\n'

interface Stream {
  readonly socket: Socket
  heard: number
}

const streams: Stream[] = []
let lost = 0
let onHeard: (stream: Stream, events: number) => void = () => {}

function countIn(bytes: Buffer): number {
  let found = 0
  for (let at = bytes.indexOf(CHANGED); at >= 0; at = bytes.indexOf(CHANGED, at + CHANGED.length)) found += 1
  return found
}

/** Resolves when its stream stands: its head has come, and for a subscription its acknowledgement. */
function openOne(job: OpenJob, token: string): Promise<void> {
  const host = `127.0.0.1:${job.port}`
  return new Promise((resolve, reject) => {
    const socket = connect(job.port, '127.0.0.1')
    let text = ''
    let isOpen = false
    const stream: Stream = { socket, heard: 0 }
    const post = (method: string, body: string, session: string | null): void => {
      const head = headText(job.form, host, '/mcp', token, session, method, null)
      socket.write(`${head}Content-Length: ${Buffer.byteLength(body)}\r\n\r\n${body}`)
    }
    const stand = (): void => {
      isOpen = true
      text = ''
      streams.push(stream)
      resolve()
    }
    socket.on('connect', () => {
      if (job.form === 'sessions') post('initialize', initializeText(1), null)
      else post('subscriptions/listen', subscriptionText(), null)
    })
    socket.on('data', (chunk) => {
      if (isOpen) {
        const events = countIn(chunk)
        if (events > 0) onHeard(stream, events)
        return
      }
      text += chunk.toString('latin1')
      if (job.form === 'stateless') {
        if (text.includes('subscriptions/acknowledged')) stand()
        else if (text.includes(HEAD_END) && !text.startsWith('HTTP/1.1 200')) socket.destroy(new Error(text))
        return
      }
      if (text.includes('text/event-stream') && text.includes(': open')) stand()
      else if (isWhole(text)) {
        const session = /\r\nmcp-session-id: *([^\r]*)/i.exec(text)?.[1]
        if (session === undefined) socket.destroy(new Error(text))
        else {
          text = ''
          socket.write(listenText(host, token, session))
        }
      }
    })
    socket.on('error', reject)
    socket.on('close', () => {
      if (isOpen) lost += 1
      else reject(new Error(`closed before it stood: ${text.slice(0, 200)}`))
    })
  })
}

/** Whether an answer with Content-Length has come in whole. */
function isWhole(text: string): boolean {
  const end = text.indexOf(HEAD_END)
  const length = /\r\ncontent-length: *(\d+)/i.exec(text.slice(0, end))?.[1]
  return end >= 0 && length !== undefined && text.length >= end + HEAD_END.length + Number(length)
}

function subscriptionText(): string {
  const params = `${metaText('stateless', null)}"notifications":{"toolsListChanged":true}`
  return `{"jsonrpc":"2.0","id":1,"method":"subscriptions/listen","params":{${params}}}`
}

function listenText(host: string, token: string, session: string): string {
  return (
    `GET /mcp HTTP/1.1\r\nHost: ${host}\r\nAuthorization: Bearer ${token}\r\nAccept: text/event-stream\r\n` +
    `MCP-Protocol-Version: ${REVISION.sessions}\r\nMcp-Session-Id: ${session}\r\n\r\n`
  )
}

async function open(job: OpenJob): Promise<Opened> {
  const startedMs = performance.now()
  const firstErrors: string[] = []
  const before = streams.length
  let next = 0
  const opener = async (): Promise<void> => {
    while (next < job.count && performance.now() - startedMs < job.msMax) {
      const token = job.tokens[next % job.tokens.length]!
      next += 1
      try {
        await openOne(job, token)
      } catch (error) {
        if (firstErrors.length < 5) firstErrors.push((error as Error).message)
      }
    }
  }
  await Promise.all(Array.from({ length: OPENING_AT_ONCE }, opener))
  return { opened: streams.length - before, ms: performance.now() - startedMs, firstErrors }
}

function hear({ msMax }: HearJob): Promise<Heard> {
  const nowMs = (): number => performance.timeOrigin + performance.now()
  let [told, events, firstMs, lastMs] = [0, 0, 0, 0]
  for (const stream of streams) stream.heard = 0
  return new Promise((resolve) => {
    const end = (): void => {
      clearTimeout(timer)
      onHeard = () => {}
      resolve({ told, events, lost, firstMs, lastMs })
    }
    const timer = setTimeout(end, msMax)
    onHeard = (stream, count) => {
      if (told === 0) firstMs = nowMs()
      if (stream.heard === 0) told += 1
      stream.heard += count
      events += count
      lastMs = nowMs()
      if (told === streams.length) setTimeout(end, 500)
    }
  })
}

process.on('message', (job: StreamsJob) => {
  const done: Promise<Opened | Heard> = job.op === 'open' ? open(job) : hear(job)
  done.then(
    (result) => process.send!({ result }),
    (error: Error) => process.send!({ error: error.message }),
  )
})
