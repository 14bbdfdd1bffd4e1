// Messages between the primary and one of its workers: in order, at most once, cloned on the way. Both ends are the same
// program, so bodies are trusted; each part of the program has its own kind of body.

export type Part = 'bus' | 'control' | 'feed' | 'hop' | 'start' | 'supervisor'

export interface Messages {
  /** Never throws; a message to an end that is gone is lost, and onClose tells. */
  send(part: Part, body: unknown): void
  /** Messages of one part. Those that come while nobody listens are lost: begin with a message from the listening side. */
  on(part: Part, listener: (body: unknown) => void): () => void
  /** The other end is gone; comes once, at once if it has happened. */
  onClose(listener: () => void): () => void
  /** Messages that the system has not taken yet: grows when the other side reads slowly. */
  readonly backlog: number
}
