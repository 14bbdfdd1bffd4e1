// The official conformance suite as a function: runs it against one URL for one requirement set and reads what it wrote.

import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parse } from 'yaml'
import { startProgram } from '../fakes/process.ts'

const PACKAGE = join(import.meta.dirname, '..', '..', 'node_modules', '@modelcontextprotocol', 'conformance')
const SUITE_MS = 180_000

export const REVISIONS = ['2025-11-25', '2026-07-28'] as const
export type SuiteRevision = (typeof REVISIONS)[number]

export interface ScenarioResult {
  readonly scenario: string
  /** False for what the requirement set runs without counting it: extensions and what came after the revision. */
  readonly scored: boolean
  readonly passed: number
  readonly failures: readonly string[]
}

interface Check {
  readonly id: string
  readonly status: string
  readonly errorMessage?: string
}

interface Requirements {
  readonly server: readonly string[]
  readonly not_scored: readonly { readonly scenario: string; readonly leg: string }[]
}

export async function runSuite(url: string, revision: SuiteRevision): Promise<ScenarioResult[]> {
  const folder = mkdtempSync(join(tmpdir(), 'mcp-conformance-'))
  const program = startProgram(process.execPath, [
    ...[join(PACKAGE, 'dist', 'index.js'), 'server', '--url', url, '--requirements', revision, '-o', folder],
  ])
  const timer = setTimeout(() => void program.stop('SIGKILL'), SUITE_MS)
  await program.ended
  clearTimeout(timer)
  try {
    const results = readResults(folder, revision)
    if (results.every((result) => result.passed === 0))
      throw new Error(`the suite ran nothing against ${url}:\n${program.output()}`)
    return results
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

function readResults(folder: string, revision: SuiteRevision): ScenarioResult[] {
  const requirements = parse(readFileSync(join(PACKAGE, 'requirements', `${revision}.yaml`), 'utf8')) as Requirements
  const unscored = requirements.not_scored.filter((entry) => entry.leg === 'server').map((entry) => entry.scenario)
  const written = readdirSync(folder)
  const read = (scenario: string, scored: boolean): ScenarioResult => {
    // The suite's folders are named server-<scenario>-<time>, and a time begins with the century.
    const found = written.find((name) => name.startsWith(`server-${scenario}-2`))
    const checks = found === undefined ? null : readChecks(join(folder, found))
    if (checks === null) return { scenario, scored, passed: 0, failures: ['the scenario did not end'] }
    return {
      scenario,
      scored,
      passed: checks.filter((check) => check.status === 'SUCCESS').length,
      failures: checks
        .filter((check) => check.status === 'FAILURE')
        .map((check) => `${check.id}: ${check.errorMessage ?? 'failed'}`),
    }
  }
  return [
    ...requirements.server.map((scenario) => read(scenario, true)),
    ...unscored.map((scenario) => read(scenario, false)),
  ]
}

function readChecks(folder: string): Check[] | null {
  try {
    return JSON.parse(readFileSync(join(folder, 'checks.json'), 'utf8')) as Check[]
  } catch {
    return null
  }
}
