import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { CA_PEM } from '../../test/fakes/certificates.ts'
import type { GatewayError } from '../core/errors.ts'
import { LIMITS } from '../core/limits.ts'
import { type ConfigSources, type LoadedConfig, loadConfig, readConfigFile, refuseFaults } from './load.ts'

const root = mkdtempSync(join(tmpdir(), 'mcp-gateway-config-'))
after(() => rmSync(root, { recursive: true, force: true }))
writeFileSync(join(root, 'secret'), `${'s'.repeat(40)}\n`)
const TOKEN = `mgw_0123456789ab_${'x'.repeat(43)}`
writeFileSync(join(root, 'token'), `${TOKEN}\n`)
const PEM = join(root, 'ca.pem')
writeFileSync(PEM, CA_PEM)

interface Given extends Partial<Omit<ConfigSources, 'file' | 'mcpJson'>> {
  readonly yaml?: string
  readonly mcpJson?: string
}

function load({ yaml, mcpJson, ...given }: Given): Promise<LoadedConfig> {
  return loadConfig({
    flags: {},
    env: { HOME: '/home/me' },
    workingDirectory: '/work-dir',
    ...(yaml === undefined ? {} : { file: { path: join(root, 'gateway.yaml'), text: yaml } }),
    ...(mcpJson === undefined ? {} : { mcpJson: { path: join(root, 'mcp.json'), text: mcpJson } }),
    ...given,
  })
}

/** Faults without the folder. */
async function faultsOf(given: Given): Promise<string[]> {
  const { faults } = await load(given)
  return faults.map(({ at, message }) => `${at}: ${message}`.replaceAll(`${root}/`, ''))
}

test('without anything, the defaults', async () => {
  const { config, rows, faults, notes } = await load({})
  assert.deepEqual([faults, notes], [[], []])
  assert.deepEqual(rows, { origin: 'file', upstreams: [], virtualServers: [], tokens: [] })
  assert.deepEqual(config.limits, LIMITS)
  assert.equal(config.server.port, 4444)
  assert.equal(config.server.tls, null)
  assert.equal(config.access.jwt, null)
  assert.equal(config.store.data, '/home/me/.local/share/mcp-gateway')
  assert.equal(config.telemetry.logFormat, 'json')
  assert.deepEqual(structuredClone(config), config)
})

test('a flag comes before a variable, that before its alias, then the file, then the default', async () => {
  const yaml = 'version: 1\nserver: {port: 1}'
  const env = { MCP_GATEWAY_SERVER_PORT: '3', PORT: '2' }
  const port = async (given: Given) => (await load(given)).config.server.port
  assert.equal(await port({ yaml, env, flags: { port: '4' } }), 4)
  assert.equal(await port({ yaml, env }), 3)
  assert.equal(await port({ yaml, env: { ...env, MCP_GATEWAY_SERVER_PORT: '' } }), 2)
  assert.equal(await port({ yaml }), 1)
  assert.equal(await port({ flags: { port: undefined } }), 4444)
})

test('flags and variables mean what the file means', async () => {
  const { config, faults } = await load({
    flags: {
      open: true,
      workers: 'auto',
      data: 'd',
      logLevel: 'debug',
      publicUrl: 'https://mcp.example.com',
      demo: true,
    },
    env: {
      HOME: '/home/me',
      MCP_GATEWAY_ACCESS_ORIGINS: 'https://a.example, https://b.example',
      MCP_GATEWAY_LIMITS_BODY_BYTES: '1MiB',
      MCP_GATEWAY_LIMITS_CALL_MS: '90s',
      MCP_GATEWAY_ACCESS_CA_BUNDLE: '~/ca.pem',
      MCP_GATEWAY_ACCESS_STALE_MAX: '0',
    },
    terminal: true,
  })
  assert.deepEqual(faults, [])
  assert.equal(config.access.open, true)
  assert.equal(config.server.workers, 'auto')
  assert.equal(config.store.data, '/work-dir/d')
  assert.deepEqual(config.access.origins, ['https://a.example', 'https://b.example'])
  assert.equal(config.access.caBundle, '/home/me/ca.pem')
  assert.deepEqual([config.limits.bodyBytes, config.limits.callMs, config.limits.staleCallerMs], [1024 ** 2, 90_000, 0])
  assert.deepEqual(config.telemetry, { logLevel: 'debug', logFormat: 'text' })
})

