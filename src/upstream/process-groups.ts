// What process groups use, read from /proc. The limits of memory and of processes are kept with it, because the
// kernel's own are not usable for MCP servers: RLIMIT_AS and RLIMIT_DATA count reservations, of which V8, Go and the JVM
// make gigabytes; RLIMIT_RSS does nothing; RLIMIT_NPROC counts every thread of the user, so that beside a browser the
// child's first thread would be refused. Absent on purpose: cgroups, which belong to whoever deploys the gateway.

import { readFileSync } from 'node:fs'
import { readdir, readFile } from 'node:fs/promises'
import { setImmediate as nextTurn } from 'node:timers/promises'

export interface GroupUse {
  /** Living processes; zombies do not count. */
  processes: number
  /** Sum of the resident memory of all processes; pages that several share count for each of them. */
  memoryBytes: number
  readonly pids: number[]
}

/** `pgrp` and state out of a /proc/PID/stat; the name in it may hold anything, parentheses and spaces included. */
export function parseStat(text: string): { state: string; group: number } | null {
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ', 3)
  const group = Number(fields[2])
  return fields.length === 3 && Number.isInteger(group) ? { state: fields[0]!, group } : null
}

function kilobytes(text: string, name: string): number {
  const at = text.indexOf(`${name}:`)
  return at < 0 ? 0 : Number.parseInt(text.slice(at + name.length + 1, at + 40), 10) * 1024
}

function readText(path: string): string {
  try {
    return readFileSync(path, 'latin1')
  } catch {
    // The process ended since the directory was read.
    return ''
  }
}

/** Use of each group of `wanted` that has a living process, in turns of at most `sliceMs`; null where there is no /proc. */
export async function measureGroups(
  wanted: ReadonlySet<number>,
  sliceMs: number,
): Promise<Map<number, GroupUse> | null> {
  let names: string[]
  try {
    names = await readdir('/proc')
  } catch {
    return null
  }
  const found = new Map<number, GroupUse>()
  let until = performance.now() + sliceMs
  let isProc = false
  for (const name of names) {
    const first = name.charCodeAt(0)
    if (first < 0x30 || first > 0x39) continue
    isProc = true
    if (performance.now() > until) {
      await nextTurn()
      until = performance.now() + sliceMs
    }
    const stat = parseStat(readText(`/proc/${name}/stat`))
    if (stat === null || stat.state === 'Z' || stat.state === 'X' || !wanted.has(stat.group)) continue
    let use = found.get(stat.group)
    if (use === undefined) {
      use = { processes: 0, memoryBytes: 0, pids: [] }
      found.set(stat.group, use)
    }
    use.processes += 1
    use.memoryBytes += kilobytes(readText(`/proc/${name}/status`), 'VmRSS')
    use.pids.push(Number(name))
  }
  return isProc ? found : null
}

/**
 * Memory of these processes with shared pages divided among their users: dearer to ask for, so only asked when the plain
 * sum is over a limit. Where the kernel does not tell (other user, old kernel), the plain sum stands.
 */
export async function sharedMemory(use: GroupUse): Promise<number> {
  let bytes = 0
  for (const pid of use.pids) {
    try {
      bytes += kilobytes(await readFile(`/proc/${pid}/smaps_rollup`, 'latin1'), 'Pss')
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') continue
      if ((error as NodeJS.ErrnoException).code === 'ESRCH') continue
      return use.memoryBytes
    }
  }
  return bytes
}
