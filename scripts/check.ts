// `npm run check`: types, lint and format, then every test (the import rules are one of them: test/tidy.test.ts).

import { spawnSync } from 'node:child_process'
import { join } from 'node:path'

const root = join(import.meta.dirname, '..')
const bin = (name: string): string => join(root, 'node_modules', '.bin', name)
const steps: [string, string, string[]][] = [
  ['types', bin('tsc'), ['-p', '.']],
  ['lint and format', bin('biome'), ['ci', '--colors=off', '--error-on-warnings', '.']],
  ['tests', process.execPath, [join(root, 'scripts', 'test.ts')]],
]
for (const [name, command, args] of steps) {
  console.log(`\n== ${name}`)
  const done = spawnSync(command, args, { cwd: root, stdio: 'inherit' })
  if (done.status !== 0) {
    console.error(`check: ${name} failed`)
    process.exit(done.status ?? 1)
  }
}
