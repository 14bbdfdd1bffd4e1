import assert from 'node:assert/strict'
import { test } from 'node:test'
import { ask, listen, PATH, refused, request, setUp, specOf } from '../../test/fakes/children.ts'
import { isRunning, until } from '../../test/fakes/processes.ts'

test('answers find their channel, news reaches all, questions the first', async () => {
  const { children, start } = setUp()
  const id = await start('echo')
  const channels = [await children.connect(id), await children.connect(id), await children.connect(id)]
  assert.deepEqual(
    channels.map((channel) => channel.n),
    [0, 1, 2],
  )
  const heard = channels.map(listen)
  assert.deepEqual(await ask(channels[2]!, heard[2]!, 'echo', { a: 'b' }), { echo: { a: 'b' } })
  assert.deepEqual(await ask(channels[1]!, heard[1]!, 'echo', {}), { echo: {} })
  assert.deepEqual(
    heard.map((one) => one.lines.length),
    [0, 1, 1],
  )
  const raw = (text: string): void => void channels[0]!.send(request('0.raw', 'raw', { text }))
  raw('{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}')
  raw('{"jsonrpc":"2.0","id":5,"method":"ping"}')
  raw('{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":"1.1"}}')
  await until('the lines', () => heard[1]!.lines.length === 3)
  assert.deepEqual(
    heard.map((one) => one.lines.slice(-2).map((line) => (JSON.parse(line) as { method?: string }).method)),
    [
      ['notifications/tools/list_changed', 'ping'],
      ['notifications/tools/list_changed', 'notifications/progress'],
      [undefined, 'notifications/tools/list_changed'],
    ],
  )
  await children.stop(id)
  assert.deepEqual(
    heard.map((one) => one.closed),
    Array(3).fill('The process was stopped'),
  )
})

test('the child gets the configured environment and nothing else of ours', async () => {
  process.env.SECRET_OF_THE_GATEWAY = 'x'
  const { children, start } = setUp({}, { PATH, HOME: '/home/of/gateway', TZ: 'UTC' })
  const channel = await children.connect(await start('echo', '', { env: { TOKEN: 't', TZ: 'Asia/Tokyo' }, cwd: '/' }))
  const heard = listen(channel)
  assert.deepEqual(await ask(channel, heard, 'env'), { PATH, HOME: '/home/of/gateway', TZ: 'Asia/Tokyo', TOKEN: 't' })
  assert.equal(((await ask(channel, heard, 'where')) as { cwd: string }).cwd, '/')
})

test('there is one child per upstream and owner, however many ask at once', async () => {
  const { children, start } = setUp()
  const ids = await Promise.all([start('echo'), start('echo'), start('echo', '', {}, 'alice'), start('echo')])
  assert.deepEqual(new Set(ids).size, 2)
  assert.equal(children.list('up').length, 2)
  assert.equal(children.list('other').length, 0)
  assert.deepEqual(new Set(children.list().map((view) => view.owner)), new Set(['', 'alice']))
})

test('children are bounded per upstream and in all', async () => {
  const { children, start } = setUp({ childrenMax: 3 })
  const first = await start('echo', '', {}, 'a', 2)
  await start('echo', '', {}, 'b', 2)
  const full = await refused(start('echo', '', {}, 'c', 2))
  assert.equal(full.code, 'UPSTREAM_BUSY')
  assert.match(full.message, /has 2 processes/)
  await start('echo', '', {}, 'c', 8)
  assert.match((await refused(start('echo', '', {}, 'd', 8))).message, /gateway has 3 processes/)
  await children.stop(first)
  await start('echo', '', {}, 'd', 8)
})

test('few children start at once; the others wait for their turn', async () => {
  const { children, start } = setUp({ childrenSpawning: 1, childStartMs: 60_000 })
  const first = await start('echo', '', {}, 'a')
  const second = start('echo', '', {}, 'b')
  assert.equal(children.list().length, 1)
  const channel = await children.connect(first)
  await ask(channel, listen(channel), 'echo')
  await second
  assert.equal(children.list().length, 2)
})

test('nobody waits for ever behind children that never get ready', async () => {
  const { children, start } = setUp({ childrenSpawning: 1, childSpawnWaitMs: 50, childStartMs: 60_000 })
  await start('deaf', '', {}, 'a')
  assert.equal((await refused(start('echo', '', {}, 'b'))).code, 'UPSTREAM_BUSY')
  assert.equal(children.list().length, 1)
})

test('a child that stays silent does not count as starting for ever', async () => {
  const { children, start } = setUp({ childrenSpawning: 1, childStartMs: 50 })
  await start('deaf', '', {}, 'a')
  await start('echo', '', {}, 'b')
  assert.equal(children.list().length, 2)
})

test('the last words of few upstreams are kept, those of the newest ones', async () => {
  const { children } = setUp({ childStderrUpstreams: 1 })
  for (const upstreamId of ['one', 'other']) {
    await children.spawn(upstreamId, '', specOf('exit'), 8, 0)
    await until('the last words', () => children.stderr(upstreamId).includes('last words'))
  }
  assert.equal(children.stderr('one'), '')
})

