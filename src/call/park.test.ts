// Calls of newer clients that wait for them. The upstream is a function that asks; the clients come and go.

import assert from 'node:assert/strict'
import { mock, test } from 'node:test'
import { setImmediate as turn } from 'node:timers/promises'
import { CALLER, makeCall, makeGateway, resultText } from '../../test/fakes/call.ts'
import { createMessagePair } from '../../test/fakes/messages.ts'
import { registryRows, resource, tool, upstreamRow } from '../../test/fakes/registry.ts'
import { createHopRelay, createWorkerHop } from '../adapters/hop-workers.ts'
import { ASKS } from '../core/asks.ts'
import type { Call, Question, Reply } from '../core/call.ts'
import { Cancel } from '../core/cancel.ts'
import { GatewayError } from '../core/errors.ts'
import { LIMITS, type Limits } from '../core/limits.ts'
import { createSealer } from '../mcp/seal.ts'
import type { Hop } from '../ports/hop.ts'
import { SILENT } from '../ports/log.ts'
import { createDispatch } from './dispatch.ts'
import { Parks } from './park.ts'

const ROWS = registryRows([
  {
    upstream: upstreamRow('u', { isolation: 'caller', validate: 'off' }, { stateful: true }),
    definitions: [tool('t'), resource('a://1')],
  },
])
const CLIENT = { name: 'c', version: '1', asks: ASKS.elicitationForm | ASKS.sampling | ASKS.roots, capabilities: null }
const MODERN = { era: 'modern', revision: '2026-07-28', client: CLIENT } as const
const ADA = { ...CALLER, id: 'a'.repeat(32) }
const BOB = { ...CALLER, id: 'b'.repeat(32) }

type Upstream = (call: Call) => Promise<Reply>
const done = (value: object): Reply => ({ result: Buffer.from(JSON.stringify(value)) })
const elicit = (message: string): Question => ({
  method: 'elicitation/create',
  params: Buffer.from(JSON.stringify({ message })),
})
const textOf = (reply: Reply): unknown => JSON.parse(resultText(reply))

/** Asks so many questions one after the other, and says what it was told. */
const asking =
  (count: number): Upstream =>
  async (call) => {
    const told: unknown[] = []
    for (let n = 0; n < count; n += 1) told.push(textOf(await call.ask!(elicit(`q${n}`), new Cancel())))
    return done({ told })
  }

async function setUp(upstream: Upstream, limits: Partial<Limits> = {}, hop?: Hop) {
  const calls: Call[] = []
  const gateway = await makeGateway(
    ROWS,
    (_out, call) => {
      calls.push(call)
      return upstream(call)
    },
    hop,
  )
  const parks =
    Object.keys(limits).length === 0
      ? gateway.parks
      : new Parks({
          sealer: createSealer([{ id: 1, key: Buffer.alloc(32, 7) }]),
          hop: { here: { worker: 0, boot: 1 }, serve: () => {}, ask: () => assert.fail('no hop') },
          clock: { now: () => Date.now() },
          limits: { ...LIMITS, ...limits },
        })
  const dispatch = createDispatch({ ...gateway, parks })
  const ask = async (params: object = {}, over: Partial<Call> = {}): Promise<Answered> => {
    const whole = { name: 'u-t', arguments: { a: 1, b: [{ c: 2, d: 3 }] }, ...params }
    return textOf(await dispatch(makeCall('tools/call', whole, { caller: ADA, ...MODERN, ...over }))) as Answered
  }
  return { ask, dispatch, parks, calls }
}

interface Answered {
  readonly resultType?: string
  readonly inputRequests?: Record<string, { method: string; params: { message: string } }>
  readonly requestState?: string
  readonly told?: unknown
}

/** Answers to everything that was asked. */
const answers = ({ inputRequests = {}, requestState }: Answered): object => ({
  requestState,
  inputResponses: Object.fromEntries(
    Object.entries(inputRequests).map(([key, { params }]) => [
      key,
      { action: 'accept', content: { said: params.message } },
    ]),
  ),
})

test('each question is an answer to the client, and its retry goes on where the call was', async () => {
  const { ask, parks, calls } = await setUp(asking(3))
  let answered = await ask()
  for (const n of [0, 1, 2]) {
    assert.equal(answered.resultType, 'input_required')
    assert.deepEqual(
      Object.values(answered.inputRequests!).map(({ params }) => params.message),
      [`q${n}`],
    )
    assert.equal(parks.size, 1)
    // The order of members is the client's own affair.
    answered = await ask({ ...answers(answered), arguments: { b: [{ d: 3, c: 2 }], a: 1 } })
  }
  assert.deepEqual(
    answered.told,
    [0, 1, 2].map((n) => ({ action: 'accept', content: { said: `q${n}` } })),
  )
  assert.deepEqual([parks.size, calls.length], [0, 1])
})

