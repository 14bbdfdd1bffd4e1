// Who listens on a TCP port of this machine: "node server.js (pid 4711)". Linux only, by /proc, and only what this user may see;
// null anywhere else, as an answer here is a kindness and never needed.

import { readdirSync, readFileSync, readlinkSync } from 'node:fs'
import { basename } from 'node:path'

const LISTEN = '0A'

export function portHolder(port: number): string | null {
  const inodes = listeningInodes(port)
  if (inodes.size === 0) return null
  try {
    for (const pid of readdirSync('/proc')) {
      if (/^\d+$/.test(pid) && holdsAny(pid, inodes)) return `${commandOf(pid)} (pid ${pid})`
    }
  } catch {
    return null
  }
  return null
}

function listeningInodes(port: number): Set<string> {
  const inodes = new Set<string>()
  const hex = port.toString(16).toUpperCase().padStart(4, '0')
  for (const file of ['/proc/net/tcp', '/proc/net/tcp6']) {
    try {
      for (const line of readFileSync(file, 'utf8').split('\n').slice(1)) {
        const cells = line.trim().split(/\s+/)
        if (cells[3] === LISTEN && cells[1]?.endsWith(`:${hex}`) === true && cells[9] !== undefined)
          inodes.add(cells[9])
      }
    } catch {}
  }
  return inodes
}

function holdsAny(pid: string, inodes: ReadonlySet<string>): boolean {
  try {
    return readdirSync(`/proc/${pid}/fd`).some((descriptor) => {
      const match = /^socket:\[(\d+)\]$/.exec(linkOf(`/proc/${pid}/fd/${descriptor}`))
      return match !== null && inodes.has(match[1]!)
    })
  } catch {
    return false
  }
}

function linkOf(path: string): string {
  try {
    return readlinkSync(path)
  } catch {
    return ''
  }
}

const COMMAND_CHARS = 60

/** `node bin/server.js --port 80`: what was typed, as node calls all its processes the same. */
function commandOf(pid: string): string {
  try {
    const [program = '', ...args] = readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0')
    const line = [basename(program), ...args].join(' ').trim()
    return line.length > COMMAND_CHARS ? `${line.slice(0, COMMAND_CHARS)}…` : line
  } catch {
    return 'a process'
  }
}
