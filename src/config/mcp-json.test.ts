// biome-ignore-all lint/suspicious/noTemplateCurlyInString: these are the placeholders of clients.
// Files of clients as their own documentation shows them, and what goes wrong in them.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { DocumentFault } from './located.ts'
import { type ImportedUpstream, readMcpJson } from './mcp-json.ts'

interface Outcome {
  readonly upstreams: ImportedUpstream[]
  readonly faults: string[]
  readonly notes: string[]
}

const FILES: Record<string, string> = {
  '/home/me/project/.env': 'API_KEY=from file\n# comment\nMODE="fast one"\n',
  '/run/token': 'tok\n',
}
const ENV = { TOKEN: 'secret', HOST: 'example.com', EMPTY: '' }

function read(text: string | object, folder = '/home/me/project'): Outcome {
  const faults: string[] = []
  const notes: string[] = []
  const upstreams = readMcpJson(typeof text === 'string' ? text : JSON.stringify(text), {
    folder,
    home: '/home/me',
    sources: {
      env: ENV,
      readFile(path) {
        if (FILES[path] === undefined) throw new Error(`no such file: ${path}`)
        return FILES[path]
      },
    },
    fault: (line, message) => faults.push(`${line}: ${message}`),
    note: (line, message) => notes.push(`${line}: ${message}`),
  })
  return { upstreams, faults, notes }
}

/** The transport of the only server. */
function transportOf(server: object): unknown {
  const { upstreams, faults } = read({ mcpServers: { a: server } })
  assert.deepEqual(faults, [])
  return upstreams[0]!.spec.transport
}

test('Claude Desktop', () => {
  const { upstreams, faults, notes } = read(`{
  "globalShortcut": "",
  "mcpServers": {
    "filesystem": {
      "command": "npx",
      "args": ["-y", "@modelcontextprotocol/server-filesystem", "/Users/me/Desktop"]
    },
    "Brave Search": {
      "command": "npx",
      "args": ["-y", "brave"],
      "env": { "BRAVE_API_KEY": "literal", "DEBUG": true, "PORT": 8080, "GONE": null }
    }
  }
}`)
  assert.deepEqual([faults, notes], [[], []])
  assert.deepEqual(upstreams, [
    {
      slug: 'filesystem',
      line: 4,
      spec: {
        transport: {
          kind: 'stdio',
          command: 'npx',
          args: ['-y', '@modelcontextprotocol/server-filesystem', '/Users/me/Desktop'],
        },
        privileged: true,
      },
    },
    {
      slug: 'brave-search',
      line: 8,
      spec: {
        title: 'Brave Search',
        transport: {
          kind: 'stdio',
          command: 'npx',
          args: ['-y', 'brave'],
          env: { BRAVE_API_KEY: 'literal', DEBUG: 'true', PORT: '8080' },
        },
        privileged: true,
      },
    },
  ])
})

test('Claude Code: type http, variables and their defaults', () => {
  assert.deepEqual(
    transportOf({
      type: 'http',
      url: '${API_BASE:-https://api.example.com}/mcp',
      headers: { Authorization: 'Bearer ${TOKEN}', 'X-Both': '${TOKEN}-${MISSING:-none}' },
    }),
    {
      kind: 'http',
      urls: ['https://api.example.com/mcp'],
      headers: { Authorization: { env: 'TOKEN', prefix: 'Bearer ' }, 'X-Both': 'secret-none' },
    },
  )
})

test('Cursor: a URL without type, ${env:NAME}, folders', () => {
  assert.deepEqual(transportOf({ url: 'https://${env:HOST}/mcp', headers: { Authorization: '${env:TOKEN}' } }), {
    kind: 'http',
    urls: ['https://example.com/mcp'],
    headers: { Authorization: { env: 'TOKEN' } },
  })
  const folders = ['${userHome}', '${workspaceFolder}', '${workspaceFolderBasename}', '${/}', '${pathSeparator}']
  const stdio = { command: '${userHome}/bin/run', args: folders, cwd: 'sub' }
  const { upstreams } = read({ mcpServers: { a: stdio } }, '/home/me/project/.cursor')
  assert.deepEqual(upstreams[0]!.spec.transport, {
    kind: 'stdio',
    command: '/home/me/bin/run',
    args: ['/home/me', '/home/me/project', 'project', '/', '/'],
    cwd: '/home/me/project/.cursor/sub',
  })
})

