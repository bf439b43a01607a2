//! Events: what happened at a source, as every room from capture to the plugins sees it.

use std::fmt::{Display, Write as _};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// A place in the journal: events and messages carry one rising number. Not dense.
///
/// Cursors, offsets and watermarks of the fan-out are such numbers; 0 is before everything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Number(pub u64);

impl Number {
    /// Before the first event.
    pub const ZERO: Self = Self(0);

    /// The number `by` further on.
    pub const fn plus(self, by: u64) -> Self {
        Self(self.0 + by)
    }
}

impl std::fmt::Display for Number {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// A moment: microseconds since 1970-01-01 UTC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Micros(pub u64);

impl Micros {
    /// The wall clock's time.
    pub fn now() -> Self {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        Self(u64::try_from(since.as_micros()).unwrap_or(u64::MAX))
    }

    /// The moment `time` later.
    pub fn plus(self, time: std::time::Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(time.as_micros()).unwrap_or(u64::MAX)))
    }

    /// RFC 3339 in UTC with milliseconds, like `2026-11-25T01:02:03.456Z`.
    pub fn rfc3339(self) -> String {
        let micros = i64::try_from(self.0).unwrap_or(i64::MAX);
        format!("{:.3}", jiff::Timestamp::from_microsecond(micros).unwrap_or(jiff::Timestamp::MAX))
    }
}

/// The name of a source or of a pipeline, as the configuration gives it.
pub type Name = Arc<str>;

/// Where in its source an event stands. Rising within one incarnation of the source, and the same
/// when the source is read again after a crash.
///
/// SQLite: `commit` is the change row's sequence number, `index` 0. PostgreSQL: the commit's LSN and
/// the row's index in the transaction. Ticks: the watermark in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Position {
    pub commit: u64,
    pub index: u32,
}

/// One event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Given when its record is applied; not stored in the record.
    #[serde(skip)]
    pub number: Number,
    pub source: Name,
    pub position: Position,
    /// When it was committed at its source; never falls within a source.
    pub committed_at: Micros,
    /// Equal for all events of one transaction, and rising.
    pub transaction: u64,
    /// The last of its transaction.
    pub last_of_transaction: bool,
    /// A dead letter that was replayed.
    pub late: bool,
    pub body: Body,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Body {
    Change(Change),
    Published(Published),
    /// A watermark: every source has delivered all that it committed up to this time.
    Tick {
        up_to: Micros,
    },
}

/// What was done to a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Operation {
    Insert,
    Update,
    Delete,
    /// All rows of the table are gone; there is no key and no row.
    Truncate,
    /// A row that was there already.
    Snapshot,
}

/// A row changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// `main` for SQLite.
    pub schema: Name,
    pub table: Name,
    pub operation: Operation,
    /// The primary key as text; a JSON array where it has several columns; empty for a truncate.
    pub key: Box<str>,
    /// The row before, a JSON object. Integers beyond 2^53 are strings.
    pub before: Option<Box<str>>,
    /// The row after, a JSON object.
    pub after: Option<Box<str>>,
    /// Columns whose value differs; empty but for updates.
    pub changed: Vec<Name>,
    /// Columns that were too large for a record and were left out of `before` and `after`.
    pub missing: Vec<Missing>,
}

/// A column that was left out, and how large it was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Missing {
    pub column: Name,
    pub bytes: u64,
}

/// Something that a client or the HTTP API sent in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Published {
    pub channel: Box<str>,
    /// The message's `type`.
    pub kind: Box<str>,
    pub event_type: Box<str>,
    /// Any JSON.
    pub data: Box<str>,
    /// The user who sent it.
    pub by: Box<str>,
    /// Two with the same key are one.
    pub idempotency_key: Option<Box<str>>,
}

impl Change {
    /// About how much room it takes, in bytes.
    pub fn weight(&self) -> usize {
        self.key.len()
            + self.before.as_deref().map_or(0, str::len)
            + self.after.as_deref().map_or(0, str::len)
            + self.changed.iter().map(|name| name.len()).sum::<usize>()
    }
}

impl Event {
    /// Writes what the names of the messages that `pipeline` makes of this event begin with: where the event stands in
    /// its source, so a re-run, even after the journal lost its last records, gives the same.
    pub fn message_name(&self, incarnation: impl Display, pipeline: &str, name: &mut String) {
        // Writing to a String can't fail.
        let _ =
            write!(name, "{pipeline}/{}/{incarnation}/{}/{}/", self.source, self.position.commit, self.position.index);
    }

    /// What plugins read as the row after, and enrichers patch: a change's row, or what was published. It is JSON.
    pub fn after(&self) -> Option<&str> {
        match &self.body {
            Body::Change(change) => change.after.as_deref(),
            Body::Published(published) => Some(&published.data),
            Body::Tick { .. } => None,
        }
    }

    /// About how much room it takes, in bytes.
    pub fn weight(&self) -> usize {
        let body = match &self.body {
            Body::Change(change) => change.weight(),
            Body::Published(p) => p.channel.len() + p.data.len() + p.kind.len() + p.event_type.len(),
            Body::Tick { .. } => 0,
        };
        body + 96
    }
}

#[cfg(test)]
mod tests {
    use super::Micros;

    #[test]
    fn a_moment_is_shown_with_the_milliseconds_that_are_over() {
        for (micros, expected) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (1_700_000_000_000_999, "2023-11-14T22:13:20.000Z"),
            (1_700_000_000_123_999, "2023-11-14T22:13:20.123Z"),
            (951_827_696_999_999, "2000-02-29T12:34:56.999Z"),
        ] {
            assert_eq!(Micros(micros).rfc3339(), expected);
        }
        assert!(Micros(u64::MAX).rfc3339().starts_with("9999-12-30T22:00:00.999"));
    }
}
