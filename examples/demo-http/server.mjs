// @ts-check
// A demo upstream over streamable HTTP, for clients of both families: 2026-07-28, where each request carries everything,
// and 2025-11-25 and older, without sessions. `mcp-gateway up --demo` starts it on a free loopback port; alone:
//   node examples/demo-http/server.mjs 8090
// Plain node:http and no SDK, so that it starts in no time. Absent on purpose: streams, sessions, authentication.

// Not by import, which reads every export: three of them load the whole of node's own fetch.
const { createServer } = process.getBuiltinModule('node:http')

const MODERN = '2026-07-28'
const LEGACY = ['2025-11-25', '2025-06-18', '2025-03-26']
const BODY_BYTES = 1024 * 1024
const META = 'io.modelcontextprotocol/'
const serverInfo = { name: 'demo-http', title: 'Demo over HTTP', version: '1.0.0' }
const capabilities = { tools: {}, prompts: {}, resources: {} }
const instructions = 'Small tools to try the gateway with: add numbers, count words, tell the time.'

const text = (/** @type {string} */ value) => ({ content: [{ type: 'text', text: value }] })
const object = (/** @type {Record<string, object>} */ properties, /** @type {string[]} */ required) => ({
  type: 'object',
  properties,
  required,
})

/** @type {Record<string, { description: string, inputSchema: object, outputSchema?: object, run(args: any): object }>} */
const tools = {
  add: {
    description: 'Adds two numbers.',
    inputSchema: object({ a: { type: 'number' }, b: { type: 'number' } }, ['a', 'b']),
    outputSchema: object({ sum: { type: 'number' } }, ['sum']),
    run({ a, b }) {
      if (typeof a !== 'number' || typeof b !== 'number') throw new Error('a and b must be numbers')
      return { ...text(String(a + b)), structuredContent: { sum: a + b } }
    },
  },
  word_count: {
    description: 'Counts the words of a text.',
    inputSchema: object({ text: { type: 'string' } }, ['text']),
    run: (args) => text(String(String(args.text ?? '').match(/\S+/g)?.length ?? 0)),
  },
  now: {
    description: 'Tells the time, in a time zone such as Europe/Zurich or in UTC.',
    inputSchema: object({ timeZone: { type: 'string' } }, []),
    run: ({ timeZone = 'UTC' }) =>
      text(new Date().toLocaleString('en-GB', { timeZone, dateStyle: 'short', timeStyle: 'long' })),
  },
}

const about = 'This server is a demo. Take it away by starting the gateway without --demo.'
const page = (/** @type {string} */ uri, /** @type {string} */ body) => ({
  contents: [{ uri, mimeType: 'text/plain', text: body }],
})

class RpcError extends Error {
  constructor(/** @type {number} */ code, /** @type {string} */ message, /** @type {object | null} */ data = null) {
    super(message)
    this.code = code
    this.data = data
  }
}

/** Faults of the envelope answer 400 to a modern client, those of the method's own parameters 200. */
class MetaError extends RpcError {
  constructor(/** @type {string} */ message) {
    super(-32602, message)
  }
}

/** Method -> result, the same for both families. `ttlMs` marks what a modern client may cache. */
/** @type {Record<string, (params: any, modern: boolean) => object>} */
const methods = {
  'tools/list': () => ({
    tools: Object.entries(tools).map(([name, { run: _run, ...tool }]) => ({ name, ...tool })),
    ttlMs: 60_000,
  }),
  'tools/call'({ name, arguments: args = {} }) {
    const tool = Object.hasOwn(tools, name) ? tools[name] : undefined
    if (tool === undefined) throw new RpcError(-32602, `Unknown tool: ${name}`)
    try {
      return tool.run(args)
    } catch (error) {
      return { ...text(/** @type {Error} */ (error).message), isError: true }
    }
  },
  'prompts/list': () => ({
    prompts: [
      {
        name: 'summarize',
        description: 'Asks for a summary in one sentence.',
        arguments: [{ name: 'text', description: 'What to summarize.', required: true }],
      },
    ],
    ttlMs: 60_000,
  }),
  'prompts/get'({ name, arguments: args = {} }) {
    if (name !== 'summarize') throw new RpcError(-32602, `Unknown prompt: ${name}`)
    const content = { type: 'text', text: `Summarize this in one sentence:\n\n${args.text ?? ''}` }
    return { description: 'Asks for a summary in one sentence.', messages: [{ role: 'user', content }] }
  },
  'resources/list': () => ({
    resources: [{ uri: 'demo://about', name: 'about', description: 'What this is.', mimeType: 'text/plain' }],
    ttlMs: 60_000,
  }),
  'resources/templates/list': () => ({
    resourceTemplates: [
      { uriTemplate: 'demo://greetings/{name}', name: 'greeting', description: 'A greeting.', mimeType: 'text/plain' },
    ],
    ttlMs: 60_000,
  }),
  'resources/read'({ uri }, modern) {
    if (uri === 'demo://about') return { ...page(uri, about), ttlMs: 60_000 }
    const name = /^demo:\/\/greetings\/([^/]+)$/.exec(uri)?.[1]
    if (name === undefined) throw new RpcError(modern ? -32602 : -32002, `Unknown resource: ${uri}`, { uri })
    return { ...page(uri, `Hello, ${decodeURIComponent(name)}!`), ttlMs: 60_000 }
  },
}

