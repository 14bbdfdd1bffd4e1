// One HTTP/1.1 exchange over a plain socket, byte for byte as the test says: for requests that no HTTP client would
// send. Reads one answer; says when the other side closed without one.

import { connect, type Socket } from 'node:net'

export interface RawAnswer {
  /** 0 when the connection was closed without an answer. */
  readonly status: number
  readonly headers: Readonly<Record<string, string>>
  readonly body: string
}

export interface RawOptions {
  readonly waitMs?: number
  /** Sent one after the other instead of at once. */
  readonly pieces?: readonly (string | Buffer)[]
  /** Closes our side for writing after the last byte. */
  readonly end?: boolean
}

export function rawExchange(origin: string, bytes: string | Buffer, options: RawOptions = {}): Promise<RawAnswer> {
  const { hostname, port } = new URL(origin)
  return new Promise((resolve, reject) => {
    const socket = connect(Number(port), hostname)
    const waitMs = options.waitMs ?? 10_000
    const timer = setTimeout(() => {
      socket.destroy()
      reject(new Error(`neither an answer nor an end within ${waitMs} ms; so far: ${received.toString('latin1')}`))
    }, waitMs)
    let received = Buffer.alloc(0)
    const done = (answer: RawAnswer): void => {
      clearTimeout(timer)
      socket.destroy()
      resolve(answer)
    }
    const take = (closed: boolean): void => {
      const answer = readAnswer(received, closed)
      if (answer !== null) done(answer)
      else if (closed) done({ status: 0, headers: {}, body: received.toString('latin1') })
    }
    socket.on('connect', () => void write(socket, [bytes, ...(options.pieces ?? [])], options.end === true))
    socket.on('data', (chunk) => {
      received = Buffer.concat([received, chunk])
      take(false)
    })
    // A server that refuses early closes while we still write: what it said before that counts.
    socket.on('error', () => take(true))
    socket.on('close', () => take(true))
  })
}

async function write(socket: Socket, pieces: readonly (string | Buffer)[], end: boolean): Promise<void> {
  for (const piece of pieces) {
    if (socket.destroyed) return
    const bytes = typeof piece === 'string' ? Buffer.from(piece, 'latin1') : piece
    if (!socket.write(bytes)) await new Promise<void>((resolve) => onceFree(socket, resolve))
  }
  if (end) socket.end()
}

function onceFree(socket: Socket, resolve: () => void): void {
  socket.once('drain', resolve)
  socket.once('close', resolve)
}

/** The first whole answer in `bytes`, or null while it is not whole. 1xx answers are skipped. */
export function readAnswer(bytes: Buffer, closed: boolean): RawAnswer | null {
  const head = bytes.indexOf('\r\n\r\n')
  if (head < 0) return null
  const [first = '', ...lines] = bytes.toString('latin1', 0, head).split('\r\n')
  const status = Number(/^HTTP\/1\.[01] (\d{3})/.exec(first)?.[1] ?? 0)
  if (status >= 100 && status < 200) return readAnswer(bytes.subarray(head + 4), closed)
  const headers: Record<string, string> = {}
  for (const line of lines) {
    const colon = line.indexOf(':')
    headers[line.slice(0, colon).toLowerCase()] = line.slice(colon + 1).trim()
  }
  const rest = bytes.subarray(head + 4)
  const length = headers['content-length']
  if (length !== undefined) {
    if (rest.length < Number(length) && !closed) return null
    return { status, headers, body: rest.toString('utf8', 0, Number(length)) }
  }
  if (headers['transfer-encoding'] === 'chunked') {
    const body = readChunks(rest)
    return body === null && !closed ? null : { status, headers, body: body ?? '' }
  }
  if (status === 204 || status === 304) return { status, headers, body: '' }
  return closed ? { status, headers, body: rest.toString('utf8') } : null
}

function readChunks(bytes: Buffer): string | null {
  const parts: Buffer[] = []
  let at = 0
  for (;;) {
    const line = bytes.indexOf('\r\n', at)
    if (line < 0) return null
    const size = Number.parseInt(bytes.toString('latin1', at, line), 16)
    if (size === 0) return Buffer.concat(parts).toString('utf8')
    if (bytes.length < line + 2 + size + 2) return null
    parts.push(bytes.subarray(line + 2, line + 2 + size))
    at = line + 2 + size + 2
  }
}
