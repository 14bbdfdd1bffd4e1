import assert from 'node:assert/strict'
import { test } from 'node:test'
import { JsonFault } from '../mcp/json.ts'
import { type Route, routeLine } from './line-route.ts'

function routes(line: string): Route[] {
  const found: Route[] = []
  routeLine(Buffer.from(line), (route) => found.push(route))
  return found
}

const big = JSON.stringify('x'.repeat(500))

const CASES: [string, string, Route[]][] = [
  ['an answer, id first', '{"jsonrpc":"2.0","id":"3.7","result":{}}', [3]],
  ['an answer, id last', '{"result":{},"jsonrpc":"2.0","id":"12.a"}', [12]],
  ['a large answer, id last', `{"result":{"text":${big}},"jsonrpc":"2.0","id":"12.a"}`, [12]],
  ['a large answer, id in the middle', `{"jsonrpc":"2.0","result":{"text":${big}},"id":"4.1"}`, [4]],
  ['an error', '{"error":{"code":1,"message":"m"},"jsonrpc":"2.0","id":"1.1"}', [1]],
  ['an answer laid out with spaces', ' { "id" : "5.x" , "jsonrpc":"2.0", "result":{} } ', [5]],
  ['an id with escapes', '{"jsonrpc":"2.0","id":"\\u0035.x","result":{}}', [5]],
  ['an answer to nobody', '{"jsonrpc":"2.0","id":7,"result":{}}', ['broker']],
  ['an answer without a number', '{"jsonrpc":"2.0","id":"x.1","result":{}}', ['broker']],
  ['an answer inside the result of another', '{"jsonrpc":"2.0","id":"2.1","result":{"id":"1.5"}}', [2]],
  [
    'an answer in a text of the result',
    '{"result":{"t":",\\"jsonrpc\\":\\"2.0\\",\\"id\\":\\"1.5\\"}"},"id":"2.1","jsonrpc":"2.0"}',
    [2],
  ],
  ['a question', '{"jsonrpc":"2.0","id":1,"method":"sampling/createMessage","params":{}}', ['broker']],
  ['a question with an id like ours', '{"jsonrpc":"2.0","id":"3.1","method":"roots/list"}', ['broker']],
  [
    'a question whose id comes last',
    '{"method":"roots/list","params":{"a":{}},"jsonrpc":"2.0","id":"3.1"}',
    ['broker'],
  ],
  [
    'progress',
    '{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":"9.4","progress":1}}',
    [9],
  ],
  [
    'progress of nobody',
    '{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":4,"progress":1}}',
    ['broker'],
  ],
  [
    'the end of a subscription',
    '{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"6.2"}}',
    [6],
  ],
  [
    'news of a subscription',
    '{"jsonrpc":"2.0","method":"notifications/tools/list_changed","params":{"_meta":{"io.modelcontextprotocol/subscriptionId":"6.2"}}}',
    [6],
  ],
  ['news', '{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}', ['all']],
  ['news with odd params', '{"jsonrpc":"2.0","method":"notifications/x","params":[1]}', ['all']],
  [
    'a batch',
    '[{"jsonrpc":"2.0","id":"1.1","result":{}},{"jsonrpc":"2.0","method":"notifications/x"},{"jsonrpc":"2.0","id":1,"method":"ping"}]',
    [1, 'all', 'broker'],
  ],
]
for (const [name, line, expected] of CASES) {
  test(`route: ${name}`, () => assert.deepEqual(routes(line), expected))
}

const FAULTS = [
  'hello',
  '"text"',
  '12',
  '{',
  '{"id":"1.1"',
  '{"a":1,"a":2}',
  '[1,2]',
  '{}{}',
  '',
  `[${'{},'.repeat(100_000)}{}]`,
]
for (const line of FAULTS) {
  test(`no message: ${line.slice(0, 40)}`, () => assert.throws(() => routes(line), JsonFault))
}
