// A worker process: one data plane that reaches everything else through its primary. Started by supervisor.ts only.

import { randomInt } from 'node:crypto'
import { tmpdir } from 'node:os'
import { createAuthenticator } from './access/authenticate.ts'
import { createWorkerBus } from './adapters/bus-workers.ts'
import { childSocketPath, createChildConnector } from './adapters/children-socket.ts'
import { createControlClient } from './adapters/control-workers.ts'
import { createWorkerFeed } from './adapters/feed-workers.ts'
import { createWorkerHop } from './adapters/hop-workers.ts'
import type { Clock } from './core/time.ts'
import { createDataPlane } from './data-plane.ts'
import { createFastLink } from './http/fast-link.ts'
import { createForwarder } from './http/forward.ts'
import { createSealer } from './mcp/seal.ts'
import type { Messages } from './ports/messages.ts'
import { createHolder } from './registry/holder.ts'
import { createWorkerSide, type WorkerSide } from './supervisor.ts'
import { createLog } from './telemetry/log.ts'
import { restSocketPath, type WorkerAnswers } from './worker-start.ts'

const clock: Clock = { now: () => Date.now() }

function ask<K extends keyof WorkerAnswers>(messages: Messages, what: K): Promise<WorkerAnswers[K]> {
  return new Promise((resolve) => {
    const stop = messages.on('start', (body) => {
      stop()
      resolve(body as WorkerAnswers[K])
    })
    messages.send('start', what)
  })
}

async function work(side: WorkerSide): Promise<void> {
  const { messages, n } = side
  const start = await ask(messages, 'start')
  const { config } = start
  const { limits, telemetry } = config
  const log = createLog({
    level: telemetry.logLevel,
    format: telemetry.logFormat,
    write: (line) => process.stderr.write(line),
    now: clock.now,
    base: { worker: n },
  })
  const bus = createWorkerBus({ messages, limits, log })
  const control = createControlClient({ messages, limits })
  const here = { worker: n, boot: randomInt(2 ** 32) }
  const hop = createWorkerHop({ here, messages, limits, log })
  const feed = createWorkerFeed({ messages })
  const { callMs, callMsMax, connectMs } = limits
  const defaults = { validate: config.defaults.validate, callMs, callMsMax, connectMs }
  const holder = createHolder(feed, defaults, clock, (error) => log.error('worker.fault', { error }))
  const authenticator = createAuthenticator({
    control,
    jwt: config.access.jwt,
    clock,
    limits,
    open: config.access.open,
    bus,
  })
  bus.subscribe('settings', ({ logLevel, jwt }) => {
    log.setLevel(logLevel)
    authenticator.setJwt(jwt)
  })
  const children = createChildConnector({ path: childSocketPath(start.runPath, tmpdir()), limits })
  const rest = createForwarder({
    socketPath: restSocketPath(start.runPath),
    bodyBytes: limits.restBodyBytes,
    answerBytes: limits.upstreamBodyBytes,
    answerMs: limits.requestMs + limits.callMs,
    waitingMax: limits.restInFlight,
    mayRead: async ({ headers }) => {
      try {
        await authenticator.authenticate(headers.authorization)
        return true
      } catch {
        return false
      }
    },
  })
  await holder.ready()
  const plane = createDataPlane({
    config,
    publicUrl: start.publicUrl,
    holder,
    authenticator,
    bus,
    control,
    children,
    createLink: createFastLink,
    hop,
    rest: rest.handler,
    sealer: createSealer([{ id: 1, key: Buffer.from(start.secretKey, 'hex') }]),
    ca: start.ca,
    version: start.version,
    clock,
    log,
  })
  // Not before: the edge hears of ends from here on, and one that came earlier must not be missed.
  for (const [key, expiresMs] of await ask(messages, 'ended')) plane.edge.markEnded(key, expiresMs)
  side.onDrain(async (isReplaced) => {
    await plane.drain(isReplaced)
    rest.close()
    children.close()
    authenticator.close()
    holder.close()
  }, limits.stopMs)
  await plane.listen(start.port)
  side.ready()
}

const side = createWorkerSide()
work(side).catch((error: unknown) => side.fail(error))