test('a whole file', async () => {
  const { config, rows, faults } = await load({
    env: { JWT: 'j'.repeat(32), GITHUB: 'g', CI: TOKEN.replace('0123', '9999') },
    yaml: `version: 1
server:
  publicUrl: https://mcp.example.com
  tls: {cert: cert.pem, key: /abs/key.pem}
access:
  jwt: {secret: {env: JWT}, previousSecret: {file: secret}, issuer: https://login.example.com}
limits:
  callMs: 2m
upstreams:
  github:
    title: GitHub
    url: https://api.example.com/mcp
    headers: {Authorization: {env: GITHUB, prefix: "Bearer "}, X-Mode: fast}
    ca: ca.pem
    refreshMs: 1m
    validate: both
    tools:
      delete_repo: {hide: true}
      search: {name: find, fixed: {org: acme, deep: {a: [1]}}}
  files:
    command: npx
    args: [-y, server, "."]
    env: {PORT: 8080}
    cwd: data
    memoryBytes: 1GiB
    enabled: false
  twins: {urls: [https://a.example/mcp, https://b.example/mcp], isolation: caller}
virtualServers:
  dev:
    title: Development
    naming: keep
    members: [{upstream: github, tools: ["find*"]}, {upstream: files}]
tokens:
  - {name: ci, env: CI, rights: [use, admin], expiresAt: 2027-01-31}
  - {name: cd, file: token}
  - {name: by hash, hash: ${'ab'.repeat(32)}}
`,
  })
  assert.deepEqual(faults, [])
  assert.deepEqual(config.server.tls, { cert: join(root, 'cert.pem'), key: '/abs/key.pem' })
  assert.deepEqual(config.access.jwt, {
    secret: ['j'.repeat(32), 's'.repeat(40)],
    issuer: 'https://login.example.com',
    audience: 'https://mcp.example.com',
  })
  assert.equal(config.limits.callMs, 120_000)
  const ref = (line: number): { origin: 'file'; originRef: string } => ({
    origin: 'file',
    originRef: `${join(root, 'gateway.yaml')}:${line}`,
  })
  assert.deepEqual(rows.upstreams, [
    {
      slug: 'github',
      spec: {
        title: 'GitHub',
        transport: {
          kind: 'http',
          urls: ['https://api.example.com/mcp'],
          headers: { Authorization: { env: 'GITHUB', prefix: 'Bearer ' }, 'X-Mode': 'fast' },
          ca: CA_PEM,
        },
        refreshMs: 60_000,
        validate: 'both',
        tools: { delete_repo: { hide: true }, search: { name: 'find', fixed: { org: 'acme', deep: { a: [1] } } } },
        privileged: true,
      },
      ...ref(10),
    },
    {
      slug: 'files',
      spec: {
        transport: {
          kind: 'stdio',
          command: 'npx',
          args: ['-y', 'server', '.'],
          env: { PORT: '8080' },
          cwd: join(root, 'data'),
          memoryBytes: 1024 ** 3,
        },
        enabled: false,
        privileged: true,
      },
      ...ref(20),
    },
    {
      slug: 'twins',
      spec: {
        transport: { kind: 'http', urls: ['https://a.example/mcp', 'https://b.example/mcp'] },
        isolation: 'caller',
        privileged: true,
      },
      ...ref(27),
    },
  ])
  assert.deepEqual(rows.virtualServers, [
    {
      slug: 'dev',
      spec: {
        title: 'Development',
        naming: 'keep',
        members: [{ upstream: 'github', tools: ['find*'] }, { upstream: 'files' }],
      },
      ...ref(29),
    },
  ])
  const sha256 = (text: string): string => createHash('sha256').update(text).digest('hex')
  assert.deepEqual(rows.tokens, [
    {
      id: '9999456789ab',
      name: 'ci',
      hash: sha256(TOKEN.replace('0123', '9999')),
      rights: ['use', 'admin'],
      expiresMs: Date.UTC(2027, 0, 31),
      ...ref(34),
    },
    { id: '0123456789ab', name: 'cd', hash: sha256(TOKEN), rights: ['use'], ...ref(35) },
    { id: 'abababababab', name: 'by hash', hash: 'ab'.repeat(32), rights: ['use'], ...ref(36) },
  ])
})

