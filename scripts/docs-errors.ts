// docs/errors.md, made from the catalogue in core/errors.ts.

import { CATALOGUE } from '../src/core/errors.ts'
import { table } from './docs-table.ts'

const HEAD = `# Errors

Made by \`npm run docs\` from \`src/core/errors.ts\`; do not edit.

A refusal of the REST API is \`application/problem+json\` with \`type\`, \`title\`, \`status\`, \`detail\`, \`code\`, \`hint\`,
\`requestId\` and, where several things are wrong, \`errors\`: a list of \`{at, message}\`. A refusal of an MCP request is a
JSON-RPC error with the number below and \`data: {code, hint, retryable, requestId}\`. The status is that of the HTTP
answer where the refusal is not inside an answer with 200. What may be sent again as it is, is marked.
`

export function errorsReference(): string {
  const rows = Object.entries(CATALOGUE).map(([code, { status, rpc, retryable, title, hint }]) => [
    `\`${code}\``,
    String(status),
    String(rpc),
    retryable ? 'yes' : '',
    title,
    hint,
  ])
  return `${HEAD}\n${table(['code', 'status', 'JSON-RPC', 'again', 'what it means', 'what to do'], rows)}`
}
