// Wire talks over the two transports that keep a connection. There a message has no status and no headers, so of a talk
// remain the messages: what a request is answered with, and what comes before that.
// Absent on purpose: talks that set headers, use other methods than POST, or several tokens; they are about HTTP.

import { request } from 'node:http'
import { WebSocket } from 'ws'
import type { Talk } from './talk.ts'

export const CONNECTIONS = ['sse', 'ws'] as const
export type ConnectionKind = (typeof CONNECTIONS)[number]

/** Whether a talk says nothing that a connection has not. */
export function fitsConnection({ settings, steps }: Talk): boolean {
  if (settings.connections === 'none') return false
  return steps.every((step) =>
    step.kind === 'send'
      ? step.method === 'POST' && step.path === '{path}' && step.headers.length === 0 && step.body !== null
      : step.headers.every(({ name }) => /^(content-type|mcp-session-id)$/i.test(name)),
  )
}

export interface Told {
  readonly messages: unknown[]
  ended: boolean
  fault: string | null
  changed(): void
}

export interface Connection {
  /** `told` hears what comes for this message, and its end. */
  send(body: string, told: Told): void
  close(): void
}

interface Pending {
  /** JSON text of the id of the request, '[' for a batch. */
  readonly id: string
  readonly told: Told
}

/** What of `body` is answered: null where nothing is. */
function idOf(body: string): string | null {
  try {
    const message = JSON.parse(body) as { id?: unknown; method?: unknown } | unknown[]
    if (Array.isArray(message)) {
      const isSilent = (one: unknown): boolean => typeof one === 'object' && one !== null && !('id' in one)
      return message.length > 0 && message.every(isSilent) ? null : '['
    }
    if (message.method !== undefined && message.id === undefined) return null
    return message.method === undefined && message.id !== undefined && ('result' in message || 'error' in message)
      ? null
      : JSON.stringify(message.id ?? null)
  } catch {
    return 'null'
  }
}

class Pendings {
  #open: Pending[] = []

  add(id: string, told: Told): void {
    this.#open.push({ id, told })
  }

  /** A message that came on the connection. */
  take(message: unknown): void {
    const { id, method } = (Array.isArray(message) ? {} : message) as { id?: unknown; method?: unknown }
    const isAnswer = method === undefined
    const found = isAnswer
      ? (this.#open.find((one) => one.id === (Array.isArray(message) ? '[' : JSON.stringify(id))) ??
        (id === null ? this.#open.at(-1) : undefined))
      : this.#open.at(-1)
    if (found === undefined) return
    found.told.messages.push(message)
    if (isAnswer) this.end(found.told)
    found.told.changed()
  }

  end(told: Told): void {
    this.#open = this.#open.filter((one) => one.told !== told)
    told.ended = true
    told.changed()
  }

  fail(why: string): void {
    for (const { told } of this.#open) {
      told.fault = why
      told.changed()
    }
  }
}

export async function openConnection(kind: ConnectionKind, url: string, token: string): Promise<Connection> {
  const pendings = new Pendings()
  return kind === 'ws' ? openSocket(url, token, pendings) : openSse(url, token, pendings)
}

async function openSocket(url: string, token: string, pendings: Pendings): Promise<Connection> {
  const socket = new WebSocket(url.replace('http', 'ws'), 'mcp', { headers: { Authorization: `Bearer ${token}` } })
  socket.on('message', (data: Buffer) => pendings.take(JSON.parse(data.toString())))
  socket.on('close', (code, reason) => pendings.fail(`the socket closed with ${code} ${reason.toString()}`))
  await new Promise<void>((resolve, reject) => {
    socket.on('open', resolve)
    socket.on('error', reject)
  })
  return {
    send(body, told) {
      const id = idOf(body)
      if (id !== null) pendings.add(id, told)
      socket.send(body)
      if (id === null) pendings.end(told)
    },
    close: () => socket.close(),
  }
}

async function openSse(url: string, token: string, pendings: Pendings): Promise<Connection> {
  const authorization = { Authorization: `Bearer ${token}` }
  const { promise, resolve, reject } = Promise.withResolvers<string>()
  const stream = request(url, { headers: { ...authorization, Accept: 'text/event-stream' }, agent: false })
  stream.on('error', (error) => {
    reject(error)
    pendings.fail(error.message)
  })
  stream.on('response', (response) => {
    if (response.statusCode !== 200) reject(new Error(`GET ${url} answered ${response.statusCode}`))
    let text = ''
    response.setEncoding('utf8')
    response.on('data', (chunk: string) => {
      text += chunk
      const events = text.split('\n\n')
      text = events.pop()!
      for (const event of events) {
        const data = event
          .split('\n')
          .filter((line) => line.startsWith('data: '))
          .map((line) => line.slice(6))
          .join('\n')
        if (event.startsWith('event: endpoint\n')) resolve(new URL(data, url).href)
        else if (data !== '') pendings.take(JSON.parse(data))
      }
    })
    response.on('close', () => pendings.fail('the stream is over'))
  })
  stream.end()
  const endpoint = await promise
  return {
    send(body, told) {
      const id = idOf(body)
      if (id !== null) pendings.add(id, told)
      const headers = { ...authorization, 'Content-Type': 'application/json' }
      const post = request(endpoint, { method: 'POST', headers, agent: false })
      post.on('response', (response) => {
        let text = ''
        response.setEncoding('utf8')
        response.on('data', (chunk: string) => {
          text += chunk
        })
        response.on('end', () => {
          // What is refused is told here, and has no answer on the stream.
          if (response.statusCode !== 202 && id !== null) told.messages.push(JSON.parse(text))
          if (response.statusCode !== 202 || id === null) pendings.end(told)
        })
      })
      post.on('error', (error) => pendings.fail(error.message))
      post.end(body)
    },
    close: () => stream.destroy(),
  }
}
