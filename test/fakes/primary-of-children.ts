// A gateway's primary with two stubborn children, one of them with children of its own: prints the pids of all as one
// JSON line and then waits to be killed.

import { join } from 'node:path'
import { LIMITS } from '../../src/core/limits.ts'
import { SILENT } from '../../src/ports/log.ts'
import { createChildren } from '../../src/upstream/children.ts'

const children = createChildren({
  limits: LIMITS,
  clock: { now: () => Date.now() },
  log: SILENT,
  baseEnv: { PATH: process.env.PATH ?? '' },
})
const start = (mode: string, more = ''): Promise<string> =>
  children.spawn(
    mode,
    '',
    {
      kind: 'process',
      command: process.execPath,
      args: [join(import.meta.dirname, 'child.ts'), mode, more],
      ...{ env: {}, cwd: null, memoryBytes: 0, cpuSeconds: 0, openFiles: 0, processes: 0 },
    },
    8,
    0,
  )

await start('stubborn')
const family = await children.connect(await start('family', 'stubborn'))
family.onLine = (line) => {
  const { pids } = (JSON.parse(line.toString()) as { params: { pids: number[] } }).params
  process.stdout.write(`${JSON.stringify([children.list('stubborn')[0]!.pid, ...pids])}\n`)
}
