// A running gateway and its configuration files: joins what reads and watches them (config/), what applies them whole or
// not at all (control/configuration.ts) and the primary. Settings that the table of config/schema.ts says take effect at
// once are taken up here; new workers begin with them. Absent on purpose: what a signal means (cli/up.ts).

import { resolve } from 'node:path'
import { isDeepStrictEqual } from 'node:util'
import type { Config, LoadedConfig } from './config/load.ts'
import { allSettings } from './config/schema.ts'
import { watchFiles } from './config/watch.ts'
import { type Configuration, createConfiguration } from './control/configuration.ts'
import type { Clock } from './core/time.ts'
import type { Log } from './ports/log.ts'
import type { FileRows } from './ports/store.ts'
import type { Primary } from './primary.ts'

/** The files of a start, and what was read of them for it. */
export interface ConfigFiles {
  /** As they were given. */
  readonly paths: readonly string[]
  readonly first: LoadedConfig
  readonly load: () => Promise<LoadedConfig>
}

export interface ReloadingOptions {
  readonly files: ConfigFiles
  /** With the marks of their secrets. */
  readonly marked: (rows: FileRows) => FileRows
  /** Asked only after the start. */
  readonly primary: () => Primary
  readonly config: Config
  readonly setLogLevel: (level: Config['telemetry']['logLevel']) => void
  readonly clock: Clock
  readonly log: Log
}

export interface Reloading {
  readonly configuration: Configuration
  /** What is in force now: what the start said, with what has changed since. */
  config(): Config
  /** From now on the files are watched. */
  start(): void
  close(): void
}

const AT_ONCE = allSettings().filter(({ reload }) => reload === 'at once')

/** The same start with what a running gateway can take up. */
function withLive(config: Config, { access, telemetry }: Config): Config {
  const { jwt, commandsAllowed } = access
  return {
    ...config,
    access: { ...config.access, jwt, commandsAllowed },
    telemetry: { ...config.telemetry, logLevel: telemetry.logLevel },
  }
}

export function createReloading({ files, marked, primary, clock, log, ...options }: ReloadingOptions): Reloading {
  let { config } = options
  let current = { ...files.first, rows: marked(files.first.rows) }
  /** Those of what was read last too, in force or not: a file that is missing is a fault that its coming mends. */
  let { referred } = current
  let unwatch = (): void => {}
  let mark = (): void => {}

  const applySettings = (read: LoadedConfig): string[] => {
    const next = withLive(config, read.config)
    const isJwtNew = !isDeepStrictEqual(next.access.jwt, config.access.jwt)
    const names = AT_ONCE.map(({ name }) => name).filter(
      (name) => !isDeepStrictEqual(current.settings.get(name)?.value, read.settings.get(name)?.value),
    )
    // A reference may be as it was and its file hold another secret.
    if (isJwtNew && !names.some((name) => name.startsWith('access.jwt.'))) names.push('access.jwt.secret')
    current = read
    if (names.length === 0) return names
    config = next
    options.setLogLevel(next.telemetry.logLevel)
    primary().applySettings(next)
    return names
  }

  const configuration = createConfiguration<LoadedConfig>({
    files: files.paths,
    first: current,
    async load() {
      mark()
      const read = await files.load()
      referred = [...new Set([...current.referred, ...read.referred])]
      return { ...read, rows: marked(read.rows) }
    },
    applyRows: (rows) => primary().applyRows(rows, current.rows),
    applySettings,
    clock,
    log,
  })

  return {
    configuration,
    config: () => config,
    start() {
      if (files.paths.length === 0) return
      const { configPollMs, configQuietMsMax } = config.limits
      const watcher = watchFiles({
        paths: () => [...files.paths.map((path) => resolve(path)), ...referred],
        pollMs: configPollMs,
        quietMsMax: configQuietMsMax,
        onChange: () => {
          configuration.reload().catch((error: unknown) => {
            if ((error as { code?: unknown }).code !== 'CONFIG_REFUSED') log.error('config.fault', { error })
          })
        },
      })
      unwatch = watcher.close
      mark = watcher.mark
    },
    close: () => unwatch(),
  }
}
