// The files that `up` was given, read as one: at the start and at every reload, with every fault at once. A file that is
// not there is a fault and never an empty configuration. Absent on purpose: watching them (watch.ts).

import { type Fault, GatewayError } from '../core/errors.ts'
import type { Environment } from './environment.ts'
import { type ConfigText, type LoadedConfig, loadConfig, readConfigFile } from './load.ts'

export interface GivenFiles {
  readonly config?: string
  readonly mcpJson?: string
}

export interface FilesOfUp {
  /** As they were given. */
  readonly paths: readonly string[]
  readonly load: () => Promise<LoadedConfig>
}

export interface FilesOptions {
  readonly flags: Readonly<Record<string, unknown>> & GivenFiles
  readonly env: Environment
  readonly workingDirectory: string
  readonly terminal: boolean
}

export function filesOfUp({ flags, ...sources }: FilesOptions): FilesOfUp {
  const { config, mcpJson } = flags
  return {
    paths: [config, mcpJson].filter((path) => path !== undefined),
    async load() {
      const faults: Fault[] = []
      const read = (path: string | undefined): ConfigText | undefined => {
        try {
          return path === undefined ? undefined : readConfigFile(path)
        } catch (error) {
          if (!(error instanceof GatewayError)) throw error
          faults.push(...(error.options.faults ?? []))
          return undefined
        }
      }
      const [file, json] = [read(config), read(mcpJson)]
      const loaded = await loadConfig({
        ...{ flags, ...sources },
        ...(file === undefined ? {} : { file }),
        ...(json === undefined ? {} : { mcpJson: json }),
      })
      return { ...loaded, faults: [...faults, ...loaded.faults] }
    },
  }
}
