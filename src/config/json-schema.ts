// The JSON Schema of gateway.yaml, for editors: `# yaml-language-server: $schema=…` on its first line. It says all that
// JSON Schema can say. What it cannot: the range of times and sizes with a unit, whether files and variables exist,
// whether a date is in the calendar, and rules across members (core/upstream-rules.ts).

import { GATEWAY_FILE } from './gateway-yaml.ts'
import type { JsonSchema } from './shape.ts'

export function gatewaySchema(): JsonSchema {
  return {
    $schema: 'https://json-schema.org/draft/2020-12/schema',
    title: 'gateway.yaml of mcp-gateway',
    ...GATEWAY_FILE.schema,
  }
}
