// What only an operator may put into the registry: commands, files and environment of this machine, private addresses.
// `access.commandsAllowed` and `access.networksAllowed` open parts of it to administrators. Host names are judged when
// they are connected to (http/guard.ts); here the literal addresses are, and the names that always mean this machine.
//
// An entry of commandsAllowed is either one word, a command that may then be run with any arguments and environment, or
// a whole line, `NAME= npx -y @scope/*`: exactly these words and, before the command, the variables that may be set.
// `*` is any run of letters, digits, `.`, `_`, `-` and `@` inside one word: `@scope/a@1.2` is listed, but
// `@scope/a@npm:other` or `/srv/../etc` would be something else, and so would LD_PRELOAD.

import { GatewayError } from '../core/errors.ts'
import type { HttpTransport, Secret, StdioTransport } from '../core/model.ts'
import { matchesAny } from '../core/names.ts'
import { checkLiteralHost, createGuard, type Guard } from '../http/guard.ts'

export interface Allowances {
  readonly commandsAllowed: readonly string[]
  readonly networksAllowed: readonly string[]
}

export interface Privilege {
  /** Errors: OPERATOR_ONLY; ADDRESS_REFUSED for an address that not even an operator may use. */
  check(transport: HttpTransport | StdioTransport, isOperator: boolean): void
}

/** A path of this machine, and what protects it from its children. */
const OPERATORS_MEMBERS = ['cwd', 'memoryBytes', 'cpuSeconds', 'openFiles', 'processes', 'childrenMax'] as const

export function createPrivilege({ commandsAllowed, networksAllowed }: Allowances): Privilege {
  const publicOnly = createGuard({ allowPrivate: false, networks: networksAllowed })
  const withPrivate = createGuard({ allowPrivate: true, networks: networksAllowed })
  return {
    check(transport, isOperator) {
      if (transport.kind !== 'stdio') {
        for (const text of transport.urls) checkHost(new URL(text).hostname, isOperator, publicOnly, withPrivate)
        if (!isOperator) refuseReferences(transport.headers)
        return
      }
      if (isOperator) return
      refuseReferences(transport.env)
      for (const member of OPERATORS_MEMBERS) {
        if (transport[member] !== undefined)
          throw new GatewayError('OPERATOR_ONLY', `Only an operator may set "${member}"`)
      }
      if (!commandsAllowed.some((entry) => allows(entry, transport)))
        throw new GatewayError(
          'OPERATOR_ONLY',
          'Only an operator may register this command; access.commandsAllowed does not list it',
        )
    },
  }
}

function isLocalName(host: string): boolean {
  const name = host.endsWith('.') ? host.slice(0, -1) : host
  return name === 'localhost' || name.endsWith('.localhost')
}

function checkHost(host: string, isOperator: boolean, publicOnly: Guard, withPrivate: Guard): void {
  const literal = isLocalName(host) ? '127.0.0.1' : host
  checkLiteralHost(literal, withPrivate)
  if (isOperator) return
  try {
    checkLiteralHost(literal, publicOnly)
  } catch (error) {
    if (!(error instanceof GatewayError)) throw error
    throw new GatewayError(
      'OPERATOR_ONLY',
      `Only an operator may register the address ${host}; access.networksAllowed does not list it`,
    )
  }
}

/** A reference makes the gateway read its own environment or files and send what it finds to the upstream. */
function refuseReferences(secrets: Readonly<Record<string, Secret>> | undefined): void {
  for (const [name, value] of Object.entries(secrets ?? {})) {
    if (typeof value !== 'string')
      throw new GatewayError('OPERATOR_ONLY', `Only an operator may take "${name}" from the environment or a file`)
  }
}

function allows(entry: string, transport: StdioTransport): boolean {
  const words = entry.split(/\s+/).filter((word) => word !== '')
  const first = words.findIndex((word) => !/^[A-Za-z_][A-Za-z0-9_]*=$/.test(word))
  const command = words[first]
  if (command === undefined || command !== transport.command) return false
  if (words.length === 1) return true
  const patterns = words.slice(first + 1)
  const args = transport.args ?? []
  const variables = words.slice(0, first).map((word) => word.slice(0, -1))
  return (
    args.length === patterns.length &&
    args.every((arg, at) => fitsWord(arg, patterns[at]!)) &&
    Object.keys(transport.env ?? {}).every((name) => variables.includes(name))
  )
}

/** Whether what stands for each `*` is a plain name: whatever else `arg` holds must stand in the pattern just as often. */
function fitsWord(arg: string, pattern: string): boolean {
  if (!pattern.includes('*')) return arg === pattern
  const oddities = (text: string): string => (text.match(/\.\.|[^\w.@-]/g) ?? []).filter((odd) => odd !== '*').join(' ')
  return !arg.includes('*') && oddities(arg) === oddities(pattern) && matchesAny(arg, [pattern])
}
