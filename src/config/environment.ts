// What children inherit of the gateway's own environment.

const INHERITED = ['PATH', 'HOME', 'LANG', 'TZ', 'TMPDIR']

export function readBaseEnvironment(env: NodeJS.ProcessEnv = process.env): Record<string, string> {
  return Object.fromEntries(INHERITED.flatMap((name) => (env[name] === undefined ? [] : [[name, env[name]]])))
}
