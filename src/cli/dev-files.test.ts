import assert from 'node:assert/strict'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join, relative } from 'node:path'
import { after, test } from 'node:test'
import { LIMITS } from '../core/limits.ts'
import { filesUnder, watchedByDefault } from './dev-files.ts'

const room = mkdtempSync(join(tmpdir(), 'mcp-gateway-dev-files-'))
after(() => rmSync(room, { recursive: true, force: true }))
function put(...paths: string[]): void {
  for (const path of paths) {
    mkdirSync(dirname(join(room, path)), { recursive: true })
    writeFileSync(join(room, path), '')
  }
}
const namesUnder = (...roots: string[]): string[] =>
  filesUnder(roots.map((root) => join(room, root)))
    .files.map((file) => relative(room, file))
    .sort()

test('sources, without what tools write and what the server may write itself', () => {
  put('a/server.ts', 'a/lib/tool.py', 'a/package.json', 'a/data.json', 'a/notes.db', 'a/server.log', 'a/.env.ts')
  put('a/node_modules/x/index.js', 'a/.git/hook.sh', 'a/dist/server.js', 'a/lib/__pycache__/tool.py', 'a/.venv/x.py')
  assert.deepEqual(namesUnder('a'), ['a/lib/tool.py', 'a/package.json', 'a/server.ts'])
  assert.deepEqual(namesUnder('a/dist'), ['a/dist/server.js'], 'what is named is watched')
  assert.deepEqual(namesUnder('a/data.json', 'nothing'), ['a/data.json'])
})

test('by default the folder of the file that the command runs, else the working directory', () => {
  put('b/src/server.ts', 'b/node_modules/tool/cli.js')
  const folder = join(room, 'b')
  assert.deepEqual(watchedByDefault(['node', '--inspect', 'src/server.ts', '--x'], folder), [join(folder, 'src')])
  assert.deepEqual(watchedByDefault(['node', 'node_modules/tool/cli.js'], folder), [folder])
  assert.deepEqual(watchedByDefault(['uv', 'run', 'my-server'], folder), [folder])
})

test(`at most ${LIMITS.devFilesMax} files are watched: devFilesMax`, () => {
  put(...Array.from({ length: LIMITS.devFilesMax + 5 }, (_, at) => `c/${at}.ts`))
  const { files, isCut } = filesUnder([join(room, 'c')])
  assert.deepEqual([files.length, isCut], [LIMITS.devFilesMax, true])
})
