// JSON as clients write their configuration: comments and trailing commas allowed, every value with its line. Everything
// else is as strict as JSON, and a key that stands twice is a fault.

import { DocumentFault, type Entry, type Located, NodeBudget, type ReportFault, scalar } from './located.ts'

const NUMBER = /-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?/y
const STRING = /"(?:[^"\\\u0000-\u001f]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*"/y
const SPACE = /[ \t\r]+|\/\/[^\n]*/y
const WORDS: readonly (readonly [string, boolean | null])[] = [
  ['true', true],
  ['false', false],
  ['null', null],
]

/** Errors: DocumentFault. Duplicate keys are reported; the first one stays. */
export function readJsonc(text: string, fault: ReportFault): Located {
  return new Reader(text, fault).document()
}

class Reader {
  readonly #text: string
  readonly #fault: ReportFault
  readonly #budget = new NodeBudget()
  #at = 0
  #line = 1

  constructor(text: string, fault: ReportFault) {
    this.#text = text
    this.#fault = fault
    if (text.charCodeAt(0) === 0xfeff) this.#at = 1
  }

  document(): Located {
    const value = this.#value(0)
    this.#skip()
    if (this.#at < this.#text.length) throw this.#unexpected('the end')
    return value
  }

  #value(depth: number): Located {
    this.#skip()
    this.#budget.take(this.#line, depth)
    const char = this.#text[this.#at]
    if (char === '{') return this.#map(depth)
    if (char === '[') return this.#list(depth)
    if (char === '"') return scalar(this.#line, this.#string('a string'))
    const number = this.#match(NUMBER)
    if (number !== null) return scalar(this.#line, Number(number), number)
    for (const [word, value] of WORDS) {
      if (!this.#text.startsWith(word, this.#at)) continue
      this.#at += word.length
      return scalar(this.#line, value)
    }
    throw this.#unexpected('a value')
  }

  #map(depth: number): Located {
    const line = this.#line
    const entries = new Map<string, Entry>()
    this.#at += 1
    while (!this.#closes('}')) {
      const keyLine = this.#line
      const key = this.#string('a key in double quotes')
      this.#skip()
      if (!this.#takes(':')) throw this.#unexpected('":"')
      const value = this.#value(depth + 1)
      const before = entries.get(key)
      if (before === undefined) entries.set(key, { line: keyLine, value })
      else this.#fault(keyLine, `the key "${key}" stands in line ${before.line} already`)
      this.#separate('}')
    }
    return { kind: 'map', line, entries }
  }

  #list(depth: number): Located {
    const line = this.#line
    const items: Located[] = []
    this.#at += 1
    while (!this.#closes(']')) {
      items.push(this.#value(depth + 1))
      this.#separate(']')
    }
    return { kind: 'list', line, items }
  }

  /** Whether the closing bracket comes now; a comma before it has been taken. */
  #closes(bracket: string): boolean {
    this.#skip()
    return this.#takes(bracket)
  }

  #separate(bracket: string): void {
    this.#skip()
    if (this.#text[this.#at] !== bracket && !this.#takes(',')) throw this.#unexpected(`"," or "${bracket}"`)
  }

  #string(what: string): string {
    const text = this.#match(STRING)
    if (text === null) {
      if (this.#text[this.#at] !== '"') throw this.#unexpected(what)
      throw new DocumentFault(this.#line, 'this string does not end in its line, or holds an escape that JSON has not')
    }
    return JSON.parse(text) as string
  }

  #takes(char: string): boolean {
    if (this.#text[this.#at] !== char) return false
    this.#at += 1
    return true
  }

  #match(pattern: RegExp): string | null {
    pattern.lastIndex = this.#at
    const found = pattern.exec(this.#text)?.[0]
    if (found === undefined) return null
    this.#at += found.length
    return found
  }

  #skip(): void {
    for (;;) {
      if (this.#takes('\n')) this.#line += 1
      else if (this.#text.startsWith('/*', this.#at)) this.#skipBlock()
      else if (this.#match(SPACE) === null) return
    }
  }

  #skipBlock(): void {
    const end = this.#text.indexOf('*/', this.#at + 2)
    if (end < 0) throw new DocumentFault(this.#line, 'a comment does not end')
    this.#line += this.#text.slice(this.#at, end).split('\n').length - 1
    this.#at = end + 2
  }

  #unexpected(wanted: string): DocumentFault {
    const char = this.#text.codePointAt(this.#at)
    const found = char === undefined ? 'the end of the file' : JSON.stringify(String.fromCodePoint(char))
    return new DocumentFault(this.#line, `${wanted} is expected here, not ${found}`)
  }
}
