// `mcp-gateway add URL` and `mcp-gateway add -- COMMAND…`: registers an upstream and waits to see it work.

import { resolve } from 'node:path'
import type { Command } from 'commander'
import { parseDuration } from '../core/time.ts'
import { type Cli, type CommonOptions, collect, printJson, speaksToGateway, target } from './command.ts'
import { EXIT, Failure, usage } from './failure.ts'
import { askJson } from './gateway.ts'
import type { UpstreamShape } from './shapes.ts'
import { oneLine, paint, withProgress } from './terminal.ts'
import { offersOf, placeOf, reasonOf, stateTrouble } from './upstream-text.ts'

interface AddOptions extends CommonOptions {
  readonly slug?: string
  readonly title?: string
  readonly header?: readonly string[]
  readonly env?: readonly string[]
  readonly cwd?: string
  readonly wait: string
}

const WAIT_MS_MAX = 60_000

export function addCommand(command: Command, cli: Cli): void {
  command
    .usage('[options] <url>\n       mcp-gateway add [options] -- <command> [arguments…]')
    .argument('<place...>', 'URL of a streamable HTTP server (several: copies of one server), or a command')
    .option('--slug <slug>', 'its name in the gateway; made from the server when left out')
    .option('--title <text>', 'a title for people')
    .option(
      '--header <name=value>',
      'send this header; value "env:X" reads it from the environment of the gateway',
      collect,
    )
    .option('--env <name=value>', 'give the command this variable; value as for --header', collect)
    .option('--cwd <directory>', 'where the command runs; this directory when left out')
    .option('--wait <time>', 'how long to wait until it works, 0 for not at all', '15s')
    .addHelpText(
      'after',
      `
Examples:
  mcp-gateway add https://mcp.example.com/mcp --header 'Authorization=env:EXAMPLE_AUTHORIZATION'
  mcp-gateway add --slug files -- npx -y @modelcontextprotocol/server-filesystem ~/notes`,
    )
  speaksToGateway(command).action(async (place: string[], options: AddOptions) => {
    const gateway = target(cli, options)
    const waitMs = parseDuration(/^\d+$/.test(options.wait) ? `${options.wait}s` : options.wait)
    if (waitMs === null || waitMs > WAIT_MS_MAX) throw usage('--wait is a time up to 60s, such as 15s')
    // The operator's own token means that the gateway runs here: paths of the command mean the same to both.
    const isLocal = gateway.tokenFrom === 'data'
    const body = {
      ...(options.slug === undefined ? {} : { slug: options.slug }),
      ...(options.title === undefined ? {} : { title: options.title }),
      transport: transportOf(place, options, isLocal ? cli.surroundings.workingDirectory : null),
    }
    const path = waitMs === 0 ? '/v1/upstreams' : `/v1/upstreams?wait=${waitMs}ms`
    const upstream = await withProgress(
      cli.terminal,
      'waiting for its first answer',
      askJson<UpstreamShape>(gateway, { method: 'POST', path, body, deadlineMs: waitMs + 30_000 }),
    )
    if (options.json === true) printJson(cli, upstream)
    else cli.terminal.out(addedText(cli, upstream))
    if (upstream.state.state === 'down') {
      throw new Failure(
        EXIT.failure,
        upstream.state.code ?? 'UPSTREAM_UNAVAILABLE',
        `${upstream.slug} is added but does not work yet: ${oneLine(reasonOf(upstream) ?? 'no reason is known')}`,
        `It is tried again by itself; see \`mcp-gateway inspect ${upstream.slug}\`, or take it out with \`mcp-gateway remove ${upstream.slug}\`.`,
      )
    }
  })
}

function transportOf(
  place: readonly string[],
  options: AddOptions,
  workingDirectory: string | null,
): Record<string, unknown> {
  const first = place[0]!
  if (place.every((word) => /^https?:\/\/./i.test(word))) {
    if (options.env !== undefined) throw usage('--env is for a command; a URL takes --header')
    if (options.cwd !== undefined) throw usage('--cwd is for a command')
    return {
      kind: 'http',
      urls: place,
      ...(options.header === undefined ? {} : { headers: pairs('--header', options.header) }),
    }
  }
  if (/:\/\//.test(first) || /^[\w.-]+:\d+(\/|$)/.test(first)) {
    throw usage(`"${first}" is not an http or https URL`, 'Write it whole, such as http://127.0.0.1:3000/mcp')
  }
  if (options.header !== undefined) throw usage('--header is for a URL; a command takes --env')
  const cwd = options.cwd === undefined ? workingDirectory : resolve(options.cwd)
  return {
    kind: 'stdio',
    command: first,
    args: place.slice(1),
    ...(options.env === undefined ? {} : { env: pairs('--env', options.env) }),
    ...(cwd === null ? {} : { cwd }),
  }
}

/** `NAME=VALUE`, where the value `env:X` or `file:P` is left to the gateway to read. */
export function pairs(
  flag: string,
  texts: readonly string[],
): Record<string, string | { env: string } | { file: string }> {
  const read: Record<string, string | { env: string } | { file: string }> = {}
  for (const text of texts) {
    const at = text.indexOf('=')
    if (at < 1) throw usage(`${flag} ${text}: write it as NAME=VALUE`)
    const value = text.slice(at + 1)
    const name = text.slice(0, at)
    if (value.startsWith('env:')) read[name] = { env: value.slice(4) }
    else if (value.startsWith('file:')) read[name] = { file: value.slice(5) }
    else read[name] = value
  }
  return read
}

function addedText(cli: Cli, upstream: UpstreamShape): string {
  const head = `Added ${paint(cli.terminal, 'bold', upstream.slug)} (${oneLine(placeOf(upstream))}).\n`
  if (upstream.state.state === 'ready' && upstream.discovery?.counts) {
    return `${head}It speaks ${upstream.discovery.revision}: ${offersOf(upstream.discovery.counts)}. See: mcp-gateway tools --upstream ${upstream.slug}\n`
  }
  if (upstream.state.state === 'down') return head
  return `${head}It is ${upstream.state.state}: ${stateTrouble(upstream, cli.now())}\n`
}
