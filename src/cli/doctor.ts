// `mcp-gateway doctor`: looks at everything that commonly goes wrong and says what mends it. It changes nothing.

import { accessSync, constants, readFileSync, statSync } from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import type { Command } from 'commander'
import { type Cli, type CommonOptions, printJson, speaksToGateway } from './command.ts'
import { EXIT, Failure } from './failure.ts'
import { type Answer, ask, askAll, findGateway, type Target } from './gateway.ts'
import { portHolder } from './port-holder.ts'
import { askConfiguration, type ConfigurationShape } from './reload.ts'
import type { UpstreamShape } from './shapes.ts'
import { oneLine, paint, span, withProgress } from './terminal.ts'
import { offersOf, stateTrouble } from './upstream-text.ts'

export interface Finding {
  readonly about: string
  readonly verdict: 'ok' | 'note' | 'fail'
  readonly what: string
  readonly mend: string | null
}

const ok = (about: string, what: string): Finding => ({ about, verdict: 'ok', what, mend: null })
const note = (about: string, what: string, mend: string): Finding => ({ about, verdict: 'note', what, mend })
const fail = (about: string, what: string, mend: string): Finding => ({ about, verdict: 'fail', what, mend })

interface DoctorOptions extends CommonOptions {
  readonly port: string
}

export function doctorCommand(command: Command, cli: Cli): void {
  command.option('--port <port>', 'the port that a gateway would take', '4444')
  speaksToGateway(command).action(async (options: DoctorOptions) => {
    const findings = await withProgress(cli.terminal, 'looking', examine(cli, options))
    if (options.json === true) printJson(cli, findings)
    else cli.terminal.out(findings.map((finding) => findingText(cli, finding)).join(''))
    const failed = findings.filter((finding) => finding.verdict === 'fail').length
    if (failed > 0) throw new Failure(EXIT.failure, 'DOCTOR', `${failed} of ${findings.length} checks failed`)
  })
}

function findingText(cli: Cli, finding: Finding): string {
  const style = finding.verdict === 'ok' ? 'green' : finding.verdict === 'fail' ? 'red' : 'yellow'
  const head = `${paint(cli.terminal, style, finding.verdict.padEnd(4))}  ${oneLine(finding.about).padEnd(12)}  ${oneLine(finding.what)}\n`
  return finding.mend === null ? head : `${head}${' '.repeat(20)}${paint(cli.terminal, 'dim', oneLine(finding.mend))}\n`
}

async function examine(cli: Cli, options: DoctorOptions): Promise<Finding[]> {
  const findings = [node(), ...fileLimit(), ...proxies(cli)]
  let gateway: Target | null = null
  try {
    gateway = findGateway(options, cli.surroundings)
  } catch (error) {
    if (!(error instanceof Failure) || error.exit !== EXIT.notReachable) throw error
  }
  const directory = gateway === null ? (options.data ?? cli.surroundings.dataDirectory) : gateway.directory
  if (directory !== null) findings.push(...dataDirectory(directory))
  if (gateway === null) {
    findings.push(note('gateway', 'none has started with this data directory', 'Start one: mcp-gateway up'))
    findings.push(await port(Number(options.port)))
    return findings
  }
  try {
    const health = await ask(gateway, { path: '/health', deadlineMs: 5_000 })
    findings.push(reachable(gateway, health), ...clock(cli, health))
  } catch (error) {
    const why = error instanceof Failure ? error.message : String(error)
    findings.push(fail('gateway', why, 'Start it: mcp-gateway up'))
    findings.push(await port(Number(new URL(gateway.url).port || options.port)))
    return findings
  }
  try {
    const upstreams = await askAll<UpstreamShape>(gateway, '/v1/upstreams')
    findings.push(ok('token', gateway.token === null ? 'none is needed (--open)' : 'accepted'))
    findings.push(...configuration(await askConfiguration(gateway)))
    findings.push(...upstreams.map((upstream) => upstreamFinding(cli, upstream)))
    if (upstreams.length === 0) findings.push(note('upstreams', 'there are none yet', 'Add one: mcp-gateway add URL'))
  } catch (error) {
    if (!(error instanceof Failure)) throw error
    if (error.code === 'FORBIDDEN') {
      findings.push(ok('token', 'accepted; to see the upstreams it would need the right "admin"'))
      return findings
    }
    const mend = error.hint ?? 'Make one with `mcp-gateway token create NAME`.'
    findings.push(fail('token', `${error.code} ${error.message}`, mend))
  }
  return findings
}

function node(): Finding {
  return ok('node', `${process.versions.node} on ${process.platform} ${process.arch}`)
}

const OPEN_FILES_FEW = 4_096

/** Linux only. Node raises the soft limit to the hard one by itself, so that what is read here is what there is. */
function fileLimit(): Finding[] {
  let limits: string
  try {
    limits = readFileSync('/proc/self/limits', 'utf8')
  } catch {
    return []
  }
  const files = Number(/^Max open files\s+(\d+)/m.exec(limits)?.[1] ?? Number.POSITIVE_INFINITY)
  const shown = Number.isFinite(files) ? String(files) : 'unlimited'
  if (files >= OPEN_FILES_FEW) return [ok('open files', shown)]
  return [
    note('open files', `at most ${shown}; every connection takes one`, `Raise it before the start: ulimit -n 65536`),
  ]
}

