// The command line as a whole: its commands, its help, and how everything ends in an exit code.

import { Command, CommanderError } from 'commander'
import { GatewayError } from '../core/errors.ts'
import type { Cli } from './command.ts'
import { EXIT, Failure } from './failure.ts'
import { oneLine, paint } from './terminal.ts'
import type { Start } from './up.ts'

type Define = (command: Command, cli: Cli, start: Start) => void

interface Entry {
  readonly about: string
  readonly alias?: string
  /** Shown by `help all` only. */
  readonly later?: boolean
  /** Loads the command's own file: a start of the gateway must not pay for the other nine. */
  readonly load: () => Promise<Define>
}

const COMMANDS: Readonly<Record<string, Entry>> = {
  up: { about: 'start a gateway here', load: async () => (await import('./up.ts')).upCommand },
  add: {
    about: 'add an upstream: a URL, or a command after --',
    load: async () => (await import('./add.ts')).addCommand,
  },
  list: {
    about: 'list the upstreams and how they are',
    alias: 'ls',
    load: async () => (await import('./list.ts')).listCommand,
  },
  tools: { about: 'list the tools that clients see', load: async () => (await import('./tools.ts')).toolsCommand },
  call: { about: 'call a tool and print what it answers', load: async () => (await import('./call.ts')).callCommand },
  inspect: {
    about: 'show all that is known of one upstream',
    load: async () => (await import('./inspect.ts')).inspectCommand,
  },
  client: {
    about: 'print what connects a client to this gateway',
    load: async () => (await import('./client.ts')).clientCommand,
  },
  doctor: {
    about: 'find what is wrong and how to mend it',
    load: async () => (await import('./doctor.ts')).doctorCommand,
  },
  dev: {
    about: 'write a server: started anew with its files, its changes and calls shown',
    later: true,
    load: async () => (await import('./dev.ts')).devCommand,
  },
  remove: {
    about: 'remove an upstream',
    alias: 'rm',
    later: true,
    load: async () => (await import('./remove.ts')).removeCommand,
  },
  reload: {
    about: 'have the gateway read its configuration files again',
    later: true,
    load: async () => (await import('./reload.ts')).reloadCommand,
  },
  token: {
    about: 'create, list and revoke tokens',
    later: true,
    load: async () => (await import('./token.ts')).tokenCommand,
  },
  stdio: {
    about: 'speak MCP on standard input and output, for clients that only start programs',
    later: true,
    load: async () => (await import('./stdio.ts')).stdioCommand,
  },
  wrap: {
    about: 'serve one stdio server over streamable HTTP: a command after --',
    later: true,
    load: async () => (await import('./wrap.ts')).wrapCommand,
  },
}

export const COMMAND_NAMES = Object.keys(COMMANDS)

/** Runs one command line (without node and script) and returns the exit code. */
export async function run(words: readonly string[], cli: Cli, start: Start): Promise<number> {
  try {
    const asked = words.filter((word) => !word.startsWith('-')).slice(0, 2)
    const names = asked[0] === 'help' ? asked.slice(1) : asked.slice(0, 1)
    const program = await createProgram(cli, start, names)
    await program.parseAsync(words.length === 0 ? ['--help'] : words, { from: 'user' })
    return EXIT.ok
  } catch (error) {
    return fail(cli, error, words.includes('--json'))
  }
}

/** All commands by name, those of `names` (or aliases) with their options and actions too. */
export async function createProgram(cli: Cli, start: Start, names: readonly string[]): Promise<Command> {
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
  for (const [name, { about, alias, load }] of Object.entries(COMMANDS)) {
    const command = program.command(name).description(about).helpCommand(false)
    if (alias !== undefined) command.alias(alias)
    if (names.includes(name) || (alias !== undefined && names.includes(alias))) (await load())(command, cli, start)
  }
  addHelp(program)
  return program
}

function addHelp(program: Command): void {
  const show = (all: boolean): void => {
    program.configureHelp({
      subcommandTerm: (command) => command.name(),
      visibleCommands: (command) =>
        command === program ? command.commands.filter((one) => all || isFirst(one.name())) : [...command.commands],
    })
  }
  show(false)
  program
    .addHelpText('after', '\n`mcp-gateway help all` shows every command, `mcp-gateway help COMMAND` one of them.')
    .command('help')
    .argument('[command]')
    .action((name: string | undefined) => {
      if (name === 'all') show(true)
      const command = name === undefined || name === 'all' ? program : find(program, name)
      if (command === undefined) {
        throw new Failure(EXIT.usage, 'USAGE', `There is no command "${name}"`, 'See `mcp-gateway help all`.')
      }
      command.help()
    })
}

function isFirst(name: string): boolean {
  return Object.hasOwn(COMMANDS, name) && COMMANDS[name]!.later !== true
}

function find(program: Command, name: string): Command | undefined {
  return program.commands.find((one) => one.name() === name || one.aliases().includes(name))
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
  if (error instanceof GatewayError && error.code !== 'INTERNAL')
    return new Failure(EXIT.failure, error.code, error.message, error.entry.hint)
  const [message = ''] = (error instanceof Error ? error.message : String(error)).split('\n')
  return new Failure(EXIT.failure, 'INTERNAL', message, 'This is a fault of mcp-gateway itself; please report it.')
}
