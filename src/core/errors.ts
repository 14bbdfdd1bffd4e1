// The catalogue: every error that a user can meet, with what to do about it. docs/errors.md is made from this table.
// `status` is the HTTP status where the answer is not a JSON-RPC reply inside 200, `rpc` the JSON-RPC code.
// Our own JSON-RPC numbers are -31000…-31099; -32020…-32022 are the specification's (2026-07-28).

export interface ErrorEntry {
  readonly status: number
  readonly rpc: number
  readonly retryable: boolean
  readonly title: string
  readonly hint: string
}

const entry = (status: number, rpc: number, retryable: boolean, title: string, hint: string): ErrorEntry => ({
  status,
  rpc,
  retryable,
  title,
  hint,
})

export const CATALOGUE = {
  PARSE_ERROR: entry(400, -32700, false, 'The body is not valid JSON', 'Send one JSON-RPC message in UTF-8.'),
  INVALID_REQUEST: entry(
    400,
    -32600,
    false,
    'Not a valid JSON-RPC 2.0 message',
    'Send an object with "jsonrpc":"2.0", a method, and a string or integer id, each key once.',
  ),
  METHOD_NOT_FOUND: entry(
    404,
    -32601,
    false,
    'Unknown method',
    'Use a method of the protocol revision that the request names.',
  ),
  INVALID_PARAMS: entry(400, -32602, false, 'Invalid parameters', 'Correct the parameter that the message names.'),
  INVALID_ARGUMENTS: entry(
    400,
    -32602,
    false,
    "The arguments do not fit the tool's inputSchema",
    'Correct the argument at the JSON pointer that the message names.',
  ),
  INVALID_RESULT: entry(
    502,
    -31017,
    false,
    "The upstream's result does not fit the tool's outputSchema",
    'Tell the owner of the upstream, or set validate to "arguments" for this tool.',
  ),
  INVALID_CURSOR: entry(400, -32602, false, 'Unknown cursor', 'Start the list again without a cursor.'),
  NOT_FOUND: entry(404, -32602, false, 'No such thing here', 'List what this token may see; a name is case-sensitive.'),
  INTERNAL: entry(500, -32603, true, 'A fault of the gateway', 'Try again; if it stays, report it with the requestId.'),
  HEADER_MISMATCH: entry(
    400,
    -32020,
    false,
    'A header contradicts the body',
    'Send Mcp-Method, Mcp-Name, Mcp-Param-* and MCP-Protocol-Version as in the body.',
  ),
  MISSING_CAPABILITY: entry(
    400,
    -32021,
    false,
    'The client lacks a capability that this call needs',
    'Declare the capability in the request, or use another client.',
  ),
  UNSUPPORTED_VERSION: entry(
    400,
    -32022,
    false,
    'Unsupported protocol version',
    'Use one of the supported versions that the error names.',
  ),
  UNAUTHENTICATED: entry(
    401,
    -31001,
    false,
    'A valid token is needed',
    'Send "Authorization: Bearer TOKEN"; `mcp-gateway token create NAME` makes one.',
  ),
  FORBIDDEN: entry(
    403,
    -31002,
    false,
    'Not allowed for this caller',
    'Ask an administrator for the right that the message names.',
  ),
  OPERATOR_ONLY: entry(
    403,
    -31003,
    false,
    'Only an operator may do this',
    "Use the data directory's token or the configuration file, or have access.commandsAllowed or access.networksAllowed list it.",
  ),
  ORIGIN_REFUSED: entry(403, -31004, false, 'This Origin is not allowed', 'List the origin in access.origins.'),
  HOST_REFUSED: entry(
    403,
    -31005,
    false,
    'This Host is not allowed',
    'Use the publicUrl, or list the host in access.hosts.',
  ),
  ADDRESS_REFUSED: entry(
    403,
    -31006,
    false,
    'This address is not allowed',
    'Private, loopback and link-local addresses need the operator right or access.networksAllowed.',
  ),
  SESSION_NOT_FOUND: entry(404, -32001, false, 'Unknown, ended or expired session', 'Send initialize again.'),
  SESSION_REQUIRED: entry(
    400,
    -32600,
    false,
    'The Mcp-Session-Id header is missing',
    'Send initialize first and then its session id with every request; POST /rpc needs none.',
  ),
  METHOD_NOT_ALLOWED: entry(
    405,
    -32600,
    false,
    'This HTTP method is not allowed here',
    'Use a method of the Allow header.',
  ),
  UPGRADE_REQUIRED: entry(
    426,
    -32600,
    false,
    'This path is for WebSocket only',
    'Connect with a WebSocket client (version 13, HTTP/1.1, no body, nothing else on the connection), or use /mcp.',
  ),
  NOT_ACCEPTABLE: entry(
    406,
    -32600,
    false,
    'The Accept header excludes every form of answer',
    'Accept application/json and text/event-stream.',
  ),
  UNSUPPORTED_MEDIA_TYPE: entry(
    415,
    -32600,
    false,
    'The body must be application/json',
    'Send Content-Type: application/json.',
  ),
  TOO_LARGE: entry(413, -31008, false, 'The body is too large', 'Send less; the limit is named in the message.'),
  TOO_DEEP: entry(
    400,
    -32600,
    false,
    'The JSON is nested too deeply',
    'Nest less deeply; the limit is named in the message.',
  ),
  REQUEST_TIMEOUT: entry(
    408,
    -31032,
    true,
    'The request did not arrive in time',
    'Send the whole request within the limits requestMs and headersMs.',
  ),
  EXPECTATION_FAILED: entry(
    417,
    -31033,
    false,
    'This expectation cannot be met',
    'Send no Expect header but "100-continue".',
  ),
  HEADERS_TOO_LARGE: entry(431, -31009, false, 'The headers are too large', 'Send fewer or shorter headers.'),
  RATE_LIMITED: entry(429, -31010, true, 'Too many requests', 'Wait as Retry-After says.'),
  OVERLOADED: entry(
    503,
    -31011,
    true,
    'Too many calls are waiting',
    'Wait as Retry-After says, or start more workers.',
  ),
  SHUTTING_DOWN: entry(
    503,
    -31012,
    true,
    'This process is stopping',
    'Send the request again; another process takes it.',
  ),
  TIMEOUT: entry(
    504,
    -31013,
    true,
    'The upstream did not answer in time',
    'Try again, or raise callMs for this tool or upstream.',
  ),
  UPSTREAM_UNAVAILABLE: entry(
    502,
    -31014,
    true,
    'The upstream cannot be reached',
    'See `mcp-gateway inspect UPSTREAM` for its state and the next retry.',
  ),
  UPSTREAM_NOT_READY: entry(
    503,
    -31015,
    true,
    'Nothing is known of the upstreams yet',
    'Try again in a few seconds; see `mcp-gateway list`.',
  ),
  UPSTREAM_BUSY: entry(
    503,
    -31016,
    true,
    'Every link to the upstream is taken',
    'Try again, or raise its number of children or connections.',
  ),
  UPSTREAM_INVALID: entry(
    502,
    -31018,
    false,
    'The upstream sent an answer that breaks the protocol',
    'Tell the owner of the upstream; `inspect` names the fault.',
  ),
  UPSTREAM_REFUSED: entry(502, -31019, false, 'The upstream refused our credential', "Correct the upstream's headers."),
  LOOP_DETECTED: entry(
    508,
    -31020,
    false,
    'The request has passed too many gateways',
    'Remove the gateway that has itself as an upstream.',
  ),
  OWNER_LOST: entry(410, -31021, false, 'The process that held this call is gone', 'Start the call again.'),
  UNSUPPORTED_BY_UPSTREAM: entry(
    502,
    -31022,
    false,
    'The upstream asked something that this client cannot be asked',
    'Declare the capability that the message names, accept event streams, or use another client.',
  ),
  QUESTION_REFUSED: entry(
    502,
    -31035,
    false,
    "The client did not answer the upstream's question",
    'Answer it, or call a tool that asks nothing.',
  ),
  CANCELLED: entry(499, -31023, false, 'The call was cancelled', 'Nothing: the client asked for it.'),
  STORE_UNAVAILABLE: entry(503, -31024, true, 'The store cannot be reached', 'Try again as Retry-After says.'),
  CONFLICT: entry(409, -31025, false, 'It clashes with what is there', 'Change the field that the message names.'),
  MANAGED_BY_FILE: entry(
    409,
    -31026,
    false,
    'This is managed by a file',
    'Change it in the file and line that the message names.',
  ),
  PRECONDITION_REQUIRED: entry(
    428,
    -31027,
    false,
    'If-Match is needed',
    'Read the entity first and send its ETag as If-Match.',
  ),
  PRECONDITION_FAILED: entry(412, -31028, false, 'It has changed meanwhile', 'Read it again and repeat the change.'),
  INVALID_INPUT: entry(400, -31029, false, 'The request body is not valid', 'Correct the fields that errors[] names.'),
  TOO_MANY: entry(
    409,
    -31030,
    false,
    'A limit of this gateway is reached',
    'Remove something first; the limit is named in the message.',
  ),
  CONFIG_INVALID: entry(500, -31031, false, 'The configuration is not valid', 'Correct the lines that are named.'),
  CONFIG_REFUSED: entry(
    409,
    -31037,
    false,
    'The configuration files were refused',
    'Correct the lines that are named; what was applied before stays in force.',
  ),
} as const satisfies Record<string, ErrorEntry>

