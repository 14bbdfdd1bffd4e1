// placeholder
import type { Settings } from '../rig/measure.ts'
import type { Report } from '../rig/report.ts'
export async function components(_settings: Settings): Promise<Report> {
  throw new Error('later')
}
