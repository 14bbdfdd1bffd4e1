// A process that saves one large discovery after the other until it is killed. Each line on its output is the number of
// a discovery that was answered. Run by store.test.ts: `node store-crash.ts ADAPTER ADDRESS UPSTREAM`.

import { ADAPTERS } from './store-adapters.ts'
import { discovery, manyDefinitions } from './store-samples.ts'

const [name, address, upstreamId] = process.argv.slice(2)
const store = await ADAPTERS.find((adapter) => adapter.name === name)!
  .placeAt(address!)
  .open()
console.log('0')
for (let round = 1; ; round++) {
  await store.saveDiscovery(upstreamId!, discovery(), manyDefinitions(20_000, String(round)))
  console.log(round)
}