export type ErrorCode = keyof typeof CATALOGUE

export interface Fault {
  /** JSON pointer or `file:line` of what is wrong. */
  readonly at: string
  readonly message: string
}

export interface ErrorOptions {
  /** Extra members of JSON-RPC `data`, such as `supported` and `requested` of UNSUPPORTED_VERSION. */
  readonly data?: Readonly<Record<string, unknown>>
  readonly faults?: readonly Fault[]
  readonly retryAfterSeconds?: number
  /** Extra reply headers, such as Allow or WWW-Authenticate. */
  readonly headers?: Readonly<Record<string, string>>
  readonly cause?: unknown
}

/** An operating error of the catalogue. `message` is for the user: it names the thing, never a stack or a secret. */
export class GatewayError extends Error {
  readonly code: ErrorCode
  readonly options: ErrorOptions

  constructor(code: ErrorCode, message?: string, options: ErrorOptions = {}) {
    // Operating errors are part of normal traffic: collecting a stack would cost about 10 µs each.
    const limit = Error.stackTraceLimit
    Error.stackTraceLimit = 0
    super(message ?? CATALOGUE[code].title, options.cause === undefined ? undefined : { cause: options.cause })
    Error.stackTraceLimit = limit
    this.code = code
    this.options = options
  }

  get entry(): ErrorEntry {
    return CATALOGUE[this.code]
  }
}

/** A broken promise of our own code: ends the call with -32603 and a log line, never with a client-fault code. */
export class InvariantError extends Error {}

export function invariant(condition: unknown, what: string): asserts condition {
  if (!condition) throw new InvariantError(`broken invariant: ${what}`)
}
