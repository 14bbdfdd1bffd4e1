// Channels to the primary's children for its workers: links (links.ts) over one Unix socket per worker.
// The socket lies in a directory of mode 0700 and is 0600 itself; who can open it may talk to every child.
// A worker that reads slowly stops its own links: their child waits, and after linkStallMs the link is closed, so that
// the child's other users go on.

import { createHash } from 'node:crypto'
import { chmod, lstat, mkdir, rm } from 'node:fs/promises'
import { connect, createServer, type Server, type Socket } from 'node:net'
import { dirname, join } from 'node:path'
import { CATALOGUE, type ErrorCode, GatewayError } from '../core/errors.ts'
import type { Limits } from '../core/limits.ts'
import type { Channel, ChildConnector, Children } from '../ports/children.ts'
import type { Log } from '../ports/log.ts'
import { type Link, LinkConnection, OPEN, OPENED, REFUSED } from './links.ts'

/** The kernel's bound for the path of a Unix socket, less its last byte. */
const PATH_BYTES_MAX = 107
const ID_BYTES_MAX = 256
const REFUSAL_CHARS_MAX = 2_048
const LINK_NUMBER_MAX = 0xffff_ffff

/** Where the socket lies: in `runDirectory`, or, when that path is too long for a socket, in a directory of its own under `tmp`. */
export function childSocketPath(runDirectory: string, tmp: string): string {
  const path = join(runDirectory, 'children.sock')
  if (Buffer.byteLength(path) <= PATH_BYTES_MAX) return path
  const name = createHash('sha256').update(runDirectory).digest('hex').slice(0, 24)
  return join(tmp, `mcp-gateway-${name}`, 'children.sock')
}

// --- the primary's side

export interface ChildServerOptions {
  readonly children: Children
  readonly path: string
  readonly limits: Limits
  readonly log: Log
}

export interface ChildServer {
  listen(): Promise<void>
  close(): Promise<void>
}

/** Ours alone: another user's directory of that name in a shared /tmp would let him in between. */
async function makePrivate(directory: string): Promise<void> {
  await mkdir(directory, { recursive: true, mode: 0o700 })
  const found = await lstat(directory)
  if (!found.isDirectory() || found.uid !== (process.getuid?.() ?? found.uid)) {
    throw new GatewayError('CONFIG_INVALID', `${directory} must be a directory of the user that runs the gateway`)
  }
  if ((found.mode & 0o077) !== 0) await chmod(directory, 0o700)
}

export function createChildServer({ children, path, limits, log }: ChildServerOptions): ChildServer {
  const connections = new Set<LinkConnection>()

  const serve = (socket: Socket): void => {
    const connection = new LinkConnection(socket, limits, {
      onControl(type, number, payload) {
        if (type !== OPEN || payload.length > ID_BYTES_MAX || connection.links.has(number)) return false
        if (connection.links.size >= limits.linksMax) refuse(connection, number, new GatewayError('UPSTREAM_BUSY'))
        else void open(connection, connection.add(number), payload.toString('utf8'))
        return true
      },
      onEnd(why) {
        connections.delete(connection)
        log.debug('children.disconnected', { why })
      },
    })
    connections.add(connection)
  }

  const open = async (connection: LinkConnection, link: Link, childId: string): Promise<void> => {
    let channel: Channel
    try {
      channel = await children.connect(childId)
    } catch (error) {
      if (!connection.has(link)) return
      connection.forget(link)
      refuse(connection, link.number, error)
      return
    }
    if (connection.has(link)) attach(connection, link, channel)
    else channel.close()
  }

  const attach = (connection: LinkConnection, link: Link, channel: Channel): void => {
    let stalled: NodeJS.Timeout | null = null
    const flowing = (): void => {
      if (stalled === null) return
      clearTimeout(stalled)
      stalled = null
      channel.resume?.()
    }
    const waiting = (): void => {
      if (stalled !== null) return
      channel.pause?.()
      stalled = setTimeout(() => {
        if (!connection.has(link)) return
        log.warn('children.stalled', { ms: limits.linkStallMs })
        link.close('the worker did not take its lines in time')
        channel.close()
      }, limits.linkStallMs)
      stalled.unref()
    }
    channel.onLine = (line) => {
      if (!link.send(line) && link.queuedBytes > limits.linkWindowBytes) waiting()
    }
    channel.onRefused = (id, code, message) => link.fault(`${id} ${code} ${message}`)
    channel.onDrain = () => link.release()
    channel.onClose = (why) => {
      link.finish(why)
      waiting()
    }
    link.onLine = (line) => channel.send(line)
    link.onDrain = flowing
    link.onClose = () => {
      flowing()
      channel.close()
    }
    const payload = Buffer.allocUnsafe(4)
    payload.writeUInt32BE(channel.n)
    connection.write(OPENED, link.number, payload)
    link.welcome()
  }

  const server: Server = createServer(serve)
  server.maxConnections = limits.workersMax * 2
  return {
    async listen() {
      await makePrivate(dirname(path))
      // Left over from a gateway that was killed; a living one holds the lock of the data directory.
      await rm(path, { force: true })
      await new Promise<void>((resolve, reject) => {
        server.once('error', reject)
        server.listen(path, () => {
          server.off('error', reject)
          resolve()
        })
      })
      await chmod(path, 0o600)
    },
    async close() {
      const closed = new Promise<void>((resolve) => server.close(() => resolve()))
      for (const connection of connections) connection.end('the gateway is stopping')
      await closed
    },
  }
}

