// `npm run conformance [-- --json] [-- --write]`: the official suite through the gateway beside the same upstream run
// directly. Prints the table (or JSON), writes docs/conformance.md when asked, and ends with 1 when something is lost.

import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { compare } from './compare.ts'
import { documentText, tableText } from './report.ts'

const words = new Set(process.argv.slice(2))
const known = ['--json', '--write']
const unknown = [...words].filter((word) => !known.includes(word))
if (unknown.length > 0) {
  console.error(`conformance: unknown ${unknown.join(', ')}; known: ${known.join(', ')}`)
  process.exit(2)
}
const comparison = await compare((line) => console.error(`conformance: ${line}`))
console.log(words.has('--json') ? JSON.stringify(comparison, null, 2) : tableText(comparison))
if (words.has('--write'))
  writeFileSync(join(import.meta.dirname, '..', '..', 'docs', 'conformance.md'), documentText(comparison))
process.exitCode = comparison.faults.length === 0 ? 0 : 1
