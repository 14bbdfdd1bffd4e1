// Text for people: safe, aligned, short. Absent on purpose: cursor movement, spinners and wide tables; what a terminal
// cannot show in its width is cut, and `--json` has it whole.

/** Where a command writes and what it may know of the place it runs in. main.ts makes the real one, tests their own. */
export interface Terminal {
  readonly out: (text: string) => void
  readonly err: (text: string) => void
  /** Width of the terminal, or null where standard output is a pipe or a file: then nothing is cut. */
  readonly columns: number | null
  readonly colour: boolean
  /** Whether standard error is a terminal, so that one line of progress can be rewritten in place. */
  readonly live: boolean
}

/**
 * Names, descriptions and messages come from upstreams: an escape sequence in one could rewrite what the reader sees.
 * Control characters, line breaks and marks that turn the writing direction are shown as `\u001b`.
 */
export function plain(text: string): string {
  return text.replace(/[\u0000-\u001f\u007f-\u009f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069]/g, escaped)
}

/** Whole texts: as `plain` on a terminal, but with line breaks and tabs; a pipe or a file gets every byte. */
export function plainLines(terminal: Terminal, text: string): string {
  if (terminal.columns === null) return text
  return text
    .split(/\r?\n/)
    .map((line) => line.split('\t').map(plain).join('\t'))
    .join('\n')
}

function escaped(character: string): string {
  return `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`
}

/** One line: runs of white space become one space, the rest is made safe. */
export function oneLine(text: string): string {
  return plain(text.replace(/\s+/g, ' ').trim())
}

const STYLES = {
  bold: [1, 22],
  dim: [2, 22],
  red: [31, 39],
  green: [32, 39],
  yellow: [33, 39],
  cyan: [36, 39],
} as const
export type Style = keyof typeof STYLES

export function paint(terminal: Terminal, style: Style, text: string): string {
  if (!terminal.colour || text === '') return text
  const [on, off] = STYLES[style]
  return `\u001b[${on}m${text}\u001b[${off}m`
}

export function styleOfState(state: string): Style {
  return state === 'ready' ? 'green' : state === 'down' ? 'red' : 'yellow'
}

export interface Column<Row> {
  readonly title: string
  readonly value: (row: Row) => string
  readonly right?: boolean
  readonly style?: (row: Row) => Style | null
}

/** Rows under small titles, two spaces apart; only the last column may be cut to fit. */
export function table<Row>(terminal: Terminal, rows: readonly Row[], columns: readonly Column<Row>[]): string {
  const texts = rows.map((row) => columns.map((column) => oneLine(column.value(row))))
  const widths = columns.map((column, at) => Math.max(column.title.length, ...texts.map((line) => lengthOf(line[at]!))))
  const lastAt = columns.length - 1
  const taken = widths.slice(0, lastAt).reduce((sum, width) => sum + width + 2, 0)
  const room = terminal.columns === null ? Number.POSITIVE_INFINITY : Math.max(12, terminal.columns - taken)
  const line = (cells: readonly string[], style: (at: number) => Style | null): string =>
    cells
      .map((cell, at) => {
        const shown = at === lastAt ? cut(cell, room) : cell
        const pad = ' '.repeat(Math.max(0, widths[at]! - lengthOf(shown)))
        const chosen = style(at)
        const painted = chosen === null ? shown : paint(terminal, chosen, shown)
        if (columns[at]!.right === true) return pad + painted
        return at === lastAt ? painted : painted + pad
      })
      .join('  ')
      .trimEnd()
  const titles = line(
    columns.map((column) => column.title),
    () => 'dim',
  )
  return `${[titles, ...texts.map((cells, row) => line(cells, (at) => columns[at]!.style?.(rows[row]!) ?? null))].join('\n')}\n`
}

/** Names and values below each other; a null value leaves its line out. */
export function fields(terminal: Terminal, pairs: readonly (readonly [name: string, value: string | null])[]): string {
  const shown = pairs.filter((pair): pair is readonly [string, string] => pair[1] !== null)
  const width = Math.max(0, ...shown.map(([name]) => name.length))
  return shown.map(([name, value]) => `${paint(terminal, 'dim', name.padEnd(width))}  ${value}\n`).join('')
}

function lengthOf(text: string): number {
  let length = 0
  for (const _character of text) length += 1
  return length
}

export function cut(text: string, room: number): string {
  if (lengthOf(text) <= room) return text
  return `${[...text]
    .slice(0, room - 1)
    .join('')
    .trimEnd()}…`
}

export function count(number: number, noun: string): string {
  return `${number} ${noun}${number === 1 ? '' : 's'}`
}

/** `850 ms`, `12 s`, `3 min`, `2 h`, `5 d`. */
export function span(ms: number): string {
  const whole = Math.max(0, ms)
  if (whole < 1_000) return `${Math.round(whole)} ms`
  if (whole < 60_000) return `${Math.round(whole / 1_000)} s`
  if (whole < 3_600_000) return `${Math.round(whole / 60_000)} min`
  if (whole < 172_800_000) return `${Math.round(whole / 3_600_000)} h`
  return `${Math.round(whole / 86_400_000)} d`
}

const PROGRESS_MS = 1_000

/**
 * Runs `work`; when it takes over a second, says on standard error what is waited for: a line rewritten in place on a
 * terminal, one line otherwise.
 */
export async function withProgress<T>(terminal: Terminal, what: string, work: Promise<T>): Promise<T> {
  let seconds = 0
  const timer = setInterval(() => {
    seconds += 1
    if (terminal.live) terminal.err(`\r${what} … ${seconds} s`)
    else if (seconds === 1) terminal.err(`${what} …\n`)
  }, PROGRESS_MS)
  try {
    return await work
  } finally {
    clearInterval(timer)
    if (terminal.live && seconds > 0) terminal.err('\r\u001b[K')
  }
}