test('the number of channels is bounded, and a closed one hears nothing more', async () => {
  const { children, start } = setUp({ childChannels: 2 })
  const id = await start('echo')
  const [one, two] = [await children.connect(id), await children.connect(id)]
  assert.equal((await refused(children.connect(id))).code, 'UPSTREAM_BUSY')
  const heard = [listen(one), listen(two)]
  one.close()
  one.close()
  assert.equal(one.send(request('0.1')), false)
  assert.equal((await children.connect(id)).n, 2)
  await ask(two, heard[1]!, 'echo')
  await children.stop(id)
  assert.deepEqual(heard[0], { lines: [], closed: null, drains: 0 })
})

test('a command that does not exist is named', async () => {
  const { children, start } = setUp()
  for (const [spec, message] of [
    [{ command: 'no-such-command' }, /"no-such-command" is not on PATH/],
    [{ command: './no-such-file' }, /is no executable file/],
    [{ cwd: '/no/such/directory' }, /There is no directory/],
    [{ args: ['a\0b'] }, /did not start/],
  ] as const) {
    const error = await refused(start('echo', '', spec))
    assert.equal(error.code, 'UPSTREAM_UNAVAILABLE')
    assert.match(error.message, message)
  }
  assert.deepEqual(children.list(), [])
  await start('echo')
})

test('a child that exits at once says why, with its last words', async () => {
  const { children, start, exits } = setUp()
  const id = await start('exit', '7')
  const heard = listen(await children.connect(id))
  await until('the end', () => heard.closed !== null)
  assert.equal(heard.closed, 'The process exited with code 7: first words | last words')
  assert.deepEqual(exits, [{ childId: id, upstreamId: 'up', owner: '', why: heard.closed! }])
  const late = await refused(children.connect(id))
  assert.equal(late.code, 'UPSTREAM_UNAVAILABLE')
  assert.equal(late.message, heard.closed)
  assert.match(children.stderr('up'), /first words\nlast words/)
  assert.notEqual(await start('echo'), id)
})

test('a child that is killed from outside says so', async () => {
  const { children, start, exits } = setUp()
  const id = await start('echo')
  process.kill(children.list()[0]!.pid!, 'SIGKILL')
  await until('the exit', () => exits.length === 1)
  assert.equal(exits[0]!.why, 'The process was ended by SIGKILL')
  await until('its going', () => children.list().length === 0)
  await children.stop(id)
})

test('an answer that was written just before the end still arrives', async () => {
  const { children, start } = setUp()
  const channel = await children.connect(await start('echo'))
  const heard = listen(channel)
  for (let count = 0; count < 50; count += 1) channel.send(request(`0.${count}`))
  channel.send(request('0.end', 'exit'))
  await until('the end', () => heard.closed !== null)
  assert.equal(heard.lines.length, 50)
})

test('a child that ignores everything is killed in the end', async () => {
  const { children, start, exits } = setUp()
  const id = await start('stubborn')
  const channel = await children.connect(id)
  await ask(channel, listen(channel), 'echo')
  const pid = children.list()[0]!.pid!
  await Promise.all([children.stop(id), children.stop(id)])
  assert.equal(isRunning(pid), false)
  assert.deepEqual(children.list(), [])
  assert.deepEqual(exits, [])
})

for (const how of ['', 'stubborn', 'leave']) {
  test(`grandchildren end with the child (${how || 'obedient'} leader)`, async () => {
    const { children, start } = setUp()
    const id = await start('family', how)
    const heard = listen(await children.connect(id))
    await until('the pids', () => heard.lines.length > 0)
    const { pids } = (JSON.parse(heard.lines[0]!) as { params: { pids: number[] } }).params
    assert.deepEqual(pids.map(isRunning), [true, true, true])
    if (how === 'leave') await until('the leader to leave', () => children.list().length === 0)
    else await children.stop(id)
    assert.deepEqual(pids.map(isRunning), [false, false, false])
  })
}

test('garbage on stdout is dropped and counted, and the rest works', async () => {
  const { children, start } = setUp()
  const channel = await children.connect(await start('garbage'))
  assert.deepEqual(await ask(channel, listen(channel), 'echo', { a: 1 }), { echo: { a: 1 } })
  // The banner, "[1,2", a string, an answer to nobody and an object with a key twice.
  assert.equal(children.list()[0]!.dropped, 5)
})

test('a line over its bound ends the child, with the reason', async () => {
  const { children, start, exits } = setUp({ childLineBytes: 1024 * 1024 })
  const heard = listen(await children.connect(await start('long-line')))
  await until('the end', () => heard.closed !== null)
  assert.equal(heard.closed, 'The process sent a line of more than 1048576 bytes')
  await until('the exit', () => exits.length === 1)
})

