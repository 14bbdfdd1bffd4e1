// Which files `mcp-gateway dev` watches: the sources under a folder, without what tools and package managers write there.
// Data files are left out, since many servers write their own beside their sources; a file that is named is watched
// whatever it is called. Bounded, so that a folder such as one's home costs little.

import { type Dirent, readdirSync, statSync } from 'node:fs'
import { basename, dirname, extname, join, resolve } from 'node:path'
import { LIMITS } from '../core/limits.ts'

const SOURCES = new Set(
  [
    ...[
      'js',
      'mjs',
      'cjs',
      'jsx',
      'ts',
      'mts',
      'cts',
      'tsx',
      'py',
      'rb',
      'go',
      'rs',
      'java',
      'kt',
      'cs',
      'php',
      'ex',
      'exs',
    ],
    ...[
      'swift',
      'scala',
      'lua',
      'pl',
      'sh',
      'jl',
      'r',
      'dart',
      'c',
      'cc',
      'cpp',
      'h',
      'hpp',
      'zig',
      'toml',
      'yaml',
      'yml',
    ],
  ].map((extension) => `.${extension}`),
)
const NOT_SOURCES = new Set([
  ...[
    'node_modules',
    '__pycache__',
    'venv',
    'env',
    'dist',
    'build',
    'out',
    'target',
    'bin',
    'obj',
    'coverage',
    'vendor',
  ],
])

/** Where a change means a new server: the folder of the file that the command runs, else the working directory. */
export function watchedByDefault(words: readonly string[], workingDirectory: string): string[] {
  for (const word of words) {
    const path = resolve(workingDirectory, word)
    if (!SOURCES.has(extname(word)) || !isFile(path) || path.split('/').includes('node_modules')) continue
    return [dirname(path)]
  }
  return [workingDirectory]
}

export interface FoundFiles {
  readonly files: readonly string[]
  /** There are more, which are not watched. */
  readonly isCut: boolean
}

export function filesUnder(roots: readonly string[]): FoundFiles {
  const files: string[] = []
  const folders = [...roots]
  let isCut = false
  // Broad before deep: what is near the root is likelier to be the server.
  for (let at = 0; at < folders.length; at += 1) {
    const folder = folders[at]!
    if (isFile(folder)) {
      files.push(folder)
      continue
    }
    for (const entry of entriesOf(folder)) {
      if (entry.name.startsWith('.')) continue
      if (files.length >= LIMITS.devFilesMax || folders.length >= LIMITS.devFilesMax) isCut = true
      else if (entry.isDirectory()) {
        if (!NOT_SOURCES.has(entry.name)) folders.push(join(folder, entry.name))
      } else if (SOURCES.has(extname(entry.name)) || basename(entry.name) === 'package.json')
        files.push(join(folder, entry.name))
    }
    if (isCut) break
  }
  return { files, isCut }
}

function entriesOf(folder: string): Dirent[] {
  try {
    return readdirSync(folder, { withFileTypes: true })
  } catch {
    return []
  }
}

function isFile(path: string): boolean {
  try {
    return statSync(path).isFile()
  } catch {
    return false
  }
}
