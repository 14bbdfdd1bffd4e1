// The whole of gateway.yaml: sections of settings, then rows. Its JSON Schema is this shape's.

import { TOKENS, UPSTREAMS, VIRTUAL_SERVERS } from './rows.ts'
import { SECTIONS } from './schema.ts'
import { constant, object, type Shape, type ValueOf } from './shape.ts'

const file = object(
  'a map of sections',
  { version: constant(1), ...SECTIONS, upstreams: UPSTREAMS, virtualServers: VIRTUAL_SERVERS, tokens: TOKENS },
  { needs: ['version'] },
)

export interface GatewayFile {
  readonly upstreams?: ValueOf<typeof UPSTREAMS>
  readonly virtualServers?: ValueOf<typeof VIRTUAL_SERVERS>
  readonly tokens?: ValueOf<typeof TOKENS>
  /** Values of settings, by their section and name. */
  readonly [section: string]: unknown
}

export const GATEWAY_FILE = file as Shape<GatewayFile>
