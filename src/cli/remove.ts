// `mcp-gateway remove SLUG`: takes an upstream out of the registry.

import type { Command } from 'commander'
import { type Cli, type CommonOptions, printJson, speaksToGateway, target } from './command.ts'
import { ask, askJson, refusal } from './gateway.ts'
import type { UpstreamShape } from './shapes.ts'

export function removeCommand(command: Command, cli: Cli): void {
  speaksToGateway(command.argument('<slug>')).action(async (slug: string, options: CommonOptions) => {
    const gateway = target(cli, options)
    const path = `/v1/upstreams/${encodeURIComponent(slug)}`
    const upstream = await askJson<UpstreamShape & { version?: number }>(gateway, { path })
    const answer = await ask(gateway, { method: 'DELETE', path, headers: { 'if-match': `"v${upstream.version}"` } })
    if (answer.status >= 400) throw refusal(gateway, answer)
    if (options.json === true) printJson(cli, { removed: upstream.slug, id: upstream.id })
    else cli.terminal.out(`Removed ${upstream.slug}.\n`)
  })
}