const FAULTS: [name: string, given: Given, faults: string[]][] = [
  ['no version', { yaml: 'server: {port: 1}' }, ['gateway.yaml:1: the file needs "version"']],
  ['another version', { yaml: 'version: 2' }, ['gateway.yaml:1: version must be 1, not 2']],
  ['nothing', { yaml: '' }, ['gateway.yaml:1: the file must be a map of sections, not null']],
  [
    'all of them at once, by line',
    {
      flags: { port: 'x' },
      env: { MCP_GATEWAY_LIMITS_BACKLOG: '0' },
      yaml: 'version: 1\nserver:\n  prot: 1\n  host: a b\nupstream: {}\nupstreams:\n  A_B: {url: https://a}\n  a: {urll: x}\n  b:\n    command: x\n    url: y\n  c: {url: "ftp://x"}\n  c: {}\n',
      mcpJson: '{"mcpServers":{\n"a":{}}}',
    },
    [
      'gateway.yaml:3: server.prot is not known; did you mean "port"?',
      'gateway.yaml:4: server.host must be a host name or address, not "a b"',
      'gateway.yaml:5: upstream is not known; did you mean "upstreams"?',
      'gateway.yaml:7: upstreams.A_B must be named by a-z, 0-9 and inner hyphens, at most 24 characters',
      'gateway.yaml:8: upstreams.a.urll is not known; did you mean "url"?',
      'gateway.yaml:8: upstreams.a must have exactly one of "url", "urls", "command", not 0',
      'gateway.yaml:9: upstreams.b must have exactly one of "url", "urls", "command", not 2',
      'gateway.yaml:12: upstreams.c.url must be a URL with http or https, not "ftp://x"',
      'gateway.yaml:13: the key "c" stands in line 12 already',
      '--port: server.port must be a whole number from 0 to 65535, not "x"',
      'MCP_GATEWAY_LIMITS_BACKLOG: limits.backlog must be a whole number from 1 to 65535, not 0',
      'mcp.json:2: a: needs "command" or "url"',
    ],
  ],
  [
    'rules of upstreams, at their lines',
    {
      yaml: 'version: 1\nupstreams:\n  a:\n    url: http://u:p@x/\n    headers:\n      A: b\n      host: x\n      a: c\n    callMs: 2m\n    callMsMax: 1m\n  b:\n    urls:\n      - http://x/\n      - http://x:0/\n    caPinned: true\n',
    },
    [
      'gateway.yaml:4: upstreams.a.url must not carry credentials: use headers',
      'gateway.yaml:7: upstreams.a.headers.host is a header that the gateway sets itself',
      'gateway.yaml:8: upstreams.a.headers.a is there twice',
      'gateway.yaml:9: upstreams.a.callMs must not be over callMsMax',
      'gateway.yaml:14: upstreams.b.urls[1] must not name port 0',
      'gateway.yaml:15: upstreams.b.caPinned needs "ca"',
    ],
  ],
  [
    'a certificate authority that is missing or none',
    { yaml: 'version: 1\nupstreams:\n  a: {url: http://x/, ca: missing.pem}\n  b: {url: http://x/, ca: secret}' },
    [
      "gateway.yaml:3: upstreams.a.ca cannot be read: ENOENT: no such file or directory, open 'missing.pem'",
      'gateway.yaml:4: upstreams.b.ca must be one or several certificates in PEM, as text',
    ],
  ],
  [
    'tokens',
    {
      env: { BAD: 'short', TOKEN },
      yaml: `version: 1\ntokens:\n- {name: a}\n- {name: b, env: NONE}\n- {name: c, env: BAD}\n- {name: d, file: none}\n- {name: e, hash: ${'a'.repeat(64)}, expiresAt: 2027-02-31T25:00:00Z}\n- {name: f, env: TOKEN, rights: [root]}\n`,
    },
    [
      'gateway.yaml:3: tokens[0] must have exactly one of "hash", "env", "file"',
      'gateway.yaml:4: tokens[1] cannot be read: The environment variable NONE is not set',
      'gateway.yaml:5: tokens[2] is not the text of a token: mgw_<id>_<secret>',
      "gateway.yaml:6: tokens[3] cannot be read: The file of a secret cannot be read: ENOENT: no such file or directory, open 'none'",
      'gateway.yaml:7: tokens[4].expiresAt is no date of the calendar',
      'gateway.yaml:8: tokens[5].rights[0] must be one of use, admin, operator, not "root"',
    ],
  ],
  [
    'a token or its name twice',
    {
      env: { TOKEN },
      yaml: `version: 1\ntokens:\n- {name: a, env: TOKEN}\n- {name: b, file: token}\n- {name: a, hash: ${'a'.repeat(64)}}\n`,
    },
    [
      'gateway.yaml:4: this token stands in gateway.yaml:3 already',
      'gateway.yaml:5: this name "a" stands in gateway.yaml:3 already',
    ],
  ],
  [
    'an upstream of both files',
    { yaml: 'version: 1\nupstreams:\n  a: {url: http://x/}', mcpJson: '{"mcpServers":{"A":{"command":"x"}}}' },
    ['mcp.json:1: the upstream "a" stands in gateway.yaml:3 already'],
  ],
  [
    '--open on all addresses',
    { flags: { open: true, host: '0.0.0.0' } },
    ['--open: access.open asks nobody for a token: it is refused on 0.0.0.0, which others may reach'],
  ],
  [
    '--open on a name that begins like loopback',
    { flags: { open: true, host: '127.0.0.1.example.com' } },
    ['--open: access.open asks nobody for a token: it is refused on 127.0.0.1.example.com, which others may reach'],
  ],
  [
    'a certificate without key',
    { yaml: 'version: 1\nserver:\n  tls:\n    cert: x' },
    ['gateway.yaml:4: server.tls.cert needs the other one of cert and key'],
  ],
  [
    'callMs over callMsMax',
    { env: { MCP_GATEWAY_LIMITS_CALL_MS_MAX: '1s' } },
    ['defaults: limits.callMs must not be over limits.callMsMax'],
  ],
  [
    'a JWT secret in clear in the file',
    { yaml: 'version: 1\naccess: {jwt: {secret: hunter2}}' },
    ['gateway.yaml:2: access.jwt.secret is a secret: write {env: NAME} or {file: PATH}'],
  ],
  [
    'a short JWT secret, alone',
    { env: { MCP_GATEWAY_ACCESS_JWT_SECRET: 'short' } },
    [
      'MCP_GATEWAY_ACCESS_JWT_SECRET: access.jwt.secret needs access.jwt.issuer',
      'MCP_GATEWAY_ACCESS_JWT_SECRET: access.jwt.secret needs access.jwt.audience or server.publicUrl',
      'MCP_GATEWAY_ACCESS_JWT_SECRET: access.jwt.secret must have at least 32 bytes',
    ],
  ],
  [
    'a JWT issuer without secret',
    { env: { MCP_GATEWAY_ACCESS_JWT_ISSUER: 'me' } },
    ['MCP_GATEWAY_ACCESS_JWT_ISSUER: access.jwt.issuer needs access.jwt.secret'],
  ],
  [
    'a JWT secret that is not there',
    { yaml: 'version: 1\naccess:\n  jwt:\n    issuer: a\n    audience: b\n    secret: {env: NONE}' },
    ['gateway.yaml:6: access.jwt.secret cannot be read: The environment variable NONE is not set'],
  ],
  [
    'YAML that is none',
    { yaml: 'version: 1\na: [' },
    ['gateway.yaml:2: Flow sequence in block collection must be sufficiently indented and end with a ]'],
  ],
  ['a NUL character', { yaml: 'version: 1\n# \0' }, ['gateway.yaml:2: the file holds a NUL character']],
  ['a file of 10 MB', { yaml: '#'.repeat(10_000_000) }, ['gateway.yaml:1: the file is larger than 1048576 bytes']],
  ['an mcp.json of 10 MB', { mcpJson: ' '.repeat(10_000_000) }, ['mcp.json:1: the file is larger than 1048576 bytes']],
]

