// Starts and ends the bench's processes. Each child is ended by its own pid, and none outlives the bench.

import { type ChildProcess, fork, spawn } from 'node:child_process'
import { join } from 'node:path'
import type { LoadJob, LoadResult } from './load.ts'
import type { Heard, HearJob, Opened, OpenJob, StreamsJob } from './streams.ts'

export const ROOT = join(import.meta.dirname, '..', '..')
const RIG = import.meta.dirname
const READY_MS_MAX = 30_000
const STOP_MS_MAX = 15_000
/** Past the time of a job. */
const GRACE_MS = 60_000

const running = new Set<ChildProcess>()
process.on('exit', () => {
  for (const child of running) child.kill('SIGKILL')
})
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => process.exit(130))

export interface Started {
  readonly pid: number
  /** What the process printed as its first line, parsed. */
  readonly ready: { readonly port: number }
  stop(): Promise<void>
}

/** Spawns a program of the rig, which prints one line of JSON when it is ready. */
export async function start(command: string, args: readonly string[]): Promise<Started> {
  const child = spawn(command, args, { cwd: ROOT, stdio: ['ignore', 'pipe', 'inherit'] })
  running.add(child)
  const line = await firstLine(child, `${command} ${args[0] ?? ''}`)
  return { pid: child.pid!, ready: JSON.parse(line) as { port: number }, stop: () => stop(child) }
}

export const startRig = (file: string, options: unknown): Promise<Started> =>
  start(process.execPath, [join(RIG, file), JSON.stringify(options)])

function firstLine(child: ChildProcess, what: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => {
      child.kill('SIGKILL')
      reject(new Error(`${what} was not ready within ${READY_MS_MAX} ms`))
    }, READY_MS_MAX)
    let text = ''
    child.stdout!.on('data', (chunk: Buffer) => {
      text += chunk.toString()
      const end = text.indexOf('\n')
      if (end < 0) return
      clearTimeout(timer)
      resolve(text.slice(0, end))
    })
    child.once('error', (error) => {
      clearTimeout(timer)
      reject(error)
    })
    child.once('exit', (code, signal) => {
      clearTimeout(timer)
      running.delete(child)
      reject(new Error(`${what} ended (${code ?? signal}) before it was ready`))
    })
  })
}

export function keep(child: ChildProcess): void {
  running.add(child)
}

export async function stop(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) {
    running.delete(child)
    return
  }
  const ended = new Promise((resolve) => child.once('exit', resolve))
  child.kill('SIGTERM')
  const timer = setTimeout(() => child.kill('SIGKILL'), STOP_MS_MAX)
  await ended
  clearTimeout(timer)
  running.delete(child)
}

/** A process that does one job at a time, which comes and goes by messages. */
class Doer<Job, Result> {
  readonly #child: ChildProcess
  readonly #what: string

  constructor(file: string, what: string) {
    this.#child = fork(join(RIG, file), [], { cwd: ROOT })
    this.#what = what
    running.add(this.#child)
  }

  do(job: Job, msMax: number): Promise<Result> {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error(`${this.#what} did not answer`)), msMax)
      const exited = (): void => {
        clearTimeout(timer)
        reject(new Error(`${this.#what} ended`))
      }
      this.#child.once('exit', exited)
      this.#child.once('message', (message: { result?: Result; error?: string }) => {
        clearTimeout(timer)
        this.#child.off('exit', exited)
        if (message.result) resolve(message.result)
        else reject(new Error(message.error))
      })
      this.#child.send(job as object)
    })
  }

  stop(): Promise<void> {
    return stop(this.#child)
  }
}

/** The load generator's process. It lives through all rounds, so that its own code stays warm. */
export class Load {
  readonly #doer = new Doer<LoadJob, LoadResult>('load.ts', 'the load generator')

  run(job: LoadJob): Promise<LoadResult> {
    return this.#doer.do(job, job.seconds * 1000 + GRACE_MS)
  }

  stop(): Promise<void> {
    return this.#doer.stop()
  }
}

/** The process of the clients that only listen. */
export class StreamClients {
  readonly #doer = new Doer<StreamsJob, Opened | Heard>('streams.ts', 'the listening process')

  async open(job: OpenJob): Promise<Opened> {
    return (await this.#doer.do(job, job.msMax + GRACE_MS)) as Opened
  }

  async hear(job: HearJob): Promise<Heard> {
    return (await this.#doer.do(job, job.msMax + GRACE_MS)) as Heard
  }

  stop(): Promise<void> {
    return this.#doer.stop()
  }
}
