// Kills the children when the gateway itself dies without a word (SIGKILL, out of memory). A child sees the end of its
// input then, but may ignore it, and its own children may outlive it; PDEATHSIG reaches neither those nor any process
// that was started through npx or uvx. So one tiny process beside the gateway holds the other end of a pipe, knows every
// process group, and when the pipe ends sends them SIGTERM and, a second later, SIGKILL.
// It is `sh` with a fixed text (1 MB, 1 ms to start), or Node where there is no shell (40 MB).
// What is left: a child whose group was not yet told (microseconds after its start), and a process that left its group
// (setsid) on purpose. If gateway and watchdog are killed together, as by a container's end, the kernel takes the rest.

import { type ChildProcess, spawn } from 'node:child_process'
import type { Socket } from 'node:net'
import type { Log } from '../ports/log.ts'

export interface Watchdog {
  add(group: number): void
  remove(group: number): void
  close(): void
}

const SHELL = `# mcp-gateway: ends its stdio children if it dies
trap '' HUP INT TERM
groups=' '
while read -r what group; do
  case $what in
    +) groups="$groups$group " ;;
    -) case $groups in *" $group "*) groups="\${groups%% $group *} \${groups#* $group }" ;; esac ;;
  esac
done
for group in $groups; do kill -s TERM -- "-$group"; done
[ -n "\${groups# }" ] && sleep 1
for group in $groups; do kill -s KILL -- "-$group"; done
`

const NODE = `// mcp-gateway: ends its stdio children if it dies
for (const name of ['SIGHUP', 'SIGINT', 'SIGTERM']) process.on(name, () => {})
const groups = new Set()
const kill = (signal) => { for (const group of groups) try { process.kill(-group, signal) } catch {} }
require('node:readline').createInterface({ input: process.stdin })
  .on('line', (line) => { const [what, group] = line.split(' '); what === '+' ? groups.add(+group) : groups.delete(+group) })
  .on('close', () => { kill('SIGTERM'); setTimeout(() => { kill('SIGKILL'); process.exit() }, groups.size && 1000) })
`

export interface WatchdogOptions {
  readonly log: Log
  /** PATH for `sleep`. */
  readonly path: string
  /** '/bin/sh' but in tests. */
  readonly shell?: string
}

/** Wait before a watchdog that died is replaced: whatever killed it must not become a loop. */
const AGAIN_MS = 1_000

export function createWatchdog({ log, path, shell = '/bin/sh' }: WatchdogOptions): Watchdog {
  const groups = new Set<number>()
  let child: ChildProcess | null = null
  let commands = [
    [shell, '-c', SHELL],
    [process.execPath, '-e', NODE],
  ]
  let again: NodeJS.Timeout | null = null
  let closed = false

  const start = (): void => {
    const [file, ...args] = commands[0]!
    const started = spawn(file!, args, { stdio: ['pipe', 'ignore', 'ignore'], detached: true, env: { PATH: path } })
    child = started
    started.unref()
    // There is no pipe where the process could not be made at all.
    const pipe = started.stdin as Socket | null | undefined
    pipe?.unref()
    pipe?.on('error', () => {})
    let failed = false
    started.on('error', (error) => {
      failed = true
      if (child !== started) return
      child = null
      commands = commands.slice(1)
      if (commands.length > 0) start()
      else log.error('child.watchdog', { error, hint: 'stdio children may outlive a killed gateway' })
    })
    started.on('exit', (code, signal) => {
      if (child !== started || failed || closed) return
      child = null
      log.warn('child.watchdog', { code, signal, hint: 'it is started again' })
      again = setTimeout(() => {
        again = null
        if (!closed) start()
      }, AGAIN_MS)
      again.unref()
    })
    if (groups.size > 0) pipe?.write([...groups].map((group) => `+ ${group}\n`).join(''))
  }

  return {
    add(group) {
      groups.add(group)
      if (child !== null) child.stdin?.write(`+ ${group}\n`)
      else if (again === null && commands.length > 0 && !closed) start()
    },
    remove(group) {
      if (groups.delete(group)) child?.stdin?.write(`- ${group}\n`)
    },
    close() {
      closed = true
      if (again !== null) clearTimeout(again)
      child?.stdin?.end()
      child = null
    },
  }
}
