// Builds the Rust floor where cargo is there. Everything that cargo writes stays outside the repository, in
// $XDG_CACHE_HOME/mcp-gateway-parts (default ~/.cache), so that a second run does not build again.

import { spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { homedir } from 'node:os'
import { join } from 'node:path'
import { ROOT } from './processes.ts'

export type Floor = { readonly program: string } | { readonly skipped: string }

/** With `build` false only a floor that stands there already is used: a first build takes a minute. */
export function buildFloor(build: boolean): Floor {
  const cache = process.env.XDG_CACHE_HOME || join(homedir(), '.cache')
  const target = join(cache, 'mcp-gateway-parts', 'bench-floor')
  const manifest = join(ROOT, 'bench', 'floor', 'Cargo.toml')
  const program = join(target, 'release', 'bench-floor')
  if (!build) return existsSync(program) ? { program } : { skipped: 'it is not built yet, and this is a short run' }
  const version = spawnSync('cargo', ['--version'], { encoding: 'utf8' })
  if (version.status !== 0) return { skipped: 'cargo is not on this machine' }
  const args = ['build', '--release', '--locked', '--quiet', '--manifest-path', manifest, '--target-dir', target]
  const built = spawnSync('cargo', args, { encoding: 'utf8', timeout: 600_000 })
  if (built.status === 0 && existsSync(program)) return { program }
  const why = (built.stderr ?? '').trim().split('\n').slice(0, 3).join(' | ')
  return { skipped: `cargo build failed: ${why || built.error?.message || `exit ${built.status}`}` }
}
