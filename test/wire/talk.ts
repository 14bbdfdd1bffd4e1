// Reads wire talks (README.md) and compares what came with what the talk expects. Pure: no sockets here.

export interface Header {
  readonly name: string
  readonly value: string
}

export interface Send {
  readonly kind: 'send'
  readonly line: number
  readonly method: string
  readonly path: string
  readonly headers: readonly Header[]
  readonly body: string | null
  /** Given where the talk goes on before the answer is whole. */
  readonly name: string | null
}

export interface Expect {
  readonly kind: 'expect'
  readonly line: number
  readonly name: string | null
  readonly status: string | null
  readonly headers: readonly Header[]
  readonly messages: readonly unknown[]
  /** An empty body. */
  readonly nothing: boolean
  /** The stream must be over. */
  readonly end: boolean
}

export interface Talk {
  readonly about: string
  readonly settings: Readonly<Record<string, string>>
  readonly steps: readonly (Send | Expect)[]
}

const SETTINGS = ['eras', 'revisions', 'paths', 'session', 'connections']

export function readTalk(text: string): Talk {
  const about: string[] = []
  const settings: Record<string, string> = {}
  const steps: (Send | Expect)[] = []
  const lines = text.split('\n')
  let at = 0
  while (at < lines.length) {
    const line = lines[at]!
    const first = line[0]
    if (line.trim() === '') at += 1
    else if (first === '#') {
      if (steps.length === 0) about.push(line.slice(1).trim())
      at += 1
    } else if (first === '>' || first === '<') {
      let end = at
      while (end < lines.length && lines[end]![0] === first) end += 1
      const block = lines.slice(at, end).map((one) => one.slice(1).replace(/^ /, ''))
      steps.push(...(first === '>' ? [readSend(block, at + 1)] : readExpects(block, at + 1)))
      at = end
    } else {
      const setting = /^([a-z]+): *(.+)$/.exec(line)
      if (!setting || !SETTINGS.includes(setting[1]!) || steps.length > 0)
        throw new Error(`line ${at + 1}: neither a setting nor "#", ">" or "<": ${line}`)
      settings[setting[1]!] = setting[2]!.trim()
      at += 1
    }
  }
  return { about: about.join(' '), settings, steps }
}

function readHeader(text: string): Header | null {
  const match = /^([A-Za-z][A-Za-z0-9-]*): ?(.*)$/.exec(text)
  return match ? { name: match[1]!, value: match[2]! } : null
}

function readSend(block: readonly string[], line: number): Send {
  const head = /^([A-Z]+) (\S+)(?: &([a-z]+))?$/.exec(block[0]!)
  if (!head) throw new Error(`line ${line}: a request begins with "> METHOD PATH": ${block[0]}`)
  const headers: Header[] = []
  let at = 1
  for (; at < block.length && block[at] !== ''; at += 1) {
    const header = readHeader(block[at]!)
    if (!header) throw new Error(`line ${line + at}: not a header: ${block[at]}`)
    headers.push(header)
  }
  const body = at < block.length ? block.slice(at + 1).join('\n') : null
  return { kind: 'send', line, method: head[1]!, path: head[2]!, headers, body, name: head[3] ?? null }
}

function readExpects(block: readonly string[], line: number): Expect[] {
  const found: Expect[] = []
  let at = 0
  while (at < block.length) {
    const start = line + at
    const head = /^(?:@([a-z]+) ?)?(\d[\dx]{2})?(\(end\))?$/.exec(block[at]!)
    if (!head || block[at] === '') throw new Error(`line ${start}: an answer begins with its status: ${block[at]}`)
    at += 1
    const headers: Header[] = []
    const messages: unknown[] = []
    let nothing = false
    for (; at < block.length && !/^(@|\d[\dx]{2}$)/.test(block[at]!); at += 1) {
      const text = block[at]!
      const header = messages.length === 0 ? readHeader(text) : null
      if (header) headers.push(header)
      else if (text === '(nothing)') nothing = true
      else if (text !== '') messages.push(readJson(text, line + at))
    }
    found.push({
      kind: 'expect',
      line: start,
      name: head[1] ?? null,
      status: head[2] ?? null,
      headers,
      messages,
      nothing,
      end: head[3] !== undefined,
    })
  }
  return found
}

function readJson(text: string, line: number): unknown {
  try {
    return JSON.parse(text)
  } catch {
    throw new Error(`line ${line}: not JSON: ${text}`)
  }
}

