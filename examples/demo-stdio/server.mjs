// @ts-check
// A demo upstream over stdio, of the family up to 2025-11-25. It keeps notes in memory, so each of its processes has
// its own: two callers of the gateway never see each other's. `mcp-gateway up --demo` starts it; alone:
//   node examples/demo-stdio/server.mjs
// No SDK, so that it starts in no time. Absent on purpose: files, and any memory past the end of the process.

import { createInterface } from 'node:readline'

const REVISIONS = ['2025-11-25', '2025-06-18', '2025-03-26', '2024-11-05']
const NOTES_MAX = 1_000
/** @type {string[]} */
const notes = []

const text = (/** @type {string} */ value) => ({ content: [{ type: 'text', text: value }] })
const object = (/** @type {Record<string, object>} */ properties, /** @type {string[]} */ required) => ({
  type: 'object',
  properties,
  required,
})

/** @type {Record<string, { description: string, inputSchema: object, run(args: any): object }>} */
const tools = {
  remember: {
    description: 'Keeps a note until the session ends.',
    inputSchema: object({ text: { type: 'string', minLength: 1, maxLength: 10_000 } }, ['text']),
    run(args) {
      if (typeof args.text !== 'string' || args.text === '') return { ...text('text must not be empty'), isError: true }
      if (notes.length >= NOTES_MAX) return { ...text(`${NOTES_MAX} notes are enough`), isError: true }
      notes.push(args.text)
      return text(`Note ${notes.length} is kept.`)
    },
  },
  recall: {
    description: 'Lists the notes, or those that hold a word.',
    inputSchema: object({ word: { type: 'string' } }, []),
    run({ word = '' }) {
      const found = notes.filter((note) => note.toLowerCase().includes(String(word).toLowerCase()))
      return text(found.length === 0 ? 'No notes.' : found.join('\n'))
    },
  },
  echo: {
    description: 'Says the same again.',
    inputSchema: object({ text: { type: 'string' } }, ['text']),
    run: (args) => text(String(args.text)),
  },
}

class RpcError extends Error {
  constructor(/** @type {number} */ code, /** @type {string} */ message) {
    super(message)
    this.code = code
  }
}

/** @type {Record<string, (params: any) => object>} */
const methods = {
  initialize: ({ protocolVersion }) => ({
    protocolVersion: REVISIONS.includes(protocolVersion) ? protocolVersion : REVISIONS[0],
    capabilities: { tools: {}, prompts: {} },
    serverInfo: { name: 'demo-stdio', title: 'Notes over stdio', version: '1.0.0' },
    instructions: 'Keeps short notes during a session.',
  }),
  ping: () => ({}),
  'tools/list': () => ({ tools: Object.entries(tools).map(([name, { run: _run, ...tool }]) => ({ name, ...tool })) }),
  'tools/call'({ name, arguments: args = {} }) {
    const tool = Object.hasOwn(tools, name) ? tools[name] : undefined
    if (tool === undefined) throw new RpcError(-32602, `Unknown tool: ${name}`)
    return tool.run(args)
  },
  'prompts/list': () => ({ prompts: [{ name: 'review', description: 'Asks to put the notes in order.' }] }),
  'prompts/get'({ name }) {
    if (name !== 'review') throw new RpcError(-32602, `Unknown prompt: ${name}`)
    const content = { type: 'text', text: `Put these notes in order, the most urgent first:\n${notes.join('\n')}` }
    return { messages: [{ role: 'user', content }] }
  },
}

function write(/** @type {object} */ message) {
  process.stdout.write(`${JSON.stringify({ jsonrpc: '2.0', ...message })}\n`)
}

createInterface({ input: process.stdin }).on('line', (line) => {
  /** @type {any} */
  let message
  try {
    message = JSON.parse(line)
  } catch {
    return write({ id: null, error: { code: -32700, message: 'Not JSON' } })
  }
  const { id, method, params = {} } = message ?? {}
  if (typeof method !== 'string' || id === undefined) return
  try {
    const run = Object.hasOwn(methods, method) ? methods[method] : undefined
    if (run === undefined) throw new RpcError(-32601, `Unknown method: ${method}`)
    write({ id, result: run(params) })
  } catch (error) {
    const { code = -32603, message: why } = /** @type {RpcError} */ (error)
    write({ id, error: { code, message: why } })
  }
})
