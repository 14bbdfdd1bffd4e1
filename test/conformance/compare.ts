// Runs the official suite against the fixture directly and through the gateway, cell by cell, and compares scenario by
// scenario. A cell is one requirement set and one form of the fixture; each is run with `--open` and, through a proxy
// that adds the token, with authentication on. In cells of different eras the gateway translates.

import { join } from 'node:path'
import { startGateway } from '../e2e/gateway.ts'
import { startServer } from '../fakes/process.ts'
import { startTokenProxy } from '../fakes/token-proxy.ts'
import { EXPECTED } from './expected.ts'
import { runSuite, type ScenarioResult, type SuiteRevision } from './suite.ts'

export type FixtureEra = 'dual' | 'legacy' | 'modern'
type Way = 'direct' | 'open' | 'token'

export interface Cell {
  readonly revision: SuiteRevision
  readonly upstream: FixtureEra
}

export const CELLS: readonly Cell[] = [
  { revision: '2025-11-25', upstream: 'legacy' },
  { revision: '2025-11-25', upstream: 'dual' },
  { revision: '2026-07-28', upstream: 'modern' },
  { revision: '2026-07-28', upstream: 'dual' },
  // The other era behind: the same server, which speaks both, is asked directly.
  { revision: '2025-11-25', upstream: 'modern' },
  { revision: '2026-07-28', upstream: 'legacy' },
]

export type Verdict = 'same' | 'lost' | 'expected' | 'stale' | 'fails directly' | 'not scored'

export interface Row extends Cell {
  readonly scenario: string
  readonly scored: boolean
  readonly verdict: Verdict
  /** Checks passed and failed on each way. */
  readonly counts: Readonly<Record<Way, readonly [passed: number, failed: number]>>
  readonly reason: string | null
  /** What failed through the gateway. */
  readonly failures: readonly string[]
}

export interface Comparison {
  readonly rows: readonly Row[]
  readonly faults: readonly string[]
}

/** The suite and the server speak different eras. */
export const isCross = ({ revision, upstream }: Cell): boolean =>
  upstream === (revision === '2025-11-25' ? 'modern' : 'legacy')

const FIXTURE = join(import.meta.dirname, 'fixture.ts')
const slugOf = (era: FixtureEra): string => (era === 'dual' ? 'conformance' : `conformance-${era}`)

export async function compare(progress: (line: string) => void = () => {}): Promise<Comparison> {
  const eras: readonly FixtureEra[] = ['dual', 'legacy', 'modern']
  const fixtures = await Promise.all(eras.map((era) => startServer(FIXTURE, [], { env: { FIXTURE_ERA: era } })))
  const urls = Object.fromEntries(eras.map((era, at) => [era, fixtures[at]!.url])) as Record<FixtureEra, string>
  const yaml = gatewayYaml(urls)
  const open = await startGateway({ yaml, args: ['--open'], ready: eras.map((era) => `${era}-fixture`) })
  const closed = await startGateway({ yaml, ready: eras.map((era) => `${era}-fixture`) })
  const proxy = await startTokenProxy(closed.url, closed.token)
  try {
    const rows: Row[] = []
    for (const cell of CELLS) {
      progress(`${cell.revision}, ${cell.upstream} upstream`)
      const path = `/servers/${slugOf(cell.upstream)}/mcp`
      const direct = await runSuite(urls[isCross(cell) ? 'dual' : cell.upstream], cell.revision)
      const [throughOpen, throughToken] = await Promise.all([
        runSuite(`${open.url}${path}`, cell.revision),
        runSuite(`${proxy.origin}${path}`, cell.revision),
      ])
      for (const [at, one] of direct.entries()) rows.push(judge(cell, one, throughOpen[at]!, throughToken[at]!))
    }
    return { rows, faults: [...faultsOf(rows), ...staleEntries(rows)] }
  } finally {
    await proxy.close()
    await Promise.all([open.stop(), closed.stop(), ...fixtures.map((fixture) => fixture.stop())])
  }
}

function gatewayYaml(urls: Record<FixtureEra, string>): string {
  const eras = Object.keys(urls) as FixtureEra[]
  return JSON.stringify({
    version: 1,
    upstreams: Object.fromEntries(eras.map((era) => [`${era}-fixture`, { url: urls[era] }])),
    virtualServers: Object.fromEntries(
      eras.map((era) => [slugOf(era), { naming: 'keep', members: [{ upstream: `${era}-fixture` }] }]),
    ),
  })
}

function judge(cell: Cell, direct: ScenarioResult, open: ScenarioResult, token: ScenarioResult): Row {
  const failures = [...new Set([...open.failures, ...token.failures])]
  const entry = EXPECTED.find(
    ({ revision, upstreams, scenario }) =>
      revision === cell.revision && upstreams.includes(cell.upstream) && scenario === direct.scenario,
  )
  const base = {
    ...cell,
    scenario: direct.scenario,
    scored: direct.scored,
    counts: { direct: countsOf(direct), open: countsOf(open), token: countsOf(token) },
    reason: entry?.reason ?? null,
    failures,
  }
  const unlisted = failures.filter(
    (failure) => !(entry?.checks ?? []).some((check) => failure.startsWith(`${check}: `)),
  )
  return { ...base, verdict: verdictOf(direct, failures.length > 0, entry !== undefined, unlisted.length > 0) }
}

const countsOf = (result: ScenarioResult): [number, number] => [result.passed, result.failures.length]

function verdictOf(direct: ScenarioResult, fails: boolean, listed: boolean, isMore: boolean): Verdict {
  if (!direct.scored) return 'not scored'
  if (direct.failures.length > 0) return 'fails directly'
  if (!fails) return listed ? 'stale' : 'same'
  return listed && !isMore ? 'expected' : 'lost'
}

function faultsOf(rows: readonly Row[]): string[] {
  const what: Partial<Record<Verdict, string>> = {
    lost: 'passes directly and fails through the gateway',
    stale: 'passes through the gateway, so its entry in expected.ts is stale',
    'fails directly': 'fails against the fixture itself',
  }
  return rows
    .filter((row) => what[row.verdict] !== undefined)
    .map((row) => {
      const line = `${row.revision}, ${row.upstream} upstream, ${row.scenario}: ${what[row.verdict]}`
      return [line, ...row.failures.map((failure) => `    ${failure}`)].join('\n')
    })
}

/** Entries that name no scenario of the suite at all. */
function staleEntries(rows: readonly Row[]): string[] {
  return EXPECTED.filter(
    (entry) => !rows.some((row) => row.revision === entry.revision && row.scenario === entry.scenario && row.scored),
  ).map((entry) => `expected.ts names ${entry.scenario} (${entry.revision}), which the suite does not score`)
}