test('questions that come together go out together', async () => {
  const { ask } = await setUp(async (call) => {
    const told = await Promise.all([0, 1, 2].map(async (n) => textOf(await call.ask!(elicit(`q${n}`), new Cancel()))))
    return done({ told })
  })
  const first = await ask()
  assert.equal(Object.keys(first.inputRequests!).length, 3)
  assert.equal(((await ask(answers(first))).told as unknown[]).length, 3)
})

test('what is missing, or cannot be an answer, is asked again; what was not asked is ignored', async () => {
  const { ask } = await setUp(async (call) =>
    done({
      told: await Promise.all(['a', 'b'].map(async (name) => textOf(await call.ask!(elicit(name), new Cancel())))),
    }),
  )
  const first = await ask()
  const [a, b] = Object.keys(first.inputRequests!)
  const accept = { action: 'accept' }
  const second = await ask({
    requestState: first.requestState,
    inputResponses: { [a!]: accept, [b!]: { action: 7 }, x: 1 },
  })
  assert.deepEqual(Object.keys(second.inputRequests!), [b])
  const third = await ask({ requestState: second.requestState })
  assert.deepEqual(Object.keys(third.inputRequests!), [b])
  const last = await ask({ requestState: third.requestState, inputResponses: { [b!]: { action: 'decline' } } })
  assert.deepEqual(last.told, [accept, { action: 'decline' }])
})

test('a state is good for its caller, its request, its endpoint, and once', async () => {
  const { ask, dispatch } = await setUp(asking(2))
  const first = await ask()
  const refused = { code: 'INVALID_PARAMS' }
  await assert.rejects(ask(answers(first), { caller: BOB }), refused)
  await assert.rejects(ask({ ...answers(first), arguments: { a: 2 } }), refused)
  await assert.rejects(ask({ ...answers(first), more: 1 }), refused)
  await assert.rejects(ask({ ...answers(first), requestState: `${first.requestState}A` }), refused)
  await assert.rejects(ask({ ...answers(first), requestState: 7 }), refused)
  const elsewhere = { uri: 'a://1', requestState: first.requestState }
  await assert.rejects(dispatch(makeCall('resources/read', elsewhere, { caller: ADA, ...MODERN })), refused)
  await assert.rejects(ask({ ...answers(first), inputResponses: [] }), refused)
  const second = await ask(answers(first))
  await assert.rejects(ask(answers(first)), refused)
  // While one retry waits a second one of the same state is refused.
  const last = ask(answers(second))
  await assert.rejects(ask(answers(second)), refused)
  assert.equal(((await last).told as unknown[]).length, 2)
  await assert.rejects(ask(answers(second)), { code: 'OWNER_LOST' })
})

test('the end of a call whose client is away is kept for it', async () => {
  for (const end of [done({ told: 'late' }), new GatewayError('UPSTREAM_INVALID', 'broken')]) {
    const ready = Promise.withResolvers<void>()
    const { ask } = await setUp(async (call) => {
      const cancel = new Cancel()
      const asked = call.ask!(elicit('never mind'), cancel)
      asked.catch(() => ready.resolve())
      await turn()
      await turn()
      cancel.cancel('client')
      await asked.catch(() => {})
      if (end instanceof GatewayError) throw end
      return end
    })
    const first = await ask()
    await ready.promise
    const retry = ask({ requestState: first.requestState })
    if (end instanceof GatewayError) await assert.rejects(retry, { code: 'UPSTREAM_INVALID' })
    else assert.equal((await retry).told, 'late')
  }
})

test('progress goes to whichever request waits now, under its own token', async () => {
  const heard: [string, string][] = []
  const notify = (whose: string) => (_method: string, params: Buffer) => void heard.push([whose, params.toString()])
  const { ask } = await setUp(async (call) => {
    call.notify!('notifications/progress', Buffer.from(`${call.progressToken}`))
    await call.ask!(elicit('q'), new Cancel())
    call.notify!('notifications/progress', Buffer.from(`${call.progressToken}`))
    return done({})
  })
  const first = await ask({}, { notify: notify('first'), progressToken: Buffer.from('1') })
  await ask(answers(first), { notify: notify('second'), progressToken: Buffer.from('2') })
  assert.deepEqual(heard, [
    ['first', '1'],
    ['second', '2'],
  ])
})

