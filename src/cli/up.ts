// `mcp-gateway up`: starts a gateway in this process and says where it is. It prints the endpoint and the token at once;
// when every upstream has answered or failed, one line for each and one `curl` line that calls a tool.
// Absent on purpose: the start itself (config/ and app.ts, handed in by main.ts, as commands know neither).

import { closeSync, openSync } from 'node:fs'
import { type Command, Option } from 'commander'
import { GatewayError } from '../core/errors.ts'
import type { Cli } from './command.ts'
import type { DefinitionShape } from './dev-difference.ts'
import { EXIT, Failure, usage } from './failure.ts'
import { portHolder } from './port-holder.ts'
import { type FaultShape, faultsText, type ReloadedShape, reloadedText } from './reload.ts'
import { cut, oneLine, paint, styleOfState } from './terminal.ts'
import { offersOf, troubleOf } from './upstream-text.ts'

export interface UpFlags {
  readonly data?: string
  readonly host?: string
  readonly port?: string
  readonly workers?: string
  readonly config?: string
  readonly mcpJson?: string
  readonly publicUrl?: string
  readonly logLevel?: string
  readonly readyTimeout?: string
  readonly open?: boolean
  readonly demo?: boolean
  readonly json?: boolean
}

export interface UpstreamSummary {
  readonly slug: string
  readonly state: string
  readonly revision: string | null
  readonly tools: number
  readonly prompts: number
  readonly resources: number
  readonly message: string | null
  readonly nextRetryMs: number | null
}

export interface ReloadReport extends ReloadedShape {
  /** Empty where the files were applied. */
  readonly faults: readonly FaultShape[]
  /** The upstreams that were added or changed, when they have answered or failed. */
  readonly settled: Promise<readonly UpstreamSummary[]>
}

export interface Running {
  readonly url: string
  /** Null with --open. */
  readonly token: string | null
  /** When every upstream has answered or failed, or the ready time-out is over. */
  readonly settled: Promise<readonly UpstreamSummary[]>
  /** Reads the configuration files again. */
  reload(): Promise<unknown>
  /** Hears of every reload that brought something new. */
  onReload(listener: (report: ReloadReport) => void): void
  /** Ends the processes of this upstream, and reads it anew. Null where there is none. */
  restart(slug: string): Promise<Observed | null>
  /** Hears how it is now, and whenever that may have changed. */
  observe(slug: string, listener: (observed: Observed) => void): void
  stop(): Promise<void>
  /** The exit code, when everything has ended. */
  readonly stopped: Promise<number>
}

/** A call that has ended. */
export interface CallShape {
  readonly ms: number
  readonly method: string
  readonly name: string
  /** JSON text, its beginning; '' for none. */
  readonly arguments: string
  readonly outcome: 'ok' | 'failed' | 'refused' | 'asks'
  readonly message: string | null
}

export interface Observed extends UpstreamSummary {
  readonly definitions: readonly DefinitionShape[]
}

/** For whoever watches over the shoulder of one upstream. */
export interface Taps {
  readonly onCall: (call: CallShape) => void
  readonly onStderr: (chunk: Buffer, processId: string) => void
}

export type Start = (flags: UpFlags, taps?: Taps) => Promise<Running>

export function upCommand(command: Command, cli: Cli, start: Start): void {
  command
    .option('--data <directory>', 'where it keeps its registry, keys and token (MCP_GATEWAY_DATA)')
    .option('--host <address>', 'address to listen on (default: 127.0.0.1)')
    .option('--port <port>', 'port to listen on, 0 for any free one (default: 4444)')
    .option('--workers <number>', 'worker processes, or "auto" for one per core (default: 1)')
    .option('--config <file>', 'a gateway.yaml')
    .option('--mcp-json <file>', "a client's own mcp.json, as it is")
    .option('--public-url <url>', 'the address under which clients reach it')
    .option('--open', 'ask for no token; only on a loopback address')
    .option('--demo', 'add two small demo upstreams')
    .addOption(new Option('--log-level <level>', 'what to log').choices(['debug', 'info', 'warn', 'error', 'silent']))
    .option('--ready-timeout <time>', 'how long to wait for the upstreams before saying how they are (default: 15s)')
    .option('--json', 'print one JSON object per line, for scripts')
    .action(async (flags: UpFlags) => {
      let running: Running
      try {
        running = await start(flags)
      } catch (error) {
        throw startFailure(cli, error)
      }
      const ignoreSignals = stopOnSignals(cli, running)
      try {
        running.onReload((reloaded) => void tellReload(cli, flags, reloaded))
        await Promise.race([report(cli, flags, running), running.stopped])
        const exit = await running.stopped
        if (exit !== 0)
          throw new Failure(EXIT.failure, 'STOPPED', 'The gateway ended by a failure', 'Its log says why.')
      } finally {
        ignoreSignals()
      }
    })
}

