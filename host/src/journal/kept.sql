-- What format 2 added: indexes that keep what their records' own retention takes.
PRAGMA user_version = 2;

-- States of pipelines as they were when the control record `number` was applied: today's state, with all
-- that was replaced since put back.
CREATE TABLE checkpoint (
  number INTEGER PRIMARY KEY,
  pipeline TEXT NOT NULL,
  cursor INTEGER NOT NULL,      -- the state is what came of the events up to here
  at INTEGER NOT NULL,          -- microseconds
  reason TEXT NOT NULL,
  bytes INTEGER NOT NULL,       -- of owners, keys and values
  dropped INTEGER NOT NULL DEFAULT 0 -- 1: nobody sees it any more; it goes when no older one needs its entries
) STRICT;
CREATE INDEX checkpoint_pipeline ON checkpoint (pipeline, number);
-- What an entry was before it was first changed after a checkpoint, the newest one then.
CREATE TABLE replaced (
  checkpoint INTEGER NOT NULL,
  owner TEXT NOT NULL,
  key TEXT NOT NULL,
  value BLOB,                   -- NULL: there was no such entry
  PRIMARY KEY (checkpoint, owner, key)
) STRICT, WITHOUT ROWID;

-- Dead letters that are not closed, with the body of their record, which may be pruned.
CREATE TABLE dead_letter (
  number INTEGER PRIMARY KEY,   -- of the record
  pipeline TEXT NOT NULL,
  plugin TEXT NOT NULL,
  version TEXT NOT NULL,
  reason TEXT NOT NULL,
  at INTEGER NOT NULL,          -- microseconds; never falls
  event INTEGER NOT NULL,
  bytes INTEGER NOT NULL,       -- of the body
  body BLOB NOT NULL
) STRICT;
-- Counts and sizes are read from here, without the bodies.
CREATE INDEX dead_letter_pipeline ON dead_letter (pipeline, number, bytes);

-- Events that a pipeline wrote a letter of, closed ones too, as long as the events are kept: a rebuild
-- that meets one again writes no second letter.
CREATE TABLE letter_event (pipeline TEXT NOT NULL, event INTEGER NOT NULL, PRIMARY KEY (pipeline, event)) STRICT, WITHOUT ROWID;
CREATE INDEX letter_event_event ON letter_event (event);
