// `mcp-gateway list`: the upstreams and how they are.

import type { Command } from 'commander'
import { type Cli, type CommonOptions, printJson, speaksToGateway, target } from './command.ts'
import { askAll } from './gateway.ts'
import { askConfiguration, faultsText } from './reload.ts'
import type { UpstreamShape } from './shapes.ts'
import { paint, styleOfState, table } from './terminal.ts'
import { type Counts, resourcesOf, shortPlaceOf, stateTrouble } from './upstream-text.ts'

export function listCommand(command: Command, cli: Cli): void {
  speaksToGateway(command).action(async (options: CommonOptions) => {
    const gateway = target(cli, options)
    const upstreams = await askAll<UpstreamShape>(gateway, '/v1/upstreams')
    if (options.json === true) return printJson(cli, upstreams)
    cli.terminal.out(
      upstreams.length === 0 ? 'No upstreams yet. Add one: mcp-gateway add URL\n' : listText(cli, upstreams),
    )
    const faults = (await askConfiguration(gateway))?.faults ?? []
    if (faults.length === 0) return
    const head = 'The configuration files were refused; what was applied before is in force:'
    cli.terminal.out(`\n${paint(cli.terminal, 'red', head)}\n${faultsText(faults)}`)
  })
}

function listText(cli: Cli, upstreams: readonly UpstreamShape[]): string {
  const number = (of: (counts: Counts) => number) => (upstream: UpstreamShape) => {
    const counts = upstream.discovery?.counts
    return counts === undefined ? '-' : String(of(counts))
  }
  const rows = table(cli.terminal, upstreams, [
    { title: 'UPSTREAM', value: (upstream) => upstream.slug, style: () => 'bold' },
    {
      title: 'STATE',
      value: (upstream) => upstream.state.state,
      style: ({ state }) => styleOfState(state.state),
    },
    { title: 'REVISION', value: (upstream) => upstream.discovery?.revision ?? '-' },
    { title: 'TOOLS', value: number(({ tools }) => tools), right: true },
    { title: 'PROMPTS', value: number(({ prompts }) => prompts), right: true },
    { title: 'RESOURCES', value: number(resourcesOf), right: true },
    { title: 'AT', value: shortPlaceOf },
  ])
  const troubles = upstreams
    .filter((upstream) => upstream.state.state === 'down')
    .map((upstream) => `${paint(cli.terminal, 'bold', upstream.slug)} ${stateTrouble(upstream, cli.now())}\n`)
  return rows + (troubles.length > 0 ? `\n${troubles.join('')}` : '')
}
