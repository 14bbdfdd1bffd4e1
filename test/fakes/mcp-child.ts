// An MCP server on stdio in one of several characters: `node test/fakes/mcp-child.ts CHARACTER`.
// legacy: refuses what it does not know. touchy: ends at anything before initialize. silent: never answers what it does
// not know. modern: 2026-07-28 only. broken: refuses everything. crash: ends with its first call. asking: asks the client
// things at once. stunned: says nothing any more after anything before initialize. mute: never says anything. All have the tools `pid`, `seen` (methods that reached it) and `change` (says that its tools changed).

import { createInterface } from 'node:readline'

const [character = 'legacy'] = process.argv.slice(2)
const seen: string[] = []
let isReady = false
let isStunned = character === 'mute'

const say = (value: unknown): boolean => process.stdout.write(`${JSON.stringify(value)}\n`)
const text = (value: unknown) => ({ content: [{ type: 'text', text: JSON.stringify(value) }] })

interface Message {
  readonly id?: string
  readonly method?: string
  readonly params?: Record<string, unknown>
}

const INFO = { name: 'child', version: '1' }
const CAPABILITIES = { tools: { listChanged: true } }
const TOOLS = ['pid', 'seen', 'change'].map((name) => ({ name, inputSchema: { type: 'object' } }))

function answer(method: string, params: Record<string, unknown>): unknown {
  const isModern = character === 'modern'
  if (method === 'initialize' && !isModern) {
    isReady = true
    return { protocolVersion: params.protocolVersion, capabilities: CAPABILITIES, serverInfo: INFO }
  }
  if (method === 'server/discover' && isModern) {
    const _meta = { 'io.modelcontextprotocol/serverInfo': INFO }
    return { resultType: 'complete', supportedVersions: ['2026-07-28'], capabilities: CAPABILITIES, _meta }
  }
  if (!isReady && !isModern) return undefined
  if (method === 'tools/list') return { resultType: 'complete', tools: TOOLS }
  if (method !== 'tools/call') return undefined
  if (character === 'crash') process.exit(3)
  if (params.name === 'pid') return text(process.pid)
  if (params.name === 'seen') return text(seen)
  say({ jsonrpc: '2.0', method: 'notifications/tools/list_changed' })
  return text('changed')
}

createInterface({ input: process.stdin }).on('line', (line) => {
  const { id, method = 'answer', params = {} } = JSON.parse(line) as Message
  seen.push(method)
  if (character === 'stunned' && !isReady && method !== 'initialize') isStunned = true
  if (isStunned) return
  if (character === 'touchy' && !isReady && method !== 'initialize') process.exit(1)
  if (method === 'notifications/initialized' && character === 'asking') {
    say({ jsonrpc: '2.0', id: 'one', method: 'ping' })
    say({ jsonrpc: '2.0', id: 'two', method: 'roots/list' })
  }
  if (id === undefined || method === 'answer') return
  const result = character === 'broken' ? undefined : answer(method, params)
  if (result !== undefined) say({ jsonrpc: '2.0', id, result })
  else if (character !== 'silent') say({ jsonrpc: '2.0', id, error: { code: -32601, message: 'Method not found' } })
})
