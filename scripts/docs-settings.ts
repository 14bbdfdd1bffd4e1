// docs/settings.md and docs/gateway.schema.json, made from config/schema.ts.

import { gatewaySchema } from '../src/config/json-schema.ts'
import { allSettings, type NamedSetting } from '../src/config/schema.ts'
import { showDuration, showSize } from '../src/config/shape.ts'
import { table } from './docs-table.ts'

const HEAD = `# Settings

Made by \`npm run docs\` from \`src/config/schema.ts\`; do not edit.

A setting is taken from the first of these that has it: a flag of \`mcp-gateway up\`, an environment variable,
\`gateway.yaml\` (\`--config\`), its default. An empty variable counts as not set. Every setting has the variable
\`MCP_GATEWAY_<SECTION>_<NAME>\`, such as \`MCP_GATEWAY_SERVER_PORT\` for \`server.port\`; lists are separated by commas
there. In the file a setting stands in its section:

\`\`\`yaml
# yaml-language-server: $schema=gateway.schema.json
version: 1
server: { workers: auto, publicUrl: https://mcp.example.com }
access: { jwt: { secret: { env: JWT_SECRET }, issuer: https://login.example.com } }
limits: { callMs: 2m, bodyBytes: 16MiB }
\`\`\`

Times are \`500ms\`, \`30s\`, \`5m\`, \`1h\`, \`7d\` or plain milliseconds; sizes are \`64KiB\`, \`8MiB\`, \`1GiB\` or plain bytes.
A secret stands in a file only as \`{env: NAME}\` or \`{file: PATH}\`, with an optional \`prefix: "Bearer "\`. Relative paths
begin at the folder of their file, \`~/\` is the home directory. Unknown keys are faults, and all faults are named at once.

\`gateway.schema.json\` beside this file is the JSON Schema of the whole file.

## Rows of a file

Beside its settings a file may hold upstreams, virtual servers and tokens, under the names that the REST API has. The
file wins for its own rows: others cannot change them, taking one out of the file deletes it, and rows that came by the
API are never touched. A clash of names refuses the whole file, with every clash named.

\`\`\`yaml
version: 1
upstreams:
  github: # its tools are called github-…
    url: https://api.example.com/mcp # or urls: [several, of, one, server]; kind: sse for HTTP+SSE alone
    headers: { Authorization: { env: GITHUB_TOKEN, prefix: "Bearer " } }
    validate: both # off, arguments, results or both
    refreshMs: 1m
    tools:
      delete_repo: { hide: true }
      search: { name: find, fixed: { org: acme } } # callers neither see nor send org
  files:
    command: npx
    args: [-y, "@modelcontextprotocol/server-filesystem", .]
    cwd: ./data
    env: { LOG_LEVEL: info, API_KEY: { file: ./key } }
    memoryBytes: 512MiB
virtualServers:
  dev: # reached at /servers/dev/mcp
    title: Development
    members: # tools by their upstream's own names
      - { upstream: github, tools: ["list_*", search] }
      - { upstream: files }
tokens:
  - { name: ci, env: CI_TOKEN, rights: [use], expiresAt: 2027-01-31 }
\`\`\`

A value of \`headers\` or \`env\` may stand in clear unless its name tells of a secret (token, API key, password and so on).
A token is the text that \`mcp-gateway token create\` printed, by \`env\` or \`file\`, or its SHA-256 as \`hash\`.

## Changing files under a running gateway

The files of \`--config\` and \`--mcp-json\` are watched, and so are the files of secrets that they refer to. A change is
applied whole, or refused whole with every fault by file and line: on the terminal of \`up\`, in the log, in
\`GET /v1/status\`, \`mcp-gateway list\` and \`mcp-gateway doctor\`. After a refusal, and while a file is missing, what was
applied before stays in force. Running calls keep the upstream that they began with; new ones use what is new, in every
worker. \`mcp-gateway reload\` (\`POST /v1/reload\`, right \`operator\`) reads them at once and answers with what has changed;
SIGHUP does so too, and with several workers also replaces these one by one. Rows take effect at once. Settings do where
the last column below says so; a change of another one is reported and takes effect at the next start. Variables of the
environment are those of the start.

## Files of clients

\`--mcp-json FILE\` takes the configuration of a client as it is: \`mcpServers\` of Claude Desktop, Claude Code, Cursor,
Windsurf, Gemini CLI and others, \`servers\` of VS Code. Comments and trailing commas are allowed; \`\${NAME}\`,
\`\${NAME:-default}\`, \`\${env:NAME}\`, \`\${userHome}\`, \`\${workspaceFolder}\` and \`\${file:PATH}\` are expanded. Names become
slugs (\`Brave Search\` is \`brave-search\`), \`disabled: true\` is kept, and servers of type \`sse\` are spoken to
by HTTP+SSE alone. \`\${input:ID}\` is a fault: a gateway cannot ask.
`

export function settingsReference(): string {
  const settings = allSettings()
  const usual = settings.filter((setting) => setting.usual)
  const sections = [...new Set(settings.map(({ names }) => names[0]!))]
  return [
    HEAD,
    `## The usual ones\n\n${table(['setting', 'default', 'flag', 'what for'], usual.map(shortRow))}`,
    ...sections.map((section) => {
      const own = settings.filter(({ names }) => names[0] === section)
      return `## ${section}\n\n${table(['setting', 'must be', 'default', 'what for', 'also', 'reload'], own.map(longRow))}`
    }),
  ].join('\n')
}

export function schemaFile(): string {
  return `${JSON.stringify(gatewaySchema(), null, 2)}\n`
}

function shortRow(setting: NamedSetting): string[] {
  return [`\`${setting.name}\``, defaultOf(setting), flagOf(setting), setting.about]
}

function longRow(setting: NamedSetting): string[] {
  const also = [flagOf(setting), ...setting.aliases.map((alias) => `\`${alias}\``)].filter((text) => text !== '')
  const { name, shape, about, reload } = setting
  return [`\`${name}\``, shape.noun, defaultOf(setting), about, also.join(', '), reload]
}

function flagOf({ flag }: NamedSetting): string {
  return flag === null ? '' : `\`--${flag.replace(/[A-Z]/g, (char) => `-${char.toLowerCase()}`)}\``
}

function defaultOf({ default: value, shape }: NamedSetting): string {
  if (value === null) return ''
  if (Array.isArray(value)) return value.length === 0 ? 'none' : value.join(', ')
  if (typeof value !== 'number') return String(value)
  if (shape.noun.startsWith('a time')) return showDuration(value)
  return shape.noun.startsWith('a size') ? showSize(value) : String(value)
}
