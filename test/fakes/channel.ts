// One channel to a child that is a function: what is sent to it, and what it says.

import type { Channel } from '../../src/ports/children.ts'

export interface FakeChannel extends Channel {
  readonly sent: string[]
  closed: boolean
  /** The child writes this line. */
  say(line: string): void
  /** The child ends. */
  end(why: string): void
}

interface Message {
  readonly id?: string | number
  readonly method?: string
  readonly params?: Record<string, unknown>
}

/** `answer` gets every message with its raw id; what it returns is said at once, in a later turn of the loop. */
export function createFakeChannel(n = 3, answer?: (message: Message, id: string) => string | undefined): FakeChannel {
  const channel: FakeChannel = {
    n,
    sent: [],
    closed: false,
    onLine: null,
    onRefused: null,
    onDrain: null,
    onClose: null,
    send(line) {
      const text = line.toString()
      channel.sent.push(text)
      const message = JSON.parse(text) as Message
      const said = answer?.(message, JSON.stringify(message.id ?? null))
      if (said !== undefined) setImmediate(() => channel.say(said))
      return true
    },
    say(line) {
      channel.onLine?.(Buffer.from(line))
    },
    end(why) {
      channel.closed = true
      channel.onClose?.(why)
    },
    close() {
      channel.closed = true
    },
  }
  return channel
}
