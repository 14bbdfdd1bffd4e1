import assert from 'node:assert/strict'
import { test } from 'node:test'
import { routeOf } from './router.ts'

test('what a path means', () => {
  const cases: [path: string, place: string, scope?: string][] = [
    ['/mcp', 'mcp'],
    ['/mcp/', 'mcp'],
    ['/rpc', 'rpc'],
    ['/health', 'health'],
    ['/ready', 'ready'],
    ['/servers/team-a/mcp', 'mcp', 'team-a'],
    ['/servers/team-a/mcp/', 'mcp', 'team-a'],
    ['/servers/0197f0c2-0000-7000-8000-000000000001/rpc', 'rpc', '0197f0c2-0000-7000-8000-000000000001'],
    ['/', 'rest'],
    ['', 'rest'],
    ['*', 'rest'],
    ['/MCP', 'rest'],
    ['/mcp/x', 'rest'],
    ['/servers', 'rest'],
    ['/servers/', 'rest'],
    ['/servers/team', 'rest'],
    ['/servers/team/', 'rest'],
    ['/servers/team/tools', 'rest'],
    ['/servers//mcp', 'rest'],
    ['/servers/../mcp', 'rest'],
    ['/servers/a%2Fb/mcp', 'rest'],
    ['/servers/__proto__/mcp', 'rest'],
    [`/servers/${'a'.repeat(65)}/mcp`, 'rest'],
    ['/v1/servers/team/mcp', 'rest'],
  ]
  for (const [path, place, scope = ''] of cases) assert.deepEqual(routeOf(path), { place, scope }, path)
})
