// A stdio server of every bad habit, for the tests of children: `node test/fakes/child.ts MODE [MORE]`.
// Whatever the mode, it answers each request that it reads with {"echo": params} unless the mode says otherwise.

import { spawn } from 'node:child_process'
import { createInterface } from 'node:readline'

const [mode = 'echo', more = ''] = process.argv.slice(2)
const say = (value: unknown): boolean => process.stdout.write(`${JSON.stringify(value)}\n`)
const forever = (): void => void setInterval(() => {}, 1_000_000)

function serve(): void {
  createInterface({ input: process.stdin }).on('line', (line) => {
    const { id, method, params } = JSON.parse(line) as { id?: unknown; method: string; params?: { text?: string } }
    if (id === undefined) return
    if (method === 'exit') process.exit(Number(more) || 3)
    if (method === 'env') say({ jsonrpc: '2.0', id, result: process.env })
    else if (method === 'where') say({ jsonrpc: '2.0', id, result: { cwd: process.cwd(), pid: process.pid } })
    else if (method === 'limits') {
      void import('node:fs').then(({ readFileSync }) =>
        say({ jsonrpc: '2.0', id, result: { text: readFileSync('/proc/self/limits', 'utf8') } }),
      )
    } else if (method === 'raw') process.stdout.write(`${params?.text ?? ''}\n`)
    else say({ jsonrpc: '2.0', id, result: { echo: params ?? null } })
  })
}

/** Grandchildren that neither hear SIGTERM nor the end of their input. */
function family(): number[] {
  const script = `process.on('SIGTERM', () => {}); setInterval(() => {}, 1e6)`
  return [1, 2].map(() => spawn(process.execPath, ['-e', script], { stdio: ['ignore', 'ignore', 'inherit'] }).pid!)
}

switch (mode) {
  case 'echo':
    serve()
    break
  case 'stubborn':
    for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) process.on(signal, () => {})
    serve()
    forever()
    break
  case 'family':
    serve()
    say({ jsonrpc: '2.0', method: 'notifications/message', params: { pids: [process.pid, ...family()] } })
    if (more === 'stubborn') process.on('SIGTERM', () => {})
    if (more === 'leave') setTimeout(() => process.exit(0), 300)
    break
  case 'exit':
    process.stderr.write('first words\nlast words\n')
    process.exitCode = Number(more)
    break
  case 'garbage':
    process.stdout.write(
      'Listening on stdio!\r\n\n[1,2\n"text"\n{"jsonrpc":"2.0","id":"77.1","result":{}}\n{"a":1,"a":2}\n',
    )
    serve()
    break
  case 'deaf':
    process.stdin.pause()
    forever()
    break
  case 'flood-stderr': {
    const line = `${'x'.repeat(1000)}\n`
    const pour = (): void => {
      while (process.stderr.write(line)) {}
      process.stderr.once('drain', pour)
    }
    serve()
    pour()
    break
  }
  case 'flood-stdout': {
    const line = more === '' ? 'not json' : more
    const pour = (): void => {
      while (process.stdout.write(`${line}\n`)) {}
      process.stdout.once('drain', pour)
    }
    serve()
    pour()
    break
  }
  case 'long-line': {
    const piece = 'x'.repeat(64 * 1024)
    const pour = (): void => {
      while (process.stdout.write(piece)) {}
      process.stdout.once('drain', pour)
    }
    pour()
    break
  }
  case 'hog': {
    const held: Buffer[] = []
    serve()
    setInterval(() => void held.push(Buffer.alloc(8 * 1024 * 1024, 1)), 10)
    break
  }
  case 'many':
    serve()
    for (let count = 0; count < Number(more); count += 1) spawn('sleep', ['1000'], { stdio: 'ignore' })
    break
  case 'spin':
    for (;;) {}
  default:
    throw new Error(`no mode ${mode}`)
}