test('input that nobody reads is queued up to a bound, then the channel closes', async () => {
  const { children, start } = setUp({ childQueueBytes: 1024 * 1024 })
  const id = await start('deaf')
  const [one, two] = [await children.connect(id), await children.connect(id)]
  const heard = [listen(one), listen(two)]
  const line = Buffer.from(JSON.stringify({ text: 'x'.repeat(100_000) }))
  let sent = 0
  while (heard[0]!.closed === null && sent < 1000) {
    const took = one.send(line)
    sent += 1
    if (sent > 3) assert.equal(took, false)
  }
  assert.equal(heard[0]!.closed, 'the process does not read its input')
  assert.ok(sent > 10 && sent < 20, `${sent} lines`)
  assert.equal(heard[1]!.closed, null)
})

test('a slow reader is waited for by onDrain', async () => {
  const { children, start } = setUp()
  const channel = await children.connect(await start('echo'))
  const heard = listen(channel)
  const text = 'x'.repeat(200_000)
  let took = true
  let count = 0
  for (; took && count < 100; count += 1) took = channel.send(request(`0.${count}`, 'echo', { text }))
  assert.equal(took, false)
  await until('the drain', () => heard.drains > 0)
  await until('the answers', () => heard.lines.length === count)
})

test('line breaks in what is sent stay inside one line', async () => {
  const { children, start } = setUp()
  const channel = await children.connect(await start('echo'))
  const heard = listen(channel)
  channel.send(Buffer.from('{"jsonrpc":"2.0","id":"0.1",\n"method":"echo",\r\n"params":{"a":\r[1,\n2]}}'))
  await until('the answer', () => heard.lines.length === 1)
  assert.deepEqual(JSON.parse(heard.lines[0]!), { jsonrpc: '2.0', id: '0.1', result: { echo: { a: [1, 2] } } })
})

test('a paused channel holds the output of its child, and resuming or closing it lets it go', async () => {
  const { children, start } = setUp()
  const id = await start('echo')
  const [one, two] = [await children.connect(id), await children.connect(id)]
  const heard = [listen(one), listen(two)]
  await ask(two, heard[1]!, 'echo')
  for (const letGo of [() => one.resume!(), () => one.close()]) {
    const before = heard[1]!.lines.length
    one.pause!()
    one.pause!()
    // More than a pipe and a read take, so that the child must block.
    for (let count = 0; count < 20; count += 1) two.send(request(`1.${count}`, 'echo', { text: 'x'.repeat(100_000) }))
    await new Promise((resolve) => setTimeout(resolve, 200))
    assert.ok(heard[1]!.lines.length < before + 20)
    letGo()
    await until('the rest', () => heard[1]!.lines.length === before + 20)
  }
})

test('an idle child is stopped and nobody is told to start it again; a used one stays', async () => {
  const { children, clock, start, exits } = setUp()
  const idle = listen(await children.connect(await start('echo', '', {}, 'a', 8, 60_000)))
  const used = await children.connect(await start('echo', '', {}, 'b', 8, 60_000))
  await start('echo', '', {}, 'c', 8, 0)
  const heard = listen(used)
  await ask(used, heard, 'echo')
  clock.forward(40_000)
  await ask(used, heard, 'echo')
  clock.forward(30_000)
  await until('the end of the idle one', () => children.list().length === 2)
  assert.equal(idle.closed, 'The process was idle for 70 s')
  assert.equal(heard.closed, null)
  assert.deepEqual(exits, [])
})

test('a replaced child serves those who talk to it, and those who were just sent to it, and then ends', async () => {
  const { children, start } = setUp({ childRetireMs: 200, childrenMax: 2 })
  const old = await start('echo')
  const channel = await children.connect(old)
  const heard = listen(channel)
  children.retire(old, 60_000)
  const fresh = await start('echo')
  assert.notEqual(fresh, old, 'its owner gets another one')
  assert.equal((await refused(start('echo', '', {}, 'alice'))).code, 'UPSTREAM_BUSY', 'it is a process still')
  const late = await children.connect(old)
  assert.deepEqual(await ask(channel, heard, 'echo', { a: 1 }), { echo: { a: 1 } })
  channel.close()
  const lateHeard = listen(late)
  await new Promise((resolve) => setTimeout(resolve, 300))
  assert.deepEqual(await ask(late, lateHeard, 'echo', { a: 2 }), { echo: { a: 2 } })
  late.close()
  await until('it has ended', () => children.list('up').length === 1)
  children.retire(fresh, 50)
  const last = await children.connect(fresh)
  const lastHeard = listen(last)
  await until('its time is over', () => lastHeard.closed !== null)
  assert.equal(lastHeard.closed, 'The process was replaced')
})

test('closing ends everything and refuses what comes later', async () => {
  const { children, start } = setUp({ childrenSpawning: 1, childStartMs: 60_000 })
  await start('stubborn', '', {}, 'a')
  const waiting = refused(start('echo', '', {}, 'b'))
  const pids = children.list().map((view) => view.pid!)
  await children.close()
  assert.equal((await waiting).code, 'SHUTTING_DOWN')
  assert.deepEqual(pids.map(isRunning), [false])
  assert.equal((await refused(start('echo', '', {}, 'c'))).code, 'SHUTTING_DOWN')
})
