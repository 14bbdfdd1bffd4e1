// A primary with two workers: prints {"port", "pids"} as one line when they are ready, then waits to be killed or, with
// SIGTERM, stops.

import { join } from 'node:path'
import { LIMITS } from '../../src/core/limits.ts'
import { SILENT } from '../../src/ports/log.ts'
import { createSupervisor } from '../../src/supervisor.ts'

const supervisor = createSupervisor({
  ...{ workers: 2, workerScript: join(import.meta.dirname, 'worker.ts'), workerArgv: ['0', process.argv[2] ?? ''] },
  ...{ limits: { ...LIMITS, stopMs: 60_000 }, clock: { now: () => Date.now() }, log: SILENT, random: () => 0.5 },
  onWorker: () => {},
})
process.once('SIGTERM', () => {
  void supervisor.stop().then(() => process.exit(0))
  process.once('SIGTERM', () => process.exit(1))
})
await supervisor.start()
const pids = supervisor.workers().map(({ pid }) => pid)
process.stdout.write(`${JSON.stringify({ port: supervisor.address()?.port, pids })}\n`)
