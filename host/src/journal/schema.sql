-- The journal. All but `record` and `chunk` are indexes that applying the records in order
-- gives; they are changed in the same transaction as the record that changes them.
PRAGMA application_id = 1380734543; -- "RLVO"

CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;

-- One row a record. Its items have the numbers first..last.
CREATE TABLE record (
  first INTEGER PRIMARY KEY,
  last INTEGER NOT NULL,
  kind INTEGER NOT NULL,        -- 1 append, 2 commit, 3 control
  at INTEGER NOT NULL,          -- when it was applied, microseconds; never falls
  size INTEGER NOT NULL,        -- of the body before compression, bytes
  held INTEGER NOT NULL,        -- 1: kept by rows in channel_index, or for good (controls that tell of a gap)
  life INTEGER,                 -- appends that move their source: its life and position
  pos_commit INTEGER,
  pos_index INTEGER,
  chunk INTEGER,                -- the body is there: it was staged before it got its numbers
  body BLOB                     -- last, so that the columns before are read without it
) STRICT;
CREATE INDEX record_position ON record (life, pos_commit, pos_index) WHERE life IS NOT NULL;
CREATE INDEX record_loose ON record (first) WHERE held = 0;
CREATE INDEX record_control ON record (first) WHERE kind = 3;

-- Chunks of transactions and snapshots whose last one has not come; then bodies of records.
CREATE TABLE chunk (id INTEGER PRIMARY KEY, body BLOB NOT NULL) STRICT;
CREATE TABLE staged (
  chunk INTEGER PRIMARY KEY,
  source TEXT NOT NULL,
  pipeline TEXT NOT NULL,       -- whose snapshot; empty: streamed
  life INTEGER NOT NULL,
  pos_commit INTEGER NOT NULL,
  pos_index INTEGER NOT NULL,
  numbers INTEGER NOT NULL,     -- how many it takes
  size INTEGER NOT NULL
) STRICT;

-- A source's lives: a positions' order holds within one.
CREATE TABLE life (id INTEGER PRIMARY KEY, source TEXT NOT NULL, incarnation TEXT NOT NULL, UNIQUE (source, incarnation)) STRICT;
CREATE TABLE source (
  name TEXT PRIMARY KEY,
  incarnation TEXT NOT NULL,
  pos_commit INTEGER NOT NULL,
  pos_index INTEGER NOT NULL,
  token TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE cursor (
  pipeline TEXT PRIMARY KEY,
  number INTEGER NOT NULL,
  gap INTEGER NOT NULL DEFAULT 0 -- retention passed it: the number of the record that says so; 0: it didn't
) STRICT, WITHOUT ROWID;
CREATE TABLE state (
  pipeline TEXT NOT NULL,
  owner TEXT NOT NULL,
  key TEXT NOT NULL,
  value BLOB NOT NULL,
  PRIMARY KEY (pipeline, owner, key)
) STRICT, WITHOUT ROWID;

-- floor: messages up to this number may be gone.
CREATE TABLE channel (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, floor INTEGER NOT NULL DEFAULT 0) STRICT;
CREATE TABLE channel_index (
  channel INTEGER NOT NULL,
  record INTEGER NOT NULL,
  messages INTEGER NOT NULL,
  bytes INTEGER NOT NULL,
  PRIMARY KEY (channel, record)
) STRICT, WITHOUT ROWID;
CREATE INDEX channel_index_record ON channel_index (record);

-- The newest message for each key of a state channel, with its body: its record may be pruned.
CREATE TABLE state_message (
  channel INTEGER NOT NULL,
  key TEXT NOT NULL,
  pipeline TEXT NOT NULL,
  number INTEGER NOT NULL,
  body BLOB NOT NULL,
  PRIMARY KEY (channel, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX state_message_pipeline ON state_message (pipeline);

CREATE TABLE idempotency (key TEXT PRIMARY KEY, number INTEGER NOT NULL, at INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE INDEX idempotency_at ON idempotency (at);
