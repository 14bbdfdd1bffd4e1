// What commands read of the environment besides settings: where a running gateway is, and how to write to this terminal.

import { defaultDataDirectory } from './environment.ts'

export interface CliEnvironment {
  readonly url: string | null
  readonly token: string | null
  readonly dataDirectory: string
  readonly workingDirectory: string
  readonly proxyVariables: readonly string[]
  /** NO_COLOR is set, or the terminal cannot show any. */
  readonly plain: boolean
}

const PROXIES = ['HTTP_PROXY', 'HTTPS_PROXY', 'ALL_PROXY', 'http_proxy', 'https_proxy', 'all_proxy']

export function readCliEnvironment(env: NodeJS.ProcessEnv = process.env): CliEnvironment {
  const text = (name: string): string | null => {
    const value = env[name]
    return value === undefined || value === '' ? null : value
  }
  return {
    url: text('MCP_GATEWAY_URL'),
    token: text('MCP_GATEWAY_TOKEN'),
    dataDirectory: text('MCP_GATEWAY_STORE_DATA') ?? text('MCP_GATEWAY_DATA') ?? defaultDataDirectory(env),
    workingDirectory: process.cwd(),
    proxyVariables: PROXIES.filter((name) => text(name) !== null),
    plain: text('NO_COLOR') !== null || env.TERM === 'dumb',
  }
}
