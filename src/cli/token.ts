// `mcp-gateway token create|list|revoke`: who may use the gateway. The text of a token is shown once and never again.

import { type Command, Option } from 'commander'
import { RIGHTS, type Right } from '../core/policy.ts'
import { parseDuration, rfc3339 } from '../core/time.ts'
import { type Cli, type CommonOptions, collect, printJson, speaksToGateway, target } from './command.ts'
import { usage } from './failure.ts'
import { askAll, askJson } from './gateway.ts'
import type { TokenShape } from './shapes.ts'
import { paint, span, table } from './terminal.ts'

interface CreateOptions extends CommonOptions {
  readonly right?: readonly string[]
  readonly expires?: string
}

export function tokenCommand(token: Command, cli: Cli): void {
  const create = token
    .command('create')
    .description('create a token and print it once')
    .argument('<name>', 'what it is for')
    .addOption(new Option('--right <right>', `${RIGHTS.join(', ')}; may be repeated (default: use)`).argParser(collect))
    .option('--expires <time>', 'when it ends, such as 12h or 30d; never when left out')
  speaksToGateway(create).action(async (name: string, options: CreateOptions) => {
    const made = await createToken(cli, options, name, rightsOf(options.right), expiry(cli, options.expires))
    if (options.json === true) return printJson(cli, made)
    cli.terminal.out(`${made.token}\n`)
    cli.terminal.err(
      paintErr(cli, `Token "${made.name}" with ${made.rights.join(', ')}; this is the only time that it is shown.\n`),
    )
  })

  speaksToGateway(token.command('list').alias('ls').description('list the tokens')).action(
    async (options: CommonOptions) => {
      const tokens = await askAll<TokenShape>(target(cli, options), '/v1/tokens')
      if (options.json === true) return printJson(cli, tokens)
      const when = (time: string | null | undefined, none: string): string => {
        if (!time) return none
        const ms = Date.parse(time) - cli.now()
        return ms > 0 ? `in ${span(ms)}` : `${span(-ms)} ago`
      }
      cli.terminal.out(
        table(cli.terminal, tokens, [
          { title: 'TOKEN', value: (row) => row.name, style: () => 'bold' },
          { title: 'RIGHTS', value: (row) => row.rights.join(', ') },
          { title: 'LAST USED', value: (row) => when(row.lastUsedAt, 'never') },
          { title: 'EXPIRES', value: (row) => when(row.expiresAt, 'never') },
          { title: 'ID', value: (row) => row.id, style: () => 'dim' },
        ]),
      )
    },
  )

  speaksToGateway(
    token.command('revoke').alias('rm').description('end a token at once').argument('<name>', 'its name or id'),
  ).action(async (name: string, options: CommonOptions) => {
    await askJson(target(cli, options), { method: 'DELETE', path: `/v1/tokens/${encodeURIComponent(name)}` })
    if (options.json === true) printJson(cli, { revoked: name })
    else cli.terminal.out(`Revoked ${name}.\n`)
  })
}

export async function createToken(
  cli: Cli,
  options: CommonOptions,
  name: string,
  rights: readonly Right[],
  expiresAt: string | null,
): Promise<TokenShape> {
  const body = { name, rights, ...(expiresAt === null ? {} : { expiresAt }) }
  return askJson<TokenShape>(target(cli, options), { method: 'POST', path: '/v1/tokens', body })
}

function rightsOf(texts: readonly string[] = ['use']): Right[] {
  return texts.map((text) => {
    const right = RIGHTS.find((known) => known === text)
    if (right === undefined) throw usage(`"${text}" is not a right`, `The rights are ${RIGHTS.join(', ')}.`)
    return right
  })
}

function expiry(cli: Cli, text: string | undefined): string | null {
  if (text === undefined) return null
  const ms = parseDuration(text)
  if (ms === null || ms < 1_000) throw usage(`--expires ${text}: write a time such as 12h or 30d`)
  return rfc3339(cli.now() + ms)
}

function paintErr(cli: Cli, text: string): string {
  return cli.terminal.live ? paint(cli.terminal, 'dim', text) : text
}
