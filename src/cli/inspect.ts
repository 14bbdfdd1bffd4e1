// `mcp-gateway inspect SLUG`: everything that is known of one upstream, for the day it does not work.

import type { Command } from 'commander'
import { type Cli, type CommonOptions, printJson, speaksToGateway, target } from './command.ts'
import { askJson } from './gateway.ts'
import type { UpstreamShape } from './shapes.ts'
import { fields, oneLine, paint, plain, span, styleOfState, table } from './terminal.ts'
import { offersOf, placeOf, stateTrouble } from './upstream-text.ts'

const STDERR_LINES = 20

export function inspectCommand(command: Command, cli: Cli): void {
  speaksToGateway(command.argument('<slug>')).action(async (slug: string, options: CommonOptions) => {
    const path = `/v1/upstreams/${encodeURIComponent(slug)}?include=stderr,children,shadowed`
    const upstream = await askJson<UpstreamShape>(target(cli, options), { path })
    if (options.json === true) return printJson(cli, upstream)
    cli.terminal.out(inspectText(cli, upstream))
  })
}

function inspectText(cli: Cli, upstream: UpstreamShape): string {
  const { state, discovery } = upstream
  const ago = (time: string): string => `${span(cli.now() - Date.parse(time))} ago`
  const since = (time: string | undefined, word = ''): string => (time === undefined ? '' : `, ${word}${ago(time)}`)
  const server = discovery?.serverInfo
  const parts = [
    fields(cli.terminal, [
      ['upstream', paint(cli.terminal, 'bold', upstream.slug)],
      ['title', upstream.title ? oneLine(upstream.title) : null],
      ['at', oneLine(placeOf(upstream))],
      ['state', `${paint(cli.terminal, styleOfState(state.state), state.state)}${since(state.since)}`],
      ['trouble', state.state === 'ready' || state.state === 'disabled' ? null : stateTrouble(upstream, cli.now())],
      ['attempts', state.state === 'ready' || !state.attempts ? null : String(state.attempts)],
      ['server', server ? oneLine(`${server.title ?? server.name} ${server.version}`) : null],
      ['speaks', discovery ? `${discovery.revision} (${discovery.era})${since(discovery.probedAt, 'probed ')}` : null],
      ['offers', discovery?.counts ? `${offersOf(discovery.counts)}${since(discovery.discoveredAt, 'read ')}` : null],
      ['isolation', upstream.isolation ?? null],
      ['keeps state', discovery?.stateful === undefined ? null : discovery.stateful ? 'yes' : 'no'],
      ['managed by', upstream.originRef ?? upstream.origin ?? null],
    ]),
  ]
  const skipped = discovery?.skipped ?? []
  if (skipped.length > 0) {
    parts.push(
      section(cli, 'Skipped, as the upstream describes them wrongly'),
      table(cli.terminal, skipped, [
        { title: 'KIND', value: (item) => item.kind },
        { title: 'NAME', value: (item) => item.name },
        { title: 'WHY', value: (item) => item.reason },
      ]),
    )
  }
  const shadowed = upstream.shadowed ?? []
  if (shadowed.length > 0) {
    parts.push(
      section(cli, 'Shadowed, as another upstream had the name first'),
      table(cli.terminal, shadowed, [
        { title: 'KIND', value: (item) => item.kind },
        { title: 'NAME', value: (item) => item.name },
        { title: 'OWNER', value: (item) => item.owner },
      ]),
    )
  }
  const children = upstream.children ?? []
  if (children.length > 0) {
    parts.push(
      section(cli, 'Processes'),
      table(cli.terminal, children, [
        { title: 'PID', value: (child) => String(child.pid ?? '-'), right: true },
        { title: 'FOR', value: (child) => child.owner },
        { title: 'STARTED', value: (child) => ago(child.startedAt) },
        { title: 'USED', value: (child) => ago(child.lastUsedAt) },
        { title: 'ODD LINES', value: (child) => String(child.dropped), right: true },
        { title: 'WITHOUT LIMIT', value: (child) => child.unset.join('; ') || 'none' },
      ]),
    )
  }
  const lines = (upstream.stderr ?? '')
    .split('\n')
    .filter((line) => line.trim() !== '')
    .slice(-STDERR_LINES)
  if (lines.length > 0)
    parts.push(section(cli, 'Last of its standard error'), ...lines.map((line) => `  ${plain(line)}\n`))
  return parts.join('')
}

function section(cli: Cli, title: string): string {
  return `\n${paint(cli.terminal, 'bold', title)}\n`
}
