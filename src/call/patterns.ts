// `pattern` of foreign schemas: on a linear-time engine, and still bounded. A short text can be a huge program
// (`(a{0,1000})` eighty times takes 2.6 s and 100 MB to compile), and a step of the engine costs about 100 ns for each
// instruction and character. What is over the bounds is not judged: the upstream checks its arguments itself.

import { RE2JS } from 're2js'
import { LIMITS } from '../core/limits.ts'

/** What a check may still spend, in steps of a few hundred nanoseconds. */
export interface Budget {
  steps: number
}

/** Instructions of a class such as `\p{L}`, by the time that it takes to compile one. */
const CLASS_WEIGHT = 50
/** Instructions times characters that one step pays for. */
const WORK_PER_STEP = 5
const COUNT = /\{(\d{1,9})(?:,(\d{0,9}))?\}/y

/** About how many instructions a pattern becomes, from its text alone: nested counts multiply. Never far too few. */
export function weightOfPattern(pattern: string): number {
  // Between `\Q` and `\E` nothing is what it looks like; patterns of JSON Schema have no such thing.
  if (pattern.includes('\\Q')) return Number.POSITIVE_INFINITY
  const outer: number[] = []
  let sum = 1
  let last = 0
  const add = (weight: number): void => {
    last = weight
    sum += weight
  }
  for (let at = 0; at < pattern.length; at += 1) {
    const char = pattern[at]!
    if (char === '\\') {
      at += 1
      add(/[pP]/.test(pattern[at] ?? '') ? CLASS_WEIGHT : 1)
    } else if (char === '[') {
      const end = endOfClass(pattern, at)
      add(1 + CLASS_WEIGHT * (pattern.slice(at, end).match(/\\[pP]/g)?.length ?? 0))
      at = end
    } else if (char === '(') {
      outer.push(sum)
      sum = 2
    } else if (char === ')') {
      const group = sum
      sum = outer.pop() ?? 0
      add(group)
    } else if (char === '{') {
      COUNT.lastIndex = at
      const count = COUNT.exec(pattern)
      if (count === null) add(1)
      else {
        // Each optional turn is two instructions.
        const times = 2 * Math.max(Number(count[1]), Number(count[2] ?? 0), 1)
        sum += last * (times - 1)
        last *= times
        at = COUNT.lastIndex - 1
      }
    } else if ('*+?|'.includes(char)) sum += 1
    else add(1)
  }
  return outer.reduce((all, one) => all + one, sum)
}

/** Where the class that begins at `from` ends: its `]`, or the end of the text. */
function endOfClass(pattern: string, from: number): number {
  for (let at = from + 1; at < pattern.length; at += 1) {
    if (pattern[at] === '\\') at += 1
    else if (pattern[at] === ']') return at
  }
  return pattern.length
}

interface Compiled {
  readonly engine: RE2JS
  readonly weight: number
}

/** The patterns of one schema, each compiled when it is first needed; together they have one bound. */
export class Patterns {
  readonly #known = new Map<string, Compiled | null>()
  #weightLeft: number = LIMITS.patternWeight

  /** Whether `text` fits, or null where that is not judged. Takes its cost from the budget, which may go below zero. */
  fits(pattern: string, text: string, budget: Budget): boolean | null {
    let compiled = this.#known.get(pattern)
    if (compiled === undefined) {
      compiled = this.#compile(pattern, budget)
      this.#known.set(pattern, compiled)
    }
    if (compiled === null) return null
    const cost = 1 + Math.ceil((compiled.weight * text.length) / WORK_PER_STEP)
    if (cost > budget.steps) return null
    budget.steps -= cost
    return compiled.engine.matcher(text).find()
  }

  #compile(pattern: string, budget: Budget): Compiled | null {
    if (pattern.length > LIMITS.patternChars) return null
    const weight = weightOfPattern(pattern)
    budget.steps -= pattern.length + Math.min(weight, LIMITS.patternWeight) * 10
    if (weight > this.#weightLeft) return null
    this.#weightLeft -= weight
    try {
      return { engine: RE2JS.compile(pattern), weight }
    } catch {
      // What this engine does not know (backreferences, looks around) is for the upstream to judge.
      return null
    }
  }
}
