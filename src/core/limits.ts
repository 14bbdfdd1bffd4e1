// Every queue, map, body, page, retry and wait has its number here, with a sentence. Those without one can be changed
// at start: theirs stands in config/schema.ts. docs/limits.md is made from both, under the headings below.

export const LIMITS = {
  // requests from clients
  bodyBytes: 8 * 1024 * 1024,
  headerBytes: 16 * 1024,
  headerCount: 100,
  jsonDepth: 64, // Nesting of JSON from clients.
  batchItems: 50, // Messages in a JSON-RPC batch.
  requestMs: 30_000,
  headersMs: 15_000,
  keepAliveMs: 65_000,
  lingerMs: 1_000, // How long a closing connection is kept for the end of its last reply.
  tlsPollMs: 5_000, // How often the files of the certificate are looked at.
  unreadBodyBytes: 64 * 1024, // Most of a refused body that is still read, so that its connection can be kept.
  // concurrency, per worker
  maxInFlight: 1024,
  maxQueued: 64,
  queueMs: 45,
  maxStreams: 12_000,
  streamBufferBytes: 1024 * 1024, // Unsent bytes of a stream, beyond which its client is too slow and it is closed.
  wireCallsMax: 256, // Requests of one WebSocket or HTTP+SSE connection that have no answer yet.
  wireUnreadBytes: 64 * 1024 * 1024, // Unsent bytes of such a connection, beyond which it is dropped.
  wirePingsMax: 4, // Pings of a WebSocket without any sign of life, after which it is dropped.
  connectionsMax: 16_000,
  backlog: 4096,
  // calls
  callMs: 60_000,
  callMsMax: 3_600_000,
  connectMs: 5_000,
  keepAliveCommentMs: 15_000, // How often an open stream gets a comment while it is silent.
  hopsMax: 5, // Gateways that a request may pass.
  // questions in the middle of a call, per worker
  questionMs: 600_000, // Time for a client to answer a question.
  questionBytes: 1024 * 1024, // Largest question of an upstream.
  questionsPerCall: 16, // Questions of one call that wait for an answer.
  questionRounds: 8, // How often one call of an older client may be asked by a newer server.
  earMs: 2_000, // How long a link on which questions may come waits for the stream that brings them, before it is used.
  questionClaimMs: 250, // How long an upstream's question without a call waits for a worker that can put it.
  parkedMax: 1_000, // Calls that wait for answers of their clients, per worker …
  parkedPerCaller: 10, // … and for each caller.
  parkedMs: 600_000, // How long such a call is kept.
  // streams of older clients that can be resumed, per worker
  tapeEvents: 100, // Messages of one call's stream that are kept …
  tapeBytes: 8 * 1024 * 1024, // … and their bytes; of a larger answer only the fact is kept.
  tapeMs: 600_000, // How long they are kept after the answer, and changes of resources for streams that broke.
  tapesMax: 5_000, // Streams of calls that are kept.
  tapesBytes: 64 * 1024 * 1024, // Bytes of all of them.
  resumesMax: 2_000, // Streams that are being resumed.
  // subscriptions
  watchesMax: 20_000, // Resources that are watched, each by one session or stream.
  watchesPerHolder: 100, // Those of one session or stream.
  watchMs: 10_000, // Time for an upstream to take a subscription.
  // upstreams
  upstreamBodyBytes: 32 * 1024 * 1024,
  upstreamEventBytes: 32 * 1024 * 1024,
  upstreamHeaderBytes: 32 * 1024, // Largest head of an answer of an upstream.
  upstreamErrorBytes: 64 * 1024, // Most that is read of a refusal of an upstream.
  upstreamSessionIdBytes: 1024, // Longest session id of an upstream.
  upstreamDroppedMax: 1_000, // Messages of a stream that belong to nothing, before the stream is given up.
  upstreamLinesBurst: 5_000, // Lines of a stream, data not counted, that may come at once …
  upstreamLinesPerSecond: 1_000, // … and in each second after that; a stream that floods is given up.
  upstreamAsksMax: 32, // Requests that an upstream may send us within one call.
  upstreamLingerMs: 1_000, // How long the rest of an answered stream is read, to keep its connection.
  upstreamNoticeMs: 5_000, // Time for a notification to an upstream.
  upstreamNoticesMax: 256, // Notifications on their way to one upstream.
  upstreamConnectionsMax: 1024,
  upstreamWaitingMax: 4096, // Requests that wait for a connection to one URL.
  upstreamIdleMs: 4_000, // How long an unused connection is kept where the upstream does not say.
  upstreamIdleMsMax: 600_000, // How long it is kept at most where the upstream says.
  upstreamLinksMax: 10_000, // Links of one upstream, per worker.
  upstreamRetiredMax: 100, // Former forms of upstreams whose last calls are still waited for.
  upstreamUrlsMax: 16, // URLs of one upstream.
  breakerFailures: 5, // Failures in a row after which a URL of an upstream is left alone for a while.
  breakerOpenMsBase: 1_000, // How long that is at first; each time it doubles.
  breakerOpenMsMax: 10_000, // How long that is at most.
  upstreamsMax: 1_000, // Upstreams of the registry.
  listPagesMax: 1_000, // Pages of one list of an upstream.
  listItemsMax: 20_000, // Items of one list of an upstream, and definitions of one upstream.
  definitionBytes: 1024 * 1024, // Largest definition; a larger one is left out and shown as skipped.
  definitionsBytes: 64 * 1024 * 1024, // All definitions of one upstream.
  refreshMs: 300_000,
  refreshMsMin: 15_000, // Least pause between two refreshes that a setting may ask for.
  probeMs: 10_000, // Time for an upstream to say which protocol it speaks.
  handshakeMs: 20_000, // Time for an upstream to answer initialize.
  openingMax: 256, // Links of callers that are being opened at the same time.
  openingPerUpstream: 64, // Those of a single upstream: one that hangs leaves room for the others.
  discoveriesMax: 16,
  discoveryMs: 300_000, // Time to read all lists of an upstream: a slow one gives its place back.
  newsMsMin: 1_000, // Least pause between two refreshes that an upstream asks for.
  newsQuietMs: 250, // How long changes are collected before a refresh.
  greetingBytes: 64 * 1024, // Largest answer to initialize or server/discover.
  probeAgainMs: 86_400_000, // After which time an upstream is asked again which protocol it speaks.
  retryMsBase: 1_000, // First pause before an upstream is tried again; each time it doubles.
  retryMsMax: 60_000,
  notReadyWaitMs: 2_000, // How long a list waits for an upstream that was never reached.
  // stdio children
  childrenPerUpstream: 8,
  childrenMax: 64,
  childrenSpawning: 4, // Processes that are being started at the same time.
  childIdleMs: 300_000,
  childStopMs: 5_000, // Time for a process to end before it is killed.
  childLineBytes: 32 * 1024 * 1024, // Longest line of a process.
  childStderrBytes: 64 * 1024, // End of the error output that is kept, per upstream.
  childStderrUpstreams: 256, // Upstreams whose error output is kept after their processes have ended.
  childQueueBytes: 16 * 1024 * 1024, // Bytes that wait for a process to read them.
  childNoiseBytes: 4 * 1024 * 1024, // Lines of a process that belong to nobody, per second.
  childChannels: 256, // Conversations with one process.
  childStartMs: 5_000, // After which time a process that is still there counts as started.
  childSpawnWaitMs: 15_000, // How long a call waits for its turn to start a process.
  childRetireMs: 1_000, // How long a process that was replaced still takes those who were sent to it.
  childTermMs: 1_000, // Time for a process to end by itself after its input was closed.
  childPollMs: 2_000, // How often the groups of processes are looked at.
  childRestartMsMax: 60_000, // Longest pause before a process is started again.
  childMemoryBytes: 2 * 1024 ** 3,
  childCpuSeconds: 0,
  childOpenFiles: 1024,
  childProcesses: 512,
  // streams of HTTP+SSE upstreams
  sseStreamsPerUpstream: 256, // Streams of one HTTP+SSE upstream: one for each caller or session that it keeps state for.
  sseStreamsMax: 4_096, // Those of all of them.
  ssePostMs: 20_000, // Time for an HTTP+SSE upstream to take a message.
  // primary and workers
  workersMax: 256, // Worker processes.
  workerReadyMs: 30_000, // Time for a worker to become ready.
  workerQuickDeathMs: 10_000, // A worker that ends sooner than this is started again with a pause.
  workerRestartMsBase: 250, // That pause at first; each time it doubles.
  workerRestartMsMax: 30_000, // That pause at most.
  linkFrameBytes: 64 * 1024, // Largest frame between a worker and the primary.
  linkWindowBytes: 1024 * 1024, // Unread bytes of one link between a worker and the primary.
  linkStallMs: 10_000, // After which time a link is closed whose worker does not read.
  linksMax: 4_096, // Links of one worker to processes.
  controlOutstanding: 10_000, // Questions of a worker that the primary has not answered.
  controlMs: 10_000, // Time for the primary to answer a worker.
  controlLinkMs: 90_000, // Time for the primary to open a link for a worker.
  hopMs: 2_000, // Time for another worker to take over what is asked of it.
  hopsOutstanding: 10_000, // Questions of a worker to others that have not been answered.
  busBacklog: 10_000, // News that wait for a slow worker; more are dropped.
  feedPiecesUnread: 4, // Pieces of the registry that a worker has not taken yet.
  // sessions
  sessionIdBytes: 512, // Longest session id that is made or read.
  sessionAgeMs: 86_400_000,
  sessionCacheItems: 20_000, // Opened session ids that are remembered, per worker.
  sessionLevelsMax: 50_000, // Sessions whose log level is remembered.
  tombstonesMax: 1_000_000, // Sessions that ended before their time.
  tombstonesPerMinute: 60,
  upstreamSessionsMax: 50_000,
  upstreamSessionIdleMs: 3_600_000, // How long a session with an upstream is kept that its owner does not use.
  // lists and caches, per worker
  pageItems: 1_000, // Items of one page of a list.
  listCacheBytes: 64 * 1024 * 1024,
  callerCacheItems: 20_000,
  callerCacheMs: 30_000,
  // tokens that are none: kept apart, so that a flood of them pushes nobody out
  strangerCacheItems: 10_000, // Unknown tokens that are remembered, per worker.
  strangerCacheMs: 5_000, // How long an unknown token is remembered.
  callerLookupsMax: 1_000, // Unknown tokens that are being looked up, per worker.
  callerLookupMs: 2_000, // Time to look up a token.
  validatorCacheItems: 500, // Compiled validators, per worker.
  schemaBytes: 64 * 1024, // Largest schema that is compiled; larger ones are interpreted.
  schemaNodes: 2_000, // Most parts of a schema that is compiled.
  schemaDepth: 32, // Deepest nesting of a schema that is compiled.
  schemaSteps: 50_000, // Steps of an interpreted check, and of the patterns of any.
  schemaVisits: 2_000_000, // Nodes times values, up to which a compiled check is let run: a tenth of a second.
  validatorCacheBytes: 32 * 1024 * 1024, // Text of the schemas whose validators are kept, per worker.
  patternChars: 1_000, // Longest `pattern` of a schema that is judged.
  patternWeight: 4_000, // Instructions of all patterns of a schema.
  // registry
  pieceBytes: 256 * 1024, // Size of the pieces in which long things go between threads and processes.
  sliceMs: 5, // How long a long task runs before it lets others run.
  changePollMs: 500, // How often the log of changes is read.
  virtualServersMax: 1_000, // Virtual servers of the registry.
  tokensMax: 100_000, // API tokens.
  // store
  storeMs: 30_000, // Time for the store to answer.
  storeQueueMax: 1_000, // Requests that wait for the store.
  storeBytes: 8 * 1024 ** 3, // Largest file of the embedded store.
  storeBusyMs: 5_000, // How long the embedded store waits for another program that locks it.
  lockMs: 250, // How long a start tries to get a data directory that another one has just taken.
  changesKept: 10_000, // Changes that are kept for readers who are late.
  // configuration files
  configBytes: 1024 * 1024, // Largest configuration file.
  configNodes: 100_000, // Values of a configuration file.
  configDepth: 32, // Nesting of a configuration file.
  configFaultsMax: 100, // Faults of configuration files that are listed.
  configPollMs: 300, // How often configuration files are looked at; what has changed must stay so for one more look …
  configQuietMsMax: 5_000, // … or be changing for this long.
  secretBytes: 64 * 1024, // Largest file that a configuration file refers to.
  devFilesMax: 2_000, // Files, and folders, that `mcp-gateway dev` watches.
  devPollMs: 400, // How often it looks at them.
  // names
  slugChars: 24, // Longest slug.
  nameChars: 64, // Longest exposed name.
  uriChars: 8_192, // Longest URI of a resource.
  // REST
  restBodyBytes: 1024 * 1024, // Largest body of a request to the REST API.
  restInFlight: 256, // Requests to the REST API at the same time.
  restPageItems: 100, // Items of a page of the REST API where the request does not say.
  restWaitMs: 60_000, // Longest ?wait= of the REST API.
  tokenUsedMs: 60_000, // How often the times of last use of tokens are stored.
  // shutdown
  drainMs: 2_000,
  stopMs: 10_000,
  // safety of callers known before an outage
  staleCallerMs: 300_000,
} as const

export type Limits = { -readonly [K in keyof typeof LIMITS]: number }
