// Names of requests for logs and error data: unique in the installation, made only when somebody asks.

import { randomBytes } from 'node:crypto'

const process = randomBytes(6).toString('hex')
let count = 0

export function newRequestId(): string {
  count += 1
  return `${process}-${count.toString(36)}`
}
