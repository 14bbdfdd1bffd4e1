// The HTTP client side, against the bench's upstream in a process of its own: only this process's CPU counts.

import { Agent, Pool, request } from 'undici'
import { LIMITS } from '../../src/core/limits.ts'
import { createLink } from '../../src/http/undici-link.ts'
import { startUpstream } from '../rig/candidates.ts'
import { compare, type Pace, type Pair } from '../rig/micro.ts'
import { callText, FILLERS, toolName } from '../rig/talk.ts'
import type { Component } from './component.ts'

const HEADERS = {
  'content-type': 'application/json',
  accept: 'application/json, text/event-stream',
  'mcp-protocol-version': '2026-07-28',
  'mcp-method': 'tools/call',
  'mcp-name': toolName(0),
}
const FLAT = Object.entries(HEADERS).flat()

async function client(pace: Pace): Promise<Pair[]> {
  const upstream = await startUpstream({ form: 'stateless' })
  const origin = `http://127.0.0.1:${upstream.ready.port}`
  const body = Buffer.from(callText('stateless', 1, toolName(0), 'm'.repeat(16), FILLERS[0]!, null))
  const link = createLink(new URL(origin), {
    connectionsMax: 8,
    connectMs: LIMITS.connectMs,
    headerBytes: LIMITS.upstreamHeaderBytes,
    ca: null,
    caPinned: false,
    guard: () => true,
  })
  const pool = new Pool(origin, { connections: 8 })
  const closing = new Agent({ keepAliveTimeout: 1, keepAliveMaxTimeout: 1, pipelining: 0 })
  const ours = {
    name: 'kept connections, Pool.dispatch',
    run: () =>
      new Promise<number>((resolve, reject) => {
        let bytes = 0
        link.request(
          { method: 'POST', path: '/mcp', headers: FLAT, body, headMs: 5_000 },
          {
            onHead: () => {},
            onData: (chunk) => {
              bytes += chunk.length
            },
            onEnd: () => resolve(bytes),
            onError: reject,
          },
        )
      }),
  }
  try {
    return [
      await compare(
        ours,
        {
          name: 'global fetch',
          run: async () => (await fetch(`${origin}/mcp`, { method: 'POST', headers: HEADERS, body })).arrayBuffer(),
        },
        pace,
      ),
      await compare(
        ours,
        {
          name: 'undici.request',
          run: async () => {
            const answer = await request(`${origin}/mcp`, { dispatcher: pool, method: 'POST', headers: HEADERS, body })
            return answer.body.arrayBuffer()
          },
        },
        pace,
      ),
      await compare(
        ours,
        {
          name: 'a connection per call',
          run: async () => {
            const options = { dispatcher: closing, method: 'POST', headers: HEADERS, body, reset: true } as const
            return (await request(`${origin}/mcp`, options)).body.arrayBuffer()
          },
        },
        pace,
      ),
    ]
  } finally {
    await link.close(100)
    await pool.close()
    await closing.close()
    await upstream.stop()
  }
}

export const HTTP: readonly Component[] = [
  {
    layer: 'Gateway pods',
    name: 'native HTTP server (Granian), HTTP parser and loop',
    claim: '+20–50 % throughput; parser and loop 15–30 %',
    ours: 'llhttp and libuv inside Node, undici Pool.dispatch to upstreams: src/http/undici-link.ts',
    measure: client,
  },
]
