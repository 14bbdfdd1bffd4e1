// Every limit has a test: one that names it, or one that is named here and meets it by what it sends.

import assert from 'node:assert/strict'
import { globSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { LIMITS } from '../src/core/limits.ts'

const root = join(import.meta.dirname, '..')
const tests = new Map(
  globSync('{src,test}/**/*.test.ts', { cwd: root }).map((file) => [file, readFileSync(join(root, file), 'utf8')]),
)

/** Limit -> file and a piece of the title of the test that reaches it without its name. */
const REACHED: Record<string, readonly [file: string, title: string]> = {
  unreadBodyBytes: ['src/http/node-exchange.test.ts', 'const long = `POST / HTTP/1.1'],
  upstreamSessionIdBytes: ['src/upstream/mcp-http.test.ts', 'the session id of initialize is taken only when'],
  upstreamIdleMs: ['src/http/fast-link.test.ts', 'an unused connection is closed before its server would do so'],
  upstreamIdleMsMax: ['src/http/fast-link.test.ts', 'an unused connection is closed before its server would do so'],
  listCacheBytes: ['src/call/page-cache.test.ts', 'pages are kept up to their bytes'],
  schemaVisits: ['src/call/validators.test.ts', 'many values against a wide schema'],
  patternChars: ['src/call/patterns.test.ts', "[`^${'a'.repeat(2_000)}$`"],
  patternWeight: ['src/call/patterns.test.ts', 'all patterns of a schema together have one bound'],
  storeQueueMax: ['src/adapters/store-sqlite.test.ts', 'requests past the bound of the queue are refused'],
  configQuietMsMax: ['src/config/watch.test.ts', 'a file that never rests is read all the same'],
  configPollMs: ['test/e2e/reload.test.ts', 'SIGHUP reads the files again'],
  devPollMs: ['test/e2e/dev.test.ts', 'a server is started anew with its file'],
  configBytes: ['src/config/load.test.ts', 'a file of 10 MB'],
  secretBytes: ['src/config/files.test.ts', 'is larger than 5 bytes'],
  slugChars: ['src/core/names.test.ts', 'whatever the text, slugify makes a slug'],
  restWaitMs: ['src/control/upstreams.test.ts', "for (const wait of ['61s'"],
}

/** How often we look, and how long we wait for a disk: of these only that they end matters, and their tests end. */
const OURS = [
  'watchMs',
  'earMs',
  'childPollMs',
  'workerQuickDeathMs',
  'changePollMs',
  'storeMs',
  'storeBusyMs',
  'lockMs',
]

test('every limit is met by a test', () => {
  const all = [...tests.entries()].filter(([file]) => file !== 'test/limits.test.ts')
  const isNamed = (limit: string): boolean => all.some(([, text]) => new RegExp(`\\b${limit}\\b`).test(text))
  const missing = Object.keys(LIMITS).filter(
    (limit) => !isNamed(limit) && REACHED[limit] === undefined && !OURS.includes(limit),
  )
  assert.deepEqual(missing, [])
  for (const [limit, [file, title]] of Object.entries(REACHED))
    assert.ok(tests.get(file)?.includes(title), `${limit}: ${file} has no "${title}"`)
})
