//! Reads the change table, on a connection of its own that never writes.

use std::collections::HashMap;
use std::path::Path;

use futures_util::TryStreamExt as _;
use sqlx::sqlite::SqliteRow;
use sqlx::{Connection as _, Row, SqliteConnection};

use crate::event::Name;

use super::change::ChangeRow;
use super::connect;
use super::error::CaptureError;

pub(crate) struct Reader {
    db: SqliteConnection,
    /// Tables' names, so that a million changes share one.
    names: HashMap<String, Name>,
}

/// Where the change table ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct End {
    pub seq: u64,
    pub token: Box<str>,
    /// The token of the row at the position that was asked about, if it is there.
    pub token_at: Option<Box<str>>,
}

impl Reader {
    pub(crate) async fn open(path: &Path) -> Result<Self, CaptureError> {
        let mut db = connect::open_reader(path).await?;
        // A first read makes the WAL's file, which the wake-up watches.
        sqlx::query("SELECT 1 FROM _relevo_changes LIMIT 1").execute(&mut db).await?;
        Ok(Self { db, names: HashMap::new() })
    }

    /// The newest row, and the one at `position`.
    pub(crate) async fn end(&mut self, position: u64) -> Result<Option<End>, CaptureError> {
        let row = sqlx::query(
            "SELECT seq, token, (SELECT token FROM _relevo_changes WHERE seq = ?) FROM _relevo_changes \
             ORDER BY seq DESC LIMIT 1",
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
        // As BLOBs: a text in SQLite need not be UTF-8.
        let mut found = sqlx::query(
            "SELECT seq, tbl, op, cast(pk AS BLOB), cast(old AS BLOB), cast(new AS BLOB), token \
             FROM _relevo_changes WHERE seq > ? AND seq <= ? ORDER BY seq LIMIT ?",
        )
        .bind(after.cast_signed())
        .bind(through.cast_signed())
        .bind(i64::try_from(rows).unwrap_or(i64::MAX))
        .fetch(&mut self.db);
        let mut out = Vec::new();
        let mut weight = 0;
        while let Some(row) = found.try_next().await? {
            let row = read_row(&mut self.names, &row)?;
            weight += row.weight();
            if weight > bytes && !out.is_empty() {
                break;
            }
            out.push(row);
        }
        Ok(out)
    }

    /// How long the oldest row after a sequence number has been there, in ms.
    pub(crate) async fn age_after(&mut self, seq: u64) -> Result<u64, CaptureError> {
        let age: Option<i64> = sqlx::query_scalar(
            "SELECT cast(round((julianday('now') - 2440587.5) * 86400000.0) AS INTEGER) - ts \
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

fn read_row(names: &mut HashMap<String, Name>, row: &SqliteRow) -> Result<ChangeRow, CaptureError> {
    let table: &str = row.try_get(1)?;
    let table = match names.get(table) {
        Some(name) => Name::clone(name),
        None => {
            let name = Name::from(table);
            names.insert(table.to_owned(), Name::clone(&name));
            name
        }
    };
    let op: &str = row.try_get(2)?;
    Ok(ChangeRow {
        seq: row.try_get::<i64, _>(0)?.cast_unsigned(),
        table,
        op: op.as_bytes().first().copied().unwrap_or_default(),
        key: row.try_get::<Option<&[u8]>, _>(3)?.map(lossy).unwrap_or_default(),
        old: row.try_get::<Option<&[u8]>, _>(4)?.map(lossy),
        new: row.try_get::<Option<&[u8]>, _>(5)?.map(lossy),
        token: row.try_get(6)?,
    })
}

/// A text; what is no UTF-8 in it becomes U+FFFD.
pub(crate) fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
