// What all commands share: the options that name a gateway, and printing for people or for scripts.

import type { Command } from 'commander'
import { type ConnectionOptions, findGateway, type Surroundings, type Target } from './gateway.ts'
import type { Terminal } from './terminal.ts'

/** Everything that a command may touch; main.ts makes the real one, tests their own. */
export interface Cli {
  readonly terminal: Terminal
  readonly surroundings: Surroundings
  readonly version: string
  /** What to type before a command, such as `mcp-gateway` or `bin/mcp-gateway.cjs`. */
  readonly typed: string
  readonly now: () => number
}

export interface CommonOptions extends ConnectionOptions {
  readonly json?: boolean
}

/** Adds `--url --token --data --json`, under titles of their own in the help. */
export function speaksToGateway(command: Command): Command {
  return command
    .optionsGroup('Which gateway:')
    .option('--url <url>', 'address of a running gateway (MCP_GATEWAY_URL)')
    .option('--token <token>', 'token to use (MCP_GATEWAY_TOKEN)')
    .option('--data <directory>', 'data directory of a gateway on this machine')
    .optionsGroup('Output:')
    .option('--json', 'print JSON, for scripts')
    .helpOption('-h, --help', 'show this help')
}

export function target(cli: Cli, options: CommonOptions): Target {
  return findGateway(options, cli.surroundings)
}

export function printJson(cli: Cli, value: unknown): void {
  cli.terminal.out(`${JSON.stringify(value, null, 2)}\n`)
}

/** For options that may be given several times. */
export function collect(value: string, before: readonly string[] | undefined): string[] {
  return [...(before ?? []), value]
}
