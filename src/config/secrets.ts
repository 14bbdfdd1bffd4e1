// Secrets of the configuration, resolved when a link is opened: from the environment or from a file, never kept.

import { readFileSync } from 'node:fs'
import { GatewayError } from '../core/errors.ts'
import type { Secret } from '../core/model.ts'

/** Errors: CONFIG_INVALID that names the variable or the file. */
export function createSecretResolver(env: NodeJS.ProcessEnv = process.env): (secret: Secret) => string {
  return (secret) => {
    if (typeof secret === 'string') return secret
    if ('env' in secret) {
      const value = env[secret.env]
      if (value === undefined || value === '') throw new GatewayError('CONFIG_INVALID', `The environment variable ${secret.env} is not set`)
      return value
    }
    try {
      return readFileSync(secret.file, 'utf8').trim()
    } catch (cause) {
      throw new GatewayError('CONFIG_INVALID', `The file ${secret.file} of a secret cannot be read`, { cause })
    }
  }
}
