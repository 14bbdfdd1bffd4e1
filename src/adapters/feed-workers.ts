// The feed over process messages: the primary sends each worker what differs from what that worker has, upstream by
// upstream, in pieces that the worker acknowledges. A slow worker costs the primary a few pieces and nothing more, for
// changes that come meanwhile become one difference. The worker swaps its rows when all of a difference has come.

import { setImmediate as nextTurn } from 'node:timers/promises'
import type { Limits } from '../core/limits.ts'
import type { Definition, DefinitionKind, UpstreamRow, VirtualServerRow } from '../core/model.ts'
import type { Feed, RegistryPart, RegistryRows } from '../ports/feed.ts'
import type { Log } from '../ports/log.ts'
import type { Messages } from '../ports/messages.ts'

/**
 * What the strings of a piece belong to. A part's strings are its upstream as JSON, then kind, name, JSON and seenMs of
 * each definition; with `keeps` the definitions are those that the worker has. The strings of `servers` are rows as JSON.
 */
type Item =
  | { readonly what: 'part'; readonly id: string; readonly keeps: boolean }
  | { readonly what: 'servers' }
  | { readonly what: 'removed'; readonly ids: readonly string[] }

interface Piece {
  readonly op: 'piece'
  /** Null where the piece goes on with the item of the piece before. */
  readonly item: Item | null
  readonly strings: readonly string[]
  /** The last string goes on as the first one of the next piece. */
  readonly cut: boolean
}

/** `order` where the worker would have the upstreams in another one: the first owner of a name keeps it. */
type End = { readonly op: 'end'; readonly version: number; readonly order: readonly string[] | null }
type FromPrimary = Piece | End
type FromWorker = { readonly op: 'hello' } | { readonly op: 'ack' }

/** What a string costs besides its characters. */
const STRING_CHARS = 16

// --- the primary's side

function* stringsOf(part: RegistryPart, keeps: boolean): Generator<string> {
  yield JSON.stringify(part.upstream)
  if (keeps) return
  for (const definition of part.definitions) {
    yield definition.kind
    yield definition.name
    yield definition.json
    yield definition.seenMs === undefined ? '' : String(definition.seenMs)
  }
}

/** Cuts strings into pieces of at most `charsMax` characters, in the middle of a string if need be. */
function* cutPieces(item: Item, strings: Iterable<string>, charsMax: number): Generator<Piece> {
  let begins: Item | null = item
  let batch: string[] = []
  let room = charsMax
  const flush = (cut: boolean): Piece => {
    const piece: Piece = { op: 'piece', item: begins, strings: batch, cut }
    begins = null
    batch = []
    room = charsMax
    return piece
  }
  for (const text of strings) {
    if (room <= STRING_CHARS) yield flush(false)
    let from = 0
    while (text.length - from > room - STRING_CHARS) {
      const end = from + room - STRING_CHARS
      batch.push(text.slice(from, end))
      yield flush(true)
      from = end
    }
    batch.push(text.slice(from))
    room -= text.length - from + STRING_CHARS
  }
  yield flush(false)
}

/** The ids of `next` in their order, or null when adding what is new behind what was there gives that order. */
function orderOf(old: RegistryRows | null, next: RegistryRows): readonly string[] | null {
  const wanted = [...next.parts.keys()]
  const known = old?.parts
  if (known === undefined) return null
  const found = [...known.keys()].filter((id) => next.parts.has(id))
  for (const id of wanted) if (!known.has(id)) found.push(id)
  return found.every((id, at) => id === wanted[at]) ? null : wanted
}

/** What makes `old` into `next`. */
function* difference(old: RegistryRows | null, next: RegistryRows, charsMax: number): Generator<FromPrimary> {
  const removed = old === null ? [] : [...old.parts.keys()].filter((id) => !next.parts.has(id))
  if (removed.length > 0) yield { op: 'piece', item: { what: 'removed', ids: removed }, strings: [], cut: false }
  for (const [id, part] of next.parts) {
    const known = old?.parts.get(id)
    if (known === part) continue
    const keeps = known?.definitions === part.definitions
    yield* cutPieces({ what: 'part', id, keeps }, stringsOf(part, keeps), charsMax)
  }
  if (old?.virtualServers !== next.virtualServers) {
    yield* cutPieces(
      { what: 'servers' },
      next.virtualServers.map((row) => JSON.stringify(row)),
      charsMax,
    )
  }
  yield { op: 'end', version: next.version, order: orderOf(old, next) }
}

