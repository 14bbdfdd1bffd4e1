// Every queue, map, body, page, retry and wait has its number here. Those with a `setting` can be changed at start;
// docs/limits.md is made from this table, and each has a test.

export const LIMITS = {
  // requests from clients
  bodyBytes: 8 * 1024 * 1024,
  headerBytes: 16 * 1024,
  headerCount: 100,
  jsonDepth: 64,
  batchItems: 50,
  requestMs: 30_000,
  headersMs: 15_000,
  keepAliveMs: 65_000,
  // concurrency, per worker
  maxInFlight: 1024,
  maxQueued: 64,
  queueMs: 45,
  maxStreams: 12_000,
  connectionsMax: 20_000,
  backlog: 4096,
  // calls
  callMs: 60_000,
  callMsMax: 3_600_000,
  connectMs: 5_000,
  keepAliveCommentMs: 15_000,
  hopsMax: 5,
  // upstreams
  upstreamBodyBytes: 32 * 1024 * 1024,
  upstreamEventBytes: 32 * 1024 * 1024,
  upstreamHeaderBytes: 32 * 1024,
  upstreamConnectionsMax: 1024,
  upstreamUrlsMax: 16,
  upstreamsMax: 1_000,
  listPagesMax: 1_000,
  listItemsMax: 20_000,
  definitionBytes: 1024 * 1024,
  definitionsBytes: 64 * 1024 * 1024,
  refreshMs: 300_000,
  refreshMsMin: 15_000,
  probeMs: 10_000,
  probeAgainMs: 86_400_000,
  retryMsBase: 1_000,
  retryMsMax: 60_000,
  notReadyWaitMs: 2_000,
  // stdio children
  childrenPerUpstream: 8,
  childrenMax: 64,
  childrenSpawning: 4,
  childIdleMs: 300_000,
  childStopMs: 5_000,
  childLineBytes: 32 * 1024 * 1024,
  childStderrBytes: 64 * 1024,
  childRestartMsMax: 60_000,
  childMemoryBytes: 2 * 1024 ** 3,
  childCpuSeconds: 0,
  childOpenFiles: 1024,
  childProcesses: 512,
  // sessions
  sessionIdBytes: 512,
  sessionAgeMs: 86_400_000,
  sessionIdleMs: 3_600_000,
  tombstonesMax: 1_000_000,
  tombstonesPerMinute: 60,
  upstreamSessionsMax: 50_000,
  // lists and caches, per worker
  pageItems: 1_000,
  listCacheBytes: 64 * 1024 * 1024,
  callerCacheItems: 20_000,
  callerCacheMs: 30_000,
  // tokens that are none: kept apart, so that a flood of them pushes nobody out
  strangerCacheItems: 10_000,
  strangerCacheMs: 5_000,
  callerLookupsMax: 1_000,
  callerLookupMs: 2_000,
  validatorCacheItems: 500,
  schemaBytes: 64 * 1024,
  schemaNodes: 2_000,
  schemaDepth: 32,
  schemaSteps: 200_000,
  // registry
  pieceBytes: 256 * 1024,
  sliceMs: 5,
  changePollMs: 500,
  virtualServersMax: 1_000,
  tokensMax: 100_000,
  // names
  slugChars: 24,
  nameChars: 64,
  // REST
  restBodyBytes: 1024 * 1024,
  restInFlight: 256,
  restPageItems: 100,
  restWaitMs: 60_000,
  tokenUsedMs: 60_000,
  // shutdown
  drainMs: 2_000,
  stopMs: 10_000,
  // safety of callers known before an outage
  staleCallerMs: 300_000,
} as const

export type Limits = { -readonly [K in keyof typeof LIMITS]: number }