test('VS Code: servers, inputs, envFile', () => {
  const { upstreams, faults } = read(
    `{
  // asked once by the editor
  "inputs": [{ "type": "promptString", "id": "perplexity-key", "description": "Perplexity API Key", "password": true }],
  "servers": {
    "good": { "type": "stdio", "command": "npx", "envFile": "\${workspaceFolder}/.env", "env": { "MODE": "\${env:HOST}" } },
    "asks": {
      "type": "stdio",
      "command": "npx",
      "env": { "KEY": "\${input:perplexity-key}" },
    },
    "editor": { "type": "http", "url": "\${command:pick.url}" },
  },
}`,
    '/home/me/project/.vscode',
  )
  assert.deepEqual(
    upstreams.map(({ slug, spec }) => [slug, spec.transport]),
    [['good', { kind: 'stdio', command: 'npx', env: { API_KEY: 'from file', MODE: { env: 'HOST' } } }]],
  )
  assert.deepEqual(faults, [
    '9: asks: ${input:perplexity-key} (Perplexity API Key) is asked by the editor, and a gateway cannot ask: ' +
      'write ${env:PERPLEXITY_KEY} and set PERPLEXITY_KEY',
    '11: editor: ${command:pick.url} is known to the editor alone: write its value, or ${env:NAME}',
    '11: editor: the URL cannot be read',
  ])
})

test('Windsurf: serverUrl, ${file:…}, disabledTools', () => {
  const { upstreams, faults } = read({
    mcpServers: {
      remote: {
        serverUrl: 'https://a.example/mcp',
        headers: { 'X-Key': '${file:/run/token}' },
        disabledTools: ['drop', 'wipe'],
      },
    },
  })
  assert.deepEqual(faults, [])
  assert.deepEqual(upstreams[0]!.spec, {
    transport: { kind: 'http', urls: ['https://a.example/mcp'], headers: { 'X-Key': 'tok' } },
    tools: { drop: { hide: true }, wipe: { hide: true } },
    privileged: true,
  })
})

test('Gemini CLI: httpUrl; settings of an editor: mcp.servers', () => {
  assert.deepEqual(transportOf({ httpUrl: 'https://a.example/mcp' }), { kind: 'http', urls: ['https://a.example/mcp'] })
  const { upstreams } = read({ 'editor.tabSize': 2, mcp: { servers: { a: { command: 'x' } } } })
  assert.equal(upstreams[0]!.slug, 'a')
})

for (const [type, kind] of [
  ['stdio', 'stdio'],
  ['local', 'stdio'],
  ['http', 'http'],
  ['HTTP', 'http'],
  ['streamable-http', 'http'],
  ['streamableHttp', 'http'],
  ['streamable_http', 'http'],
  ['remote', 'http'],
] as const) {
  test(`type "${type}" is ${kind}`, () => {
    const server = { type, command: 'run', url: 'http://x/' }
    assert.equal((transportOf(server) as { kind: string }).kind, kind)
  })
}

test('type sse is a transport of its own', () => {
  const { upstreams, faults, notes } = read({ mcpServers: { a: { type: 'sse', url: 'https://a.example/sse' } } })
  assert.deepEqual([faults, notes], [[], []])
  assert.deepEqual(upstreams[0]!.spec, {
    transport: { kind: 'sse', urls: ['https://a.example/sse'] },
    privileged: true,
  })
})

for (const [name, server, enabled] of [
  ['disabled: true', { command: 'x', disabled: true }, false],
  ['disabled: false', { command: 'x', disabled: false }, undefined],
  ['enabled: false', { command: 'x', enabled: false }, false],
] as const) {
  test(`${name} is enabled: ${enabled}`, () => {
    assert.equal(read({ mcpServers: { a: server } }).upstreams[0]!.spec.enabled, enabled)
  })
}

