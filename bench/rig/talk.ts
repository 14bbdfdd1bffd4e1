// What the bench says and what it must hear: tool names, body sizes and the bytes of requests and answers. The upstream,
// the load generator and the tests share this file, and nothing of src/ is used: the bench must not believe the gateway.

/** `sessions` is the handshake family (2025-11-25, Mcp-Session-Id), `stateless` is 2026-07-28. */
export type Form = 'sessions' | 'stateless'

export const TOOLS = 20
export const TOKENS = 50
export const SLUG = 'bench'
export const REVISION: Readonly<Record<Form, string>> = { sessions: '2025-11-25', stateless: '2026-07-28' }

export const toolName = (index: number): string => `tool_${String(index).padStart(3, '0')}`

/** Bytes of the answer's body, with their share of the calls. The request carries the same text, so it is as long. */
export const SIZES = [
  { name: '300 B', bytes: 300, percent: 80 },
  { name: '2 KB', bytes: 2_000, percent: 18 },
  { name: '100 KB', bytes: 100_000, percent: 2 },
] as const
export const MIX = SIZES.map((size) => `${size.percent} % ${size.name}`).join(', ')

// Ids and marks have a fixed width, so that every answer of one size has the same length and is compared as bytes.
export const FIRST_ID = 1_000_000
const ANSWER_HEAD = '{"jsonrpc":"2.0","id":'
const RESULT_HEAD: Readonly<Record<Form, string>> = {
  sessions: ',"result":{"content":[{"type":"text","text":"',
  stateless: ',"result":{"resultType":"complete","content":[{"type":"text","text":"',
}
const ANSWER_TAIL = '"}]}}'
const MARK_CHARS = 16

const WORDS = 'the quick brown fox jumps over one lazy dog and runs on through a wide green field until it is dark; '

/** Plain ASCII without escapes: the cheapest text there is for JSON.parse, hence for the bare proxy. */
function filler(chars: number): string {
  return WORDS.repeat(Math.ceil(chars / WORDS.length)).slice(0, chars)
}

const overhead = Buffer.byteLength(answerText('sessions', String(FIRST_ID), '0'.repeat(MARK_CHARS), ''))
export const FILLERS: readonly string[] = SIZES.map((size) => filler(size.bytes - overhead))

/** The text of an answer: the request's own mark first, so that an answer of another request never fits. */
export function answerText(form: Form, id: string, mark: string, text: string): string {
  return `${ANSWER_HEAD}${id}${RESULT_HEAD[form]}${mark} ${text}${ANSWER_TAIL}`
}

export function mark(n: number, salt: string): string {
  return salt + n.toString(36).padStart(MARK_CHARS - salt.length, '0')
}
export const SALT_CHARS = 8

const MODERN_META =
  '"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientInfo":' +
  '{"name":"bench","version":"1"},"io.modelcontextprotocol/clientCapabilities":{}'

/** `progressToken` is raw JSON text, or null for none. */
export function metaText(form: Form, progressToken: string | null): string {
  if (form === 'stateless')
    return progressToken === null ? `${MODERN_META}},` : `${MODERN_META},"progressToken":${progressToken}},`
  return progressToken === null ? '' : `"_meta":{"progressToken":${progressToken}},`
}

export function callText(form: Form, id: number, tool: string, markText: string, text: string, token: string | null) {
  return `{"jsonrpc":"2.0","id":${id},"method":"tools/call","params":{${metaText(form, token)}"name":"${tool}","arguments":{"mark":"${markText}","text":"${text}"}}}`
}

export function listText(form: Form, id: number): string {
  const meta = metaText(form, null).slice(0, -1)
  return `{"jsonrpc":"2.0","id":${id},"method":"tools/list","params":{${meta}}}`
}

export function initializeText(id: number): string {
  return `{"jsonrpc":"2.0","id":${id},"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"bench","version":"1"}}}`
}
export const INITIALIZED = '{"jsonrpc":"2.0","method":"notifications/initialized"}'

/** The head of a POST, without Content-Length. */
export function headText(
  form: Form,
  host: string,
  path: string,
  token: string,
  session: string | null,
  method: string,
  name: string | null,
): string {
  const session1 = session === null ? '' : `Mcp-Session-Id: ${session}\r\n`
  const modern = form === 'stateless' ? `Mcp-Method: ${method}\r\n${name === null ? '' : `Mcp-Name: ${name}\r\n`}` : ''
  return (
    `POST ${path} HTTP/1.1\r\nHost: ${host}\r\nAuthorization: Bearer ${token}\r\nContent-Type: application/json\r\n` +
    `Accept: application/json, text/event-stream\r\nMCP-Protocol-Version: ${REVISION[form]}\r\n${session1}${modern}`
  )
}
