// Reading the small files that configuration consists of: bounded, regular files only (a pipe would wait for ever).

import { closeSync, constants, fstatSync, openSync, readSync } from 'node:fs'

/** The text of a file. Throws with a message that names the path and why. */
export function readTextFile(path: string, bytesMax: number): string {
  // Without blocking: opening a pipe waits for its writer.
  const file = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK)
  try {
    const stat = fstatSync(file)
    if (!stat.isFile()) throw new Error(`${path} is not a file`)
    if (stat.size > bytesMax) throw new Error(`${path} is larger than ${bytesMax} bytes`)
    const bytes = Buffer.alloc(bytesMax + 1)
    let length = 0
    for (;;) {
      const read = readSync(file, bytes, length, bytes.length - length, null)
      length += read
      if (length > bytesMax) throw new Error(`${path} is larger than ${bytesMax} bytes`)
      if (read === 0) return bytes.toString('utf8', 0, length)
    }
  } finally {
    closeSync(file)
  }
}