// --- comparing ---------------------------------------------------------------------------------------------------------

export type Kept = Map<string, unknown>

/** Puts what was kept, and the run's own words, into a text of the client. An unknown {word} is an error. */
export function fill(text: string, words: Readonly<Record<string, string>>, kept: Kept): string {
  return text.replace(/\{([a-z]+)\}/g, (_whole, name: string) => {
    const value = words[name] ?? kept.get(name)
    if (value === undefined) throw new Error(`{${name}} is not known here`)
    return typeof value === 'string' ? value : JSON.stringify(value)
  })
}

/** Whether a header's value fits its pattern; keeps the first {name} in it. */
export function headerFits(value: string | undefined, pattern: string, kept: Kept): boolean {
  if (pattern === '(none)') return value === undefined
  if (value === undefined) return false
  const name = /^\{([a-z]+)\}$/.exec(pattern)?.[1]
  if (name === undefined) return globFits(value, pattern)
  if (kept.has(name)) return kept.get(name) === value
  kept.set(name, value)
  return true
}

function globFits(value: string, pattern: string): boolean {
  const parts = pattern.split('*').map((part) => part.replace(/[.*+?^${}()|[\]\\]/g, '\\$&'))
  return new RegExp(`^${parts.join('[\\s\\S]*')}$`).test(value)
}

const TYPES: Readonly<Record<string, (value: unknown) => boolean>> = {
  '*': () => true,
  '*integer': (value) => Number.isInteger(value),
  '*string': (value) => typeof value === 'string',
  '*object': (value) => isObject(value),
  '*array': (value) => Array.isArray(value),
}

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

/** Null when `value` fits, else where and how it differs. */
export function difference(value: unknown, pattern: unknown, kept: Kept, where = ''): string | null {
  const differs = (): string => `${where || '/'}: ${JSON.stringify(value)} is not ${JSON.stringify(pattern)}`
  if (typeof pattern === 'string') return stringFits(value, pattern, kept) ? null : differs()
  if (Array.isArray(pattern)) return Array.isArray(value) ? itemsDiffer(value, pattern, kept, where) : differs()
  if (isObject(pattern)) return isObject(value) ? membersDiffer(value, pattern, kept, where) : differs()
  return Object.is(value, pattern) ? null : differs()
}

function stringFits(value: unknown, pattern: string, kept: Kept): boolean {
  const type = TYPES[pattern]
  if (type) return type(value)
  const name = /^\{([a-z]+)\}$/.exec(pattern)?.[1]
  if (name !== undefined) {
    if (kept.has(name)) return JSON.stringify(kept.get(name)) === JSON.stringify(value)
    kept.set(name, value)
    return true
  }
  if (typeof value !== 'string') return false
  if (pattern.startsWith('~')) return new RegExp(pattern.slice(1)).test(value)
  return globFits(value, pattern)
}

function membersDiffer(
  value: Record<string, unknown>,
  pattern: Record<string, unknown>,
  kept: Kept,
  where: string,
): string | null {
  for (const [key, inner] of Object.entries(pattern)) {
    if (key === '...') continue
    if (!(key in value)) return `${where}/${key}: missing in ${JSON.stringify(value).slice(0, 400)}`
    const found = difference(value[key], inner, kept, `${where}/${key}`)
    if (found !== null) return found
  }
  if ('...' in pattern) return null
  const further = Object.keys(value).filter((key) => !(key in pattern))
  return further.length === 0 ? null : `${where || '/'}: unexpected ${further.join(', ')}`
}

function itemsDiffer(value: unknown[], pattern: unknown[], kept: Kept, where: string): string | null {
  const openStart = pattern[0] === '...'
  const openEnd = pattern.at(-1) === '...'
  const wanted = pattern.slice(openStart ? 1 : 0, openEnd ? -1 : undefined)
  if (openStart) {
    let at = 0
    for (const one of wanted) {
      while (at < value.length && difference(value[at], one, new Map(kept)) !== null) at += 1
      if (at === value.length) return `${where}: holds nothing like ${JSON.stringify(one)}`
      difference(value[at], one, kept)
      at += 1
    }
    return null
  }
  if (openEnd ? value.length < wanted.length : value.length !== wanted.length)
    return `${where || '/'}: ${value.length} items instead of ${wanted.length}`
  for (const [at, one] of wanted.entries()) {
    const found = difference(value[at], one, kept, `${where}/${at}`)
    if (found !== null) return found
  }
  return null
}
