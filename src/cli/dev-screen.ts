// What `mcp-gateway dev` prints: a line for each thing that happened, with the time, what it is, and no more than fits.
// On a pipe the same lines without colours and uncut. Absent on purpose: what makes them happen (dev.ts).

import { relative } from 'node:path'
import { StringDecoder } from 'node:string_decoder'
import type { Cli } from './command.ts'
import { type DefinitionShape, definitionChanges } from './dev-difference.ts'
import type { FoundFiles } from './dev-files.ts'
import { count, cut, oneLine, paint, plain, type Style } from './terminal.ts'
import type { CallShape, Observed, Taps } from './up.ts'
import { offersOf } from './upstream-text.ts'

const WORD_WIDTH = 8
const SIGNS = { added: ['+', 'green'], changed: ['~', 'yellow'], removed: ['-', 'red'] } as const
const OUTCOMES: Readonly<Record<CallShape['outcome'], Style>> = {
  ok: 'green',
  asks: 'yellow',
  failed: 'red',
  refused: 'red',
}
const WHOLE: ReadonlySet<string> = new Set(['stderr', 'down', 'fault'])
const LINE_CHARS = 4_000
/** Lines of one start that are remembered. */
const TOLD_MAX = 1_000

export class DevScreen implements Taps {
  readonly #cli: Cli
  readonly #slug: string
  readonly #http: string | undefined
  readonly #decoder = new StringDecoder('utf8')
  #stderrLine = ''
  #stderrOf = ''
  /** What was written since the start, and by which process: another try that fails alike says nothing new. */
  readonly #told = new Map<string, string>()
  /** Null until the server has told them for the first time. */
  #definitions: readonly DefinitionShape[] | null = null
  #state = ''
  /** One that cannot start says why once; it is tried again and again. */
  #isMuted = false

  constructor(cli: Cli, slug: string, http: string | undefined) {
    this.#cli = cli
    this.#slug = slug
    this.#http = http
  }