function refuse(connection: LinkConnection, number: number, error: unknown): void {
  const known = error instanceof GatewayError ? error : new GatewayError('INTERNAL')
  connection.write(REFUSED, number, Buffer.from(`${known.code} ${known.message}`.slice(0, REFUSAL_CHARS_MAX)))
}

function readFault(text: string): GatewayError {
  const [code = '', ...message] = text.split(' ')
  return new GatewayError(code in CATALOGUE ? (code as ErrorCode) : 'INTERNAL', message.join(' '))
}

// --- a worker's side

export interface ChildConnectorOptions {
  readonly path: string
  readonly limits: Limits
}

class LinkChannel implements Channel {
  readonly n: number
  onLine: Channel['onLine'] = null
  onRefused: Channel['onRefused'] = null
  onDrain: Channel['onDrain'] = null
  onClose: Channel['onClose'] = null
  readonly #link: Link
  readonly #limits: Limits

  constructor(n: number, link: Link, limits: Limits) {
    this.n = n
    this.#link = link
    this.#limits = limits
    link.onLine = (line) => {
      this.onLine?.(line)
      return true
    }
    link.onFault = (fault) => {
      const at = fault.indexOf(' ')
      const { code, message } = readFault(fault.slice(at + 1))
      this.onRefused?.(fault.slice(0, at), code, message)
    }
    link.onDrain = () => this.onDrain?.()
    link.onClose = (why) => this.onClose?.(why)
  }

  send(line: Buffer): boolean {
    if (this.#link.queuedBytes <= this.#limits.childQueueBytes) return this.#link.send(line)
    const why = 'the process does not read its input'
    this.#link.close(why)
    this.onClose?.(why)
    return false
  }

  close(): void {
    this.#link.close('')
  }
}

interface Pending {
  readonly link: Link
  readonly opened: (channel: Channel) => void
  readonly refused: (error: GatewayError) => void
}

export function createChildConnector({ path, limits }: ChildConnectorOptions): ChildConnector & { close(): void } {
  const pending = new Map<number, Pending>()
  let current: Promise<LinkConnection> | null = null
  let nextLink = 1
  let closed = false

  const onControl = (type: number, number: number, payload: Buffer): boolean => {
    const waiting = pending.get(number)
    // An answer to a wish that was given up.
    if (waiting === undefined) return type !== OPEN
    pending.delete(number)
    if (type === OPENED && payload.length === 4) {
      waiting.opened(new LinkChannel(payload.readUInt32BE(), waiting.link, limits))
      // Lines may come from the next turn on: whoever asked for the channel has put its ears on by then.
      setImmediate(() => waiting.link.welcome())
      return true
    }
    if (type !== REFUSED) return false
    waiting.refused(readFault(payload.toString('utf8')))
    return true
  }

  const dial = (): Promise<LinkConnection> =>
    new Promise((resolve, reject) => {
      const socket = connect(path)
      socket.setTimeout(limits.connectMs, () => socket.destroy(new Error('no connection in time')))
      socket.once('error', (error) => {
        current = null
        reject(new GatewayError('UPSTREAM_UNAVAILABLE', `The primary does not answer: ${error.message}`))
      })
      socket.once('connect', () => {
        socket.setTimeout(0)
        const connection = new LinkConnection(socket, limits, {
          onControl,
          onEnd() {
            current = null
          },
        })
        resolve(connection)
      })
    })

  return {
    async connect(childId) {
      if (closed) throw new GatewayError('SHUTTING_DOWN')
      current ??= dial()
      const connection = await current
      if (connection.links.size >= limits.linksMax || nextLink > LINK_NUMBER_MAX) {
        throw new GatewayError('UPSTREAM_BUSY', `The worker has ${connection.links.size} links to processes`)
      }
      const link = connection.add(nextLink)
      nextLink += 1
      const answer = new Promise<Channel>((opened, refused) => {
        const give = (message: string): void => {
          pending.delete(link.number)
          connection.forget(link)
          refused(new GatewayError('UPSTREAM_UNAVAILABLE', message))
        }
        const timer = setTimeout(() => {
          link.close('')
          give('The primary did not open the link in time')
        }, limits.connectMs)
        link.onClose = (why) => {
          clearTimeout(timer)
          give(why)
        }
        pending.set(link.number, {
          link,
          opened(channel) {
            clearTimeout(timer)
            opened(channel)
          },
          refused(error) {
            clearTimeout(timer)
            connection.forget(link)
            refused(error)
          },
        })
      })
      connection.write(OPEN, link.number, Buffer.from(childId))
      return answer
    },
    close() {
      closed = true
      void current?.then(
        (connection) => connection.end('the worker is stopping'),
        () => {},
      )
    },
  }
}