/** What went wrong at the start, with every fault of a configuration on a line of its own. */
export function startFailure(cli: Cli, error: unknown, command = 'up'): unknown {
  if (error instanceof GatewayError && error.code === 'CONFIG_INVALID') {
    const faults = error.options.faults ?? []
    for (const fault of faults) cli.terminal.err(`${oneLine(`${fault.at}: ${fault.message}`)}\n`)
    if (faults.length > 0) return new Failure(EXIT.usage, error.code, `${faults.length} to correct`, null)
    return new Failure(EXIT.usage, error.code, error.message, error.entry.hint)
  }
  if (error instanceof GatewayError && error.code === 'CONFLICT' && error.options.data?.pid !== undefined) {
    return new Failure(
      EXIT.failure,
      error.code,
      error.message,
      'The other commands speak to it as it is: mcp-gateway list',
    )
  }
  const { code, port } = (error ?? {}) as { code?: unknown; port?: unknown }
  if (code === 'EADDRINUSE' && typeof port === 'number') {
    const holder = portHolder(port)
    return new Failure(
      EXIT.failure,
      'PORT_TAKEN',
      `Port ${port} is taken${holder === null ? '' : ` by ${holder}`}`,
      `Stop that, or use another port: mcp-gateway ${command} --port ${port + 1}`,
    )
  }
  if (code === 'EADDRNOTAVAIL') return usage('This machine does not have the address of --host')
  if (code === 'EACCES' && typeof port === 'number') {
    return new Failure(
      EXIT.failure,
      'PORT_REFUSED',
      `This user may not listen on port ${port}`,
      `Use one from 1024 on: mcp-gateway ${command} --port 4444`,
    )
  }
  return error
}

const SECOND_SIGNAL_MS = 1_000

/**
 * The first SIGINT or SIGTERM drains, a second one ends at once. Within a second it is the same one again: a terminal
 * signals the whole group, and npm and the launcher pass on what they get. SIGHUP reads the configuration files again,
 * and with several workers also replaces them one by one (supervisor.ts); when it says that the terminal is gone, it ends.
 */
export function stopOnSignals(cli: Cli, running: Running): () => void {
  let firstMs: number | null = null
  const onSignal = (): void => {
    if (firstMs === null) {
      firstMs = cli.now()
      if (cli.terminal.live) cli.terminal.err('\nStopping: no new calls, the running ones end first.\n')
      void running.stop()
    } else if (cli.now() - firstMs >= SECOND_SIGNAL_MS) process.exit(EXIT.failure)
  }
  const hadTerminal = cli.terminal.live || cli.terminal.columns !== null
  const onHangup = (): void => {
    if (hadTerminal && isTerminalGone()) onSignal()
    // Whoever hears of reloads is told of a refusal too.
    else running.reload().catch(() => {})
  }
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, onSignal)
  process.on('SIGHUP', onHangup)
  return () => {
    for (const signal of ['SIGINT', 'SIGTERM'] as const) process.off(signal, onSignal)
    process.off('SIGHUP', onHangup)
  }
}

/** A terminal that was closed no longer answers to its name. */
function isTerminalGone(): boolean {
  try {
    closeSync(openSync('/dev/tty', 'r'))
    return false
  } catch {
    return true
  }
}

