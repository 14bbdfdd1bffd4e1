// Parts of the tests that npm does not bring: a Python environment with the official Python SDK and servers on it. Made
// once and kept in $XDG_CACHE_HOME/mcp-gateway-parts (default ~/.cache). Where Python is missing a test is skipped with
// the reason, and fails where CI is set: there, nothing may be missing.

import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { homedir } from 'node:os'
import { join } from 'node:path'

const FOLDER = join(process.env.XDG_CACHE_HOME || join(homedir(), '.cache'), 'mcp-gateway-parts')
/** Exact versions: a change here makes a new environment. */
const PACKAGES = ['mcp==2.3.0', 'mcp-server-time==2026.10.19']
const INSTALL_MS = 240_000

export type Part = { readonly path: string } | { readonly missing: string }

let python: Part | null = null

/** The interpreter of the environment, or why there is none. Throws instead where CI is set. */
export function pythonPart(): Part {
  python ??= preparePython()
  if ('missing' in python && process.env.CI !== undefined && process.env.CI !== '')
    throw new Error(`this may not be missing in CI: ${python.missing}`)
  return python
}

function preparePython(): Part {
  const name = `python-${PACKAGES.join('-').replaceAll('==', '-')}`
  const folder = join(FOLDER, name)
  const path = join(folder, 'bin', 'python')
  if (existsSync(join(folder, 'complete'))) return { path }
  const found = spawnSync('python3', ['-c', 'import venv, ensurepip, sys; print(sys.version_info >= (3, 10))'])
  if (found.status !== 0) return { missing: 'python3 with venv and ensurepip is not installed' }
  if (found.stdout.toString().trim() !== 'True') return { missing: 'python3 is older than 3.10' }
  mkdirSync(FOLDER, { recursive: true })
  rmSync(folder, { recursive: true, force: true })
  const steps: [string, string[]][] = [
    ['python3', ['-m', 'venv', folder]],
    [path, ['-m', 'pip', 'install', '--quiet', '--disable-pip-version-check', ...PACKAGES]],
  ]
  for (const [command, args] of steps) {
    const done = spawnSync(command, args, { timeout: INSTALL_MS })
    if (done.status !== 0)
      return { missing: `${command} ${args.join(' ')} failed: ${done.stderr.toString().slice(-500)}` }
  }
  writeFileSync(join(folder, 'complete'), '')
  return { path }
}
