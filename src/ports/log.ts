// What every part may say to the log. Made by telemetry/log.ts and handed in; a part that may not import telemetry
// (upstream, adapters, registry …) takes this interface.

export type Level = 'debug' | 'info' | 'warn' | 'error'

export type Fields = Readonly<Record<string, unknown>>

export interface Log {
  enabled(level: Level): boolean
  debug(event: string, fields?: Fields): void
  info(event: string, fields?: Fields): void
  warn(event: string, fields?: Fields): void
  error(event: string, fields?: Fields): void
}

/** Says nothing: for tests and for parts used without a gateway. */
export const SILENT: Log = {
  enabled: () => false,
  debug: () => {},
  info: () => {},
  warn: () => {},
  error: () => {},
}
