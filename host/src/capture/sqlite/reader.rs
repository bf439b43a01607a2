//! Reads the change table, on a connection of its own that never writes.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;

use futures_util::TryStreamExt as _;
use sqlx::sqlite::SqliteRow;
use sqlx::{AssertSqlSafe, Connection as _, Row, SqliteConnection};

use crate::event::{Change, Operation};

use super::change::change;
use super::error::CaptureError;
use super::form::{Form, FormId};
use super::value::Value;
use super::{connect, tables};

pub(crate) struct Reader {
    db: SqliteConnection,
    /// Forms never change, so that they are read once.
    forms: HashMap<FormId, Arc<Form>>,
    /// How many columns the widest table had among the rows that were read last: a column costs each
    /// row, even if it is null, and the next rows are mostly of the same tables.
    width: usize,
}

/// Where the change table ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct End {
    pub seq: u64,
    pub token: Box<str>,
    /// The token of the row at the position that was asked about, if it is there.
    pub token_at: Option<Box<str>>,
}

/// A row of the change table.
#[derive(Debug)]
pub(crate) struct ChangeRow {
    pub seq: u64,
    pub token: Box<str>,
    /// None where nothing changed (an update to the values that were there already, or of excluded
    /// columns alone), and for our own marks.
    pub change: Option<Change>,
}

/// Which rows are read.
struct Wanted {
    after: u64,
    through: u64,
    rows: usize,
    bytes: usize,
}

/// Rows that were read, and what they weigh.
#[derive(Default)]
struct Found {
    rows: Vec<ChangeRow>,
    weight: usize,
    /// Of the widest table among them.
    width: usize,
}

impl Reader {
    pub(crate) async fn open(path: &Path) -> Result<Self, CaptureError> {
        let mut db = connect::open_reader(path).await?;
        // A first read makes the WAL's file, which the wake-up watches.
        sqlx::query("SELECT 1 FROM _relevo_changes LIMIT 1").execute(&mut db).await?;
        Ok(Self { db, forms: HashMap::new(), width: 0 })
    }

    /// The newest row, and the one at `position`.
    pub(crate) async fn end(&mut self, position: u64) -> Result<Option<End>, CaptureError> {
        let row = sqlx::query(
            "SELECT seq, lower(hex(token)), (SELECT lower(hex(token)) FROM _relevo_changes WHERE seq = ?) \
             FROM _relevo_changes ORDER BY seq DESC LIMIT 1",
        )
        .bind(position.cast_signed())
        .fetch_optional(&mut self.db)
        .await?;
        row.map(|row| {
            Ok(End {
                seq: row.try_get::<i64, _>(0)?.cast_unsigned(),
                token: row.try_get(1)?,
                token_at: row.try_get(2)?,
            })
        })
        .transpose()
    }

    /// Rows after a sequence number, up to another; at most `rows`, and no more once they are
    /// `bytes`, but at least one where there is one.
    ///
    /// A change row never changes, so that several reads with the same `through` show what one read
    /// would have shown, without a read transaction that holds the WAL meanwhile.
    pub(crate) async fn rows(
        &mut self,
        after: u64,
        through: u64,
        rows: usize,
        bytes: usize,
    ) -> Result<Vec<ChangeRow>, CaptureError> {
        let mut wanted = Wanted { after, through, rows, bytes };
        let mut found = Found::default();
        while let Some((seq, id)) = self.read(&wanted, &mut found).await? {
            if !self.forms.contains_key(&id) {
                let form = tables::form(&mut self.db, id).await?.ok_or(CaptureError::Form { seq, form: id.0 })?;
                self.forms.insert(id, Arc::new(form));
            }
            self.width = self.width.max(self.forms.get(&id).map_or(0, |form| form.columns().len()));
            wanted.after = found.rows.last().map_or(after, |row| row.seq);
        }
        if !found.rows.is_empty() {
            self.width = found.width;
        }
        Ok(found.rows)
    }

