// `mcp-gateway tools`: the tools that this token may see, under the names that clients use.

import type { Command } from 'commander'
import { type Cli, type CommonOptions, printJson, speaksToGateway, target } from './command.ts'
import { askAll } from './gateway.ts'
import type { ToolShape } from './shapes.ts'
import { count, paint, table } from './terminal.ts'

interface ToolsOptions extends CommonOptions {
  readonly upstream?: string
  readonly server?: string
  readonly query?: string
}

export function toolsCommand(command: Command, cli: Cli): void {
  command
    .option('--upstream <slug>', 'only those of one upstream')
    .option('--server <slug>', 'only those of one virtual server')
    .option('-q, --query <words>', 'only those whose name or description holds these words')
  speaksToGateway(command).action(async (options: ToolsOptions) => {
    const query = new URLSearchParams()
    if (options.upstream !== undefined) query.set('upstream', options.upstream)
    if (options.server !== undefined) query.set('server', options.server)
    if (options.query !== undefined) query.set('q', options.query)
    const tools = await askAll<ToolShape>(target(cli, options), query.size > 0 ? `/v1/tools?${query}` : '/v1/tools')
    if (options.json === true) return printJson(cli, tools)
    if (tools.length === 0) {
      cli.terminal.out(query.size > 0 ? 'No tool fits.\n' : 'No tools yet. See `mcp-gateway list`.\n')
      return
    }
    cli.terminal.out(
      table(cli.terminal, tools, [
        { title: 'TOOL', value: (tool) => tool.name, style: () => 'bold' },
        { title: 'ARGUMENTS', value: argumentsOf },
        { title: 'DESCRIPTION', value: (tool) => tool.description ?? tool.title ?? '' },
      ]),
    )
    if (cli.terminal.columns !== null) cli.terminal.out(`${paint(cli.terminal, 'dim', count(tools.length, 'tool'))}\n`)
  })
}

const ARGUMENTS_MAX = 4

/** `city days?`: required ones first as they stand, optional ones with a question mark. */
function argumentsOf({ inputSchema }: ToolShape): string {
  const required = inputSchema?.required ?? []
  const names = Object.keys(inputSchema?.properties ?? {})
  const texts = [
    ...names.filter((name) => required.includes(name)),
    ...names.filter((name) => !required.includes(name)).map((name) => `${name}?`),
  ]
  return texts.length > ARGUMENTS_MAX ? `${texts.slice(0, ARGUMENTS_MAX).join(' ')} …` : texts.join(' ')
}