  head(url: string, token: string | null, roots: readonly string[], { files, isCut }: FoundFiles): void {
    const { terminal, version, surroundings } = this.#cli
    const endpoint = `${url}/servers/${this.#slug}/mcp`
    const headers = token === null ? {} : { headers: { Authorization: `Bearer ${token}` } }
    const client = JSON.stringify({ mcpServers: { [this.#slug]: { type: 'http', url: endpoint, ...headers } } })
    const shown = roots.map((root) => relative(surroundings.workingDirectory, root) || '.')
    const more = isCut ? `the first ${files.length} files; name fewer with --watch` : count(files.length, 'file')
    const line = (word: string, text: string): string =>
      `  ${paint(terminal, 'dim', word.padEnd(WORD_WIDTH))}  ${text}\n`
    terminal.out(
      [
        `${paint(terminal, 'bold', `mcp-gateway ${version} dev`)}\n\n`,
        line('endpoint', paint(terminal, 'cyan', endpoint)),
        line('token', token ?? 'none is needed (--open)'),
        line('client', client),
        line('watches', `${oneLine(shown.join(', '))} (${more})`),
        '\n',
      ].join(''),
    )
  }

  changed(paths: readonly string[]): void {
    const names = paths.slice(0, 3).map((path) => relative(this.#cli.surroundings.workingDirectory, path))
    const more = paths.length > 3 ? ` and ${paths.length - 3} more` : ''
    this.#line('changed', 'cyan', `${names.join(', ')}${more}`)
  }

  starting(): void {
    this.#isMuted = false
    this.#state = ''
    this.#told.clear()
  }

  observed(observed: Observed): void {
    const { state, revision, message, definitions } = observed
    if (state === 'connecting') return
    const isNew = state !== this.#state
    this.#state = state
    if (state !== 'ready') {
      this.#endStderr()
      // Its last words stand above already.
      const why = (message ?? state).replace(`${this.#slug}: `, '').replace(/(exited with [^:]*):.*$/s, '$1')
      if (isNew) this.#line('down', 'red', why)
      const retries = this.#http === undefined ? 'waiting for a change' : 'trying again'
      if (isNew) this.#note(retries)
      this.#isMuted = true
      return
    }
    this.#isMuted = false
    const before = this.#definitions
    const changes = before === null ? [] : definitionChanges(before, definitions)
    this.#definitions = definitions
    if (!isNew && changes.length === 0) return
    const same = before !== null && changes.length === 0 ? ', as before' : ''
    this.#line('ready', 'green', `${revision}, ${offersOf(observed)}${same}`)
    if (before === null) this.#note(definitions.map(({ name }) => name).join(', '))
    for (const { kind, name, change, parts } of changes) {
      const [sign, style] = SIGNS[change]
      const what = parts.length === 0 ? '' : `  ${parts.join(', ')}`
      this.#note(`${sign} ${kind} ${name}${what}`, style)
    }
  }

  onCall = ({ ms, method, name, arguments: given, outcome, message }: CallShape): void => {
    const what = method === 'tools/call' ? name : `${method} ${name}`
    const took = ms < 10 ? `${ms.toFixed(1)} ms` : ms < 10_000 ? `${Math.round(ms)} ms` : `${Math.round(ms / 1_000)} s`
    const shown = cut(oneLine(given), 80)
    const how = outcome === 'asks' ? 'asks the client' : outcome
    const parts = [
      `${oneLine(what)}${shown === '' ? '' : ` ${shown}`}`,
      how,
      took,
      message === null ? '' : oneLine(message),
    ]
    this.#show('call', OUTCOMES[outcome], parts.filter((part) => part !== '').join('  '))
  }

  onStderr = (chunk: Buffer, processId: string): void => {
    if (this.#stderrOf !== processId) this.#endStderr()
    this.#stderrOf = processId
    const lines = (this.#stderrLine + this.#decoder.write(chunk)).split('\n')
    this.#stderrLine = lines.pop()!.slice(0, LINE_CHARS)
    for (const line of lines) this.#said(line)
  }

  fault(error: unknown): void {
    this.#line('fault', 'red', error instanceof Error ? error.message : String(error))
  }

  /** What a process wrote last, without the end of a line. */
  #endStderr(): void {
    const rest = this.#stderrLine
    this.#stderrLine = ''
    if (rest !== '') this.#said(rest)
  }

  #said(line: string): void {
    if (this.#isMuted || line.trim() === '') return
    if (this.#state === '' && this.#told.size < TOLD_MAX) {
      const teller = this.#told.get(line) ?? this.#stderrOf
      this.#told.set(line, teller)
      if (teller !== this.#stderrOf) return
    }
    this.#show('stderr', 'dim', plain(line.trimEnd().replaceAll('\t', '    ')))
  }

  #line(word: string, style: Style, text: string): void {
    this.#show(word, style, oneLine(text))
  }

  /** `text` is safe to show. */
  #show(word: string, style: Style, text: string): void {
    const { terminal } = this.#cli
    const time = new Date(this.#cli.now()).toTimeString().slice(0, 8)
    // Who looks for a fault needs the whole line: a terminal wraps it.
    const shown = WHOLE.has(word) ? text : cut(text, this.#room(time.length + WORD_WIDTH + 3))
    terminal.out(`${paint(terminal, 'dim', time)}  ${paint(terminal, style, word.padEnd(WORD_WIDTH))} ${shown}\n`)
  }

  #note(text: string, style: Style = 'dim'): void {
    if (text === '') return
    const { terminal } = this.#cli
    terminal.out(`${' '.repeat(19)}${paint(terminal, style, cut(oneLine(text), this.#room(19)))}\n`)
  }

  #room(taken: number): number {
    const { columns } = this.#cli.terminal
    return columns === null ? Number.POSITIVE_INFINITY : Math.max(20, columns - taken)
  }
}
