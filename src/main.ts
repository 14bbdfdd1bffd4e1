// The process: its arguments, its terminal, its exit code. bin/mcp-gateway.cjs calls `main`; started by itself
// (`node src/main.ts up`) it does the same. What a gateway is made of is loaded only by `up`.

import { readFileSync } from 'node:fs'
import { basename, relative } from 'node:path'
import type { Cli } from './cli/command.ts'
import { run } from './cli/program.ts'
import type { Start } from './cli/up.ts'
import { readCliEnvironment } from './config/surroundings.ts'
import { parseDuration } from './core/time.ts'

const EXIT_MS = 1_000

export async function main(words: readonly string[]): Promise<void> {
  // `mcp-gateway tools | head` closes our output early; that is the reader's right and no failure.
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code === 'EPIPE') process.exit()
    throw error
  })
  process.exitCode = await run(words, createCli(), start)
  // Everything is written and closed by now; a forgotten handle must not keep the process.
  setTimeout(() => process.exit(), EXIT_MS).unref()
}

function createCli(): Cli {
  const { plain, ...surroundings } = readCliEnvironment()
  const { stdout, stderr } = process
  return {
    terminal: {
      out: (text) => stdout.write(text),
      err: (text) => stderr.write(text),
      // A terminal that does not say how wide it is says 0.
      columns: stdout.isTTY && stdout.columns > 0 ? stdout.columns : null,
      colour: stdout.isTTY && !plain,
      live: stderr.isTTY,
    },
    surroundings,
    version: readVersion(),
    typed: typedAs(process.argv[1] ?? ''),
    now: Date.now,
  }
}

/** An installed command is its name; a file of a clone is its path from here. */
function typedAs(script: string): string {
  return basename(script) === 'mcp-gateway' ? 'mcp-gateway' : relative(process.cwd(), script)
}

function readVersion(): string {
  const read = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8')) as { version: string }
  return read.version
}

const READY_MS = 15_000

/** Settings, then the gateway: both are loaded here and not before. */
const start: Start = async (flags, taps) => {
  const [{ refuseFaults }, { filesOfUp }, { readEnvironment }, { startGateway }, { createLog }] = await Promise.all([
    import('./config/load.ts'),
    import('./config/files-of-up.ts'),
    import('./config/environment.ts'),
    import('./app.ts'),
    import('./telemetry/log.ts'),
  ])
  const { paths, load } = filesOfUp({
    flags: { ...flags },
    env: readEnvironment(),
    workingDirectory: process.cwd(),
    terminal: process.stderr.isTTY,
  })
  const first = await load()
  const { config, rows, faults, notes } = first
  refuseFaults(faults)
  const log = createLog({
    level: config.telemetry.logLevel,
    format: config.telemetry.logFormat,
    write: (line) => process.stderr.write(line),
    now: Date.now,
  })
  for (const { at, message } of notes) log.warn('config.note', { at, message })
  const readyMs = flags.readyTimeout === undefined ? READY_MS : (parseDuration(flags.readyTimeout) ?? READY_MS)
  return startGateway({
    ...{ config, rows, files: { paths, first, load }, demo: flags.demo === true, readyMs, version: readVersion() },
    ...{ log, setLogLevel: log.setLevel },
    ...(taps === undefined ? {} : { taps }),
  })
}

if (import.meta.main) await main(process.argv.slice(2))
