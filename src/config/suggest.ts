// "Did you mean": the nearest of some known names, where it is near enough to be a slip of the pen.

export function suggest(name: string, known: Iterable<string>): string {
  let best: string | null = null
  let least = Math.min(3, Math.ceil(name.length / 3)) + 1
  for (const candidate of known) {
    if (Math.abs(candidate.length - name.length) >= least) continue
    const steps = distance(name.toLowerCase(), candidate.toLowerCase())
    if (steps >= least) continue
    least = steps
    best = candidate
  }
  return best === null ? '' : `; did you mean "${best}"?`
}

/** Insertions, removals and replacements that turn one into the other (Levenshtein). */
function distance(from: string, to: string): number {
  if (from.length > 64) return from.length
  let row = Array.from({ length: to.length + 1 }, (_, at) => at)
  for (let i = 1; i <= from.length; i++) {
    const next = [i]
    for (let j = 1; j <= to.length; j++) {
      const replaced = row[j - 1]! + (from[i - 1] === to[j - 1] ? 0 : 1)
      next.push(Math.min(replaced, row[j]! + 1, next[j - 1]! + 1))
    }
    row = next
  }
  return row[to.length]!
}
