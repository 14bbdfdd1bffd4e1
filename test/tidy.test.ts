// The house inspects itself: who may import whom (docs in ARCHITECTURE.md), no cycles, no stray process.env, no left-overs.

import assert from 'node:assert/strict'
import { globSync, readFileSync } from 'node:fs'
import { dirname, join, relative } from 'node:path'
import { test } from 'node:test'

const root = join(import.meta.dirname, '..')
const files = globSync('src/**/*.ts', { cwd: root }).filter((file) => !file.endsWith('.test.ts'))
const sources = new Map(files.map((file) => [file, readFileSync(join(root, file), 'utf8')]))

/** Folder -> what it may import. `app.ts`, `main.ts` and `supervisor.ts` at the root of src may import anything. */
const ALLOWED: Record<string, readonly string[]> = {
  core: [],
  mcp: ['core'],
  http: ['core'],
  ports: ['core'],
  config: ['core', 'ports'],
  registry: ['core', 'mcp', 'http', 'ports'],
  access: ['core', 'mcp', 'http', 'ports'],
  upstream: ['core', 'mcp', 'http', 'ports'],
  telemetry: ['core', 'mcp', 'http', 'ports'],
  plugins: ['core', 'mcp', 'http', 'ports'],
  call: ['core', 'mcp', 'ports', 'registry', 'access', 'upstream', 'plugins', 'telemetry'],
  edge: ['core', 'mcp', 'http', 'ports', 'call', 'access', 'telemetry'],
  control: ['core', 'mcp', 'http', 'ports', 'access', 'upstream', 'telemetry', 'registry'],
  adapters: ['core', 'ports'],
  cli: ['core', 'config', 'mcp'],
}

interface Import {
  from: string
  to: string
}

function imports(file: string): { local: Import[]; foreign: string[] } {
  const local: Import[] = []
  const foreign: string[] = []
  for (const match of sources
    .get(file)!
    .matchAll(
      /^\s*(?:import|export)\b[^'"]*?from\s+['"]([^'"]+)['"]|^\s*import\s+['"]([^'"]+)['"]|\bimport\(\s*['"]([^'"]+)['"]\s*\)/gm,
    )) {
    const name = (match[1] ?? match[2] ?? match[3])!
    if (name.startsWith('.')) local.push({ from: file, to: relative(root, join(root, dirname(file), name)) })
    else foreign.push(name)
  }
  return { local, foreign }
}

const folderOf = (file: string): string | null => (file.split('/').length > 2 ? file.split('/')[1]! : null)

test('a folder imports only what lies below it', () => {
  const faults: string[] = []
  for (const file of files) {
    const folder = folderOf(file)
    if (folder === null) continue
    const allowed = ALLOWED[folder]
    assert.ok(allowed, `src/${folder} is not in the table of tidy.test.ts`)
    for (const { to } of imports(file).local) {
      const target = folderOf(to)
      if (target === folder) continue
      if (target === null || !allowed.includes(target)) faults.push(`${file} imports ${to}`)
    }
  }
  assert.deepEqual(faults, [])
})

test('edge reaches no port but the hop except from session.ts, and a plugin imports only the plugin API', () => {
  const faults: string[] = []
  for (const file of files) {
    for (const { to } of imports(file).local) {
      if (
        file.startsWith('src/edge/') &&
        to.startsWith('src/ports/') &&
        file !== 'src/edge/session.ts' &&
        to !== 'src/ports/hop.ts'
      )
        faults.push(`${file} imports ${to}`)
      const plugin = file.startsWith('src/plugins/') && !/\/(api|host|index)\.ts$/.test(file)
      if (plugin && to !== 'src/plugins/api.ts') faults.push(`${file} imports ${to}`)
    }
  }
  assert.deepEqual(faults, [])
})

test('core does no I/O: it imports nothing of node but crypto', () => {
  for (const file of files.filter((name) => name.startsWith('src/core/'))) {
    assert.deepEqual(
      imports(file).foreign.filter((name) => name !== 'node:crypto'),
      [],
      file,
    )
  }
})

test('there are no import cycles', () => {
  const done = new Set<string>()
  const visit = (file: string, path: string[]): void => {
    assert.ok(!path.includes(file), `cycle: ${[...path.slice(path.indexOf(file)), file].join(' -> ')}`)
    if (done.has(file)) return
    for (const { to } of imports(file).local) visit(to, [...path, file])
    done.add(file)
  }
  for (const file of files) visit(file, [])
})

test('process.env is read in config/ only', () => {
  const faults = files.filter((file) => !file.startsWith('src/config/') && /process\.env\b/.test(sources.get(file)!))
  assert.deepEqual(faults, [])
})

test('nothing is left unfinished', () => {
  const words = new RegExp(['TO', 'DO|FIX', 'ME|not', ' implemented'].join(''))
  assert.deepEqual(
    files.filter((file) => words.test(sources.get(file)!)),
    [],
  )
})

test('every file says first what it is for', () => {
  assert.deepEqual(
    files.filter((file) => !/^(#!.*\n)?\/\//.test(sources.get(file)!)),
    [],
  )
})
