// Runs the test suites and ends with one line `N passed, N failed, N skipped`. `fast` runs only the tests beside the
// sources; without it everything under test/ runs too, against a fresh build. Further arguments are parts of file names to
// run alone.

import { spawnSync } from 'node:child_process'
import { globSync, statSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { join, relative } from 'node:path'
import { run } from 'node:test'
import { spec } from 'node:test/reporters'

const root = join(import.meta.dirname, '..')
const words = process.argv.slice(2)
const fast = words[0] === 'fast'
const only = fast ? words.slice(1) : words
const patterns = fast
  ? ['src/**/*.test.ts', 'test/tidy.test.ts']
  : ['src/**/*.test.ts', 'test/**/*.test.ts', 'bench/**/*.test.ts']
const files = patterns
  .flatMap((pattern) => globSync(pattern, { cwd: root }))
  .map((file) => join(root, file))
  .filter((file) => only.length === 0 || only.some((word) => relative(root, file).includes(word)))
  .sort()

/** Tests from outside start what users start: dist/. An old one would be tested in place of the sources. */
function isBuildOld(): boolean {
  const changedMs = (file: string): number => statSync(join(root, file), { throwIfNoEntry: false })?.mtimeMs ?? 0
  const builtMs = changedMs('dist/main.js')
  return globSync('src/**/*', { cwd: root }).some((file) => changedMs(file) > builtMs)
}

if (!fast && isBuildOld()) {
  const built = spawnSync(process.execPath, [join(root, 'scripts', 'build.ts')], { cwd: root, stdio: 'inherit' })
  if (built.status !== 0) process.exit(built.status ?? 1)
}

const counts = { passed: 0, failed: 0, skipped: 0 }
const stream = run({ files, concurrency: Math.min(2, availableParallelism()), timeout: 900_000 })
const isTest = (data: { details: { type?: string } }): boolean => data.details.type !== 'suite'
stream.on('test:pass', (data) => {
  if (!isTest(data)) return
  if (data.skip !== undefined && data.skip !== false) counts.skipped += 1
  else counts.passed += 1
})
stream.on('test:fail', (data) => {
  if (!isTest(data)) return
  counts.failed += 1
  process.exitCode = 1
})
stream.compose(spec).pipe(process.stdout)
stream.on('end', () => {
  setImmediate(() => console.log(`\n${counts.passed} passed, ${counts.failed} failed, ${counts.skipped} skipped`))
})
