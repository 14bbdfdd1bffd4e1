-- The registry: upstreams, what they offer, virtual servers, tokens, ended sessions, and the log of changes.
-- Times are integer milliseconds since 1970; ids are UUIDv7 as text; JSON is kept as the text that came.

CREATE TABLE upstreams (
  id TEXT PRIMARY KEY,
  slug TEXT NOT NULL UNIQUE,
  -- Literal secrets inside are sealed: {"sealed": "..."}.
  spec TEXT NOT NULL,
  origin TEXT NOT NULL,
  origin_ref TEXT,
  discovery TEXT,
  -- SHA-256 over the rows of `definitions`: tells whether a discovery found anything new.
  definitions_digest BLOB,
  row_version INTEGER NOT NULL,
  created_ms INTEGER NOT NULL,
  updated_ms INTEGER NOT NULL
) STRICT;

CREATE TABLE definitions (
  upstream_id TEXT NOT NULL REFERENCES upstreams (id) ON DELETE CASCADE,
  position INTEGER NOT NULL,
  kind TEXT NOT NULL,
  name TEXT NOT NULL,
  json TEXT NOT NULL,
  -- When this upstream first offered it, kept over refreshes: the earlier owner of a name keeps it.
  seen_ms INTEGER NOT NULL,
  UNIQUE (upstream_id, position)
) STRICT;

CREATE TABLE virtual_servers (
  id TEXT PRIMARY KEY,
  slug TEXT NOT NULL UNIQUE,
  spec TEXT NOT NULL,
  origin TEXT NOT NULL,
  origin_ref TEXT,
  row_version INTEGER NOT NULL,
  created_ms INTEGER NOT NULL,
  updated_ms INTEGER NOT NULL
) STRICT;

CREATE TABLE tokens (
  id TEXT PRIMARY KEY,
  name TEXT NOT NULL UNIQUE,
  hash TEXT NOT NULL UNIQUE,
  rights TEXT NOT NULL,
  origin TEXT NOT NULL,
  origin_ref TEXT,
  created_ms INTEGER NOT NULL,
  expires_ms INTEGER,
  last_used_ms INTEGER,
  row_version INTEGER NOT NULL
) STRICT;

CREATE TABLE tombstones (
  key BLOB PRIMARY KEY,
  expires_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX tombstones_expires_ms ON tombstones (expires_ms);

-- AUTOINCREMENT: a number is never used twice, also when old rows have been trimmed.
CREATE TABLE changes (
  seq INTEGER PRIMARY KEY AUTOINCREMENT,
  kind TEXT NOT NULL,
  id TEXT NOT NULL,
  at_ms INTEGER NOT NULL
) STRICT;

-- Facts about the store itself, such as the text that proves which secret key it was written with.
CREATE TABLE properties (
  name TEXT PRIMARY KEY,
  value TEXT NOT NULL
) STRICT, WITHOUT ROWID;
