// One row of the table of components: what the model architecture claims for it, what stands for it here, and either a
// measurement against the plain alternative or the reason why there is none.

import type { Pace, Pair } from '../rig/micro.ts'

export interface Component {
  readonly layer: string
  readonly name: string
  readonly claim: string
  /** Our equivalent and its file. */
  readonly ours: string
  readonly measure?: (pace: Pace) => Promise<readonly Pair[]>
  /** Why nothing is measured here. */
  readonly why?: string
}
