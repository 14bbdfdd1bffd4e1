// Where something is held that lives in one worker's memory only.

/** One run of one worker: its number is used again after a restart of everything, but what it held then is gone. */
export interface Place {
  readonly worker: number
  /** Random, 32 bits. */
  readonly boot: number
}

export const isSamePlace = (one: Place, other: Place): boolean => one.worker === other.worker && one.boot === other.boot
