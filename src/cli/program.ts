// The command line as a whole: its commands, its help, and how everything ends in an exit code.

import { Command, CommanderError } from 'commander'
import { GatewayError } from '../core/errors.ts'
import { addCommand } from './add.ts'
import { callCommand } from './call.ts'
import { clientCommand } from './client.ts'
import type { Cli } from './command.ts'
import { doctorCommand } from './doctor.ts'
import { EXIT, Failure } from './failure.ts'
import { inspectCommand } from './inspect.ts'
import { listCommand } from './list.ts'
import { removeCommand } from './remove.ts'
import { oneLine, paint } from './terminal.ts'
import { tokenCommand } from './token.ts'
import { toolsCommand } from './tools.ts'
import { type Start, upCommand } from './up.ts'

/** What the first help shows; `help all` shows the rest too. */
const FIRST = ['up', 'add', 'list', 'tools', 'call', 'inspect', 'client', 'doctor']

/** Runs one command line (without node and script) and returns the exit code. */
export async function run(words: readonly string[], cli: Cli, start: Start): Promise<number> {
  try {
    await createProgram(cli, start).parseAsync(words.length === 0 ? ['--help'] : words, { from: 'user' })
    return EXIT.ok
  } catch (error) {
    return fail(cli, error, words.includes('--json'))
  }
}

export function createProgram(cli: Cli, start: Start): Command {
  const program = new Command('mcp-gateway')
    .description('One endpoint in front of many MCP servers.')
    .version(cli.version, '-V, --version', 'print the version')
    .helpOption('-h, --help', 'show this help')
    .helpCommand(false)
    .exitOverride()
    .configureOutput({
      writeOut: cli.terminal.out,
      writeErr: cli.terminal.err,
      getOutHelpWidth: () => cli.terminal.columns ?? 100,
      outputError: () => {},
    })
    .configureHelp({ subcommandTerm: (command) => command.name() })
  upCommand(program, cli, start)
  addCommand(program, cli)
  listCommand(program, cli)
  toolsCommand(program, cli)
  callCommand(program, cli)
  inspectCommand(program, cli)
  clientCommand(program, cli)
  doctorCommand(program, cli)
  removeCommand(program, cli)
  tokenCommand(program, cli)
  helpCommand(program)
  return program
}

function helpCommand(program: Command): void {
  const visible = (all: boolean) => (command: Command) =>
    command.commands.filter(
      (one) => command !== program || (one.name() !== 'help' && (all || FIRST.includes(one.name()))),
    )
  program.configureHelp({ ...program.configureHelp(), visibleCommands: visible(false) })
  program
    .addHelpText('after', () => '\n`mcp-gateway help all` shows every command, `mcp-gateway help COMMAND` one of them.')
    .command('help')
    .argument('[command]')
    .action((name: string | undefined) => {
      if (name === 'all') program.configureHelp({ ...program.configureHelp(), visibleCommands: visible(true) })
      const command =
        name === undefined || name === 'all' ? program : program.commands.find((one) => one.name() === name)
      if (command === undefined)
        throw new Failure(EXIT.usage, 'USAGE', `There is no command "${name}"`, 'See `mcp-gateway help all`.')
      command.help()
    })
}

/** Prints what went wrong in at most three lines, or as one JSON object, on standard error. */
function fail(cli: Cli, error: unknown, asJson: boolean): number {
  const failure = failureOf(error)
  if (failure === null) return EXIT.ok
  if (asJson) {
    const { code, message, hint } = failure
    cli.terminal.err(`${JSON.stringify({ error: { code, message, hint } })}\n`)
    return failure.exit
  }
  const colour = cli.terminal.live && cli.terminal.colour
  const red = (text: string): string => (colour ? paint(cli.terminal, 'red', text) : text)
  cli.terminal.err(`${red(oneLine(failure.code))}  ${oneLine(failure.message)}\n`)
  if (failure.hint !== null) cli.terminal.err(`  ${oneLine(failure.hint)}\n`)
  return failure.exit
}

/** Null for what is no failure: help and version end a command by an exception too. */
function failureOf(error: unknown): Failure | null {
  if (error instanceof Failure) return error
  if (error instanceof CommanderError) {
    if (error.exitCode === 0) return null
    const [message, ...rest] = error.message.replace(/^error: /, '').split('\n')
    return new Failure(
      EXIT.usage,
      'USAGE',
      message ?? 'wrong usage',
      rest.join(' ').replace(/^\((.*)\)$/, '$1') || 'See `mcp-gateway help all`.',
    )
  }
  if (error instanceof GatewayError) return new Failure(EXIT.failure, error.code, error.message, error.entry.hint)
  const message = error instanceof Error ? error.message : String(error)
  return new Failure(EXIT.failure, 'INTERNAL', message, 'This is a fault of mcp-gateway itself; please report it.')
}
