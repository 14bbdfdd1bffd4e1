// A tiny worker for the tests of the supervisor: `worker.ts PORT MODE`. Answers {"n", "pid"} on every path, after ?ms=.

import { createServer } from 'node:http'
import { LIMITS } from '../../src/core/limits.ts'
import { createWorkerSide } from '../../src/supervisor.ts'

const [port = '0', mode = ''] = process.argv.slice(2)
const limits = { ...LIMITS, drainMs: 100, stopMs: mode === 'stuck' ? 60_000 : 2_000 }
const side = createWorkerSide()
if (mode === 'die') process.exit(7)

let isDraining = false
const server = createServer((request, response) => {
  const ms = Number(new URL(request.url ?? '/', 'http://x').searchParams.get('ms') ?? 0)
  setTimeout(() => {
    if (isDraining) response.setHeader('Connection', 'close')
    response.end(JSON.stringify({ n: side.n, pid: process.pid }))
  }, ms)
})
side.onDrain(async () => {
  if (mode === 'stuck') return new Promise(() => {})
  isDraining = true
  await new Promise((resolve) => setTimeout(resolve, limits.drainMs))
  // Ends when the calls in flight have ended; idle connections are closed.
  await new Promise((resolve) => server.close(resolve))
}, limits.stopMs)
server.on('error', (error) => side.fail(error))
server.listen({ port: Number(port), host: '127.0.0.1', backlog: LIMITS.backlog, exclusive: false }, () => {
  if (mode !== 'hang') side.ready()
})
