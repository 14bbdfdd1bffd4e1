// Components of the model architecture that no micro-benchmark can show here: measured by another scenario, a setting
// without a cost of its own, or not built yet.

import type { Component } from './component.ts'

export const ELSEWHERE: readonly Component[] = [
  {
    layer: 'Gateway pods',
    name: '16 workers',
    claim: 'one pod uses its cores',
    ours: 'worker processes on one listening socket: src/supervisor.ts',
    why: 'memory of 16 workers: bench connect; more throughput needs more cores than the rig leaves',
  },
  {
    layer: 'Gateway pods',
    name: 'backlog 4096, backpressure 64',
    claim: 'bounded queues',
    ours: 'backlog, maxInFlight, maxQueued: src/core/limits.ts, src/edge',
    why: 'a bound, not a speed: its refusals are tested',
  },
  {
    layer: 'Gateway pods',
    name: 'event loop (uvloop), 1,000+ requests in flight',
    claim: '2–4×',
    ours: "libuv is Node's own loop",
    why: 'bench slow: 1,000 calls in flight in one worker',
  },
  {
    layer: 'Hygiene',
    name: 'SSE and logging micro-optimisations',
    claim: '–',
    ours: 'src/mcp/sse.ts, src/telemetry/log.ts',
    why: 'see SSE streaming and lazy logging above, and bench sse',
  },
  {
    layer: 'Capacity',
    name: 'one pod of 16 workers',
    claim: '~1,600 RPS (3 pods 4,800, 10 16,000, 50 80,000)',
    ours: 'one worker',
    why: 'bench call',
  },
  {
    layer: 'Start-up resilience',
    name: 'backoff with ±25 % jitter',
    claim: 'about 0 % CPU in an outage instead of 500 %',
    ours: 'jitter: src/core/time.ts; retries of upstreams and workers wait, nothing spins',
    why: 'a wait, not a speed: its formula is tested; retries of PostgreSQL and Redis come with them',
  },
  {
    layer: 'Memory',
    name: '16 processes',
    claim: '256 MB + 16 × 200 MB ≈ 3.5 GB',
    ours: 'one primary and 16 workers',
    why: 'bench connect',
  },
  {
    layer: 'Quick commands',
    name: 'hey -n 10000 -c 200, curl',
    claim: '–',
    ours: 'npm run bench, npm start',
    why: 'commands, no component; the bench checks every answer, which hey does not',
  },
]

export const LATER: readonly Component[] = [
  {
    layer: 'Orchestration',
    name: 'Kubernetes HPA',
    claim: 'CPU 70 %, memory 80 %, 3–50 replicas',
    ours: '–',
    why: 'comes with deployment (Helm chart)',
  },
  {
    layer: 'Edge',
    name: 'NGINX: Brotli, gzip, zstd',
    claim: '30–70 % saved',
    ours: '–',
    why: 'comes with deployment (front proxy)',
  },
  {
    layer: 'Edge',
    name: 'NGINX: static cache, X-Cache-Status, 3,000 r/s, 3,000 connections',
    claim: '30 days; burst 3,000',
    ours: '–',
    why: 'comes with deployment (front proxy) and with rate limits',
  },
  {
    layer: 'Native components',
    name: 'Redis parsing (hiredis)',
    claim: 'up to 83× on large answers',
    ours: '–',
    why: 'no Redis yet: comes with several replicas; a warm call asks no store at all',
  },
  {
    layer: 'Caches',
    name: 'admin statistics cache, 30–60 s',
    claim: 'fewer queries',
    ours: '–',
    why: 'comes with usage figures and the UI',
  },
  {
    layer: 'Hygiene',
    name: 'cached jq compilation',
    claim: 'compiled once',
    ours: '–',
    why: 'comes with plugins that transform results',
  },
  {
    layer: 'Hygiene',
    name: 'metric aggregation in SQL',
    claim: 'no rows through the application',
    ours: '–',
    why: 'comes with usage figures; percentiles will come from histograms',
  },
  {
    layer: 'Hygiene',
    name: 'cached team membership',
    claim: 'less idle-in-transaction',
    ours: '–',
    why: 'comes with teams; rights already are part of a known caller',
  },
  {
    layer: 'Pooling',
    name: 'PgBouncer',
    claim: '1,600+ → 200 connections, 8×',
    ours: '–',
    why: 'comes with PostgreSQL; only the primary of a replica will connect',
  },
  {
    layer: 'Database',
    name: 'PostgreSQL 18: prepared statements, COPY, pipeline',
    claim: '2–3×, 5–10×, 2–5×',
    ours: '–',
    why: 'comes with PostgreSQL; the embedded store is SQLite',
  },
  {
    layer: 'Redis',
    name: 'message cache 600 s, federation cache, leader election',
    claim: '–',
    ours: '–',
    why: 'messages come with resumable streams, the rest with several replicas',
  },
  {
    layer: 'Observability',
    name: 'Prometheus, Grafana, Loki, OpenTelemetry',
    claim: 'a monitoring profile',
    ours: '–',
    why: 'comes with observability',
  },
  {
    layer: 'Memory',
    name: 'future: 2 processes × 32 threads',
    claim: '≈ 1 GB, near-linear',
    ours: '–',
    why: 'worker threads that share the registry are an option to measure, not a promise',
  },
]