/** A modern answer says its type, who answers, and how long lists and pages may be kept. */
function modernResult(/** @type {any} */ message, /** @type {import('node:http').IncomingHttpHeaders} */ headers) {
  const { method, params } = message
  for (const key of ['protocolVersion', 'clientCapabilities']) {
    if (params?._meta?.[META + key] === undefined) throw new MetaError(`params._meta lacks ${META}${key}`)
  }
  const version = params._meta[`${META}protocolVersion`]
  const name = params.name ?? params.uri
  const named = ['tools/call', 'prompts/get', 'resources/read'].includes(method)
  if (headers['mcp-protocol-version'] !== version || headers['mcp-method'] !== method) {
    throw new RpcError(-32020, 'MCP-Protocol-Version or Mcp-Method contradicts the body')
  }
  if (named && plain(headers['mcp-name']) !== name) throw new RpcError(-32020, 'Mcp-Name contradicts the body')
  if (version !== MODERN) {
    const data = { supported: [MODERN, ...LEGACY], requested: version }
    throw new RpcError(-32022, `Unsupported protocol version: ${version}`, data)
  }
  const result =
    method === 'server/discover'
      ? { supportedVersions: [MODERN, ...LEGACY], capabilities, instructions, ttlMs: 60_000 }
      : dispatch(method, params, true)
  const scope = 'ttlMs' in result ? { cacheScope: 'public' } : {}
  return { resultType: 'complete', ...result, ...scope, _meta: { [`${META}serverInfo`]: serverInfo } }
}

function legacyResult(/** @type {any} */ { method, params = {} }) {
  if (method === 'ping') return {}
  if (method === 'initialize') {
    const protocolVersion = LEGACY.includes(params.protocolVersion) ? params.protocolVersion : LEGACY[0]
    return { protocolVersion, capabilities, serverInfo, instructions }
  }
  const { ttlMs: _ttlMs, ...result } = /** @type {any} */ (dispatch(method, params, false))
  return result
}

function dispatch(/** @type {string} */ method, /** @type {any} */ params, /** @type {boolean} */ modern) {
  const run = Object.hasOwn(methods, method) ? methods[method] : undefined
  if (run === undefined) throw new RpcError(-32601, `Unknown method: ${method}`)
  return run(params, modern)
}

/** Header values outside plain ASCII come as `=?base64?…?=`. */
function plain(/** @type {string | string[] | undefined} */ value) {
  const match = /^=\?base64\?(.*)\?=$/.exec(String(value))
  return match === null ? value : Buffer.from(match[1] ?? '', 'base64').toString('utf8')
}

/** @returns {[status: number, answer: object | null]} */
function answer(/** @type {string} */ body, /** @type {import('node:http').IncomingHttpHeaders} */ headers) {
  /** @type {any} */
  let message
  try {
    message = JSON.parse(body)
  } catch {
    return [400, { jsonrpc: '2.0', id: null, error: { code: -32700, message: 'Not JSON' } }]
  }
  if (message?.jsonrpc !== '2.0' || typeof message.method !== 'string') {
    return [400, { jsonrpc: '2.0', id: null, error: { code: -32600, message: 'Not a JSON-RPC message' } }]
  }
  if (message.id === undefined) return [202, null]
  const modern =
    message.params?._meta?.[`${META}protocolVersion`] !== undefined || headers['mcp-protocol-version'] === MODERN
  try {
    const result = modern ? modernResult(message, headers) : legacyResult(message)
    return [200, { jsonrpc: '2.0', id: message.id, result }]
  } catch (error) {
    const { code = -32603, message: why, data } = /** @type {RpcError} */ (error)
    const refused = error instanceof MetaError || code === -32020 || code === -32022
    const status = !modern ? 200 : code === -32601 ? 404 : refused ? 400 : 200
    return [status, { jsonrpc: '2.0', id: message.id, error: { code, message: why, ...(data && { data }) } }]
  }
}

/**
 * Starts the server on the loopback address.
 * @returns {Promise<{ url: string, close(): Promise<void> }>}
 */
export async function startDemoHttp(port = 0) {
  const server = createServer((request, response) => {
    const reply = (/** @type {number} */ status, /** @type {object | null} */ value) => {
      response.writeHead(status, value === null ? {} : { 'content-type': 'application/json' })
      response.end(value === null ? undefined : JSON.stringify(value))
    }
    // A web page must not reach a local server through the browser (DNS rebinding).
    const origin = request.headers.origin
    if (origin !== undefined && !/^https?:\/\/(127\.0\.0\.1|localhost)(:\d+)?$/.test(origin)) return reply(403, null)
    if (request.url !== '/mcp') return reply(404, null)
    if (request.method !== 'POST') return response.writeHead(405, { allow: 'POST' }).end()
    /** @type {Buffer[]} */
    const parts = []
    let bytes = 0
    request.on('data', (part) => {
      bytes += part.length
      if (bytes > BODY_BYTES) request.destroy()
      else parts.push(part)
    })
    request.on('end', () => reply(...answer(Buffer.concat(parts).toString('utf8'), request.headers)))
  })
  await new Promise((resolve, reject) => {
    server.once('error', reject)
    server.listen(port, '127.0.0.1', () => resolve(undefined))
  })
  const { port: taken } = /** @type {import('node:net').AddressInfo} */ (server.address())
  return {
    url: `http://127.0.0.1:${taken}/mcp`,
    async close() {
      server.closeAllConnections()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}

if (import.meta.main) console.log((await startDemoHttp(Number(process.argv[2] ?? 0))).url)