export interface FeedSender {
  /** From now on this worker is kept up to date, until its messages close. */
  attach(messages: Messages): void
  close(): void
}

export interface FeedSenderOptions {
  readonly feed: Feed
  readonly limits: Limits
  readonly log: Log
}

export function createFeedSender({ feed, limits, log }: FeedSenderOptions): FeedSender {
  const wakers = new Set<() => void>()
  // A character is one byte or two on its way.
  const charsMax = Math.floor(limits.pieceBytes / 2)
  const stopFeed = feed.onChange(() => {
    for (const wake of wakers) wake()
  })

  const serve = async (
    messages: Messages,
    state: { unread: number; open: boolean; wake: () => void },
  ): Promise<void> => {
    let known: RegistryRows | null = null
    const sleep = (): Promise<void> =>
      new Promise((resolve) => {
        state.wake = resolve
      })
    while (state.open) {
      const rows = feed.current()
      if (rows === null || rows === known) {
        await sleep()
        continue
      }
      let until = performance.now() + limits.sliceMs
      for (const message of difference(known, rows, charsMax)) {
        while (state.open && state.unread >= limits.feedPiecesUnread) await sleep()
        if (!state.open) return
        state.unread += 1
        messages.send('feed', message)
        if (performance.now() > until) {
          await nextTurn()
          until = performance.now() + limits.sliceMs
        }
      }
      known = rows
    }
  }

  return {
    attach(messages) {
      const state = { unread: 0, open: true, wake: () => {} }
      const wake = (): void => state.wake()
      messages.on('feed', (body) => {
        if ((body as FromWorker).op === 'hello') {
          wakers.add(wake)
          serve(messages, state).catch((error: unknown) => log.error('feed.fault', { error }))
        } else {
          state.unread -= 1
          wake()
        }
      })
      messages.onClose(() => {
        state.open = false
        wakers.delete(wake)
        wake()
      })
    },
    close() {
      stopFeed()
      wakers.clear()
    },
  }
}

// --- a worker's side

function readDefinitions(strings: readonly string[]): Definition[] {
  const definitions: Definition[] = []
  for (let at = 1; at < strings.length; at += 4) {
    const definition = { kind: strings[at] as DefinitionKind, name: strings[at + 1]!, json: strings[at + 2]! }
    const seenMs = strings[at + 3]!
    definitions.push(seenMs === '' ? definition : { ...definition, seenMs: Number(seenMs) })
  }
  return definitions
}

export function createWorkerFeed({ messages }: { readonly messages: Messages }): Feed {
  const listeners = new Set<(rows: RegistryRows) => void>()
  let rows: RegistryRows | null = null
  // What has come of the difference so far; null between two differences.
  let parts: Map<string, RegistryPart> | null = null
  let virtualServers: readonly VirtualServerRow[] = []
  let item: Item | null = null
  let strings: string[] = []
  let cut = false

  const finishItem = (): void => {
    if (item?.what === 'removed') for (const id of item.ids) parts!.delete(id)
    else if (item?.what === 'servers') virtualServers = strings.map((text) => JSON.parse(text) as VirtualServerRow)
    else if (item?.what === 'part') {
      const upstream = JSON.parse(strings[0]!) as UpstreamRow
      const definitions = item.keeps ? parts!.get(item.id)!.definitions : readDefinitions(strings)
      parts!.set(item.id, { upstream, definitions })
    }
    item = null
    strings = []
  }

  const take = (piece: Piece): void => {
    if (piece.item !== null) {
      finishItem()
      item = piece.item
    }
    for (const [index, text] of piece.strings.entries()) {
      if (cut && index === 0) strings[strings.length - 1] += text
      else strings.push(text)
    }
    cut = piece.cut
  }

  messages.on('feed', (body) => {
    const message = body as FromPrimary
    if (parts === null) {
      parts = new Map(rows?.parts)
      virtualServers = rows?.virtualServers ?? []
    }
    if (message.op === 'piece') take(message)
    else {
      finishItem()
      const whole = parts
      if (message.order !== null) parts = new Map(message.order.map((id) => [id, whole.get(id)!]))
      rows = { version: message.version, parts, virtualServers }
      parts = null
    }
    messages.send('feed', { op: 'ack' } satisfies FromWorker)
    if (message.op === 'end') for (const listener of [...listeners]) listener(rows!)
  })
  messages.send('feed', { op: 'hello' } satisfies FromWorker)

  return {
    current: () => rows,
    onChange(listener) {
      listeners.add(listener)
      return () => listeners.delete(listener)
    },
  }
}
