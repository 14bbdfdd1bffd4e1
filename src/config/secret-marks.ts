// Rows of files refer to secrets in other files and in the environment. A mark in the row says which secrets they stood
// for when the rows were applied, so that a secret that was exchanged makes another row: its links and processes are then
// made anew, in every worker. A mark is a keyed hash: it tells nothing of the secret. Absent on purpose: the secrets.

import type { Secret } from '../core/model.ts'
import type { FileRows, NewUpstream } from '../ports/store.ts'

export interface MarkSources {
  /** Errors are those of a secret that cannot be read: its link will say so. */
  readonly resolve: (secret: Secret) => string
  readonly mac: (plain: Buffer) => Buffer
}

export function markSecrets(rows: FileRows, sources: MarkSources): FileRows {
  return { ...rows, upstreams: rows.upstreams.map((row) => marked(row, sources)) }
}

function marked(row: NewUpstream, { resolve, mac }: MarkSources): NewUpstream {
  const { transport } = row.spec
  const secrets = Object.entries((transport.kind === 'stdio' ? transport.env : transport.headers) ?? {})
  const read = secrets.flatMap(([name, secret]) => {
    if (typeof secret === 'string') return []
    try {
      return [[name, resolve(secret)]]
    } catch {
      return [[name, null]]
    }
  })
  if (read.length === 0) return row
  const secretsMark = mac(Buffer.from(JSON.stringify(read))).toString('base64url')
  return { ...row, spec: { ...row.spec, transport: { ...transport, secretsMark } } }
}
