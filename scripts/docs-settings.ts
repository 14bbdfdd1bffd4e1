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
server: { port: 4444, workers: auto }
access: { jwt: { secret: { env: JWT_SECRET }, issuer: https://login.example.com } }
limits: { callMs: 2m, bodyBytes: 16MiB }
\`\`\`

Times are \`500ms\`, \`30s\`, \`5m\`, \`1h\`, \`7d\` or plain milliseconds; sizes are \`64KiB\`, \`8MiB\`, \`1GiB\` or plain bytes.
A secret stands in a file only as \`{env: NAME}\` or \`{file: PATH}\`, with an optional \`prefix: "Bearer "\`. Relative paths
begin at the folder of their file, \`~/\` is the home directory. Unknown keys are faults, and all faults are named at once.

\`gateway.schema.json\` beside this file is the JSON Schema of the whole file, with its \`upstreams\`, \`virtualServers\` and
\`tokens\`.
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
      return `## ${section}\n\n${table(['setting', 'must be', 'default', 'what for', 'also'], own.map(longRow))}`
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
  return [`\`${setting.name}\``, setting.shape.noun, defaultOf(setting), setting.about, also.join(', ')]
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
