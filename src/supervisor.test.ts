import assert from 'node:assert/strict'
import { test } from 'node:test'
import { LIMITS } from './core/limits.ts'
import { cpuQuota, openFilesShortage, workersAuto } from './supervisor.ts'

const files =
  (texts: Record<string, string>) =>
  (path: string): string | null =>
    texts[path] ?? null

const QUOTAS: [string, Record<string, string>, number][] = [
  ['no cgroups at all', {}, Number.POSITIVE_INFINITY],
  [
    'version 2, none set',
    { '/proc/self/cgroup': '0::/\n', '/sys/fs/cgroup/cpu.max': 'max 100000\n' },
    Number.POSITIVE_INFINITY,
  ],
  ['version 2, in a container', { '/proc/self/cgroup': '0::/\n', '/sys/fs/cgroup/cpu.max': '150000 100000\n' }, 1.5],
  [
    'version 2, the least of all above',
    {
      '/proc/self/cgroup': '0::/a/b/c\n',
      '/sys/fs/cgroup/a/b/c/cpu.max': '800000 100000\n',
      '/sys/fs/cgroup/a/b/cpu.max': 'max 100000\n',
      '/sys/fs/cgroup/a/cpu.max': '200000 100000\n',
    },
    2,
  ],
  [
    'version 1',
    {
      '/proc/self/cgroup': '5:memory:/x\n4:cpu,cpuacct:/docker/id\n0::/\n',
      '/sys/fs/cgroup/cpu/cpu.cfs_quota_us': '50000\n',
      '/sys/fs/cgroup/cpu/cpu.cfs_period_us': '100000\n',
    },
    0.5,
  ],
  [
    'version 1, none set',
    {
      '/proc/self/cgroup': '4:cpu:/\n',
      '/sys/fs/cgroup/cpu/cpu.cfs_quota_us': '-1\n',
      '/sys/fs/cgroup/cpu/cpu.cfs_period_us': '100000\n',
    },
    Number.POSITIVE_INFINITY,
  ],
  [
    'nonsense',
    { '/proc/self/cgroup': 'x\n0::relative\n', '/sys/fs/cgroup/cpu.max': 'a b c' },
    Number.POSITIVE_INFINITY,
  ],
]
for (const [name, texts, expected] of QUOTAS) {
  test(`CPU quota: ${name}`, () => assert.equal(cpuQuota(files(texts)), expected))
}

test('auto means a worker per usable CPU, one at least', () => {
  const quota = (text: string) => files({ '/proc/self/cgroup': '0::/\n', '/sys/fs/cgroup/cpu.max': text })
  assert.equal(workersAuto(LIMITS, quota('max 100000'), 8), 8)
  assert.equal(workersAuto(LIMITS, quota('150000 100000'), 8), 2)
  assert.equal(workersAuto(LIMITS, quota('20000 100000'), 8), 1)
  assert.equal(workersAuto(LIMITS, quota('max 100000'), 1000), LIMITS.workersMax)
  assert.ok(workersAuto(LIMITS) >= 1)
})

test('a too low limit of open files is named', () => {
  const table = (soft: string) => files({ '/proc/self/limits': `Max open files            ${soft}   524288   files\n` })
  assert.match(openFilesShortage(20_000, table('1024')) ?? '', /is 1024, but 20000 connections need 20256/)
  assert.equal(openFilesShortage(20_000, table('20256')), null)
  assert.equal(openFilesShortage(20_000, table('unlimited')), null)
  assert.equal(openFilesShortage(20_000, files({})), null)
  assert.equal(openFilesShortage(1), null)
})
