// docs/cli.md, made from the commands themselves.

import type { Command } from 'commander'
import { COMMAND_NAMES, createProgram } from '../src/cli/program.ts'

const HEAD = `# The command line

Made by \`npm run docs\` from the commands; do not edit.

In a clone of the repository write \`bin/mcp-gateway.cjs\` where this says \`mcp-gateway\`.

## Which gateway a command speaks to

The first of these that says something:

1. \`--url\` and \`--token\`, or \`--data\` with the data directory of a gateway on this machine;
2. the environment: \`MCP_GATEWAY_URL\` and \`MCP_GATEWAY_TOKEN\`;
3. the data directory \`./.data\` (what \`npm start\` uses), then the usual one (\`$XDG_DATA_HOME/mcp-gateway\` or
   \`~/.local/share/mcp-gateway\`): a running gateway writes its address into \`gateway.json\` and the operator's token
   into \`token\` there.

The operator's token of a data directory is sent only to the address that the same directory names.

## Exit codes

| code | meaning |
|---|---|
| 0 | done |
| 1 | it failed: the gateway or a tool says no, or \`doctor\` found a fault |
| 2 | wrong usage, or a configuration with faults (each printed as \`file:line: message\`) |
| 3 | no gateway can be reached |
| 4 | refused: no valid token, or one without the right |

An error is at most three lines on standard error: code, message, what to do. With \`--json\` it is one object,
\`{"error":{"code","message","hint"}}\`, and what a command has to say is JSON on standard output.
\`up --json\` prints one object per line: \`{"event":"listening",…}\`, then \`{"event":"settled",…}\`.
Colours appear on terminals only, and never with \`NO_COLOR\`. Anything that takes over a second says so on standard error.

\`up\` prints exactly one line that begins with two spaces and \`curl \`: it calls a tool when pasted into a shell.
`

export async function cliReference(): Promise<string> {
  const program = await createProgram(
    {
      terminal: { out: () => {}, err: () => {}, columns: 100, colour: false, live: false },
      surroundings: { url: null, token: null, dataDirectory: '', workingDirectory: '', proxyVariables: [] },
      version: '',
      typed: 'mcp-gateway',
      now: () => 0,
    },
    () => Promise.reject(new Error('the reference starts nothing')),
    COMMAND_NAMES,
  )
  return `${HEAD}${[program, ...program.commands].flatMap((command) => sections(command, command === program)).join('')}`
}

function sections(command: Command, isProgram: boolean): string[] {
  if (command.name() === 'help') return []
  const own = `\n## \`${fullName(command)}\`\n\n\`\`\`text\n${helpOf(command).trimEnd()}\n\`\`\`\n`
  return isProgram ? [own] : [own, ...command.commands.flatMap((one) => sections(one, false))]
}

function fullName(command: Command): string {
  return command.parent === null ? command.name() : `${fullName(command.parent)} ${command.name()}`
}

/** What `--help` prints, with the texts that are added after it. */
function helpOf(command: Command): string {
  let text = ''
  command.configureOutput({ ...command.configureOutput(), writeOut: (part) => (text += part) })
  command.outputHelp()
  return text
}
