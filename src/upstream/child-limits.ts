// How a child's limits are set on this system, and what cannot be set, with its reason. Open files and CPU seconds by
// `prlimit` of util-linux, which sets them and then becomes the command; memory and processes by process-groups.ts.

import { execFile } from 'node:child_process'
import { constants } from 'node:fs'
import { access, readFile, stat } from 'node:fs/promises'
import { delimiter, isAbsolute, join } from 'node:path'
import type { ProcessSpec } from '../ports/children.ts'

export interface LimitTools {
  /** Absolute path of a prlimit that works, or null and why not. */
  readonly prlimit: string | null
  readonly noPrlimit: string
  readonly hasProc: boolean
  /** The hard limits of this process, which a child's cannot exceed. */
  readonly openFilesMax: number
  readonly cpuSecondsMax: number
}

export interface LimitedCommand {
  readonly file: string
  readonly args: readonly string[]
  readonly unset: readonly string[]
}

const PROBE_MS = 5_000

async function isExecutable(path: string): Promise<boolean> {
  try {
    await access(path, constants.X_OK)
    return (await stat(path)).isFile()
  } catch {
    return false
  }
}

/** The file that `command` names: itself when it holds a slash, else the first of `path`; null when there is none. */
export async function findCommand(command: string, path: string, cwd: string): Promise<string | null> {
  if (command.includes('/')) {
    const file = isAbsolute(command) ? command : join(cwd, command)
    return (await isExecutable(file)) ? file : null
  }
  for (const directory of path.split(delimiter)) {
    const file = join(isAbsolute(directory) ? directory : join(cwd, directory), command)
    if (await isExecutable(file)) return file
  }
  return null
}

/** Hard limit of a line of /proc/PID/limits; Infinity for `unlimited` or where there is no such line. */
export function hardLimit(text: string, name: string): number {
  const line = text.split('\n').find((candidate) => candidate.startsWith(name))
  const hard = line?.slice(name.length).trim().split(/\s+/)[1]
  return hard === undefined || hard === 'unlimited' ? Number.POSITIVE_INFINITY : Number(hard)
}

/** Asks the system once what it can do; `path` is the gateway's own PATH. */
export async function findLimitTools(path: string): Promise<LimitTools> {
  const text = await readFile('/proc/self/limits', 'latin1').catch(() => null)
  const found = await findCommand('prlimit', path, '/')
  let noPrlimit = 'prlimit of util-linux is not installed'
  if (found !== null) {
    // Seen working, not merely present: a sandbox may forbid it, and then no child could start at all.
    const fault = await new Promise<string | null>((resolve) => {
      execFile(found, ['--core=0:0', '--', found, '--version'], { timeout: PROBE_MS, env: {} }, (error, _, stderr) =>
        resolve(error === null ? null : stderr.trim() || error.message),
      )
    })
    if (fault !== null) noPrlimit = `prlimit does not work here: ${fault.slice(0, 200)}`
    else noPrlimit = ''
  }
  return {
    prlimit: noPrlimit === '' ? found : null,
    noPrlimit,
    hasProc: text !== null,
    openFilesMax: hardLimit(text ?? '', 'Max open files'),
    cpuSecondsMax: hardLimit(text ?? '', 'Max cpu time'),
  }
}

/** The command to start so that `spec` runs under its limits. A limit of 0 means none. */
export function limitCommand(spec: ProcessSpec, tools: LimitTools): LimitedCommand {
  const unset: string[] = []
  // No core dumps: they hold the child's secrets and may be as large as its memory.
  const options = ['--core=0:0']
  const add = (name: string, option: string, wanted: number, most: number, grace = 0): void => {
    if (wanted === 0) return
    if (tools.prlimit === null) unset.push(`${name}: ${tools.noPrlimit}`)
    else if (wanted > most) unset.push(`${name}: ${wanted} is wanted, the system allows ${most}, which applies`)
    else options.push(`--${option}=${wanted}:${Math.min(wanted + grace, most)}`)
  }
  add('openFiles', 'nofile', spec.openFiles, tools.openFilesMax)
  // One second between the two limits, so that the child ends by SIGXCPU, which says why, and not by SIGKILL.
  add('cpuSeconds', 'cpu', spec.cpuSeconds, tools.cpuSecondsMax, 1)
  if (!tools.hasProc && spec.memoryBytes > 0) unset.push('memoryBytes: this system has no /proc')
  if (!tools.hasProc && spec.processes > 0) unset.push('processes: this system has no /proc')
  return tools.prlimit === null
    ? { file: spec.command, args: spec.args, unset }
    : { file: tools.prlimit, args: [...options, '--', spec.command, ...spec.args], unset }
}