async function tellReload(cli: Cli, flags: UpFlags, { settled, ...reloaded }: ReloadReport): Promise<void> {
  const isRefused = reloaded.faults.length > 0
  if (flags.json === true) {
    const event = isRefused ? 'refused' : 'reloaded'
    cli.terminal.out(`${JSON.stringify({ event, ...reloaded })}\n`)
    return
  }
  if (isRefused) {
    const head = `${oneLine(reloaded.files.join(', '))} refused, nothing was changed:`
    cli.terminal.out(`${paint(cli.terminal, 'red', head)}\n${faultsText(reloaded.faults)}`)
    return
  }
  cli.terminal.out(reloadedText(cli.terminal, reloaded))
  const upstreams = await settled
  const width = Math.max(0, ...upstreams.map(({ slug }) => slug.length))
  cli.terminal.out(upstreams.map((upstream) => upstreamLine(cli, upstream, width)).join(''))
}

async function report(cli: Cli, flags: UpFlags, running: Running): Promise<void> {
  const endpoint = `${running.url}/mcp`
  const line = (value: object): void => cli.terminal.out(`${JSON.stringify(value)}\n`)
  if (flags.json === true)
    line({ event: 'listening', endpoint, url: running.url, token: running.token, pid: process.pid })
  else cli.terminal.out(headText(cli, endpoint, running.token))
  const upstreams = await running.settled
  const curl = curlLine(running, flags.demo === true ? upstreams : [])
  if (flags.json === true) line({ event: 'settled', upstreams, curl })
  else cli.terminal.out(settledText(cli, upstreams, curl))
}

function headText(cli: Cli, endpoint: string, token: string | null): string {
  const { terminal } = cli
  return [
    `${paint(terminal, 'bold', `mcp-gateway ${cli.version}`)}\n\n`,
    `  ${paint(terminal, 'dim', 'endpoint')}  ${paint(terminal, 'cyan', endpoint)}\n`,
    `  ${paint(terminal, 'dim', 'token')}     ${token ?? 'none is needed: everybody on this machine may use it (--open)'}\n\n`,
  ].join('')
}

function settledText(cli: Cli, upstreams: readonly UpstreamSummary[], curl: string): string {
  const width = Math.max(0, ...upstreams.map(({ slug }) => slug.length))
  const lines = upstreams.map((upstream) => upstreamLine(cli, upstream, width))
  if (lines.length === 0) lines.push(`  No upstreams yet. Add one: ${cli.typed} add URL\n`)
  return `${lines.join('')}\nTry it:\n  ${curl}\n\nConnect a client: ${cli.typed} client cursor (or vscode, claude-code …). Stop: Ctrl-C.\n`
}

function upstreamLine(cli: Cli, upstream: UpstreamSummary, width: number): string {
  const { terminal } = cli
  const state = paint(terminal, styleOfState(upstream.state), upstream.state.padEnd(5))
  const slug = upstream.slug.padEnd(width)
  const what =
    upstream.state === 'ready'
      ? `${upstream.revision}  ${offersOf(upstream)}`
      : troubleOf(null, upstream.message, upstream.nextRetryMs, cli.now())
  const room = terminal.columns === null ? Number.POSITIVE_INFINITY : Math.max(20, terminal.columns - width - 11)
  return `  ${state}  ${slug}  ${cut(what, room)}\n`
}

/** A tool of a demo upstream and arguments for it: what the printed line calls. */
const TRY: Readonly<Record<string, readonly [tool: string, args: object]>> = {
  demo: ['demo-add', { a: 2, b: 3 }],
  notes: ['notes-remember', { text: 'buy milk' }],
}

/** One line that a shell can run: a tools/call where one of the demo upstreams is ready, else the list of tools. */
function curlLine(running: Running, demos: readonly UpstreamSummary[]): string {
  const ready = demos.find(({ slug, state }) => state === 'ready' && Object.hasOwn(TRY, slug))
  const [method, params] =
    ready === undefined
      ? ['tools/list', {}]
      : ['tools/call', { name: TRY[ready.slug]![0], arguments: TRY[ready.slug]![1] }]
  const body = JSON.stringify({ jsonrpc: '2.0', id: 1, method, params })
  const authorization = running.token === null ? '' : ` -H 'Authorization: Bearer ${running.token}'`
  return `curl -s ${running.url}/rpc${authorization} -H 'Content-Type: application/json' -d '${body}'`
}
