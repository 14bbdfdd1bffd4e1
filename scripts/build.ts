// Builds dist/: every file of src/ as plain JavaScript with declarations, which is what users start (stripping types at
// start costs 350–600 ms more). Called by `npm ci` through `prepare`.

import { spawnSync } from 'node:child_process'
import { cpSync, existsSync, rmSync } from 'node:fs'
import { join } from 'node:path'

const root = join(import.meta.dirname, '..')
const tsc = join(root, 'node_modules', '.bin', 'tsc')
rmSync(join(root, 'dist'), { recursive: true, force: true })
const built = spawnSync(tsc, ['-p', 'tsconfig.build.json'], { cwd: root, stdio: 'inherit' })
if (built.status !== 0) process.exit(built.status ?? 1)
const migrations = join(root, 'src', 'adapters', 'migrations')
if (existsSync(migrations)) cpSync(migrations, join(root, 'dist', 'adapters', 'migrations'), { recursive: true })