test('a client that goes away cancels its call, with whatever it was asked', async () => {
  const cancel = new Cancel()
  let reason: unknown = null
  const { ask, parks } = await setUp(async (call) => {
    call.cancel.onCancel((why) => {
      reason = why
    })
    await call.ask!(elicit('q'), new Cancel())
    return new Promise((_resolve, reject) => call.cancel.onCancel(() => reject(new GatewayError('CANCELLED'))))
  })
  const first = await ask()
  const retry = ask(answers(first), { cancel })
  await turn()
  cancel.cancel('disconnect')
  await assert.rejects(retry, { code: 'CANCELLED' })
  assert.deepEqual([reason, parks.size], ['disconnect', 0])
})

test('a call whose client never comes again is ended after parkedMs', async () => {
  mock.timers.enable({ apis: ['setTimeout'] })
  try {
    let ended: unknown = null
    const { ask, parks } = await setUp(
      async (call) => {
        await call.ask!(elicit('q'), new Cancel()).catch((error: GatewayError) => {
          ended = error.code
        })
        return done({})
      },
      { parkedMs: 100 },
    )
    await ask()
    mock.timers.tick(99)
    assert.equal(parks.size, 1)
    mock.timers.tick(1)
    await turn()
    assert.deepEqual([ended, parks.size], ['CANCELLED', 0])
  } finally {
    mock.timers.reset()
  }
})

test('there is room for so many in all, and for fewer of one caller', async () => {
  const told: string[] = []
  const upstream: Upstream = async (call) => {
    await call.ask!(elicit('q'), new Cancel()).catch((error: GatewayError) => told.push(error.code))
    return done({ told: 'refused' })
  }
  const { ask, parks } = await setUp(upstream, { parkedMax: 3, parkedPerCaller: 2 })
  await ask()
  await ask()
  assert.equal((await ask()).told, 'refused')
  await ask({}, { caller: BOB })
  assert.equal((await ask({}, { caller: BOB })).told, 'refused')
  assert.deepEqual([told, parks.size], [['TOO_MANY', 'TOO_MANY'], 3])
  parks.close()
  assert.equal(parks.size, 0)
})

test('a server that asks for ever is told to stop', async () => {
  const { ask } = await setUp(async (call) => {
    for (let n = 0; ; n += 1) {
      try {
        await call.ask!(elicit(`q${n}`), new Cancel())
      } catch (error) {
        return done({ told: [n, (error as GatewayError).code] })
      }
    }
  })
  let answered = await ask()
  while (answered.resultType === 'input_required') answered = await ask(answers(answered))
  assert.deepEqual(answered.told, [LIMITS.upstreamAsksMax, 'TOO_MANY'])
  const many = await setUp(async (call) => {
    const asked = Array.from({ length: LIMITS.questionsPerCall + 1 }, (_, n) =>
      call.ask!(elicit(`q${n}`), new Cancel()),
    )
    const [last] = await Promise.allSettled(asked.slice(-1))
    return done({ told: (last as PromiseRejectedResult).reason.code })
  })
  const first = await many.ask()
  assert.equal(first.told ?? (await many.ask({ requestState: first.requestState })).told, 'TOO_MANY')
})

test('only what the client has declared is asked, and a client that declared nothing is no trouble', async () => {
  const upstream: Upstream = async (call) =>
    done({ told: call.ask === null ? 'nobody' : await call.ask(elicit('q'), new Cancel()).catch(({ code }) => code) })
  const { ask } = await setUp(upstream)
  assert.equal((await ask({}, { client: { ...CLIENT, asks: ASKS.roots } })).told, 'MISSING_CAPABILITY')
  assert.equal((await ask({}, { client: { ...CLIENT, asks: 0 } })).told, 'nobody')
})

test('the retry may come to any worker, and one that is gone is lost by name', async () => {
  const relay = createHopRelay()
  const worker = async (n: number) => {
    const pair = createMessagePair()
    relay.attach(pair.primary, n)
    const hop = createWorkerHop({ here: { worker: n, boot: n }, messages: pair.worker, limits: LIMITS, log: SILENT })
    return { ...(await setUp(asking(2), {}, hop)), pair }
  }
  const [one, two] = [await worker(1), await worker(2)]
  const first = await one.ask()
  const second = await two.ask(answers(first))
  assert.deepEqual([second.resultType, two.parks.size, two.calls.length], ['input_required', 0, 0])
  assert.equal(((await two.ask(answers(second))).told as unknown[]).length, 2)
  const lost = await one.ask()
  one.pair.close()
  await assert.rejects(two.ask(answers(lost)), { code: 'OWNER_LOST' })
})