for (const [name, given, faults] of FAULTS) {
  test(`names ${name}`, async () => {
    const found = await faultsOf(given)
    assert.deepEqual(
      found.map((fault) => fault.replaceAll(`'${root}/`, "'")),
      faults,
    )
  })
}

test('many faults end in one that says so', async () => {
  const yaml = `version: 1\n${Array.from({ length: 300 }, (_, at) => `x${at}: 1`).join('\n')}`
  const faults = await faultsOf({ yaml })
  assert.equal(faults.length, LIMITS.configFaultsMax + 1)
  assert.match(faults.at(-1)!, /and there are more faults/)
})

test('a variable that is no setting is a note, as Kubernetes makes such variables', async () => {
  const { faults, notes } = await load({
    env: { MCP_GATEWAY_SERVER_PROT: '1', MCP_GATEWAY_SERVICE_HOST: '10.0.0.1', MCP_GATEWAY_TOKEN: 'x', OTHER: 'x' },
  })
  assert.deepEqual(faults, [])
  assert.deepEqual(notes, [
    { at: 'MCP_GATEWAY_SERVER_PROT', message: 'is no setting; did you mean "MCP_GATEWAY_SERVER_PORT"?' },
  ])
})

test('refuseFaults throws all of them, a line each', async () => {
  const { faults } = await load({ flags: { port: 'x', workers: '0' } })
  assert.throws(
    () => refuseFaults(faults),
    (error: GatewayError) => {
      assert.equal(error.code, 'CONFIG_INVALID')
      assert.match(error.message, /^--port: .*\n--workers: [^\n]*$/)
      return error.options.faults?.length === 2
    },
  )
  refuseFaults([])
})

test('a file that cannot be read is CONFIG_INVALID', () => {
  for (const path of [join(root, 'missing.yaml'), root])
    assert.throws(
      () => readConfigFile(path),
      (error: GatewayError) => error.code === 'CONFIG_INVALID' && error.options.faults?.[0]?.at === path,
    )
  assert.equal(readConfigFile(join(root, 'token')).text, `${TOKEN}\n`)
})

test('the examples of docs/settings.md load', async () => {
  const text = readFileSync(join(import.meta.dirname, '..', '..', 'docs', 'settings.md'), 'utf8')
  const examples = [...text.matchAll(/```yaml\n(.*?)```/gs)].map(([, yaml]) => yaml!)
  assert.ok(examples.length >= 2)
  const env = { GITHUB_TOKEN: 'x', CI_TOKEN: TOKEN, JWT_SECRET: 'j'.repeat(32) }
  for (const yaml of examples) assert.deepEqual(await faultsOf({ yaml, env }), [])
})
