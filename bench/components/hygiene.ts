// Small things that are done for every call: hooks that are not there, log lines that nobody wants, texts compiled once.

import { callTool } from '../../src/call/handle.ts'
import { runAfter, runBefore } from '../../src/call/run-hooks.ts'
import { matchesParts } from '../../src/core/names.ts'
import { templateParts } from '../../src/registry/encode.ts'
import { createLog } from '../../src/telemetry/log.ts'
import { makeCall, makeGateway } from '../../test/fakes/call.ts'
import { registryRows, tool, upstreamRow } from '../../test/fakes/registry.ts'
import { compare, type Pace, type Pair } from '../rig/micro.ts'
import type { Component } from './component.ts'

const OK = { result: Buffer.from('{"content":[]}') }

async function hooks(pace: Pace): Promise<Pair[]> {
  const upstream = upstreamRow('u', { validate: 'off' })
  const gateway = await makeGateway(registryRows([{ upstream, definitions: [tool('t')] }]), () => OK)
  const call = makeCall('tools/call', { name: 'u-t', arguments: { a: 1 } })
  const target = gateway.registry.current().scopes.get('')!.tools[0]!
  const out = {
    upstream: target.upstream,
    method: 'tools/call',
    params: call.params.bytes,
    name: 't',
    paramHeaders: [],
    callMs: 1,
  }
  return [
    await compare(
      { name: 'a whole call to an upstream that answers at once, no hooks', run: () => callTool(call, gateway) },
      {
        name: 'the same with both empty hook points run',
        run: async () => {
          await runBefore([], call, target, out)
          return runAfter([], call, target, await callTool(call, gateway))
        },
      },
      pace,
    ),
  ]
}

async function patterns(pace: Pace): Promise<Pair[]> {
  const text = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01'
  const source = '^[\\da-f]{2}-[\\da-f]{32}-[\\da-f]{16}-[\\da-f]{2}$'
  const compiled = new RegExp(source)
  return [
    await compare(
      { name: 'compiled with the module', run: () => compiled.test(text) },
      { name: 'compiled per call', run: () => new RegExp(source).test(text) },
      pace,
    ),
  ]
}

async function logging(pace: Pace): Promise<Pair[]> {
  const log = createLog({ level: 'info', format: 'json', write: () => {}, now: () => 1_700_000_000_000 })
  const fields = { requestId: 'r', upstream: 'u', tool: 't', ms: 3 }
  return [
    await compare(
      { name: 'below the level: nothing is formatted', run: () => log.debug('call', fields) },
      { name: 'formatted and thrown away', run: () => log.info('call', fields) },
      pace,
    ),
  ]
}

async function templates(pace: Pace): Promise<Pair[]> {
  const template = 'repo://{owner}/{name}/contents/{path}'
  const uri = 'repo://someone/something/contents/src/main.ts'
  const parts = templateParts(template)
  return [
    await compare(
      { name: 'URI template cut when the registry changes', run: () => matchesParts(uri, parts) },
      { name: 'cut per call', run: () => matchesParts(uri, templateParts(template)) },
      pace,
    ),
  ]
}

async function configuration(pace: Pace): Promise<Pair[]> {
  const { parse } = await import('yaml')
  const text = 'version: 1\nserver:\n  port: 4444\n  workers: 1\nlimits:\n  callMs: 60s\n  maxInFlight: 1024\n'
  const settings = Object.freeze({ limits: { callMs: 60_000 } })
  return [
    await compare(
      { name: 'a property of a frozen object', run: () => settings.limits.callMs },
      { name: 'parsed per request', run: () => (parse(text) as { limits: { callMs: string } }).limits.callMs },
      pace,
    ),
  ]
}

export const HYGIENE: readonly Component[] = [
  {
    layer: 'Caches',
    name: 'global configuration cache, 60 s',
    claim: '1 ms → 0.00001 ms, 42,000+ queries gone',
    ours: 'settings are read once at the start: src/config',
    measure: configuration,
  },
  {
    layer: 'Hygiene',
    name: 'cheap test whether a hook has plugins',
    claim: 'nothing for an empty hook',
    ours: 'the length of an array: src/call/handle.ts, src/call/run-hooks.ts',
    measure: hooks,
  },
  {
    layer: 'Hygiene',
    name: 'precompiled regular expressions',
    claim: 'no compilation per request',
    ours: 'patterns are constants of their modules; such as traceparent in src/mcp/classify.ts',
    measure: patterns,
  },
  {
    layer: 'Hygiene',
    name: 'lazy logging',
    claim: 'no text for what is not logged',
    ours: 'a level is tested before anything is formatted: src/telemetry/log.ts',
    measure: logging,
  },
  {
    layer: 'Hygiene',
    name: 'cached templates, cached JSONPath parsing',
    claim: 'parsed once',
    ours: 'URI templates are cut when the registry changes: src/registry/encode.ts',
    measure: templates,
  },
]
