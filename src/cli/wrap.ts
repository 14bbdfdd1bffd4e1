// `mcp-gateway wrap -- COMMAND`: one stdio server as a streamable HTTP endpoint. A gateway with exactly this upstream, its
// names kept, and a data directory that ends with it: what is printed is gone after Ctrl-C, the token included.

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Command } from 'commander'
import type { Cli } from './command.ts'
import { EXIT, Failure } from './failure.ts'
import { type Start, startFailure, stopOnSignals, type UpFlags } from './up.ts'
import { troubleOf } from './upstream-text.ts'

interface WrapOptions extends UpFlags {
  readonly port: string
}

const SLUG = 'wrapped'

export function wrapCommand(command: Command, cli: Cli, start: Start): void {
  command
    .usage('[options] -- <command> [arguments…]')
    .argument('<command...>', 'the server and its arguments')
    .option('--host <address>', 'address to listen on (default: 127.0.0.1)')
    .option('--port <port>', 'port to listen on, 0 for any free one', '4444')
    .option('--open', 'ask for no token; only on a loopback address')
    .option('--json', 'print one JSON object, for scripts')
    .action(async ([program, ...args]: string[], { json, ...flags }: WrapOptions) => {
      const data = mkdtempSync(join(tmpdir(), 'mcp-gateway-wrap-'))
      try {
        const config = join(data, 'gateway.yaml')
        writeFileSync(config, configText(program!, args, cli.surroundings.workingDirectory), { mode: 0o600 })
        const running = await start({ logLevel: 'warn', ...flags, data, config, workers: '1' }).catch(
          (error: unknown) => {
            throw startFailure(cli, error, 'wrap')
          },
        )
        const ignoreSignals = stopOnSignals(cli, running)
        try {
          const endpoint = `${running.url}/servers/${SLUG}/mcp`
          const [upstream] = await running.settled
          if (upstream !== undefined && upstream.state !== 'ready')
            cli.terminal.err(`${troubleOf(null, upstream.message, upstream.nextRetryMs, cli.now())}\n`)
          const { token } = running
          if (json === true)
            cli.terminal.out(`${JSON.stringify({ event: 'listening', endpoint, token, pid: process.pid })}\n`)
          else cli.terminal.out(text(endpoint, token))
          const exit = await running.stopped
          if (exit !== 0)
            throw new Failure(EXIT.failure, 'STOPPED', 'The gateway ended by a failure', 'Its log says why.')
        } finally {
          ignoreSignals()
          await running.stop()
        }
      } finally {
        rmSync(data, { recursive: true, force: true })
      }
    })
}

/** JSON is YAML too. */
function configText(command: string, args: readonly string[], cwd: string): string {
  return JSON.stringify({
    version: 1,
    upstreams: { [SLUG]: { command, args, cwd } },
    virtualServers: { [SLUG]: { naming: 'keep', members: [{ upstream: SLUG }] } },
  })
}

function text(endpoint: string, token: string | null): string {
  const headers = token === null ? {} : { headers: { Authorization: `Bearer ${token}` } }
  const paste = JSON.stringify({ mcpServers: { [SLUG]: { type: 'http', url: endpoint, ...headers } } }, null, 2)
  return `  endpoint  ${endpoint}\n  token     ${token ?? 'none is needed (--open)'}\n\nConnect a client:\n${paste}\n`
}
