// A worker with the worker's side of every port between the planes, for test/e2e/workers.test.ts: does what the news
// says (`do WHAT ARGUMENT`) and answers by news. `worker-of-parts.ts SOCKET`.

import { createWorkerBus } from '../../src/adapters/bus-workers.ts'
import { createChildConnector } from '../../src/adapters/children-socket.ts'
import { createControlClient } from '../../src/adapters/control-workers.ts'
import { createWorkerFeed } from '../../src/adapters/feed-workers.ts'
import type { GatewayError } from '../../src/core/errors.ts'
import { LIMITS } from '../../src/core/limits.ts'
import { SILENT } from '../../src/ports/log.ts'
import { createWorkerSide } from '../../src/supervisor.ts'

const limits = LIMITS
const side = createWorkerSide()
const { messages } = side
const bus = createWorkerBus({ limits, log: SILENT, messages })
const feed = createWorkerFeed({ messages })
const control = createControlClient({ messages, limits })
const connector = createChildConnector({ path: process.argv[2]!, limits })

async function doIt(what: string, argument: string): Promise<unknown> {
  if (what === 'rows') return feed.current()
  if (what === 'caller') return control.caller(argument)
  if (what === 'crash') throw setImmediate(() => process.exit(9))
  const channel = await connector.connect(argument)
  const line = await new Promise<string>((resolve) => {
    channel.onLine = (bytes) => resolve(bytes.toString())
    channel.send(Buffer.from(`{"jsonrpc":"2.0","id":"${channel.n}.1","method":"echo","params":{"by":${side.n}}}`))
  })
  channel.close()
  return JSON.parse(line)
}

bus.subscribe('cancel', ({ session, id }) => {
  const [worker, what = '', argument = ''] = id.split(' ')
  if (session !== 'do' || Number(worker) !== side.n) return
  doIt(what, argument).then(
    (value) => bus.publish('cancel', { session: 'done', id: JSON.stringify(value) }),
    (error: GatewayError) => bus.publish('cancel', { session: 'done', id: `${error.code} ${error.message}` }),
  )
})
feed.onChange(({ version }) => bus.publish('cancel', { session: `rows of ${side.n}`, id: String(version) }))
side.ready()
