// CPU time and memory of a process with all its children, read from /proc (Linux).

import { readdirSync, readFileSync } from 'node:fs'

/** Linux has reported clock ticks of 1/100 s to programs on every architecture for decades (USER_HZ). */
const MS_PER_TICK = 10

interface Stat {
  readonly pid: number
  readonly parent: number
  readonly cpuMs: number
}

function stat(pid: string): Stat | null {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, 'latin1')
    // The name in brackets may hold spaces; the fields after it start with number 3, the state.
    const fields = text.slice(text.lastIndexOf(')') + 2).split(' ')
    const ticks = Number(fields[11]) + Number(fields[12]) + Number(fields[13]) + Number(fields[14])
    return { pid: Number(pid), parent: Number(fields[1]), cpuMs: ticks * MS_PER_TICK }
  } catch {
    return null
  }
}

function tree(root: number): Stat[] {
  const all = readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map(stat)
    .filter((found) => found !== null)
  const inside = new Set([root])
  for (let grown = -1; grown !== inside.size; ) {
    grown = inside.size
    for (const one of all) if (inside.has(one.parent)) inside.add(one.pid)
  }
  return all.filter((one) => inside.has(one.pid))
}

/** utime and stime of the process and all its descendants, ended ones included, in ms. */
export function cpuMs(root: number): number {
  return tree(root).reduce((sum, one) => sum + one.cpuMs, 0)
}

export interface Memory {
  readonly processes: number
  /** Sum of resident memory: pages that processes share are counted in each. */
  readonly rssMb: number
  /** Sum of proportional shares: what the whole tree really takes. */
  readonly pssMb: number
}

export function memory(root: number): Memory {
  const pids = tree(root).map((one) => one.pid)
  let rss = 0
  let pss = 0
  for (const pid of pids) {
    try {
      const text = readFileSync(`/proc/${pid}/smaps_rollup`, 'latin1')
      rss += Number(/^Rss:\s+(\d+)/m.exec(text)?.[1] ?? 0)
      pss += Number(/^Pss:\s+(\d+)/m.exec(text)?.[1] ?? 0)
    } catch {
      // It ended between the two reads.
    }
  }
  return { processes: pids.length, rssMb: rss / 1024, pssMb: pss / 1024 }
}
