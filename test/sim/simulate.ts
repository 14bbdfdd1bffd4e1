// One run of the simulation: the process's timers are virtual while it lasts.

import { createRandom } from '../fuzz/random.ts'
import { VirtualTime } from './time.ts'
import { type Outcome, World } from './world.ts'

export async function simulate(seed: number, steps: number): Promise<Outcome> {
  const time = new VirtualTime()
  const random = createRandom(seed)
  const uninstall = time.install(random)
  try {
    const world = await World.create(time, random)
    return await world.run(steps)
  } finally {
    uninstall()
  }
}
