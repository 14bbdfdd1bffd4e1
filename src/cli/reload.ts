// `mcp-gateway reload`: has a running gateway read its configuration files again. It answers with what has changed, or
// with every fault, and then nothing has.

import type { Command } from 'commander'
import { type Cli, type CommonOptions, printJson, speaksToGateway, target } from './command.ts'
import { EXIT, Failure } from './failure.ts'
import { ask, askJson, refusal } from './gateway.ts'
import { oneLine, paint, type Style, type Terminal } from './terminal.ts'

export interface FaultShape {
  readonly at: string
  readonly message: string
}

export interface ReloadedShape {
  readonly files: readonly string[]
  readonly rows: readonly {
    readonly kind: 'upstream' | 'server' | 'token'
    readonly name: string
    readonly change: 'added' | 'changed' | 'removed'
  }[]
  readonly settings: readonly { readonly name: string; readonly takesEffect: 'at once' | 'next start' }[]
}

export function reloadCommand(command: Command, cli: Cli): void {
  speaksToGateway(command).action(async (options: CommonOptions) => {
    const gateway = target(cli, options)
    const answer = await ask(gateway, { method: 'POST', path: '/v1/reload' })
    if (answer.status === 409 && options.json !== true) {
      const { errors = [] } = JSON.parse(answer.text) as { errors?: readonly FaultShape[] }
      cli.terminal.err(faultsText(errors))
      throw new Failure(EXIT.failure, 'CONFIG_REFUSED', `${errors.length} to correct; nothing was changed`)
    }
    if (answer.status >= 400) throw refusal(gateway, answer)
    const reloaded = JSON.parse(answer.text) as ReloadedShape
    if (options.json === true) return printJson(cli, reloaded)
    cli.terminal.out(reloadedText(cli.terminal, reloaded))
  })
}

export function faultsText(faults: readonly FaultShape[]): string {
  return faults.map(({ at, message }) => `${oneLine(`${at}: ${message}`)}\n`).join('')
}

const SIGNS: Readonly<Record<string, readonly [sign: string, style: Style]>> = {
  added: ['+', 'green'],
  changed: ['~', 'yellow'],
  removed: ['-', 'red'],
}
const NOUNS = { upstream: 'upstream', server: 'virtual server', token: 'token' } as const

export function reloadedText(terminal: Terminal, { files, rows, settings }: ReloadedShape): string {
  if (files.length === 0) return 'It was started without --config and --mcp-json: there is nothing to read again.\n'
  if (rows.length === 0 && settings.length === 0) return `${oneLine(files.join(', '))}: nothing has changed\n`
  const lines = rows.map(({ kind, name, change }) => {
    const [sign, style] = SIGNS[change] ?? ['?', 'dim']
    return `  ${paint(terminal, style, sign)} ${NOUNS[kind] ?? kind} ${oneLine(name)} ${change}\n`
  })
  for (const { name, takesEffect } of settings) {
    const isNow = takesEffect === 'at once'
    const what = isNow ? 'in force' : 'changed: takes effect at the next start'
    lines.push(`  ${paint(terminal, 'yellow', isNow ? '~' : '!')} ${oneLine(name)} ${what}\n`)
  }
  return `${oneLine(files.join(', '))} applied\n${lines.join('')}`
}

/** What `/v1/status` says of the files; gateways before this one say nothing. */
export interface ConfigurationShape {
  readonly files: readonly string[]
  readonly appliedAt: string
  readonly refusedAt: string | null
  readonly faults: readonly FaultShape[]
  readonly nextStart: readonly string[]
}

/** Null where this gateway, or this token, tells nothing of it. */
export async function askConfiguration(gateway: ReturnType<typeof target>): Promise<ConfigurationShape | null> {
  try {
    const { configuration } = await askJson<{ configuration?: ConfigurationShape }>(gateway, { path: '/v1/status' })
    return configuration ?? null
  } catch (error) {
    if (error instanceof Failure) return null
    throw error
  }
}
