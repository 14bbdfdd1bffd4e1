// What the gateway says of itself: where everything is, versions and figures. Absent on purpose: /health and /ready,
// which every worker answers at its edge.

import { LEGACY_REVISIONS, MODERN_REVISIONS } from '../core/model.ts'
import { rfc3339 } from '../core/time.ts'
import type { RestContext, Route } from './route.ts'
import { INDEX, RELOADED, STATUS, VERSION_ANSWER } from './schemas.ts'

export const statusRoutes: readonly Route[] = [
  {
    method: 'GET',
    path: '/',
    permission: 'token',
    summary: 'What is here',
    answers: { 200: INDEX },
    handle: (_, { version, config: { publicUrl } }) => ({
      status: 200,
      body: {
        name: 'mcp-gateway',
        version,
        endpoints: {
          mcp: `${publicUrl}/mcp`,
          virtualServer: `${publicUrl}/servers/{slug}/mcp`,
          rpc: `${publicUrl}/rpc`,
          api: `${publicUrl}/v1`,
          openapi: `${publicUrl}/openapi.json`,
          health: `${publicUrl}/health`,
          ready: `${publicUrl}/ready`,
        },
      },
    }),
  },
  {
    method: 'GET',
    path: '/version',
    permission: 'token',
    summary: 'Versions of the gateway, its runtime and the protocol',
    answers: { 200: VERSION_ANSWER },
    handle: (_, { version }) => ({
      status: 200,
      body: {
        name: 'mcp-gateway',
        version,
        node: process.versions.node,
        protocolVersions: [...MODERN_REVISIONS, ...LEGACY_REVISIONS],
      },
    }),
  },
  {
    method: 'GET',
    path: '/v1/status',
    permission: 'admin',
    summary: 'Figures of the whole gateway',
    answers: { 200: STATUS },
    handle: async (_, context) => ({ status: 200, body: await statusOf(context) }),
  },
  {
    method: 'POST',
    path: '/v1/reload',
    permission: 'operator',
    summary: 'Read the configuration files again and apply them whole, or refuse them whole',
    answers: { 200: RELOADED },
    handle: async (_, { configuration }) => ({ status: 200, body: await configuration.reload() }),
  },
]

async function statusOf(context: RestContext): Promise<object> {
  const nowMs = context.clock.now()
  const rows = await context.store.upstreams()
  const upstreams = { total: rows.length, ready: 0, connecting: 0, down: 0, disabled: 0 }
  for (const row of rows) {
    const state = row.spec.enabled === false ? 'disabled' : context.discoverer.state(row.id).state
    upstreams[state] += 1
  }
  const snapshot = context.snapshot()
  const everything = snapshot?.scopes.get('')
  return {
    version: context.version,
    ready: context.ready(),
    startedAt: rfc3339(context.startedMs),
    uptimeSeconds: Math.max(0, Math.floor((nowMs - context.startedMs) / 1_000)),
    workers: context.workers(),
    definitionVersion: snapshot?.definitionVersion ?? 0,
    upstreams,
    configuration: configurationOf(context),
    counts: {
      tools: everything?.tools.length ?? 0,
      prompts: everything?.prompts.length ?? 0,
      resources: everything?.resources.length ?? 0,
      templates: everything?.templates.length ?? 0,
      servers: (await context.store.virtualServers()).length,
    },
  }
}

function configurationOf({ configuration }: RestContext): object {
  const { files, appliedMs, refused, nextStart } = configuration.view()
  return {
    files,
    appliedAt: rfc3339(appliedMs),
    refusedAt: refused === null ? null : rfc3339(refused.atMs),
    faults: refused?.faults ?? [],
    nextStart,
  }
}