test('keys of one client alone and headers of ours are notes', () => {
  const { upstreams, faults, notes } = read({
    mcpServers: {
      a: { url: 'http://x/', alwaysAllow: [], timeout: 5, headers: { Accept: 'application/json', 'X-A': 'b' } },
    },
  })
  assert.deepEqual(faults, [])
  assert.deepEqual(upstreams[0]!.spec.transport, { kind: 'http', urls: ['http://x/'], headers: { 'X-A': 'b' } })
  assert.deepEqual(notes, [
    '1: a: the header Accept is set by the gateway itself',
    '1: a: has no meaning here: alwaysAllow, timeout',
  ])
})

test('what is no placeholder of a client stays as it is', () => {
  const args = ['$TOKEN', '${arr[@]}', '${x%%.*}', '${', '$${TOKEN}', '${}']
  assert.deepEqual(transportOf({ command: 'sh', args }), {
    kind: 'stdio',
    command: 'sh',
    args: ['$TOKEN', '${arr[@]}', '${x%%.*}', '${', '$secret', '${}'],
  })
})

const FAULTS: [name: string, text: string | object, faults: string[]][] = [
  ['no map of servers', { servers: [] }, ['1: there is no map "mcpServers" or "servers" in this file']],
  ['a list', [], ['1: there is no map "mcpServers" or "servers" in this file']],
  ['a server that is no map', { mcpServers: { a: 'x' } }, ['1: a: must be a map']],
  ['neither command nor URL', { mcpServers: { a: {} } }, ['1: a: needs "command" or "url"']],
  ['stdio without command', { mcpServers: { a: { type: 'stdio' } } }, ['1: a: needs "command"']],
  ['an empty command', { mcpServers: { a: { command: '' } } }, ['1: a: needs "command"']],
  [
    'an unknown type',
    { mcpServers: { a: { type: 'ws', url: 'x' } } },
    ['1: a: the type "ws" is not known: stdio, http or sse'],
  ],
  [
    'a type of Object.prototype',
    { mcpServers: { a: { type: 'constructor', url: 'x' } } },
    ['1: a: the type "constructor" is not known: stdio, http or sse'],
  ],
  [
    'wrong types, all of them',
    { mcpServers: { a: { command: 'x', args: 'y', env: [], cwd: {} } } },
    ['1: a: "args" must be a list of texts', '1: a: "env" must be a map', '1: a: "cwd" must be a text'],
  ],
  [
    'a variable that is not set',
    '{"mcpServers": {"a": {\n"url": "http://${NONE}/",\n"headers": {"x": "Bearer ${env:EMPTY}"}}}}',
    [
      '2: a: the environment variable NONE is not set',
      '3: a: the environment variable EMPTY is not set',
      '2: a: the URL cannot be read',
    ],
  ],
  [
    'a variable of Object.prototype',
    { mcpServers: { a: { command: '${constructor}' } } },
    ['1: a: the environment variable constructor is not set', '1: a: needs "command"'],
  ],
  [
    'a file that is not there',
    { mcpServers: { a: { command: 'x', envFile: 'none.env' } } },
    ['1: a: cannot be read: no such file: /home/me/project/none.env'],
  ],
  ['a NUL character', { mcpServers: { a: { command: 'x\0y' } } }, ['1: a: must not hold a NUL character']],
  [
    'names that become the same',
    '{"mcpServers": {\n"My Server": {"command": "x"},\n"my_server": {"command": "y"}}}',
    ['3: "my_server" and "My Server" would both be called "my-server" here: rename one of them'],
  ],
  [
    'a header with characters that none can carry',
    { mcpServers: { a: { url: 'http://x/', headers: { A: 'a\nb' } } } },
    ['1: a: A has characters that no header can carry'],
  ],
  [
    'a URL with credentials',
    { mcpServers: { a: { url: 'http://u:p@x/' } } },
    ['1: a: the URL must not carry credentials: use headers'],
  ],
]

for (const [name, text, faults] of FAULTS) {
  test(`names ${name}`, () => assert.deepEqual(read(text).faults, faults))
}

test('a text that is no JSON is a DocumentFault', () => {
  assert.throws(() => read('{"mcpServers": {'), DocumentFault)
})

test('a hundred thousand servers are refused by their number', () => {
  const text = `{"mcpServers":{${Array.from({ length: 20_000 }, (_, at) => `"a${at}":{}`).join(',')}}}`
  assert.deepEqual(read(text).faults, ['1: must have at most 1000 servers, it has 20000'])
})
