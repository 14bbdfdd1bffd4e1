// Feed, bus, control and children between a real primary and real workers.

import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { createPrimaryBus } from '../../src/adapters/bus-workers.ts'
import { childSocketPath, createChildServer } from '../../src/adapters/children-socket.ts'
import { serveControl } from '../../src/adapters/control-workers.ts'
import { createFeedSender } from '../../src/adapters/feed-workers.ts'
import { GatewayError } from '../../src/core/errors.ts'
import { LIMITS } from '../../src/core/limits.ts'
import type { Definition, UpstreamRow } from '../../src/core/model.ts'
import type { Control } from '../../src/ports/control.ts'
import type { RegistryRows } from '../../src/ports/feed.ts'
import { SILENT } from '../../src/ports/log.ts'
import { createSupervisor } from '../../src/supervisor.ts'
import { setUp as setUpChildren } from '../fakes/children.ts'
import { until } from '../fakes/processes.ts'

const limits = LIMITS
const directory = mkdtempSync(join(tmpdir(), 'workers-'))
after(() => rmSync(directory, { recursive: true }))

const definitions: Definition[] = Array.from({ length: 5_000 }, (_, index) => ({
  kind: 'tool',
  name: `tool \u20ac ${index}`,
  json: JSON.stringify({ name: `tool ${index}`, text: 'x'.repeat(200) }),
}))
const upstream: UpstreamRow = {
  ...{ id: 'u', slug: 'u', spec: { transport: { kind: 'http', urls: [] } }, origin: 'api', originRef: null },
  ...{ discovery: null, rowVersion: 1, createdMs: 1, updatedMs: 1 },
}
const rowsOf = (version: number): RegistryRows => ({
  ...{ version, parts: new Map([['u', { upstream, definitions }]]), virtualServers: [] },
})

test('the planes meet between processes as they do in one', async () => {
  const { children, start } = setUpChildren()
  const path = childSocketPath(join(directory, 'run'), tmpdir())
  const childServer = createChildServer({ children, path, limits, log: SILENT })
  await childServer.listen()
  let rows = rowsOf(1)
  const listeners = new Set<(rows: RegistryRows) => void>()
  const feed = {
    current: () => rows,
    onChange(listener: (rows: RegistryRows) => void) {
      listeners.add(listener)
      return () => listeners.delete(listener)
    },
  }
  const bus = createPrimaryBus({ limits, log: SILENT })
  const sender = createFeedSender({ feed, limits, log: SILENT })
  const control = {
    caller: (hash: string) =>
      hash === 'bad' ? Promise.reject(new GatewayError('STORE_UNAVAILABLE', 'away')) : Promise.resolve({ name: hash }),
  } as unknown as Control
  const heard: { session: string; id: string }[] = []
  bus.subscribe('cancel', (event) => heard.push(event))
  const supervisor = createSupervisor({
    ...{ workers: 2, workerScript: join(import.meta.dirname, '../fakes/worker-of-parts.ts'), workerArgv: [path] },
    ...{ limits, clock: { now: () => Date.now() }, log: SILENT, random: () => 0.5 },
    onWorker(messages) {
      bus.attach(messages)
      sender.attach(messages)
      serveControl({ control, messages, limits, log: SILENT })
    },
  })
  const ask = async (n: number, what: string): Promise<string> => {
    heard.length = 0
    bus.publish('cancel', { session: 'do', id: `${n} ${what}` })
    await until(`an answer to ${what}`, () => heard.some(({ session }) => session === 'done'))
    return heard.find(({ session }) => session === 'done')!.id
  }
  const hasRows = (n: number, version: number): Promise<void> =>
    until('the rows', () => heard.some(({ session, id }) => session === `rows of ${n}` && id === String(version)))
  try {
    await supervisor.start()
    const [one, two] = supervisor.workers().map(({ n }) => n) as [number, number]
    await hasRows(one, 1)
    await hasRows(two, 1)
    const childId = await start('echo')
    for (const n of [one, two]) {
      assert.equal((JSON.parse(await ask(n, 'rows')) as RegistryRows).version, 1)
      assert.equal(await ask(n, 'caller good'), '{"name":"good"}')
      assert.equal(await ask(n, 'caller bad'), 'STORE_UNAVAILABLE away')
      assert.deepEqual((JSON.parse(await ask(n, `child ${childId}`)) as { result: unknown }).result, {
        echo: { by: n },
      })
      assert.match(await ask(n, 'child none'), /^UPSTREAM_UNAVAILABLE/)
    }
    heard.length = 0
    rows = { ...rowsOf(2), parts: rows.parts }
    for (const listener of listeners) listener(rows)
    await hasRows(one, 2)
    await hasRows(two, 2)
    // A crashed worker's successor gets everything, under a number of its own.
    heard.length = 0
    bus.publish('cancel', { session: 'do', id: `${one} crash` })
    const successor = (): number | undefined => supervisor.workers().find(({ n }) => n !== one && n !== two)?.n
    await until('a successor', () => successor() !== undefined)
    await hasRows(successor()!, 2)
    assert.equal(await ask(successor()!, 'caller again'), '{"name":"again"}')
  } finally {
    await supervisor.stop()
    sender.close()
    await childServer.close()
    await children.close()
  }
})
