// Starts a program for a test and ends it by its own pid: waits for its first line on stdout, keeps what it printed,
// and never outlives the test process.

import { type ChildProcess, spawn } from 'node:child_process'

const KEPT_CHARACTERS = 256 * 1024

export interface Program {
  readonly pid: number
  /** What it printed on both streams so far, the end of it when it was much. */
  output(): string
  /** Resolves with the exit code, or the signal's name. */
  readonly ended: Promise<number | string>
  stop(signal?: NodeJS.Signals): Promise<void>
}

export interface ProgramOptions {
  readonly env?: Readonly<Record<string, string>>
  readonly cwd?: string
  /** How long it may take to end after the signal before it is killed. */
  readonly stopMs?: number
}

const running = new Set<ChildProcess>()
process.on('exit', () => {
  for (const child of running) child.kill('SIGKILL')
})

export function startProgram(command: string, args: readonly string[], options: ProgramOptions = {}): Program {
  const child = spawn(command, args, {
    env: { ...process.env, ...options.env },
    cwd: options.cwd,
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  running.add(child)
  let output = ''
  const keep = (chunk: Buffer): void => {
    output = (output + chunk.toString()).slice(-KEPT_CHARACTERS)
  }
  child.stdout.on('data', keep)
  child.stderr.on('data', keep)
  const ended = new Promise<number | string>((resolve) => {
    child.on('error', (error) => {
      keep(Buffer.from(`${error.message}\n`))
      running.delete(child)
      resolve('ERROR')
    })
    child.on('exit', (code, signal) => {
      running.delete(child)
      resolve(code ?? signal ?? 'unknown')
    })
  })
  return {
    pid: child.pid ?? 0,
    output: () => output,
    ended,
    async stop(signal = 'SIGTERM') {
      if (!running.has(child)) return
      child.kill(signal)
      const timer = setTimeout(() => child.kill('SIGKILL'), options.stopMs ?? 10_000)
      await ended
      clearTimeout(timer)
    },
  }
}

/** Waits until `look` gives something; fails with what the program printed when it ends or `waitMs` pass first. */
export async function waitFor<T>(
  program: Program,
  what: string,
  look: () => T | null | Promise<T | null>,
  waitMs = 20_000,
): Promise<T> {
  const deadline = Date.now() + waitMs
  let code: number | string | null = null
  void program.ended.then((how) => {
    code = how
  })
  for (;;) {
    const found = await look()
    if (found !== null) return found
    if (code !== null) throw new Error(`${what}: the program ended (${code}):\n${program.output()}`)
    if (Date.now() > deadline) throw new Error(`${what}: not within ${waitMs} ms:\n${program.output()}`)
    await new Promise((resolve) => setTimeout(resolve, 25))
  }
}

/** The first line of output that is a JSON object with `url`: what every server of test/ prints when it listens. */
export function printedUrl(program: Program): string | null {
  for (const line of program.output().split('\n')) {
    if (!line.startsWith('{"url"')) continue
    try {
      return (JSON.parse(line) as { url: string }).url
    } catch {
      // The line is not whole yet.
    }
  }
  return null
}

/** Starts one of the repository's own TypeScript servers that print {"url":…}. */
export async function startServer(
  file: string,
  args: readonly string[] = [],
  options: ProgramOptions = {},
): Promise<Program & { readonly url: string }> {
  const program = startProgram(process.execPath, [file, ...args], options)
  const url = await waitFor(program, file, () => printedUrl(program))
  return { ...program, url }
}
