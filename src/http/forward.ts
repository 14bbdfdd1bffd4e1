// A worker's answer to what only the primary can answer (the REST API): the request goes to the primary's Unix socket
// and its answer comes back as it is. Not on the path of a call. Absent on purpose: streams, and any judgement: the
// primary authenticates for itself.

import type { IncomingMessage } from 'node:http'
import { GatewayError } from '../core/errors.ts'
import type { Exchange, ExchangeHandler } from './exchange.ts'
import { PROBLEM_TYPE, problemText } from './problem.ts'

// Not by import, which loads more than is used: see node-exchange.ts.
const { Agent, request: httpRequest } = process.getBuiltinModule('node:http')

export interface ForwardOptions {
  readonly socketPath: string
  readonly bodyBytes: number
  readonly answerBytes: number
  readonly answerMs: number
  /** Requests that may wait for the primary at once; more are refused with OVERLOADED. */
  readonly waitingMax: number
  /** Whether the primary would read this caller's body: of anyone else none is read, only the head goes on. */
  readonly mayRead: (exchange: Exchange) => Promise<boolean>
}

export interface Forwarder {
  readonly handler: ExchangeHandler
  close(): void
}

/** Headers that belong to one connection and are written anew on the next one. */
const HOP_BY_HOP = new Set([
  'connection',
  'keep-alive',
  'transfer-encoding',
  'upgrade',
  'te',
  'trailer',
  'expect',
  'content-length',
  'date',
])

const NO_BYTES = Buffer.alloc(0)

interface Answer {
  readonly status: number
  readonly headers: string[]
  readonly body: Buffer
}

function readAnswer(response: IncomingMessage, bytesMax: number): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = []
    let bytes = 0
    response.on('data', (chunk: Buffer) => {
      bytes += chunk.length
      if (bytes > bytesMax) response.destroy(new Error('the answer is too large'))
      else chunks.push(chunk)
    })
    response.on('error', reject)
    response.on('aborted', () => reject(new Error('the answer ended early')))
    response.on('end', () => {
      const headers: string[] = []
      for (let at = 0; at < response.rawHeaders.length; at += 2) {
        const name = response.rawHeaders[at]!
        if (!HOP_BY_HOP.has(name.toLowerCase())) headers.push(name, response.rawHeaders[at + 1]!)
      }
      resolve({ status: response.statusCode ?? 502, headers, body: Buffer.concat(chunks) })
    })
  })
}

export function createForwarder(options: ForwardOptions): Forwarder {
  const agent = new Agent({ keepAlive: true, maxSockets: 32, maxFreeSockets: 4 })
  let waiting = 0

  function ask(exchange: Exchange, body: Buffer): Promise<Answer> {
    return new Promise((resolve, reject) => {
      const headers: Record<string, string | number> = {}
      for (const [name, value] of Object.entries(exchange.headers)) {
        if (value !== undefined && !HOP_BY_HOP.has(name)) headers[name] = value
      }
      if (body.length > 0) headers['content-length'] = body.length
      const path = exchange.query === '' ? exchange.path : `${exchange.path}?${exchange.query}`
      const sent = httpRequest(
        { socketPath: options.socketPath, agent, method: exchange.method, path, headers },
        (response) => {
          readAnswer(response, options.answerBytes).then(resolve, reject)
        },
      )
      sent.setTimeout(options.answerMs, () => sent.destroy(new Error('no answer in time')))
      sent.on('error', reject)
      exchange.onAbort(() => sent.destroy(new Error('the client went away')))
      sent.end(body)
    })
  }

  async function forward(exchange: Exchange): Promise<void> {
    if (waiting >= options.waitingMax) throw new GatewayError('OVERLOADED', undefined, { retryAfterSeconds: 1 })
    waiting += 1
    try {
      const body = (await options.mayRead(exchange)) ? await exchange.body(options.bodyBytes) : NO_BYTES
      const {
        status,
        headers,
        body: answer,
      } = await ask(exchange, body).catch((cause: unknown) => {
        throw new GatewayError('STORE_UNAVAILABLE', 'The primary process does not answer', {
          cause,
          retryAfterSeconds: 1,
        })
      })
      const isEmpty = answer.length === 0 || exchange.method === 'HEAD'
      exchange.reply(status, headers, isEmpty ? null : answer)
    } finally {
      waiting -= 1
    }
  }

  return {
    handler(exchange) {
      forward(exchange).catch((error: unknown) => {
        if (exchange.replied) return
        const fault = error instanceof GatewayError ? error : new GatewayError('INTERNAL')
        const retry = fault.options.retryAfterSeconds
        const headers = ['Content-Type', PROBLEM_TYPE, ...(retry === undefined ? [] : ['Retry-After', String(retry)])]
        exchange.reply(fault.entry.status, headers, problemText(fault))
      })
    },
    close: () => agent.destroy(),
  }
}
