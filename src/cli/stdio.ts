// `mcp-gateway stdio`: what a client that only spawns programs starts. It speaks MCP on standard input and output and
// carries every message to a running gateway, or to one of its own that it starts from a file and that ends with it.

import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Command } from 'commander'
import { type Cli, type CommonOptions, speaksToGateway, target } from './command.ts'
import { usage } from './failure.ts'
import { oneLine } from './terminal.ts'
import type { Start } from './up.ts'

interface StdioOptions extends CommonOptions {
  readonly server?: string
  readonly config?: string
  readonly mcpJson?: string
}

export function stdioCommand(command: Command, cli: Cli, start: Start): void {
  command
    .option('--server <slug>', 'one virtual server instead of everything')
    .option('--config <file>', 'start a gateway of its own with this gateway.yaml')
    .option('--mcp-json <file>', "start a gateway of its own with a client's mcp.json")
  speaksToGateway(command).action(async (options: StdioOptions) => {
    if (options.server !== undefined && !/^[a-z0-9][a-z0-9-]{0,63}$/.test(options.server))
      throw usage(`"${options.server}" is not the name of a virtual server`)
    const path = options.server === undefined ? '/mcp' : `/servers/${options.server}/mcp`
    if (options.config === undefined && options.mcpJson === undefined) {
      const gateway = target(cli, options)
      return bridge(cli, `${gateway.url}${path}`, gateway.token)
    }
    if (options.url !== undefined || options.token !== undefined)
      throw usage('--config and --mcp-json start a gateway: --url and --token name one that runs')
    const data = options.data ?? mkdtempSync(join(tmpdir(), 'mcp-gateway-stdio-'))
    try {
      const { config, mcpJson } = options
      const files = { ...(config === undefined ? {} : { config }), ...(mcpJson === undefined ? {} : { mcpJson }) }
      const running = await start({ ...files, data, host: '127.0.0.1', port: '0', workers: '1' })
      try {
        // The first list of a client is often its only one: it must be whole.
        await running.settled
        await bridge(cli, `${running.url}${path}`, running.token)
      } finally {
        await running.stop()
      }
    } finally {
      if (options.data === undefined) rmSync(data, { recursive: true, force: true })
    }
  })
}

async function bridge(cli: Cli, endpoint: string, token: string | null): Promise<void> {
  const { StdioBridge } = await import('./stdio-bridge.ts')
  const log = (text: string): void => cli.terminal.err(`${oneLine(text)}\n`)
  const made = new StdioBridge({ endpoint, token, input: process.stdin, output: process.stdout, log })
  const stop = (): void => void made.close()
  process.on('SIGINT', stop).on('SIGTERM', stop)
  try {
    await made.run()
  } finally {
    process.off('SIGINT', stop).off('SIGTERM', stop)
  }
}
