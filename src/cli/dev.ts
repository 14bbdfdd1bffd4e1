// `mcp-gateway dev -- COMMAND`: the loop of somebody who writes an MCP server. A gateway with exactly this server, its
// names kept, and a data directory that ends with it; the server is started anew when its files change, and everything
// worth knowing is one line: what its definitions have become, each call, and what the server writes on its error output.
// Absent on purpose: workers, and keeping anything: what is printed is gone after Ctrl-C, the token included.

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import type { Command } from 'commander'
import { watchFiles } from '../config/watch.ts'
import { LIMITS } from '../core/limits.ts'
import { type Cli, collect } from './command.ts'
import { filesUnder, watchedByDefault } from './dev-files.ts'
import { DevScreen } from './dev-screen.ts'
import { EXIT, Failure, usage } from './failure.ts'
import { type Running, type Start, startFailure, stopOnSignals, type UpFlags } from './up.ts'

interface DevOptions extends UpFlags {
  readonly port: string
  readonly watch?: readonly string[]
  readonly http?: string
}

const SLUG = 'dev'

export function devCommand(command: Command, cli: Cli, start: Start): void {
  command
    .usage('[options] -- <command> [arguments…]')
    .argument('[command...]', 'the server and its arguments')
    .option('--watch <path>', 'a file or folder whose change starts it anew (default: where the server is)', collect)
    .option('--http <url>', 'a server that you run yourself, over HTTP, instead of a command')
    .option('--host <address>', 'address to listen on (default: 127.0.0.1)')
    .option('--port <port>', 'port to listen on, 0 for any free one', '0')
    .option('--open', 'ask for no token; only on a loopback address')
    .action(async (words: string[], { watch, http, ...flags }: DevOptions) => {
      if (words.length === 0 && http === undefined)
        throw usage('Name the command that starts the server, after --', 'mcp-gateway dev -- node server.js')
      if (words.length > 0 && http !== undefined) throw usage('Name a command or --http, not both')
      const { workingDirectory } = cli.surroundings
      const roots = watch?.map((path) => resolve(workingDirectory, path)) ?? watchedByDefault(words, workingDirectory)
      const data = mkdtempSync(join(tmpdir(), 'mcp-gateway-dev-'))
      try {
        const config = join(data, 'gateway.yaml')
        writeFileSync(config, configText(words, http, workingDirectory), { mode: 0o600 })
        const screen = new DevScreen(cli, SLUG, http)
        const running = await start({ logLevel: 'silent', ...flags, data, config, workers: '1' }, screen).catch(
          (error: unknown) => {
            throw startFailure(cli, error, 'dev')
          },
        )
        const ignoreSignals = stopOnSignals(cli, running)
        const stopWatching = await loop(screen, running, roots)
        try {
          const exit = await running.stopped
          if (exit !== 0) throw new Failure(EXIT.failure, 'STOPPED', 'The gateway ended by a failure')
        } finally {
          stopWatching()
          ignoreSignals()
          await running.stop()
        }
      } finally {
        rmSync(data, { recursive: true, force: true })
      }
    })
}

/** JSON is YAML too. */
function configText([command, ...args]: readonly string[], http: string | undefined, cwd: string): string {
  return JSON.stringify({
    version: 1,
    upstreams: { [SLUG]: http === undefined ? { command, args, cwd } : { url: http } },
    virtualServers: { [SLUG]: { naming: 'keep', members: [{ upstream: SLUG }] } },
  })
}

/** Shows the server as it starts, and starts it anew with every change of its files. Returns the way to end that. */
async function loop(screen: DevScreen, running: Running, roots: readonly string[]): Promise<() => void> {
  screen.head(running.url, running.token, roots, filesUnder(roots))
  let isBusy = true
  let hasChanged = false

  const restart = async (): Promise<void> => {
    isBusy = true
    try {
      while (hasChanged) {
        hasChanged = false
        screen.starting()
        const observed = await running.restart(SLUG)
        // What was changed meanwhile will be shown as it is then.
        if (observed !== null && !hasChanged) screen.observed(observed)
      }
    } catch (error) {
      screen.fault(error)
    } finally {
      isBusy = false
    }
  }
  const watcher = watchFiles({
    paths: () => filesUnder(roots).files,
    pollMs: LIMITS.devPollMs,
    quietMsMax: LIMITS.configQuietMsMax,
    onChange: (paths) => {
      screen.changed(paths)
      hasChanged = true
      if (!isBusy) void restart()
    },
  })
  await running.settled
  isBusy = false
  // Also what happens by itself: a server that is back, or tools that it adds while it runs.
  running.observe(SLUG, (observed) => {
    if (!isBusy) screen.observed(observed)
  })
  if (hasChanged) void restart()
  return watcher.close
}
