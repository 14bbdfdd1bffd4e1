// docs/limits.md, made from core/limits.ts (its headings and sentences are comments there) and config/schema.ts.

import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { allSettings } from '../src/config/schema.ts'
import { showDuration, showSize } from '../src/config/shape.ts'
import { LIMITS } from '../src/core/limits.ts'
import { table } from './docs-table.ts'

const HEAD = `# Limits

Made by \`npm run docs\` from \`src/core/limits.ts\`; do not edit.

Every queue, map, body, page, retry and wait of the gateway has a number. Those with a setting can be changed at start
(\`settings.md\`); the others are part of how the gateway is built.
`

/** Those whose setting has another name. */
const ELSEWHERE: Readonly<Record<string, string>> = { staleCallerMs: 'access.staleMax' }

interface Line {
  readonly name: string
  readonly about: string
}

export function limitsReference(): string {
  const source = readFileSync(join(import.meta.dirname, '..', 'src', 'core', 'limits.ts'), 'utf8')
  const settings = new Map(allSettings().map((setting) => [setting.name, setting]))
  const sections: { title: string; lines: Line[] }[] = []
  for (const text of source.split('\n')) {
    const title = /^ {2}\/\/ (.+)$/.exec(text)?.[1]
    if (title !== undefined) sections.push({ title, lines: [] })
    const [, name, about = ''] = /^ {2}(\w+): [^/]+(?:\/\/ (.+))?$/.exec(text) ?? []
    if (name !== undefined) sections.at(-1)!.lines.push({ name, about })
  }
  const row = ({ name, about }: Line): string[] => {
    const settingName = ELSEWHERE[name] ?? `limits.${name}`
    const setting = settings.get(settingName)
    // One sentence, in one place: beside the number, or with the setting.
    if ((setting === undefined) === (about === '')) throw new Error(`${name} needs a sentence in one place, not two`)
    return [`\`${name}\``, show(name), setting?.about ?? about, setting === undefined ? '' : `\`${settingName}\``]
  }
  const shown = sections.flatMap(({ lines }) => lines.map(({ name }) => name))
  const hidden = Object.keys(LIMITS).filter((name) => !shown.includes(name))
  if (hidden.length > 0) throw new Error(`not read from core/limits.ts: ${hidden.join(', ')}`)
  const tables = sections.map(
    ({ title, lines }) =>
      `## ${title[0]!.toUpperCase()}${title.slice(1)}\n\n${table(['limit', 'value', 'what it bounds', 'setting'], lines.map(row))}`,
  )
  return [HEAD, ...tables].join('\n')
}

function show(name: string): string {
  const value: number = LIMITS[name as keyof typeof LIMITS]
  if (/Ms(?:Max|Min|Base)?$/.test(name)) return showDuration(value)
  return name.endsWith('Bytes') ? showSize(value) : value.toLocaleString('en-US')
}
