// Notices that files have changed, however they were changed: written in place, replaced by rename as editors do, or
// swapped with the folder that a link leads to, as Kubernetes does with mounted ConfigMaps and Secrets. By polling:
// watchers of the system miss renames and links, and network drives altogether, and a look at a few files costs some µs.
// What is seen must stay the same for one more look, so that several writes come as one and a file that is gone only for
// the moment of a rename is never met. Absent on purpose: reading the files.

import { type BigIntStats, statSync } from 'node:fs'

export interface FileWatcher {
  /** What the files are now counts as known. To be called before they are read: a change after it is then never missed. */
  mark(): void
  close(): void
}

export interface WatchOptions {
  /** Asked at every look, as files refer to others. */
  readonly paths: () => readonly string[]
  readonly pollMs: number
  /** How long files may go on changing before they are read all the same. */
  readonly quietMsMax: number
  readonly onChange: (changed: readonly string[]) => void
}

/** What another file, or another content of it, would not share. Links are followed. */
function stampOf(path: string): string {
  let found: BigIntStats | undefined
  try {
    found = statSync(path, { bigint: true, throwIfNoEntry: false })
  } catch (error) {
    return String((error as NodeJS.ErrnoException).code)
  }
  if (found === undefined) return 'absent'
  const { dev, ino, size, mtimeNs, ctimeNs } = found
  return [dev, ino, size, mtimeNs, ctimeNs].join(' ')
}

/** Paths that differ, or that only one of them has. */
function differing(before: ReadonlyMap<string, string>, after: ReadonlyMap<string, string>): string[] {
  const changed = [...after.keys()].filter((path) => before.get(path) !== after.get(path))
  return [...changed, ...[...before.keys()].filter((path) => !after.has(path))]
}

export function watchFiles({ paths, pollMs, quietMsMax, onChange }: WatchOptions): FileWatcher {
  const stamps = (): Map<string, string> => new Map(paths().map((path) => [path, stampOf(path)]))
  let known = stamps()
  let seen = known
  let looks = 0

  const settle = (now: Map<string, string>): void => {
    known = now
    seen = now
    looks = 0
  }
  const look = (): void => {
    const now = stamps()
    const changed = differing(known, now)
    if (changed.length === 0) {
      settle(now)
      return
    }
    looks += 1
    const isQuiet = differing(seen, now).length === 0
    seen = now
    if (!isQuiet && looks * pollMs < quietMsMax) return
    settle(now)
    onChange(changed)
  }
  const timer = setInterval(look, pollMs)
  timer.unref()
  return {
    mark: () => settle(stamps()),
    close: () => clearInterval(timer),
  }
}
