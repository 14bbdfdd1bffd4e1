// From a reference to a secret to its text. Nothing here keeps it, logs it or puts it into a message.

import { GatewayError } from '../core/errors.ts'
import { LIMITS } from '../core/limits.ts'
import type { Secret } from '../core/model.ts'
import { type Environment, readEnvironment, variable } from './environment.ts'
import { readTextFile } from './files.ts'

export interface SecretSources {
  readonly env: Environment
  /** Bounded; throws with a message that names the path. */
  readonly readFile: (path: string) => string
}

/** Of a file without its last line end. Errors: CONFIG_INVALID, naming the variable or file that is missing or empty. */
export function resolveSecret(secret: Secret, { env, readFile }: SecretSources): string {
  if (typeof secret === 'string') return secret
  const { prefix = '' } = secret
  if ('env' in secret) {
    const value = variable(env, secret.env)
    if (value === null) throw new GatewayError('CONFIG_INVALID', `The environment variable ${secret.env} is not set`)
    return prefix + value
  }
  let text: string
  try {
    text = readFile(secret.file)
  } catch (error) {
    throw new GatewayError('CONFIG_INVALID', `The file of a secret cannot be read: ${(error as Error).message}`, {
      cause: error,
    })
  }
  const value = text.replace(/\r?\n$/, '')
  if (value === '') throw new GatewayError('CONFIG_INVALID', `The file ${secret.file} of a secret is empty`)
  return prefix + value
}

/** For links: reads again each time, so that a secret may be changed under a running gateway. */
export function createSecretResolver(env: Environment = readEnvironment()): (secret: Secret) => string {
  const sources: SecretSources = { env, readFile: (path) => readTextFile(path, LIMITS.secretBytes) }
  return (secret) => resolveSecret(secret, sources)
}
