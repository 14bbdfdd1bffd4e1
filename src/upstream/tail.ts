// The end of an endless text: the last bytes of a child's stderr.

/** What a terminal would obey rather than show: the text is a stranger's and ends on an operator's screen. */
// biome-ignore lint/complexity/useRegexLiterals: escapes of control characters read better in a string
const CONTROLS = new RegExp('\\u001b\\[[0-9;?]*[ -/]*[@-~]|[\\u0000-\\u0008\\u000b-\\u001f\\u007f-\\u009f]', 'g')

export class Tail {
  readonly #bytesMax: number
  #chunks: Buffer[] = []
  #bytes = 0

  constructor(bytesMax: number) {
    this.#bytesMax = bytesMax
  }

  append(chunk: Buffer): void {
    // Copied: a few bytes must not keep the 64 KiB alive that they were read into.
    const kept = Buffer.from(chunk.length > this.#bytesMax ? chunk.subarray(-this.#bytesMax) : chunk)
    this.#chunks.push(kept)
    this.#bytes += kept.length
    // Joined only at twice the bound, so that many small chunks cost little.
    if (this.#bytes > 2 * this.#bytesMax || this.#chunks.length > 1024) this.#trim()
  }

  #trim(): void {
    const whole = Buffer.concat(this.#chunks)
    const kept = whole.length > this.#bytesMax ? Buffer.from(whole.subarray(-this.#bytesMax)) : whole
    this.#chunks = [kept]
    this.#bytes = kept.length
  }

  /** The last bytes as text, without control characters other than tab and newline. */
  text(): string {
    this.#trim()
    return this.#chunks[0]!.toString('utf8').replace(CONTROLS, '')
  }

  /** The last non-empty lines in one line of at most `chars`, for a message. */
  lastWords(chars: number): string {
    const lines = this.text()
      .split('\n')
      .map((line) => line.trim())
      .filter((line) => line !== '')
    return lines.slice(-3).join(' | ').slice(-chars)
  }
}
