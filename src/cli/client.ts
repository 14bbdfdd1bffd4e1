// `mcp-gateway client NAME`: prints what to paste into a client so that it uses this gateway. It changes no file.
// A client gets a token of its own with the right to use tools and nothing else: the operator's token may start
// programs on this machine, and what a model reads must never be able to.

import { type Command, Option } from 'commander'
import { type Cli, type CommonOptions, printJson, speaksToGateway, target } from './command.ts'
import { Failure } from './failure.ts'
import { askAll, askJson, type Target } from './gateway.ts'
import type { TokenShape } from './shapes.ts'
import { paint } from './terminal.ts'
import { createToken } from './token.ts'

interface ClientOptions extends CommonOptions {
  readonly server?: string
  readonly sse?: boolean
  readonly name: string
}

interface Paste {
  /** What to do with the text. */
  readonly how: string
  readonly text: string
}

type Write = (name: string, endpoint: string, token: string | null) => Paste

const json = (value: unknown): string => JSON.stringify(value, null, 2)
const bearer = (token: string): string => `Bearer ${token}`
const headers = (token: string | null): object => (token === null ? {} : { headers: { Authorization: bearer(token) } })

/** `{"<key>": {"<name>": {…}}}` in a file: the form of most clients, which differ in file, key and member names. */
const file =
  (path: string, key: string, entry: (endpoint: string, token: string | null) => object): Write =>
  (name, endpoint, token) => ({ how: `Put into ${path}:`, text: json({ [key]: { [name]: entry(endpoint, token) } }) })

/** As clients name the transport of an endpoint. */
const typeOf = (endpoint: string): string => (endpoint.endsWith('/sse') ? 'sse' : 'http')

const url = (endpoint: string, token: string | null): object => ({ url: endpoint, ...headers(token) })

/** One line for each client that people ask for; `mcp-json` is the form that any other one is likely to read. */
export const CLIENTS: Readonly<Record<string, Write>> = {
  claude: (name, endpoint, token) => ({
    how: 'Put into claude_desktop_config.json (Settings > Developer > Edit Config), then restart Claude. Needs npx:',
    text: json({
      mcpServers: {
        [name]: {
          command: 'npx',
          // No space inside an argument: some systems split it there.
          args: [
            '-y',
            'mcp-remote',
            endpoint,
            ...(token === null ? [] : ['--header', `Authorization:\${AUTHORIZATION}`]),
          ],
          ...(token === null ? {} : { env: { AUTHORIZATION: bearer(token) } }),
        },
      },
    }),
  }),
  'claude-code': (name, endpoint, token) => ({
    how: 'Run:',
    text: `claude mcp add --transport ${typeOf(endpoint)} ${name} ${endpoint}${token === null ? '' : ` --header "Authorization: ${bearer(token)}"`}`,
  }),
  cursor: file('~/.cursor/mcp.json (or .cursor/mcp.json of a project)', 'mcpServers', url),
  vscode: file('.vscode/mcp.json, or by "MCP: Open User Configuration"', 'servers', (endpoint, token) => ({
    type: typeOf(endpoint),
    ...url(endpoint, token),
  })),
  windsurf: file('~/.codeium/windsurf/mcp_config.json', 'mcpServers', (endpoint, token) => ({
    serverUrl: endpoint,
    ...headers(token),
  })),
  gemini: file('~/.gemini/settings.json', 'mcpServers', (endpoint, token) => ({
    [typeOf(endpoint) === 'sse' ? 'url' : 'httpUrl']: endpoint,
    ...headers(token),
  })),
  codex: (name, endpoint, token) => ({
    how: 'Put into ~/.codex/config.toml:',
    text: [
      `[mcp_servers.${name}]`,
      `url = ${JSON.stringify(endpoint)}`,
      ...(token === null ? [] : [`http_headers = { "Authorization" = ${JSON.stringify(bearer(token))} }`]),
    ].join('\n'),
  }),
  zed: file('settings.json of Zed', 'context_servers', url),
  opencode: file('opencode.json', 'mcp', (endpoint, token) => ({
    type: 'remote',
    ...url(endpoint, token),
    enabled: true,
  })),
  lmstudio: file('mcp.json of LM Studio (Program > Edit mcp.json)', 'mcpServers', url),
  inspector: (_name, endpoint, token) => ({
    how: 'Run:',
    text: `npx @modelcontextprotocol/inspector --cli ${endpoint} --transport ${typeOf(endpoint)}${token === null ? '' : ` --header "Authorization: ${bearer(token)}"`} --method tools/list`,
  }),
  'mcp-json': file("your client's mcp.json", 'mcpServers', (endpoint, token) => ({
    type: typeOf(endpoint),
    ...url(endpoint, token),
  })),
}

export function clientCommand(command: Command, cli: Cli): void {
  command
    .argument('<client>', Object.keys(CLIENTS).join(', '))
    .option('--server <slug>', 'connect it to one virtual server')
    .option('--sse', 'by HTTP+SSE, for a client that knows nothing newer')
    .addOption(new Option('--name <name>', 'what the client calls the gateway').default('gateway'))
  speaksToGateway(command).action(async (client: string, options: ClientOptions) => {
    const write = Object.hasOwn(CLIENTS, client) ? CLIENTS[client] : undefined
    if (write === undefined) {
      throw new Failure(
        2,
        'USAGE',
        `"${client}" is not a client that is known here`,
        `Known: ${Object.keys(CLIENTS).join(', ')}. Another one will likely read mcp-json.`,
      )
    }
    if (!/^[A-Za-z0-9_-]{1,64}$/.test(options.name))
      throw new Failure(2, 'USAGE', '--name takes letters, digits, - and _')
    const gateway = target(cli, options)
    const endpoint = `${gateway.url}${await pathOf(gateway, options.server, options.sse === true ? 'sse' : 'mcp')}`
    const made = gateway.tokenFrom === 'data' ? await clientToken(cli, options, gateway, client) : null
    const token = made?.token ?? gateway.token
    const paste = write(options.name, endpoint, token)
    if (options.json === true)
      return printJson(cli, { client, endpoint, token, tokenName: made?.name ?? null, ...paste })
    cli.terminal.err(`${paste.how}\n`)
    cli.terminal.out(`${paste.text}\n`)
    if (made !== null) {
      const note = `Its new token "${made.name}" may use tools and nothing else; end it with: mcp-gateway token revoke ${made.name}\n`
      cli.terminal.err(cli.terminal.live ? paint(cli.terminal, 'dim', note) : note)
    }
  })
}

async function pathOf(gateway: Target, server: string | undefined, last: 'mcp' | 'sse'): Promise<string> {
  if (server === undefined) return `/${last}`
  const found = await askJson<{ slug: string }>(gateway, { path: `/v1/servers/${encodeURIComponent(server)}` })
  return `/servers/${found.slug}/${last}`
}

/** A token named after the client: `cursor`, or `cursor-2` where that one is taken, as its text cannot be shown again. */
async function clientToken(cli: Cli, options: CommonOptions, gateway: Target, client: string): Promise<TokenShape> {
  const taken = new Set((await askAll<TokenShape>(gateway, '/v1/tokens')).map((token) => token.name))
  let name = client
  for (let number = 2; taken.has(name); number += 1) name = `${client}-${number}`
  return createToken(cli, options, name, ['use'], null)
}