function proxies(cli: Cli): Finding[] {
  const names = cli.surroundings.proxyVariables
  if (names.length === 0) return []
  return [
    note(
      'proxy',
      `${names.join(', ')} set, but not used: upstreams are reached directly`,
      'Nothing to do unless the network demands a proxy.',
    ),
  ]
}

function dataDirectory(directory: string): Finding[] {
  const about = 'data'
  try {
    const { mode, uid } = statSync(directory)
    const user = process.getuid?.() ?? uid
    if (uid !== user && user !== 0) {
      return [fail(about, `${directory} belongs to another user`, 'Name a directory of your own with --data.')]
    }
    accessSync(directory, constants.R_OK | constants.W_OK | constants.X_OK)
    const open = ['secret.key', 'token', 'gateway.db'].filter((name) => (modeOf(join(directory, name)) & 0o077) !== 0)
    if (open.length > 0 && (mode & 0o077) !== 0) {
      const files = open.map((name) => join(directory, name)).join(' ')
      return [fail(about, `others may read ${open.join(', ')} in ${directory}`, `Close them: chmod 600 ${files}`)]
    }
    return [ok(about, directory)]
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code
    if (code === 'ENOENT') return [ok(about, `${directory}, made at the first start`)]
    return [fail(about, `${directory} cannot be read and written (${code})`, 'Name another one with --data.')]
  }
}

function modeOf(file: string): number {
  try {
    return statSync(file).mode
  } catch {
    return 0
  }
}

async function port(number: number): Promise<Finding> {
  const code = await new Promise<string | null>((resolve) => {
    const server = createServer()
    server.once('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? error.message))
    server.listen(number, '127.0.0.1', () => server.close(() => resolve(null)))
  })
  if (code === null) return ok('port', `${number} is free`)
  if (code !== 'EADDRINUSE')
    return fail('port', `${number} cannot be taken (${code})`, 'Use another one: mcp-gateway up --port 0')
  const holder = portHolder(number) ?? 'another program'
  return fail('port', `${number} is taken by ${holder}`, 'Stop it, or use another port: mcp-gateway up --port 4445')
}

function reachable(gateway: Target, health: Answer): Finding {
  const pid = gateway.pid === null ? '' : `, pid ${gateway.pid}`
  if (health.status < 500) return ok('gateway', `answers at ${gateway.url}${pid}`)
  return fail('gateway', `answers ${health.status} at ${gateway.url}${pid}`, 'See its log.')
}

const SKEW_MS = 30_000

/** Tokens end by the clock: two machines that disagree refuse each other's. */
function clock(cli: Cli, health: Answer): Finding[] {
  const date = health.headers.date
  const theirs = typeof date === 'string' ? Date.parse(date) : Number.NaN
  if (Number.isNaN(theirs)) return []
  const skew = Math.abs(cli.now() - theirs)
  if (skew <= SKEW_MS) return [ok('clock', 'agrees with the gateway')]
  return [fail('clock', `is ${span(skew)} away from the gateway's`, 'Let both machines set their clocks by NTP.')]
}

function configuration(found: ConfigurationShape | null): Finding[] {
  if (found === null || found.files.length === 0) return []
  const about = 'files'
  const { files, faults, appliedAt, refusedAt, nextStart } = found
  const [first] = faults
  if (first !== undefined) {
    const more = faults.length === 1 ? '' : ` and ${faults.length - 1} more`
    const what = `refused at ${refusedAt}: ${first.at}: ${first.message}${more}; in force is what was read at ${appliedAt}`
    return [fail(about, what, 'Correct the file; it is read again by itself. All faults: mcp-gateway reload')]
  }
  if (nextStart.length > 0)
    return [note(about, `${nextStart.join(', ')} changed since the start`, 'Takes effect at the next start.')]
  return [ok(about, `${files.join(', ')}, read at ${appliedAt}`)]
}

const MENDS: Readonly<Record<string, string>> = {
  UPSTREAM_REFUSED: 'Correct its headers: remove it and add it again with --header.',
  ADDRESS_REFUSED: 'Private addresses need a token with the operator right.',
  UPSTREAM_INVALID: 'Tell its owner; `mcp-gateway inspect` names the fault.',
}

function upstreamFinding(cli: Cli, upstream: UpstreamShape): Finding {
  const { state, discovery, slug } = upstream
  if (state.state === 'ready' || state.state === 'disabled') {
    const offers = discovery?.counts ? `, ${offersOf(discovery.counts)}` : ''
    const skipped = discovery?.skipped?.length ?? 0
    if (skipped === 0) return ok(slug, `${state.state}${offers}`)
    return note(slug, `${state.state}${offers}, ${skipped} skipped`, `See which: mcp-gateway inspect ${slug}`)
  }
  if (state.state === 'connecting') return note(slug, 'connecting', 'Ask again in a few seconds.')
  const mend = MENDS[state.code ?? ''] ?? `Look closer: mcp-gateway inspect ${slug}`
  return fail(slug, `${state.state}: ${stateTrouble(upstream, cli.now())}`, mend)
}
