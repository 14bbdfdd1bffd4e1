// npm run bench -- call|list|sse|slow|streams|connect|components|all [--json] [--rounds N] [--seconds S] [--short] [--profile] [--write]
// Measures what a call costs, on this machine, with an upstream and a load generator of the bench's own. --write puts the
// figures into bench/RESULTS.md. Exit code 0 also where a target is missed: the bench measures; it is no test. A void run
// ends with 1, a wrong command line with 2.

import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import type { Settings } from './rig/measure.ts'
import { ROOT } from './rig/processes.ts'
import { markdown, place, type Report, text } from './rig/report.ts'
import { call } from './scenarios/call.ts'
import { components } from './scenarios/components.ts'
import { connect } from './scenarios/connect.ts'
import { list } from './scenarios/list.ts'
import { slow } from './scenarios/slow.ts'
import { sse } from './scenarios/sse.ts'
import { streams } from './scenarios/streams.ts'

const SCENARIOS: Readonly<Record<string, (settings: Settings) => Promise<Report>>> = {
  call,
  list,
  sse,
  slow,
  streams,
  connect,
  components,
}
const RESULTS = join(ROOT, 'bench', 'RESULTS.md')
const USAGE = `usage: npm run bench -- ${Object.keys(SCENARIOS).join('|')}|all [--json] [--rounds N] [--seconds S] [--short] [--profile] [--write]`

function parse(): { names: string[]; settings: Settings; json: boolean; write: boolean } | null {
  try {
    const { values, positionals } = parseArgs({
      allowPositionals: true,
      options: {
        json: { type: 'boolean', default: false },
        rounds: { type: 'string' },
        seconds: { type: 'string' },
        short: { type: 'boolean', default: false },
        profile: { type: 'boolean', default: false },
        write: { type: 'boolean', default: false },
      },
    })
    const names = positionals.includes('all') ? Object.keys(SCENARIOS) : positionals
    const rounds = Number(values.rounds ?? (values.short ? 1 : 3))
    const seconds = Number(values.seconds ?? (values.short ? 0.5 : 6))
    const good = names.length > 0 && names.every((name) => Object.hasOwn(SCENARIOS, name))
    if (!good || !(rounds >= 1 && rounds <= 99) || !(seconds > 0 && seconds <= 300)) return null
    const print = (line: string): void => void process.stderr.write(`${line}\n`)
    const settings = { rounds, seconds, short: values.short, profile: values.profile, print }
    return { names, settings, json: values.json, write: values.write }
  } catch {
    return null
  }
}

const HEAD = `# What it costs, measured

Written by \`npm run bench -- all --write\`; each section names the machine and the commit that it was measured on. Compare
CPU per request and its ratios: the load generator and the upstream share the machine with what is measured, so requests
per second say what this machine gives, not what the gateway can do. How each figure is taken is said in bench/README.md.
`

/** Replaces the section of one scenario, or adds it. */
function write(name: string, report: Report): void {
  const before = existsSync(RESULTS) ? readFileSync(RESULTS, 'utf8') : HEAD
  const where = place()
  const section = `<!-- ${name} -->\n${markdown(report).replace('\n', `\n\n${where.date} UTC, commit ${where.commit}, Node ${where.node}, ${where.machine}.\n`)}\n<!-- /${name} -->`
  const start = before.indexOf(`<!-- ${name} -->`)
  const endMark = `<!-- /${name} -->`
  const end = before.indexOf(endMark)
  const after =
    start < 0 || end < 0
      ? `${before}\n${section}\n`
      : before.slice(0, start) + section + before.slice(end + endMark.length)
  writeFileSync(RESULTS, after)
}

const parsed = parse()
if (parsed === null) {
  console.error(USAGE)
  process.exitCode = 2
} else {
  const where = place()
  if (!parsed.json) console.log(`${where.machine}, Node ${where.node}, commit ${where.commit}`)
  const reports: Report[] = []
  for (const name of parsed.names) {
    const report = await SCENARIOS[name]!(parsed.settings)
    reports.push(report)
    if (!parsed.json) console.log(text(report))
    if (parsed.write) write(name, report)
    if (report.void !== null) process.exitCode = 1
  }
  if (parsed.json) console.log(JSON.stringify({ ...where, settings: parsed.settings, reports }, null, 2))
}
