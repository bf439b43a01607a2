-- What format 4 added: rows of the channels' index that are not in their place yet.
PRAGMA user_version = 4;

CREATE TABLE channel_recent (
  record INTEGER NOT NULL,
  channel INTEGER NOT NULL,
  messages INTEGER NOT NULL,
  bytes INTEGER NOT NULL,
  PRIMARY KEY (record, channel)
) STRICT, WITHOUT ROWID;
