import assert from 'node:assert/strict'
import { test } from 'node:test'
import { createFakeClock } from '../../test/fakes/clock.ts'
import { GatewayError } from '../core/errors.ts'
import { SILENT } from '../ports/log.ts'
import type { FileRows } from '../ports/store.ts'
import { createConfiguration, type Outcome, type ReadFiles } from './configuration.ts'

function filesWith(urls: Record<string, string>, more: Partial<ReadFiles> = {}, line = 1): ReadFiles {
  const upstreams = Object.entries(urls).map(([slug, url], at) => ({
    ...{ slug, origin: 'file' as const, originRef: `gateway.yaml:${line + at}` },
    spec: { transport: { kind: 'http' as const, urls: [url] } },
  }))
  const rows: FileRows = { origin: 'file', upstreams, virtualServers: [], tokens: [] }
  return { rows, faults: [], notes: [], settings: new Map(), ...more }
}

function setUp(first: ReadFiles) {
  const clock = createFakeClock()
  const state = { read: first, clash: null as GatewayError | null, loads: 0, atOnce: [] as string[] }
  const applied: FileRows[] = []
  const outcomes: Outcome[] = []
  const configuration = createConfiguration({
    ...{ files: ['gateway.yaml'], first, clock, log: SILENT },
    async load() {
      state.loads += 1
      await new Promise((resolve) => setImmediate(resolve))
      return state.read
    },
    async applyRows(rows) {
      if (state.clash !== null) throw state.clash
      applied.push(rows)
    },
    applySettings: () => state.atOnce,
  })
  configuration.onOutcome = (outcome) => outcomes.push(outcome)
  return { clock, state, applied, outcomes, configuration }
}

const refused = async (promise: Promise<unknown>): Promise<GatewayError> => {
  const error = await promise.catch((fault: unknown) => fault)
  assert.ok(error instanceof GatewayError && error.code === 'CONFIG_REFUSED', String(error))
  return error
}

test('says which rows were added, changed and removed; one that only moved is none', async () => {
  const { state, outcomes, configuration } = setUp(filesWith({ a: 'https://a', b: 'https://b', c: 'https://c' }))
  state.read = filesWith({ a: 'https://a', c: 'https://other', d: 'https://d' }, {}, 7)
  const { rows } = await configuration.reload()
  assert.deepEqual(
    rows.map(({ kind, name, change }) => `${kind} ${name} ${change}`),
    ['upstream c changed', 'upstream d added', 'upstream b removed'],
  )
  assert.equal(outcomes.length, 1)
  state.read = filesWith({ a: 'https://a', c: 'https://other', d: 'https://d' }, {}, 1)
  assert.deepEqual((await configuration.reload()).rows, [])
  assert.equal(outcomes.length, 1, 'no news is not told')
})

test('faults and clashes refuse everything, are kept for whoever looks later, and end with what mends them', async () => {
  const { clock, state, applied, outcomes, configuration } = setUp(filesWith({ a: 'https://a' }))
  const faults = [
    { at: 'gateway.yaml:3', message: 'upstreams.b.url must be a URL' },
    { at: 'mcp.json:9', message: 'is not known' },
  ]
  clock.forward(1_000)
  state.read = filesWith({ a: 'https://other' }, { faults })
  const error = await refused(configuration.reload())
  assert.deepEqual(error.options.faults, faults)
  assert.match(error.message, /gateway\.yaml:3: upstreams\.b\.url must be a URL\nmcp\.json:9/)
  assert.deepEqual(applied, [])
  assert.deepEqual(configuration.view().refused, { atMs: clock.now(), faults })
  state.read = filesWith({ a: 'https://other' })
  const clash = { at: 'gateway.yaml:1', message: 'the slug "a" is taken' }
  state.clash = new GatewayError('CONFLICT', 'clash', { faults: [clash] })
  assert.deepEqual((await refused(configuration.reload())).options.faults, [clash])
  state.clash = new GatewayError('TOO_MANY', 'too many upstreams')
  assert.deepEqual((await refused(configuration.reload())).options.faults, [
    { at: 'gateway.yaml', message: 'too many upstreams' },
  ])
  state.clash = null
  state.read = filesWith({ a: 'https://a' })
  assert.deepEqual((await configuration.reload()).rows, [])
  assert.equal(configuration.view().refused, null)
  assert.deepEqual(
    outcomes.map((outcome) => outcome.faults.length),
    [2, 1, 1, 0],
    'that it is mended is news',
  )
})

test('settings: in force at once, or at the next start until they are as they were', async () => {
  const settings = (port: number, level: string): ReadFiles['settings'] =>
    new Map<string, { value: unknown; at: string }>([
      ['server.port', { value: port, at: 'gateway.yaml:2' }],
      ['telemetry.logLevel', { value: level, at: 'gateway.yaml:3' }],
    ])
  const { state, configuration } = setUp(filesWith({}, { settings: settings(4444, 'warn') }))
  state.read = filesWith({}, { settings: settings(5555, 'info') })
  state.atOnce = ['telemetry.logLevel']
  assert.deepEqual((await configuration.reload()).settings, [
    { name: 'server.port', takesEffect: 'next start' },
    { name: 'telemetry.logLevel', takesEffect: 'at once' },
  ])
  assert.deepEqual(configuration.view().nextStart, ['server.port'])
  state.atOnce = []
  assert.deepEqual((await configuration.reload()).settings, [])
  assert.deepEqual(configuration.view().nextStart, ['server.port'], 'it still waits')
  state.read = filesWith({}, { settings: settings(4444, 'info') })
  await configuration.reload()
  assert.deepEqual(configuration.view().nextStart, [])
})

test('one at a time, and whoever asks meanwhile gets what the files say after that', async () => {
  const { state, configuration } = setUp(filesWith({ a: 'https://a' }))
  const first = configuration.reload()
  await Promise.resolve()
  state.read = filesWith({ b: 'https://b' })
  const later = [configuration.reload(), configuration.reload(), configuration.reload()]
  await Promise.all([first, ...later])
  assert.equal(state.loads, 2)
  assert.deepEqual(configuration.view().files, ['gateway.yaml'])
  state.read = filesWith({}, { faults: [{ at: 'x:1', message: 'bad' }] })
  const broken = refused(configuration.reload())
  await Promise.resolve()
  await Promise.resolve()
  state.read = filesWith({ b: 'https://b' })
  await Promise.allSettled([broken, configuration.reload()])
  assert.equal(configuration.view().refused, null)
})
