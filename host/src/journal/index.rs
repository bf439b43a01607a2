//! What the writer knows without asking SQLite: cursors, sources, ids, staged chunks, the next number.

use std::collections::{HashMap, VecDeque};

use sqlx::{Row, SqliteConnection};

use super::shares::Recent;
use super::{Append, SourceState, unfinished};
use crate::event::{Name, Number, Position};
use crate::message::ChannelName;

/// Where pipelines and sources stand: the part of the index that others read too.
#[derive(Clone, Default)]
pub(super) struct Known {
    pub(super) cursors: HashMap<Name, Cursor>,
    pub(super) sources: HashMap<Name, SourceState>,
}

#[derive(Clone, Copy)]
pub(super) struct Cursor {
    /// What the pipeline committed last.
    pub(super) number: Number,
    /// What is on disk; behind `number` for up to a second where nothing but the cursor moved.
    pub(super) saved: Option<Number>,
    /// Retention passed it: the number of the control record that says so.
    pub(super) gap: Option<Number>,
}

impl Cursor {
    pub(super) fn is_saved(&self) -> bool {
        self.saved == Some(self.number)
    }

    /// Where a restart would find the pipeline.
    pub(super) fn on_disk(&self) -> Number {
        self.saved.unwrap_or(self.number)
    }

    /// The mark that is left once the cursor stands at `cursor`. Who reads beyond the record that tells
    /// of the loss goes on without what was lost, and is waited for again.
    pub(super) fn gap_after(&self, cursor: Number) -> Option<Number> {
        self.gap.filter(|told| cursor < *told)
    }
}

/// Whose chunks: a source's stream, or its snapshot for a pipeline.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct StagedKey {
    pub(super) source: Name,
    /// Empty: the stream.
    pub(super) pipeline: Name,
}

/// Chunks whose last one has not come.
#[derive(Default)]
pub(super) struct Staged {
    pub(super) life: i64,
    /// The request that a snapshot answers.
    pub(super) snapshot: Option<Number>,
    /// How many numbers all of them take.
    pub(super) numbers: u64,
    /// The newest of them, for the memory tail; older ones, and those from before a restart, are on
    /// disk only.
    pub(super) kept: VecDeque<Kept>,
    pub(super) kept_bytes: usize,
}

pub(super) struct Kept {
    pub(super) numbers: u64,
    pub(super) bytes: usize,
    pub(super) append: Append,
}

impl Staged {
    /// Remembers a chunk, and forgets the oldest beyond `limit` bytes.
    pub(super) fn keep(&mut self, kept: Kept, limit: usize) {
        self.numbers += kept.numbers;
        self.kept_bytes += kept.bytes;
        self.kept.push_back(kept);
        while self.kept_bytes > limit {
            let Some(oldest) = self.kept.pop_front() else { break };
            self.kept_bytes -= oldest.bytes;
        }
    }
}

/// What the disk doesn't say of an index: it is kept from before a transaction, in case that fails.
pub(super) struct Unwritten {
    pub(super) cursors: HashMap<Name, Cursor>,
}

#[derive(Default)]
pub(super) struct Index {
    pub(super) known: Known,
    /// The number that the next item gets.
    pub(super) next: u64,
    /// When the newest record was applied, in microseconds.
    pub(super) at: u64,
    pub(super) channels: HashMap<ChannelName, i64>,
    /// By source and incarnation.
    pub(super) lives: HashMap<(Name, Name), i64>,
    pub(super) staged: HashMap<StagedKey, Staged>,
    /// Of pipelines that have checkpoints: the one for which replaced entries are kept.
    pub(super) keeping: HashMap<Name, Number>,
    pub(super) recent: Recent,
}

/// SQLite's integers are signed; ours never reach the sign.
pub(super) fn sql(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

pub(super) fn unsql(number: i64) -> u64 {
    u64::try_from(number).unwrap_or_default()
}

impl Index {
    /// Reads it all, as the connection's transaction sees it.
    pub(super) async fn load(conn: &mut SqliteConnection) -> Result<Self, sqlx::Error> {
        let mut index = Self { next: 1, ..Self::default() };
        let newest =
            sqlx::query("SELECT last, at FROM record ORDER BY first DESC LIMIT 1").fetch_optional(&mut *conn).await?;
        if let Some(row) = newest {
            index.next = unsql(row.try_get(0)?) + 1;
            index.at = unsql(row.try_get(1)?);
        }
        // Retention may have taken the newest record: numbers are never given twice.
        let floor: Option<String> =
            sqlx::query_scalar("SELECT value FROM meta WHERE name = 'next'").fetch_optional(&mut *conn).await?;
        index.next = index.next.max(floor.and_then(|f| f.parse().ok()).unwrap_or(1));
        for row in sqlx::query("SELECT pipeline, number, gap FROM cursor").fetch_all(&mut *conn).await? {
            let number = Number(unsql(row.try_get(1)?));
            let gap = Some(unsql(row.try_get(2)?)).filter(|told| *told > 0).map(Number);
            let name: String = row.try_get(0)?;
            index.known.cursors.insert(name.into(), Cursor { number, saved: Some(number), gap });
        }
        let sources = "SELECT name, incarnation, pos_commit, pos_index, token FROM source";
        for row in sqlx::query(sources).fetch_all(&mut *conn).await? {
            let name: String = row.try_get(0)?;
            let incarnation: String = row.try_get(1)?;
            let token: String = row.try_get(4)?;
            let position = Position { commit: unsql(row.try_get(2)?), index: row.try_get(3)? };
            let state = SourceState { incarnation: incarnation.into(), position, token: token.into() };
            index.known.sources.insert(name.into(), state);
        }
        for row in sqlx::query("SELECT id, name FROM channel").fetch_all(&mut *conn).await? {
            let name: String = row.try_get(1)?;
            if let Ok(name) = ChannelName::new(&name) {
                index.channels.insert(name, row.try_get(0)?);
            }
        }
        for row in sqlx::query("SELECT id, source, incarnation FROM life").fetch_all(&mut *conn).await? {
            let (source, incarnation): (String, String) = (row.try_get(1)?, row.try_get(2)?);
            index.lives.insert((source.into(), incarnation.into()), row.try_get(0)?);
        }
        let staged = "SELECT source, pipeline, life, sum(numbers) FROM staged GROUP BY source, pipeline, life";
        for row in sqlx::query(staged).fetch_all(&mut *conn).await? {
            let (source, pipeline): (String, String) = (row.try_get(0)?, row.try_get(1)?);
            let key = StagedKey { source: source.into(), pipeline: pipeline.into() };
            let snapshot = match key.pipeline.is_empty() {
                true => None,
                false => unfinished::request(conn, &key).await?,
            };
            let (life, numbers) = (row.try_get(2)?, unsql(row.try_get(3)?));
            let staged = Staged { life, snapshot, numbers, ..Staged::default() };
            index.staged.insert(key, staged);
        }
        index.recent = Recent::load(conn).await?;
        index.keeping = super::checkpoints::keeping(conn).await?;
        Ok(index)
    }

    /// What only memory knows.
    pub(super) fn unwritten(&self) -> Unwritten {
        Unwritten { cursors: self.known.cursors.clone() }
    }

    /// The time for the next record: the clock's, but it never falls.
    pub(super) fn now(&mut self) -> i64 {
        self.at = self.at.max(crate::event::Micros::now().0);
        sql(self.at)
    }
}