    /// Reads rows until all are found that are wanted, or one whose form isn't known or is wider than
    /// was asked for: the caller sees to it, and asks again.
    async fn read(&mut self, wanted: &Wanted, found: &mut Found) -> Result<Option<(u64, FormId)>, CaptureError> {
        let mut sql = "SELECT seq, form, op, rid, lower(hex(token))".to_owned();
        for column in 0..2 * self.width {
            // Writing to a String can't fail.
            let _ = write!(sql, ", c{column}");
        }
        sql.push_str(" FROM _relevo_changes WHERE seq > ? AND seq <= ? ORDER BY seq LIMIT ?");
        let mut rows = sqlx::query(AssertSqlSafe(sql))
            .bind(wanted.after.cast_signed())
            .bind(wanted.through.cast_signed())
            .bind(i64::try_from(wanted.rows - found.rows.len()).unwrap_or(i64::MAX))
            .fetch(&mut self.db);
        while let Some(row) = rows.try_next().await? {
            let seq = row.try_get::<i64, _>(0)?.cast_unsigned();
            let (id, op): (i64, &str) = (row.try_get(1)?, row.try_get(2)?);
            let change = match Op::of(op) {
                None => None,
                Some(op) => {
                    let id = FormId(id);
                    let Some(form) = self.forms.get(&id).filter(|form| form.columns().len() <= self.width) else {
                        return Ok(Some((seq, id)));
                    };
                    found.width = found.width.max(form.columns().len());
                    op.change(form, &row, seq)?
                }
            };
            found.weight += change.as_ref().map_or(0, Change::weight) + 96;
            if found.weight > wanted.bytes && !found.rows.is_empty() {
                break;
            }
            found.rows.push(ChangeRow { seq, token: row.try_get(4)?, change });
        }
        Ok(None)
    }

    /// How long the oldest row after a sequence number has been there, in ms.
    pub(crate) async fn age_after(&mut self, seq: u64) -> Result<u64, CaptureError> {
        let age: Option<i64> = sqlx::query_scalar(
            "SELECT cast(round((julianday('now') - ts) * 86400000.0) AS INTEGER) \
             FROM _relevo_changes WHERE seq > ? ORDER BY seq LIMIT 1",
        )
        .bind(seq.cast_signed())
        .fetch_optional(&mut self.db)
        .await?;
        Ok(age.and_then(|age| u64::try_from(age).ok()).unwrap_or_default())
    }

    pub(crate) async fn schema_version(&mut self) -> Result<i64, CaptureError> {
        Ok(sqlx::query_scalar("PRAGMA schema_version").fetch_one(&mut self.db).await?)
    }

    pub(crate) async fn close(self) {
        let _ = self.db.close().await;
    }
}

/// What a change row tells of.
#[derive(Debug, Clone, Copy)]
enum Op {
    /// Of a row whose key was another before too: what is old is told by a delete.
    Insert,
    Update,
    Delete,
    Truncate,
}

impl Op {
    /// None for our own marks.
    fn of(letter: &str) -> Option<Self> {
        Some(match letter {
            "I" => Self::Insert,
            "U" => Self::Update,
            "D" => Self::Delete,
            "T" => Self::Truncate,
            _ => return None,
        })
    }

    fn change(self, form: &Form, row: &SqliteRow, seq: u64) -> Result<Option<Change>, CaptureError> {
        const FIRST: usize = 5;
        let count = form.columns().len();
        let values = |from: usize| -> sqlx::Result<Vec<Value<'_>>> {
            (from..from + count).map(|place| Value::read(row, place, form.mark())).collect()
        };
        let (old, new) = (|| values(FIRST), || values(FIRST + count));
        let (operation, old, new) = match self {
            Self::Insert => (Operation::Insert, None, Some(new()?)),
            Self::Update => (Operation::Update, Some(old()?), Some(new()?)),
            Self::Delete => (Operation::Delete, Some(old()?), None),
            Self::Truncate => (Operation::Truncate, None, None),
        };
        let rowid = if form.rowid() { row.try_get(3)? } else { None };
        let change = change(form, operation, rowid, old.as_deref(), new.as_deref())
            .ok_or_else(|| CaptureError::KeyTooLarge { table: form.table().to_string(), seq })?;
        Ok((operation != Operation::Update || !change.changed.is_empty()).then_some(change))
    }
}
