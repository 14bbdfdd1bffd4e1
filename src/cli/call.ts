// `mcp-gateway call TOOL '{"json":1}'`: one tools/call through POST /rpc, with its answer made readable.

import type { Command } from 'commander'
import { type Cli, type CommonOptions, printJson, speaksToGateway, target } from './command.ts'
import { EXIT, Failure, usage } from './failure.ts'
import { ask, notAGateway, rpcFailure } from './gateway.ts'
import { oneLine, paint, plainLines, withProgress } from './terminal.ts'

interface CallOptions extends CommonOptions {
  readonly raw?: boolean
  readonly timeout: string
}

interface ToolResult {
  readonly content?: readonly Readonly<Record<string, unknown>>[]
  readonly structuredContent?: unknown
  readonly isError?: boolean
}

export function callCommand(command: Command, cli: Cli): void {
  command
    .argument('<tool>', 'its name, as `mcp-gateway tools` shows it')
    .argument('[arguments]', 'a JSON object, or - to read it from standard input', '{}')
    .option('--timeout <seconds>', 'how long to wait', '60')
    .option('--raw', 'print the whole JSON-RPC answer as it came')
  speaksToGateway(command).action(async (tool: string, text: string, options: CallOptions) => {
    const seconds = Number(options.timeout)
    if (!(seconds > 0 && seconds <= 3_600)) throw usage('--timeout is a number of seconds up to 3600')
    const gateway = target(cli, options)
    const body = {
      jsonrpc: '2.0',
      id: 1,
      method: 'tools/call',
      params: { name: tool, arguments: argumentsOf(text === '-' ? await standardInput() : text) },
    }
    const answer = await withProgress(
      cli.terminal,
      `calling ${oneLine(tool)}`,
      ask(gateway, { method: 'POST', path: '/rpc', body, deadlineMs: seconds * 1_000 }),
    )
    const read = parse(answer.text)
    if (read === undefined) throw notAGateway(gateway, answer.status)
    if (options.raw === true) cli.terminal.out(`${answer.text}\n`)
    const failure = rpcFailure(gateway, read)
    if (failure !== null) throw failure
    const result = (read as { result?: ToolResult }).result
    if (result === undefined) throw notAGateway(gateway, answer.status)
    if (options.raw !== true) {
      if (options.json === true) printJson(cli, result)
      else cli.terminal.out(resultText(cli, result))
    }
    if (result.isError === true) throw new Failure(EXIT.failure, 'TOOL_FAILED', 'The tool says that it failed')
  })
}

function argumentsOf(text: string): unknown {
  const read = parse(text)
  if (typeof read === 'object' && read !== null && !Array.isArray(read)) return read
  throw usage('The arguments are not a JSON object', `Write them like '{"city":"Bern"}'`)
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

async function standardInput(): Promise<string> {
  const parts: Buffer[] = []
  for await (const part of process.stdin) parts.push(part as Buffer)
  return Buffer.concat(parts).toString('utf8')
}

/** Texts as they are, everything else in a line that says what it is; structured content where there is no text. */
function resultText(cli: Cli, result: ToolResult): string {
  const content = result.content ?? []
  const lines = content.map((part) => contentText(cli, part))
  if (!content.some((part) => part.type === 'text') && result.structuredContent !== undefined) {
    lines.push(plainLines(cli.terminal, JSON.stringify(result.structuredContent, null, 2)))
  }
  return `${lines.join('\n')}\n`
}

function contentText(cli: Cli, part: Readonly<Record<string, unknown>>): string {
  const dim = (text: string): string => paint(cli.terminal, 'dim', oneLine(text))
  switch (part.type) {
    case 'text':
      return plainLines(cli.terminal, String(part.text))
    case 'image':
    case 'audio':
      return dim(`[${part.type} ${String(part.mimeType)}, ${bytesOf(part.data)} bytes; --json has it]`)
    case 'resource_link':
      return dim(`[link ${String(part.uri)} ${String(part.title ?? part.name ?? '')}]`)
    case 'resource': {
      const resource = (part.resource ?? {}) as Readonly<Record<string, unknown>>
      if (typeof resource.text === 'string')
        return `${dim(`[${String(resource.uri)}]`)}\n${plainLines(cli.terminal, resource.text)}`
      return dim(`[${String(resource.uri)}, ${bytesOf(resource.blob)} bytes; --json has it]`)
    }
    default:
      return plainLines(cli.terminal, JSON.stringify(part))
  }
}

function bytesOf(base64: unknown): number {
  return typeof base64 === 'string' ? Buffer.byteLength(base64, 'base64') : 0
}
